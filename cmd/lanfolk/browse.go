package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
)

func browseCommand(a app) *cobra.Command {
	var (
		x = asking{app: a}
		f = format{stream: true}
		r find.BrowseRequest
	)
	cmd := &cobra.Command{
		Use:   "browse [TYPE]",
		Short: "List services of a type by DNS-SD as they come and go",
		Long: `browse asks by mDNS for services of TYPE, such as _http._tcp or, for a subtype,
_printer._sub._http._tcp. Without a TYPE it lists the types that are there. A
running node is asked to do it; without one, or with --direct, the command asks
with sockets of its own.

With --domain it asks the DNS servers of that domain instead, with no node and no
rights: those that --server names or, without it, those in /etc/resolv.conf.

Lines begin with + for what came, ~ for what changed and - for what went. With
--once it ends when things have settled.`,
		Example: `  lanfolk browse
  lanfolk browse _http._tcp --once --resolve
  lanfolk browse _ipp._tcp --resolve -o jsonl
  lanfolk browse _ipp._tcp --also _pdl-datastream._tcp --also _printer._tcp
  lanfolk browse _http._tcp --domain example.com --server 192.0.2.53`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if len(argv) == 1 {
				if r.Type = argv[0]; r.Type == "" {
					return usagef("the TYPE is empty; leave it out to list types")
				}
				if _, _, err := source.ParseType(r.Type); err != nil {
					return usage{err}
				}
			}
			if _, err := source.ParseAlso(r.Type, r.Also); err != nil {
				return usage{err}
			}
			return x.askDNSSD(cmd.Context(), func(ctx context.Context, by asker) error {
				return found(cmp.Or(r.Type, "types"), a.browse(ctx, f, by.Browse(ctx, r)))
			})
		},
	}
	f.flags(cmd)
	x.flags(cmd)
	x.domain.flags(cmd)
	cmd.Flags().StringArrayVar(&r.Also, "also", nil, "look for this `TYPE`, too, which is another way to the same; one name is listed once, by the type given first; may be repeated")
	cmd.Flags().BoolVar(&r.Resolve, "resolve", false, "ask for host, port, addresses and TXT, too")
	cmd.Flags().BoolVar(&r.Once, "once", false, "end when things have settled")
	return cmd
}

func (a app) browse(ctx context.Context, f format, found iter.Seq2[find.Instance, error]) error {
	out := bufio.NewWriter(a.out)
	p := browsePrinter()
	for i, err := range found {
		if err != nil {
			return err
		}
		if err := p.one(out, f, i); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return ctx.Err() // of which a search without --once ends
}

func browsePrinter() printer[find.Instance] {
	return printer[find.Instance]{
		columns: []column[find.Instance]{
			{"", false, func(i find.Instance) string {
				return map[string]string{"add": "+", "update": "~", "remove": "-"}[i.Event]
			}},
			{"INTERFACE", false, func(i find.Instance) string { return i.Interface }},
			{"TYPE", false, func(i find.Instance) string { return i.Type }},
			{"NAME", false, func(i find.Instance) string { return i.Name }},
			{"WHERE", false, where},
			{"TXT", false, txt},
			{"SUBTYPES", true, func(i find.Instance) string { return strings.Join(i.Subtypes, " ") }},
			{"TTL", true, func(i find.Instance) string { return strconv.FormatUint(uint64(i.TTL), 10) }},
		},
		id: func(i find.Instance) string { return strings.Trim(i.Name+"."+i.Type+"."+i.Domain, ".") },
	}
}

func where(i find.Instance) string {
	if i.Location == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d %s", i.Host, i.Port, joined(i.Addresses))
}

func txt(i find.Instance) string {
	if i.Location == nil {
		return ""
	}
	var s []string
	for _, k := range sortedKeys(i.TXT) {
		if v := i.TXT[k]; v != nil {
			k += "=" + *v
		}
		s = append(s, k)
	}
	if i.Broken != "" {
		s = append(s, "("+i.Broken+")")
	}
	return strings.Join(s, " ")
}
