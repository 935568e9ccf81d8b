package agent

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store"
)

// Sources are what the verbs ask. A verb whose source is nil is refused.
type Sources struct {
	Status       Reporter
	Inventory    Inventory
	Fingerprints Rows
	Finder       Finder
	Browser      Browser
	Capturer     Capturer
}

// A Reporter says how the gateway is doing: what `lanfolk status -o json` prints.
type Reporter interface {
	Status(ctx context.Context) (any, error)
}

// An Inventory is what the gateway knows: a lanfolk.Registry.
type Inventory interface {
	Devices(f lanfolk.Filter) []*lanfolk.Device
	Services(f lanfolk.Filter) []*lanfolk.Service
}

// Rows are what passive monitoring keeps: a store.Recorder.
type Rows interface {
	ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error)
}

// A Finder asks every protocol now, as `lanfolk find` does.
type Finder interface {
	// Find calls found with each answer, a line of `lanfolk find -o jsonl`, one
	// after another. It ends at ctx, or when found returns an error, with it.
	Find(ctx context.Context, query string, timeout time.Duration, found func(answer any) error) error
}

// A Browser asks by DNS-SD, as `lanfolk browse --once` does.
type Browser interface {
	// Browse calls seen with each service of the type or, with none, each type: a
	// line of `lanfolk browse -o jsonl`. It ends when things have settled, at ctx,
	// or when seen returns an error, with it.
	Browse(ctx context.Context, serviceType string, resolve bool, seen func(service any) error) error
}

// A Capturer captures frames of an interface.
type Capturer interface {
	// Capture writes a pcap file to w until ctx ends, and returns nil then. Each
	// Write holds whole packets; an error of it ends the capture and is returned.
	Capture(ctx context.Context, link string, w io.Writer) error
}

// errDenied is for what the gateway doesn't allow.
var errDenied = errors.New("not allowed on this gateway")

// Bounds of what is asked.
const (
	maxRows     = 10_000 // of fingerprints
	findFor     = 3 * time.Second
	maxFindFor  = time.Minute
	defaultRows = 1000
)

// A verb is one thing that a hub can ask for.
type verb struct {
	name     string
	usage    string
	min, max int                  // arguments
	lacks    func(a *Agent) bool  // whether the gateway can't or mayn't
	fetches  bool                 // it sends a file as it is; run is nil
	streams  bool                 // what it says goes to the hub as it comes, so that it is not run again
	effects  bool                 // it may change something: it is never run twice
	cuts     bool                 // what it says beyond the limit is left out
	limit    func(a *Agent) int64 // bytes of its own
	kind     reverse.Type
	run      func(ctx context.Context, a *Agent, args []string, w io.Writer) (ending, error)
}

// ending is how a verb ended that had no error.
type ending struct {
	exit int
	note string // for people
}

const unlimited = 64

