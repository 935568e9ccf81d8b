package store_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/conformance"
)

func TestSQLiteConforms(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T) conformance.Opener {
		path := filepath.Join(t.TempDir(), "lanfolk.db")
		return func() conformance.Store {
			db, err := store.Open(context.Background(), path, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
	})
}
