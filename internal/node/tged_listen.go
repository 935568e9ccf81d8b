package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// tgedYield is how often a node that only hears requests looks whether another program
// answers on this machine.
const tgedYield = 5 * time.Second

// tgedPort is TGED's port as a node uses it that only hears. A datagram to this machine
// reaches a single socket: while another program has the port, that must not be ours.
type tgedPort struct {
	mu     sync.Mutex
	looked time.Time
	err    error // who has it
}

// taken says who has the port, nil for nobody.
func (p *tgedPort) taken() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) < time.Second {
		return p.err
	}
	p.looked, p.err = time.Now(), nil
	holders, err := lan.PortHolders(tged.Port)
	if err != nil {
		return nil // then opening it has to say
	}
	for _, h := range holders {
		if !h.Self {
			p.err = fmt.Errorf("node: hear TGED requests: %v", h)
		}
	}
	return p.err
}

func (p *tgedPort) listen(l packet.Link, port uint16) (tged.Conn, error) {
	if err := p.taken(); err != nil {
		return nil, err
	}
	return listenBroadcast(l, port)
}

// run hears until ctx ends, and gives the port up while others have it.
func (p *tgedPort) run(ctx context.Context, server *tged.Server) error {
	for ctx.Err() == nil {
		hearing, stop := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() {
			for {
				select {
				case <-time.After(tgedYield):
				case <-hearing.Done():
					return
				}
				if names, _ := server.Listening(); len(names) > 0 && p.taken() != nil {
					stop()
				}
			}
		})
		err := server.Run(hearing)
		stop()
		watch.Wait()
		if err != nil {
			return err
		}
	}
	return nil
}
