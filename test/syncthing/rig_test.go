// Package syncthing tests `lanfolk syncthing` from end to end, on hosts of their own.
//
// Packets are put together and taken apart here by hand, so that package syncthing
// doesn't bear witness for itself.
package syncthing

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for most of their time: many fit on few processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(lab.Main(m))
}

// patience is how long an answer may take on a busy machine.
const patience = time.Minute

const (
	globalPort = 22026
	localPort  = 21025
	querySize  = 40
)

// deviceID is the ID of the device with that name in the vectors.
func deviceID(name string) [32]byte { return sha256.Sum256([]byte(name)) }

func hexID(name string) string { return fmt.Sprintf("%x", deviceID(name)) }

func query(id [32]byte) []byte {
	return append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0x2CA856F5), 32), id[:]...)
}

// announcement is one without extras. An address is written IP:PORT, or :PORT without an IP.
func announcement(id [32]byte, addresses ...string) []byte {
	b := append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0x9D79BC39), 32), id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(addresses)))
	for _, a := range addresses {
		var ip []byte
		if strings.HasPrefix(a, ":") {
			a = "0.0.0.0" + a
		} else {
			ip = netip.MustParseAddrPort(a).Addr().AsSlice()
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(ip)))
		b = append(b, ip...)
		b = binary.BigEndian.AppendUint32(b, uint32(netip.MustParseAddrPort(a).Port()))
	}
	return binary.BigEndian.AppendUint32(b, 0)
}

// readAnswer takes an announcement without extras apart, and writes addresses as announcement reads them.
func readAnswer(b []byte) (id [32]byte, addresses []string, err error) {
	word := func() uint32 {
		if len(b) < 4 {
			err = errors.New("cut short")
			return 0
		}
		v := binary.BigEndian.Uint32(b)
		b = b[4:]
		return v
	}
	if word() != 0x9D79BC39 || word() != 32 || len(b) < 32 {
		return id, nil, errors.New("no announcement")
	}
	id, b = [32]byte(b), b[32:]
	for range word() {
		n := int(word())
		if n > len(b) || err != nil {
			return id, nil, errors.New("cut short")
		}
		ip, ok := netip.AddrFromSlice(b[:n])
		b = b[n:]
		if port := uint16(word()); ok {
			addresses = append(addresses, netip.AddrPortFrom(ip, port).String())
		} else {
			addresses = append(addresses, fmt.Sprintf(":%d", port))
		}
	}
	if word() != 0 || len(b) > 0 {
		err = errors.New("extras, or bytes behind it")
	}
	return id, addresses, err
}

// vectors is the file of packets that real old programs sent, and of made-up
// ones with what these did.
type vectors struct {
	Captured []struct {
		ID, Mode, Description, Src, Dst string
		Hex                             packet
	}
	Global []struct {
		ID, Name string
		Announce packet                           `json:"announce_hex"`
		Src      string                           `json:"announce_src"`
		Query    packet                           `json:"query_hex"`
		Reply    map[string]*struct{ Hex packet } // by server, or of all of them
	} `json:"crafted_global"`
	Local []struct {
		Name string
		Hex  packet
	} `json:"crafted_local"`
	Lookup []struct {
		Reply string
		Hex   packet
	} `json:"crafted_client_lookup"`
}

// packet is in the file as hex.
type packet []byte

func (p *packet) UnmarshalText(b []byte) (err error) {
	*p, err = hex.DecodeString(string(b))
	return err
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	b, err := os.ReadFile("../../syncthing/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Captured) < 33 || len(v.Global) < 36 || len(v.Local) < 10 || len(v.Lookup) < 5 {
		t.Fatal("the vectors are incomplete")
	}
	return &v
}

// endpoint reads "10.77.0.2 port 43052 (ephemeral!)" and "::1 (ephemeral port)"; the
// latter's port is 0.
func endpoint(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	var port uint16
	f := strings.Fields(s)
	if len(f) > 2 && f[1] == "port" {
		if _, err := fmt.Sscan(f[2], &port); err != nil {
			t.Fatal(err)
		}
	}
	return netip.AddrPortFrom(netip.MustParseAddr(f[0]), port)
}

