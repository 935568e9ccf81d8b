package respond

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// The TTLs that RFC 6762 §10 recommends, in seconds: the shorter for records
// with a host's name in their owner or in their rdata.
const (
	hostTTL  = 120
	otherTTL = 4500
)

// Record is one record that is published. Its Flush is ignored; a TTL of 0
// stands for the default of RFC 6762 §10; its class is always IN.
type Record struct {
	RR      dnswire.RR
	Unique  bool // nobody else may have records of this name, type and class
	NoProbe bool // unique without having been probed for
}

// name holds all that is published under one name.
type name struct {
	name   dnswire.Name
	key    string // folded
	sets   []*set
	claims []*Claim // that hold the name: they have unique, probed records there
	listed uint64   // the probe that has the name already
	// The NSEC record that says what isn't there, with each of its two TTLs, and
	// what both share of a set's state.
	denial       [2]*set
	denied       time.Time
	denialListed uint64
}

// set is the records of one name and type. A unique set is always sent whole
// (RFC 6762 §10.2).
type set struct {
	name    *name
	typ     dnswire.Type
	unique  bool
	records []*record
	index   map[string]*record // by folded rdata, once there are many
	live    int                // records that may be answered
	last    time.Time          // when a unique set was last multicast
	listed  uint64             // the response that has the set already
	asked   uint64             // the query that was found to ask for it
	mended  bool               // the whole of a unique set is in Responder.mend
}

// record is one record of a set. Several claims may have it.
type record struct {
	set    *set
	place  int // index in set.records
	rr     dnswire.RR
	fold   string    // rdata, names in it folded
	refs   int       // claims that have it
	live   int       // claims that have it and may answer with it
	last   time.Time // when a shared record was last multicast
	heard  time.Time // when another host last multicast the same
	listed uint64
	queued bool // is in Responder.common
	mended bool // a shared record is in Responder.mend
}

// manyRecords is the size of a set from which on it has an index.
const manyRecords = 8

func (n *name) set(t dnswire.Type) *set {
	for _, s := range n.sets {
		if s.typ == t {
			return s
		}
	}
	return nil
}

// owned says whether something unique is live under the name: only then may we
// say what isn't there (RFC 6762 §6.1).
func (n *name) owned() bool {
	for _, s := range n.sets {
		if s.unique && s.live > 0 {
			return true
		}
	}
	return false
}

// find returns the set's record with the folded rdata, nil if there is none.
func (s *set) find(fold []byte) *record {
	if s.index != nil {
		return s.index[string(fold)]
	}
	for _, r := range s.records {
		if r.fold == string(fold) {
			return r
		}
	}
	return nil
}

// times returns where it stands when the record was last multicast, and which
// message has it already. What is sent together shares both.
func (x *record) times() (last *time.Time, listed *uint64) {
	switch s := x.set; {
	case s.typ == dnswire.TypeNSEC:
		return &s.name.denied, &s.name.denialListed
	case s.unique:
		return &s.last, &s.listed
	}
	return &x.last, &x.listed
}

// mending returns where it stands whether the record is in Responder.mend.
func (x *record) mending() *bool {
	if x.set.unique {
		return &x.set.mended
	}
	return &x.mended
}

// stale says of a set that denies something that it has been replaced, or that
// the name isn't ours any more.
func (s *set) stale() bool {
	return s.typ == dnswire.TypeNSEC && (!s.name.owned() || s.name.denial[0] != s && s.name.denial[1] != s)
}

// multicast returns when the record was last multicast.
func (x *record) multicast() time.Time {
	last, _ := x.times()
	return *last
}

// Each calls yield for each record that may be answered with under a folded
// name, of one type or of TypeANY.
func (r *Responder) Each(key string, t dnswire.Type, yield func(dnswire.RR)) {
	n := r.names[key]
	if n == nil {
		return
	}
	for _, s := range n.sets {
		if s.typ != t && t != dnswire.TypeANY {
			continue
		}
		for _, x := range s.records {
			if x.live > 0 {
				yield(x.rr)
			}
		}
	}
}

