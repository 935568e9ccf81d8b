package source

import (
	"context"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// reading is a resolver of a machine whose resolv.conf can change; "" is none.
func reading(conf *atomic.Pointer[string]) *Resolver {
	return &Resolver{Advice: "name one in dns.servers", Read: func(path string) ([]byte, error) {
		if text := *conf.Load(); path == "/etc/resolv.conf" && text != "" {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}}
}

func TestResolverTakesWhatTheMachineSays(t *testing.T) {
	var conf atomic.Pointer[string]
	say := func(text string) { conf.Store(&text) }
	r := reading(&conf)
	say("")
	if _, _, err := r.Ask(nil); err == nil || !strings.Contains(err.Error(), "name one in dns.servers") {
		t.Errorf("without a server: %v", err)
	}
	if src, search, err := r.Ask([]string{"192.0.2.1"}); err != nil || src == nil || len(search) != 0 {
		t.Errorf("with a server that is named: %v, %v", search, err)
	}
	if _, _, err := r.Ask([]string{"dns"}); err == nil {
		t.Error("a server that is none was taken")
	}
	say("nameserver 192.0.2.53\nsearch example.com b.example.com\n")
	first, search, err := r.Ask(nil)
	if err != nil || !slices.Equal(search, []string{"example.com", "b.example.com"}) {
		t.Errorf("%v, %v", search, err)
	}
	if again, _, _ := r.Ask(nil); again != first {
		t.Error("those who name no servers don't share what is known")
	}
	if own, search, _ := r.Ask([]string{"192.0.2.53"}); own == first || len(search) != 2 {
		t.Errorf("a server that is named: the shared source, or the domains %v", search)
	}
	say("nameserver 192.0.2.54\n")
	if other, search, _ := r.Ask(nil); other == first || len(search) != 0 {
		t.Errorf("with another server: the old source, or the domains %v", search)
	}
	r.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.99:53")}
	say("")
	if system, err := r.system(); err != nil || system.Addrs[0].Addr().String() != "192.0.2.99" {
		t.Errorf("the config's servers: %v, %v", system, err)
	}
}

// A file that is being written says for a moment what nobody meant.
func TestResolverOverlooksAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conf atomic.Pointer[string]
		was, half := "nameserver 192.0.2.53\n", "nameserver 192.0.2.54\n"
		conf.Store(&was)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		time.AfterFunc(59500*time.Millisecond, func() { conf.Store(&half) })
		time.AfterFunc(60500*time.Millisecond, func() { conf.Store(&was) })
		start := time.Now()
		reading(&conf).Moved(ctx)
		if took := time.Since(start); took < time.Hour {
			t.Errorf("it ended after %v", took)
		}
	})
}

func TestResolverWaitsForAChange(t *testing.T) {
	for text, ends := range map[string]bool{
		"nameserver 192.0.2.53\nsearch example.com\n":            false,
		"# renewed\nnameserver 192.0.2.53\nsearch example.com\n": false,
		"nameserver 192.0.2.54\nsearch example.com\n":            true,
		"nameserver 192.0.2.53\nsearch example.org\n":            true,
		"nameserver 192.0.2.54\n":                                false,
		"":                                                       false,
	} {
		synctest.Test(t, func(t *testing.T) {
			var conf atomic.Pointer[string]
			was := "nameserver 192.0.2.53\nsearch example.com\n"
			conf.Store(&was)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			time.AfterFunc(time.Minute+time.Second, func() { conf.Store(&text) })
			start := time.Now()
			reading(&conf).Moved(ctx)
			if took := time.Since(start); (took < time.Hour) != ends || ends && took > time.Minute+2*resolvConfEvery {
				t.Errorf("%q: it waited for %v", text, took)
			}
		})
	}
}
