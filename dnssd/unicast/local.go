package unicast

import "github.com/lanfolk/lanfolk/dnswire"

// Multicast says whether a name belongs to multicast DNS, so that no unicast
// server is asked for it: those in .local (RFC 6762 §3), and the reverse names
// of link-local addresses (§4, §22.1).
func Multicast(n dnswire.Name) bool {
	k := n.NumLabels()
	label := func(fromRight int) string { return n.Fold().Label(k - fromRight) }
	switch label(1) {
	case "local":
		return true
	case "arpa":
	default:
		return false
	}
	switch label(2) {
	case "in-addr":
		return label(3) == "169" && label(4) == "254"
	case "ip6":
		switch label(5) {
		case "8", "9", "a", "b":
			return label(3) == "f" && label(4) == "e"
		}
	}
	return false
}
