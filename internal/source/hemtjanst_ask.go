package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/find"
)

// AskMQTT looks for devices on a broker by their id or type.
type AskMQTT struct {
	*Hemtjanst
	// Watch watches the broker until ctx ends, for Hemtjanst; nil if something does all the time.
	Watch func(ctx context.Context, event func(hemtjanst.Event)) error
}

// Protocol implements find.Asker.
func (AskMQTT) Protocol() string { return ProtocolMQTT }

// errNoMQTT says that a broker can't be asked now.
var errNoMQTT = errors.New("the broker can't be heard")

// Ask implements find.Asker. It waits until all that is retained is known. That a broker knows
// no such device says nothing about other protocols.
func (a AskMQTT) Ask(ctx context.Context, q find.Query, emit func(lanfolk.Sighting)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	if a.Watch != nil {
		go func() {
			failed <- a.Watch(ctx, func(e hemtjanst.Event) { a.Event(time.Now(), e) })
			close(failed)
		}()
		defer func() {
			cancel()
			for range failed { // until it has ended
			}
		}()
	}
	for {
		p, changed := a.Picture()
		if p.Heard {
			break
		}
		if p.Err != nil {
			return fmt.Errorf("%w: %w", errNoMQTT, p.Err)
		}
		select {
		case <-changed:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	text := q.Text
	if q.ServiceType != "" {
		text = q.ServiceType
	}
	for _, s := range a.Find(time.Now(), text) {
		if a.Watch == nil || s.Kind == lanfolk.KindService || s.Kind == lanfolk.KindProvider {
			emit(s) // without an inventory a device has nothing that its service hasn't
		}
	}
	return nil
}
