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
const maxPrepared = 64

// query is db.QueryContext. The statements end with db.
func (p *prepared) query(ctx context.Context, db *sql.DB, query string, args []any) (*sql.Rows, error) {
	s, err := p.prepare(ctx, db, query) //nolint:sqlclosecheck // the statements end with db
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return db.QueryContext(ctx, query, args...)
	}
	return s.QueryContext(ctx, args...)
}

// prepare makes a statement ready; nil if there are enough. It waits for a connection, so
// nobody who has one may wait for it.
func (p *prepared) prepare(ctx context.Context, db *sql.DB, query string) (*sql.Stmt, error) {
	if s, room := p.find(query); s != nil || !room { //nolint:sqlclosecheck // the statements end with db
		return s, nil
	}
	s, err := db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if was := p.all[query]; was != nil { // somebody was quicker
		return was, s.Close() //nolint:sqlclosecheck // nobody else has it
	}
	if p.all == nil {
		p.all = make(map[string]*sql.Stmt)
	}
	p.all[query] = s
	return s, nil
}

// find returns a statement if it is ready, and else whether there is room for it.
func (p *prepared) find(query string) (s *sql.Stmt, room bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[query], len(p.all) < maxPrepared
}
