package mdns

import "time"

// alarm is a time at which something is due, and the place in the heap of who
// waits for it. It is embedded in what waits.
type alarm struct {
	at    time.Time
	index int // in the heap, from 1; 0 when not in it
}

func (a *alarm) self() *alarm { return a }

// alarms is a binary heap of alarms, the earliest first. An owner that becomes
// due later than its alarm need not move: it is found not to be due when the
// alarm goes off, and set again. That makes refreshing a record free.
type alarms[T interface{ self() *alarm }] []T

// next returns the earliest alarm, the zero time if there is none.
func (h alarms[T]) next() time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	return h[0].self().at
}

// set puts v in, or moves it, so that it goes off at the time at.
func (h *alarms[T]) set(v T, at time.Time) {
	a := v.self()
	if a.index == 0 {
		*h = append(*h, v)
		a.index, a.at = len(*h), at
		h.up(len(*h) - 1)
		return
	}
	old := a.at
	a.at = at
	if at.Before(old) {
		h.up(a.index - 1)
	} else {
		h.down(a.index - 1)
	}
}

// clear takes v out, if it is in.
func (h *alarms[T]) clear(v T) {
	a := v.self()
	if a.index == 0 {
		return
	}
	i, last := a.index-1, len(*h)-1
	s := *h
	if i != last {
		s[i] = s[last]
		s[i].self().index = i + 1
	}
	var none T
	s[last] = none
	*h = s[:last]
	a.index = 0
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h alarms[T]) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !h[i].self().at.Before(h[p].self().at) {
			return
		}
		h.swap(i, p)
		i = p
	}
}

func (h alarms[T]) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].self().at.Before(h[c].self().at) {
			c++
		}
		if !h[c].self().at.Before(h[i].self().at) {
			return
		}
		h.swap(i, c)
		i = c
	}
}

func (h alarms[T]) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].self().index, h[j].self().index = i+1, j+1
}
