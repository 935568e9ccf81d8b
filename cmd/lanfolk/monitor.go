package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
	"github.com/lanfolk/lanfolk/store"
)

// monitor is one run of the command.
type monitor struct {
	app
	format      format
	interfaces  *[]string
	file        string
	filter      string
	packets     bool
	promiscuous bool
	save        string
	password    string
	localOnly   bool
	hashNames   bool
	readable    []string
}

func monitorCommand(a app) *cobra.Command {
	m := monitor{app: a}
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Listen without a word: who asks for and announces what",
		Long: `monitor reads what devices say anyway, from links (which needs the right to
capture) or from a pcap or pcapng file, also packed by gzip. It sends nothing.

It prints the rows that the database would hold: for a file all of them at the
end, live each as it is first heard. --packets prints one line a fact instead:
for DNS and mDNS one for each question and each resource record.

--local-only leaves out what isn't said on a link to be found there, and
--hash-names hides the names that DNS, TLS, QUIC and HTTP are asked for: neither
printed nor saved. The hashes' key is in the database that --save names; without
one they are good for one run.`,
		Example: `  lanfolk monitor -r capture.pcapng.gz
  lanfolk monitor -i eth0 --packets -o jsonl --filter 'udp port 5353'`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return m.run(cmd.Context()) },
	}
	m.format.flags(cmd)
	m.interfaces = interfaceFlag(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&m.file, "read", "r", "", "read a capture `FILE`; - is standard input")
	fl.StringVar(&m.filter, "filter", "", "read only packets that fit an `EXPRESSION`, as tcpdump takes them")
	fl.BoolVar(&m.packets, "packets", false, "print each fact instead of merged rows")
	fl.BoolVar(&m.promiscuous, "promiscuous", false, "hear unicast between others, too")
	fl.BoolVar(&m.localOnly, "local-only", false, "keep only what is said on a link to be found there: no DNS, TLS, HTTP, …")
	fl.BoolVar(&m.hashNames, "hash-names", false, "hash the names that DNS, TLS, QUIC and HTTP are asked for")
	fl.StringArrayVar(&m.readable, "readable-domain", nil, "names in this `DOMAIN` aren't hashed; repeatable")
	fl.StringVar(&m.save, "save", "", "add the rows to a database, too: a `FILE`, or postgres://…")
	passwordFileFlag(cmd, &m.password)
	return cmd
}

func (m *monitor) run(ctx context.Context) error {
	m.format.stream = m.packets
	if err := m.format.check(); err != nil {
		return err
	}
	if err := checkPasswordFile(m.password, m.save, "--save"); err != nil {
		return err
	}
	if m.file != "" && len(*m.interfaces) > 0 {
		return usagef("-r reads a file and -i a link; give one")
	}
	var filter *pcapfilter.Filter
	if m.filter != "" {
		var err error
		if filter, err = pcapfilter.Parse(m.filter); err != nil {
			return usage{err}
		}
	}
	sink, err := m.sink(ctx)
	if err != nil {
		return err
	}
	if m.file != "" {
		err = m.readFile(ctx, filter, sink)
	} else {
		err = m.listen(ctx, filter, sink)
	}
	// What was read is printed and kept, even where the file broke off.
	if end := sink.end(context.WithoutCancel(ctx)); err == nil {
		err = end
	}
	if ctx.Err() != nil && m.file == "" {
		return errInterrupted
	}
	return err
}

func (m *monitor) readFile(ctx context.Context, filter *pcapfilter.Filter, sink *monitorSink) error {
	f := capture.File{Path: m.file, In: m.in, Filter: filter}
	if terminal(m.err) {
		f.Progress = func(done, size int64) {
			if size > 0 {
				fmt.Fprintf(m.err, "\r%3d %% ", min(100, done*100/size))
			} else {
				fmt.Fprintf(m.err, "\r%d MiB ", done>>20)
			}
		}
		defer fmt.Fprint(m.err, "\r\x1b[K")
	}
	var from source.Passive
	stats, err := f.Read(ctx, func(fact *passive.Fact) error { return sink.fact(&from, fact) })
	if n := dropped(stats.Drops); n != "" {
		fmt.Fprintf(m.err, "dropped: %s\n", n)
	}
	return err
}

