package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

// Password and certificates are read anew for each connection; what was learnt of the broker stays as long as
// they are the same.
func TestMQTTAccessReadsItsFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := config.Parse("lanfolk.toml", []byte("[mqtt]\nbroker = \"mqtts://192.0.2.1\"\nuser = \"u\"\nversion = \"3.1.1\"\npassword_file = \""+dir+"/secret\"\nca_file = \""+dir+"/ca\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := &mqttAccess{config: parsed.MQTT}
	fails := func(want string) {
		t.Helper()
		if b, err := a.broker(); err == nil || b != nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%v, %v; want %s", b, err, want)
		}
	}
	if a.speaks() != "" {
		t.Errorf("speaks %q before it was asked", a.speaks())
	}
	fails("node: mqtt.password_file: open ")
	write("secret", "correct horse\r\nand more\n")
	fails("node: mqtt.ca_file: open ")
	write("ca", "no certificate")
	fails("node: mqtt.ca_file: no certificate in ")

	parsed.MQTT.CAFile = ""
	a = &mqttAccess{config: parsed.MQTT}
	b, err := a.broker()
	if err != nil || b.Password != "correct horse" || b.User != "u" || b.TLS == nil || a.speaks() != "3.1.1" {
		t.Fatalf("%+v, %v, speaks %q", b, err, a.speaks())
	}
	if again, err := a.broker(); err != nil || again != b {
		t.Errorf("nothing has changed: %v, %v", again, err)
	}
	write("secret", "battery staple")
	if again, err := a.broker(); err != nil || again == b || again.Password != "battery staple" {
		t.Errorf("another password: %+v, %v", again, err)
	}
}
