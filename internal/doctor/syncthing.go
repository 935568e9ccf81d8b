package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/syncthing"
)

// checkSyncthing tells who else holds the ports of Syncthing's discovery. Local announcements
// by IPv6 all programs hear; the port of IPv4 old programs keep to themselves, as a
// global server does with its own.
func (d Doctor) checkSyncthing(holders func(port uint16) ([]lan.Holder, error)) []Finding {
	if d.Config == nil {
		return nil
	}
	c := d.Config.Syncthing
	var found []Finding
	check := func(port uint16, grade Grade, advice string) {
		f := Finding{Check: fmt.Sprintf("port %d", port), Grade: Good, Found: "no other program holds it"}
		all, err := holders(port)
		var others []string
		for _, h := range all {
			if !h.Self && h.Program != "lanfolk" {
				others = append(others, h.String())
			}
		}
		switch {
		case err != nil:
			f.Grade, f.Found = Warning, err.Error()
		case len(others) > 0:
			f.Grade, f.Found, f.Advice = grade, strings.Join(others, "; "), advice
		}
		found = append(found, f)
	}
	if c.Listen || c.Announce.On() && c.Announce.Local {
		check(syncthing.LocalPort, Notice, "if that program keeps the port to itself, as old Syncthing does, lanfolk hears announcements by IPv6 alone until it ends")
		check(syncthing.LocalGroup().Port(), Notice, "both work side by side, unless that program keeps the port to itself")
	}
	var served []uint16
	for _, l := range c.Server.Listen {
		if !slices.Contains(served, l.Port) {
			served = append(served, l.Port)
			check(l.Port, Warning, "lanfolk's own server waits for it: end that program, or change syncthing.server.listen in the config")
		}
	}
	return found
}
