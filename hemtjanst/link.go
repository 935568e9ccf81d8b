package hemtjanst

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"
)

// How long to wait before a broker is tried again: at random up to a time that doubles, so that after
// a broker's restart not all come at once.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
	// stable is how long a connection must hold before the waits begin anew. It keeps two clients with
	// one client id from taking the session from each other all the time.
	stable = 10 * time.Second
	// farewell is how long leaving may take.
	farewell = 5 * time.Second
	// connecting is how long one attempt may take.
	connecting = 20 * time.Second
)

// Status is how a role is connected.
type Status struct {
	Connected bool
	Since     time.Time // when that began
	Connects  uint64    // how often the broker accepted a connection
	TakenOver uint64    // how often another client with the same client id took it over
	Refused   uint64    // messages that the broker didn't take, as far as it says so
	Err       error     // why the last attempt failed or the last connection ended
}

// status is a Status that goroutines share.
type status struct {
	mu sync.Mutex
	s  Status
}

func (s *status) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

func (s *status) change(f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.s)
}

// link keeps a role connected to its broker.
type link struct {
	broker  Transport
	session func() Session // of the next connection
	status  *status
	log     *slog.Logger
}

// run connects and calls serve, and does so again when the connection is lost, until ctx is done.
// serve returns why it ended; it ends soon after ctx or the connection does. A broker that
// refuses the very first connection is an error, and so is an address that is none.
func (l *link) run(ctx context.Context, serve func(context.Context, Conn) error) error {
	defer l.status.change(func(s *Status) { s.Connected = false })
	said := ""
	hungUp := 0 // connections in a row that the broker ended soon, without a reason
	for attempt := 0; ; attempt++ {
		began := time.Now()
		accepted, err := l.once(ctx, serve)
		if ctx.Err() != nil {
			if accepted && err != nil {
				l.log.Warn("left the MQTT broker without a farewell", "err", err)
			}
			return nil
		}
		if (errors.Is(err, ErrDenied) || errors.Is(err, ErrBroker)) && l.status.get().Connects == 0 {
			return err
		}
		switch {
		case accepted && time.Since(began) >= stable:
			attempt, hungUp = 0, 0
		case accepted && errors.Is(err, io.EOF):
			// Most brokers don't say why (by 3.1.1 they can't). When they come up again or go down
			// it happens once.
			if hungUp++; hungUp >= 3 {
				err = fmt.Errorf("%w, presumably: the broker ended %d connections soon after they began", ErrTakenOver, hungUp)
			}
		}
		wait := backoff(attempt)
		takenOver := errors.Is(err, ErrTakenOver)
		if takenOver {
			wait = lastRetry/2 + mathrand.N(lastRetry/2)
		}
		l.status.change(func(s *Status) {
			s.Err = err
			if s.Connected {
				s.Connected, s.Since = false, time.Now()
			}
			if takenOver {
				s.TakenOver++
			}
		})
		if now := withoutNumbers(err.Error()); accepted || said != now {
			said = now
			l.log.Warn("MQTT broker lost or not reached, tries again", "err", err, "dur", wait.Round(time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (l *link) once(ctx context.Context, serve func(context.Context, Conn) error) (accepted bool, err error) {
	s := l.session()
	var once sync.Once // for each connection; the rest is counted
	s.Refused = func(topic string, err error) {
		l.status.change(func(s *Status) { s.Refused++ })
		once.Do(func() { l.log.Warn("MQTT broker refuses a message", "topic", topic, "err", err) })
	}
	attempt, cancel := context.WithTimeout(ctx, connecting)
	conn, err := l.broker.Connect(attempt, s)
	cancel()
	if err != nil {
		return false, fmt.Errorf("hemtjanst: connect: %w", err)
	}
	defer func() { _ = conn.Close() }() // serve has said farewell, or there is nobody to hear it
	l.status.change(func(s *Status) {
		s.Connected, s.Since, s.Err = true, time.Now(), nil
		s.Connects++
	})
	l.log.Info("connected to MQTT broker", "id", s.ClientID)
	err = serve(ctx, conn)
	if ctx.Err() != nil {
		return true, err
	}
	select {
	case <-conn.Done():
		err = fmt.Errorf("hemtjanst: connection lost: %w", orClosed(conn.Err()))
	default:
	}
	return true, orClosed(err)
}

// withoutNumbers takes from an error what differs each time, as a port or the time of day.
func withoutNumbers(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

var errClosed = errors.New("hemtjanst: the connection was closed")

func orClosed(err error) error {
	if err == nil {
		return errClosed
	}
	return err
}

// backoff returns how long to wait after so many attempts.
func backoff(attempt int) time.Duration {
	most := lastRetry
	if attempt < 7 {
		most = firstRetry << attempt
	}
	return mathrand.N(most)
}

// randomID returns a client id that no other client has, of a length that every broker takes.
func randomID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // it never fails
	return "lf" + hex.EncodeToString(b[:])
}

func silentIfNil(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