// acquire returns the table's record that is the same as rec, a new one if need
// be, with one more reference.
func (r *Responder) acquire(rec Record) *record {
	key := string(rec.RR.Name.Fold())
	n := r.names[key]
	if n == nil {
		n = &name{name: rec.RR.Name, key: key}
		r.names[key] = n
	}
	s := n.set(rec.RR.Type)
	if s == nil {
		s = &set{name: n, typ: rec.RR.Type, last: r.remember(n.key, rec.RR.Type, "")}
		n.sets = append(n.sets, s)
	}
	s.unique = s.unique || rec.Unique
	fold := rec.RR.Fold().Data
	x := s.find([]byte(fold))
	if x == nil {
		x = &record{set: s, place: len(s.records), rr: rec.RR, fold: fold, last: r.remember(n.key, s.typ, fold)}
		s.records = append(s.records, x)
		if s.index != nil {
			s.index[fold] = x
		} else if len(s.records) > manyRecords {
			s.index = make(map[string]*record, len(s.records))
			for _, o := range s.records {
				s.index[o.fold] = o
			}
		}
		r.records++
		if s.unique {
			r.book.add(n.key, s.typ, fold)
		}
	}
	x.refs++
	return x
}

// release gives a reference back. The last one takes the record out.
func (r *Responder) release(now time.Time, x *record) {
	if x.refs--; x.refs > 0 {
		return
	}
	s, n := x.set, x.set.name
	last := len(s.records) - 1
	s.records[x.place] = s.records[last]
	s.records[x.place].place = x.place
	s.records[last] = nil
	s.records = s.records[:last]
	delete(s.index, x.fold)
	r.records--
	if s.unique {
		r.book.remove(now, n.key, s.typ, x.fold)
		r.leftBehind(now, n.key, s.typ, "", s.last)
	} else {
		r.leftBehind(now, n.key, s.typ, x.fold, x.last)
	}
	if last > 0 {
		return
	}
	n.sets = slices.DeleteFunc(n.sets, func(o *set) bool { return o == s })
	if len(n.sets) == 0 {
		delete(r.names, n.key)
	}
}

// setLive says of one claim's record whether it may be answered from now on.
func (x *record) setLive(on bool) {
	if on {
		if x.live++; x.live == 1 {
			x.set.live++
		}
		return
	}
	if x.live--; x.live == 0 {
		x.set.live--
	}
}

// wire returns the record as it is sent to mDNS hosts.
func (x *record) wire() dnswire.RR {
	rr := x.rr
	rr.Flush = x.set.unique
	return rr
}

// normal returns the record with class and TTL filled in.
func (r Record) normal() Record {
	r.RR.Class, r.RR.Flush = dnswire.ClassIN, false
	if r.RR.TTL == 0 {
		r.RR.TTL = defaultTTL(r.RR.Name, r.RR.Type)
	}
	r.NoProbe = r.NoProbe && r.Unique
	return r
}

// defaultTTL returns the TTL of RFC 6762 §10 in seconds.
func defaultTTL(n dnswire.Name, t dnswire.Type) uint32 {
	switch t {
	case dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeSRV, dnswire.TypeHINFO:
		return hostTTL
	case dnswire.TypePTR:
		if reverseName(string(n.Fold())) {
			return hostTTL
		}
	}
	return otherTTL
}

// reverseName says whether the folded name is one that leads back from an
// address.
func reverseName(key string) bool {
	return strings.HasSuffix(key, "\x07in-addr\x04arpa\x00") || strings.HasSuffix(key, "\x03ip6\x04arpa\x00")
}

// foldedData appends a received record's rdata as it stands in record.fold.
func foldedData(dst []byte, v *dnswire.Record) []byte {
	switch v.Type {
	case dnswire.TypeA, dnswire.TypeAAAA:
		return append(dst, v.RData()...)
	case dnswire.TypeTXT:
		return v.AppendRData(dst)
	case dnswire.TypeSRV:
		if srv, ok := v.SRV(); ok {
			return srv.Target.AppendFolded(append(dst, v.RData()[:6]...))
		}
	case dnswire.TypePTR:
		if target, ok := v.Target(); ok {
			return target.AppendFolded(dst)
		}
	}
	return append(dst, v.RR().Fold().Data...)
}

// compareRecords orders records as the tie-break of RFC 6762 §8.2 does: by
// class, by type, then by the bytes of the uncompressed rdata.
func compareRecords(a, b dnswire.RR) int {
	return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Data, b.Data))
}
