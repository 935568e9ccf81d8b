// Command peer runs the discovery of Syncthing v0.10 or v0.11, and nothing else
// of it. build.sh puts it into that version's own source tree.
//
// It prints "ready", and then answers each line of its input with a line of JSON:
//
//	heard       what it heard on the local network
//	lookup ID   the addresses of a device, asked from its servers if it heard nothing
//	ok          which servers knew the device itself after it was announced
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/syncthing/protocol"
	"github.com/syncthing/syncthing/internal/discover"
)

func main() {
	id := flag.String("id", "", "the device's own ID, 64 hex digits")
	listen := flag.String("listen", "", "addresses to announce, with commas between them")
	port := flag.Int("local", 0, "port of local announcements by IPv4, 0 for none")
	group := flag.String("group", "", "address and port of local announcements by IPv6, empty for none")
	servers := flag.String("servers", "", "global servers such as udp4://192.0.2.1:22026, with commas between them")
	external := flag.Uint("external", 0, "port to announce to servers in place of the addresses")
	flag.Parse()
	d := discover.NewDiscoverer(parse(*id), split(*listen))
	if *port != 0 || *group != "" {
		d.StartLocal(*port, *group)
	}
	if *servers != "" {
		d.StartGlobal(split(*servers), uint16(*external))
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		what, arg, _ := strings.Cut(in.Text(), " ")
		switch what {
		case "heard":
			all := map[string][]string{}
			for id, entries := range d.All() {
				addresses := []string{}
				for _, e := range entries {
					addresses = append(addresses, e.Address)
				}
				all[hex.EncodeToString(id[:])] = addresses
			}
			say(all)
		case "lookup":
			say(append([]string{}, d.Lookup(parse(arg))...))
		case "ok":
			say(d.ExtAnnounceOK())
		}
	}
	select {} // its input has ended; it goes on until it is killed
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func parse(s string) protocol.DeviceID {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(protocol.DeviceID{}) {
		panic("no device ID: " + s)
	}
	return protocol.DeviceIDFromBytes(b)
}

func say(v interface{}) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		panic(err)
	}
}
