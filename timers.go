package lanfolk

// timer says when to look at a fact or device again. A fact has one that
// counts, the one at its due time; a refresh moves the fact's end and leaves
// the timer as it is, so that it costs nothing until the timer runs out.
type timer struct {
	at int64
	f  *fact
	d  *device
}

// timers is a heap, the earliest first.
type timers []timer

func (h *timers) push(t timer) {
	*h = append(*h, t)
	s := *h
	for n := len(s) - 1; n > 0; {
		up := (n - 1) / 4
		if s[up].at <= s[n].at {
			break
		}
		s[up], s[n] = s[n], s[up]
		n = up
	}
}

func (h *timers) pop() timer {
	s := *h
	top := s[0]
	last := len(s) - 1
	s[0], s[last] = s[last], timer{}
	*h = s[:last]
	h.sink(0)
	return top
}

// sink moves the timer at n down to its place. Four children a node keep the
// heap shallow.
func (h timers) sink(n int) {
	for {
		least := n
		for k := 4*n + 1; k <= 4*n+4 && k < len(h); k++ {
			if h[k].at < h[least].at {
				least = k
			}
		}
		if least == n {
			return
		}
		h[n], h[least] = h[least], h[n]
		n = least
	}
}

// setTimer makes the fact's timer run out no later than at its end.
func (c *core) setTimer(f *fact) {
	f.due = f.ends
	c.pushTimer(timer{at: f.due, f: f})
}

// pushTimer adds a timer. Timers that no longer count are cleared out when
// they outnumber the others, so that nobody can fill the heap with them.
func (c *core) pushTimer(t timer) {
	c.timers.push(t)
	if len(c.timers) < 1024 || len(c.timers) < 2*(c.facts.used+len(c.devices)) {
		return
	}
	kept := c.timers[:0]
	for _, t := range c.timers {
		if t.counts() {
			kept = append(kept, t)
		}
	}
	clear(c.timers[len(kept):])
	c.timers = kept
	for n := len(kept) / 4; n >= 0; n-- {
		kept.sink(n)
	}
}

func (t timer) counts() bool {
	if t.f != nil {
		return !t.f.dead && t.f.due == t.at
	}
	return t.d.due == t.at && !t.d.forgotten
}

// runTimers ends what has run out.
func (c *core) runTimers() {
	for len(c.timers) > 0 && c.timers[0].at <= c.now {
		t := c.timers.pop()
		switch {
		case !t.counts():
		case t.f != nil:
			c.ring(t.f)
		default:
			c.ringDevice(t.d)
		}
	}
}

// ring looks at a fact of which the timer ran out.
func (c *core) ring(f *fact) {
	end := f.ends
	if f.ended {
		end += int64(c.serviceRetention)
	}
	switch {
	case end > f.due: // refreshed since. Even if it's over by now: what ends in one step ends in order
		f.due = end
		c.pushTimer(timer{at: end, f: f})
	case f.live() && f.service() && f.dev != nil && c.serviceRetention > 0:
		c.stats.Expired++
		c.remember(f.dev)
		c.keepSignals(f)
		c.leave(f)
		f.ended, f.view = true, nil
		f.dev.nlive--
		c.noteEmpty(f.dev)
		c.touch(f.dev)
		f.due = f.ends + int64(c.serviceRetention)
		if f.due <= c.now {
			c.drop(f)
			return
		}
		c.unsavedFact(f)
		c.pushTimer(timer{at: f.due, f: f})
	default:
		if f.live() {
			c.stats.Expired++
		}
		c.drop(f)
	}
}

// ringDevice forgets a device that nobody named and nothing spoke of for the
// whole retention.
func (c *core) ringDevice(d *device) {
	if d.nlive > 0 || d.into != nil || d.named() {
		d.due = 0
		return
	}
	if end := d.last + int64(c.retention); end > c.now {
		d.due = end
		c.pushTimer(timer{at: end, d: d})
		return
	}
	c.forget(d)
}
