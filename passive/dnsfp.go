package passive

import (
	"bytes"
	"strconv"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Bounds of a fingerprint.
const (
	maxItems  = 32   // questions or records
	maxFPText = 1024 // bytes of them
	maxKeys   = 16   // TXT keys of a record
	maxValue  = 32   // bytes of a TXT value
)

// dnsFingerprint returns the fingerprint of a message; "" for an answer of
// unicast DNS, whose form depends on the name that was asked for.
func (d *Decoder) dnsFingerprint(m *dnswire.Message, p proto, c *context) string {
	switch {
	case p == protoMDNS && m.Response:
		return d.announcementForm()
	case p == protoMDNS:
		return d.questionForm(m, c)
	case p == protoLLMNR && m.Response:
		return "llmnr1:r"
	case p == protoLLMNR:
		return "llmnr1:q"
	case m.Response || m.Opcode != dnswire.OpcodeQuery:
		return ""
	}
	return d.resolverForm(m)
}

// resolverForm tells a resolver's software by the flags and EDNS options of its
// question: `dns1:rd=1;ad=1;cd=1;edns=1232;do=1;opt=10,12;mixed=1`. mixed says
// that the name's case was mixed to make forging harder.
func (d *Decoder) resolverForm(m *dnswire.Message) string {
	t := append(d.dns.fp[:0], "dns1:rd="...)
	t = append(t, bit(m.RecursionDesired))
	if m.AuthenticData {
		t = append(t, ";ad=1"...)
	}
	if m.CheckingDisabled {
		t = append(t, ";cd=1"...)
	}
	for _, r := range d.dns.records {
		if r.Type != dnswire.TypeOPT {
			continue
		}
		t = strconv.AppendUint(append(t, ";edns="...), uint64(r.Class), 10)
		if r.TTL&0x8000 != 0 { // RFC 3225
			t = append(t, ";do=1"...)
		}
		t = appendOptions(t, r)
		break
	}
	for q := range m.Questions() {
		d.dns.name = q.Name.AppendWire(d.dns.name[:0])
		if mixedCase(d.dns.name) {
			t = append(t, ";mixed=1"...)
		}
		break
	}
	d.dns.fp = t
	return d.text.get(t)
}

func bit(v bool) byte {
	if v {
		return '1'
	}
	return '0'
}

// mixedCase says whether letters of both cases stand inside a label, at least
// twice: "WPAD" and "Johns-iPhone" aren't.
func mixedCase(name []byte) bool {
	changes, last := 0, byte(0)
	for _, c := range name {
		lower := c | 0x20
		if lower < 'a' || lower > 'z' {
			continue
		}
		if last != 0 && (c^last)&0x20 != 0 {
			changes++
		}
		last = c
	}
	return changes > 4
}

func appendOptions(t []byte, r dnswire.Record) []byte {
	n := 0
	for code := range r.Options() {
		if n == 0 {
			t = append(t, ";opt="...)
		} else {
			t = append(t, ',')
		}
		if n++; n > maxKeys {
			return append(t, '+')
		}
		t = strconv.AppendUint(t, uint64(code), 10)
	}
	return t
}

// questionForm: see the package comment. legacy says that the question came
// from another port than 5353 (RFC 6762 §6.7), id that it has an id, known that
// it lists known answers.
func (d *Decoder) questionForm(m *dnswire.Message, c *context) string {
	d.dns.fp, d.dns.seen = append(d.dns.fp[:0], "mdns1:q="...), d.dns.seen[:0]
	for q := range m.Questions() {
		t := append(d.dns.item[:0], d.name(q.Name).form...)
		t = append(append(t, '/'), q.Type.String()...)
		if q.Unicast {
			t = append(t, "/QU"...)
		} else {
			t = append(t, "/QM"...)
		}
		d.dns.item = t
		if !d.addItem() {
			break
		}
	}
	if c.src.Port() != portMDNS {
		d.dns.fp = append(d.dns.fp, ";legacy"...)
	}
	if m.ID != 0 {
		d.dns.fp = append(d.dns.fp, ";id"...)
	}
	for _, r := range d.dns.records {
		if r.Type == dnswire.TypeOPT {
			d.dns.fp = strconv.AppendUint(append(d.dns.fp, ";edns="...), uint64(r.Class), 10)
			d.dns.fp = appendOptions(d.dns.fp, r)
			break
		}
	}
	return d.text.get(d.dns.fp)
}

// announcementForm: see the package comment. Records of all sections are in it,
// with TTL in seconds; a TXT record with its keys in order, and the values of
// those that name a model.
func (d *Decoder) announcementForm() string {
	d.dns.fp, d.dns.seen = append(d.dns.fp[:0], "mdns1:a="...), d.dns.seen[:0]
	for _, r := range d.dns.records {
		if r.Type == dnswire.TypeOPT {
			continue
		}
		t := append(d.dns.item[:0], d.name(r.Name).form...)
		t = append(append(t, '/'), r.Type.String()...)
		t = strconv.AppendUint(append(t, '/'), uint64(r.TTL), 10)
		if r.Type == dnswire.TypeTXT {
			t = appendTXTForm(t, r)
		}
		d.dns.item = t
		if !d.addItem() {
			break
		}
	}
	return d.text.get(d.dns.fp)
}

// addItem adds the item in hand to the fingerprint in hand unless it stands
// there; false when the fingerprint is full.
func (d *Decoder) addItem() bool {
	s := &d.dns
	for i, from := range s.seen {
		to := len(s.fp)
		if i+1 < len(s.seen) {
			to = s.seen[i+1] - 1
		}
		if bytes.Equal(s.fp[from:to], s.item) {
			return true
		}
	}
	if len(s.seen) == maxItems || len(s.fp)+len(s.item) > maxFPText {
		s.fp = append(s.fp, ",+"...)
		return false
	}
	if len(s.seen) > 0 {
		s.fp = append(s.fp, ',')
	}
	s.seen = append(s.seen, len(s.fp))
	s.fp = append(s.fp, s.item...)
	return true
}

// appendForm appends a name with what is particular to one network replaced by
// "*": hosts, instances, addresses. Service types and their subtypes stay.
//
//	Printer._ipp._tcp.local       *._ipp._tcp.local
//	_universal._sub._ipp._tcp.local  as it is
//	9561082d._sub._x._tcp.local   *._sub._x._tcp.local
//	nas.local                     *.local
//	5.0.0.10.in-addr.arpa         *.in-addr.arpa
func (d *Decoder) appendForm(t []byte, n dnswire.NameView) []byte {
	d.dns.name = n.AppendFolded(d.dns.name[:0])
	name := d.dns.name
	var start [128]uint8 // where each label's length byte stands
	count := 0
	for i := 0; i < len(name) && name[i] != 0 && count < len(start); i += 1 + int(name[i]) {
		start[count] = uint8(i)
		count++
	}
	label := func(i int) []byte { return name[int(start[i])+1:][:name[start[i]]] }
	service := -1
	for i := 0; i+1 < count; i++ {
		if next := label(i + 1); label(i)[0] == '_' && (string(next) == "_tcp" || string(next) == "_udp") {
			service = i
			break
		}
	}
	rest := 0 // the first label of the domain
	if service >= 0 {
		rest = service + 2
		switch {
		case service == 0:
		case string(label(service)) == "_dns-sd" && service == 1:
			// Lists of types and domains (RFC 6763 §9, §11): "_services", "lb".
			t = append(appendFingerprintText(t, label(0)), '.')
		case service >= 2 && string(label(service-1)) == "_sub":
			if service == 2 && label(0)[0] == '_' {
				t = append(appendFingerprintText(t, label(0)), "._sub."...)
			} else {
				t = append(t, "*._sub."...)
			}
		default:
			t = append(t, "*."...)
		}
		t = append(appendFingerprintText(t, label(service)), '.')
		t = append(append(t, label(service+1)...), '.')
	}
	ends := func(a, b string) bool {
		return count-rest >= 2 && string(label(count-2)) == a && string(label(count-1)) == b
	}
	switch {
	case count == rest+1 && string(label(rest)) == "local":
		return append(t, "local"...)
	case ends("in-addr", "arpa"):
		return append(t, "*.in-addr.arpa"...)
	case ends("ip6", "arpa"):
		return append(t, "*.ip6.arpa"...)
	case count > rest && string(label(count-1)) == "local":
		return append(t, "*.local"...)
	}
	return append(t, '*')
}

// appendTXTForm appends a TXT record's keys in order: `{txtvers+ty=Laser 5}`.
func appendTXTForm(t []byte, r dnswire.Record) []byte {
	t = append(t, '{')
	n := 0
	for s := range r.TXT() {
		key, value, _ := bytes.Cut(s, []byte{'='})
		if len(key) == 0 {
			continue
		}
		if n > 0 {
			t = append(t, '+')
		}
		if n++; n > maxKeys {
			break
		}
		t = appendFingerprintText(t, key[:min(len(key), maxValue)])
		if namesModel(key) {
			t = append(t, '=')
			t = appendFingerprintText(t, value[:min(len(value), maxValue)])
		}
	}
	return append(t, '}')
}

// namesModel says whether a TXT key's value names a product: printers, AirPlay,
// Cast, HomeKit and Apple's device-info.
func namesModel(key []byte) bool {
	switch string(key) {
	case "model", "md", "ty", "product", "am", "rpMd", "manufacturer", "usb_MFG", "usb_MDL":
		return true
	}
	return false
}