func (m *monitor) listen(ctx context.Context, filter *pcapfilter.Filter, sink *monitorSink) error {
	all, err := lan.Links()
	if err != nil {
		return err
	}
	links, err := lan.Select(all, *m.interfaces)
	if err != nil {
		return usage{err}
	}
	if len(links) == 0 {
		return errors.New("monitor: no usable interface; name one with -i")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, link := range links {
		wg.Go(func() {
			from := &source.Passive{Link: link}
			live := capture.Live{Link: link, Filter: filter, Promiscuous: m.promiscuous}
			err := live.Run(ctx, func(fact *passive.Fact) {
				if err := sink.fact(from, fact); err != nil {
					cancel(err)
				}
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// dropped lists the reasons for which packets yielded nothing.
func dropped(drops map[string]uint64) string {
	var s []string
	for _, k := range sortedKeys(drops) {
		s = append(s, fmt.Sprintf("%d %s", drops[k], k))
	}
	return strings.Join(s, ", ")
}

// monitorSink prints facts or gathers rows.
type monitorSink struct {
	m     *monitor
	db    *store.DB
	mu    sync.Mutex
	out   *bufio.Writer
	rows  store.Rows
	facts printer[*passive.Fact]
	live  bool
	buf   []byte
	// privacy stands before all that is made of a fact.
	privacy source.Privacy
}

func (m *monitor) sink(ctx context.Context) (*monitorSink, error) {
	s := &monitorSink{m: m, out: bufio.NewWriter(m.out), facts: factPrinter(), live: m.file == ""}
	if m.save != "" {
		db, err := store.Open(ctx, m.save, store.Options{PasswordFile: m.password})
		if err != nil {
			return nil, err
		}
		s.db = db
	}
	s.privacy.LocalOnly = m.localOnly
	if m.hashNames {
		key := []byte(rand.Text())
		if s.db != nil {
			var err error
			if key, err = s.db.Secret(ctx, source.NamesSecret); err != nil {
				return nil, errors.Join(err, s.db.Close())
			}
		}
		s.privacy.Names = source.NewNames(key, m.readable...)
	}
	return s, nil
}

func (s *monitorSink) fact(from *source.Passive, f *passive.Fact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.privacy.Fact(f)
	if !ok {
		return nil
	}
	if s.m.packets {
		if s.m.format.name == "jsonl" {
			s.buf = append(f.AppendJSON(s.buf[:0]), '\n')
			if _, err := s.out.Write(s.buf); err != nil {
				return err
			}
		} else if err := s.facts.one(s.out, s.m.format, f); err != nil {
			return err
		}
		if s.live {
			if err := s.out.Flush(); err != nil {
				return err
			}
		}
		if s.db == nil {
			return nil
		}
	}
	o, counts := from.Observation(f)
	if !counts {
		return nil
	}
	if first := s.rows.Add(o); first && s.live && !s.m.packets && s.m.format.name != "json" {
		return rowPrinter(o.Last).one(s.m.out, s.m.format, printed([]lanfolk.Observation{o})[0])
	}
	return nil
}

// rowsSaved is how many rows go into the database at once: others may write to it.
const rowsSaved = 10_000

// end prints what was gathered, and keeps it.
func (s *monitorSink) end(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.out.Flush()
	if s.rows.Dropped > 0 {
		fmt.Fprintf(s.m.err, "lanfolk: %d facts would have made more rows than memory should hold; they were dropped\n", s.rows.Dropped)
	}
	rows := s.rows.Sorted()
	if !s.m.packets && (!s.live || s.m.format.name == "json") {
		err = errors.Join(err, rowPrinter(time.Now()).list(s.m.out, s.m.format, printed(rows)))
	}
	if s.db != nil {
		for part := range slices.Chunk(rows, rowsSaved) {
			if saved := s.db.SaveObservations(ctx, part); saved != nil {
				err = errors.Join(err, saved)
				break
			}
		}
		err = errors.Join(err, s.db.Close())
	}
	return err
}

func factPrinter() printer[*passive.Fact] {
	type fact = *passive.Fact
	return printer[fact]{
		columns: []column[fact]{
			{"TIME", false, func(f fact) string { return f.Time.Format("15:04:05.000000") }},
			{"INTERFACE", true, func(f fact) string { return f.Interface }},
			{"PROTOCOL", false, func(f fact) string { return fmt.Sprintf("%-5s", f.Protocol) }},
			{"FROM", false, func(f fact) string { return endpoint(f.SrcMAC, f.SrcIP) }},
			{"TO", false, func(f fact) string { return "> " + endpoint(f.DstMAC, f.DstIP) }},
			{"WHAT", false, factText},
			{"FINGERPRINT", true, func(f fact) string { return f.Fingerprint }},
		},
		id: func(f fact) string { return f.Query },
	}
}

func endpoint(m passive.MAC, ip netip.Addr) string {
	if ip.IsValid() {
		return m.String() + "/" + ip.String()
	}
	return m.String()
}

// factText writes what a fact says: a question with "?", a record as a zone
// file would hold it, else the protocol's fields.
func factText(f *passive.Fact) string {
	switch {
	case f.Record != nil:
		r := f.Record
		return r.Name + " " + strconv.FormatUint(uint64(r.TTL), 10) + " " + dnswire.Type(r.Type).String() + " " + r.Data
	case f.QType != 0:
		return dnswire.Type(f.QType).String() + "? " + f.Query
	}
	s := []string{f.Query}
	for _, x := range f.Fields {
		s = append(s, x.Key+"="+x.Value)
	}
	return strings.Join(s, " ")
}
