package tged

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/lab"
)

// caseFile is the file of datagrams and the answers wanted.
type caseFile struct {
	Services json.RawMessage `json:"services_file"`
	Cases    []struct {
		ID, Kind, Why string
		Datagram      datagram
		Fields        map[string]string
	}
	Client []struct {
		ID        string
		Datagrams []datagram `json:"datagrams_to_client"`
		Expect    struct {
			Kind    string
			Fields  map[string]string
			Without string `json:"printed_without_byte"`
		}
	} `json:"client_cases"`
}

// datagram is a string, {"latin1": string} or {"repeat": [head, char, n, tail]}.
type datagram []byte

func (d *datagram) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*d = datagram(s)
		return nil
	}
	var o struct {
		Latin1 string
		Repeat []any
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	for _, r := range o.Latin1 {
		*d = append(*d, byte(r))
	}
	if len(o.Repeat) == 4 {
		*d = datagram(o.Repeat[0].(string) + strings.Repeat(o.Repeat[1].(string), int(o.Repeat[2].(float64))) + o.Repeat[3].(string))
	}
	return nil
}

func readCases(t *testing.T) *caseFile {
	t.Helper()
	b, err := os.ReadFile("../../tged/testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	f := &caseFile{}
	if err := json.Unmarshal(b, f); err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) < 25 || len(f.Client) < 7 {
		t.Fatal("the cases are incomplete")
	}
	return f
}

// asker is a client's socket, which may broadcast.
type asker struct {
	*net.UDPConn
	t *testing.T
}

