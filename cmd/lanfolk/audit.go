package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/database"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// auditLog is an audit to read: a running hub's, or a database's.
type auditLog interface {
	fleet.Chain
	Entries(ctx context.Context, f fleet.AuditFilter) ([]fleet.Entry, error)
}

// hubAudit is a running hub's.
type hubAudit struct{ c *client.Client }

func (h hubAudit) Head(ctx context.Context) (fleet.Head, error) {
	_, head, err := h.c.AuditHead(ctx)
	return head, err
}

func (h hubAudit) Start(ctx context.Context) (fleet.Checkpoint, error) { return h.c.AuditStart(ctx) }

func (h hubAudit) All(ctx context.Context) iter.Seq2[fleet.Entry, error] {
	return h.c.AuditEntries(ctx)
}

func (h hubAudit) Entries(ctx context.Context, f fleet.AuditFilter) ([]fleet.Entry, error) {
	return h.c.Audit(ctx, f)
}

// auditPlace says which audit a command reads.
type auditPlace struct {
	at    hubFlags
	place databaseFlags
}

func (p *auditPlace) flags(cmd *cobra.Command) {
	p.place.placard = database.Hub()
	p.place.flags(cmd)
	p.at.hub = true
	p.at.elsewhere(cmd)
}

func (p *auditPlace) check() error {
	if p.at.api != "" && (p.place.from != "" || p.place.state != "") {
		return usagef("--api names a hub, and --state or --from another; give one")
	}
	return p.place.check()
}

// open returns the running hub's audit or, where none runs, its database's. The caller
// calls done.
func (p *auditPlace) open(ctx context.Context, talk io.Writer) (log auditLog, done func() error, err error) {
	if p.place.from != "" {
		return p.database(ctx)
	}
	p.at.state = p.place.state
	c, err := p.at.client()
	if err != nil {
		return nil, nil, err
	}
	hub := hubAudit{c}
	if p.at.api != "" {
		return hub, nothing, nil
	}
	_, down := c.Audit(ctx, fleet.AuditFilter{Limit: 1})
	if !errors.Is(down, client.ErrNobodyListens) {
		return hub, nothing, down
	}
	if log, done, err = p.database(ctx); errors.Is(err, errNotFound) {
		return nil, nil, fmt.Errorf("%w; %w", down, err)
	}
	if err == nil {
		fmt.Fprintln(talk, "no hub runs there: this is its database")
	}
	return log, done, err
}

func nothing() error { return nil }

func (p *auditPlace) database(ctx context.Context) (auditLog, func() error, error) {
	db, err := p.place.openToRead(ctx)
	if err != nil {
		return nil, nil, err
	}
	f, err := fleet.Open(ctx, db, fleet.Options{})
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return f.Audit, db.Close, nil
}

// audit is one run of the command.
type audit struct {
	app
	auditPlace
	format format
	filter fleet.AuditFilter
	since  time.Duration
}

func auditCommand(a app) *cobra.Command {
	x := audit{app: a}
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Who did what at the hub, and proof that nobody changed that",
		Long: `audit lists what was done at the hub, the newest first: who asked what of which
gateway and how it ended, sign-ins, tokens, grants and revocations. What asks for
something comes first, without an outcome; how it ended comes in an entry of its
own.

A running hub is asked; without one its database is read. --from reads another: a
file, or postgres://USER@HOST:PORT/DATABASE.`,
		Example: `  lanfolk audit --who ben --since 24h
  lanfolk audit --what sign-in -o jsonl
  lanfolk audit head >>heads
  lanfolk audit verify --head heads`,
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	onlyCommandsOr(cmd)
	fl := cmd.Flags()
	fl.StringVar(&x.filter.Who, "who", "", "what this `USER` did; uid:N is one at the hub's socket, hub the hub itself")
	fl.StringVar(&x.filter.What, "what", "", "entries of this `KIND`: run, sign-in, user.create, grant.create, revoke …")
	fl.StringVar(&x.filter.Gateway, "gateway", "", "about the gateway with this `ID`")
	fl.StringVar(&x.filter.Ref, "ref", "", "about the command, user, token or grant with this `ID`")
	fl.DurationVar(&x.since, "since", 0, "of the time since then: 24h")
	fl.IntVar(&x.filter.Limit, "limit", 100, "at most so many; 0 for all")
	x.format.flags(cmd)
	x.flags(cmd)
	cmd.AddCommand(auditVerifyCommand(a), auditHeadCommand(a))
	return cmd
}

// onlyCommandsOr lets a command that holds others run itself, too, without arguments.
func onlyCommandsOr(cmd *cobra.Command) {
	run := cmd.RunE
	onlyCommands(cmd)
	cmd.RunE = run
}

