package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// Stations of a real hostapd are there as long as they are connected, through its
// end and its new start. Its driver is that for wires: the control socket is the same.
func TestStationsOfHostapd(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip", "hostapd", "wpa_supplicant")
	l := lab.New(t)
	// No bridge passes on 802.1X's frames, which are for the next hop alone, unless it is told to.
	a := l.Subnet("a", "10.99.1.0/24")
	a.PassEAPOL()
	gate, phone := l.Host("gate").Join(a), l.Host("phone").Join(a)
	folder := filepath.Join(l.Dir(), "hostapd")
	ap := gate.Hostapd(gate.Link(a), folder)
	n := gate.Up(lab.Node{Config: fmt.Sprintf("[passive]\nenabled = false\n[hostapd]\nfolders = [%q]\n", folder)})
	mac := phone.Link(a).MAC.String()
	connected := func(want bool) func() error {
		return func() error {
			what := told(n, mac, "hostapd")
			if want != slices.Equal(what, []string{"eth0: " + mac + " is connected to eth0"}) || !want && len(what) > 0 {
				return fmt.Errorf("the evidence is %q", what)
			}
			return nil
		}
	}
	status := func(attached bool) func() error {
		return func() error {
			var s struct {
				AccessPoints []struct {
					Interface, Socket, Error string
					Attached                 bool
				} `json:"access_points"`
			}
			if err := n.JSON(&s, "status"); err != nil {
				return err
			}
			if attached != (len(s.AccessPoints) == 1 && s.AccessPoints[0].Attached && s.AccessPoints[0].Interface == "eth0") {
				return fmt.Errorf("the status is %+v", s)
			}
			return nil
		}
	}
	lab.Eventually(t, 10*time.Second, "the access point in the status", status(true))
	supplicant := phone.Link(a).Supplicant()
	lab.Eventually(t, 10*time.Second, "a station that comes", connected(true))
	if r := gate.Run("hostapd_cli", "-p", folder, "deauthenticate", mac); r.Exit != 0 || !strings.Contains(r.Stdout, "OK") {
		t.Fatalf("hostapd_cli: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	lab.Eventually(t, 5*time.Second, "a station that goes", connected(false))
	supplicant.Stop()

	supplicant = phone.Link(a).Supplicant()
	lab.Eventually(t, 10*time.Second, "a station that comes again", connected(true))
	ap.Kill()
	lab.Eventually(t, 10*time.Second, "the end of a hostapd that was killed", connected(false))
	supplicant.Stop()
	gate.Hostapd(gate.Link(a), folder)
	lab.Eventually(t, 10*time.Second, "the access point again", status(true))
	phone.Link(a).Supplicant()
	lab.Eventually(t, 10*time.Second, "a station of the new hostapd", connected(true))
}