func newAsker(t *testing.T, h *lab.Host, address string) *asker {
	t.Helper()
	a := &asker{t: t}
	err := h.Do(func() (err error) {
		a.UDPConn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// canonical is the document's own example, the case T01.
const canonical = "TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n"

// exchange sends a datagram, and then a request for DNS_SEARCH, which the server must know. It
// returns what is answered before that one: a server deals with what one socket sends in order. Each
// answer must come from there.
func (a *asker) exchange(to, from netip.AddrPort, b []byte) (answers []string) {
	a.t.Helper()
	for _, data := range [][]byte{b, []byte("TGED DISCOVERY 1.0\r\nRQ:DNS_SEARCH\r\n\r\n")} {
		if _, err := a.WriteToUDPAddrPort(data, to); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := a.SetReadDeadline(time.Now().Add(patience)); err != nil {
		a.t.Fatal(err)
	}
	in := make([]byte, 65_536)
	for {
		n, src, err := a.ReadFromUDPAddrPort(in)
		if err != nil {
			a.t.Fatalf("after %.60q the server is dead: %v", b, err)
		}
		if src != from {
			a.t.Errorf("%.60q is answered from %v, want %v", b, src, from)
		}
		if string(in[:n]) == "TGED REPLY 1.0\r\nRP: example.com\r\n\r\n" {
			return answers
		}
		answers = append(answers, string(in[:n]))
	}
}

// wrong says what an answer has wrong, in the words of the case file.
func wrong(kind string, fields map[string]string, answers []string) error {
	if kind == "silent" {
		if len(answers) > 0 {
			return fmt.Errorf("answered with %q", answers)
		}
		return nil
	}
	if len(answers) != 1 {
		return fmt.Errorf("%d answers: %q", len(answers), answers)
	}
	got := answers[0]
	most, first := 1024, "TGED REPLY 1.0"
	if kind == "invalid" {
		most, first, fields = 36, "TGED INVALID 1.0", map[string]string{"RP": "INVALID"}
	}
	head, rest, _ := strings.Cut(got, "\r\n")
	body, ended := strings.CutSuffix(rest, "\r\n\r\n")
	if head != first || !ended || len(got) > most {
		return fmt.Errorf("%d bytes: %q", len(got), got)
	}
	have := map[string]string{}
	for _, line := range strings.Split(body, "\r\n") {
		key, value, ok := strings.Cut(line, ":")
		if _, twice := have[key]; !ok || twice {
			return fmt.Errorf("the line %q of %q", line, got)
		}
		have[key] = strings.TrimSpace(value)
	}
	if diff := cmp.Diff(fields, have); diff != "" {
		return errors.New(diff)
	}
	return nil
}

// TestServerCases: each datagram to the real program, by unicast and by broadcast. It
// lives on after each.
func TestServerCases(t *testing.T) {
	s := newSite(t)
	f := readCases(t)
	p := s.serve(s.server, s.file("services.json", string(f.Services)), "--rate-limit", "off")
	address := netip.AddrPortFrom(s.server.Link(s.theirs).V4, 4745)
	a := newAsker(t, s.laptop, s.laptop.Link(s.theirs).V4.String()+":0")
	own := newAsker(t, s.server, "127.0.0.1:0")
	loopback := netip.MustParseAddrPort("127.0.0.1:4745")
	all := netip.MustParseAddrPort("10.99.2.255:4745")
	for _, c := range f.Cases {
		for how, answers := range map[string][]string{
			"unicast":   a.exchange(address, address, c.Datagram),
			"broadcast": a.exchange(all, address, c.Datagram),
			"loopback":  own.exchange(loopback, loopback, c.Datagram),
		} {
			if err := wrong(c.Kind, c.Fields, answers); err != nil {
				t.Errorf("%s by %s (%s): %v", c.ID, how, c.Why, err)
			}
		}
	}
	// Binary, NUL and the longest datagrams that there are.
	for _, b := range [][]byte{{0}, make([]byte, 65_507), append([]byte(canonical), make([]byte, 65_507-len(canonical))...), {}} {
		for _, answer := range a.exchange(address, address, b) {
			if wrong("invalid", nil, []string{answer}) != nil {
				t.Errorf("%d bytes, %.20q: %q", len(b), b, answer)
			}
		}
	}
	// Every answer leaves from the address that was asked.
	more := netip.MustParseAddr("10.99.2.200")
	s.server.Link(s.theirs).AddAddresses(more)
	another := netip.AddrPortFrom(more, 4745)
	if err := wrong("reply", f.Cases[0].Fields, a.exchange(another, another, []byte(canonical))); err != nil {
		t.Errorf("asked at another address: %v", err)
	}
	if !p.Running() {
		t.Error("the server has ended")
	}
}

// TestClientCases: answers to the real client, from the server that was asked by broadcast.
func TestClientCases(t *testing.T) {
	for _, c := range readCases(t).Client {
		t.Run(c.ID, func(t *testing.T) {
			s := newSite(t)
			server := newAsker(t, s.server, "0.0.0.0:4745")
			go func() {
				b := make([]byte, 4096)
				for {
					_, from, err := server.ReadFromUDPAddrPort(b)
					if err != nil {
						return
					}
					for _, d := range c.Datagrams {
						_, _ = server.WriteToUDPAddrPort(d, from) // the client may have gone
					}
				}
			}()
			timeout := "30s" // it ends with the first answer
			if c.Expect.Kind == "timeout" {
				timeout = "1s"
			}
			got, exit := s.ask("SQL", "--timeout", timeout)
			switch {
			case c.Expect.Kind == "timeout":
				if exit != 6 {
					t.Errorf("exit %d: %v", exit, got)
				}
			case exit != 0 || len(got) != 1:
				t.Errorf("exit %d: %v", exit, got)
			case c.Expect.Fields != nil:
				if diff := cmp.Diff(c.Expect.Fields, got[0].Fields); diff != "" {
					t.Error(diff)
				}
			}
			if c.Expect.Without != "" {
				for _, form := range []string{"table", "wide", "json", "jsonl", "yaml", "name"} {
					if r := s.laptop.Lanfolk("tged", "ask", "SQL", "-o", form, "--timeout", "30s").Run(); strings.ContainsRune(r.Stdout+r.Stderr, 0x1b) || r.Exit != 0 || r.Stdout == "" {
						t.Errorf("-o %s: exit %d: %q%q", form, r.Exit, r.Stdout, r.Stderr)
					}
				}
			}
		})
	}
}

// TestReloadCases: what editors and Kubernetes do to a file, while one asks without end: a service
// that is always in it is never INVALID, and no answer fails to come.
func TestReloadCases(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(s.Dir(), "config")
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// As Kubernetes mounts it: services.json -> ..data/services.json, ..data -> ..1.
	version := func(n int, host string) string {
		t.Helper()
		v := fmt.Sprintf("..%d", n)
		try(os.MkdirAll(filepath.Join(dir, v), 0o755))
		try(os.WriteFile(filepath.Join(dir, v, "services.json"), content(host), 0o644))
		return v
	}
	try(os.MkdirAll(dir, 0o755))
	try(os.Symlink(version(1, "first"), filepath.Join(dir, "..data")))
	path := filepath.Join(dir, "services.json")
	try(os.Symlink("..data/services.json", path))
	p := s.serve(s.server, path, "--rate-limit", "off")
	address := netip.AddrPortFrom(s.server.Link(s.theirs).V4, 4745)
	a := newAsker(t, s.laptop, "0.0.0.0:0")
	host := func() string {
		t.Helper()
		answers := a.exchange(address, address, []byte(canonical))
		if len(answers) != 1 || !strings.HasPrefix(answers[0], "TGED REPLY 1.0\r\nHOST: ") {
			t.Fatalf("answered with %q", answers)
		}
		return strings.TrimSpace(strings.TrimPrefix(answers[0], "TGED REPLY 1.0\r\nHOST: "))
	}
	becomes := func(what, want string, within time.Duration) {
		t.Helper()
		begin := time.Now()
		for host() != want {
			if time.Since(begin) > within {
				t.Fatalf("%s: after %v it is %s, not %s\n%s", what, time.Since(begin), host(), want, p.Stderr())
			}
		}
	}
	stays := func(what, want string, d time.Duration) {
		t.Helper()
		for begin := time.Now(); time.Since(begin) < d; {
			if got := host(); got != want {
				t.Fatalf("%s: it is %s, not %s", what, got, want)
			}
		}
	}
	// The program takes a fifth of a second; the machine may be busy.
	const soon = patience
	if got := host(); got != "first" {
		t.Fatal(got)
	}
	try(os.Symlink(version(2, "second"), filepath.Join(dir, "..data_tmp")))
	try(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	try(os.RemoveAll(filepath.Join(dir, "..1")))
	becomes("L05, a symlink swapped", "second", soon)
	try(os.Symlink(version(3, "third"), filepath.Join(dir, "..data_tmp")))
	try(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	try(os.RemoveAll(filepath.Join(dir, "..2")))
	becomes("L05, and once more", "third", soon)

	try(os.WriteFile(path+".new", content("renamed"), 0o644))
	try(os.Rename(path+".new", path))
	becomes("L01, renamed over it", "renamed", soon)

	half := len(content("whole")) / 2
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	try(err)
	stays("L02, truncated", "renamed", 300*time.Millisecond)
	_, err = file.Write(content("whole")[:half])
	try(err)
	stays("L02, half of it", "renamed", 300*time.Millisecond)
	_, err = file.Write(content("whole")[half:])
	try(err)
	try(file.Close())
	becomes("L02, the other half", "whole", soon)

	try(os.WriteFile(path, []byte("{\n \"SQL\": {\"HOST\": }}"), 0o644))
	p.WaitText(patience, "services.json:2:18: ")
	stays("L03, broken", "whole", 300*time.Millisecond)
	try(os.WriteFile(path, []byte(`{"SQL": {"HOST": "evil", "A:B": "c"}}`), 0o644))
	stays("L07, a colon in a key", "whole", 700*time.Millisecond)
	try(os.WriteFile(path, []byte(`{"SQL": {"HOST": "evil\r\nX: y"}}`), 0o644))
	stays("L07, a line end in a value", "whole", 700*time.Millisecond)

	try(os.Remove(path))
	stays("L04, deleted", "whole", time.Second)
	try(os.WriteFile(path, content("anew"), 0o644))
	becomes("L04, made anew", "anew", soon)
	try(os.RemoveAll(dir))
	stays("the folder is away", "anew", time.Second)
	try(os.MkdirAll(dir, 0o755))
	try(os.WriteFile(path, content("home"), 0o644))
	becomes("the folder is back", "home", soon)

	// L08: a file that is broken from the start.
	bad := s.file("bad.json", "{")
	for _, more := range [][]string{nil, {"--check"}} {
		r := s.laptop.Lanfolk(append([]string{"tged", "serve", "--services", bad}, more...)...).Run()
		if r.Exit != 1 || !strings.Contains(r.Stderr, "bad.json:1:2: ") || strings.Contains(r.Stdout, "ready") {
			t.Errorf("L08 %q: exit %d: %s%s", more, r.Exit, r.Stdout, r.Stderr)
		}
	}
}

func content(host string) []byte {
	return fmt.Appendf(nil, "{\"SQL\": {\"HOST\": %q}, \"DNS_SEARCH\": {\"RP\": \"example.com\"}}\n", host)
}

// TestNoAnswerToAnswers: one false packet between two servers, or between one and itself, is not
// answered without end; answers are never answered.
func TestNoAnswerToAnswers(t *testing.T) {
	s := newSite(t)
	other := s.Host("other").Join(s.theirs)
	file := s.file("services.json", services)
	s.serve(s.server, file)
	s.serve(other, file)
	capture := s.theirs.Capture()
	from := s.laptop.Link(s.theirs)
	for _, data := range []string{"TGED NONSENSE 1.0\r\n\r\n", "TGED DISCOVERY 1.0\r\nRQ:NOPE\r\n\r\n", canonical, "TGED INVALID 1.0\r\nRP: INVALID\r\n\r\n", "TGED REPLY 1.0\r\nHOST: a\r\n\r\n"} {
		for _, src := range []netip.Addr{other.Link(s.theirs).V4, s.server.Link(s.theirs).V4} {
			s.send(from, s.server.Link(s.theirs).MAC, src, s.server.Link(s.theirs).V4, 4745, data)
		}
	}
	time.Sleep(500 * time.Millisecond)
	n := capture.Count(func(f lab.Frame) bool { _, _, _, ok := f.UDP(); return ok })
	if n > 10+3 { // what was sent, and an answer each to the other server
		t.Errorf("%d datagrams", n)
	}
}

// send puts a datagram with a source of its own on the wire.
func (s *site) send(k *lab.Link, to net.HardwareAddr, src, dst netip.Addr, port uint16, data string) {
	k.Send(
		&layers.Ethernet{SrcMAC: k.MAC, DstMAC: to, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()},
		&layers.UDP{SrcPort: layers.UDPPort(port), DstPort: 4745}, gopacket.Payload(data))
}

// TestOffLink: who isn't on the link gets nothing, unless the server is told otherwise, and then at
// most four times the bytes that they sent.
func TestOffLink(t *testing.T) {
	s := newSite(t)
	s.Router("router", s.ours, s.theirs)
	far := s.Host("far").Join(s.ours)
	strict := s.server
	open := s.Host("open").Join(s.theirs)
	long := `{"SQL": {"HOST": "test"}, "LONG": {"HOST": "` + strings.Repeat("x", 200) + `"}}`
	file := s.file("services.json", long)
	s.serve(strict, file)
	s.serve(open, file, "--off-link")
	a := newAsker(t, far, "0.0.0.0:0")
	// ask returns what is answered, "" for nothing within the time.
	ask := func(within time.Duration, to netip.Addr, data string) string {
		t.Helper()
		if _, err := a.WriteToUDPAddrPort([]byte(data), netip.AddrPortFrom(to, 4745)); err != nil {
			t.Fatal(err)
		}
		if err := a.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, from, err := a.ReadFromUDPAddrPort(b)
		if err == nil && from.Addr() != to {
			t.Errorf("answered from %v, not %v", from, to)
		}
		return string(b[:n])
	}
	answer := func(to netip.Addr, data string) string { t.Helper(); return ask(patience, to, data) }
	silence := func(to netip.Addr, data string) string { t.Helper(); return ask(500*time.Millisecond, to, data) }
	if got := silence(strict.Link(s.theirs).V4, canonical); got != "" {
		t.Errorf("answered off the link: %q", got)
	}
	if got, want := answer(open.Link(s.theirs).V4, canonical), "TGED REPLY 1.0\r\nHOST: test\r\n\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	request := "TGED DISCOVERY 1.0\r\nRQ:LONG\r\n\r\n"
	if got := silence(open.Link(s.theirs).V4, request); got != "" {
		t.Errorf("%d bytes for %d", len(got), len(request))
	}
	if got := answer(open.Link(s.theirs).V4, "TGED X 1.0\r\n"); len(got) > 4*12 {
		t.Errorf("%d bytes for 12", len(got))
	}
	if got := silence(open.Link(s.theirs).V4, "TGED X"); len(got) > 4*6 {
		t.Errorf("%d bytes for 6: %q", len(got), got)
	}
	padded := strings.Replace(request, "RQ", "X: "+strings.Repeat("y", 40)+"\r\nRQ", 1)
	if got := answer(open.Link(s.theirs).V4, padded); !strings.HasPrefix(got, "TGED REPLY") || len(got) > 4*len(padded) {
		t.Errorf("%d bytes for %d", len(got), len(padded))
	}
	// A source that pretends to be elsewhere, on the link itself.
	capture := s.server.Link(s.theirs).Capture()
	for _, src := range []string{"192.0.2.1", "10.99.2.255", "255.255.255.255", "0.0.0.0", "224.0.0.1"} {
		s.send(s.laptop.Link(s.theirs), strict.Link(s.theirs).MAC, netip.MustParseAddr(src), strict.Link(s.theirs).V4, 4000, canonical)
	}
	s.ask("SQL", "--to", strict.Link(s.theirs).V4.String())
	if n := capture.Count(func(f lab.Frame) bool { _, src, dst, ok := f.UDP(); return ok && src == 4745 && dst == 4000 }); n > 0 {
		t.Errorf("%d answers to false sources", n)
	}
}
