package doctor

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

func TestMQTTBroker(t *testing.T) {
	for _, c := range []struct{ name, config, status, want string }{
		{"none", "", `{}`, ""},
		{"no node", "broker = \"mqtt://192.0.2.1\"", ``, "mqtt broker notice 192.0.2.1:1883; no node is running that speaks with it"},
		{"another config", "broker = \"mqtt://192.0.2.1\"", `{"broker":"192.0.2.2:1883"}`, "mqtt broker notice 192.0.2.1:1883; no node is running that speaks with it"},
		{"away", "broker = \"mqtt://192.0.2.1\"", `{"broker":"192.0.2.1:1883","error":"EOF"}`, "mqtt broker problem 192.0.2.1:1883 isn't reached: EOF"},
		{"refuses", "broker = \"mqtt://192.0.2.1\"", `{"broker":"192.0.2.1:1883","connected":true,"refused":3}`, "mqtt broker warning 192.0.2.1:1883 refused 3 messages"},
		{"reading", "broker = \"mqtt://192.0.2.1\"", `{"broker":"192.0.2.1:1883","connected":true}`, "mqtt broker notice 192.0.2.1:1883; what is retained is still being read"},
		{"cut short", "broker = \"mqtt://192.0.2.1\"", `{"broker":"192.0.2.1:1883","connected":true,"complete":true}`, "mqtt broker warning 192.0.2.1:1883 may have left out a part of what is retained"},
		{"fine", "broker = \"mqtt://192.0.2.1\"", `{"broker":"192.0.2.1:1883","connected":true,"complete":true,"confirmed":true,"version":"3.1.1","devices":7}`, "mqtt broker good 192.0.2.1:1883 by MQTT 3.1.1, 7 devices"},
		{"announces alone", "broker = \"mqtt://127.0.0.1\"\nuser = \"u\"\npassword = \"p\"\nwatch = false", `{"broker":"127.0.0.1:1883","connected":true,"version":"5"}`, "mqtt broker good 127.0.0.1:1883 by MQTT 5"},
		{"clear text", "broker = \"mqtt://u:p@192.0.2.1\"\nwatch = false", `{"broker":"192.0.2.1:1883","connected":true,"version":"5"}`, "mqtt broker good 192.0.2.1:1883 by MQTT 5, mqtt password warning it crosses the network in clear text"},
	} {
		parsed, err := config.Parse("lanfolk.toml", []byte("[mqtt]\n"+c.config))
		if err != nil {
			t.Fatal(err)
		}
		var status *NodeStatus
		if c.status != "" {
			status = &NodeStatus{}
			if err := json.Unmarshal([]byte(`{"mqtt":`+c.status+`}`), status); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		for i, f := range (Doctor{Config: parsed}).checkMQTT(status) {
			if i > 0 {
				got += ", "
			}
			got += fmt.Sprintf("%s %s %s", f.Check, f.Grade, f.Found)
			if f.Grade != Good && f.Advice == "" {
				t.Errorf("%s: no advice", c.name)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
	}
}
