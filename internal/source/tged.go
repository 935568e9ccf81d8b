package source

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/syncthing"
	"github.com/lanfolk/lanfolk/tged"
)

// ProtocolTGED is the name of TGED in sightings.
const ProtocolTGED = "tged"

// TGEDWait is how long a search waits for answers: servers give them at once, and
// a search for a word must not wait for TGED when another protocol knows it.
const TGEDWait = time.Second

const (
	tgedEvery    = time.Minute            // how often Feed asks for a service
	tgedFirst    = 100 * time.Millisecond // between its first questions
	tgedLifetime = 5 * time.Minute        // how long an answer holds: TGED names no end, and some get lost
)

// TGED asks by the Simple Discovery Protocol and turns answers into sightings.
type TGED struct {
	Gateway string // this node's name, "" for a node alone
	// Own says whether an answer is this node's own, which has come back. nil: it
	// answers nobody.
	Own func(tged.Answer) bool
}

// Service returns the sighting of a service that a server answered for.
//
// Its address is the field IP or, if there is none that could be a host's, the
// server's own: the document's clients use that, too.
func (x TGED) Service(now time.Time, a tged.Answer) lanfolk.Sighting {
	server := a.Server.Addr().Unmap()
	o := lanfolk.Origin{
		Protocol: ProtocolTGED, Gateway: x.Gateway, Link: a.Link.Name, Source: server.String(),
		Self: x.Own != nil && x.Own(a),
	}
	get := func(key string) string {
		v, _ := a.Get(key)
		return text(v)
	}
	address, err := netip.ParseAddr(get("IP"))
	address = address.Unmap().WithZone("")
	if err != nil || address.IsUnspecified() || address.IsLoopback() || address.IsMulticast() {
		address = server
	}
	port, err := strconv.ParseUint(get("PORT"), 10, 16)
	if err != nil {
		port = 0 // unknown
	}
	name := capitals(a.Service)
	s := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindService, Key: name + " " + server.String(),
		Name: cmp.Or(get("HOST"), get("FQDN"), name), Type: name,
		Host: cmp.Or(get("FQDN"), get("HOST")), Addresses: []netip.Addr{address}, Port: uint16(port),
		Attributes:  make(map[string]string, len(a.Fields)),
		Identifiers: []lanfolk.Identifier{lanfolk.IPIdentifier(address, o)},
		What:        server.String() + " says that " + name + " is at " + address.String(),
		State:       lanfolk.Reachable, Time: now, Lifetime: tgedLifetime,
	}
	for _, f := range a.Fields {
		s.Attributes[text(f.Key)] = text(f.Value)
	}
	return s
}

// capitals folds a service's name as TGED compares names: ASCII letters only.
func capitals(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, text(name))
}

// Feed asks for services, each once a minute, and tells what is answered until
// ctx ends; then it returns nil. While nobody can be asked it goes on trying.
func (x TGED) Feed(ctx context.Context, client *tged.Client, services []string, observe func(...lanfolk.Sighting)) error {
	if len(services) == 0 {
		<-ctx.Done()
		return nil
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for n := 0; ; n++ {
		service := services[n%len(services)]
		tasks.Go(func() {
			for a, err := range client.All(ctx, service) {
				if err == nil {
					observe(x.Service(time.Now(), a))
				}
			}
		})
		// One after the other, so that broadcasts don't come in bursts; but at the start soon.
		pause := tgedEvery / time.Duration(len(services))
		if n < len(services)-1 {
			pause = min(pause, tgedFirst)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// AskTGED asks all TGED servers for the service that a bare word names.
type AskTGED struct {
	TGED   TGED
	Client *tged.Client // its Timeout bounds the wait for answers
}

// Protocol implements find.Asker.
func (AskTGED) Protocol() string { return ProtocolTGED }

// Ask implements find.Asker. An INVALID isn't the last word: another server, or
// another protocol, may know the name.
func (a AskTGED) Ask(ctx context.Context, q find.Query, emit func(lanfolk.Sighting)) error {
	if q.ServiceType != "" || q.Host != "" || q.Addr.IsValid() || q.MAC != (lanfolk.MAC{}) || q.Device != (syncthing.DeviceID{}) || tged.CheckName(q.Text) != nil {
		return nil
	}
	for x, err := range a.Client.All(ctx, q.Text) {
		switch {
		case errors.Is(err, tged.ErrInvalid), errors.Is(err, tged.ErrNoAnswer):
			return nil
		case err != nil:
			return err
		}
		emit(a.TGED.Service(time.Now(), x))
	}
	return nil
}
