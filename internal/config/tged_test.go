package config_test

import (
	"strings"
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

// TestTGEDPostgres: a URL is kept as it is, and its password shown to nobody.
func TestTGEDPostgres(t *testing.T) {
	for url, shown := range map[string]string{
		"postgres://john@db/services?sslmode=verify-full&host=/run/postgresql": "postgres://john@db/services?sslmode=verify-full&host=/run/postgresql",
		"postgresql://john:s%40cret@db:5433/services":                          "postgresql://john:xxxxx@db:5433/services",
		"postgres:///services?user=john&password=secret":                       "postgres:///services?password=xxxxx&user=john",
		"postgres://john:se%20cret@db/services?sslpassword=secret":             "postgres://john:xxxxx@db/services?sslpassword=xxxxx",
	} {
		c := parse(t, "[tged]\nanswer = true\nservices_file = \""+url+"\"\nservices_password_file = \"/etc/lanfolk/password\"\n")
		if c.TGED.ServicesFile != (config.TGEDFile{Postgres: url}) || c.TGED.ServicesPasswordFile != "/etc/lanfolk/password" {
			t.Errorf("%s is read as %+v", url, c.TGED)
		}
		text, err := c.TOML()
		if err != nil || strings.Contains(string(text), "cret") || !strings.Contains(string(text), shown) {
			t.Errorf("%s is shown as\n%s, %v", url, text, err)
		}
	}
}
