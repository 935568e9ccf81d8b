package passive

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/passive/internal/cdp"
	"github.com/lanfolk/lanfolk/passive/internal/lldp"
)

// EtherTypes and headers of what devices tell their neighbours.
const (
	etherLLDP = 0x88cc
	etherMax  = 1500 // what is more is no length (IEEE 802.3 §3.2.6)
)

// snapCDP is the LLC and SNAP header of CDP: SNAP, Cisco, 0x2000.
var snapCDP = [8]byte{0xaa, 0xaa, 0x03, 0x00, 0x00, 0x0c, 0x20, 0x00}

// lldpMessage reads LLDP. Bridges don't pass it on, so the frame's source is a
// port of the device that speaks.
func (d *Decoder) lldpMessage(c *context, b []byte) drop {
	m := &d.lldp
	switch {
	case !c.whole:
		return dropLLDPCut
	case !m.Parse(b):
		return dropLLDPForm
	}
	d.packet(protoLLDP)
	f := d.start(c, ProtoLLDP)
	f.Response = true
	f.Query = d.safeText(m.Name)
	f.Fingerprint = d.lldpFingerprint()
	d.lldpFields()
	d.lldpClaims(c, f.Query)
	d.finish(c)
	return dropNone
}

func (d *Decoder) lldpFields() {
	m := &d.lldp
	d.fieldID("chassis_id", m.Chassis, m.ChassisType == lldp.ChassisMAC, m.ChassisType == lldp.ChassisNetwork)
	d.fieldID("port_id", m.Port, m.PortType == lldp.PortMAC, m.PortType == 4)
	d.fieldSafe("port_description", m.PortDescription)
	d.fieldSafe("system_name", m.Name)
	d.fieldSafe("system_description", m.Description)
	d.fieldBits("capabilities", uint32(m.Supported), lldp.Capabilities())
	d.fieldBits("enabled", uint32(m.Enabled), lldp.Capabilities())
	d.fieldAddrs("management", m.Addresses())
	d.fieldNumber("vlan", uint64(m.VLAN))
	i := &m.Inventory
	d.fieldSafe("manufacturer", i.Manufacturer)
	d.fieldSafe("model", i.Model)
	d.fieldSafe("serial", i.Serial)
	d.fieldSafe("hardware", i.Hardware)
	d.fieldSafe("firmware", i.Firmware)
	d.fieldSafe("software", i.Software)
	d.fieldSafe("mud_url", m.MUD)
	d.fieldText("ttl", strconv.AppendUint(d.buf[:0], uint64(m.TTL), 10))
}

// lldpFingerprint: see the package comment. Names, addresses and ports are left out.
func (d *Decoder) lldpFingerprint() string {
	m := &d.lldp
	t := strconv.AppendUint(append(d.buf2[:0], "lldp1:chassis="...), uint64(m.ChassisType), 10)
	t = strconv.AppendUint(append(t, ";port="...), uint64(m.PortType), 10)
	t = append(t, ";tlvs="...)
	for i, x := range m.TLVs() {
		if i > 0 {
			t = append(t, ',')
		}
		if x.Type != 127 {
			t = strconv.AppendUint(t, uint64(x.Type), 10)
			continue
		}
		for shift := 20; shift >= 0; shift -= 4 {
			t = append(t, hexDigits[x.OUI>>shift&15])
		}
		t = strconv.AppendUint(append(t, '.'), uint64(x.Subtype), 10)
	}
	if m.Supported != 0 {
		t = appendBits(append(t, ";caps="...), uint32(m.Supported), lldp.Capabilities(), '+')
	}
	t = appendPart(t, ";maker=", m.Inventory.Manufacturer)
	t = appendPart(t, ";model=", m.Inventory.Model)
	t = appendPart(t, ";desc=", m.Description)
	d.buf2 = t
	return d.text.get(t)
}

