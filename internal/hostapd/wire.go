package hostapd

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// Station is a client of an access point.
type Station struct {
	MAC [6]byte
	// Authorized says that the station may use the network: it is connected.
	Authorized bool
	// Signal is the strength of what was received from it last, in dBm; 0 where that isn't known.
	Signal int
	// Connected is how long it has been, Idle how long nothing came from it; negative where that isn't known.
	Connected, Idle time.Duration
	// RxBytes and TxBytes count what was received from it and sent to it.
	RxBytes, TxBytes uint64
}

// Errors that callers tell apart.
var (
	// ErrNone: there is no such station, or no more of them.
	ErrNone = errors.New("hostapd: no station")
	errFail = errors.New("hostapd: it refused")
)

const (
	maxAnswer = 8192 // bytes; hostapd's own are at most half as long
	maxLines  = 512  // of an answer
)

// ParseStation reads the answer to STA-FIRST, STA-NEXT or STA.
func ParseStation(answer string) (Station, error) {
	if answer == "" {
		return Station{}, ErrNone
	}
	if err := refusal(answer); err != nil {
		return Station{}, err
	}
	first, rest, _ := strings.Cut(answer, "\n")
	s := Station{Connected: -1, Idle: -1}
	var err error
	if s.MAC, err = parseMAC(first); err != nil {
		return Station{}, err
	}
	for key, value := range pairs(rest) {
		switch key {
		case "flags":
			s.Authorized = strings.Contains(value, "[AUTHORIZED]")
		case "signal":
			if n, err := strconv.Atoi(value); err == nil && n > -256 && n < 128 {
				s.Signal = n
			}
		case "connected_time":
			s.Connected = span(value, time.Second)
		case "inactive_msec":
			s.Idle = span(value, time.Millisecond)
		case "rx_bytes":
			s.RxBytes, _ = strconv.ParseUint(value, 10, 64) // 0 for what is no number
		case "tx_bytes":
			s.TxBytes, _ = strconv.ParseUint(value, 10, 64)
		}
	}
	return s, nil
}

// span reads a number of units, -1 for what is none.
func span(value string, unit time.Duration) time.Duration {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || n > uint64(math.MaxInt64/unit) {
		return -1
	}
	return time.Duration(n) * unit
}

// Radio is what an interface of hostapd is.
type Radio struct {
	Enabled bool
	SSID    string // as hostapd writes it, with \xNN for what is no text; "" for a wired port
	BSSID   string
}

// ParseStatus reads the answer to STATUS, as far as the interface name is concerned:
// of several networks on one radio each has a socket of its own and all are told by each.
func ParseStatus(answer, name string) (Radio, error) {
	if err := refusal(answer); err != nil {
		return Radio{}, err
	}
	var r Radio
	known, at := false, "0"
	for key, value := range pairs(answer) {
		base, index, listed := strings.Cut(strings.TrimSuffix(key, "]"), "[")
		switch {
		case key == "state":
			r.Enabled, known = value == "ENABLED", true
		case base == "bss" && listed && value == name:
			at = index
		}
	}
	if !known {
		return Radio{}, errors.New("hostapd: the answer to STATUS names no state")
	}
	for key, value := range pairs(answer) {
		switch key {
		case "ssid[" + at + "]":
			r.SSID = value
		case "bssid[" + at + "]":
			r.BSSID = value
		}
	}
	return r, nil
}

// Event is what a message that nobody asked for says.
type Event int

// The events that matter here.
const (
	Other        Event = iota
	Connected          // a station may use the network
	Disconnected       // it may no more
	Ended              // hostapd ends, or the interface goes
)

// ParseEvent reads a message that begins with its priority, "<3>". ok says
// whether it does: what doesn't is an answer. A MAC belongs to Connected and Disconnected.
func ParseEvent(message string) (e Event, mac [6]byte, ok bool) {
	if len(message) < 3 || message[0] != '<' || message[1] < '0' || message[1] > '9' || message[2] != '>' {
		return Other, mac, false
	}
	word, rest, _ := strings.Cut(strings.TrimSpace(message[3:]), " ")
	switch word {
	case "AP-STA-CONNECTED":
		e = Connected
	case "AP-STA-DISCONNECTED":
		e = Disconnected
	case "CTRL-EVENT-TERMINATING", "AP-DISABLED", "INTERFACE-DISABLED":
		return Ended, mac, true
	default:
		return Other, mac, true
	}
	// More may stand behind it: " keyid=…".
	text, _, _ := strings.Cut(rest, " ")
	mac, err := parseMAC(text)
	if err != nil {
		return Other, mac, true
	}
	return e, mac, true
}

// refusal returns the error that an answer is, nil if it is none.
func refusal(answer string) error {
	switch a := strings.TrimSpace(answer); a {
	case "FAIL":
		return errFail
	case "UNKNOWN COMMAND":
		return fmt.Errorf("%w: it doesn't know the command", errFail)
	}
	return nil
}

// pairs yields the lines "key=value".
func pairs(s string) func(func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		n := 0
		for line := range strings.Lines(s) {
			if n++; n > maxLines {
				return
			}
			key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
			if ok && !yield(key, value) {
				return
			}
		}
	}
}

// parseMAC reads the address of a device.
func parseMAC(s string) (mac [6]byte, err error) {
	b, err := net.ParseMAC(s)
	if err != nil || len(b) != len(mac) || len(s) != 17 || b[0]&1 != 0 || [6]byte(b) == mac {
		return mac, fmt.Errorf("hostapd: %q is no station's address", s[:min(len(s), 40)])
	}
	return [6]byte(b), nil
}