// newLab is a lab for a test that runs beside others.
func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	t.Parallel()
	lab.Require(t, "root", "ip")
	return lab.New(t)
}

// serve starts a global server and waits until it is ready.
func serve(h *lab.Host, args ...string) *lab.Process {
	p := h.Lanfolk(append([]string{"syncthing", "serve"}, args...)...).Start()
	waitReady(p)
	return p
}

func waitReady(p *lab.Process) {
	p.WaitLine(30*time.Second, "ready", func(line string) bool { return line == "ready" })
}

// socket is an ordinary UDP socket of a host.
type socket struct {
	*net.UDPConn
	t *testing.T
}

// open opens a socket at an address; port 0 is any.
func open(t *testing.T, h *lab.Host, local string) *socket {
	t.Helper()
	s := &socket{t: t}
	err := h.Do(func() (err error) {
		s.UDPConn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *socket) send(to netip.AddrPort, b []byte) {
	s.t.Helper()
	if _, err := s.WriteToUDPAddrPort(b, to); err != nil {
		s.t.Fatal(err)
	}
}

func (s *socket) port() uint16 { return uint16(s.LocalAddr().(*net.UDPAddr).Port) }

// receive returns the next datagram, nil if none came in that time.
func (s *socket) receive(d time.Duration) ([]byte, netip.AddrPort) {
	s.t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(d)); err != nil {
		s.t.Fatal(err)
	}
	b := make([]byte, 65_536)
	n, from, err := s.ReadFromUDPAddrPort(b)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, from
		}
		s.t.Fatal(err)
	}
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// sentinel is a device that a server must know for exchange.
const sentinel = "sentinel"

// exchange sends a packet to a server and returns what comes back. The server is silent
// when it answers a second question, for the sentinel, before the first: it deals with what one
// socket sends in order. Every answer must come from where the question went to.
func (s *socket) exchange(to netip.AddrPort, b []byte) (answers [][]byte) {
	s.t.Helper()
	s.send(to, b)
	s.send(to, query(deviceID(sentinel)))
	for {
		got, from := s.receive(patience)
		if got == nil {
			s.t.Fatalf("after %x the server is dead", b)
		}
		if from != to {
			s.t.Errorf("%x is answered from %s, not %s", b, from, to)
		}
		if id, _, err := readAnswer(got); err == nil && id == deviceID(sentinel) {
			return answers
		}
		answers = append(answers, got)
	}
}

// announceSentinel makes a server know the sentinel.
func (s *socket) announceSentinel(to netip.AddrPort) {
	s.t.Helper()
	s.exchange(to, announcement(deviceID(sentinel), ":1"))
}

// want holds answers against the only one wanted, nil for none.
func want(t *testing.T, what string, got [][]byte, one []byte) {
	t.Helper()
	if len(one) == 0 && len(got) == 0 || len(got) == 1 && bytes.Equal(got[0], one) {
		return
	}
	t.Errorf("%s:\n got %x\nwant %x", what, got, one)
}

// found asks a server for a device; nil is silence.
func (s *socket) found(to netip.AddrPort, id [32]byte) []string {
	s.t.Helper()
	got := s.exchange(to, query(id))
	if len(got) == 0 {
		return nil
	}
	asked, addresses, err := readAnswer(got[0])
	if err != nil || asked != id || len(got) > 1 {
		s.t.Fatalf("asked for %x: %x, %v", id, got, err)
	}
	return addresses
}

func (s *socket) wantFound(to netip.AddrPort, name string, want ...string) {
	s.t.Helper()
	if got := s.found(to, deviceID(name)); !slices.Equal(got, want) {
		s.t.Errorf("%s is at %v, want %v", name, got, want)
	}
}

func writeFile(t *testing.T, l *lab.Lab, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(l.Dir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func at(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, globalPort) }

func server(a string) netip.AddrPort { return at(netip.MustParseAddr(a)) }
