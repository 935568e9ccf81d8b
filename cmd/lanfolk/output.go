package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

// format is how a command prints its data.
type format struct {
	name   string
	json   bool
	stream bool // the command prints a stream: --json means jsonl
}

// flags adds -o and --json to a command.
func (f *format) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.name, "output", "o", "table", "table, wide, json, jsonl, yaml or name")
	cmd.Flags().BoolVar(&f.json, "json", false, "the same as -o json for lists, -o jsonl for streams")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp))
}

func formats() []string { return []string{"table", "wide", "json", "jsonl", "yaml", "name"} }

// check completes the format after the flags were read. A stream can't be one
// JSON document: there json means jsonl.
func (f *format) check() error {
	if f.json {
		f.name = "json"
	}
	if !slices.Contains(formats(), f.name) {
		return usagef("unknown output format %q; one of %s", f.name, strings.Join(formats(), ", "))
	}
	if f.stream && f.name == "json" {
		f.name = "jsonl"
	}
	return nil
}

// column is one column of a table.
type column[T any] struct {
	title string
	wide  bool // only with -o wide
	value func(T) string
}

// printer prints values of one type in any format. id is what -o name prints.
type printer[T any] struct {
	columns []column[T]
	id      func(T) string
}

// list prints all items at once; an empty list is [].
func (p printer[T]) list(w io.Writer, f format, items []T) error {
	out := bufio.NewWriter(w)
	var err error
	switch f.name {
	case "json":
		if items == nil {
			items = []T{}
		}
		enc := encoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(items)
	case "yaml":
		if items == nil {
			items = []T{}
		}
		err = encodeYAML(out, items)
	case "table", "wide":
		err = p.table(out, f, items)
	default:
		for _, item := range items {
			if err = p.one(out, f, item); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

func (p printer[T]) table(w io.Writer, f format, items []T) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	var titles []string
	for _, c := range p.columns {
		if !c.wide || f.name == "wide" {
			titles = append(titles, c.title)
		}
	}
	fmt.Fprintln(tw, strings.Join(titles, "\t"))
	for _, item := range items {
		cells := p.cells(f, item)
		for i, c := range cells {
			cells[i] = orDash(c)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}

func (p printer[T]) cells(f format, item T) []string {
	var cells []string
	for _, c := range p.columns {
		if !c.wide || f.name == "wide" {
			cells = append(cells, visible(c.value(item)))
		}
	}
	return cells
}

// one prints an item of a stream; a line for people leaves empty cells out.
func (p printer[T]) one(w io.Writer, f format, item T) error {
	switch f.name {
	case "json", "jsonl":
		return encoder(w).Encode(item)
	case "yaml":
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
		return encodeYAML(w, item)
	case "name":
		_, err := fmt.Fprintln(w, visible(p.id(item)))
		return err
	default:
		cells := slices.DeleteFunc(p.cells(f, item), func(s string) bool { return s == "" })
		_, err := fmt.Fprintln(w, strings.Join(cells, "  "))
		return err
	}
}

// document prints a single object. people writes it for them; id is what
// -o name prints.
func document(w io.Writer, f format, v any, id string, people func(io.Writer) error) error {
	switch f.name {
	case "json":
		enc := encoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "jsonl":
		return encoder(w).Encode(v)
	case "yaml":
		return encodeYAML(w, v)
	case "name":
		_, err := fmt.Fprintln(w, visible(id))
		return err
	}
	return people(w)
}

// encoder writes JSON without HTML's escapes: nobody puts it into a page.
func encoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// encodeYAML writes v with the same names and order as its JSON.
func encodeYAML(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(b, &node); err != nil { // JSON is YAML
		return err
	}
	blockStyle(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

// blockStyle lays lists and objects out in lines. Keys need no quotes; values
// keep theirs, since yes and 1e3 mean something else to some readers of YAML.
func blockStyle(n *yaml.Node) {
	if len(n.Content) > 0 {
		n.Style = 0
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			c.Style = 0
		}
		blockStyle(c)
	}
}

// visible makes text from the network safe for a terminal: control characters,
// direction overrides and bytes that are no UTF-8 are shown by their codes.
func visible(s string) string {
	plain := true
	for _, r := range s {
		if !printable(r) {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !printable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

func printable(r rune) bool {
	return r != utf8.RuneError && (r == ' ' || unicode.IsPrint(r)) && !unicode.Is(unicode.Bidi_Control, r)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
