package conformance

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/store/fleet"
)

func commandLife(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	first := fleet.Command{ID: commandID(1), Gateway: "g1", Line: "exec backup 'a b'", By: "ann", Created: at(0), Deadline: at(60), Queue: true}
	second := fleet.Command{ID: commandID(2), Gateway: "g2", Line: "status"}
	noErr(t, h.Commands.Create(ctx, nil, first, second))
	// All or none.
	wantErr(t, h.Commands.Create(ctx, nil, fleet.Command{ID: commandID(3), Gateway: "g1"}, second), fleet.ErrExists)
	_, err := h.Commands.Command(ctx, commandID(3))
	wantErr(t, err, fleet.ErrUnknown)
	wantErr(t, h.Commands.Create(ctx, nil, fleet.Command{ID: "../x", Gateway: "g1"}), fleet.ErrInvalid)
	wantErr(t, h.Commands.Create(ctx, nil, fleet.Command{ID: commandID(3)}), fleet.ErrInvalid)

	first.Revision, first.State = 1, fleet.Queued
	c := must[fleet.Command](t)(h.Commands.Command(ctx, first.ID))
	same(t, c, first)
	c.State, c.Sent, c.Line = fleet.Sent, at(1), "never changes"
	c = must[fleet.Command](t)(h.Commands.Update(ctx, c))
	first.State, first.Sent, first.Revision = fleet.Sent, at(1), 2
	same(t, c, first)
	stale := c
	stale.Revision = 1
	_, err = h.Commands.Update(ctx, stale)
	wantErr(t, err, fleet.ErrConflict)
	same(t, len(must[[]fleet.Command](t)(h.Commands.Outstanding(ctx, "g1"))), 1)
	same(t, len(must[[]fleet.Command](t)(h.Commands.Outstanding(ctx, ""))), 2)

	c.State, c.Started = fleet.Running, at(2)
	c = must[fleet.Command](t)(h.Commands.Update(ctx, c))
	back := c
	back.State = fleet.Sent
	_, err = h.Commands.Update(ctx, back)
	wantErr(t, err, fleet.ErrState)
	c.State = fleet.Error
	_, err = h.Commands.Update(ctx, c)
	wantErr(t, err, fleet.ErrInvalid) // an end has a time
	c.Ended, c.Exit, c.Error, c.Type, c.Size, c.SHA256, c.CancelledBy = at(3), -1, "exit status", 1, 1<<40, [32]byte{31: 9}, "bob"
	c = must[fleet.Command](t)(h.Commands.Update(ctx, c))
	same(t, must[fleet.Command](t)(h.Commands.Command(ctx, c.ID)), c)
	_, err = h.Commands.Update(ctx, c) // an end is one
	wantErr(t, err, fleet.ErrState)
	same(t, len(must[[]fleet.Command](t)(h.Commands.Outstanding(ctx, "g1"))), 0)
	c.ID = commandID(9)
	_, err = h.Commands.Update(ctx, c)
	wantErr(t, err, fleet.ErrUnknown)
}

// commandRecord holds what the audit says of commands against the commands.
func commandRecord(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	entry := func(n int, outcome fleet.State) fleet.Entry {
		return fleet.Entry{Time: at(n), Who: "ann", What: "run", Ref: commandID(n), Outcome: string(outcome)}
	}
	var want []string
	said := func() {
		t.Helper()
		got := []string{}
		for e, err := range h.Audit.All(ctx) {
			noErr(t, err)
			got = append(got, e.Ref+" "+e.Outcome)
		}
		same(t, got, want)
		same(t, verified(t, h), uint64(len(want)))
	}
	noErr(t, h.Commands.Create(ctx, []fleet.Entry{entry(1, ""), entry(2, "")}, fleet.Command{ID: commandID(1), Gateway: "g1"}, fleet.Command{ID: commandID(2), Gateway: "g1"}))
	want = append(want, commandID(1)+" ", commandID(2)+" ")
	said()
	wantErr(t, h.Commands.Create(ctx, []fleet.Entry{entry(3, "")}, fleet.Command{ID: commandID(3), Gateway: "g1"}, fleet.Command{ID: commandID(2), Gateway: "g1"}), fleet.ErrExists)
	c := must[fleet.Command](t)(h.Commands.Command(ctx, commandID(1)))
	c.State, c.Ended = fleet.OK, at(5)
	stale := c
	stale.Revision++
	_, err := h.Commands.Update(ctx, stale, entry(1, fleet.OK))
	wantErr(t, err, fleet.ErrConflict)
	must[fleet.Command](t)(h.Commands.Update(ctx, c, entry(1, fleet.OK)))
	want = append(want, commandID(1)+" ok")
	said()
	c.Revision++
	_, err = h.Commands.Update(ctx, c, entry(1, fleet.OK))
	wantErr(t, err, fleet.ErrState)
	c.ID = commandID(3)
	_, err = h.Commands.Update(ctx, c, entry(3, fleet.OK))
	wantErr(t, err, fleet.ErrUnknown)
	said()

	// Many at once, of which half are refused, beside others who write to the audit.
	const writers, each = 8, 20
	done := make(chan error)
	for w := range writers {
		go func() {
			var err error
			for i := range each {
				n := 100 + w*each + i
				c := fleet.Command{ID: commandID(n), Gateway: "g1", Revision: 1, State: fleet.OK, Ended: at(n)}
				err = errors.Join(err, h.Commands.Create(ctx, []fleet.Entry{entry(n, "")}, c))
				_, e := h.Commands.Update(ctx, c, entry(n, fleet.OK))
				err = errors.Join(err, e)
				if _, e = h.Commands.Update(ctx, c, entry(n, fleet.Error)); !errors.Is(e, fleet.ErrConflict) && !errors.Is(e, fleet.ErrState) {
					err = errors.Join(err, fmt.Errorf("a second end: %w", e))
				}
				_, e = h.Audit.Append(ctx, fleet.Entry{What: "label"})
				err = errors.Join(err, e)
			}
			done <- err
		}()
	}
	for range writers {
		noErr(t, <-done)
	}
	same(t, verified(t, h), uint64(len(want)+3*writers*each))
	same(t, len(must[[]fleet.Entry](t)(h.Audit.Entries(ctx, fleet.AuditFilter{What: "run", Limit: 1000}))), len(want)+2*writers*each)
}

