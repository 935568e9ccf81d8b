package fleet

import (
	"errors"
	"time"
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

func isConflict(err error) bool { return errors.Is(err, ErrConflict) }
