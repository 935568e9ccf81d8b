package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/hostapd"
	"github.com/lanfolk/lanfolk/internal/source"
)

// hostapdParts is the part that asks hostapd, none if the config wants none.
func (n *Node) hostapdParts() []*daemon.Task {
	c := n.Config.Hostapd
	if !c.Enabled || len(c.Folders) == 0 {
		return nil
	}
	from := source.Hostapd{Gateway: n.Config.Name, Link: n.stationLink}
	n.hostapd = &hostapd.Watcher{Folders: c.Folders, Dial: dialHostapd, Log: n.Log, Tell: func(reports ...hostapd.Report) {
		now := time.Now()
		var sightings []lanfolk.Sighting
		for _, r := range reports {
			if s, ok := from.Sighting(now, r); ok {
				sightings = append(sightings, s)
			}
		}
		n.registry.Observe(sightings...)
	}}
	return []*daemon.Task{{Name: "hostapd", Run: func(ctx context.Context) error { return n.hostapd.Run(ctx) }, Detail: n.hostapdDetail, Counters: n.hostapdCounters}}
}

// dialHostapd connects to a control socket. hostapd answers to the address that a
// command came from: it gets one of Linux's that need no file.
func dialHostapd(path string) (hostapd.Conn, error) {
	own := &net.UnixAddr{Net: "unixgram", Name: "@lanfolk-" + rand.Text()}
	conn, err := net.DialUnix("unixgram", own, &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		return nil, fmt.Errorf("node: hostapd: %w", err)
	}
	return conn, nil
}

// stationLink returns the link on which hostapd's stations are heard: the bridge, if the
// interface is a port of one.
func (n *Node) stationLink(iface string) (string, bool) {
	link := n.links.master(iface)
	return link, n.wanted(iface, link)
}

func (n *Node) hostapdDetail() string {
	var s []string
	for _, x := range n.hostapd.States() {
		t := fmt.Sprintf("%s: %d stations", x.Interface, x.Stations)
		if x.Err != nil {
			t = x.Interface + ": " + x.Err.Error()
		} else if x.Radio.SSID != "" {
			t += " on " + x.Radio.SSID
		}
		s = append(s, t)
	}
	if len(s) == 0 {
		return "no hostapd is there"
	}
	return strings.Join(s, "; ")
}

func (n *Node) hostapdCounters() map[string]uint64 {
	c := map[string]uint64{"interfaces": 0, "stations": 0, "events": 0, "attached": 0}
	for _, x := range n.hostapd.States() {
		c["interfaces"]++
		c["stations"] += uint64(x.Stations)
		c["events"] += x.Events
		c["attached"] += x.Attaches
	}
	return c
}

// AccessPoint is an interface of a hostapd on this machine.
type AccessPoint struct {
	Interface string `json:"interface"`
	Socket    string `json:"socket"`
	SSID      string `json:"ssid"`
	Attached  bool   `json:"attached"` // it tells who comes and goes
	Stations  int    `json:"stations"`
	Error     string `json:"error"` // why it doesn't
}

func (n *Node) accessPoints() []AccessPoint {
	out := []AccessPoint{}
	if n.hostapd == nil {
		return out
	}
	for _, x := range n.hostapd.States() {
		a := AccessPoint{Interface: x.Interface, Socket: x.Path, SSID: strings.ToValidUTF8(x.Radio.SSID, "�"), Attached: x.Attached, Stations: x.Stations}
		if x.Err != nil {
			a.Error = x.Err.Error()
		}
		out = append(out, a)
	}
	return out
}
