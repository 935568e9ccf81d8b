package source

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/syncthing"
)

// Rows is the fingerprint database: a store.Recorder, or a store.DB where no
// recorder writes to it.
type Rows interface {
	// Latest returns the row heard last of those that f asks for, and whether
	// there is one.
	Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error)
	// ObservationPage returns rows, the one heard last first, and where they go on.
	ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error)
}

// Announcements looks into the fingerprint database for who announces a host's name.
type Announcements struct{ Rows Rows }

// Host returns the newest announcement of a host's name by mDNS, and whether there
// is one. A database that can't be read knows none: discovery goes on without it.
func (h Announcements) Host(ctx context.Context, host string) (lanfolk.Observation, bool) {
	row, ok, err := h.Rows.Latest(ctx, store.ObservationFilter{Query: host, Protocol: passive.ProtoMDNS, Response: yes()})
	return row, ok && err == nil
}

func yes() *bool {
	y := true
	return &y
}

// AskFingerprints looks into the fingerprint database for the device that last
// announced a name or address, and for those that announced a service type: passive
// monitoring heard their MACs.
type AskFingerprints struct {
	Rows Rows
	// Neighbours returns the kernel's neighbour table, which knows more addresses of
	// a MAC. nil for lan.Neighbours.
	Neighbours func() ([]lan.Neighbour, error)
}

// rowsLookedAt bounds how many rows are looked at for one that counts.
const rowsLookedAt = 256

// Protocol implements find.Asker.
func (AskFingerprints) Protocol() string { return "fingerprints" }

// Ask implements find.Asker.
func (a AskFingerprints) Ask(ctx context.Context, q find.Query, emit func(lanfolk.Sighting)) error {
	f := store.ObservationFilter{Response: yes(), Limit: rowsLookedAt}
	switch host := q.LocalHost(); {
	case q.ServiceType != "":
		f.Protocol = passive.ProtoMDNS
		f.Query = strings.TrimSuffix(q.ServiceType, ".") + ".local"
	case q.Addr.IsValid():
		f.Query = q.Addr.String()
	case q.Device != (syncthing.DeviceID{}):
		f.Query = q.Device.String()
	case q.MAC != (lanfolk.MAC{}):
		f.SrcMAC = q.MAC
	case host != "":
		f.Query = host
		// The newest by mDNS comes before all others.
		row, ok, err := a.Rows.Latest(ctx, store.ObservationFilter{Query: host, Protocol: passive.ProtoMDNS, Response: yes()})
		if err != nil {
			return err
		}
		if ok && row.SrcMAC != (lanfolk.MAC{}) {
			a.tell(ctx, row, emit)
			return nil
		}
	default:
		return nil
	}
	rows, _, err := a.Rows.ObservationPage(ctx, f)
	if err != nil {
		return err
	}
	told := make(map[lanfolk.MAC]bool)
	for _, row := range rows {
		if row.SrcMAC == (lanfolk.MAC{}) || answersForOthers(row) || told[row.SrcMAC] {
			continue
		}
		told[row.SrcMAC] = true
		a.tell(ctx, row, emit)
		if q.ServiceType == "" {
			return nil
		}
	}
	return nil
}

// answersForOthers says whether what a row tells comes from a server, and not from the host or the
// device that it names: of Syncthing's discovery that is all that is sent to one host alone.
func answersForOthers(row lanfolk.Observation) bool {
	return row.Protocol == passive.ProtoDNS || row.Protocol == passive.ProtoSyncthing && row.DstClass == lanfolk.Unicast
}

// tell emits the sighting behind a row, with all addresses that its MAC is known to
// have.
func (a AskFingerprints) tell(ctx context.Context, row lanfolk.Observation, emit func(lanfolk.Sighting)) {
	s := announced(row)
	if ctx.Err() == nil {
		s.Addresses = a.addresses(ctx, row, s.Addresses)
	}
	emit(s)
}

