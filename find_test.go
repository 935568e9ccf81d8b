package lanfolk_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
)

func TestFindByIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = r.Run(ctx) }()
		o := lanfolk.Origin{Protocol: "mdns", Link: "eth0"}
		ip := netip.MustParseAddr("192.0.2.7")
		service := lanfolk.Sighting{
			Origin: o, Kind: lanfolk.KindService, Key: "nas._http._tcp.local", Name: "nas", Type: "_http._tcp",
			Identifiers: []lanfolk.Identifier{lanfolk.IPIdentifier(ip, o)}, Time: time.Now(), Lifetime: time.Minute,
		}
		host := lanfolk.Sighting{
			Origin: o, Kind: lanfolk.KindDevice, Key: "nas.local 192.0.2.7", Name: "nas",
			Identifiers: []lanfolk.Identifier{lanfolk.IPIdentifier(ip, o)}, Time: time.Now(), Lifetime: time.Minute,
		}
		if s, d := r.Find(service.ID()); s != nil || d != nil {
			t.Errorf("before it was heard: %v, %v", s, d)
		}
		r.Observe(service, host)
		synctest.Wait()
		s, _ := r.Find(service.ID())
		_, d := r.Find(host.ID())
		if s == nil || d == nil {
			t.Fatalf("found service %v, device %v; want both", s, d)
		}
		if s.Name != "nas" || s.Device != d.ID {
			t.Errorf("service %+v is not one of device %s", s, d.ID)
		}
		host.Gone, host.Time = true, time.Now()
		r.Observe(host)
		synctest.Wait()
		if _, d := r.Find(host.ID()); d != nil {
			t.Errorf("after its goodbye: %+v", d)
		}
		if s, d := r.Find(lanfolk.ID{Protocol: "telex"}); s != nil || d != nil {
			t.Errorf("a protocol that was never heard: %v, %v", s, d)
		}
	})
}