func (d *Decoder) lldpClaims(c *context, name string) {
	m := &d.lldp
	if c.srcMAC == (MAC{}) || c.srcMAC.Group() || m.TTL == 0 {
		return
	}
	claim := Claim{MAC: c.srcMAC, Host: name, Router: m.Enabled&lldp.CapRouter != 0, Lifetime: time.Duration(m.TTL) * time.Second}
	if m.ChassisType == lldp.ChassisMAC && len(m.Chassis) == 6 {
		// One chassis speaks from many ports. A local address may be that of
		// many devices.
		if chassis := MAC(m.Chassis); chassis != (MAC{}) && chassis[0]&3 == 0 {
			d.buf = chassis.appendText(append(d.buf[:0], "lldp:"...))
			claim.ID = d.text.get(d.buf)
		}
	}
	d.neighbourClaims(claim, m.Addresses())
}

// neighbourClaims tells a claim with each of the device's addresses.
func (d *Decoder) neighbourClaims(claim Claim, addrs []netip.Addr) {
	told := false
	for _, a := range addrs {
		if a = a.Unmap(); !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() {
			claim.IP, told = a, true
			d.claims = append(d.claims, claim)
		}
	}
	if !told {
		d.claims = append(d.claims, claim)
	}
}

// llc reads an IEEE 802.3 frame, whose length stands in the place of its type.
func (d *Decoder) llc(c *context, length int, b []byte) drop {
	if len(b) < len(snapCDP) || [8]byte(b) != snapCDP {
		return dropNone
	}
	if length > len(b) {
		c.whole = false
	} else {
		b, c.whole = b[:length], true
	}
	if len(b) < len(snapCDP) {
		return dropCDPForm
	}
	return d.cdpMessage(c, b[len(snapCDP):])
}

// cdpMessage reads CDP.
func (d *Decoder) cdpMessage(c *context, b []byte) drop {
	m := &d.cdp
	switch {
	case !c.whole:
		return dropCDPCut
	case !m.Parse(b):
		return dropCDPForm
	}
	d.packet(protoCDP)
	f := d.start(c, ProtoCDP)
	f.Response = true
	f.Query = d.safeText(m.Device)
	software, _, _ := bytes.Cut(m.Software, []byte{'\n'})

	t := strconv.AppendUint(append(d.buf2[:0], "cdp1:version="...), uint64(m.Version), 10)
	t = append(t, ";tlvs="...)
	for i, x := range m.Types() {
		if i > 0 {
			t = append(t, ',')
		}
		t = strconv.AppendUint(t, uint64(x), 10)
	}
	if m.Capabilities != 0 {
		t = appendBits(append(t, ";caps="...), m.Capabilities, cdp.Capabilities(), '+')
	}
	t = appendPart(t, ";platform=", m.Platform)
	d.buf2 = appendPart(t, ";software=", software)
	f.Fingerprint = d.text.get(d.buf2)

	d.fieldSafe("device_id", m.Device)
	d.fieldSafe("port_id", m.Port)
	d.fieldSafe("platform", m.Platform)
	d.fieldSafe("software", m.Software)
	d.fieldBits("capabilities", m.Capabilities, cdp.Capabilities())
	d.fieldAddrs("addresses", m.Addresses())
	d.fieldNumber("vlan", uint64(m.VLAN))
	d.fieldText("ttl", strconv.AppendUint(d.buf[:0], uint64(m.TTL), 10))
	if c.srcMAC != (MAC{}) && !c.srcMAC.Group() && m.TTL > 0 {
		d.neighbourClaims(Claim{
			MAC: c.srcMAC, Host: f.Query, Router: m.Capabilities&cdp.CapRouter != 0, Lifetime: time.Duration(m.TTL) * time.Second,
		}, m.Addresses())
	}
	d.finish(c)
	return dropNone
}

// fieldID adds an id that is a hardware address, an address with its family, or text.
func (d *Decoder) fieldID(key string, v []byte, mac, addr bool) {
	switch {
	case mac && len(v) == 6:
		d.fieldMAC(key, MAC(v))
		return
	case addr:
		if a := lldp.Address(v); a.IsValid() {
			d.fieldAddr(key, a)
			return
		}
	}
	d.fieldSafe(key, v)
}
