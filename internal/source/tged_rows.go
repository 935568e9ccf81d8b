package source

import (
	"context"
	"sync"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/tged"
)

// TGEDRows are the rows of a tged.Table: a table services(service, key, value) in
// another program's database. Set one of Path and Postgres, and call Close at the end. Its
// methods may be called from any goroutine.
type TGEDRows struct {
	Path     string // of a SQLite database
	Postgres store.PostgresURL

	mu sync.Mutex
	db *store.Services
}

// Open opens the database: it fails if there is no SQLite database that can be read, and
// for a PostgresURL of which something is wrong. Who doesn't call it has that done by Check
// and Fields, again and again until it works.
func (r *TGEDRows) Open(ctx context.Context) error {
	_, err := r.open(ctx)
	return err
}

func (r *TGEDRows) open(ctx context.Context) (*store.Services, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.db != nil {
		return r.db, nil
	}
	var db *store.Services
	var err error
	if r.Path != "" {
		db, err = store.OpenServices(ctx, r.Path)
	} else {
		db, err = store.OpenPostgresServices(r.Postgres)
	}
	if err != nil {
		return nil, err
	}
	r.db = db
	return db, nil
}

// Check implements tged.Rows. An error that is store.ErrRefused comes from a PostgreSQL
// server that is there, and to which what it was told is wrong.
func (r *TGEDRows) Check(ctx context.Context) error {
	db, err := r.open(ctx)
	if err != nil {
		return err
	}
	return db.Check(ctx)
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
