package passive

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends f as one JSON object without a line end: what `lanfolk
// monitor --packets -o jsonl` prints. "vlan" and "record" stand in it only
// where the fact has one.
func (f *Fact) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"time":"`...)
	dst = f.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","interface":`...)
	dst = appendString(dst, f.Interface)
	if f.VLAN != 0 {
		dst = append(dst, `,"vlan":`...)
		dst = strconv.AppendUint(dst, uint64(f.VLAN), 10)
	}
	dst = append(dst, `,"protocol":`...)
	dst = appendString(dst, f.Protocol)
	dst = append(dst, `,"response":`...)
	dst = strconv.AppendBool(dst, f.Response)
	dst = appendMAC(dst, `,"src_mac":"`, f.SrcMAC)
	dst = appendMAC(dst, `,"dst_mac":"`, f.DstMAC)
	dst = appendAddr(dst, `,"src_ip":"`, f.SrcIP)
	dst = appendAddr(dst, `,"dst_ip":"`, f.DstIP)
	dst = append(dst, `,"src_port":`...)
	dst = strconv.AppendUint(dst, uint64(f.SrcPort), 10)
	dst = append(dst, `,"dst_port":`...)
	dst = strconv.AppendUint(dst, uint64(f.DstPort), 10)
	dst = append(dst, `,"query":`...)
	dst = appendString(dst, f.Query)
	dst = append(dst, `,"qtype":`...)
	dst = strconv.AppendUint(dst, uint64(f.QType), 10)
	if r := f.Record; r != nil {
		dst = append(dst, `,"record":{"name":`...)
		dst = appendString(dst, r.Name)
		dst = append(dst, `,"type":`...)
		dst = strconv.AppendUint(dst, uint64(r.Type), 10)
		dst = append(dst, `,"ttl":`...)
		dst = strconv.AppendUint(dst, uint64(r.TTL), 10)
		dst = append(dst, `,"data":`...)
		dst = appendString(dst, r.Data)
		dst = append(dst, '}')
	}
	dst = append(dst, `,"fingerprint":`...)
	dst = appendString(dst, f.Fingerprint)
	dst = append(dst, `,"fields":{`...)
	for i, x := range f.Fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, x.Key)
		dst = append(dst, ':')
		dst = appendString(dst, x.Value)
	}
	return append(dst, "}}"...)
}

// MarshalJSON implements json.Marshaler.
func (f *Fact) MarshalJSON() ([]byte, error) { return f.AppendJSON(nil), nil }

func appendMAC(dst []byte, key string, m MAC) []byte {
	dst = append(dst, key...)
	if m != (MAC{}) {
		dst = m.appendText(dst)
	}
	return append(dst, '"')
}

func appendAddr(dst []byte, key string, a netip.Addr) []byte {
	dst = append(dst, key...)
	if a.IsValid() {
		dst = a.AppendTo(dst)
	}
	return append(dst, '"')
}

// appendString appends s as a JSON string. Bytes that are no UTF-8 become
// U+FFFD, as encoding/json writes them; so that a line is safe on a terminal
// and in a page, control characters and < > & are escaped.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c < 0x20 || c == 0x7f || c == '<' || c == '>' || c == '&':
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, `\ufffd`...)
		case r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029':
			dst = append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}
