package mqtt_test

import (
	"fmt"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/mqtt"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

func text(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

func packet(body string) string { return string([]byte{0x10, byte(len(body))}) + body }

var (
	plain = packet(text("MQTT") + "\x04\x02\x00\x3c" + text("lamp"))
	five  = packet(text("MQTT") + "\x05\xc6\x00\x00" + "\x0d\x11\x00\x00\x00\x3c\x26" + text("a") + text("b") + "\x17" + text("x")[:0])
	will  = packet(text("MQTT") + "\x05\xc6\x00\x1e" + "\x05\x11\x00\x00\x00\x3c" + text("lamp") + "\x02\x01\x01" + text("current/lamp") + text("0") + text("user") + text("secret"))
)

func TestParse(t *testing.T) {
	for what, c := range map[string]struct{ payload, want string }{
		"3.1.1":                {plain, "4 02 60 lamp  []"},
		"3.1":                  {packet(text("MQIsdp") + "\x03\x02\x00\x3c" + text("")), "3 02 60   []"},
		"5 with a will":        {will, "5 c6 30 lamp current/lamp [17]"},
		"the credentials cut":  {will[:len(will)-9], "5 c6 30 lamp current/lamp [17]"},
		"the topic cut":        {will[:len(will)-30], "malformed"},
		"properties too long":  {five, "malformed"},
		"an unknown property":  {packet(text("MQTT") + "\x05\x02\x00\x00\x01\x42" + text("x")), "malformed"},
		"a reserved flag":      {packet(text("MQTT") + "\x04\x03\x00\x3c" + text("lamp")), "malformed"},
		"version 6":            {packet(text("MQTT") + "\x06\x02\x00\x3c" + text("lamp")), "malformed"},
		"another protocol":     {packet(text("MQTX") + "\x04\x02\x00\x3c" + text("lamp")), "none"},
		"a length without end": {"\x10\xff\xff\xff\xff" + plain[2:], "none"},
		"a publish":            {"\x30" + plain[1:], "none"},
		"nothing":              {"", "none"},
	} {
		var m mqtt.Connect
		known, ok := m.Parse([]byte(c.payload))
		got := fmt.Sprintf("%d %02x %d %s %s %v", m.Version, m.Flags, m.KeepAlive, m.Client, m.WillTopic, m.Properties())
		if !known {
			got = "none"
		} else if !ok {
			got = "malformed"
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{plain, five, will} {
		f.Add([]byte(s))
	}
	seeds.Add(f, func(p seeds.Packet) bool { return p.Dst == 1883 })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m mqtt.Connect
		if known, ok := m.Parse(b); ok && (!known || len(m.Client)+len(m.WillTopic) > len(b)) {
			t.Fatal("more than there is")
		}
	})
}