func (x *audit) run(ctx context.Context) (err error) {
	if err := x.format.check(); err != nil {
		return err
	}
	if err := x.check(); err != nil {
		return err
	}
	if x.filter.Limit < 0 {
		return usagef("--limit %d: want 0 or more", x.filter.Limit)
	}
	log, done, err := x.open(ctx, x.err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	entries, err := x.read(ctx, log)
	if err != nil {
		return err
	}
	type row = fleet.WrittenEntry
	written := make([]row, len(entries))
	for i, e := range entries {
		written[i] = e.Written()
	}
	return printer[row]{
		columns: []column[row]{
			{"NUMBER", false, func(e row) string { return strconv.FormatUint(e.Seq, 10) }},
			{"TIME", false, func(e row) string { return e.Time.Local().Format(time.DateTime) }},
			{"WHO", false, func(e row) string { return e.Who }},
			{"WHAT", false, func(e row) string { return e.What }},
			{"GATEWAY", false, func(e row) string { return e.Gateway }},
			{"ABOUT", false, func(e row) string { return e.Ref }},
			{"OUTCOME", false, func(e row) string { return e.Outcome }},
			{"DETAIL", false, func(e row) string { return e.Detail }},
			{"HASH", true, func(e row) string { return e.Hash }},
		},
		id: func(e row) string { return strconv.FormatUint(e.Seq, 10) },
	}.list(x.out, x.format, written)
}

// read returns the entries that were asked for, page by page.
func (x *audit) read(ctx context.Context, log auditLog) ([]fleet.Entry, error) {
	const page = 1000
	var from time.Time
	if x.since > 0 {
		from = time.Now().Add(-x.since)
	}
	var all []fleet.Entry
	for f := x.filter; ; {
		f.Limit = page
		if x.filter.Limit > 0 {
			f.Limit = min(page, x.filter.Limit-len(all))
		}
		entries, err := log.Entries(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Time.Before(from) {
				return all, nil
			}
			all = append(all, e)
			f.Before = e.Seq
		}
		if len(entries) < f.Limit || len(all) == x.filter.Limit {
			return all, nil
		}
	}
}

func auditHeadCommand(a app) *cobra.Command {
	var at hubFlags
	cmd := &cobra.Command{
		Use:   "head",
		Short: "Print the audit's end, signed by the hub",
		Long: `head prints the number and hash of the audit's last entry, signed by a key that
isn't in the database. Keep it where nobody who can write to the hub can: then
"lanfolk audit verify --head" shows later whether an entry up to it was changed, or
the audit's end cut off. The hub writes such lines to a file of its own, too, where
its configuration says so ([hub.seals]).`,
		Example: `  lanfolk audit head >>/mnt/elsewhere/heads`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			seal, _, err := c.AuditHead(cmd.Context())
			if err != nil {
				return err
			}
			return encoder(a.out).Encode(seal)
		},
	}
	at.flags(cmd)
	return cmd
}

// verified is what verify found.
type verified struct {
	OK      bool   `json:"ok"`
	Entries uint64 `json:"entries"` // that are as they were written
	From    uint64 `json:"from"`    // the first of them; those before it were let go
	Heads   int    `json:"heads"`   // that were compared
	// Keys have signed these heads: base64, each once. Whose they are the heads can't say.
	Keys  []string `json:"keys"`
	Wrong uint64   `json:"wrong,omitempty"` // the first entry that isn't, or that is missing
	Why   string   `json:"why,omitempty"`
}

func auditVerifyCommand(a app) *cobra.Command {
	var p auditPlace
	var f format
	var heads []string
	var key sealKey
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that nobody changed the audit",
		Long: `verify reads the whole audit and checks that each entry is as it was written, that
none is missing and that it ends where it should. If not it exits with 1 and names
the first entry that is wrong.

Whoever can write to the database can also cut off the end, or make all hashes
anew. That shows only by the hub's signed heads of before. Those in its state
folder are compared where they can be read; who can write there, too, is found out
only by heads that were kept elsewhere. --head names a file of them, a line each,
as "lanfolk audit head" prints them, or a folder of such files, as the hub writes
them ([hub.seals]). Where somebody else can write to that file, too, --key says which
key must have signed them: heads that he signed himself are refused.

Entries that are older than [hub.audit] says are let go. In their place the hub keeps
the hash of the last one, signed: it is checked as the heads are, by the same key, and
the rest is checked from there on. Heads from before it can't be compared any more.

A running hub is asked; without one its database is read. --from reads another,
and so asks nobody: a file, or postgres://USER@HOST:PORT/DATABASE.`,
		Example: `  lanfolk audit verify --head /mnt/elsewhere/heads
  lanfolk audit verify --from /var/lib/lanfolk/hub.db --head heads`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := f.check(); err != nil {
				return err
			}
			if err := p.check(); err != nil {
				return err
			}
			seals, err := p.seals(heads, key, a.err)
			if err != nil {
				return err
			}
			log, done, err := p.open(cmd.Context(), a.err)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			v, err := verifyAudit(cmd.Context(), log, seals, ed25519.PublicKey(key))
			if err != nil && v.Why == "" {
				return err // it couldn't be read
			}
			people := func(w io.Writer) error {
				if !v.OK {
					return nil // the error says it
				}
				from := ""
				if v.From > 1 {
					from = fmt.Sprintf(" from number %d on", v.From)
				}
				_, err := fmt.Fprintf(w, "as it was written: entries %d%s, signed heads compared %d%s\n", v.Entries, from, v.Heads, signedBy(v.Keys))
				return err
			}
			if v.OK && v.Heads == 0 {
				fmt.Fprintln(a.err, "without --head nothing shows whether the end was cut off")
			}
			return errors.Join(document(a.out, f, v, strconv.FormatUint(v.Entries, 10), people), err)
		},
	}
	cmd.Flags().StringArrayVar(&heads, "head", nil, "a `FILE` of signed heads from before; may be repeated")
	cmd.Flags().Var(&key, "key", "the public `KEY` that signed them, as heads have it in \"key\"")
	f.flags(cmd)
	p.flags(cmd)
	return cmd
}

