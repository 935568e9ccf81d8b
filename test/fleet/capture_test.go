package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/test/lab"
)

// TestHubCapturesAtAGateway: the hub's command brings a pcap file of what passes at the
// gateway, which others read. What the gateway sends to the hub meanwhile isn't in it, or
// it would feed itself.
func TestHubCapturesAtAGateway(t *testing.T) {
	t.Parallel()
	lab.Require(t, "tcpdump")
	s := newSite(t, "")
	g := s.gateway("shop", "[gateway.capture]\nallowed = true\nseconds = 30\n")
	at := g.host.Link(s.net)

	// A neighbour talks all the while.
	const said = "the neighbour says number"
	neighbour := s.Host("neighbour").Join(s.net)
	var talk net.Conn
	if err := neighbour.Do(func() (err error) {
		talk, err = net.Dial("udp", net.JoinHostPort(at.V4.String(), "4711"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	quiet, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer talk.Close()
		for n := 0; ; n++ {
			_, _ = fmt.Fprintf(talk, "%s %d", said, n) // nobody listens there: it is told so
			select {
			case <-quiet:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	began := time.Now()
	o := s.run("shop", "capture", at.Name, "5")
	over := time.Now()
	close(quiet)
	<-ended
	if o.Status != "ok" || o.Size == 0 {
		t.Fatalf("capture: %+v", o)
	}
	file := filepath.Join(s.folder("out"), "shop.pcap")
	out := s.at.Command("sh", "-c", `"$0" commands output "$1" --state "$2" > "$3"`, lab.Binary(t), o.CommandID, s.hub.State, file)
	if r := out.Run(); r.Exit != 0 {
		t.Fatalf("commands output: %s", r.Stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil || hashed(text) != o.SHA256 {
		t.Errorf("%d bytes, %s, %v; want %+v", len(text), hashed(text), err, o)
	}
	r, err := passive.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	heard := 0
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(f.Data, []byte(said)) {
			heard++
			if f.Time.Before(began) || f.Time.After(over) {
				t.Errorf("a frame of %v, not between %v and %v", f.Time, began, over)
			}
		}
	}
	dump := s.at.Run("tcpdump", "-nn", "-A", "-r", file)
	if n := strings.Count(dump.Stdout, said); dump.Exit != 0 || n != heard || n == 0 {
		t.Errorf("tcpdump reads %d of the neighbour's words, we %d; exit %d: %s", n, heard, dump.Exit, dump.Stderr)
	}
	if hub := s.at.Run("tcpdump", "-nn", "-r", file, "tcp port "+grpcPort); hub.Exit != 0 || hub.Stdout != "" {
		t.Errorf("what went to the hub is in it: exit %d: %.1000s%s", hub.Exit, hub.Stdout, hub.Stderr)
	}
	for why, args := range map[string][]string{
		"no interface": {"capture", "nowhere0", "1"},
		"want 1 to 30": {"capture", at.Name, "31"},
	} {
		if o := s.run("shop", args...); o.Status != "error" || !strings.Contains(o.Error, why) {
			t.Errorf("%v: %+v; want %q", args, o, why)
		}
	}
}
