package reverse_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/reverse"
)

func TestCommandAndAnswer(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: echo}
	start(t, g)
	if s := h.online(t, "g1"); !s.Native || s.Insecure || s.Epoch != 1 {
		t.Errorf("the session is %+v", s)
	}
	id := h.run(t, "g1", "status")
	r := h.answer(t, id)
	if string(r.text) != "you said status" || r.meta.Status != reverse.StatusOK || r.kind != reverse.TypeResult {
		t.Errorf("got %q, %+v", r.text, r.meta)
	}
	h.expect(t, "Delivered", func() bool { err, ok := g.said(id); return ok && err == nil })
}

// The original program cut results at 4 MiB, the limit of a message, and at a
// NUL.
func TestLargeResultWithNULArrivesWhole(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	all := make([]byte, 5<<20+7)
	if _, err := rand.Read(all); err != nil {
		t.Fatal(err)
	}
	all[1] = 0
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: func(context.Context, string) *reverse.Outgoing {
		return text(string(all))
	}}
	start(t, g)
	h.online(t, "g1")
	if r := h.answer(t, h.run(t, "g1", "get x")); !bytes.Equal(r.text, all) {
		t.Errorf("%d bytes came, not the %d that were sent", len(r.text), len(all))
	}
}

func TestOfflineGateway(t *testing.T) {
	h := newHub(t)
	id, _ := h.command(t, "g1")
	err := h.Send(t.Context(), "g1", reverse.Command{ID: id, Line: "status"})
	if !errors.Is(err, reverse.ErrOffline) {
		t.Errorf("got %v", err)
	}
	if err = h.Send(t.Context(), "g1", reverse.Command{ID: "x", Line: "status"}); !errors.Is(err, reverse.ErrID) {
		t.Errorf("got %v", err)
	}
	if err = h.Send(t.Context(), "g1", reverse.Command{ID: id, Line: "a\nb"}); err == nil || !strings.Contains(err.Error(), "control character") {
		t.Errorf("got %v", err)
	}
}
