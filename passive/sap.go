package passive

import (
	"bytes"

	"github.com/lanfolk/lanfolk/passive/internal/headers"
)

// portSAP is the port of the Session Announcement Protocol.
const portSAP = 9875

// maxSDPLines bounds the lines of a session's description that are looked at.
const maxSDPLines = 64

// sapMessage reads SAP (RFC 2974 §3) with a session's description (RFC 8866), as
// audio over IP announces its streams. What is encrypted or compressed is left.
//
//	0       1             2    4        8 or 20
//	| flags | auth length | id | source | authentication | payload type, ends in 0 | SDP
func (d *Decoder) sapMessage(c *context, b []byte) drop {
	if !c.whole {
		return dropSAPCut
	}
	if len(b) < 8 || b[0]>>5 != 1 {
		return dropSAPForm
	}
	at := 8
	if b[0]&0x10 != 0 {
		at = 20 // an IPv6 source
	}
	if at += 4 * int(b[1]); at > len(b) {
		return dropSAPForm
	}
	if b[0]&3 != 0 {
		return dropNone // encrypted or compressed
	}
	gone, payload := b[0]&4 != 0, b[at:]
	if kind, rest, ok := bytes.Cut(payload, []byte{0}); ok && !bytes.HasPrefix(payload, []byte("v=0")) {
		if !bytes.EqualFold(kind, []byte("application/sdp")) {
			return dropNone
		}
		payload = rest
	}
	var name, origin, tool []byte
	for n := 0; len(payload) > 0 && n < maxSDPLines; n++ {
		var line []byte
		line, payload = headers.Line(payload)
		switch {
		case bytes.HasPrefix(line, []byte("s=")):
			name = line[2:]
		case bytes.HasPrefix(line, []byte("o=")):
			origin = line[2:]
		case bytes.HasPrefix(line, []byte("a=tool:")):
			tool = line[7:]
		}
	}
	if origin == nil {
		return dropSAPForm
	}
	d.packet(protoSAP)
	f := d.start(c, ProtoSAP)
	f.Response = true
	f.Query = d.safeText(name)
	message := "announcement"
	if gone {
		message = "deletion"
	}
	d.buf2 = appendPart(append(append(d.buf2[:0], "sap1:"...), message...), ";tool=", tool)
	f.Fingerprint = d.text.get(d.buf2)
	d.field("message", message)
	d.fieldSafe("session", name)
	d.fieldSafe("origin", origin)
	d.fieldSafe("tool", tool)
	d.finish(c)
	return dropNone
}
