package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// auditQuery is a fleet.AuditFilter as a query.
type auditQuery struct {
	Gateway string `query:"gateway" maxLength:"128" doc:"About this gateway, by its id."`
	Who     string `query:"who" maxLength:"128" doc:"What this one did: a user, uid:N or hub."`
	What    string `query:"what" maxLength:"64" doc:"Of this kind: run, sign-in, user.create, token.create, grant.create, revoke, …."`
	Ref     string `query:"ref" maxLength:"128" doc:"About this command, user, token or grant, by its id."`
	Before  uint64 `query:"before" doc:"Numbers below this one: the page after it."`
	Limit   int    `query:"limit" minimum:"0" maximum:"1000" doc:"At most so many; 0 is 100."`
}

func (s *Server) auditRoutes() {
	huma.Register(s.api, takes(toManage, operation("list-audit", http.MethodGet, "/audit", "List who did what, the newest first", "audit", http.StatusNotImplemented)),
		func(ctx context.Context, in *auditQuery) (*struct{ Body []fleet.WrittenEntry }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			entries, err := d.Entries(ctx, whoOf(ctx), fleet.AuditFilter{
				Gateway: in.Gateway, Who: in.Who, What: in.What, Ref: in.Ref, Before: in.Before, Limit: in.Limit,
			})
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body []fleet.WrittenEntry }{each(entries, fleet.Entry.Written)}, nil
		})

	huma.Register(s.api, takes(toManage, operation("get-audit-head", http.MethodGet, "/audit/head", "Get the audit's end, signed: kept elsewhere, it shows later whether something was changed", "audit", http.StatusNotImplemented)),
		func(ctx context.Context, _ *struct{}) (*struct{ Body fleet.Seal }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			seal, err := d.Seal(ctx, whoOf(ctx))
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body fleet.Seal }{seal}, nil
		})

	huma.Register(s.api, takes(toManage, operation("get-audit-start", http.MethodGet, "/audit/start", "Get what stands for the entries that were let go, signed: the hash of the last of them; its number is 0 if none was", "audit", http.StatusNotImplemented)),
		func(ctx context.Context, _ *struct{}) (*struct{ Body fleet.Checkpoint }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			start, err := d.Start(ctx, whoOf(ctx))
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body fleet.Checkpoint }{start}, nil
		})

	op := takes(toManage, operation("export-audit", http.MethodGet, "/audit/entries", "Get every entry of the audit that is kept, from the first on", "audit", http.StatusNotImplemented, http.StatusServiceUnavailable))
	op.Description = "JSON, an entry a line, with what it takes to check the hashes. It ends with the entry that is the last when it gets there. " +
		"An answer that breaks off before lacks the last line, " + auditEnd
	op.Responses = map[string]*huma.Response{"200": {
		Description: "An entry a line.",
		Content:     map[string]*huma.MediaType{"application/jsonl": {Schema: s.schema(fleet.WrittenEntry{}, "WrittenEntry")}},
	}}
	huma.Register(s.api, op, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		d, err := s.desk()
		if err != nil {
			return nil, err
		}
		entries, err := d.AllEntries(ctx, whoOf(ctx))
		if err != nil {
			return nil, failed(err)
		}
		ctx, done, err := s.stream(ctx)
		if err != nil {
			return nil, failed(err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer done()
			_, w := humago.Unwrap(c)
			w.Header().Set("Content-Type", "application/jsonl")
			out := json.NewEncoder(w)
			control := http.NewResponseController(w)
			n := 0
			for e, err := range entries {
				if err == nil {
					err = ctx.Err()
				}
				if err == nil {
					if n++; n%1000 == 1 { // a slow reader is cut off, a long answer isn't
						err = control.SetWriteDeadline(time.Now().Add(writeTimeout))
					}
				}
				if err == nil {
					err = out.Encode(e.Written())
				}
				if err != nil {
					s.log.DebugContext(ctx, "the audit's entries broken off", "err", err)
					return
				}
			}
			// An error means that the client has gone.
			_, _ = w.Write([]byte(auditEnd + "\n"))
		}}, nil
	})
}

// auditEnd is the line after all entries.
const auditEnd = `{"event":"synced"}`
