package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/internal/config"
)

func TestTGED(t *testing.T) {
	if c := parse(t, ""); !c.TGED.Enabled || c.TGED.Answer {
		t.Errorf("the default is %+v; want to ask, and not to answer", c.TGED)
	}
	c := parse(t, `
[tged]
ask = ["SQL", "Wiki pages"]
answer = true
services_file = "sqlite:/srv/services.db"
reply_style = "compact"
off_link = true
rate_limit = 0
[tged.services]
SQL = "_mysql._tcp"
"Wiki pages" = "_http._tcp"
`[1:])
	if diff := cmp.Diff(map[string]string{"SQL": "_mysql._tcp", "Wiki pages": "_http._tcp"}, c.TGED.Services.Types()); diff != "" {
		t.Error(diff)
	}
	if x := c.TGED; len(x.Ask) != 2 || !x.Answer || x.ReplyStyle != config.TGEDCompact || !x.OffLink || x.RateLimit != 0 || x.ServicesFile != (config.TGEDFile{Path: "/srv/services.db", SQLite: true}) {
		t.Errorf("read as %+v", x)
	}
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(c, parse(t, string(text))); d != "" {
		t.Errorf("written and read it differs:\n%s", d)
	}
}
