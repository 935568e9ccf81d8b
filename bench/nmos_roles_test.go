//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/nmos"
)

// nmosTimeout is the time-out of the checks of nmos-failover.
const nmosTimeout = time.Second

// nmosClient returns a client that has heard nothing yet.
func nmosClient(server, domain string) *nmos.Client {
	kind, _ := nmos.KindOf(nmosType)
	c := &nmos.Client{Kind: kind, Needs: nmos.Needs{Versions: []nmos.Version{{Major: 1, Minor: 1}}, Proto: "http", Auth: new(bool)}}
	if server != "" {
		c.Unicast = &unicast.Source{Servers: unicast.Servers{
			Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(server), unicast.DefaultPort)}, Dial: new(net.Dialer).DialContext,
		}}
		c.Domains = []string{domain}
	}
	return c
}

// milliseconds is what roles print of a time.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// isAdvert says whether a selection is of the ith API.
func isAdvert(s *nmos.Selection, i int) bool {
	return s != nil && s.Name == fmt.Sprintf("Control %03d", i)
}

// roleNMOSSelect selects, each time with a new client. Arguments: unicast or
// mdns, server, domain, rounds. It prints a list of times in milliseconds.
func roleNMOSSelect(args []string) error {
	rounds, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	var took []float64
	for range rounds {
		begin := time.Now()
		c := nmosClient(args[1], args[2])
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		ended := make(chan error, 1)
		if args[0] == "mdns" {
			e := sockets.Engine(sockets.Selection{}, 0, nil)
			c.Multicast = dnssd.Multicast(e)
			go func() { ended <- e.Run(ctx) }()
		} else {
			ended <- nil
		}
		st, err := c.Once(ctx)
		took = append(took, milliseconds(time.Since(begin)))
		stop()
		switch {
		case err != nil:
			return err
		case !isAdvert(st.Selected, bestAdvert):
			return fmt.Errorf("selected %v: %s", st.Selected, st.Reason)
		}
		if err := <-ended; err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(took)
}

// roleNMOSFailOver has the best API checked, which fails, until the next is
// chosen. Arguments: server, domain, rounds. It prints a list of times in
// milliseconds.
func roleNMOSFailOver(args []string) error {
	rounds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var took []float64
	probe := &nmos.Probe{DialContext: new(net.Dialer).DialContext, Timeout: nmosTimeout}
	for range rounds {
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		c := nmosClient(args[0], args[1])
		begin := make(chan time.Time, 1)
		c.Check = func(ctx context.Context, s nmos.Selection) error {
			if isAdvert(&s, bestAdvert) {
				begin <- time.Now()
			}
			return probe.Check(ctx, s)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		for st := range c.Changes(ctx) {
			if isAdvert(st.Selected, nextAdvert) {
				took = append(took, milliseconds(time.Since(<-begin)))
				break
			}
		}
		why := ctx.Err()
		stop()
		if err := <-ended; err != nil || why != nil {
			return fmt.Errorf("%w, %w", err, why)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(took)
}
