package passive

import (
	"encoding/hex"
	"strconv"
)

// The Precision Time Protocol over UDP and over Ethernet (IEEE 1588-2019 annexes C to E).
const (
	portPTPEvent   = 319
	portPTPGeneral = 320
	etherPTP       = 0x88f7
)

// Message types that are told (§13.3.2.3), and the size of an Announce.
const (
	ptpDelayRequest  = 1
	ptpPeerRequest   = 2
	ptpAnnounce      = 11
	ptpHeader        = 34
	ptpAnnounceBytes = 64
)

// ptpMessage reads PTP: a clock's Announce, and that a port asks for its delay. The others
// follow them many times a second and say nothing more.
//
//	0       1         2        4        5         20         28     30         32
//	| type  | version | length | domain | …       | clock id | port | sequence | …
//	34 … 47           48      52           53        61
//	| priority 1      | class, accuracy, variance … | priority 2 | grandmaster's id | steps
func (d *Decoder) ptpMessage(c *context, b []byte) drop {
	if len(b) < 1 || b[0]&15 != ptpAnnounce && b[0]&15 != ptpDelayRequest && b[0]&15 != ptpPeerRequest {
		return dropNone
	}
	announce := b[0]&15 == ptpAnnounce
	switch {
	case !c.whole:
		return dropPTPCut
	case len(b) < ptpHeader, b[1]&15 != 2, announce && len(b) < ptpAnnounceBytes:
		return dropPTPForm
	}
	if !announce {
		b = b[:ptpHeader] // what follows are times
	}
	d.packet(protoPTP)
	f := d.start(c, ProtoPTP)
	f.Response = announce
	d.buf = hex.AppendEncode(d.buf[:0], b[20:28])
	f.Query = d.text.get(d.buf)
	message := "delay-request"
	switch b[0] & 15 {
	case ptpPeerRequest:
		message = "peer-delay-request"
	case ptpAnnounce:
		message = "announce"
	}
	t := append(append(d.buf2[:0], "ptp1:"...), message...)
	t = strconv.AppendUint(append(t, ";profile="...), uint64(b[0]>>4), 10)
	t = strconv.AppendUint(append(t, ";interval="...), uint64(b[33]), 10)
	if announce {
		t = strconv.AppendUint(append(t, ";class="...), uint64(b[48]), 10)
		t = strconv.AppendUint(append(t, ";accuracy="...), uint64(b[49]), 10)
	}
	d.buf2 = t
	f.Fingerprint = d.text.get(t)

	d.field("message", message)
	d.fieldText("domain", strconv.AppendUint(d.buf[:0], uint64(b[4]), 10))
	d.fieldText("clock", hex.AppendEncode(d.buf[:0], b[20:28]))
	d.fieldNumber("port", uint64(be.Uint16(b[28:])))
	if announce {
		d.fieldText("grandmaster", hex.AppendEncode(d.buf[:0], b[53:61]))
		d.fieldText("priority1", strconv.AppendUint(d.buf[:0], uint64(b[47]), 10))
		d.fieldText("priority2", strconv.AppendUint(d.buf[:0], uint64(b[52]), 10))
		d.fieldText("class", strconv.AppendUint(d.buf[:0], uint64(b[48]), 10))
		d.fieldText("steps", strconv.AppendUint(d.buf[:0], uint64(be.Uint16(b[61:])), 10))
	}
	d.finish(c)
	return dropNone
}
