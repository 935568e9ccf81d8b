package conformance

import (
	"testing"

	"github.com/lanfolk/lanfolk/store/fleet"
)

func tokens(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	o := h.Once
	hash, other := fleet.HashSecret("secret"), fleet.HashSecret("other")
	token := fleet.Token{ID: "t1", Hash: hash, Name: "cellar", By: "ann", Created: at(0), Expires: at(60), Gateway: "g1"}
	noErr(t, o.AddToken(ctx, token))
	wantErr(t, o.AddToken(ctx, token), fleet.ErrExists)
	wantErr(t, o.AddToken(ctx, fleet.Token{ID: "t2", Hash: hash, Expires: at(60)}), fleet.ErrExists)
	wantErr(t, o.AddToken(ctx, fleet.Token{ID: "t2", Hash: other}), fleet.ErrInvalid)
	noErr(t, o.AddToken(ctx, fleet.Token{ID: "t2", Hash: other, Created: at(1), Expires: at(9)}))

	same(t, must[fleet.Token](t)(o.Token(ctx, hash, at(1))), token)
	_, err := o.Token(ctx, fleet.HashSecret("third"), at(1))
	wantErr(t, err, fleet.ErrUnknown)
	_, err = o.UseToken(ctx, fleet.HashSecret("third"), [32]byte{1}, nil, at(1))
	wantErr(t, err, fleet.ErrUnknown)

	token.Used, token.Key, token.Answer = at(2), [32]byte{1}, []byte("answer")
	same(t, must[fleet.Token](t)(o.UseToken(ctx, hash, [32]byte{1}, []byte("answer"), at(2))), token)
	// The answer was lost: the same key gets the same one.
	same(t, must[fleet.Token](t)(o.UseToken(ctx, hash, [32]byte{1}, []byte("second"), at(3))), token)
	_, err = o.UseToken(ctx, hash, [32]byte{2}, []byte("thief"), at(4))
	wantErr(t, err, fleet.ErrUsed)
	_, err = o.UseToken(ctx, hash, [32]byte{1}, nil, at(60))
	wantErr(t, err, fleet.ErrExpired)
	_, err = o.UseToken(ctx, other, [32]byte{2}, nil, at(9))
	wantErr(t, err, fleet.ErrExpired)
	_, err = o.Token(ctx, other, at(9))
	wantErr(t, err, fleet.ErrExpired)
	same(t, must[[]fleet.Token](t)(o.Tokens(ctx))[1], token)

	// Of many at once one gets it.
	race := fleet.HashSecret("race")
	noErr(t, o.AddToken(ctx, fleet.Token{ID: "t3", Hash: race, Expires: at(60)}))
	errs := make(chan error)
	for i := range 8 {
		go func() {
			_, err := o.UseToken(ctx, race, [32]byte{byte(i + 1)}, nil, at(1))
			errs <- err
		}()
	}
	won := 0
	for range 8 {
		if err := <-errs; err == nil {
			won++
		} else {
			wantErr(t, err, fleet.ErrUsed)
		}
	}
	same(t, won, 1)
	noErr(t, o.RemoveToken(ctx, "t3"))
	wantErr(t, o.RemoveToken(ctx, "t3"), fleet.ErrUnknown)
	same(t, must[int](t)(o.ForgetTokens(ctx, at(30))), 1)
	same(t, len(must[[]fleet.Token](t)(o.Tokens(ctx))), 1)
}

func revocations(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	for i, subject := range []string{"g1", "g2", "g1"} {
		noErr(t, h.Once.Revoke(ctx, fleet.Revocation{Subject: subject, When: at(i), By: "ann", Why: "lost"}))
	}
	all := must[[]fleet.Revocation](t)(h.Once.Revocations(ctx, 0))
	same(t, []any{len(all), all[0].Subject, all[0].When, all[1].Subject}, []any{2, "g1", at(0), "g2"})
	same(t, must[[]fleet.Revocation](t)(h.Once.Revocations(ctx, all[0].Position)), all[1:])
	same(t, []bool{must[bool](t)(h.Once.Revoked(ctx, "g2")), must[bool](t)(h.Once.Revoked(ctx, "g3"))}, []bool{true, false})
}
