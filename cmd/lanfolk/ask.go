package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
)

// withMulticast runs ask with an mDNS engine of its own on the named
// interfaces, every usable one if none is named.
func (a app) withMulticast(ctx context.Context, interfaces []string, ask func(context.Context, dnssd.Source) error) error {
	links, err := lan.Links()
	if err != nil {
		return err
	}
	selection := sockets.Selection{Names: interfaces}
	chosen, err := selection.Choose(links)
	if err != nil {
		return usage{err}
	}
	if len(chosen) == 0 {
		return errors.New("no usable interface: none is up with an address and multicast; name one with -i")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	engine := sockets.Engine(selection, 0, a.logger(slog.LevelWarn, config.FormatAuto))
	ended := make(chan error, 1)
	go func() {
		err := engine.Run(ctx)
		cancel()
		ended <- err
	}()
	err = ask(ctx, dnssd.Multicast(engine))
	cancel()
	return errors.Join(<-ended, err)
}

// lookupError gives the outcomes of a look-up their exit codes.
func lookupError(what string, err error) error {
	switch {
	case errors.Is(err, dnssd.ErrNone):
		return outcome{what + ": its owner says that there is none", errNotFound}
	case errors.Is(err, dnssd.ErrTimeout):
		return outcome{what + ": nobody answered", errNoAnswer}
	}
	return err
}

// outcome is an error with words for people and a kind for the exit code.
type outcome struct {
	words string
	kind  error
}

func (o outcome) Error() string { return o.words }
func (o outcome) Unwrap() error { return o.kind }
