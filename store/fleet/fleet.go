package fleet

import (
	"context"
	"time"

	"github.com/lanfolk/lanfolk/store"
)

// A Fleet is a hub's storage. Its parts know nothing of each other.
type Fleet struct {
	Sessions Sessions
	Commands CommandLog
	Blobs    Blobs
	Feed     Feed
	Once     Once
	Audit    Audit
	Accounts Accounts

	close func() error
}

// Options are what may be chosen. The zero value is good.
type Options struct {
	// BlobFolder is where results lie; it is made if it isn't there. "" is no
	// Blobs.
	BlobFolder string
	// MaxBytes bounds what all results may take, MaxGatewayBytes those of one
	// gateway, MaxBlobBytes one result. 0 is no bound.
	MaxBytes, MaxGatewayBytes, MaxBlobBytes int64
	// Retention is how long a result is kept; 0 is for ever.
	Retention time.Duration
}

// Open returns a hub's storage in a database, which must stay open for as long as it is
// used, and a folder. It removes what a crash left in the folder.
func Open(ctx context.Context, db *store.DB, o Options) (*Fleet, error) {
	f := &Fleet{
		Sessions: &sessions{db, &group{db: db}},
		Commands: &commands{db, &group{db: db}},
		Feed:     &feed{db, &group{db: db}},
		Once:     &once{db, &group{db: db}},
		Audit:    &audit{db, &group{db: db}},
		Accounts: &accounts{db, &group{db: db}, newPasswords(passwordCost())},
		close:    func() error { return nil },
	}
	if o.BlobFolder == "" {
		return f, nil
	}
	b, err := openBlobs(ctx, db, o)
	if err != nil {
		return nil, err
	}
	f.Blobs, f.close = b, b.close
	return f, nil
}

// Close ends the use of the folder; the database stays open.
func (f *Fleet) Close() error { return f.close() }
