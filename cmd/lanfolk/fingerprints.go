package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/store"
)

// fingerprints is one run of the command.
type fingerprints struct {
	app
	format format
	place  databaseFlags
	node   nodeFlags
	filter rowFlags
	latest bool
	limit  int
	after  string
}

func fingerprintsCommand(a app) *cobra.Command {
	x := fingerprints{app: a}
	cmd := &cobra.Command{
		Use:   "fingerprints",
		Short: "Who asked for or announced what, from which MAC to which MAC",
		Long: `fingerprints lists the rows that passive monitoring keeps, the one heard last
first: which MAC asked for or announced what, towards which MAC, when first,
when last and how often. --latest prints the newest row alone: that is how the
source and destination MAC for a name are found.

A running node is asked, for what it heard in the last second is in its memory;
without one its database is read. --from reads another: a file, or
postgres://USER@HOST:PORT/DATABASE, whose password comes from the environment
(PGPASSWORD, PGPASSFILE) or from the file that --password-file names.

With --limit the rows come in pages: where there are more, a line on stderr names
the --after with which the next page begins. A row that is heard again meanwhile
moves to the front.`,
		Example: `  lanfolk fingerprints --protocol mdns --query '_ipp._tcp.local' --latest
  lanfolk fingerprints --mac 02:00:5e:10:00:01 --since 24h -o jsonl
  lanfolk fingerprints --query '*.example.com' --direction question --limit 100
  lanfolk fingerprints --fingerprint 4f9c2b7a1e0d8c6b5a493827`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	x.format.flags(cmd)
	x.filter.flags(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&x.latest, "latest", false, "only the row heard last")
	fl.IntVar(&x.limit, "limit", 0, "at most so many rows; 0 for all")
	fl.StringVar(&x.after, "after", "", "go on where a page ended: the `CURSOR` that it named")
	x.place.flags(cmd)
	x.node.remote(cmd)
	cmd.AddCommand(learnCommand(a))
	return cmd
}

func (x *fingerprints) run(ctx context.Context) error {
	if err := x.format.check(); err != nil {
		return err
	}
	if err := x.place.check(); err != nil {
		return err
	}
	if x.node.api != "" && (x.place.from != "" || x.place.state != "") {
		return usagef("--api names a node, and --state or --from another; give one")
	}
	if x.limit < 0 {
		return usagef("--limit %d: want 0 or more", x.limit)
	}
	f, err := x.filter.filter(time.Now())
	if err != nil {
		return err
	}
	if f.After, err = store.ParseCursor(x.after); err != nil {
		return usagef("--after: %w", err)
	}
	rows, next, err := x.read(ctx, f)
	if err != nil {
		return err
	}
	if x.latest && len(rows) == 0 {
		return fmt.Errorf("no such row: %w", errNotFound)
	}
	if err := rowPrinter(time.Now()).list(x.out, x.format, printed(rows)); err != nil {
		return err
	}
	if !next.IsZero() {
		fmt.Fprintf(x.err, "there are more: --after %s\n", next)
	}
	return nil
}

// hiddenNames returns what names are hidden by in a database, nil if none ever was.
func hiddenNames(ctx context.Context, db *store.DB) *source.Names {
	key, err := db.Secret(ctx, source.NamesSecret) // makes none: the database is open for reading
	if err != nil {
		return nil
	}
	return source.NewNames(key)
}

// nodeRows are the rows of a node that runs.
type nodeRows struct{ *client.Client }

func (n nodeRows) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	return n.LatestFingerprint(ctx, f)
}

func (n nodeRows) ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	return n.Fingerprints(ctx, f)
}

// read asks the node, and where none runs its database.
func (x *fingerprints) read(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	if x.place.from == "" {
		x.node.state = x.place.state
		c, err := x.node.client()
		if err != nil {
			return nil, store.Cursor{}, err
		}
		defer c.Close()
		rows, next, err := x.readFrom(ctx, nodeRows{c}, f)
		if x.node.api != "" || !errors.Is(err, client.ErrNobodyListens) && !errors.Is(err, client.ErrDenied) {
			return rows, next, err
		}
	}
	db, err := x.place.openToRead(ctx)
	if err != nil {
		return nil, store.Cursor{}, err
	}
	defer db.Close()
	return x.readFrom(ctx, source.HashedRows{Rows: db, Names: hiddenNames(ctx, db)}, f)
}

// rowsAsked is how many rows a node is asked for at once.
const rowsAsked = 10_000

func (x *fingerprints) readFrom(ctx context.Context, from source.Rows, f store.ObservationFilter) (rows []lanfolk.Observation, next store.Cursor, err error) {
	if x.latest {
		row, ok, err := from.Latest(ctx, f)
		if err != nil || !ok {
			return nil, store.Cursor{}, err
		}
		return []lanfolk.Observation{row}, store.Cursor{}, nil
	}
	for {
		f.Limit = rowsAsked
		if x.limit > 0 {
			f.Limit = min(f.Limit, x.limit-len(rows))
		}
		page, next, err := from.ObservationPage(ctx, f)
		if err != nil {
			return nil, store.Cursor{}, err
		}
		rows = append(rows, page...)
		if next.IsZero() || (x.limit > 0 && len(rows) >= x.limit) {
			return rows, next, nil
		}
		f.After = next
	}
}

// printedRow is a row as it is printed: with its fingerprint's key.
type printedRow struct {
	lanfolk.Observation
	Hash string `json:"fingerprint_hash"`
}

func printed(rows []lanfolk.Observation) []printedRow {
	out := make([]printedRow, len(rows))
	for i, o := range rows {
		out[i] = printedRow{o, store.FingerprintHash(o.Fingerprint)}
	}
	return out
}

func rowPrinter(now time.Time) printer[printedRow] {
	type row = printedRow
	return printer[row]{
		columns: []column[row]{
			{"PROTOCOL", false, func(o row) string { return o.Protocol }},
			{"QUERY", false, func(o row) string { return o.Query }},
			{"FROM", false, func(o row) string { return o.SrcMAC.String() }},
			{"TO", false, func(o row) string { return o.DstMAC.String() }},
			{"FROM IP", true, func(o row) string { return addr(o.SrcIP) }},
			{"TO IP", true, func(o row) string { return addr(o.DstIP) }},
			{"INTERFACE", true, func(o row) string { return o.Link }},
			{"VLAN", true, func(o row) string {
				if o.VLAN == 0 {
					return ""
				}
				return strconv.Itoa(int(o.VLAN))
			}},
			{"FIRST", true, func(o row) string { return ago(now, o.First) }},
			{"LAST", false, func(o row) string { return ago(now, o.Last) }},
			{"COUNT", false, func(o row) string { return strconv.FormatUint(o.Count, 10) }},
			{"HASH", true, func(o row) string { return o.Hash }},
			{"FINGERPRINT", true, func(o row) string { return o.Fingerprint }},
		},
		id: func(o row) string { return o.Query },
	}
}
