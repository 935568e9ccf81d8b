package passive

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/passive/internal/recent"
)

// dnsScratch is what one message needs while it is read.
type dnsScratch struct {
	data    recent.Map[string]    // record data as text, by type and uncompressed bytes
	names   recent.Map[*nameText] // by uncompressed bytes
	records []dnswire.Record      // of the message in hand
	own     []byte                // the folded name whose address the packet came from
	name    []byte
	fp      []byte
	item    []byte
	seen    []int // where the items of a fingerprint begin
}

// dnsMessage reads a message of DNS, mDNS or LLMNR and hands out a fact for
// each question and each record.
func (d *Decoder) dnsMessage(c *context, p proto, b []byte) drop {
	// A hop limit of 255 proves that no router passed the packet on.
	src := c.src.Addr()
	direct := d.direct(c) || p == protoMDNS && c.ttl == 255 && c.srcMAC != (MAC{}) && !c.srcMAC.Group() &&
		!src.IsUnspecified() && !src.IsMulticast()
	m, err := dnswire.Parse(b)
	switch {
	case err != nil && !c.whole:
		return dropDNSTruncated
	case err != nil:
		return dropDNSForm
	case p == protoDNS && m.Opcode != dnswire.OpcodeQuery && m.Opcode != dnswire.OpcodeNotify && m.Opcode != dnswire.OpcodeUpdate,
		p != protoDNS && m.Opcode != dnswire.OpcodeQuery:
		return dropDNSOpcode
	case p == protoMDNS && m.Rcode != 0: // RFC 6762 §18.11: silently ignored
		return dropDNSOpcode
	}
	d.packet(p)
	announces := p == protoMDNS && m.Response && c.src.Port() == portMDNS // RFC 6762 §6
	x := &d.message
	*x = dnsContext{context: c, m: m, proto: p, direct: direct, announces: announces, first: true}
	d.dns.records = d.dns.records[:0]
	for r := range x.m.Records() {
		d.dns.records = append(d.dns.records, r)
	}
	x.fingerprint = d.dnsFingerprint(&x.m, p, c)
	if announces && direct {
		d.findOwn(src)
	} else {
		d.dns.own = d.dns.own[:0]
	}
	for q := range x.m.Questions() {
		d.question(x, q)
	}
	for _, r := range d.dns.records {
		d.resource(x, r)
	}
	x.m = dnswire.Message{} // it holds the frame's bytes, as these do
	clear(d.dns.records)
	return dropNone
}

// dnsContext is what holds for all facts of a message.
type dnsContext struct {
	*context
	m           dnswire.Message
	proto       proto
	direct      bool // the frame's source MAC is the sender's
	announces   bool // the records are the sender's own word
	fingerprint string
	asked       string // the first question
	askedType   uint16
	first       bool // no fact was handed out yet
}

// startDNS begins a fact of a message.
func (d *Decoder) startDNS(x *dnsContext) *Fact {
	f := d.start(x.context, protoNames[x.proto])
	f.Response, f.Fingerprint = x.m.Response, x.fingerprint
	if x.first && x.direct {
		d.claims = append(d.claims, Claim{MAC: x.srcMAC, IP: x.src.Addr()})
	}
	x.first = false
	return f
}

func (d *Decoder) question(x *dnsContext, q dnswire.Question) {
	f := d.startDNS(x)
	f.Query, f.QType = d.nameOf(x.proto, q.Name), uint16(q.Type)
	if x.asked == "" {
		x.asked, x.askedType = f.Query, f.QType
	}
	class := uint64(q.Class)
	if q.Unicast {
		if x.proto == protoMDNS {
			d.field("unicast", "true")
		} else {
			class |= dnswire.TopBit
		}
	}
	d.header(x)
	if class != uint64(dnswire.ClassIN) {
		d.fieldText("class", strconv.AppendUint(d.buf[:0], class, 10))
	}
	d.finish(x.context)
}

// header adds the header's fields that belong to the message as a whole.
func (d *Decoder) header(x *dnsContext) {
	if x.m.Opcode != dnswire.OpcodeQuery {
		d.fieldText("opcode", strconv.AppendUint(d.buf[:0], uint64(x.m.Opcode), 10))
	}
	if x.m.Response && x.proto != protoMDNS {
		d.fieldText("rcode", strconv.AppendUint(d.buf[:0], uint64(x.m.Rcode), 10))
	}
	if x.m.Truncated {
		d.field("truncated", "true")
	}
	if x.tcp {
		d.field("transport", "tcp")
	}
}

