package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
)

// databasePatience bounds the wait for a database's server.
const databasePatience = 5 * time.Second

// checkDatabase asks a database that is a server's whether it can be used from here.
func (d Doctor) checkDatabase(ctx context.Context) []Finding {
	if d.Config == nil || d.Config.Store.Kind != config.Postgres || d.Database == nil {
		return nil
	}
	at := d.Config.Store.URL.WithoutPassword()
	ctx, cancel := context.WithTimeout(ctx, databasePatience)
	defer cancel()
	if err := d.Database(ctx); err != nil {
		return []Finding{{
			"database", Problem, fmt.Sprintf("%s can't be used: %v", at, err),
			"see that its server runs, lets this host and user in, and lets them make tables; until then a node goes on in memory",
		}}
	}
	return []Finding{{"database", Good, at, ""}}
}

// StoreStatus is what a node says of its database.
type StoreStatus struct {
	Path    string `json:"path"`
	Error   string `json:"error"`
	Pending uint64 `json:"pending"`
	Dropped uint64 `json:"dropped"`
}

// checkStore says what a running node says of its database.
func checkStore(s StoreStatus) []Finding {
	switch {
	case s.Error != "":
		return []Finding{{
			"node's database", Problem, fmt.Sprintf("%s: %s; %d rows wait in memory, %d were dropped", s.Path, s.Error, s.Pending, s.Dropped),
			"mend the cause; the node writes what waits then, without a restart",
		}}
	case s.Dropped > 0:
		return []Finding{{
			"node's database", Warning, fmt.Sprintf("%s: %d rows were dropped for want of room in memory", s.Path, s.Dropped),
			"see why it could not take them",
		}}
	}
	return nil
}
