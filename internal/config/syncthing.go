package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/syncthing"
)

// Syncthing is the section [syncthing]: the Syncthing Device Discovery Protocol v2.
type Syncthing struct {
	// Listen hears who announces itself on the links.
	Listen bool `toml:"listen"`
	// Servers are the global servers that a search asks.
	Servers  []SyncthingServerName `toml:"servers"`
	Announce SyncthingAnnounce     `toml:"announce"`
	Server   SyncthingServer       `toml:"server"`
}

// SyncthingAnnounce is the section [syncthing.announce]: a device that the node announces.
type SyncthingAnnounce struct {
	// ID is the device, or CertFile its certificate; with neither nothing is announced.
	ID       SyncthingID `toml:"id"`
	CertFile string      `toml:"cert_file"`
	// Addresses are where it can be reached.
	Addresses []SyncthingAddress `toml:"addresses"`
	// Local announces it on the links, at least every Interval.
	Local    bool     `toml:"local"`
	Interval Duration `toml:"interval"`
	// Servers are those that it is announced to every ServerInterval.
	Servers        []SyncthingServerName `toml:"servers"`
	ServerInterval Duration              `toml:"server_interval"`
}

// On says whether a device is to be announced.
func (a SyncthingAnnounce) On() bool { return a.ID != (SyncthingID{}) || a.CertFile != "" }

// SyncthingServer is the section [syncthing.server]: a global server.
type SyncthingServer struct {
	// Listen is where it answers, none for nowhere: then it doesn't run.
	Listen []SyncthingListen `toml:"listen"`
	// State is the folder for what it knows, "" for one in the node's state folder.
	State string `toml:"state"`
	// RateLimit is how many packets of one network are taken in a second, 0 for no limit.
	RateLimit int `toml:"rate_limit"`
	// Allow are the only devices that are served, none means all.
	Allow []SyncthingID `toml:"allow"`
	// Pin lets a device be announced only from the network that first did so.
	Pin bool `toml:"pin"`
}

func defaultSyncthing() Syncthing {
	return Syncthing{
		Listen: true, Servers: []SyncthingServerName{},
		Announce: SyncthingAnnounce{
			Addresses: []SyncthingAddress{{netip.AddrPortFrom(netip.Addr{}, syncthing.DefaultPort)}},
			Local:     true, Interval: Duration{syncthing.DefaultLocalEvery},
			Servers: []SyncthingServerName{}, ServerInterval: Duration{syncthing.DefaultGlobalEvery},
		},
		Server: SyncthingServer{Listen: []SyncthingListen{}, RateLimit: syncthing.DefaultPerPrefix, Allow: []SyncthingID{}},
	}
}

const (
	maxSyncthingServers = 16 // each is asked, or told, by itself
	maxSyncthingRate    = 1_000_000
)

func (s Syncthing) check(bad func(key string, err error)) {
	syncthingServers("servers", s.Servers, bad)
}

func syncthingServers(key string, all []SyncthingServerName, bad func(key string, err error)) {
	for i, x := range all {
		if slices.ContainsFunc(all[:i], func(o SyncthingServerName) bool { return strings.EqualFold(o.Host, x.Host) && o.Port == x.Port }) {
			bad(fmt.Sprintf("%s[%d]", key, i), fmt.Errorf("%s is there twice", x))
		}
	}
	if len(all) > maxSyncthingServers {
		bad(fmt.Sprintf("%s[%d]", key, maxSyncthingServers), fmt.Errorf("want at most %d servers", maxSyncthingServers))
	}
}

func (a SyncthingAnnounce) check(bad func(key string, err error)) {
	bad("cert_file", absolute(a.CertFile))
	switch {
	case a.ID != (SyncthingID{}) && a.CertFile != "":
		bad("cert_file", errors.New("a certificate has an ID of its own: leave one of id and cert_file out"))
	case !a.On() && len(a.Servers) > 0:
		bad("servers", errors.New("there is nothing to announce: name a device by id or cert_file"))
	case a.On() && len(a.Addresses) == 0:
		bad("addresses", errors.New("where can the device be reached?"))
	case a.On() && !a.Local && len(a.Servers) == 0:
		bad("local", errors.New("there is no other way: name servers"))
	}
	for i, x := range a.Addresses {
		if slices.Contains(a.Addresses[:i], x) {
			bad(fmt.Sprintf("addresses[%d]", i), fmt.Errorf("%s is there twice", x))
		}
	}
	if len(a.Addresses) > syncthing.MaxAddresses {
		bad(fmt.Sprintf("addresses[%d]", syncthing.MaxAddresses), fmt.Errorf("want at most %d addresses", syncthing.MaxAddresses))
	}
	syncthingServers("servers", a.Servers, bad)
	for _, l := range []struct {
		key         string
		value       Duration
		least, most time.Duration
	}{
		// Others forget a device after three of the longest intervals, servers after an hour.
		{"interval", a.Interval, 5 * time.Second, time.Minute},
		{"server_interval", a.ServerInterval, time.Minute, 55 * time.Minute},
	} {
		if l.value.d < l.least || l.value.d > l.most {
			bad(l.key, fmt.Errorf("want %s to %s, not %s", Duration{l.least}, Duration{l.most}, l.value))
		}
	}
}

