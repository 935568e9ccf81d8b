package leases

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A tape is a reader whose files change step by step, in virtual time, each step seen as
// Run would see it.
type tape struct {
	*reader
	t    *testing.T
	told []string // each table as text
}

// onTape runs a test in a bubble.
func onTape(t *testing.T, kind Kind, test func(x *tape)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leases")
	synctest.Test(t, func(t *testing.T) {
		x := &tape{t: t}
		f := &File{Kind: kind, Path: path, Changed: func(tab Table, _ time.Time) {
			var hosts []string
			for _, l := range tab.Leases {
				if !l.Free {
					hosts = append(hosts, l.Prefix.Addr().String()+" "+l.Host)
				}
			}
			x.told = append(x.told, strings.Join(hosts, ", "))
		}}
		x.reader = &reader{file: f, path: path, log: f.log()}
		test(x)
	})
}

// step changes something, and looks at it as long as the change is given. It returns what
// was told last.
func (x *tape) step(lasts time.Duration, change func(path string) error) string {
	x.t.Helper()
	if err := change(x.path); err != nil {
		x.t.Fatal(err)
	}
	end := time.Now().Add(lasts)
	for wait := settle; wait > 0 && time.Now().Add(wait).Before(end); {
		time.Sleep(wait)
		wait = x.load()
	}
	time.Sleep(time.Until(end))
	if len(x.told) == 0 {
		return "nothing"
	}
	return x.told[len(x.told)-1]
}

// want is step that ends with something told.
func (x *tape) want(want string, lasts time.Duration, change func(path string) error) {
	x.t.Helper()
	if got := x.step(lasts, change); got != want {
		x.t.Errorf("told %q, want %q; all: %q", got, want, x.told)
	}
}

// never looks whether something was told at any time.
func (x *tape) never(what string) {
	x.t.Helper()
	if slices.Contains(x.told, what) {
		x.t.Errorf("%q was told; all: %q", what, x.told)
	}
}

func write(text string) func(string) error {
	return func(path string) error { return os.WriteFile(path, []byte(text), 0o644) }
}

func appendTo(end, text string) func(string) error {
	return func(path string) error {
		f, err := os.OpenFile(path+end, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString(text)
		return err
	}
}

func rename(from, to string) func(string) error {
	return func(path string) error { return os.Rename(path+from, path+to) }
}

func lease(n int) string {
	return fmt.Sprintf("1767225600 02:00:5e:10:00:%02x 10.0.0.%d h%d *\n", n, n, n)
}

const (
	aMoment = 200 * time.Millisecond
	aWhile  = time.Second
)

// What empties or removes a file to write it anew takes nobody's lease away.
func TestAFileThatIsEmptyForAMoment(t *testing.T) {
	onTape(t, Dnsmasq, func(x *tape) {
		x.want("10.0.0.1 h1", aWhile, write(lease(1)))
		x.want("10.0.0.1 h1", aMoment, write(""))
		x.want("10.0.0.1 h1, 10.0.0.2 h2", aWhile, write(lease(1)+lease(2)))
		x.want("10.0.0.1 h1, 10.0.0.2 h2", aMoment, os.Remove)
		x.want("10.0.0.3 h3", aWhile, write(lease(3)))
		x.never("")
		if s := x.file.Status(); s.Failures != 0 {
			x.t.Errorf("%+v", s)
		}
		x.want("", aWhile, write("")) // and one that stays empty is
		x.step(aWhile, os.Remove)
		if s := x.file.Status(); s.Failures != 1 || !s.Missing() {
			x.t.Errorf("one that is gone for good: %+v", s)
		}
	})
}

// A line that is being written isn't read before it is whole, or stays as it is.
func TestALineThatIsHalfWritten(t *testing.T) {
	onTape(t, Dnsmasq, func(x *tape) {
		x.want("10.0.0.3 h3", aWhile, write(lease(3)))
		half := strings.TrimSuffix(lease(4), " *\n")
		x.want("10.0.0.3 h3", aMoment, appendTo("", half))
		x.want("10.0.0.3 h3, 10.0.0.4 h444", aWhile, appendTo("", "44 *\n"))
		x.never("10.0.0.3 h3, 10.0.0.4 h4")
	})
}

// Kea's clean-up, step by step as its processes do it. Nobody's lease is gone
// at any moment of it.
func TestKeaCleansUp(t *testing.T) {
	const head = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n"
	row := func(n, lifetime int) string {
		return fmt.Sprintf("10.0.0.%d,02:00:5e:10:00:%02x,,%d,1767225600,1,0,0,h%d,0,\n", n, n, lifetime, n)
	}
	const all, three = "10.0.0.1 h1, 10.0.0.2 h2", "10.0.0.1 h1, 10.0.0.2 h2, 10.0.0.3 h3"
	onTape(t, Kea, func(x *tape) {
		x.want(all, aWhile, write(head+row(1, 3600)+row(2, 3600)))
		for range 2 {
			x.want(all, aMoment, rename("", ".1"))
			x.want(all, aMoment, write(head))
			x.want(three, aWhile, appendTo("", row(3, 3600)))
			x.want(three, aMoment, appendTo(".output", head+row(1, 3600)+row(2, 3600)))
			x.want(three, aMoment, rename(".output", ".completed"))
			x.want(three, aMoment, func(path string) error {
				_ = os.Remove(path + ".2") // there is none at first
				return os.Remove(path + ".1")
			})
			x.want(three, aMoment, rename(".completed", ".2"))
			x.want(all, aWhile, appendTo("", row(3, 0)))
		}
		x.never("")
		x.never("10.0.0.3 h3")
		if s := x.file.Status(); s.Leases != 2 || s.Bad != 0 || s.Failures != 0 {
			x.t.Errorf("%+v", s)
		}
	})
}
