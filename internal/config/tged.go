package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/tged"
)

// TGED is the section [tged]: the Simple Discovery Protocol.
type TGED struct {
	// Enabled lets the node ask by TGED, and hear who asks.
	Enabled bool `toml:"enabled"`
	// Listen has the node hear who asks for what, even if it doesn't answer.
	Listen bool `toml:"listen"`
	// Ask are services that are kept in the inventory.
	Ask []string `toml:"ask"`
	// Answer has the node answer for the services in ServicesFile and for those
	// of Services.
	Answer bool `toml:"answer"`
	// ServicesFile are services as `lanfolk tged serve` reads them, "" for none. What
	// it says of one comes before what is known by other protocols.
	ServicesFile TGEDFile `toml:"services_file"`
	// ServicesPasswordFile holds the password for a PostgreSQL database, "" for none.
	ServicesPasswordFile string `toml:"services_password_file"`
	// TCP has the node answer over TCP, too, as one old server does.
	TCP        bool         `toml:"tcp"`
	ReplyStyle TGEDStyle    `toml:"reply_style"`
	OffLink    bool         `toml:"off_link"`
	RateLimit  int          `toml:"rate_limit"` // requests of one source in a second, 0 for no limit
	Services   TGEDServices `toml:"services"`
}

func defaultTGED() TGED {
	return TGED{Enabled: true, Listen: true, Ask: []string{}, ReplyStyle: TGEDSpaced, RateLimit: tged.DefaultPerSource}
}

// TGEDStyle says how fields are written; see tged.Style.
type TGEDStyle string

// The styles: "KEY: value" and "KEY:value".
const (
	TGEDSpaced  TGEDStyle = "spaced"
	TGEDCompact TGEDStyle = "compact"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *TGEDStyle) UnmarshalText(b []byte) error {
	return oneOf(s, string(b), TGEDSpaced, TGEDCompact)
}

// TGEDFile is where services are: a JSON file or, with "sqlite:" before its path,
// a database; or a URL of a PostgreSQL database.
type TGEDFile struct {
	Path     string
	SQLite   bool
	Postgres string // the URL; it may hold a password
}

const sqlitePrefix = "sqlite:"

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *TGEDFile) UnmarshalText(b []byte) error {
	path, db := strings.CutPrefix(string(b), sqlitePrefix)
	switch {
	case db && path == "":
		return fmt.Errorf("want a path that begins with /, behind %q", sqlitePrefix)
	case isPostgres(path):
		var u PostgresURL
		err := u.UnmarshalText([]byte(path))
		*f = TGEDFile{Postgres: string(u)}
		return err
	}
	*f = TGEDFile{Path: path, SQLite: db}
	return nil
}

// MarshalText implements encoding.TextMarshaler. A password in a URL stands there as
// "xxxxx": what is written is for people's eyes.
func (f TGEDFile) MarshalText() ([]byte, error) {
	switch {
	case f.SQLite:
		return []byte(sqlitePrefix + f.Path), nil
	case f.Postgres != "":
		return []byte(redacted(f.Postgres)), nil
	}
	return []byte(f.Path), nil
}

// TGEDServices is a table of any keys: services by their names in TGED, and the
// types by which other protocols know them.
type TGEDServices struct{ pairs []tgedService }

type tgedService struct{ name, kind string }

// Types returns the types by the services' names.
func (s TGEDServices) Types() map[string]string {
	types := make(map[string]string, len(s.pairs))
	for _, p := range s.pairs {
		types[p.name] = p.kind
	}
	return types
}

// Equal says whether two tables hold the same, in the same order.
func (s TGEDServices) Equal(o TGEDServices) bool { return slices.Equal(s.pairs, o.pairs) }

// member implements keyed.
func (s *TGEDServices) member(key string) any {
	s.pairs = append(s.pairs, tgedService{name: key})
	return &s.pairs[len(s.pairs)-1].kind
}

// members implements keyed.
func (s *TGEDServices) members(yield func(key string, value any) bool) {
	for i := range s.pairs {
		if !yield(s.pairs[i].name, &s.pairs[i].kind) {
			return
		}
	}
}

// check says what is wrong with each name and type.
func (s TGEDServices) check(bad func(key string, err error)) {
	for i, p := range s.pairs {
		switch {
		case slices.ContainsFunc(s.pairs[:i], func(o tgedService) bool { return foldASCII(o.name) == foldASCII(p.name) }):
			bad(p.name, errors.New("is there twice: case makes no difference"))
		case tgedName(p.name) != nil:
			bad(p.name, tgedName(p.name))
		default:
			bad(p.name, serviceType(p.kind))
		}
	}
	if len(s.pairs) > maxTGEDServices {
		bad(s.pairs[maxTGEDServices].name, fmt.Errorf("want at most %d services", maxTGEDServices))
	}
}

const (
	maxTGEDServices  = 1000
	maxTGEDAsked     = 100 // each costs some broadcasts a minute
	maxTGEDRateLimit = 1_000_000
)

func (t TGED) check(bad func(key string, err error)) {
	for i, name := range t.Ask {
		key := fmt.Sprintf("ask[%d]", i)
		bad(key, tgedName(name))
		if slices.ContainsFunc(t.Ask[:i], func(o string) bool { return foldASCII(o) == foldASCII(name) }) {
			bad(key, fmt.Errorf("%q is there twice: case makes no difference", name))
		}
	}
	if len(t.Ask) > maxTGEDAsked {
		bad("ask", fmt.Errorf("want at most %d services", maxTGEDAsked))
	}
	if len(t.Ask) > 0 && !t.Enabled {
		bad("ask", errors.New("nobody is asked while tged.enabled is false"))
	}
	if t.Answer && t.ServicesFile == (TGEDFile{}) && len(t.Services.pairs) == 0 {
		bad("answer", errors.New("there is nothing to answer with: name services in a section [tged.services], or a services_file"))
	}
	bad("services_file", absolute(t.ServicesFile.Path))
	bad("services_password_file", absolute(t.ServicesPasswordFile))
	if t.ServicesPasswordFile != "" && t.ServicesFile.Postgres == "" {
		bad("services_password_file", errors.New("a password is for PostgreSQL: services_file is no postgres://…"))
	}
	if t.TCP && !t.Answer {
		bad("tcp", errors.New("nobody is answered while tged.answer is false"))
	}
	if t.RateLimit < 0 || t.RateLimit > maxTGEDRateLimit {
		bad("rate_limit", fmt.Errorf("want 0 to %d, not %d", maxTGEDRateLimit, t.RateLimit))
	}
}

// tgedName checks the name of a service. That of INVALID can't be asked for: it is
// what a server says for any that it doesn't know.
func tgedName(name string) error {
	if foldASCII(name) == tged.Invalid {
		return fmt.Errorf("%q can't be asked for", name)
	}
	return tged.CheckName(name)
}

// foldASCII makes capitals of ASCII letters only, as TGED compares names.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}
