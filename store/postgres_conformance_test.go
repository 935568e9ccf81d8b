package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/conformance"
	"github.com/lanfolk/lanfolk/test/lab"
)

// server is a PostgreSQL server, one for all tests of this package.
type server struct {
	*lab.Postgres
	schemas int
}

// schema makes room for another store and returns where that is.
func (s *server) schema() string {
	s.schemas++
	name := fmt.Sprintf("s%d", s.schemas)
	s.SQL("CREATE SCHEMA " + name)
	return s.Socket("search_path=" + name)
}

// TestPostgres is every test that needs the server.
func TestPostgres(t *testing.T) {
	l := lab.New(t)
	s := &server{Postgres: l.Host("db").Postgres()}
	t.Run("conforms", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) conformance.Opener {
			where := s.schema()
			return func() conformance.Store {
				db, err := store.Open(context.Background(), where, store.Options{Node: "cellar"})
				if err != nil {
					t.Fatal(err)
				}
				return db
			}
		})
	})
}
