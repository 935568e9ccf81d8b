// Command peer runs the discovery of Syncthing v0.9, and nothing else of it.
// build.sh puts it into that version's own source tree. Its input and output are those
// of the peer beside it.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/syncthing/syncthing/discover"
	"github.com/syncthing/syncthing/protocol"
)

func main() {
	id := flag.String("id", "", "the device's own ID, 64 hex digits")
	listen := flag.String("listen", "", "addresses to announce, with commas between them")
	port := flag.Int("local", 0, "port of local announcements by IPv4, 0 for none")
	servers := flag.String("servers", "", "a global server such as 192.0.2.1:22026")
	external := flag.Uint("external", 0, "port to announce to the server in place of the addresses")
	flag.Parse()
	// It opens the port in any case.
	d, err := discover.NewDiscoverer(parse(*id), strings.Split(*listen, ","), *port)
	if err != nil {
		panic(err)
	}
	if *port != 0 {
		d.StartLocal()
	}
	if *servers != "" {
		d.StartGlobal(*servers, uint16(*external))
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		what, arg, _ := strings.Cut(in.Text(), " ")
		switch what {
		case "heard":
			all := map[string][]string{}
			for id, addresses := range d.All() {
				all[hex.EncodeToString(id[:])] = addresses
			}
			say(all)
		case "lookup":
			say(append([]string{}, d.Lookup(parse(arg))...))
		case "ok":
			say(map[string]bool{*servers: d.ExtAnnounceOK()})
		}
	}
	select {} // its input has ended; it goes on until it is killed
}

func parse(s string) protocol.NodeID {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(protocol.NodeID{}) {
		panic("no device ID: " + s)
	}
	return protocol.NodeIDFromBytes(b)
}

func say(v interface{}) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		panic(err)
	}
}
