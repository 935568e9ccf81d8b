package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
)

// tally gathers how commands ended: without an error if all went well, with the one
// code that all have, or with 1.
type tally struct {
	first  error
	code   int
	bad, n int
}

func (o *tally) add(err error) {
	o.n++
	code := exitDone
	if err != nil {
		o.bad++
		code = exitCode(err)
	}
	if o.first == nil {
		o.first = err
	}
	if o.n == 1 {
		o.code = code
	} else if o.code != code {
		o.code = exitError
	}
}

func (o *tally) err() error {
	switch {
	case o.bad == 0:
		return nil
	case o.n == 1:
		return o.first
	}
	return coded{fmt.Errorf("%d of %d gateways did not do it", o.bad, o.n), o.code}
}

// ended says how a command failed; nil if it didn't.
func ended(c wire.Command) error {
	why := c.Status
	if c.Error != "" {
		why += ": " + c.Error
	}
	err := fmt.Errorf("%s: %s", visible(called(c.Gateway, c.GatewayName)), visible(strings.ReplaceAll(why, "\n", "; ")))
	switch c.Status {
	case "ok":
		return nil
	case "denied":
		return coded{err, exitDenied}
	case "timeout":
		return coded{err, exitTimeout}
	case "offline":
		if c.Queue { // it waited for the gateway until its time was over
			return coded{err, exitTimeout}
		}
		err = fmt.Errorf("%w; --queue keeps a command for it", err)
	}
	return coded{err, exitError}
}

const (
	// fetchers fetch what many commands left at the same time.
	fetchers = 8
	// watchTries is how often the hub is tried again when it has gone, a second apart.
	watchTries = 60
)

// each prints the results of many commands as they end.
func (x *running) each(ctx context.Context, commands []wire.Command) error {
	var (
		lock sync.Mutex // of what is printed
		out  tally
		errs []error
	)
	names := distinct(commands)
	done := make(chan wire.Command, len(commands)) // it takes all of them
	var workers sync.WaitGroup
	for range fetchers {
		workers.Go(func() {
			for c := range done {
				c, err := x.fetch(ctx, c)
				lock.Lock()
				if err == nil {
					err = x.print(ctx, c, names[c.Gateway])
				}
				if err != nil {
					errs = append(errs, err)
				}
				out.add(ended(c))
				lock.Unlock()
			}
		})
	}
	err := x.await(ctx, commands, done)
	close(done)
	workers.Wait()
	if err != nil {
		return err
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return out.err()
}

// await hands on each command when it has ended.
func (x *running) await(ctx context.Context, commands []wire.Command, done chan<- wire.Command) error {
	pending := make(map[string]bool)
	w := client.WatchedCommands{}
	for _, c := range commands {
		switch {
		case !open(c):
			done <- c
			continue
		case w.From == "" || c.ID < w.From:
			w.From = c.ID
		}
		w.To = max(w.To, c.ID)
		pending[c.ID] = true
	}
	for tries := 0; len(pending) > 0; tries++ {
		for e, err := range x.client.WatchCommands(ctx, w) {
			switch {
			case errors.Is(err, client.ErrNotRunning) && tries < watchTries && ctx.Err() == nil:
			case err != nil:
				return x.goesOn(ctx, commands[0], err)
			case pending[e.ID] && !open(e.Command):
				delete(pending, e.ID)
				done <- e.Command
			default:
				tries = 0
			}
			if len(pending) == 0 {
				return nil
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// fetch adds a result's beginning to a command.
func (x *running) fetch(ctx context.Context, c wire.Command) (wire.Command, error) {
	if c.ID == "" || c.Size == 0 {
		return c, nil
	}
	whole, err := x.client.Command(ctx, c.ID)
	if err != nil {
		return c, err
	}
	return whole, nil
}

// print prints one result of many.
func (x *running) print(ctx context.Context, c wire.Command, name string) error {
	if !x.raw() {
		return commandPrinter(time.Now()).one(x.out, x.format, keyed(c))
	}
	safe := &safeWriter{w: x.out, prefix: visible(name) + ": "}
	var err error
	if int64(len(c.Output)) == c.Size {
		_, err = io.WriteString(safe, c.Output)
	} else {
		sum := newSummer(safe)
		var n int64
		if n, err = x.client.Output(ctx, c.ID, false, sum); err == nil {
			err = sum.check(c, n)
		}
	}
	if err := errors.Join(err, safe.end()); err != nil {
		return err
	}
	if bad := ended(c); bad != nil {
		fmt.Fprintf(x.err, "lanfolk: %v\n", bad)
	}
	return nil
}

// distinct returns what to call each gateway, by id: with the id where a name is
// several's.
func distinct(commands []wire.Command) map[string]string {
	have := make(map[string]int)
	for _, c := range commands {
		have[called(c.Gateway, c.GatewayName)]++
	}
	names := make(map[string]string, len(commands))
	for _, c := range commands {
		name := called(c.Gateway, c.GatewayName)
		if have[name] > 1 && name != c.Gateway {
			name += " (" + c.Gateway + ")"
		}
		names[c.Gateway] = name
	}
	return names
}

// summer passes bytes on and makes their hash.
type summer struct {
	io.Writer
	hash hash.Hash
}

func newSummer(w io.Writer) summer {
	h := sha256.New()
	return summer{io.MultiWriter(w, h), h}
}

var errMismatch = errors.New("what came isn't what the gateway sent")

// check says whether it was a command's whole result.
func (s summer) check(c wire.Command, n int64) error {
	sum := hex.EncodeToString(s.hash.Sum(nil))
	if open(c) || n == c.Size && (c.SHA256 == "" || strings.EqualFold(sum, c.SHA256)) {
		return nil
	}
	return fmt.Errorf("%w: %d of %d bytes with SHA-256 %s, want %s", errMismatch, n, c.Size, sum, c.SHA256)
}
