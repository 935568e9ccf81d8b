package inventory

import (
	"context"
	"fmt"
	"strings"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// Rows are the rows of passive monitoring: a store.DB.
type Rows interface {
	Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error)
	ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error)
}

// Fingerprints is what all gateways heard: an api.Fingerprints. A filter's Gateway is a
// gateway's name or id, a row's is its name.
type Fingerprints struct {
	Known *Inventory
	DB    Rows
}

// Latest implements api.Fingerprints.
func (r Fingerprints) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	var err error
	if f.Gateway, err = r.Known.id(f.Gateway); err != nil {
		return lanfolk.Observation{}, false, err
	}
	o, ok, err := r.DB.Latest(ctx, f)
	o.Gateway = r.Known.name(o.Gateway)
	return o, ok, err
}

// ObservationPage implements api.Fingerprints.
func (r Fingerprints) ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	var err error
	if f.Gateway, err = r.Known.id(f.Gateway); err != nil {
		return nil, store.Cursor{}, err
	}
	rows, next, err := r.DB.ObservationPage(ctx, f)
	for n := range rows {
		rows[n].Gateway = r.Known.name(rows[n].Gateway)
	}
	return rows, next, err
}

// id returns the id of the gateway that is meant by its id or name; what is neither stays
// as it is, and has no rows.
func (i *Inventory) id(ref string) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if ref == "" || i.gateways[ref] != nil {
		return ref, nil
	}
	var ids []string
	for _, g := range i.sorted() {
		if g.name == ref {
			ids = append(ids, g.id)
		}
	}
	switch len(ids) {
	case 0:
		return ref, nil
	case 1:
		return ids[0], nil
	}
	return "", fmt.Errorf("inventory: gateway %q: %w: it may be any of %s", clip(ref), lanfolk.ErrAmbiguous, strings.Join(ids, ", "))
}

// name is what people are shown of a gateway.
func (i *Inventory) name(id string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if g := i.gateways[id]; g != nil {
		return g.label()
	}
	return id
}
