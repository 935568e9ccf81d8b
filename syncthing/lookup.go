package syncthing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// DefaultTimeout is how long a [Lookup] waits: as long as the old clients.
const DefaultTimeout = 5 * time.Second

// ErrNoAnswer is returned by [Lookup.Ask] when no server answered in time. A server that
// doesn't know the device doesn't answer, so that is no different from one that is away.
var ErrNoAnswer = errors.New("no server answered")

// A question is asked again after 1, 2 and 4 s. Once one server answered the others
// have a while left: those that don't know the device would never say so.
const (
	askAgain = time.Second
	grace    = 500 * time.Millisecond
)

// Lookup asks global servers where devices are. Servers and Listen must be set.
type Lookup struct {
	Servers []netip.AddrPort
	// Listen opens a socket on a free port, from which the server can be reached. Each
	// question has one of its own for each server.
	Listen  func(server netip.AddrPort) (Conn, error)
	Timeout time.Duration // 0 means DefaultTimeout
}

// Ask asks all servers at once where a device is. It returns all the addresses that they
// know, without duplicates: those of the server that answered first come first. Its error is
// ErrNoAnswer (wrapped) when the timeout is over, and ctx's when that is done. Servers
// that can't be asked are no matter as long as others can.
func (l *Lookup) Ask(ctx context.Context, id DeviceID) ([]netip.AddrPort, error) {
	timeout := l.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ours, cancel := context.WithTimeout(ctx, timeout)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	replies := make(chan reply)
	for i, server := range l.Servers {
		tasks.Go(func() {
			found, err := l.ask(ours, server, id)
			if err != nil && ours.Err() != nil {
				return // it was told to end
			}
			select {
			case replies <- reply{i, found, err}:
			case <-ours.Done():
			}
		})
	}
	var all []netip.AddrPort
	var errs []error
	var enough <-chan time.Time
	for range l.Servers {
		select {
		case r := <-replies:
			if r.err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", l.Servers[r.server], r.err))
				continue
			}
			for _, a := range r.found {
				if !slices.Contains(all, a) {
					all = append(all, a)
				}
			}
			if enough == nil {
				enough = time.After(grace)
			}
			continue
		case <-enough:
		case <-ours.Done():
		}
		break
	}
	switch {
	case len(all) > 0:
		return all, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("syncthing: look up %s: %w", id, ctx.Err())
	case len(errs) > 0 && len(errs) == len(l.Servers):
		return nil, fmt.Errorf("syncthing: look up %s: %w", id, errors.Join(errs...))
	}
	return nil, fmt.Errorf("syncthing: look up %s: %w", id, ErrNoAnswer)
}

// reply is what came of asking a server.
type reply struct {
	server int
	found  []netip.AddrPort
	err    error
}

// ask asks one server, until it answers, ctx is done, or the socket fails.
func (l *Lookup) ask(ctx context.Context, server netip.AddrPort, id DeviceID) ([]netip.AddrPort, error) {
	c, err := l.Listen(server)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // nothing is left to lose
	defer stop()
	ask, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	defer sender.Wait()
	defer func() { _ = c.Close() }()
	defer cancel()
	var unsent error
	sender.Go(func() {
		if unsent = l.send(ask, c, server, id); unsent != nil {
			_ = c.Close()
		}
	})
	found, err := listenFor(c, server, id)
	if err != nil {
		cancel()
		sender.Wait()
		if unsent != nil {
			err = unsent
		}
	}
	return found, err
}

// send sends the question, and again, until ctx is done. Only of the first it returns the
// error: what fails later may be over the next time.
func (l *Lookup) send(ctx context.Context, c Conn, server netip.AddrPort, id DeviceID) error {
	q := []packet.Datagram{{Data: Query{ID: id}.Append(nil), Dst: server}}
	if _, err := c.WriteBatch(q); err != nil {
		return err
	}
	for wait := askAgain; ; wait *= 2 {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			_, _ = c.WriteBatch(q)
		}
	}
}

// listenFor reads until the server that was asked says something of the device that it was
// asked for. An address without an IP is of no use there: it would be the server's.
func listenFor(c Conn, server netip.AddrPort, id DeviceID) ([]netip.AddrPort, error) {
	server = netip.AddrPortFrom(server.Addr().Unmap().WithZone(""), server.Port())
	var in [4]packet.Datagram
	var a Announcement
	for {
		n, err := c.ReadBatch(in[:])
		if err != nil {
			return nil, err
		}
		for _, d := range in[:n] {
			if d.Src != server || a.Parse(d.Data) != nil || a.ID != id {
				continue
			}
			found := slices.DeleteFunc(a.Addresses, func(p netip.AddrPort) bool { return !p.Addr().IsValid() })
			if len(found) > 0 {
				return found, nil
			}
		}
	}
}
