package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/syncthing"
)

const syncthingTestID = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"

func TestSyncthingListenAt(t *testing.T) {
	got, err := listenAt([]string{":22026", "192.0.2.1:1", "192.0.2.1", "[2001:db8::1]:2", "[2001:db8::1]", "2001:db8::1"})
	want := []netip.AddrPort{
		netip.AddrPortFrom(netip.Addr{}, 22026), netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:22026"),
		netip.MustParseAddrPort("[2001:db8::1]:2"), netip.MustParseAddrPort("[2001:db8::1]:22026"), netip.MustParseAddrPort("[2001:db8::1]:22026"),
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", ":", ":0", ":65536", "192.0.2.1:0", "224.0.0.1:22026", "22026", "host:22026"} {
		if got, err := listenAt([]string{s}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("--listen %q", s)) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func TestSyncthingAllowed(t *testing.T) {
	id, err := syncthing.ParseID(syncthingTestID)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "devices")
	other := syncthing.CertificateID(nil)
	if err := os.WriteFile(path, []byte("\n # one\n"+other.Hex()+"\t# the other\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readAllowed([]string{syncthingTestID, path}); err != nil || len(got) != 2 || !got[id] || !got[other] {
		t.Errorf("%v, %v", got, err)
	}
}

// TestSyncthingInterval: on links it is never longer than what others expect.
func TestSyncthingInterval(t *testing.T) {
	for interval, want := range map[time.Duration][2]time.Duration{
		0: {0, 0}, 5 * time.Second: {5 * time.Second, 5 * time.Second}, 20 * time.Minute: {time.Minute, 20 * time.Minute},
	} {
		x := &syncthingAnnouncing{
			format: format{name: "table"}, interfaces: &[]string{}, id: syncthingTestID, addresses: []string{":1"}, local: true, interval: interval,
			app: app{err: &bytes.Buffer{}, env: func(string) string { return "" }},
		}
		a, err := x.announcer()
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]time.Duration{a.LocalEvery, a.GlobalEvery}; got != want {
			t.Errorf("--interval %v: %v, want %v", interval, got, want)
		}
	}
}

// TestSyncthingLines prints how a target stands when that changes.
func TestSyncthingLines(t *testing.T) {
	var out bytes.Buffer
	l := syncthingLines{w: &out, form: format{name: "table"}, id: syncthingTestID, last: map[string]string{}}
	link := syncthing.Target{Link: "eth0", Addr: syncthing.LocalGroup()}
	server := syncthing.Target{Server: "example.com", Addr: netip.MustParseAddrPort("192.0.2.1:22026")}
	failed := server
	failed.Err = syncthing.ErrUnconfirmed
	nowhere := syncthing.Target{Server: "example.com", Err: os.ErrNotExist}
	for _, target := range []syncthing.Target{link, server, link, server, failed, failed, server, nowhere} {
		if err := l.tell(target); err != nil {
			t.Fatal(err)
		}
	}
	want := `announced  eth0  [ff32::5222]:21026
announced  example.com  192.0.2.1:22026
failed  example.com  192.0.2.1:22026  the server doesn't answer for the device
announced  example.com  192.0.2.1:22026
failed  example.com  file does not exist
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
}