// familiesLookedAt bounds how many rows of one name and MAC are looked at: by IPv4 and
// by IPv6, in announcements and in answers to one host alone.
const familiesLookedAt = 8

// addresses adds to a device's addresses those from which it announced the same name, what
// it said last by ARP and by NDP, and what the kernel's table holds.
func (a AskFingerprints) addresses(ctx context.Context, row lanfolk.Observation, known []netip.Addr) []netip.Addr {
	add := func(ip netip.Addr) {
		ip = ip.Unmap().WithZone("")
		if ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && !slices.Contains(known, ip) {
			known = append(known, ip)
		}
	}
	// What a row says of a name doesn't leave its link, so that its sender is the host itself.
	if isHostName(row) {
		f := store.ObservationFilter{Query: row.Query, Protocol: row.Protocol, SrcMAC: row.SrcMAC, Response: yes(), Link: row.Link, Limit: familiesLookedAt}
		rows, _, err := a.Rows.ObservationPage(ctx, f)
		for _, other := range rows {
			if err == nil && row.Last.Sub(other.Last) <= neighbourLifetime {
				add(other.SrcIP)
			}
		}
	}
	for _, protocol := range []string{passive.ProtoARP, passive.ProtoNDP} {
		said, ok, err := a.Rows.Latest(ctx, store.ObservationFilter{SrcMAC: row.SrcMAC, Protocol: protocol, Response: yes(), Link: row.Link})
		if err != nil || !ok || row.Last.Sub(said.Last) > neighbourLifetime {
			continue // what it said long before the row may be another's by now
		}
		if ip, err := netip.ParseAddr(said.Query); err == nil {
			add(ip)
		}
	}
	table := a.Neighbours
	if table == nil {
		table = lan.Neighbours
	}
	neighbours, err := table()
	if err != nil {
		return known // without the right to ask, the rows must do
	}
	for _, n := range neighbours {
		if len(n.MAC) == 6 && lanfolk.MAC(n.MAC) == row.SrcMAC && n.State != lan.NeighbourGone && n.State != lan.NeighbourFailed {
			add(n.IP)
		}
	}
	return known
}

// announced is the sighting behind a row of the fingerprint database.
func announced(row lanfolk.Observation) lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: row.Protocol, Gateway: row.Gateway, Link: row.Link, Source: row.SrcMAC.String()}
	s := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindDevice,
		Key:         row.SrcMAC.String() + " " + fold(row.Query) + " row",
		Identifiers: identifiers(row.SrcMAC, "", "", o),
		What:        row.SrcMAC.String() + " announced " + row.Query,
		State:       lanfolk.Unknown,
		Time:        row.Last,
	}
	if isHostName(row) {
		s.Name = bareName(row.Query)
	}
	if row.SrcIP.IsValid() && !row.SrcIP.IsUnspecified() {
		s.Addresses = oneAddr(row.SrcIP)
	}
	return s
}

// isHostName says whether a row names a host, and neither an address nor a service.
func isHostName(row lanfolk.Observation) bool {
	_, err := netip.ParseAddr(row.Query)
	switch row.Protocol {
	case passive.ProtoMDNS, passive.ProtoLLMNR, passive.ProtoNBNS:
		return err != nil && !strings.Contains(row.Query, "_tcp.") && !strings.Contains(row.Query, "_udp.") && !strings.HasSuffix(fold(row.Query), ".arpa")
	}
	return false
}

// HashedRows are rows in which some names are hidden: who asks for such a name finds it
// by its hash.
type HashedRows struct {
	Rows  Rows
	Names *Names // nil if none is hidden
}

// Latest implements Rows.
func (h HashedRows) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	return h.Rows.Latest(ctx, h.Names.Filter(f))
}

// ObservationPage implements Rows.
func (h HashedRows) ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	return h.Rows.ObservationPage(ctx, h.Names.Filter(f))
}
