package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// config describes the API. No path serves huma's documentation page, which
// loads scripts from elsewhere.
func (s *Server) config() huma.Config {
	c := huma.DefaultConfig("lanfolk", "1")
	c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Info.Description = "Who is on the network: devices and services, the evidence for them, and what changes."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.Servers = []*huma.Server{{URL: prefix}}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "A token of the API token file."},
		"session": {Type: "apiKey", In: "cookie", Name: "lanfolk-PORT", Description: "What the page gets for a sign-in token."},
	}
	c.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	return c
}

// strictLists takes back what huma assumes of Go's slices: no list here is
// ever null.
func strictLists(doc *huma.OpenAPI) {
	for _, s := range doc.Components.Schemas.Map() {
		strictList(s)
	}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Patch, path.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				strictList(p.Schema)
			}
			for _, r := range op.Responses {
				for _, m := range r.Content {
					strictList(m.Schema)
				}
			}
		}
	}
}

func strictList(s *huma.Schema) {
	if s == nil {
		return
	}
	if s.Type == huma.TypeArray {
		s.Nullable = false
	}
	strictList(s.Items)
	for _, p := range s.Properties {
		strictList(p)
	}
	for _, a := range [][]*huma.Schema{s.OneOf, s.AnyOf, s.AllOf} {
		for _, p := range a {
			strictList(p)
		}
	}
}

// schema describes v's type under the name hint.
func (s *Server) schema(v any, hint string) *huma.Schema {
	return s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, hint)
}
