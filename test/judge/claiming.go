package judge

import (
	"slices"
	"time"

	"github.com/miekg/dns"
)

const (
	probeGap = 250 * time.Millisecond
	probes   = 3
)

// proposes returns what a probe proposes for a name, sorted.
func proposes(m *Message, name string) []string {
	var keys []string
	for _, r := range m.Records {
		if r.Name == name {
			keys = append(keys, r.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

// same says whether two probes propose the same for a name. If not, the series
// has begun anew.
func same(a, b *Message, name string) bool {
	return slices.Equal(proposes(a, name), proposes(b, name))
}

// within says whether all that a probe proposes for a name was proposed by one
// before: what it proposes no more takes nothing from what was probed.
func within(a, b *Message, name string) bool {
	before := proposes(a, name)
	return !slices.ContainsFunc(proposes(b, name), func(key string) bool { return !slices.Contains(before, key) })
}

// run is a series of probes for one name.
type run struct {
	probes []*Message
}

func (r *run) last() time.Time { return r.probes[len(r.probes)-1].Time }

// probeContent: a probe asks for any type of its names, for unicast answers,
// and lists all records that it means to have, without the flush bit.
func probeContent(b *bench) {
	for _, m := range b.own {
		if !m.Probe() {
			continue
		}
		names := map[string]bool{}
		for _, q := range m.Questions {
			names[q.Name] = false
			if q.Type != dns.TypeANY || q.Class != dns.ClassINET {
				b.fault(m, "asks for %s of %s", dns.TypeToString[q.Type], q.Name)
			}
			if !q.Unicast {
				b.fault(m, "no unicast answer is asked for")
			}
		}
		for _, r := range m.Records {
			_, asked := names[r.Name]
			switch {
			case r.Section != Authority:
				b.fault(m, "%s stands in another section", r.Key)
			case !asked:
				b.fault(m, "%s is proposed and not asked for", r.Key)
			case r.Flush:
				b.fault(m, "%s has the flush bit", r.Key)
			case r.TTL == 0:
				b.fault(m, "%s has TTL 0", r.Key)
			}
			names[r.Name] = true
		}
		for name, proposed := range names {
			if !proposed {
				b.fault(m, "nothing is proposed for %s", name)
			}
		}
	}
}

// eachClaim calls f for each first response with unique records of a name after
// probes for it: with the probes, nil if there were none.
func (b *bench) eachClaim(f func(m *Message, name string, r *run)) {
	runs := map[string]*run{}
	claimed := map[string]time.Time{}
	for _, m := range b.own {
		if m.Probe() {
			for _, q := range m.Questions {
				key := m.family() + q.Name
				delete(claimed, key)
				r := runs[key]
				// One that lost a tie waits a second and begins anew; on a busy machine
				// any probe may come as late.
				if r == nil || !b.busy(m) && m.Time.Sub(r.last()) >= time.Second-b.early(r.probes[len(r.probes)-1]) || between(b.Starts, r.last(), m.Time) || !within(r.probes[0], m, q.Name) {
					r = &run{}
					runs[key] = r
				}
				r.probes = append(r.probes, m)
			}
		}
		if !m.Response() {
			continue
		}
		for _, r := range m.Records {
			key := m.family() + r.Name
			if r.Shared() || reverse(r.Name) || r.TTL == 0 || r.Type == dns.TypeNSEC {
				continue
			}
			if at, ok := claimed[key]; ok && !between(b.Starts, at, m.Time) {
				continue
			}
			x := runs[key]
			if x != nil && between(b.Starts, x.probes[0].Time, m.Time) {
				x = nil // of a life before
			}
			f(m, r.Name, x)
			claimed[key] = m.Time
		}
	}
}

// probeSpacing: probes are 250 ms apart, and so is the answer that follows them.
func probeSpacing(b *bench) {
	last := map[string]*Message{}
	for _, m := range b.own {
		if !m.Probe() {
			continue
		}
		for _, q := range m.Questions {
			key := m.family() + q.Name
			if l := last[key]; l != nil && !between(b.Starts, l.Time, m.Time) && same(l, m, q.Name) {
				gap := m.Time.Sub(l.Time)
				if gap < probeGap-b.early(l) || gap > probeGap+20*time.Millisecond+b.Late && gap < time.Second-b.early(l) && !between(b.anew(), l.Time, m.Time) {
					b.fault(m, "%s probed again after %v", key, gap)
				}
			}
			last[key] = m
		}
	}
	b.eachClaim(func(m *Message, name string, r *run) {
		if r == nil {
			return // probeFirst says so
		}
		if len(r.probes) < probes {
			b.fault(m, "%s is claimed after %d probes", name, len(r.probes))
		}
		if gap := m.Time.Sub(r.last()); gap < probeGap-b.early(r.probes[len(r.probes)-1]) {
			b.fault(m, "%s is claimed %v after the last probe", name, gap)
		}
	})
}

// probeFirst: what is unique is probed before it is claimed, with all its data.
func probeFirst(b *bench) {
	if !b.Whole {
		return
	}
	b.eachClaim(func(m *Message, name string, r *run) {
		if r == nil {
			b.fault(m, "%s is claimed without probing", name)
			return
		}
		for _, rec := range m.Records {
			if rec.Name != name || rec.Shared() || rec.Type == dns.TypeNSEC || m.Time.Sub(r.last()) > time.Second {
				continue
			}
			for i, p := range r.probes {
				if !slices.ContainsFunc(p.Records, func(x Record) bool { return x.Key == rec.Key }) {
					b.fault(p, "probe %d of %s doesn't propose %s", i+1, name, rec.Key)
				}
			}
		}
	})
}

// announcedTwice: a record that is there for the first time is multicast again
// a second later, not sooner, and at most three seconds later.
func announcedTwice(b *bench) {
	if !b.Whole {
		return
	}
	type life struct {
		first *Message
		done  bool
	}
	lives := map[string]*life{}
	end := b.Messages[len(b.Messages)-1].Time
	const latest = 3 * time.Second
	judge := func(key string, l *life, until time.Time) {
		if !l.done && until.Sub(l.first.Time) > latest+b.Late {
			b.fault(l.first, "%s isn't announced again", key)
		}
		l.done = true
	}
	over := func(m *Message) bool {
		return between(b.Starts, m.Time, m.Time.Add(latest+b.Late)) || between(b.Ends, m.Time, m.Time.Add(latest+b.Late))
	}
	for _, m := range b.own {
		if m.Probe() {
			// Back to probing: what was claimed is so no more.
			for key, l := range lives {
				for _, q := range m.Questions {
					if l.first.family() == m.family() && hasName(key, m.family()+q.Name) {
						judge(key, l, m.Time)
						delete(lives, key)
					}
				}
			}
		}
		if !m.Response() || !m.Multicast() {
			continue
		}
		for _, r := range m.Records {
			key := m.family() + r.Key
			l := lives[key]
			switch {
			case r.Type == dns.TypeNSEC:
			case r.TTL == 0:
				delete(lives, key)
			case l == nil || between(b.Starts, l.first.Time, m.Time):
				lives[key] = &life{first: m, done: over(m)}
			case !l.done && m.Time.Sub(l.first.Time) >= time.Second-b.early(l.first):
				judge(key, l, m.Time)
			}
			if !r.Flush || r.TTL == 0 {
				continue
			}
			// What it replaces has no second time to come.
			for k, l := range lives {
				if k != key && !l.done && l.first.family() == m.family() && hasName(k, m.family()+r.Name+" "+dns.TypeToString[r.Type]) &&
					!slices.ContainsFunc(m.Records, func(x Record) bool { return m.family()+x.Key == k }) {
					delete(lives, k)
				}
			}
		}
	}
	for key, l := range lives {
		if b.Stopped.IsZero() || end.Before(b.Stopped) {
			judge(key, l, end)
		} else {
			judge(key, l, b.Stopped)
		}
	}
}

// hasName says whether a key begins with the words of name.
func hasName(key, name string) bool {
	return len(key) > len(name) && key[:len(name)] == name && key[len(name)] == ' '
}
