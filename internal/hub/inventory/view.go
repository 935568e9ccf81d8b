package inventory

import (
	"context"

	"github.com/lanfolk/lanfolk"
)

// Devices counts, with the gateway's id; see Inventory.All for the list.
type counts struct{ *Inventory }

// Devices implements api.Counts.
func (c counts) Devices(gateway string) int { return 0 }

// Counts returns the number of devices a gateway: an api.Counts.
func (i *Inventory) Counts() interface{ Devices(gateway string) int } { return counts{i} }

// Devices implements api.Inventory. f.Gateway is a gateway's name or id.
func (i *Inventory) Devices(f lanfolk.Filter) []*lanfolk.Device { return []*lanfolk.Device{} }

// Services implements api.Inventory.
func (i *Inventory) Services(f lanfolk.Filter) []*lanfolk.Service { return []*lanfolk.Service{} }

// Device implements api.Inventory.
func (i *Inventory) Device(ref string) (*lanfolk.Device, error) { return nil, lanfolk.ErrNotFound }

// Explain implements api.Inventory.
func (i *Inventory) Explain(ref string) (*lanfolk.Device, []lanfolk.Evidence, error) {
	return nil, nil, lanfolk.ErrNotFound
}

// Reasons implements api.Inventory.
func (i *Inventory) Reasons(ref string) ([]lanfolk.Conclusion, error) {
	return nil, lanfolk.ErrNotFound
}

// Watch implements api.Inventory.
func (i *Inventory) Watch(ctx context.Context, f lanfolk.Filter) <-chan lanfolk.Event {
	out := make(chan lanfolk.Event)
	go func() { defer close(out); <-ctx.Done() }()
	return out
}

// SetNames implements api.Inventory: the names are kept at the hub.
func (i *Inventory) SetNames(ctx context.Context, ref string, names ...string) (*lanfolk.Device, error) {
	return nil, lanfolk.ErrNotFound
}

// SetTags implements api.Inventory, as SetNames does.
func (i *Inventory) SetTags(ctx context.Context, ref string, tags ...string) (*lanfolk.Device, error) {
	return nil, lanfolk.ErrNotFound
}

// Separate implements api.Inventory: it is refused.
func (i *Inventory) Separate(ctx context.Context, ref string, id lanfolk.Identifier) (*lanfolk.Device, error) {
	return nil, lanfolk.ErrInvalid
}

// Rejoin implements api.Inventory: it is refused.
func (i *Inventory) Rejoin(ctx context.Context, ref string, id lanfolk.Identifier) (*lanfolk.Device, error) {
	return nil, lanfolk.ErrInvalid
}
