package announce

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/health"
)

// FromConfig returns the service that a section of the configuration describes.
// host is what {host} in its name stands for; dial opens the connections of its
// health check.
func FromConfig(c config.Announce, host string, dial health.Dial) Service {
	s := Service{Announcement: dnssd.Announcement{
		Name:     strings.ReplaceAll(c.Name, config.HostTemplate, host),
		Type:     c.Type,
		Subtypes: c.Subtypes, Placeholders: c.Placeholders,
		Port: uint16(c.Port), // Parse has checked it
		TXT:  c.TXT.Strings(),
		Host: dnssd.Host{Name: c.Host}, Links: c.Interfaces,
	}}
	for _, a := range c.Addresses {
		s.Host.Addresses = append(s.Host.Addresses, a.Addr)
	}
	s.Check = Check(c.Health, s.Announcement, dial)
	return s
}

// Check returns the health check of a service, one without a probe if there is
// to be none.
func Check(h config.AnnounceHealth, a dnssd.Announcement, dial health.Dial) health.Check {
	if !h.Check.On() {
		return health.Check{}
	}
	return health.Check{
		Probe:    probe(h, a, dial),
		Interval: h.Interval.Duration(), Timeout: h.Timeout.Duration(), Rises: h.Rises, Falls: h.Falls,
	}
}

func probe(h config.AnnounceHealth, a dnssd.Announcement, dial health.Dial) health.Probe {
	switch {
	case h.Check.URL != "":
		return health.HTTP(dial, h.Check.URL, h.Status)
	case h.Check.TCP != config.OwnPort:
		return health.TCP(dial, h.Check.TCP)
	}
	addresses := a.Host.Addresses
	if len(addresses) == 0 {
		addresses = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return anyOf(dial, addresses, a.Port)
}

// anyOf wants a connection to be accepted at one of the addresses.
func anyOf(dial health.Dial, addresses []netip.Addr, port uint16) health.Probe {
	return func(ctx context.Context) error {
		errs := make(chan error, len(addresses))
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for _, a := range addresses {
			try := health.TCP(dial, net.JoinHostPort(a.String(), strconv.Itoa(int(port))))
			go func() { errs <- try(ctx) }()
		}
		var all []error
		for range addresses {
			err := <-errs
			if err == nil {
				return nil
			}
			all = append(all, err)
		}
		return errors.Join(all...)
	}
}
