package nmos_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/nmos"
	"github.com/lanfolk/lanfolk/packet"
)

// link is a client and a responder, hosts on a wire with engines of their own.
type link struct {
	t       *testing.T
	wire    *lantest.Wire
	api     *lantest.NIC // the responder's
	engine  *mdns.Engine // the responder's
	capture *lantest.Capture
	client  *nmos.Client
}

func onLink(t *testing.T, f func(*link)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		network := lantest.New(1)
		l := &link{t: t, wire: network.Wire("studio")}
		join := func(name, address string) (*mdns.Engine, *lantest.NIC) {
			host := network.Host(name)
			nic := host.Attach(l.wire, "eth0", address)
			e := &mdns.Engine{
				Links: host.WatchLinks, AskUnicast: func(packet.Link) bool { return true },
				Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) { return host.ListenMulticast(l, g) },
			}
			go func() {
				if err := e.Run(ctx); err != nil {
					t.Error(err)
				}
			}()
			return e, nic
		}
		mine, _ := join("client", "192.0.2.1/24")
		l.engine, l.api = join("ctl", "192.0.2.2/24")
		l.capture = l.wire.Capture()
		k, _ := nmos.KindOf("netctrl")
		l.client = &nmos.Client{Kind: k, Needs: nmos.Needs{Proto: "http"}, Multicast: dnssd.Multicast(mine)}
		done := make(chan error, 1)
		go func() { done <- l.client.Run(ctx) }()
		f(l)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// queries returns how many queries the client has sent for a type since the last call.
func (l *link) queries(of dnswire.Type) int {
	n := 0
	for _, p := range l.capture.Take() {
		m, err := dnswire.Parse(p.Data)
		if err != nil || m.Response || p.Host != "client" {
			continue
		}
		for q := range m.Questions() {
			if q.Type == of {
				n++
				break
			}
		}
	}
	return n
}

func (l *link) publish() {
	l.t.Helper()
	k, _ := nmos.KindOf("netctrl")
	a, err := nmos.Advertisement{Kind: k, Name: "A", Port: 80, Versions: []nmos.Version{{Major: 1}}, Priority: 10}.OnLinks()
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := (&dnssd.Publisher{Engine: l.engine, Host: "ctl"}).Publish(a); err != nil {
		l.t.Fatal(err)
	}
}

// While there is nothing a link isn't asked much more than by who just waits
// (RFC 6762 §5.2), and who comes is heard.
func TestNothingOnALink(t *testing.T) {
	onLink(t, func(l *link) {
		time.Sleep(time.Hour)
		n := l.queries(dnswire.TypePTR)
		t.Logf("%d queries in an hour", n)
		if n < 12 || n > 80 {
			t.Errorf("%d queries in an hour", n)
		}
		l.publish()
		time.Sleep(6 * time.Second)
		if st := l.client.State(); st.Selected == nil || st.Selected.Name != "A" {
			t.Errorf("selected %v: %s", st.Selected, st.Reason)
		}
	})
}

// What fails is asked for twice or more, and is gone ten seconds after it was
// doubted if nobody answers (RFC 6762 §10.4).
func TestFailureOnALinkIsFlushed(t *testing.T) {
	onLink(t, func(l *link) {
		l.publish()
		sel, err := l.client.Select(l.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		l.queries(dnswire.TypeSRV)
		l.api.SetCarrier(false)
		l.client.Failed(sel, context.DeadlineExceeded)
		time.Sleep(8 * time.Second)
		if n := l.queries(dnswire.TypeSRV); n < 2 {
			t.Errorf("%d queries for the SRV record, want two or more", n)
		}
		if st := l.client.State(); len(st.Groups) != 1 {
			t.Errorf("gone after eight seconds: %s", st.Reason)
		}
		time.Sleep(3 * time.Second)
		if st := l.client.State(); len(st.Groups) != 0 || st.Selected != nil {
			t.Errorf("still in the list after eleven seconds: %s", st.Reason)
		}
		l.api.SetCarrier(true)
		began := time.Now()
		sel, err = l.client.Select(l.t.Context())
		if took := time.Since(began); err != nil || sel.Name != "A" || took > 35*time.Second {
			t.Errorf("in use %v after it came back (%v)", took, err)
		}
	})
}
