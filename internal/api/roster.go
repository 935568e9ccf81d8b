package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// rosterAge is how old the list of gateways may be for those who watch it or want a
// name from it.
const rosterAge = 2 * time.Second

// roster is the list of all gateways. Those who ask at about the same time share one
// reading.
type roster struct {
	log     GatewayLog
	turn    chan struct{} // holds a place: one reads, the others wait
	read    time.Time
	list    []fleet.Standing    // by id; never changed
	byID    map[string]int      // into list
	byName  map[string][]string // ids
	changes chan struct{}       // closed at a change that was made here
	lock    sync.Mutex          // of changes
}

func newRoster(log GatewayLog) *roster {
	return &roster{log: log, turn: make(chan struct{}, 1), changes: make(chan struct{})}
}

// picture is the list as it stood at a moment.
type picture struct {
	list   []fleet.Standing
	byID   map[string]int
	byName map[string][]string
}

// get returns a list that is not older than age.
func (r *roster) get(ctx context.Context, age time.Duration) (picture, error) {
	asked := time.Now()
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return picture{}, context.Cause(ctx)
	}
	defer func() { <-r.turn }()
	// Who asks for a fresh one is content with one that was begun after he asked.
	if r.list == nil || !r.read.After(asked.Add(-age)) {
		now := time.Now()
		list, err := r.log.Gateways(ctx, fleet.GatewayFilter{}, now)
		if err != nil {
			return picture{}, err
		}
		r.read, r.list = now, slices.Grow(list, 1)
		r.byID, r.byName = make(map[string]int, len(list)), make(map[string][]string, len(list))
		for i := range list {
			r.byID[list[i].ID] = i
			if name := list[i].Name; name != "" {
				r.byName[name] = append(r.byName[name], list[i].ID)
			}
		}
	}
	return picture{r.list, r.byID, r.byName}, nil
}

// changed lets who watches read anew at once.
func (r *roster) changed() {
	r.lock.Lock()
	defer r.lock.Unlock()
	close(r.changes)
	r.changes = make(chan struct{})
}

// change returns what is closed at the next change that is made here.
func (r *roster) change() <-chan struct{} {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.changes
}

// named returns the gateway of a name. One that is enrolled comes before those for which
// nobody vouches, and one that was revoked after all others, so that neither can take
// a name away.
func (p picture) named(name string) (fleet.Standing, error) {
	found := make([]fleet.Standing, 0, 1)
	for _, id := range p.byName[name] {
		found = append(found, p.list[p.byID[id]])
	}
	slices.SortStableFunc(found, func(a, b fleet.Standing) int { return cmp.Compare(trust(a), trust(b)) })
	switch {
	case len(found) == 0:
		return fleet.Standing{}, fmt.Errorf("%w gateway: there is none of the id or name %q", fleet.ErrUnknown, name)
	case len(found) > 1 && trust(found[0]) == trust(found[1]):
		var ids []string
		for _, s := range found {
			if trust(s) == trust(found[0]) {
				ids = append(ids, s.ID)
			}
		}
		const most = 5
		if n := len(ids) - most; n > 0 {
			ids = append(ids[:most], fmt.Sprintf("%d more", n))
		}
		return fleet.Standing{}, fmt.Errorf("%w: %q is the name of %s; say which by its id", lanfolk.ErrAmbiguous, name, strings.Join(ids, ", "))
	}
	return found[0], nil
}

func trust(s fleet.Standing) int {
	switch {
	case !s.Revoked.IsZero():
		return 2
	case s.Insecure():
		return 1
	}
	return 0
}

// name is what a gateway is called, "" if that is not known.
func (p picture) name(id string) string {
	if i, ok := p.byID[id]; ok {
		return p.list[i].Name
	}
	return ""
}

// gateway returns the one that a caller named by id or name: fleet.ErrUnknown,
// lanfolk.ErrAmbiguous.
func (s *Server) gateway(ctx context.Context, ref string) (fleet.Standing, error) {
	g, err := s.o.Fleet.Gateways.Gateway(ctx, ref, time.Now())
	if !errors.Is(err, fleet.ErrUnknown) {
		return g, err
	}
	p, err := s.roster.get(ctx, 0)
	if err != nil {
		return fleet.Standing{}, err
	}
	return p.named(ref)
}

// fleetChanged is called after a gateway's record was changed.
func (s *Server) fleetChanged() { s.roster.changed() }

// gatewayName is what people call a gateway, as far as is known without waiting long.
func (s *Server) gatewayName(ctx context.Context, id string) string {
	p, err := s.roster.get(ctx, rosterAge)
	if err != nil {
		return ""
	}
	return p.name(id)
}