// verbs is all there is.
func verbs() []verb {
	noFiles := func(a *Agent) bool { return a.config.Files == "" }
	return []verb{
		{name: "list", usage: "list", lacks: noFiles, kind: reverse.TypeListing,
			run: func(ctx context.Context, a *Agent, _ []string, w io.Writer) (ending, error) { return a.list(ctx, w) }},
		{name: "get", usage: "get NAME", min: 1, max: 1, lacks: noFiles, fetches: true, kind: reverse.TypeFile},
		{name: "status", usage: "status", lacks: func(a *Agent) bool { return a.sources.Status == nil }, kind: reverse.TypeResult, run: status},
		{name: "devices", usage: "devices [--protocol P] [--type T] [--state S] [--new D] [TEXT]", max: unlimited,
			lacks: noInventory, kind: reverse.TypeResult, run: devices},
		{name: "services", usage: "services [--protocol P] [--type T] [--state S] [--new D] [TEXT]", max: unlimited,
			lacks: noInventory, kind: reverse.TypeResult, run: services},
		{name: "find", usage: "find [--timeout D] QUERY", min: 1, max: unlimited,
			lacks: func(a *Agent) bool { return a.sources.Finder == nil }, kind: reverse.TypeResult, streams: true, run: find},
		{name: "fingerprints", usage: "fingerprints [--protocol P] [--query Q] [--mac M] [--fingerprint F] [--since D] [--limit N] [--latest]", max: unlimited,
			lacks: func(a *Agent) bool { return a.sources.Fingerprints == nil }, kind: reverse.TypeResult, run: fingerprints},
		{name: "browse", usage: "browse [--resolve] [TYPE]", max: unlimited,
			lacks: func(a *Agent) bool { return a.sources.Browser == nil }, kind: reverse.TypeResult, streams: true, run: browse},
		{name: "capture", usage: "capture INTERFACE SECONDS", min: 2, max: 2, streams: true,
			lacks: func(a *Agent) bool { return !a.config.Capture.Allowed || a.sources.Capturer == nil }, kind: reverse.TypeFile, run: capture,
			limit: func(a *Agent) int64 { return a.config.Capture.MaxBytes }},
		{name: "exec", usage: "exec NAME [ARGUMENT…]", min: 1, max: 1 + maxArguments, streams: true, effects: true, cuts: true,
			lacks: func(a *Agent) bool { return len(a.config.Programs) == 0 }, kind: reverse.TypeResult, run: execute},
	}
}

func noInventory(a *Agent) bool { return a.sources.Inventory == nil }

// verb returns what a line asks for, if the gateway does it.
func (a *Agent) verb(words []string) (verb, error) {
	all := a.verbs
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == words[0] })
	if i < 0 {
		names := make([]string, len(all))
		for i, v := range all {
			names[i] = v.name
		}
		return verb{}, fmt.Errorf("%w: there is no verb %q; there are %s", errDenied, words[0], strings.Join(names, ", "))
	}
	v := all[i]
	switch n := len(words) - 1; {
	case v.lacks(a):
		return verb{}, fmt.Errorf("%w: %s is off", errDenied, v.name)
	case n < v.min || n > v.max:
		return verb{}, fmt.Errorf("%d arguments; usage: %s", n, v.usage)
	}
	return v, nil
}

// options reads the arguments of a verb: flags first, then at most most words.
func options(args []string, most int, define func(f *flag.FlagSet)) ([]string, error) {
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	define(f)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > most {
		return nil, fmt.Errorf("%q is one argument too many", f.Arg(most))
	}
	return f.Args(), nil
}

func status(ctx context.Context, a *Agent, _ []string, w io.Writer) (ending, error) {
	s, err := a.sources.Status.Status(ctx)
	if err != nil {
		return ending{}, err
	}
	return ending{}, line(w)(s)
}

// line returns a function that writes a value as a line of JSON.
func line(w io.Writer) func(v any) error {
	return func(v any) error {
		b, err := json.Marshal(v)
		if err == nil {
			_, err = w.Write(append(b, '\n'))
		}
		return err
	}
}

// filter reads which devices or services are wanted.
func filter(args []string) (lanfolk.Filter, error) {
	var f lanfolk.Filter
	var fresh time.Duration
	rest, err := options(args, 1, func(fl *flag.FlagSet) {
		fl.StringVar(&f.Protocol, "protocol", "", "")
		fl.StringVar(&f.Type, "type", "", "")
		fl.StringVar((*string)(&f.State), "state", "", "")
		fl.DurationVar(&fresh, "new", 0, "")
	})
	if err != nil {
		return f, err
	}
	if len(rest) > 0 {
		f.Text = rest[0]
	}
	if fresh > 0 {
		f.Since = time.Now().Add(-fresh)
	}
	return f, nil
}

func devices(_ context.Context, a *Agent, args []string, w io.Writer) (ending, error) {
	f, err := filter(args)
	if err != nil {
		return ending{}, err
	}
	return ending{}, array(w, a.sources.Inventory.Devices(f))
}

