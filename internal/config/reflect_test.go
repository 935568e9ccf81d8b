package config_test

import (
	"fmt"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/reflector"
)

func TestReflect(t *testing.T) {
	c := parse(t, `
[reflect]
enabled = true
interfaces = ["lan", "lab"]
mode = "proxy"
deny = ["_smb._tcp"]
guests = ["guest*"]

[[reflect.rule]]
name = "the lab's own"
action = "allow"
from = ["lab"]
both = true
hosts = ["nas"]
macs = ["02:00:00:00:00:07"]

[[reflect.rule]]
types = ["_color._sub._ipp._tcp"]
`)
	r := c.Reflect
	if !r.Enabled || r.Mode != config.ReflectProxy || fmt.Sprint(r.Interfaces) != "[lan lab]" || r.Rules[1].Action != config.ReflectDeny {
		t.Errorf("reads as %+v", r)
	}
	o := r.Options()
	if _, err := reflector.NewRules(o); err != nil {
		t.Error(err)
	}
	first := o.Rules[0]
	if len(o.Rules) != 2 || first.Action != reflector.Allow || first.Name != "the lab's own" || !first.Both || first.MACs[0].String() != "02:00:00:00:00:07" ||
		o.Rules[1].Action != reflector.Deny || fmt.Sprint(o.Deny, o.Guests) != "[_smb._tcp] [guest*]" {
		t.Errorf("the reflector gets %+v", o)
	}
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(c, parse(t, string(text))); d != "" {
		t.Errorf("what TOML prints reads as something else (-was +reads):\n%s\n%s", d, text)
	}
}
