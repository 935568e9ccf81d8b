package node

import (
	"context"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
)

// recheckNeighbours is how often the whole table is told again, so that what
// the kernel still holds doesn't run out.
const recheckNeighbours = 5 * time.Minute

// runNeighbours tells the registry what the kernel's neighbour table holds.
func (n *Node) runNeighbours(ctx context.Context) error {
	changes, err := lan.WatchNeighbours(ctx)
	if err != nil {
		return err
	}
	from := source.Neighbours{Gateway: n.Config.Name, Interface: n.links.name}
	tick := time.NewTicker(recheckNeighbours)
	defer tick.Stop()
	for {
		var rows []lan.Neighbour
		select {
		case changed, ok := <-changes:
			if !ok {
				return nil
			}
			rows = changed
		case <-tick.C:
			if rows, err = lan.Neighbours(); err != nil {
				return err
			}
		}
		n.reflection.macs.observe(rows)
		now := time.Now()
		var sightings []lanfolk.Sighting
		for _, row := range rows {
			if s, ok := from.Sighting(now, row); ok {
				sightings = append(sightings, s)
			}
		}
		n.registry.Observe(sightings...)
	}
}
