package dnssd

// mergeKey is what makes services of several types one to a person: their name.
type mergeKey struct {
	link int
	name string // folded
}

// merged is a service under all the types that it has.
type merged struct {
	by   []*Service // a place for each type, nil where it has none
	told int        // the place of the type that it was told by
}

// best returns the place of the most preferred type, -1 if none is left.
func (m *merged) best() int {
	for i, s := range m.by {
		if s != nil {
			return i
		}
	}
	return -1
}

// merge returns a function that makes one service of those that have the same
// name and different types of one function, and hands its changes to yield
// (RFC 6763 §8). types are in order of preference.
func merge(types []string, yield func(Event) bool) func(Event) bool {
	place := make(map[string]int, len(types))
	for i, t := range types {
		if _, dup := place[foldString(t)]; !dup {
			place[foldString(t)] = i
		}
	}
	there := map[mergeKey]*merged{}
	return func(ev Event) bool {
		at, known := place[foldString(ev.Instance.Service)]
		if ev.Op == Settled || !known {
			return yield(ev)
		}
		k := mergeKey{ev.Link, foldString(ev.Name)}
		m := there[k]
		if m == nil {
			m = &merged{by: make([]*Service, len(types)), told: -1}
			there[k] = m
		}
		if ev.Op == Remove {
			m.by[at] = nil
		} else {
			m.by[at] = &ev.Service
		}
		before, best := m.told, m.best()
		m.told = best
		switch {
		case best < 0:
			delete(there, k)
			return yield(ev)
		case before < 0:
			return yield(Event{Add, *m.by[best]})
		case best != before || best == at:
			return yield(Event{Update, *m.by[best]})
		}
		return true // a type that is hidden behind a better one
	}
}