func (d *Decoder) resource(x *dnsContext, r dnswire.Record) {
	f := d.startDNS(x)
	rec := &d.record
	*rec = Record{
		Name: d.nameOf(x.proto, r.Name), Type: uint16(r.Type), Class: uint16(r.Class), Flush: r.Flush,
		TTL: r.TTL, Section: r.Section.String(), Data: d.dataText(r),
	}
	if x.proto != protoMDNS && r.Flush {
		rec.Class, rec.Flush = rec.Class|dnswire.TopBit, false
	}
	f.Record = rec
	if x.proto != protoMDNS && x.asked != "" {
		f.Query, f.QType = x.asked, x.askedType
	} else {
		f.Query, f.QType = rec.Name, rec.Type
	}
	d.field("section", rec.Section)
	if rec.Flush {
		d.field("flush", "true")
	}
	d.header(x)
	if r.Type == dnswire.TypeOPT {
		d.fieldText("udp_size", strconv.AppendUint(d.buf[:0], uint64(rec.Class), 10))
	} else if rec.Class != uint16(dnswire.ClassIN) {
		d.fieldText("class", strconv.AppendUint(d.buf[:0], uint64(rec.Class), 10))
	}
	if a, ok := r.Addr(); ok && x.announces {
		d.hostClaim(x, r, a)
	}
	if r.Type == dnswire.TypeTXT && len(d.dns.own) > 0 && r.TTL > 0 {
		d.idClaim(x, r)
	}
	d.finish(x.context)
}

// findOwn finds the name whose address records hold the packet's source: the
// sender's own. A proxy or a reflector speaks of other addresses.
func (d *Decoder) findOwn(src netip.Addr) {
	d.dns.own = d.dns.own[:0]
	for _, r := range d.dns.records {
		if a, ok := r.Addr(); ok && a == src {
			d.dns.own = r.Name.AppendFolded(d.dns.own)
			return
		}
	}
}

// hostClaim tells the address that an mDNS announcement gives a host name; with
// the sender's MAC if the name is the sender's own.
func (d *Decoder) hostClaim(x *dnsContext, r dnswire.Record, a netip.Addr) {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return
	}
	claim := Claim{
		IP: a, Host: d.record.Name, Hearsay: true,
		Gone: r.TTL == 0, Lifetime: time.Duration(r.TTL) * time.Second,
	}
	if len(d.dns.own) > 0 {
		d.dns.name = r.Name.AppendFolded(d.dns.name[:0])
		if bytes.Equal(d.dns.name, d.dns.own) {
			claim.MAC, claim.Hearsay = x.srcMAC, false
		}
	}
	d.claims = append(d.claims, claim)
}

// nameText is what is made of a name.
type nameText struct {
	text string // as DNS prints it
	form string // as it stands in a fingerprint of mDNS
}

// nameOf returns a name as DNS prints it.
func (d *Decoder) nameOf(p proto, n dnswire.NameView) string {
	if p == protoMDNS {
		return d.name(n).text
	}
	d.buf = n.AppendText(d.buf[:0])
	return d.text.get(d.buf)
}

// name returns what is made of a name of mDNS. The same few stand in most messages.
func (d *Decoder) name(n dnswire.NameView) *nameText {
	d.dns.name = n.AppendWire(d.dns.name[:0])
	if t, ok := d.dns.names.Find(d.dns.name); ok {
		return t
	}
	key := string(d.dns.name)
	d.buf = n.AppendText(d.buf[:0])
	t := &nameText{text: string(d.buf)}
	t.form = string(d.appendForm(d.buf[:0], n))
	d.dns.names.Put(key, t, len(t.text)+len(t.form)+2*16)
	return t
}

// dataText returns a record's data as DNS prints it.
func (d *Decoder) dataText(r dnswire.Record) string {
	d.buf = append(d.buf[:0], byte(r.Type>>8), byte(r.Type))
	d.buf = r.AppendRData(d.buf)
	if s, ok := d.dns.data.Find(d.buf); ok {
		return s
	}
	var s string
	if r.Type == dnswire.TypeOPT {
		s = optText(r)
	} else {
		s = r.RR().DataString()
	}
	d.dns.data.Put(string(d.buf), s, len(s))
	return s
}

// optText lists the codes of EDNS options (RFC 6891 §6.1.2): "10,12".
func optText(r dnswire.Record) string {
	var t []byte
	for code := range r.Options() {
		t = strconv.AppendUint(comma(t), uint64(code), 10)
	}
	return string(t)
}
