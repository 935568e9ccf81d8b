package unicast

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// reconfirmGap is how old an answer must be to be doubted, and how long ago it was
// last asked for in vain.
const reconfirmGap = 2 * time.Second

// reconfirm has a record asked for again that failed somebody, and what it leads
// to: from PTR over SRV and TXT to the addresses. What the servers no longer have
// is gone then; while they are silent it is kept.
func (c *cache) reconfirm(now time.Time, rr dnswire.RR) {
	name := rr.Name.Fold()
	c.doubt(now, key{name, rr.Type})
	if to, ok := rr.PTR(); ok {
		name = to.Fold()
		c.doubt(now, key{name, dnswire.TypeTXT})
	}
	if rr.Type != dnswire.TypePTR && rr.Type != dnswire.TypeSRV {
		return
	}
	for _, record := range c.doubt(now, key{name, dnswire.TypeSRV}) {
		if srv, ok := record.SRV(); ok {
			c.doubt(now, key{srv.Target.Fold(), dnswire.TypeA})
			c.doubt(now, key{srv.Target.Fold(), dnswire.TypeAAAA})
		}
	}
}

// alongWait is how long to wait for what may come along with another answer.
const alongWait = time.Second

// doubt has a question asked again now, or forgets the answer if nobody wants it.
// What came along may come along again with what it came with, which is asked
// for now. It returns what was known.
func (c *cache) doubt(now time.Time, k key) []dnswire.RR {
	e := c.entries[k]
	if e == nil || !e.known || e.flying {
		return nil
	}
	records := e.records
	switch {
	case now.Sub(e.heard) < reconfirmGap, now.Sub(e.landed) < reconfirmGap:
	case len(e.users) == 0:
		c.drop(e)
	case e.origin != direct:
		e.next = now.Add(alongWait)
		c.fix(e)
	default:
		e.next = now
		c.fix(e)
	}
	return records
}

// requeryGap is the least time between an answer, or a failure, and the same question.
const requeryGap = time.Second

// requery has a question asked again now, if somebody wants the answer.
func (c *cache) requery(now time.Time, q mdns.Question) {
	e := c.entries[key{q.Name.Fold(), q.Type}]
	if e == nil || len(e.users) == 0 || e.flying {
		return
	}
	// It may stand in line behind others that are tried again.
	e.ready, e.urgent = false, true
	if at := e.landed.Add(requeryGap); at.After(now) {
		now = at
	}
	if e.next.IsZero() || now.Before(e.next) {
		e.next = now
	}
	c.fix(e)
}
