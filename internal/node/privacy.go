package node

import (
	"context"
	"crypto/rand"

	"github.com/lanfolk/lanfolk/internal/source"
)

// privacy stands before what is made of the facts of one link.
func (n *Node) privacy() *source.Privacy {
	return &source.Privacy{LocalOnly: n.Config.Passive.LocalOnly, Names: n.names}
}

// openNames makes what hides names, if the config wants that.
func (n *Node) openNames(ctx context.Context) {
	c := n.Config
	if !c.Passive.HashNames {
		return
	}
	key, err := n.db.Secret(ctx, source.NamesSecret)
	if err != nil {
		// What is heard in this run can't be looked for by name in the next one.
		n.Log.Warn("names are hashed with a key of this run alone", "err", err)
		key = []byte(rand.Text())
	}
	var own []string
	for _, d := range c.Passive.ReadableDomains {
		own = append(own, d.String())
	}
	for _, d := range append(c.DNS.Browse, c.DNS.Search...) {
		own = append(own, d.String())
	}
	for _, z := range c.Zones {
		own = append(own, z.Domain.String())
	}
	n.names = source.NewNames(key, own...)
}
