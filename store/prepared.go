package store

import (
	"context"
	"database/sql"
	"sync"
)

// prepared keeps statements that are asked again and again ready: to read SQL takes SQLite
// longer than to find a row by its name.
type prepared struct {
	mu  sync.Mutex
	all map[string]*sql.Stmt // by their text
}

// maxPrepared bounds how many are kept: there is one for each set of filters.
const maxPrepared = 32

// query is db.QueryContext. The statements end with db.
func (p *prepared) query(ctx context.Context, db *sql.DB, query string, args []any) (*sql.Rows, error) {
	p.mu.Lock()
	s := p.all[query]
	if s == nil && len(p.all) < maxPrepared {
		var err error
		if s, err = db.PrepareContext(ctx, query); err != nil {
			p.mu.Unlock()
			return nil, err
		}
		if p.all == nil {
			p.all = make(map[string]*sql.Stmt)
		}
		p.all[query] = s
	}
	p.mu.Unlock()
	if s == nil {
		return db.QueryContext(ctx, query, args...)
	}
	return s.QueryContext(ctx, args...)
}
