package source

import (
	"context"
	"crypto/tls"
	"iter"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/nmos"
)

// WatchSelection keeps a choice and yields what changes until ctx ends. It begins
// anew when the machine gets other DNS servers or domains to search. The last pair may
// hold an error: not for ctx's end.
func (n NMOS) WatchSelection(ctx context.Context, r find.SelectRequest) iter.Seq2[find.SelectionChange, error] {
	return func(yield func(find.SelectionChange, error) bool) {
		w := watch{NMOS: n, request: r, yield: yield}
		for ctx.Err() == nil && !w.enough {
			if err := w.run(ctx); err != nil {
				yield(find.SelectionChange{}, err)
				return
			}
		}
	}
}

// watch is one call of WatchSelection.
type watch struct {
	NMOS
	request find.SelectRequest
	yield   func(find.SelectionChange, error) bool
	enough  bool // yield returned false
	last    *nmos.State
	told    time.Time
}

// run yields what changes until ctx ends, the reader has enough, or the machine has moved.
func (w *watch) run(ctx context.Context) error {
	c, without, err := w.client(w.request)
	if err != nil {
		return err
	}
	if err := w.probe(c, w.request); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	states := c.Changes(ctx) // of all from the first on
	running.Go(func() {
		defer stop()
		err = c.Run(ctx)
	})
	if w.Moved != nil && w.depends(c) {
		running.Go(func() {
			defer stop()
			w.Moved(ctx)
		})
	}
	w.tell(ctx, stop, states, without)
	running.Wait()
	return err
}

// updatesEvery is how often it is told that the others changed: on a large or hostile
// network they never stop.
const updatesEvery = 200 * time.Millisecond

// tell yields what changes in the states until they end, or the reader has
// enough. Then it calls stop, which ends ctx and with it the states.
func (w *watch) tell(ctx context.Context, stop func(), states iter.Seq[nmos.State], without missing) {
	complete := make(chan *nmos.State)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	reading.Go(func() {
		defer close(complete)
		for st := range states {
			if !st.Complete {
				continue
			}
			select {
			case complete <- &st:
			case <-ctx.Done():
				return
			}
		}
	})
	var held *nmos.State // an update that waits
	var due <-chan time.Time
	for {
		st := held
		select {
		case next, more := <-complete:
			if !more {
				return
			}
			st = next
			if since := time.Since(w.told); changed(w.last, st) == find.SelectionUpdate && since < updatesEvery {
				if held == nil {
					due = time.After(updatesEvery - since)
				}
				held = st
				continue
			}
		case <-due:
		}
		held, due = nil, nil
		ch := find.SelectionChange{Event: changed(w.last, st), Time: st.Time.UTC(), Selection: selection(st, without)}
		w.last, w.told = st, time.Now()
		if w.enough = !w.yield(ch, nil); w.enough {
			return
		}
	}
}

// depends says whether it makes a difference which servers and domains are the machine's.
func (w *watch) depends(c *nmos.Client) bool {
	return c.Location == "" && c.Mode != nmos.MulticastOnly && (len(w.request.Domains) == 0 || len(w.request.Servers) == 0)
}

// probe lets the client try what it chooses.
func (n NMOS) probe(c *nmos.Client, r find.SelectRequest) error {
	roots, err := readCA(r.CA)
	if err != nil {
		return err
	}
	p := nmos.Probe{DialContext: n.Dial, Timeout: r.Timeout}
	if roots != nil {
		p.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if c.CheckEvery <= 0 {
		c.CheckEvery = DefaultCheckEvery
	}
	c.Check = p.Check
	return nil
}

// changed says what happened between two states, of which the first may be nil.
func changed(was, now *nmos.State) string {
	switch {
	case now.Selected == nil && (was == nil || was.Selected != nil):
		return find.SelectionNone
	case now.Selected != nil && (was == nil || was.Selected == nil || !was.Since.Equal(now.Since)):
		return find.SelectionMade
	}
	return find.SelectionUpdate
}
