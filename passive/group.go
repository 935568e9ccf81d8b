package passive

import (
	"strconv"

	"github.com/lanfolk/lanfolk/passive/internal/group"
)

// ipIGMP is IGMP's protocol number.
const ipIGMP = 2

func isMLD(icmpType uint8) bool {
	switch icmpType {
	case group.MLDQuery, group.MLDReport, group.MLDDone, group.MLDReport2:
		return true
	}
	return false
}

// igmp reads an IGMP message.
func (d *Decoder) igmp(c *context, b []byte) drop {
	known, ok := d.group.ParseIGMP(b)
	switch {
	case !known:
		return dropNone
	case !c.whole:
		return dropIGMPCut
	case !ok, sum16(b) != 0xffff:
		return dropIGMPForm
	}
	d.groupFacts(c, protoIGMP, ProtoIGMP, "igmp1:")
	return dropNone
}

// mld reads MLD. Hosts only take what can't have come through a router
// (RFC 3810 §5.1.14, §5.2.13).
func (d *Decoder) mld(c *context, b []byte) drop {
	src := c.src.Addr()
	switch {
	case !c.whole:
		return dropMLDCut
	case c.ttl != 1, !src.IsLinkLocalUnicast() && !src.IsUnspecified():
		return dropMLDForm
	case checksum(src, c.dst.Addr(), ipICMPv6, b) != 0xffff, !d.group.ParseMLD(b):
		return dropMLDForm
	}
	d.groupFacts(c, protoMLD, ProtoMLD, "mld1:")
	return dropNone
}

// groupFacts tells a fact for each group.
func (d *Decoder) groupFacts(c *context, p proto, name, form string) {
	m := &d.group
	d.packet(p)
	fingerprint := d.groupFingerprint(form)
	for i, r := range m.Records() {
		f := d.start(c, name)
		f.Response = m.Kind != group.Query
		if !r.Group.IsUnspecified() {
			f.Query = d.addrText(r.Group)
		}
		f.Fingerprint = fingerprint
		d.field("message", m.Kind.String())
		d.fieldNumber("version", uint64(m.Version))
		if mode := group.Mode(r.Mode); mode != "" {
			d.field("mode", mode)
		}
		d.fieldNumber("sources", uint64(r.Sources))
		if claim := d.ownClaim(c); i == 0 && claim.MAC != (MAC{}) {
			d.claims = append(d.claims, claim)
		}
		d.finish(c)
	}
}

// groupFingerprint: see the package comment. Of a querier its timers tell what
// it is, of a host the version, and how it says that it joins.
func (d *Decoder) groupFingerprint(form string) string {
	m := &d.group
	t := append(append(d.buf2[:0], form...), m.Kind.String()...)
	t = strconv.AppendUint(append(t, ";version="...), uint64(m.Version), 10)
	if m.Kind == group.Query {
		t = strconv.AppendUint(append(t, ";max="...), uint64(m.MaxResponse), 10)
		if m.Robustness != 0 || m.Interval != 0 {
			t = strconv.AppendUint(append(t, ";robustness="...), uint64(m.Robustness), 10)
			t = strconv.AppendUint(append(t, ";interval="...), uint64(m.Interval), 10)
		}
	} else if all := m.Records(); len(all) > 0 && all[0].Mode != 0 {
		t = append(append(t, ";mode="...), group.Mode(all[0].Mode)...)
	}
	d.buf2 = t
	return d.text.get(t)
}
