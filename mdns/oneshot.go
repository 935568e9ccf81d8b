package mdns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
)

// ErrNoAnswer is returned by OneShot when nobody answered.
var ErrNoAnswer = errors.New("mdns: nobody answered")

// OneShot asks by a one-shot query (RFC 6762 §5.1): from conn, which must not
// be on port 5353, to the group, so that the answer comes back to conn alone.
// It asks again after 1, 3 and 7 seconds and returns the answer and additional
// records of the first response that answers one of the questions. It ends
// when ctx does, with ErrNoAnswer if ctx had a deadline. It closes conn.
//
// Other answers, changes and caching are for an Engine.
func OneShot(ctx context.Context, conn Conn, group netip.AddrPort, questions ...Question) ([]dnswire.RR, error) {
	defer conn.Close() // nothing is left to lose
	id := uint16(1 + rand.N(0xffff))
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{ID: id}, minMTU-IPv6.headers())
	for _, q := range questions {
		if !b.Question(q.Name, q.Type, dnswire.ClassIN, false) {
			return nil, errors.New("mdns: one-shot query: too many questions, or a bad name")
		}
	}
	type result struct {
		rrs []dnswire.RR
		err error
	}
	got := make(chan result, 1)
	go func() {
		rrs, err := firstAnswer(conn, id, questions)
		got <- result{rrs, err}
	}()
	defer func() {
		conn.Close() // ends the goroutine, if it still reads
		<-got
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for gap := firstGap; ; {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, ErrNoAnswer
			}
			return nil, ctx.Err()
		case r := <-got:
			got <- r // for the deferred wait
			return r.rrs, r.err
		case <-timer.C:
			if gap <= 8*firstGap {
				if _, err := conn.WriteBatch([]packet.Datagram{{Data: b.Bytes(), Dst: group}}); err != nil {
					return nil, err
				}
				timer.Reset(gap)
				gap *= 2
			}
		}
	}
}

// firstAnswer reads until a response answers one of the questions.
func firstAnswer(conn Conn, id uint16, questions []Question) ([]dnswire.RR, error) {
	var grams [8]packet.Datagram
	for {
		n, err := conn.ReadBatch(grams[:])
		if err != nil {
			return nil, err
		}
		for _, g := range grams[:n] {
			m, err := dnswire.Parse(g.Data)
			if err != nil || !m.Response || m.ID != id || m.Opcode != 0 || m.Rcode != 0 || g.Src.Port() != Port {
				continue
			}
			if rrs := answering(&m, questions); rrs != nil {
				return rrs, nil
			}
		}
	}
}

func answering(m *dnswire.Message, questions []Question) []dnswire.RR {
	var out []dnswire.RR
	answered := false
	for r := range m.Records() {
		if r.Section == dnswire.Authority || r.Type == dnswire.TypeOPT {
			continue
		}
		for _, q := range questions {
			if r.Section == dnswire.Answer && (r.Type == q.Type || q.Type == dnswire.TypeANY) && r.Name.Equal(q.Name) {
				answered = true
			}
		}
		out = append(out, r.RR())
	}
	if !answered {
		return nil
	}
	return out
}
