package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

// Nothing that is printed of a configuration holds a password of a broker's.
func TestBrokersPasswordsAreNotWritten(t *testing.T) {
	for _, text := range []string{
		"[mqtt]\nbroker = \"mqtt://node:s3cret@192.0.2.1\"\n",
		"[mqtt]\nbroker = \"mqtt://192.0.2.1\"\nuser = \"node\"\npassword = \"s3cret\"\n",
	} {
		c := parse(t, text)
		shown, err := c.TOML()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{string(shown), fmt.Sprint(c.MQTT), fmt.Sprintf("%+v %#v", c.MQTT, c.MQTT)} {
			if strings.Contains(s, "s3cret") {
				t.Errorf("%q is shown as\n%s", text, s)
			}
		}
		again := parse(t, string(shown))
		if a := again.MQTT.Broker.Address(); a != "192.0.2.1:1883" {
			t.Errorf("what is shown has the broker %q", a)
		}
		if !strings.Contains(c.MQTT.Broker.Reveal()+string(c.MQTT.Password), "s3cret") {
			t.Error("the password is lost")
		}
	}
}

func TestMQTTAddresses(t *testing.T) {
	for url, want := range map[string]string{
		"":                                  "",
		"mqtt://192.0.2.1":                  "192.0.2.1:1883",
		"mqtts://Broker.example.com":        "broker.example.com:8883",
		"wss://u:p@[2001:db8::1]:9443/mqtt": "[2001:db8::1]:9443",
		"ws://broker":                       "broker:80",
	} {
		var u config.MQTTURL
		if err := u.UnmarshalText([]byte(url)); err != nil || u.Address() != want {
			t.Errorf("%s: %q, %v; want %q", url, u.Address(), err, want)
		}
	}
	for text, want := range map[string]string{
		"127.0.0.1": "mqtt://127.0.0.1:1883", "::1": "mqtt://[::1]:1883", "mqtts://[::]": "mqtts://[::]:8883",
		"ws://127.0.0.1": "ws://127.0.0.1:9001", "wss://0.0.0.0:443": "wss://0.0.0.0:443",
	} {
		var l config.MQTTListen
		if err := l.UnmarshalText([]byte(text)); err != nil || l.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, l, err, want)
		}
	}
}
