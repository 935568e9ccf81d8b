package passive

import (
	"strconv"

	"github.com/lanfolk/lanfolk/passive/internal/mqtt"
)

const (
	portMQTT        = 1883 // without TLS
	mqttConnectType = 0x10 // a CONNECT's first byte, for the kernel's filter
)

// opensMQTT says whether what goes to a port may begin with a CONNECT.
func opensMQTT(port uint16, data []byte) bool { return port == portMQTT && mqtt.Opens(data) }

// mqttConnect reads the segment with which an MQTT client begins. One that
// spans segments tells what stands in the first of them, if that is enough.
func (d *Decoder) mqttConnect(c *context, b []byte) drop {
	m := &d.mqtt
	switch known, ok := m.Parse(b); {
	case !known:
		return dropNone
	case !ok && !c.whole:
		return dropMQTTCut
	case !ok:
		return dropMQTTForm
	}
	d.packet(protoMQTT)
	f := d.start(c, ProtoMQTT)
	f.Query = d.safeText(m.Client)

	version := [...]string{3: "3.1", 4: "3.1.1", 5: "5"}[m.Version]
	t := append(append(d.buf2[:0], "mqtt1:version="...), version...)
	t = append(t, ";flags="...)
	t = append(t, hexDigits[m.Flags>>4], hexDigits[m.Flags&15])
	t = strconv.AppendUint(append(t, ";keepalive="...), uint64(m.KeepAlive), 10)
	if all := m.Properties(); len(all) > 0 {
		t = appendCodes(append(t, ";props="...), all)
	}
	d.buf2 = t
	f.Fingerprint = d.text.get(t)

	d.field("message", "connect")
	d.field("version", version)
	d.fieldSafe("client_id", m.Client)
	d.fieldSafe("will_topic", m.WillTopic)
	d.fieldNumber("keep_alive", uint64(m.KeepAlive))
	d.finish(c)
	return dropNone
}