// commandModel lets writers with stale and fresh copies write in any order.
func commandModel(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	states := []fleet.State{fleet.Queued, fleet.Sent, fleet.Running, fleet.OK, fleet.Error, fleet.Timeout, fleet.Cancelled, fleet.Interrupted}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		id := commandID(n)
		noErr(t, h.Commands.Create(ctx, nil, fleet.Command{ID: id, Gateway: "g1"}))
		truth := must[fleet.Command](t)(h.Commands.Command(ctx, id))
		copies := []fleet.Command{truth, truth, truth}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			who := rapid.IntRange(0, len(copies)-1).Draw(t, "who")
			if rapid.Bool().Draw(t, "look") {
				copies[who] = must[fleet.Command](t)(h.Commands.Command(ctx, id))
				same(t, copies[who], truth)
				continue
			}
			c := copies[who]
			c.State, c.Exit = rapid.SampledFrom(states).Draw(t, "to"), rapid.IntRange(0, 9).Draw(t, "exit")
			if c.Ended = (time.Time{}); c.State.Ended() {
				c.Ended = at(0)
			}
			got, err := h.Commands.Update(ctx, c)
			switch {
			case c.Revision != truth.Revision:
				wantErr(t, err, fleet.ErrConflict)
			case !truth.State.Leads(c.State):
				wantErr(t, err, fleet.ErrState)
			default:
				noErr(t, err)
				c.Revision++
				same(t, got, c)
				truth, copies[who] = c, c
			}
		}
		same(t, must[fleet.Command](t)(h.Commands.Command(ctx, id)), truth)
	})

	// Many at once: each counts.
	noErr(t, h.Commands.Create(ctx, nil, fleet.Command{ID: commandID(n + 1), Gateway: "g1"}))
	const writers, each = 4, 5
	done := make(chan error)
	for range writers {
		go func() {
			var err error
			for range each {
				_, e := fleet.Amend(ctx, h.Commands, commandID(n+1), func(c *fleet.Command) bool { c.Exit++; return true })
				err = errors.Join(err, e)
			}
			done <- err
		}()
	}
	for range writers {
		noErr(t, <-done)
	}
	same(t, must[fleet.Command](t)(h.Commands.Command(ctx, commandID(n+1))).Exit, writers*each)
}

func commandPages(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	var all []fleet.Command
	for i := range 1200 {
		all = append(all, fleet.Command{ID: commandID(i), Gateway: []string{"g1", "g2"}[i%2], By: []string{"ann", "bob", "eve"}[i%3]})
	}
	noErr(t, h.Commands.Create(ctx, nil, all...))
	for i := range 10 {
		_, err := fleet.Amend(ctx, h.Commands, commandID(i), func(c *fleet.Command) bool { c.State, c.Ended = fleet.OK, at(i); return true })
		noErr(t, err)
	}
	ids := func(f fleet.CommandFilter) (ids []string) {
		for _, c := range must[[]fleet.Command](t)(h.Commands.Commands(ctx, f)) {
			ids = append(ids, c.ID)
		}
		return ids
	}
	same(t, len(ids(fleet.CommandFilter{})), 100)
	same(t, ids(fleet.CommandFilter{Limit: 2}), []string{commandID(1199), commandID(1198)})
	same(t, ids(fleet.CommandFilter{Limit: 2, Before: commandID(1198), Gateway: "g1"}), []string{commandID(1196), commandID(1194)})
	same(t, ids(fleet.CommandFilter{Limit: 1, By: "ann", States: []fleet.State{fleet.OK, fleet.Sent}}), []string{commandID(9)})
	same(t, must[[]string](t)(h.Commands.Forget(ctx, at(5), 3)), []string{commandID(0), commandID(1), commandID(2)})
	same(t, len(must[[]string](t)(h.Commands.Forget(ctx, at(5), 100))), 2)
	same(t, len(must[[]fleet.Command](t)(h.Commands.Outstanding(ctx, ""))), 1190)
}
