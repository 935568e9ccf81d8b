// Package doctor looks for what could keep lanfolk from seeing more, and says
// what to do about it. It changes nothing and sends nothing.
package doctor

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// Grade says how a check went.
type Grade string

// The grades.
const (
	Good    Grade = "good"
	Notice  Grade = "notice"  // worth to know; nothing is broken
	Warning Grade = "warning" // lanfolk works, and could do more
	Problem Grade = "problem" // something doesn't work
)

// Finding is what one check found.
type Finding struct {
	Check  string `json:"check"`
	Grade  Grade  `json:"grade"`
	Found  string `json:"found"`
	Advice string `json:"advice"` // what to do, "" where nothing is to be done
}

// Doctor says what to look at.
type Doctor struct {
	ConfigPath string // "" for none
	Config     *config.Config
	ConfigErr  error // why Config could not be read
	State      string
	// Database asks a database that is a server's, nil to leave that out.
	Database func(context.Context) error
	// Node asks the node on the state folder's socket, nil to leave that out.
	Node func(context.Context) (NodeStatus, error)
	// OwnHub asks the hub there, nil where none ever ran.
	OwnHub func(context.Context) (OwnHubStatus, error)
}

// Examine carries out every check. All of them run, whatever one finds.
func (d Doctor) Examine(ctx context.Context) []Finding {
	all, err := lan.Links()
	checks := []func() []Finding{
		d.checkConfig,
		func() []Finding { return d.checkLinks(all, err) },
		func() []Finding { return d.checkReflect(all) },
		func() []Finding { return checkPort(lan.PortHolders(mdns.Port)) },
		func() []Finding { return d.checkSyncthing(lan.PortHolders) },
		func() []Finding { return d.checkLeases("/") },
		func() []Finding { return d.checkHostapd(connectable) },
		func() []Finding { return checkCapture(lan.CanCapture()) },
		func() []Finding { return checkState(d.State) },
		func() []Finding { return d.checkDatabase(ctx) },
		func() []Finding { return d.checkNode(ctx) },
		func() []Finding { return d.checkOwnHub(ctx) },
	}
	var found []Finding
	for _, check := range checks {
		found = append(found, check()...)
	}
	return found
}

func (d Doctor) checkConfig() []Finding {
	switch {
	case d.ConfigErr != nil:
		return []Finding{{"config", Problem, d.ConfigErr.Error(), "mend the file; \"lanfolk config reference\" shows every key"}}
	case d.ConfigPath == "":
		return []Finding{{"config", Good, "no file; the defaults hold", ""}}
	}
	return []Finding{{"config", Good, d.ConfigPath, ""}}
}

func (d Doctor) checkLinks(all []packet.Link, err error) []Finding {
	if err != nil {
		return []Finding{{"interfaces", Problem, err.Error(), ""}}
	}
	var selection sockets.Selection
	if d.Config != nil {
		selection = sockets.Selection{Names: d.Config.Interfaces, Exclude: d.Config.ExcludeInterfaces}
	}
	used, err := selection.Choose(all)
	if err != nil {
		return []Finding{{"interfaces", Problem, err.Error(), "correct interfaces in the config"}}
	}
	if len(used) == 0 {
		return []Finding{{
			"interfaces", Problem, "none is up with an address and multicast",
			"bring one up, or name it by interfaces in the config",
		}}
	}
	var found []Finding
	for _, l := range used {
		f := Finding{"interface " + l.Name, Good, addresses(l), ""}
		switch v4, v6 := families(l); {
		case !l.Up():
			f.Grade, f.Found = Warning, "it is down"
		case !v4 && !v6:
			f.Grade, f.Found = Warning, "it has no address"
		case !v6:
			f.Grade = Notice
			f.Found += "; no IPv6 address, so what speaks IPv6 alone isn't heard"
		}
		found = append(found, f)
	}
	return found
}

func families(l packet.Link) (v4, v6 bool) {
	for _, p := range l.Prefixes {
		v4 = v4 || p.Addr().Is4()
		v6 = v6 || p.Addr().Is6()
	}
	return v4, v6
}

func addresses(l packet.Link) string {
	s := make([]string, len(l.Prefixes))
	for i, p := range l.Prefixes {
		s[i] = p.String()
	}
	return strings.Join(s, " ")
}

// checkPort tells who else holds mDNS's port. They all hear what is sent to
// the group, but a unicast answer reaches only one of them.
func checkPort(holders []lan.Holder, err error) []Finding {
	if err != nil {
		return []Finding{{"port 5353", Warning, err.Error(), ""}}
	}
	var others []string
	for _, h := range holders {
		if !h.Self && h.Program != "lanfolk" {
			others = append(others, h.String())
		}
	}
	if len(others) == 0 {
		return []Finding{{"port 5353", Good, "no other program holds it", ""}}
	}
	return []Finding{{
		"port 5353", Notice, strings.Join(others, "; "),
		"both work side by side; lanfolk then asks for no unicast answers",
	}}
}

func checkCapture(err error) []Finding {
	if err == nil {
		return []Finding{{"capture", Good, "allowed", ""}}
	}
	return []Finding{{
		"capture", Warning, err.Error(),
		"without it lanfolk hears no ARP, DHCP or DNS, and takes MACs from the kernel's neighbour table alone",
	}}
}

// lowSpace is how much room on the disk is too little, in bytes.
const lowSpace = 64 << 20

// checkState looks whether the state folder can be written, or made.
func checkState(dir string) []Finding {
	f := Finding{Check: "state folder", Grade: Good, Found: dir}
	place := dir
	for {
		info, err := os.Stat(place)
		if err == nil {
			if !info.IsDir() {
				return []Finding{{f.Check, Problem, place + " is no folder", "name another with --state"}}
			}
			break
		}
		parent := parentOf(place)
		if !os.IsNotExist(err) || parent == place {
			return []Finding{{f.Check, Problem, err.Error(), "name another with --state"}}
		}
		place = parent
	}
	if err := writable(place); err != nil {
		return []Finding{{f.Check, Problem, fmt.Sprintf("%s: %v", place, err), "give the user write access, or name another with --state"}}
	}
	if free, err := freeSpace(place); err == nil && free < lowSpace {
		f.Grade, f.Found = Warning, fmt.Sprintf("%s: %d MiB free", dir, free>>20)
		f.Advice = "make room: what is heard is only kept in memory when the disk is full"
	}
	return []Finding{f}
}

func (d Doctor) checkNode(ctx context.Context) []Finding {
	if d.Node == nil {
		return d.checkMQTT(nil)
	}
	status, err := d.Node(ctx)
	if err != nil {
		return append([]Finding{{"node", Notice, err.Error(), "\"lanfolk up\" starts one"}}, d.checkMQTT(nil)...)
	}
	found := append([]Finding{{"node", Good, "running", ""}}, checkStore(status.Store)...)
	found = append(found, checkLoss(status.Parts)...)
	found = append(found, checkHub(status.Hub, time.Now())...)
	return append(found, d.checkMQTT(&status)...)
}
