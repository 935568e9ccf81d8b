package passive

import (
	"net/netip"
	"strconv"

	"github.com/lanfolk/lanfolk/passive/internal/netbios"
)

// UDP ports of NetBIOS.
const (
	portNBNS     = 137
	portNBDgrams = 138
)

// netbiosScratch holds the message in hand.
type netbiosScratch struct {
	service  netbios.Message
	datagram netbios.Datagram
}

// netbiosMessage reads NetBIOS' name service and its datagrams.
func (d *Decoder) netbiosMessage(c *context, b []byte) drop {
	datagram := c.dst.Port() == portNBDgrams
	if !c.whole {
		return dropNBNSCut
	}
	if datagram {
		return d.netbiosDatagram(c, b)
	}
	m := &d.netbios.service
	if !m.Parse(b) {
		return dropNBNSForm
	}
	d.packet(protoNBNS)
	f := d.start(c, ProtoNBNS)
	f.Response = m.Response
	f.Query, f.QType = d.netbiosName(m.Name), m.Type
	message := nbnsOperation(m)

	t := append(append(d.buf2[:0], "nbns1:"...), message...)
	if m.Response {
		t = append(t, ";response"...)
	}
	t = appendHex16(append(t, ";flags="...), m.Flags)
	if m.Record && !m.Response {
		t = strconv.AppendUint(append(t, ";ttl="...), uint64(m.TTL), 10)
		if a := m.Addresses(); len(a) > 0 {
			t = appendHex16(append(t, ";nb="...), a[0].Flags)
		}
	}
	d.buf2 = t
	f.Fingerprint = d.text.get(t)

	d.field("message", message)
	if m.Response {
		d.fieldText("rcode", strconv.AppendUint(d.buf[:0], uint64(m.Code), 10))
	}
	d.nbnsRecord(c)
	d.finish(c)
	return dropNone
}

func nbnsOperation(m *netbios.Message) string {
	switch m.Operation {
	case netbios.OpQuery:
		if m.Type == netbios.TypeStatus {
			return "status"
		}
		return "query"
	case netbios.OpRegistration, netbios.OpMultihomed:
		return "registration"
	case netbios.OpRelease:
		return "release"
	case netbios.OpWait:
		return "wait"
	case netbios.OpRefresh, netbios.OpRefreshAlt:
		return "refresh"
	}
	return "unknown"
}

// nbnsRecord tells what stands in the record, and claims it: a machine asks for
// its own names, answers for them, and gives them up.
func (d *Decoder) nbnsRecord(c *context) {
	m := &d.netbios.service
	if all := m.Addresses(); len(all) > 0 {
		t := d.buf[:0]
		for _, a := range all {
			t = a.IP.AppendTo(comma(t))
		}
		d.buf = t
		d.fieldText("addresses", t)
		if all[0].Group() {
			d.field("group", "true")
		}
		for _, a := range all {
			if m.Code == 0 && m.Operation != netbios.OpWait && !a.Group() {
				d.netbiosClaim(c, m.Name, a.IP, m.Operation == netbios.OpRelease)
			}
		}
	}
	if m.Record && !m.Response {
		d.fieldText("ttl", strconv.AppendUint(d.buf[:0], uint64(m.TTL), 10))
	}
	if len(m.Names()) == 0 {
		return
	}
	t := d.buf2[:0]
	for _, e := range m.Names() {
		t = e.Name.AppendText(comma(t))
	}
	d.buf2 = t
	d.fieldText("names", t)
	unit := MAC(m.Unit)
	if unit != (MAC{}) {
		d.fieldMAC("unit", unit)
	}
	for _, e := range m.Names() {
		if !e.Group() {
			before := len(d.claims)
			d.netbiosClaim(c, e.Name, c.src.Addr(), false)
			// What the machine says is its MAC counts where the frame says so, too.
			if len(d.claims) > before && unit != c.srcMAC && unit != (MAC{}) {
				d.claims[before].MAC = MAC{}
			}
		}
	}
}

// netbiosClaim tells that a machine's name has an address; with the sender's MAC
// if the address is the sender's.
func (d *Decoder) netbiosClaim(c *context, n netbios.Name, a netip.Addr, gone bool) {
	if s := n.Suffix(); s != netbios.Workstation && s != netbios.Server || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return
	}
	d.buf = n.AppendHost(d.buf[:0])
	claim := Claim{Host: d.text.get(d.buf), IP: a, Gone: gone, Hearsay: a != c.src.Addr()}
	if claim.Host == "" {
		return
	}
	if !claim.Hearsay && d.direct(c) {
		claim.MAC = c.srcMAC
	}
	d.claims = append(d.claims, claim)
}

func (d *Decoder) netbiosName(n netbios.Name) string {
	d.buf = n.AppendText(d.buf[:0])
	return d.text.get(d.buf)
}

// netbiosDatagram reads a datagram; what it says is that its sender is there.
func (d *Decoder) netbiosDatagram(c *context, b []byte) drop {
	m := &d.netbios.datagram
	if !m.Parse(b) {
		return dropNBNSForm
	}
	d.packet(protoNBNS)
	f := d.start(c, ProtoNBNS)
	f.Response = true
	f.Query = d.netbiosName(m.Source)

	w := &m.Browser
	t := append(d.buf2[:0], "nbns1:datagram;type="...)
	t = append(t, hexDigits[m.Type>>4], hexDigits[m.Type&15])
	t = append(t, ";flags="...)
	t = append(t, hexDigits[m.Flags>>4], hexDigits[m.Flags&15])
	if w.Command != 0 {
		t = strconv.AppendUint(append(t, ";browser="...), uint64(w.Command), 10)
		t = strconv.AppendUint(append(t, ";os="...), uint64(w.Major), 10)
		t = strconv.AppendUint(append(t, '.'), uint64(w.Minor), 10)
		t = appendHex16(append(t, ";offers="...), uint16(w.ServerType>>16))
		t = appendHex16(t, uint16(w.ServerType))
	}
	d.buf2 = t
	f.Fingerprint = d.text.get(t)

	d.field("message", "datagram")
	d.field("destination", d.netbiosName(m.Destination))
	if w.Command != 0 {
		t = strconv.AppendUint(d.buf[:0], uint64(w.Major), 10)
		t = strconv.AppendUint(append(t, '.'), uint64(w.Minor), 10)
		d.buf = t
		d.fieldText("os_version", t)
		d.fieldSafe("comment", w.Comment)
	}
	d.netbiosClaim(c, m.Source, m.IP, false)
	d.finish(c)
	return dropNone
}

func appendHex16(t []byte, n uint16) []byte {
	return append(t, hexDigits[n>>12], hexDigits[n>>8&15], hexDigits[n>>4&15], hexDigits[n&15])
}
