package source

import (
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/hostapd"
)

// ProtocolHostapd names stations that hostapd told of.
const ProtocolHostapd = "hostapd"

// stationLifetime is how long a station is there that isn't told of any more:
// hostapd hangs, or the node can't reach it.
const stationLifetime = 3 * hostapd.Refresh

// Hostapd turns hostapd's stations into sightings. Who is connected is alive.
type Hostapd struct {
	Gateway string // this node's name, "" for a node alone
	// Link returns the name of the link on which the stations of one of hostapd's
	// interfaces are, which is the bridge if the interface is a port of one, and whether it is used.
	Link func(iface string) (name string, used bool)
}

// Sighting returns what a report says at the time now, and whether it is to be told.
func (x Hostapd) Sighting(now time.Time, r hostapd.Report) (lanfolk.Sighting, bool) {
	link, used := x.Link(r.Interface)
	if !used {
		return lanfolk.Sighting{}, false
	}
	mac := lanfolk.MAC(r.Station.MAC)
	o := lanfolk.Origin{Protocol: ProtocolHostapd, Gateway: x.Gateway, Link: link, Source: r.Radio.BSSID}
	s := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindDevice, Key: mac.String() + " " + r.Interface,
		Identifiers: identifiers(mac, "", "", o),
		What:        mac.String() + " is connected to " + r.Interface,
		State:       lanfolk.Reachable, Time: now, Lifetime: stationLifetime, Gone: r.Gone,
		Attributes: map[string]string{"interface": r.Interface},
	}
	if r.Gone {
		s.What = mac.String() + " has left " + r.Interface
		return s, true
	}
	if ssid := text(r.Radio.SSID); ssid != "" {
		s.What += ", network " + ssid
		s.Attributes["ssid"] = ssid
	}
	if r.Radio.BSSID != "" {
		s.Attributes["bssid"] = r.Radio.BSSID
	}
	if r.Station.Signal != 0 {
		s.Attributes["signal"] = strconv.Itoa(r.Station.Signal) + " dBm"
	}
	if r.Station.Connected >= 0 {
		s.Attributes["connected"] = r.Station.Connected.String()
	}
	if r.Station.RxBytes > 0 || r.Station.TxBytes > 0 {
		s.Attributes["rx_bytes"] = strconv.FormatUint(r.Station.RxBytes, 10)
		s.Attributes["tx_bytes"] = strconv.FormatUint(r.Station.TxBytes, 10)
	}
	return s, true
}
