package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
)

// browsed is one line of browse, and without Event of resolve.
type browsed struct {
	Event     string   `json:"event,omitempty"`
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Domain    string   `json:"domain"`
	Subtypes  []string `json:"subtypes"`
	*located           // with --resolve
	Interface string   `json:"interface"`
	Via       string   `json:"via"`
	TTL       uint32   `json:"ttl"`
}

// located is what resolving adds. In TXT a key without a value is null; TXTRaw
// holds the record's strings as they came, in base64.
type located struct {
	Host      string             `json:"host"`
	Port      uint16             `json:"port"`
	Addresses []netip.Addr       `json:"addresses"`
	TXT       map[string]*string `json:"txt"`
	TXTRaw    []string           `json:"txt_raw"`
}

func newBrowsed(op dnssd.Op, s dnssd.Service, resolved bool) browsed {
	b := browsed{
		Event: string(op), Name: s.Name, Type: s.Instance.Service, Domain: s.Domain,
		Subtypes: notNil(s.Subtypes), Interface: s.Interface, Via: s.Via, TTL: s.TTL,
	}
	if !resolved || s.Name == "" {
		return b
	}
	l := &located{
		Host: s.Host, Port: s.Port, Addresses: notNil(s.Addresses),
		TXT: make(map[string]*string), TXTRaw: make([]string, len(s.TXT)),
	}
	for key, v := range s.TXT.All() {
		l.TXT[key] = nil
		if v.Set {
			data := strings.ToValidUTF8(v.Data, string(utf8.RuneError))
			l.TXT[key] = &data
		}
	}
	for i, t := range s.TXT {
		l.TXTRaw[i] = base64.StdEncoding.EncodeToString([]byte(t))
	}
	b.located = l
	return b
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func browseCommand(a app) *cobra.Command {
	var (
		f             = format{stream: true}
		interfaces    *[]string
		resolve, once bool
	)
	cmd := &cobra.Command{
		Use:   "browse [TYPE]",
		Short: "List services of a type by DNS-SD as they come and go",
		Long: `browse asks by mDNS for services of TYPE, such as _http._tcp or, for a subtype,
_printer._sub._http._tcp. Without a TYPE it lists the types that are there.

Lines begin with + for what came, ~ for what changed and - for what went. With
--once it ends when things have settled.`,
		Example: `  lanfolk browse
  lanfolk browse _http._tcp --once --resolve
  lanfolk browse _ipp._tcp --resolve -o jsonl`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			b := dnssd.Browser{Resolve: resolve, Once: once}
			if len(argv) == 1 {
				if err := setType(&b, argv[0]); err != nil {
					return usage{err}
				}
			}
			ctx := cmd.Context()
			return a.withMulticast(ctx, *interfaces, func(ctx context.Context, src dnssd.Source) error {
				b.Source = src
				return a.browse(ctx, f, &b)
			})
		},
	}
	f.flags(cmd)
	interfaces = interfaceFlag(cmd)
	cmd.Flags().BoolVar(&resolve, "resolve", false, "ask for host, port, addresses and TXT, too")
	cmd.Flags().BoolVar(&once, "once", false, "end when things have settled")
	return cmd
}

// setType reads "_http._tcp", with ".local" behind it or a subtype before it.
func setType(b *dnssd.Browser, text string) error {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "."), ".local")
	if sub, rest, ok := strings.Cut(text, "._sub."); ok {
		b.Subtype, text = sub, rest
	}
	b.Type = text
	return dnssd.CheckType(text)
}

func (a app) browse(ctx context.Context, f format, b *dnssd.Browser) error {
	out := bufio.NewWriter(a.out)
	p := browsePrinter()
	for ev, err := range b.Events(ctx) {
		if err != nil {
			return err
		}
		if ev.Op == dnssd.Settled {
			continue
		}
		if err := p.one(out, f, newBrowsed(ev.Op, ev.Service, b.Resolve)); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	if !b.Once {
		return errInterrupted
	}
	return ctx.Err()
}

func browsePrinter() printer[browsed] {
	return printer[browsed]{
		columns: []column[browsed]{
			{"", false, func(b browsed) string { return map[string]string{"add": "+", "update": "~", "remove": "-"}[b.Event] }},
			{"INTERFACE", false, func(b browsed) string { return b.Interface }},
			{"TYPE", false, func(b browsed) string { return b.Type }},
			{"NAME", false, func(b browsed) string { return b.Name }},
			{"WHERE", false, func(b browsed) string { return b.where() }},
			{"TXT", false, func(b browsed) string { return b.txt() }},
			{"SUBTYPES", true, func(b browsed) string { return strings.Join(b.Subtypes, " ") }},
			{"TTL", true, func(b browsed) string { return strconv.FormatUint(uint64(b.TTL), 10) }},
		},
		id: func(b browsed) string { return strings.Trim(b.Name+"."+b.Type+"."+b.Domain, ".") },
	}
}

func (b browsed) where() string {
	if b.located == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d %s", b.Host, b.Port, joined(b.Addresses))
}

func (b browsed) txt() string {
	if b.located == nil {
		return ""
	}
	var s []string
	for _, k := range sortedKeys(b.TXT) {
		if v := b.TXT[k]; v != nil {
			k += "=" + *v
		}
		s = append(s, k)
	}
	return strings.Join(s, " ")
}
