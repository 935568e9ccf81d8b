package nmos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

const (
	// attemptDelay is the head start of one address before the next is tried,
	// too (RFC 8305 §5).
	attemptDelay = 250 * time.Millisecond
	// maxAddresses bounds the addresses that are tried of one host.
	maxAddresses = 16
)

// errNoAddress is returned where there is nothing to dial.
var errNoAddress = errors.New("its host has no address")

// Dial returns a function for http.Transport's DialContext that connects to the
// selection, whatever address it is given: DNS-SD has told the host's
// addresses, which the system may be unable to find, such as those of names in .local.
// The name is left for TLS to verify. Addresses are tried one after the other, each with
// a short head start; the first that answers wins (RFC 8305). base opens the
// connections.
func (s Selection) Dial(base DialFunc) DialFunc {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return race(ctx, base, network, s.endpoints())
	}
}

// endpoints are what to dial: the target's addresses, those that hold
// everywhere first and the families in turn (RFC 8305 §4), or its name where the location was
// configured.
func (s Selection) endpoints() []string {
	port := strconv.Itoa(int(s.Target.Port))
	if s.Location != "" && len(s.Target.Addresses) == 0 {
		return []string{net.JoinHostPort(s.Target.Host, port)}
	}
	var out []string
	for _, a := range interleave(s.Target.Addresses) {
		out = append(out, net.JoinHostPort(a.String(), port))
	}
	return out
}

// interleave orders addresses as RFC 8305 §4 has it: IPv6 and IPv4 in turn,
// those that hold on a link alone behind all others.
func interleave(addresses []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, local := range [...]bool{false, true} {
		var six, four []netip.Addr
		for _, a := range addresses {
			switch {
			case a.IsLinkLocalUnicast() != local:
			case a.Unmap().Is4():
				four = append(four, a.Unmap())
			default:
				six = append(six, a)
			}
		}
		for i := range max(len(six), len(four)) {
			out = append(out, six[min(i, len(six)):min(i+1, len(six))]...)
			out = append(out, four[min(i, len(four)):min(i+1, len(four))]...)
		}
	}
	return slices.Clip(out[:min(len(out), maxAddresses)])
}

// race dials the addresses in order, each with a head start, and returns the
// first connection. If none comes the error holds what each said.
func race(ctx context.Context, dial DialFunc, network string, addresses []string) (net.Conn, error) {
	switch {
	case dial == nil:
		return nil, errors.New("nmos: no function to dial with")
	case len(addresses) == 0:
		return nil, errNoAddress
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		net.Conn
		error
	}
	results := make(chan result)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var failures []error
	for begun := 0; ; {
		var start <-chan time.Time
		if begun < len(addresses) {
			start = timer.C
		}
		select {
		case <-start:
			address := addresses[begun]
			begun++
			timer.Reset(attemptDelay)
			go func() {
				conn, err := dial(ctx, network, address)
				select {
				case results <- result{conn, err}:
				case <-ctx.Done():
					if err == nil {
						conn.Close()
					}
				}
			}()
		case r := <-results:
			if r.error == nil {
				return r.Conn, nil
			}
			failures = append(failures, r.error)
			if len(failures) == len(addresses) {
				return nil, joined(failures)
			}
			timer.Reset(0) // no reason to wait any longer
		case <-ctx.Done():
			return nil, joined(append(failures, ctx.Err()))
		}
	}
}

// joined returns errors as one, on one line.
func joined(errs []error) error {
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}