// sealKey is the public key that has to have signed heads; none is any.
type sealKey ed25519.PublicKey

// Set implements pflag.Value.
func (k *sealKey) Set(text string) error {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return errors.New("want the key that a signed head names, in base64")
	}
	*k = b
	return nil
}

// String implements pflag.Value.
func (k *sealKey) String() string { return base64.StdEncoding.EncodeToString(*k) }

// Type implements pflag.Value.
func (*sealKey) Type() string { return "key" }

func signedBy(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return ", signed by " + strings.Join(keys, " and ")
}

// verifyAudit says how an audit is. Its error says that it isn't right, and then v.Why
// does too, or that it can't be read.
func verifyAudit(ctx context.Context, log fleet.Chain, seals []fleet.Seal, key ed25519.PublicKey) (v verified, err error) {
	v.Keys = []string{}
	sign := func(key string) {
		if key != "" && !slices.Contains(v.Keys, key) {
			v.Keys = append(v.Keys, key)
		}
	}
	last, start, err := fleet.Verify(ctx, log, seals...)
	if err == nil {
		err = start.Check(key)
	}
	for _, s := range seals {
		if sign(s.Key); s.Seq >= start.Seq { // the others can't be compared any more
			v.Heads++
		}
	}
	sign(start.Key)
	v.From, v.Entries = start.Seq+1, max(last, start.Seq)-start.Seq
	if err == nil {
		v.OK = true
		return v, nil
	}
	if !errors.Is(err, fleet.ErrTampered) {
		return v, err
	}
	v.Wrong, v.Why = max(last, start.Seq)+1, err.Error()
	if head, failed := log.Head(ctx); failed == nil && head.Seq < last { // entries behind the end
		v.Wrong = head.Seq + 1
	}
	return v, fmt.Errorf("entry %d is the first that is wrong: %w", v.Wrong, err)
}

// seals reads the signed heads that verify compares: those of --head, and the hub's own
// where its state folder can be read.
func (p *auditPlace) seals(paths []string, key sealKey, talk io.Writer) (all []fleet.Seal, err error) {
	for _, path := range paths {
		seals, err := readSeals(path, key, talk)
		if err != nil {
			return nil, fmt.Errorf("--head: %w", err)
		}
		if len(seals) == 0 {
			return nil, fmt.Errorf("--head: there is no signed head in %s", path)
		}
		all = append(all, seals...)
	}
	if p.at.api != "" || p.place.from != "" {
		return all, nil
	}
	state, err := stateFolder(p.place.state)
	if err != nil {
		return nil, err
	}
	own, err := readSeals(filepath.Join(state, "hub", "seals.jsonl"), key, talk)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return all, nil
	}
	return append(all, own...), err
}

// readSeals reads a file of signed heads, a line each, or a folder of such files.
func readSeals(path string, key sealKey, talk io.Writer) (all []fleet.Seal, err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(path)
		for _, e := range entries {
			if e.Type().IsRegular() {
				seals, fileErr := readSeals(filepath.Join(path, e.Name()), key, talk)
				all, err = append(all, seals...), errors.Join(err, fileErr)
			}
		}
		return all, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		switch {
		case len(bytes.TrimSpace(lines.Bytes())) == 0:
			continue
		case !json.Valid(lines.Bytes()): // half of one: the power went
			fmt.Fprintf(talk, "%s: line %d is no signed head: left out\n", path, n)
			continue
		}
		s, err := fleet.ParseSeal(lines.Bytes(), ed25519.PublicKey(key))
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		all = append(all, s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}
