package lanfolk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// perm returns the numbers below n in any order.
func perm(n int) []int { return rand.Perm(n) }

// check holds the core against the rule of join.go, computed from nothing but
// the live sightings in the plainest way, and against its own counters.
func (c *core) check(t interface {
	Helper()
	Fatalf(string, ...any)
}) {
	t.Helper()
	var live []*fact
	for n, f := range c.facts.items {
		if f == nil {
			continue
		}
		if f.slot != uint32(n) || f.dead {
			t.Fatalf("fact %s: slot %d at %d, dead %v", f.key(), f.slot, n, f.dead)
		}
		if f.live() {
			if want := c.modelLent(f); want != (f.veiled > 0) {
				t.Fatalf("fact %s: its address is a proxy's: %v, want %v", f.key(), f.veiled > 0, want)
			}
			if f.dev == nil || f.dev.into != nil || f.dev.forgotten {
				t.Fatalf("fact %s: live, but its device is %+v", f.key(), f.dev)
			}
			if len(f.ids) > 0 {
				live = append(live, f)
			}
		}
	}
	want := model(live)
	if got := partition(live, func(f *fact) any { return f.dev }); !slices.Equal(got, want) {
		t.Fatalf("devices:\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	for _, i := range c.idents.items {
		if i == nil {
			continue
		}
		var loose, n, refs int32
		devs := map[*device]bool{}
		i.each(func(f *fact) bool {
			if !f.live() || !has(f.ids, i) {
				t.Fatalf("%s: holder %s is not live or has it not", i.identifier(), f.key())
			}
			n++
			if f.loose {
				loose++
			}
			devs[f.dev] = true
			return true
		})
		for _, f := range c.facts.items {
			if f != nil && has(f.all(), i) {
				refs++
				if f.live() && has(f.ids, i) {
					n--
				}
			}
		}
		for _, d := range c.devices {
			if has(d.memory, i) {
				refs++
			}
		}
		if refs+i.muted != i.refs || n != 0 || loose != i.loose {
			t.Fatalf("%s: %d refs, want %d; %d loose, want %d; %d holders too many", i.identifier(), i.refs, refs+i.muted, i.loose, loose, n)
		}
		if i.dev != nil && (len(devs) != 1 || !devs[i.dev]) {
			t.Fatalf("%s: said to be of %s alone, held by %d devices", i.identifier(), i.dev.id, len(devs))
		}
		if i.kept != (i.owner != nil && has(i.owner.memory, i)) {
			t.Fatalf("%s: kept %v by %v", i.identifier(), i.kept, i.owner)
		}
		if i.kept && (i.owner.forgotten || i.owner.into != nil) {
			t.Fatalf("%s: owner %s is no device any more", i.identifier(), i.owner.id)
		}
	}
	for id, d := range c.devices {
		n := 0
		for p, f := range d.facts {
			if f.dev != d || f.dpos != uint32(p) {
				t.Fatalf("device %s: fact %s is misplaced", id, f.key())
			}
			if f.live() {
				n++
			}
		}
		if n != d.nlive || d.id != id || (d.into != nil && len(d.facts) > 0) {
			t.Fatalf("device %s: %d live facts counted, %d there", id, d.nlive, n)
		}
		if d.into == nil && c.order[d.order] != d {
			t.Fatalf("device %s is not in its place", id)
		}
		for _, a := range d.aliases {
			if a.into != d || c.devices[a.id] != a {
				t.Fatalf("device %s: alias %s belongs elsewhere", id, a.id)
			}
		}
	}
}

// partition returns the facts' keys by group, sorted.
func partition(facts []*fact, group func(*fact) any) []string {
	by := map[any][]string{}
	for _, f := range facts {
		by[group(f)] = append(by[group(f)], f.key())
	}
	var out []string
	for _, keys := range by {
		slices.Sort(keys)
		out = append(out, strings.Join(keys, " "))
	}
	slices.Sort(out)
	return out
}

// model computes the rule of join.go from scratch: repeated passes over all
// pairs, no index, nothing kept.
func model(facts []*fact) []string {
	joins := func(i *ident) bool {
		if i.muted > 0 || i.void {
			return false
		}
		n := 0
		for _, f := range facts {
			if has(f.ids, i) {
				n++
			}
		}
		return i.strong || n <= crowd
	}
	ok := map[*ident]bool{}
	for _, f := range facts {
		for _, i := range f.ids {
			if _, seen := ok[i]; !seen {
				ok[i] = joins(i)
			}
		}
	}
	// 1. Components by strong identifiers.
	comp := map[*fact]int{}
	for n, f := range facts {
		comp[f] = n
	}
	relabel := func(m map[*fact]int, from, to int) {
		for f, n := range m {
			if n == from {
				m[f] = to
			}
		}
	}
	bare := func(f *fact) bool {
		return !slices.ContainsFunc(f.ids, func(i *ident) bool { return ok[i] && i.strong && !i.claimed })
	}
	mates, home := modelMates(facts)
	for _, f := range facts {
		for _, g := range facts {
			same := slices.ContainsFunc(f.ids, func(i *ident) bool {
				return ok[i] && i.strong && has(g.ids, i) && (!i.claimed || bare(f) && bare(g) && home(i) != contested)
			})
			for _, m := range f.ids {
				for _, n := range g.ids {
					same = same || mates(m, n)
				}
			}
			if same && comp[f] != comp[g] {
				relabel(comp, comp[g], comp[f])
			}
		}
	}
	// The ids of those without a MAC lead to one of those with, or to several.
	homes := map[int][]string{}
	for _, f := range facts {
		for _, i := range f.ids {
			if !i.claimed || !ok[i] || !bare(f) {
				continue
			}
			if h := home(i); h != "" && h != contested && !slices.Contains(homes[comp[f]], h) {
				homes[comp[f]] = append(homes[comp[f]], h)
			}
		}
	}
	for n, h := range homes {
		if len(h) != 1 {
			continue
		}
		for _, g := range facts {
			if slices.ContainsFunc(g.ids, func(m *ident) bool { return m.identifier().String() == h[0] }) {
				relabel(comp, n, comp[g])
				break
			}
		}
	}
	anchored := map[int]bool{}
	for _, f := range facts {
		for _, i := range f.ids {
			if i.scope.kind == IDMAC && ok[i] {
				anchored[comp[f]] = true
			}
		}
	}
	// 2 to 4. Levels: label each loose component by what the level before knows.
	const none, conflict = -1, -2
	label := map[int]int{}
	for _, n := range comp {
		label[n] = none
		if anchored[n] {
			label[n] = n
		}
	}
	lead := map[*ident]int{}
	for done := false; !done; {
		done = true
		fresh := map[*ident]int{}
		for _, f := range facts {
			l := label[comp[f]]
			if l < 0 {
				continue
			}
			for _, i := range f.ids {
				if _, known := lead[i]; i.strong || !ok[i] || known {
					continue
				}
				if was, seen := fresh[i]; seen && was != l {
					fresh[i] = conflict
				} else if !seen {
					fresh[i] = l
				}
			}
		}
		told := map[int]int{}
		for _, f := range facts {
			n := comp[f]
			if label[n] != none {
				continue
			}
			for _, i := range f.ids {
				l, leads := fresh[i]
				if !leads || l == conflict {
					continue
				}
				if was, seen := told[n]; seen && was != l {
					told[n] = conflict
				} else if !seen {
					told[n] = l
				}
			}
		}
		for i, l := range fresh {
			lead[i] = l
			done = false
		}
		for n, l := range told {
			label[n] = l
		}
	}
	// 5. The rest among themselves.
	group := map[*fact]int{}
	rest := func(f *fact) bool { return label[comp[f]] < 0 }
	for _, f := range facts {
		group[f] = comp[f]
		if !rest(f) {
			group[f] = label[comp[f]]
		}
	}
	for _, f := range facts {
		for _, i := range f.ids {
			if i.strong || !ok[i] || !rest(f) {
				continue
			}
			hosts := map[*ident]bool{}
			for _, g := range facts {
				if rest(g) && has(g.ids, i) {
					for _, h := range g.ids {
						if h.scope.kind == IDHost {
							hosts[h] = true
						}
					}
				}
			}
			if i.scope.kind == IDIP && len(hosts) > maxNames {
				continue
			}
			for _, g := range facts {
				if rest(g) && has(g.ids, i) && group[f] != group[g] {
					relabel(group, group[g], group[f])
				}
			}
		}
	}
	return partition(facts, func(f *fact) any { return group[f] })
}

const contested = "contested"

// modelMates computes the rule of ties.go from scratch. mates says whether two
// identifiers are MACs of one device; home returns the MAC that a claimed id
// leads to, "" for none.
func modelMates(facts []*fact) (mates func(m, n *ident) bool, home func(*ident) string) {
	type set map[string]bool
	tells, told, names := map[*ident]set{}, map[*ident]set{}, map[*ident]set{}
	byName := map[string]*ident{}
	calls := map[*ident]set{}
	for _, f := range facts {
		for _, m := range f.ids {
			mac, err := ParseMAC(m.value)
			if m.scope.kind != IDMAC || err != nil || mac.Group() || mac.Virtual() {
				continue
			}
			byName[m.identifier().String()] = m
			for _, s := range []map[*ident]set{tells, names, calls} {
				if s[m] == nil {
					s[m] = set{}
				}
			}
			for _, i := range f.ids {
				switch {
				case i.scope.kind == IDProtocol && !strings.HasPrefix(i.value, "lanfolk:"):
					if told[i] == nil {
						told[i] = set{}
					}
					byName[i.value] = i
					tells[m][i.value], told[i][m.identifier().String()] = true, true
				case i.scope.kind == IDHost && !strings.HasPrefix(i.value, "localhost"):
					calls[m][i.identifier().String()] = true
					names[m][strings.SplitN(i.value, ".", 2)[0]] = true
				}
			}
		}
	}
	off := func(m *ident) bool { return m.muted > 0 || len(tells[m]) > maxTies || len(calls[m]) > maxCalls }
	tellers := func(i *ident) (all []*ident) {
		for name := range told[i] {
			if m := byName[name]; !off(m) {
				all = append(all, m)
			}
		}
		return all
	}
	crowded := func(i *ident) bool { return len(told[i]) > maxHeld || len(tellers(i)) > maxMates }
	usable := func(i *ident) bool { return i.muted == 0 && !crowded(i) }
	// inCommon returns what all sets that aren't empty have in common.
	inCommon := func(all []set) (common set, n int) {
		for _, s := range all {
			if len(s) == 0 {
				continue
			}
			next := set{}
			for x := range s {
				if n == 0 || common[x] {
					next[x] = true
				}
			}
			common, n = next, n+1
		}
		return common, n
	}
	namesOf := func(macs []*ident) (all []set) {
		for _, m := range macs {
			all = append(all, names[m])
		}
		return all
	}
	works := func(i *ident) bool {
		all := tellers(i)
		if len(all) < 2 || !usable(i) {
			return false
		}
		kind, rest, _ := strings.Cut(i.value, ":")
		common, named := inCommon(namesOf(all))
		return kind == "duid" || kind == "lldp" || kind == "deviceid" || kind == "hap" || len(common) > 0 && named == len(all) ||
			slices.ContainsFunc(all, func(m *ident) bool { return strings.HasSuffix(rest, strings.ReplaceAll(m.value, ":", "")) })
	}
	class := map[*ident]string{}
	groups := map[string][]*ident{}
	for m := range tells {
		var ids []string
		for id := range tells[m] {
			if !off(m) && works(byName[id]) {
				ids = append(ids, id)
			}
		}
		if len(ids) > 0 {
			slices.Sort(ids)
			key := strings.Join(ids, " ")
			groups[key] = append(groups[key], m)
		}
	}
	agree := func(all []*ident) bool {
		kinds := map[string][]set{"": namesOf(all)}
		for _, m := range all {
			own := map[string]set{}
			for id := range tells[m] {
				if kind, _, _ := strings.Cut(id, ":"); usable(byName[id]) {
					if own[kind] == nil {
						own[kind] = set{}
					}
					own[kind][id] = true
				}
			}
			for kind, ids := range own {
				kinds[kind] = append(kinds[kind], ids)
			}
		}
		for _, sets := range kinds {
			if common, n := inCommon(sets); n > 0 && len(common) == 0 {
				return false
			}
		}
		return len(all) > 1
	}
	for key, all := range groups {
		if agree(all) {
			for _, m := range all {
				class[m] = key
			}
			continue
		}
		same := map[string][]*ident{}
		for _, m := range all {
			if len(names[m]) > 0 {
				k := fmt.Sprint(names[m])
				same[k] = append(same[k], m)
			}
		}
		for k, some := range same {
			if agree(some) {
				for _, m := range some {
					class[m] = key + " of " + k
				}
			}
		}
	}
	mates = func(m, n *ident) bool { return class[m] != "" && class[m] == class[n] }
	home = func(i *ident) string {
		if len(told[i]) > maxHeld {
			return contested
		}
		all := tellers(i)
		for _, m := range all {
			if m != all[0] && !mates(m, all[0]) {
				return contested
			}
		}
		if len(all) == 0 {
			return ""
		}
		first := ""
		for m := range tells { // one name for all mates
			if name := m.identifier().String(); (m == all[0] || mates(m, all[0])) && (first == "" || name < first) {
				first = name
			}
		}
		return first
	}
	return mates, home
}

// modelLent computes the rule of proxy.go from scratch: whether the address of a fact is one
// that its MAC only answers for, as for too many.
func (c *core) modelLent(f *fact) bool {
	pair := func(f *fact) (m, ip *ident) {
		ids := f.all()
		if f.scope.Kind != KindDevice || f.content().typ != TypeAnswer || len(ids) < 2 || ids[0].scope.kind != IDMAC || ids[1].scope.kind != IDIP || ids[0].void || ids[1].void {
			return nil, nil
		}
		for _, i := range ids[2:] {
			if i.scope.kind != IDEUI64 {
				return nil, nil
			}
		}
		return ids[0], ids[1]
	}
	m, ip := pair(f)
	if m == nil {
		return false
	}
	only := map[string]bool{} // addresses of its family and link that it answers for and hasn't
	six := strings.Contains(ip.value, ":")
	for _, own := range []bool{false, true} {
		for _, g := range c.facts.items {
			if g == nil || !g.live() || !has(g.all(), m) {
				continue
			}
			_, answered := pair(g)
			for _, i := range g.all() {
				switch {
				case i.scope != ip.scope || strings.Contains(i.value, ":") != six:
				case !own && answered == i:
					only[i.value] = true
				case own && answered != i:
					delete(only, i.value)
				}
			}
		}
	}
	most := c.answered4
	if six {
		most = c.answered6
	}
	return only[ip.value] && len(only) > most
}