func (s SyncthingServer) check(bad func(key string, err error)) {
	for i, l := range s.Listen {
		for j, o := range s.Listen {
			switch {
			case j < i && o == l:
				bad(fmt.Sprintf("listen[%d]", i), fmt.Errorf("%s is there twice", l))
			case o != l && o.holds(l):
				bad(fmt.Sprintf("listen[%d]", i), fmt.Errorf("%s is one of %s", l, o))
			}
		}
	}
	bad("state", absolute(s.State))
	if s.RateLimit < 0 || s.RateLimit > maxSyncthingRate {
		bad("rate_limit", fmt.Errorf("want 0 to %d, not %d", maxSyncthingRate, s.RateLimit))
	}
	seen := make(map[SyncthingID]bool, len(s.Allow))
	for i, id := range s.Allow {
		switch key := fmt.Sprintf("allow[%d]", i); {
		case id == SyncthingID{}:
			bad(key, errors.New("want a device ID"))
		case seen[id]:
			bad(key, errors.New("is there twice"))
		}
		seen[id] = true
	}
}

// SyncthingID is a device ID, "" for none.
type SyncthingID struct{ syncthing.DeviceID }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *SyncthingID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = SyncthingID{}
		return nil
	}
	x, err := syncthing.ParseID(string(b))
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "syncthing: "))
	}
	id.DeviceID = x
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (id SyncthingID) MarshalText() ([]byte, error) {
	if id == (SyncthingID{}) {
		return nil, nil
	}
	return id.DeviceID.MarshalText()
}

// SyncthingAddress is where a device can be reached; the zero Addr stands for the
// address that its announcements come from.
type SyncthingAddress struct{ netip.AddrPort }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *SyncthingAddress) UnmarshalText(b []byte) (err error) {
	if a.AddrPort, err = syncthing.ParseAddress(string(b)); err != nil || strings.Contains(string(b), "%") || a.Addr().IsLoopback() {
		return fmt.Errorf(`want an address and a port like 192.0.2.7:22000 or [2001:db8::7]:22000, or ":22000" for the address that announcements leave from, not %q`, b)
	}
	return nil
}

// String returns what UnmarshalText reads.
func (a SyncthingAddress) String() string {
	if !a.Addr().IsValid() {
		return ":" + strconv.Itoa(int(a.Port()))
	}
	return a.AddrPort.String()
}

// MarshalText implements encoding.TextMarshaler.
func (a SyncthingAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// SyncthingServerName is a global server: a host name or an address, and a port.
type SyncthingServerName struct {
	Host string
	Port uint16
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *SyncthingServerName) UnmarshalText(b []byte) error {
	host, port, err := syncthing.SplitServer(string(b))
	if err == nil {
		err = serverHost(host)
	}
	if err != nil {
		return fmt.Errorf("want a server like discovery.example.com, 192.0.2.7:22026 or [2001:db8::7]:22026, not %q", b)
	}
	*s = SyncthingServerName{host, port}
	return nil
}

// serverHost checks the host of a server: its name, or its address. What looks like
// an IPv4 address is one, or a slip.
func serverHost(host string) error {
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && a.Zone() == "":
		return nil
	case strings.Trim(host[strings.LastIndexByte(host, '.')+1:], "0123456789") == "":
		return errors.New("neither a name nor an address")
	}
	return hostName(host)
}

// String returns what UnmarshalText reads.
func (s SyncthingServerName) String() string {
	if a, err := netip.ParseAddr(s.Host); err == nil {
		return netip.AddrPortFrom(a, s.Port).String()
	}
	return s.Host + ":" + strconv.Itoa(int(s.Port))
}

// MarshalText implements encoding.TextMarshaler.
func (s SyncthingServerName) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SyncthingListen is where a global server answers: an address and a port, or a port
// alone for every address of the machine.
type SyncthingListen struct {
	Addr netip.Addr // the zero Addr for all of them
	Port uint16
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *SyncthingListen) UnmarshalText(b []byte) error {
	s := string(b)
	if a, err := netip.ParseAddr(s); err == nil && ownAddress(a) {
		*l = SyncthingListen{a.Unmap(), syncthing.GlobalPort}
		return nil
	}
	if a, err := netip.ParseAddrPort(s); err == nil && a.Port() != 0 && ownAddress(a.Addr()) {
		*l = SyncthingListen{a.Addr().Unmap(), a.Port()}
		return nil
	}
	if port, ok := strings.CutPrefix(s, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			*l = SyncthingListen{Port: uint16(n)}
			return nil
		}
	}
	return fmt.Errorf(`want an address like 192.0.2.1 or [2001:db8::1]:22026, or ":%d" for all of this machine, not %q`, syncthing.GlobalPort, s)
}

// ownAddress says whether a server can listen on an address; the unspecified one of a
// family is all of that family.
func ownAddress(a netip.Addr) bool {
	return a.Zone() == "" && !a.IsMulticast() && a.Unmap() != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// holds says whether the addresses of l are all those of o, or more.
func (l SyncthingListen) holds(o SyncthingListen) bool {
	all := !l.Addr.IsValid() || l.Addr.IsUnspecified() && o.Addr.IsValid() && l.Addr.Is4() == o.Addr.Is4()
	return l.Port == o.Port && (all || l.Addr == o.Addr)
}

// String returns what UnmarshalText reads.
func (l SyncthingListen) String() string {
	if !l.Addr.IsValid() {
		return ":" + strconv.Itoa(int(l.Port))
	}
	return netip.AddrPortFrom(l.Addr, l.Port).String()
}

// MarshalText implements encoding.TextMarshaler.
func (l SyncthingListen) MarshalText() ([]byte, error) { return []byte(l.String()), nil }
