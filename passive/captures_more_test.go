package passive_test

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive"
)

// counted are the kinds of table in which also the number of frames is compared.
func counted(kind string) bool {
	switch kind {
	case "ssdp", "l2", "dhcpv6", "igmp":
		return true
	}
	return false
}

// addCounted adds a row as often as its last cell says.
func (p pairs) addCounted(t testing.TB, kind string, row []string, cells ...string) {
	n, err := strconv.Atoi(row[len(row)-1])
	if err != nil {
		t.Fatalf("%s: %q: %v", kind, row, err)
	}
	p.add(kind, cells...)
	p[kind][strings.Join(cells, " ")] += n - 1
}

// truthOfMore is what the other decoder found by the younger protocols.
func truthOfMore(t testing.TB, file string, found pairs) {
	for _, r := range rows(t, file, "dhcpv6") {
		found.addCounted(t, "dhcpv6", r, r[:4]...)
	}
	for _, r := range rows(t, file, "igmp") {
		if r[2] == "" {
			continue // none of IGMP's messages
		}
		for _, g := range strings.Split(r[3], "|") {
			found.addCounted(t, "igmp", r, r[0], r[1], r[2], g)
		}
	}
	for _, r := range rows(t, file, "l2") {
		found.addCounted(t, "l2", r, r[:6]...)
	}
	for _, r := range rows(t, file, "ssdp") {
		var st, mx string
		for _, h := range strings.Split(r[3], "|") {
			switch name, value, _ := strings.Cut(h, ":"); strings.ToLower(name) {
			case "st":
				st = strings.TrimSpace(value)
			case "mx":
				mx = strings.TrimSpace(value)
			}
		}
		found.addCounted(t, "ssdp", r, r[0], r[1], r[2], st, mx)
	}
}

// oursOfMore adds a fact in the same form.
func oursOfMore(f *passive.Fact, found pairs) {
	src, dst := f.SrcMAC.String(), f.DstMAC.String()
	switch f.Protocol {
	case passive.ProtoNBNS:
		if f.Field("message") != "datagram" {
			found.add("nbns", src, dst, f.Query)
		}
	case passive.ProtoDHCPv6:
		kind := strconv.Itoa(messageType6(f.Field("message")))
		if outer := f.Field("relay_message"); outer != "" {
			kind = strconv.Itoa(messageType6(outer)) + "|" + kind
		}
		ids := slices.DeleteFunc([]string{f.Field("client_id"), f.Field("server_id")}, func(s string) bool { return s == "" })
		if strings.HasPrefix(f.Field("options"), "2,") || strings.Contains(f.Field("options"), ",2,1,") {
			slices.Reverse(ids)
		}
		found.add("dhcpv6", src, dst, kind, strings.Join(ids, "|"))
	case passive.ProtoIGMP:
		kind := map[string]string{"query": "0x11", "leave": "0x17"}[f.Field("message")]
		if kind == "" {
			kind = map[string]string{"1": "0x12", "2": "0x16", "3": "0x22"}[f.Field("version")]
		}
		found.add("igmp", src, f.SrcIP.String(), kind, cmp.Or(f.Query, "0.0.0.0"))
	case passive.ProtoLLDP:
		chassis := f.Field("chassis_id")
		if _, err := net.ParseMAC(chassis); err != nil {
			chassis = ""
		}
		found.add("l2", src, dst, "lldp", f.Query, chassis, "")
	case passive.ProtoCDP:
		found.add("l2", src, dst, "cdp", f.Query, "", f.Field("platform"))
	case passive.ProtoSSDP:
		switch f.Field("message") {
		case "search":
			found.add("ssdp", src, dst, "M-SEARCH", f.Query, f.Field("mx"))
		case "answer":
			found.add("ssdp", src, dst, "", "", "")
		default:
			found.add("ssdp", src, dst, "NOTIFY", "", "")
		}
	}
}

// messageType6 is the number of a DHCPv6 message's name.
func messageType6(name string) int {
	return slices.Index([]string{
		"", "solicit", "advertise", "request", "confirm", "renew", "rebind", "reply", "release", "decline", "reconfigure",
		"information-request", "relay-forward", "relay-reply",
	}, name)
}
