package hostapd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/hostapd"
)

func TestParseStation(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"of the wired driver", read(t, "station-wired.txt"), "{MAC:[2 26 176 1 0 3] Authorized:true Signal:0 Connected:-1ns Idle:-1ns RxBytes:0 TxBytes:0}"},
		{"of an access point", "02:00:5e:10:00:01\nflags=[AUTH][ASSOC][AUTHORIZED]\nrx_bytes=1\ntx_bytes=18446744073709551615\ninactive_msec=20\nsignal=-52\nconnected_time=3600\n",
			"{MAC:[2 0 94 16 0 1] Authorized:true Signal:-52 Connected:1h0m0s Idle:20ms RxBytes:1 TxBytes:18446744073709551615}"},
		{"not yet through", "02:00:5e:10:00:01\nflags=[AUTH][ASSOC]\n", "{MAC:[2 0 94 16 0 1] Authorized:false Signal:0 Connected:-1ns Idle:-1ns RxBytes:0 TxBytes:0}"},
		{"values that are none", "02:00:5e:10:00:01\nflags\nsignal=loud\nconnected_time=-1\ninactive_msec=9223372036854775807\nrx_bytes=x\nsignal=-1000\n",
			"{MAC:[2 0 94 16 0 1] Authorized:false Signal:0 Connected:-1ns Idle:-1ns RxBytes:0 TxBytes:0}"},
		{"no more", "", "hostapd: no station"},
		{"not there", "FAIL\n", "hostapd: it refused"},
		{"something else", "UNKNOWN COMMAND\n", "hostapd: it refused: it doesn't know the command"},
		{"no address", "hello\nflags=[AUTHORIZED]\n", `hostapd: "hello" is no station's address`},
		{"a group's address", "01:00:5e:10:00:01\n", `hostapd: "01:00:5e:10:00:01" is no station's address`},
		{"zeros", "00:00:00:00:00:00\n", `hostapd: "00:00:00:00:00:00" is no station's address`},
		{"with dashes", "02-00-5e-10-00-01 and a text that has no end and no sense at all\n", `hostapd: "02-00-5e-10-00-01 and a text that has no" is no station's address`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := hostapd.ParseStation(c.in)
			got := fmt.Sprintf("%+v", s)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	if _, err := hostapd.ParseStation(""); !errors.Is(err, hostapd.ErrNone) {
		t.Error(err)
	}
}

func TestParseStatus(t *testing.T) {
	const two = "state=ENABLED\nbss[0]=wlan0\nbssid[0]=02:00:5e:20:00:00\nssid[0]=lab\nbss[1]=wlan0_1\nbssid[1]=02:00:5e:20:00:01\nssid[1]=guests=\\xff\n"
	for _, c := range []struct{ name, in, of, want string }{
		{"the wired driver", read(t, "status-wired.txt"), "eth0", "{Enabled:true SSID: BSSID:02:1a:b0:01:00:02}"},
		{"the first network", two, "wlan0", "{Enabled:true SSID:lab BSSID:02:00:5e:20:00:00}"},
		{"the second", two, "wlan0_1", `{Enabled:true SSID:guests=\xff BSSID:02:00:5e:20:00:01}`},
		{"off", "state=DFS\n", "wlan0", "{Enabled:false SSID: BSSID:}"},
		{"refused", "FAIL\n", "wlan0", "hostapd: it refused"},
		{"something else", "wpa_state=COMPLETED\n", "wlan0", "hostapd: the answer to STATUS names no state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := hostapd.ParseStatus(c.in, c.of)
			got := fmt.Sprintf("%+v", r)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestParseEvent(t *testing.T) {
	mac := [6]byte{2, 0, 0x5e, 0x10, 0, 1}
	for _, c := range []struct {
		in   string
		want hostapd.Event
		mac  [6]byte
		ok   bool
	}{
		{"<3>AP-STA-CONNECTED 02:00:5e:10:00:01", hostapd.Connected, mac, true},
		{"<3>AP-STA-CONNECTED 02:00:5e:10:00:01 keyid=guest", hostapd.Connected, mac, true},
		{"<3>AP-STA-DISCONNECTED 02:00:5e:10:00:01", hostapd.Disconnected, mac, true},
		{"<3>CTRL-EVENT-TERMINATING ", hostapd.Ended, [6]byte{}, true},
		{"<3>AP-DISABLED ", hostapd.Ended, [6]byte{}, true},
		{"<3>AP-STA-CONNECTED", hostapd.Other, [6]byte{}, true},
		{"<3>CTRL-EVENT-EAP-STARTED 02:00:5e:10:00:01", hostapd.Other, [6]byte{}, true},
		{"<3>", hostapd.Other, [6]byte{}, true},
		{"OK\n", hostapd.Other, [6]byte{}, false},
		{"", hostapd.Other, [6]byte{}, false},
		{"<x>AP-STA-CONNECTED 02:00:5e:10:00:01", hostapd.Other, [6]byte{}, false},
	} {
		if e, m, ok := hostapd.ParseEvent(c.in); e != c.want || m != c.mac || ok != c.ok {
			t.Errorf("%q: %v %x %v, want %v %x %v", c.in, e, m, ok, c.want, c.mac, c.ok)
		}
	}
}

// read returns an answer that hostapd itself gave.
func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		f.Add(read(f, filepath.Base(file)))
	}
	f.Add("<3>AP-STA-CONNECTED 02:00:5e:10:00:01 keyid=x")
	f.Fuzz(func(t *testing.T, in string) {
		if s, err := hostapd.ParseStation(in); err == nil && (s.MAC == [6]byte{} || s.MAC[0]&1 != 0 || s.Signal < -255 || s.Signal > 127) {
			t.Errorf("%+v", s)
		}
		if r, err := hostapd.ParseStatus(in, "wlan0"); err == nil && len(r.SSID)+len(r.BSSID) > len(in) {
			t.Errorf("%+v", r)
		}
		e, mac, ok := hostapd.ParseEvent(in)
		if (e == hostapd.Connected || e == hostapd.Disconnected) != (mac != [6]byte{}) || !ok && e != hostapd.Other || ok && !strings.HasPrefix(in, "<") {
			t.Errorf("%v %x %v", e, mac, ok)
		}
	})
}
