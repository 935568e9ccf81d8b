package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/store"
)

func fingerprintsCommand(a app) *cobra.Command {
	var (
		f               format
		protocol, query string
		mac             string
		place           databaseFlags
		since           time.Duration
		latest          bool
		limit           int
		errNone         = fmt.Errorf("no such row: %w", errNotFound)
	)
	cmd := &cobra.Command{
		Use:   "fingerprints",
		Short: "Who asked for or announced what, from which MAC to which MAC",
		Long: `fingerprints lists the rows that passive monitoring keeps, the one heard last
first: which MAC asked for or announced what, towards which MAC, when first,
when last and how often. --latest prints the newest row alone: that is how the
source and destination MAC for a name are found.

It reads the node's database, whether the node runs or not, or another: a file, or
postgres://USER@HOST:PORT/DATABASE, whose password comes from the environment
(PGPASSWORD, PGPASSFILE) or from the file that --password-file names.`,
		Example: `  lanfolk fingerprints --protocol mdns --query '_ipp._tcp.local' --latest
  lanfolk fingerprints --mac 02:00:5e:10:00:01 --since 24h -o jsonl`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := place.check(); err != nil {
				return err
			}
			filter := store.ObservationFilter{Protocol: protocol, Query: query, Limit: limit}
			if mac != "" {
				m, err := lanfolk.ParseMAC(mac)
				if err != nil {
					return usage{err}
				}
				filter.MAC = m
			}
			if since != 0 {
				filter.Since = time.Now().Add(-since)
			}
			db, err := place.openToRead(cmd.Context())
			if err != nil {
				return err
			}
			defer db.Close()
			rows, err := readFingerprints(cmd.Context(), db, filter, latest)
			if err != nil {
				return err
			}
			if latest && len(rows) == 0 {
				return errNone
			}
			return observationPrinter(time.Now()).list(a.out, f, rows)
		},
	}
	f.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&protocol, "protocol", "", "only this protocol: mdns, dns, dhcp, arp, ndp, …")
	fl.StringVar(&query, "query", "", "only this name, asked for or announced; * stands for any characters")
	fl.StringVar(&mac, "mac", "", "only rows from or to this MAC")
	fl.DurationVar(&since, "since", 0, "only rows heard in this time, as 24h")
	fl.BoolVar(&latest, "latest", false, "only the row heard last")
	fl.IntVar(&limit, "limit", 0, "at most so many rows; 0 for all")
	place.flags(cmd)
	cmd.AddCommand(learnCommand(a))
	return cmd
}

func readFingerprints(ctx context.Context, db *store.DB, f store.ObservationFilter, latest bool) ([]lanfolk.Observation, error) {
	f = hiddenNames(ctx, db).Filter(f)
	if !latest {
		return db.Observations(ctx, f)
	}
	row, ok, err := db.Latest(ctx, f)
	if err != nil || !ok {
		return nil, err
	}
	return []lanfolk.Observation{row}, nil
}

// hiddenNames returns what names are hidden by in a database, nil if none ever was.
func hiddenNames(ctx context.Context, db *store.DB) *source.Names {
	key, err := db.Secret(ctx, source.NamesSecret) // makes none: the database is open for reading
	if err != nil {
		return nil
	}
	return source.NewNames(key)
}

func observationPrinter(now time.Time) printer[lanfolk.Observation] {
	type row = lanfolk.Observation
	return printer[row]{
		columns: []column[row]{
			{"PROTOCOL", false, func(o row) string { return o.Protocol }},
			{"QUERY", false, func(o row) string { return o.Query }},
			{"FROM", false, func(o row) string { return o.SrcMAC.String() }},
			{"TO", false, func(o row) string { return o.DstMAC.String() }},
			{"FROM IP", true, func(o row) string { return addr(o.SrcIP) }},
			{"TO IP", true, func(o row) string { return addr(o.DstIP) }},
			{"INTERFACE", true, func(o row) string { return o.Link }},
			{"FIRST", true, func(o row) string { return ago(now, o.First) }},
			{"LAST", false, func(o row) string { return ago(now, o.Last) }},
			{"COUNT", false, func(o row) string { return strconv.FormatUint(o.Count, 10) }},
			{"FINGERPRINT", true, func(o row) string { return o.Fingerprint }},
		},
		id: func(o row) string { return o.Query },
	}
}
