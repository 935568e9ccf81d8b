package main

import (
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/store"
)

// rowFlags say which rows of the fingerprint database are wanted.
type rowFlags struct {
	f                   store.ObservationFilter // what needs no reading
	mac, srcMAC, dstMAC string
	ip                  string
	vlan                int
	direction           string
	since, until        string
}

// The values of --direction.
const (
	directionQuestion = "question"
	directionAnswer   = "answer"
)

func (r *rowFlags) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&r.f.Protocol, "protocol", "", "only this protocol: mdns, dns, dhcp, arp, ndp, …")
	fl.StringVar(&r.f.Query, "query", "", "only this name, asked for or announced; * stands for any characters")
	fl.StringVar(&r.f.Fingerprint, "fingerprint", "", "only this fingerprint: its `TEXT` or its hash")
	fl.StringVar(&r.mac, "mac", "", "only rows from or to this MAC")
	fl.StringVar(&r.srcMAC, "src-mac", "", "only rows from this MAC")
	fl.StringVar(&r.dstMAC, "dst-mac", "", "only rows to this MAC")
	fl.StringVar(&r.ip, "ip", "", "only rows whose last packet went from or to this `ADDRESS`")
	fl.StringVarP(&r.f.Link, "interface", "i", "", "only rows heard on this interface")
	fl.StringVar(&r.f.Gateway, "gateway", "", "only rows heard by this gateway")
	fl.IntVar(&r.vlan, "vlan", -1, "only rows heard in this VLAN; 0 is none")
	fl.StringVar(&r.direction, "direction", "", "only rows of this `DIRECTION`: question, or answer for answers and announcements")
	fl.StringVar(&r.since, "since", "", "only rows heard since then: a `TIME` as 2026-01-31T12:00:00Z or 2026-01-31, or a span before now, as 24h or 7d")
	fl.StringVar(&r.until, "until", "", "only rows not heard since then: a `TIME` or a span, as for --since")
	_ = cmd.RegisterFlagCompletionFunc("direction", cobra.FixedCompletions([]string{directionQuestion, directionAnswer}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions(rowProtocols(), cobra.ShellCompDirectiveNoFileComp))
}

// rowProtocols are the protocols that rows are of.
func rowProtocols() []string {
	return []string{
		"arp", "cdp", "dhcp", "dhcpv6", "dns", "http", "igmp", "lldp", "llmnr", "mdns", "mld", "mqtt", "nbns", "ndp",
		"ptp", "quic", "sap", "ssdp", "syncthing", "tcp", "tged", "tls", "wsd",
	}
}

// filter reads the flags. now is the present time.
func (r *rowFlags) filter(now time.Time) (store.ObservationFilter, error) {
	f := r.f
	for _, m := range []struct {
		flag, text string
		to         *lanfolk.MAC
	}{{"--mac", r.mac, &f.MAC}, {"--src-mac", r.srcMAC, &f.SrcMAC}, {"--dst-mac", r.dstMAC, &f.DstMAC}} {
		if m.text == "" {
			continue
		}
		var err error
		if *m.to, err = lanfolk.ParseMAC(m.text); err != nil {
			return f, usagef("%s: %w", m.flag, err)
		}
	}
	if r.ip != "" {
		ip, err := netip.ParseAddr(r.ip)
		if err != nil {
			return f, usagef("--ip %s: want an IP address", r.ip)
		}
		f.IP = ip
	}
	switch {
	case r.vlan > 4095 || r.vlan < -1:
		return f, usagef("--vlan %d: want 0 to 4095", r.vlan)
	case r.vlan >= 0:
		vlan := uint16(r.vlan)
		f.VLAN = &vlan
	}
	switch r.direction {
	case "":
	case directionQuestion, directionAnswer:
		answer := r.direction == directionAnswer
		f.Response = &answer
	default:
		return f, usagef("--direction %s: want %s or %s", r.direction, directionQuestion, directionAnswer)
	}
	var err error
	if f.Since, err = moment(now, "--since", r.since); err != nil {
		return f, err
	}
	f.Until, err = moment(now, "--until", r.until)
	return f, err
}

// moment reads a time, or a span before now.
func moment(now time.Time, flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if span, err := config.ParseDuration(text); err == nil {
		return now.Add(-span.Duration()), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%s %s: want a time as 2026-01-31T12:00:00Z or 2026-01-31, or a span as 24h or 7d", flag, text)
}
