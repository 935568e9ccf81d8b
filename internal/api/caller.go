package api

import (
	"context"

	"github.com/lanfolk/lanfolk/internal/access"
)

// Caller returns who sent the request that a call comes from: for what a Server is
// handed, a Finder say, that has to put on record for whom it works.
func Caller(ctx context.Context) access.Who { return whoOf(ctx) }
