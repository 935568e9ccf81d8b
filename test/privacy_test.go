package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// secretName is looked up and must be nowhere.
const secretName = "clinic.example.org"

// A node that hides names, or keeps only what is said on a link, has a name that somebody looked
// up in no byte of its folder, neither while it runs nor afterwards. By the name its rows are still found.
func TestPrivacyOfANode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, config string
		rows, names  bool // of the secret name are there, and hold it
	}{
		{"as it comes", "", true, true},
		{"hashed names", "hash_names = true\nreadable_domains = [\"example.com\"]\n", true, false},
		{"local only", "local_only = true\n", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab.Require(t, "root", "ip", "dnsmasq", "dig")
			l := lab.New(t)
			a := l.Subnet("a", "10.99.1.0/24")
			gate, laptop := l.Host("gate").Join(a), l.Host("laptop").Join(a)
			gate.Dnsmasq("--address=/" + secretName + "/192.0.2.1")
			n := gate.Up(lab.Node{Config: "[passive]\n" + c.config})
			look := func(name string) {
				if r := laptop.Run("dig", "+short", "+tries=3", "@"+gate.Link(a).V4.String(), name); r.Exit != 0 {
					t.Fatalf("dig: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
				}
			}
			lab.Eventually(t, 20*time.Second, "rows", func() error {
				look(secretName)
				look("www.example.com")
				rows, err := rowsOf(n, "*")
				if err != nil {
					return err
				}
				arp, dns := strings.Contains(rows, `"arp"`), strings.Contains(rows, `"dns"`)
				if !arp || dns != c.rows {
					return fmt.Errorf("rows of ARP: %v, of DNS: %v", arp, dns)
				}
				if rows, err = rowsOf(n, secretName); err != nil {
					return err
				}
				if found := strings.Contains(rows, `"protocol":"dns"`); found != c.rows || strings.Contains(rows, secretName) != c.names {
					return fmt.Errorf("by the name the API finds %s", rows)
				}
				if rows, err = rowsOf(n, "www.example.com"); err != nil || strings.Contains(rows, "www.example.com") != c.rows {
					return fmt.Errorf("of a domain that may be read the API finds %s, %w", rows, err)
				}
				return nil
			})
			time.Sleep(1500 * time.Millisecond) // rows are written each second
			if c.names {
				lab.Eventually(t, 20*time.Second, "the name in a file", func() error {
					if in := filesWith(t, n.State, "clinic"); len(in) == 0 {
						return errors.New("none has it")
					}
					return nil
				})
			}
			if r := n.Run("fingerprints", "--query", secretName, "--latest", "-o", "jsonl"); (r.Exit == 0) != c.rows || strings.Contains(r.Stdout, secretName) != c.names {
				t.Errorf("fingerprints: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
			}
			held := func(when string) {
				if in := filesWith(t, n.State, "clinic"); (len(in) > 0) != c.names {
					t.Errorf("%s the name is in %v", when, in)
				}
			}
			held("while the node runs")
			n.Stop()
			held("afterwards")
		})
	}
}

// rowsOf asks the node's API for rows of a name.
func rowsOf(n *lab.RunningNode, name string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(n.State, "node.sock"))
	}}}
	resp, err := client.Get("http://localhost/api/v1/fingerprints?query=" + url.QueryEscape(name))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s, %w", resp.Status, b, err)
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, b)
	return compact.String(), err
}

// filesWith returns the files below a folder that hold a text, in any case.
func filesWith(t *testing.T, dir, text string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(bytes.ToLower(b), []byte(text)) {
			names = append(names, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
