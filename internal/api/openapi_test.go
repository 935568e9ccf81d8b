package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/lanfolk/lanfolk/internal/api"
	lanfolknode "github.com/lanfolk/lanfolk/internal/node"
)

// TestOpenAPIIsCurrent holds the committed document against what the server
// says. Make it anew with: go test ./internal/api -run OpenAPI -update
func TestOpenAPIIsCurrent(t *testing.T) {
	n := serve(t, newInventory(), func(o *api.Options) { o.StatusType = lanfolknode.Status{} })
	_, body := n.call(t, "GET", "/api/v1/openapi.json", "")
	var got bytes.Buffer
	if err := json.Indent(&got, []byte(body), "", "  "); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/openapi.json"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Errorf("%s is not current; make it anew with -update", golden)
	}
	if regexp.MustCompile(`"array",\s*"null"`).Match(want) {
		t.Error("the document lets a list be null")
	}
}

// Flags of this package's tests.
var update = flag.Bool("update", false, "write the golden files anew")