func services(_ context.Context, a *Agent, args []string, w io.Writer) (ending, error) {
	f, err := filter(args)
	if err != nil {
		return ending{}, err
	}
	return ending{}, array(w, a.sources.Inventory.Services(f))
}

func find(ctx context.Context, a *Agent, args []string, w io.Writer) (ending, error) {
	timeout := findFor
	rest, err := options(args, 1, func(f *flag.FlagSet) { f.DurationVar(&timeout, "timeout", findFor, "") })
	switch {
	case err != nil:
		return ending{}, err
	case len(rest) == 0 || rest[0] == "":
		return ending{}, errors.New("what is to be found?")
	case timeout <= 0 || timeout > maxFindFor:
		return ending{}, fmt.Errorf("--timeout %v: want more than 0 and at most %v", timeout, maxFindFor)
	}
	return ending{}, a.sources.Finder.Find(ctx, rest[0], timeout, line(w))
}

func browse(ctx context.Context, a *Agent, args []string, w io.Writer) (ending, error) {
	var resolve bool
	rest, err := options(args, 1, func(f *flag.FlagSet) { f.BoolVar(&resolve, "resolve", false, "") })
	if err != nil {
		return ending{}, err
	}
	return ending{}, a.sources.Browser.Browse(ctx, strings.Join(rest, ""), resolve, line(w))
}

// row is one of `lanfolk fingerprints -o json`.
type row struct {
	lanfolk.Observation
	Hash string `json:"fingerprint_hash"`
}

func fingerprints(ctx context.Context, a *Agent, args []string, w io.Writer) (ending, error) {
	var f store.ObservationFilter
	var mac string
	var since time.Duration
	var latest bool
	_, err := options(args, 0, func(fl *flag.FlagSet) {
		fl.StringVar(&f.Protocol, "protocol", "", "")
		fl.StringVar(&f.Query, "query", "", "")
		fl.StringVar(&f.Fingerprint, "fingerprint", "", "")
		fl.StringVar(&mac, "mac", "", "")
		fl.DurationVar(&since, "since", 0, "")
		fl.IntVar(&f.Limit, "limit", defaultRows, "")
		fl.BoolVar(&latest, "latest", false, "")
	})
	if err != nil {
		return ending{}, err
	}
	if mac != "" {
		if f.MAC, err = lanfolk.ParseMAC(mac); err != nil {
			return ending{}, fmt.Errorf("--mac: %w", err)
		}
	}
	if f.Limit < 1 || f.Limit > maxRows {
		return ending{}, fmt.Errorf("--limit %d: want 1 to %d", f.Limit, maxRows)
	}
	if latest {
		f.Limit = 1
	}
	if since > 0 {
		f.Since = time.Now().Add(-since)
	}
	found, next, err := a.sources.Fingerprints.ObservationPage(ctx, f)
	if err != nil {
		return ending{}, err
	}
	rows := make([]row, len(found))
	for i, o := range found {
		rows[i] = row{o, store.FingerprintHash(o.Fingerprint)}
	}
	var e ending
	if !next.IsZero() && !latest {
		e.note = fmt.Sprintf("only the newest %d rows", f.Limit)
	}
	return e, array(w, rows)
}

// capture sends frames as they come, for some seconds, or as many as it may.
func capture(ctx context.Context, a *Agent, args []string, w io.Writer) (ending, error) {
	most := int(a.config.Capture.MaxTime / time.Second)
	seconds, err := strconv.Atoi(args[1])
	if err != nil || seconds < 1 || seconds > most {
		return ending{}, fmt.Errorf("%q seconds: want 1 to %d", args[1], most)
	}
	short, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	err = a.sources.Capturer.Capture(short, args[0], w)
	switch {
	case errors.Is(err, errTooMuch):
		return ending{note: fmt.Sprintf("the capture ended before its time: %v", err)}, nil
	case err == nil:
		err = context.Cause(ctx) // it was ended from outside
	}
	return ending{}, err
}
