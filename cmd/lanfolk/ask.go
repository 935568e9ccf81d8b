package main

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/node"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
)

// asking is a command that asks the network: through a running node, for two
// engines on one host would take answers from each other, or alone.
type asking struct {
	app
	node       nodeFlags
	interfaces *[]string
	direct     bool
	domain     domainFlags // of the commands that ask by DNS-SD alone
}

func (x *asking) flags(cmd *cobra.Command) {
	x.node.flags(cmd)
	x.interfaces = interfaceFlag(cmd)
	cmd.Flags().BoolVar(&x.direct, "direct", false, "ask with own sockets, even beside a running node")
}

// ask asks through the node, or alone where there is none.
func (x *asking) ask(ctx context.Context, through func(*client.Client) error, alone func(context.Context, dnssd.Source) error) error {
	if done, err := x.askNode(ctx, through); done {
		return err
	}
	return x.withMulticast(ctx, *x.interfaces, alone)
}

// askNode asks through the node. It isn't done where there is none, or where the
// command is to use its own sockets.
func (x *asking) askNode(ctx context.Context, through func(*client.Client) error) (done bool, err error) {
	// Interfaces are the command's own: the node uses those that it was given.
	if x.direct || len(*x.interfaces) > 0 {
		return false, nil
	}
	c, err := x.node.client()
	if err != nil {
		return true, err
	}
	defer c.Close()
	named := x.node.api != "" || x.node.state != "" || x.node.hub
	if !named && elsewhere(ctx, c) {
		return false, nil
	}
	err = through(c)
	// A node that wasn't named, and that isn't there or isn't for this user,
	// keeps nobody from asking.
	return named || !errors.Is(err, client.ErrNobodyListens) && !errors.Is(err, client.ErrDenied), err
}

// elsewhere says whether a node that was found by its socket lives in another
// network namespace: it would answer for another network than this one.
func elsewhere(ctx context.Context, c *client.Client) bool {
	var s node.Status
	if err := c.Status(ctx, &s); err != nil {
		return false // asking will tell
	}
	here := daemon.Network()
	return s.Network != "" && here != "" && s.Network != here
}

// asker asks by DNS-SD alone: through a node or with own sockets.
type asker interface {
	Browse(ctx context.Context, r find.BrowseRequest) iter.Seq2[find.Instance, error]
	Resolve(ctx context.Context, name, serviceType string, timeout time.Duration) ([]find.Instance, error)
	Reconfirm(ctx context.Context, name, serviceType string) ([]find.Instance, error)
	Lookup(ctx context.Context, host string, timeout time.Duration) ([]find.HostAddress, error)
}

// askDNSSD hands do the node, or an engine of its own where there is none. Then
// do is called a second time; the first call has got nothing. A domain of unicast
// DNS needs neither.
func (x *asking) askDNSSD(ctx context.Context, do func(context.Context, asker) error) error {
	if unicast, err := x.domain.unicast(); err != nil {
		return err
	} else if unicast {
		return x.askDomain(ctx, &x.domain, do)
	}
	return x.ask(ctx,
		func(c *client.Client) error { return do(ctx, c) },
		func(ctx context.Context, src dnssd.Source) error {
			return do(ctx, source.DNSSD{Source: func() dnssd.Source { return src }})
		})
}

// withMulticast runs ask with an mDNS engine of its own; see withEngine.
func (a app) withMulticast(ctx context.Context, interfaces []string, ask func(context.Context, dnssd.Source) error) error {
	return a.withEngine(ctx, interfaces, func(ctx context.Context, e *mdns.Engine) error { return ask(ctx, dnssd.Multicast(e)) })
}

// withEngine runs do with an mDNS engine of its own on the named interfaces,
// every usable one if none is named. It returns when both have ended, the engine
// with its goodbyes.
func (a app) withEngine(ctx context.Context, interfaces []string, do func(context.Context, *mdns.Engine) error) error {
	engine, err := a.newEngine(interfaces)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := start(ctx, engine, cancel)
	err = do(ctx, engine)
	cancel()
	return errors.Join(<-ended, err)
}

// withLateEngine is withEngine for what may do without mDNS: the engine runs, and
// its sockets are opened, only when the source is asked. That it can't run fails
// the source alone, until it is asked again: an interface may come up later. One
// that doesn't exist is a mistake in any case.
func (a app) withLateEngine(ctx context.Context, interfaces []string, do func(context.Context, dnssd.Source) error) error {
	_, failure := a.newEngine(interfaces)
	if u := (usage{}); errors.As(failure, &u) {
		return failure
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // guards what follows
	var src dnssd.Source
	var ended <-chan error
	err := do(ctx, source.Late{Open: func() (dnssd.Source, error) {
		mu.Lock()
		defer mu.Unlock()
		if src != nil {
			return src, nil
		}
		engine, err := a.newEngine(interfaces)
		if err != nil {
			return nil, err
		}
		src, ended = dnssd.Multicast(engine), start(ctx, engine, cancel)
		return src, nil
	}})
	cancel()
	mu.Lock()
	defer mu.Unlock()
	if ended != nil {
		err = errors.Join(<-ended, err)
	}
	return err
}

func (a app) newEngine(interfaces []string) (*mdns.Engine, error) {
	links, err := lan.Links()
	if err != nil {
		return nil, err
	}
	selection := sockets.Selection{Names: interfaces}
	chosen, err := selection.Choose(links)
	if err != nil {
		return nil, usage{err}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no usable interface: none is up with an address and multicast; name one with -i")
	}
	return sockets.Engine(selection, 0, a.logger(slog.LevelWarn, config.FormatAuto)), nil
}

// start runs an engine; what it ends with comes after done was called.
func start(ctx context.Context, engine *mdns.Engine, done func()) <-chan error {
	ended := make(chan error, 1)
	go func() {
		err := engine.Run(ctx)
		done()
		ended <- err
	}()
	return ended
}

// found gives the outcomes of a search their exit codes.
func found(what string, err error) error {
	switch {
	case errors.Is(err, find.ErrNone), errors.Is(err, client.ErrNotFound):
		return outcome{what + ": somebody who must know says that there is none", errNotFound}
	case errors.Is(err, find.ErrNoAnswer), errors.Is(err, client.ErrNoAnswer):
		return outcome{what + ": nobody answered", errNoAnswer}
	}
	return err
}

// timeoutFlag adds --timeout; positive checks it.
func timeoutFlag(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", find.DefaultTimeout, "how long to wait for answers")
}

func positive(timeout time.Duration) error {
	if timeout <= 0 {
		return usagef("--timeout %v: want more than 0", timeout)
	}
	return nil
}

// outcome is an error with words for people and a kind for the exit code.
type outcome struct {
	words string
	kind  error
}

func (o outcome) Error() string { return o.words }
func (o outcome) Unwrap() error { return o.kind }
