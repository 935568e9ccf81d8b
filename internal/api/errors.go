package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// statuses is the one table from errors to HTTP statuses; the first match
// counts. What is not in it is our own failure.
func statuses() []struct {
	is     error
	status int
} {
	return []struct {
		is     error
		status int
	}{
		{lanfolk.ErrNotFound, http.StatusNotFound},
		{lanfolk.ErrAmbiguous, http.StatusConflict},
		{lanfolk.ErrInvalid, http.StatusUnprocessableEntity},
		{store.ErrAway, http.StatusServiceUnavailable},
		{store.ErrSuspended, http.StatusServiceUnavailable},
		{store.ErrLocked, http.StatusServiceUnavailable},
		{store.ErrFull, http.StatusInsufficientStorage},
		{find.ErrNone, http.StatusNotFound},
		{find.ErrNoAnswer, http.StatusGatewayTimeout},
		{find.ErrProtocol, http.StatusUnprocessableEntity},
		{find.ErrOff, http.StatusServiceUnavailable},
		{access.ErrDenied, http.StatusForbidden},
		{access.ErrUnrecognised, http.StatusUnauthorized},
		{access.ErrTooMany, http.StatusTooManyRequests},
		{access.ErrInUse, http.StatusConflict},
		{access.ErrOff, http.StatusNotImplemented},
		{fleet.ErrUnknown, http.StatusNotFound},
		{fleet.ErrExists, http.StatusConflict},
		{fleet.ErrConflict, http.StatusConflict},
		{fleet.ErrState, http.StatusConflict},
		{fleet.ErrLastAdmin, http.StatusConflict},
		{fleet.ErrInvalid, http.StatusUnprocessableEntity},
		{errBusy, http.StatusServiceUnavailable},
		{errGreedy, http.StatusServiceUnavailable},
		{context.DeadlineExceeded, http.StatusGatewayTimeout},
		{context.Canceled, http.StatusServiceUnavailable},
	}
}

// failed makes an answer of a domain's error.
func failed(err error) huma.StatusError {
	for _, s := range statuses() {
		if errors.Is(err, s.is) {
			return huma.NewError(s.status, err.Error())
		}
	}
	return huma.NewError(http.StatusInternalServerError, err.Error())
}

// problem answers with a problem document (RFC 9457), outside of huma.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the client has gone.
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}
