package reflector

import "sync/atomic"

// pairKey names two links in one direction.
type pairKey struct{ from, to string }

// pair is the rules that are about services on one link as they are seen from another.
type pair struct {
	key   pairKey
	rules []*rule
	// open says that everything passes, shut that nothing does.
	open, shut bool
	// macs says that a rule asks for a device's hardware address.
	macs bool
	hits []hit // for each of rules, and at the end for what none fits
}

// hit counts what a rule decided.
type hit struct{ passed, stopped atomic.Uint64 }

// direction remembers the pairs of the two links that something went between last.
type direction struct {
	rules      *Rules
	epoch      uint32
	from, to   string
	pair, back *pair
}

// of returns the pairs for a direction and for the way back.
func (d *direction) of(r *Rules, from, to string) (pair, back *pair) {
	if epoch := r.epoch.Load(); d.rules != r || d.epoch != epoch || d.from != from || d.to != to {
		*d = direction{r, epoch, from, to, r.pair(from, to), r.pair(to, from)}
	}
	return d.pair, d.back
}

// maxPairs bounds the table of pairs.
const maxPairs = 4096

// pair returns the rules for one direction between two links.
func (r *Rules) pair(from, to string) *pair {
	k := pairKey{from, to}
	r.mu.RLock()
	p := r.pairs[k]
	r.mu.RUnlock()
	if p != nil {
		return p
	}
	p = r.newPair(k)
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.pairs[k]; old != nil {
		return old
	}
	if len(r.pairs) >= maxPairs {
		clear(r.pairs) // links with names that never come back
		r.epoch.Add(1)
	}
	r.pairs[k] = p
	return p
}

func (r *Rules) newPair(k pairKey) *pair {
	p := &pair{key: k, open: true}
	for _, x := range r.rules {
		if x.from != nil && anyOf(x.from, lower(k.from)) == no || x.to != nil && anyOf(x.to, lower(k.to)) == no {
			continue
		}
		p.rules = append(p.rules, x)
		if x.action == Deny {
			p.open = false
		}
		p.macs = p.macs || x.macs != nil
		if x.everything() {
			break // what follows is never reached
		}
	}
	if !p.open && len(p.rules) == 1 && p.rules[0].everything() {
		p.shut = true
	}
	p.hits = make([]hit, len(p.rules)+1)
	return p
}

// everything says whether the rule is about all that there is on its links.
func (r *rule) everything() bool {
	return r.types == nil && r.subtypes == nil && r.instances == nil && r.hosts == nil && r.macs == nil
}

// byDefault is the index of what no rule fits.
const byDefault = -1

// record says whether a record about the subject may cross, and which rule says
// so. What isn't known counts against it: a rule that may be meant to deny does.
func (p *pair) record(s *subject) (ok bool, by int) {
	for i, r := range p.rules {
		switch r.matches(s) {
		case yes:
			return r.action == Allow, i
		case maybe:
			if r.action == Deny {
				return false, i
			}
		}
	}
	return true, byDefault
}

// some says whether anything that fits the subject may cross, as far as rules
// can tell. It is for questions and for types as such, which are allowed if one
// of their services may be.
func (p *pair) some(s *subject) (ok bool, by int) {
	for i, r := range p.rules {
		switch a := r.matches(s); {
		case a == yes:
			return r.action == Allow, i
		case a == maybe && r.action == Allow:
			return true, i
		}
	}
	return true, byDefault
}
