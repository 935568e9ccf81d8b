package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

func TestDatabase(t *testing.T) {
	c := config.Default()
	asked := 0
	d := Doctor{Config: c, Database: func(context.Context) error { asked++; return nil }}
	if found := d.checkDatabase(t.Context()); found != nil || asked != 0 {
		t.Errorf("a file: %v, asked %d times", found, asked)
	}
	c.Store.Kind, c.Store.URL = config.Postgres, "postgres://john:s3cret@db/lanfolk?sslmode=require"
	if found := d.checkDatabase(t.Context()); len(found) != 1 || found[0] != (Finding{"database", Good, "postgres://john@db/lanfolk?sslmode=require", ""}) {
		t.Errorf("it answers: %v", found)
	}
	d.Database = func(context.Context) error { return errors.New("no answer") }
	found := d.checkDatabase(t.Context())
	if len(found) != 1 || found[0].Grade != Problem || found[0].Advice == "" || found[0].Found != "postgres://john@db/lanfolk?sslmode=require can't be used: no answer" {
		t.Errorf("it doesn't: %v", found)
	}
}

func TestNodesDatabase(t *testing.T) {
	for _, c := range []struct {
		s     StoreStatus
		grade Grade
		want  string
	}{
		{StoreStatus{Path: "x", Pending: 7}, "", ""},
		{StoreStatus{Path: "x", Dropped: 7}, Warning, "x: 7 rows were dropped"},
		{StoreStatus{Path: "x", Error: "disk full", Pending: 7}, Problem, "x: disk full; 7 rows wait in memory, 0 were dropped"},
	} {
		found := checkStore(c.s)
		if c.want == "" && found != nil || c.want != "" && (len(found) != 1 || found[0].Grade != c.grade || !strings.HasPrefix(found[0].Found, c.want) || found[0].Advice == "") {
			t.Errorf("%+v: %v; want %s", c.s, found, c.want)
		}
	}
}
