package hostapd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Conn is a connection to a control socket: each Write sends a datagram, each Read
// gets one. Close ends a Read.
type Conn interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	SetWriteDeadline(time.Time) error
	Close() error
}

const (
	// patience is how long an answer may take.
	patience = 2 * time.Second
	// maxEvents wait while a command is answered; of more the stations are listed anew.
	maxEvents = 256
	// maxStations are told of an interface; Linux itself allows 2007 of an access point.
	maxStations = 4096
	// walks bounds how often a list is begun again because a station left while it was read.
	walks = 4
)

// errTimeout says that hostapd is there and doesn't answer.
var errTimeout = fmt.Errorf("hostapd: no answer within %v: %w", patience, os.ErrDeadlineExceeded)

// session speaks with one socket. Its commands are sent by one goroutine.
type session struct {
	conn    Conn
	answers chan string
	events  chan heard
	ended   chan struct{} // closed when nothing is read any more
	err     error         // why; set before ended is closed
	readers sync.WaitGroup
	missed  chan struct{} // holds one when events were dropped
}

type heard struct {
	event Event
	mac   [6]byte
}

func newSession(conn Conn) *session {
	s := &session{
		conn: conn, answers: make(chan string, 1), events: make(chan heard, maxEvents),
		ended: make(chan struct{}), missed: make(chan struct{}, 1),
	}
	s.readers.Go(s.read)
	return s
}

// close ends the session.
func (s *session) close() {
	_ = s.conn.Close() // what was sent is sent
	s.readers.Wait()
}

// read takes answers and events apart.
func (s *session) read() {
	defer close(s.ended)
	buf := make([]byte, maxAnswer)
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			s.err = err
			return
		}
		message := string(buf[:n])
		e, mac, ok := ParseEvent(message)
		switch {
		case !ok:
			select {
			case <-s.answers: // nobody took it: it came too late
			default:
			}
			s.answers <- message
		case e == Other:
		default:
			select {
			case s.events <- heard{e, mac}:
			default:
				select {
				case s.missed <- struct{}{}:
				default:
				}
			}
		}
	}
}

// ask sends a command and returns the answer.
func (s *session) ask(ctx context.Context, command string) (string, error) {
	select {
	case <-s.answers: // to a command that was given up
	default:
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return "", fmt.Errorf("hostapd: %w", err)
	}
	if _, err := s.conn.Write([]byte(command)); err != nil {
		return "", fmt.Errorf("hostapd: %w", err)
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case a := <-s.answers:
		return a, nil
	case <-s.ended:
		return "", fmt.Errorf("hostapd: %w", s.err)
	case <-timeout.C:
		return "", errTimeout
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// attach has events sent.
func (s *session) attach(ctx context.Context) error {
	a, err := s.ask(ctx, "ATTACH")
	if err == nil && strings.TrimSpace(a) != "OK" {
		err = fmt.Errorf("%w to tell events", errFail)
	}
	return err
}

// detach says that nobody listens any more. There is no waiting for an answer.
func (s *session) detach() {
	_ = s.conn.SetWriteDeadline(time.Now().Add(patience)) // then the write fails
	_, _ = s.conn.Write([]byte("DETACH"))                 // hostapd finds out by itself, too
}

// radio asks what the interface is.
func (s *session) radio(ctx context.Context, name string) (Radio, error) {
	a, err := s.ask(ctx, "STATUS")
	if err != nil {
		return Radio{}, err
	}
	return ParseStatus(a, name)
}

// station asks for one.
func (s *session) station(ctx context.Context, mac [6]byte) (Station, error) {
	a, err := s.ask(ctx, "STA "+macText(mac))
	if err != nil {
		return Station{}, err
	}
	return ParseStation(a)
}

// stations lists all. A station that leaves while the list is read breaks it off:
// then it is begun again.
func (s *session) stations(ctx context.Context) (list []Station, err error) {
	for range walks {
		list, err = s.walk(ctx)
		if !errors.Is(err, errFail) {
			return list, err
		}
	}
	return nil, err
}

func (s *session) walk(ctx context.Context) ([]Station, error) {
	var list []Station
	seen := map[[6]byte]bool{}
	command := "STA-FIRST"
	for {
		a, err := s.ask(ctx, command)
		if err != nil {
			return nil, err
		}
		st, err := ParseStation(a)
		switch {
		case errors.Is(err, ErrNone):
			return list, nil
		case err != nil:
			return nil, err
		case seen[st.MAC] || len(list) == maxStations:
			return nil, fmt.Errorf("hostapd: the list of stations has no end after %d", len(list))
		}
		seen[st.MAC] = true
		list = append(list, st)
		command = "STA-NEXT " + macText(st.MAC)
	}
}

func macText(m [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}
