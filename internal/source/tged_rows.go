package source

import (
	"context"
	"sync"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/tged"
)

// TGEDRows are the rows of a tged.Table: a table services(service, key, value) in
// another program's SQLite database. Set Path, and call Close at the end. Its methods may
// be called from any goroutine.
type TGEDRows struct {
	Path string

	mu sync.Mutex
	db *store.Services
}

// Open opens the database. Who doesn't call it has that done by Fields, again and
// again until it works.
func (r *TGEDRows) Open(ctx context.Context) error {
	_, err := r.open(ctx)
	return err
}

func (r *TGEDRows) open(ctx context.Context) (*store.Services, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.db == nil {
		db, err := store.OpenServices(ctx, r.Path)
		if err != nil {
			return nil, err
		}
		r.db = db
	}
	return r.db, nil
}

// Fields implements tged.Rows.
func (r *TGEDRows) Fields(ctx context.Context, service string) ([]tged.Field, error) {
	db, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	pairs, err := db.Fields(ctx, service)
	fields := make([]tged.Field, len(pairs))
	for n, p := range pairs {
		fields[n] = tged.Field{Key: p[0], Value: p[1]}
	}
	return fields, err
}

// Close closes the database. The next Fields opens it again.
func (r *TGEDRows) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	db := r.db
	if db == nil {
		return nil
	}
	r.db = nil
	return db.Close()
}
