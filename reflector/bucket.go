package reflector

import (
	"hash/maphash"
	"net/netip"
	"slices"
)

// Defaults of the limits: of packets from one host on a link, and of packets
// that are passed on to a link. They let 20,000 packets a second of 200 hosts
// pass, and 200 services that one host announces at once.
const (
	DefaultSourceRate  = 1000  // packets a second
	DefaultSourceBurst = 5000  // packets at once
	DefaultLinkRate    = 30000 // packets a second
	DefaultLinkBurst   = 10000 // packets at once
)

// bucket is a token bucket: it lets a burst pass, and a rate over time. It is
// full when it is new.
type bucket struct {
	used float32 // packets, less what has leaked since
	at   clock
}

// take says whether another packet may pass, and counts it if so.
func (b *bucket) take(now clock, rate, burst float32) bool {
	if d := now.since(b.at); d > 0 {
		b.used = max(0, b.used-rate*float32(d)/1000)
		b.at = now
	}
	if b.used+1 > burst {
		return false
	}
	b.used++
	return true
}

// source is a host on a link, as the reflector knows it.
type source struct {
	addr   netip.Addr
	bucket bucket

	// What tells another reflector from a host: of the queries that were passed
	// on to the link since the source was first heard, it sent this many, too.
	since, copies uint32
	told          bool // that it is a reflector
	// Its responses with records that only their owner has, those of them that
	// were copies, and when the last copy came.
	unique, uniqueCopies uint32
	copied               clock

	// The known answers that follow its truncated query (RFC 6762 §7.2).
	chain    clock  // when the last packet came that others follow
	chained  bool   // others may follow
	question uint64 // the first that was asked
}

const (
	sourceWays = 4
	sourceSets = 1 << 9
	// hostProof is how many queries a source must have left uncopied to be
	// taken for a host, whose questions are its own even if another has just
	// asked the same, and copyShare how many of them in one that it may have
	// asked itself.
	hostProof, copyShare = 16, 8
	// reflectorProof is how many copies make a reflector.
	reflectorProof = 3
	// countedUnique bounds the counts of responses, so that the old ones fade, and
	// repeatsTime is how long after its last copy a reflector is taken for one.
	countedUnique, repeatsTime = 64, 60_000
)

// sources are the hosts on a link that were heard last. Their number is bounded:
// for whoever invents addresses there is the limit of the link.
type sources struct{ sets []sourceSet }

// sourceSet are those that share a place. Whether one is there, and which is to
// go, is found in one line of the processor's cache.
type sourceSet struct {
	keys [sourceWays]uint64 // hashes of the addresses
	seen [sourceWays]clock
	_    [sourceWays]uint32
	all  [sourceWays]source
}

// of returns what is known about an address.
func (s *sources) of(now clock, seed maphash.Seed, a netip.Addr, passed uint32) *source {
	if s.sets == nil {
		s.sets = make([]sourceSet, sourceSets)
	}
	key := sourceKey(seed, a)
	set := &s.sets[key%sourceSets]
	oldest := 0
	for i, k := range &set.keys {
		if k == key {
			set.seen[i] = now
			return &set.all[i]
		}
		if k == 0 || set.keys[oldest] != 0 && now.since(set.seen[i]) > now.since(set.seen[oldest]) {
			oldest = i
		}
	}
	set.keys[oldest], set.seen[oldest] = key, now
	x := &set.all[oldest]
	*x = source{addr: a, since: passed}
	return x
}

// knows says whether the source was heard before.
func (s *sources) knows(seed maphash.Seed, a netip.Addr) bool {
	if s.sets == nil {
		return false
	}
	key := sourceKey(seed, a)
	return slices.Contains(s.sets[key%sourceSets].keys[:], key)
}

func sourceKey(seed maphash.Seed, a netip.Addr) uint64 {
	b := a.As16()
	return max(1, maphash.Bytes(seed, b[:]))
}

// heardUnique notes a response with records that only their owner has, and
// whether it was a copy.
func (s *source) heardUnique(now clock, copied bool) {
	if s.unique++; s.unique == countedUnique {
		s.unique, s.uniqueCopies = s.unique/2, s.uniqueCopies/2
	}
	if copied {
		s.uniqueCopies++
		s.copied = now
	}
}

// repeats says whether the source is another reflector beyond doubt, on this link
// and the one where the originals are: nearly all records that only their owner has
// came from it second-hand. What it says and we haven't heard elsewhere got
// lost on its way to us; what its own host says, it says on both links.
func (s *source) repeats(now clock) bool {
	return s.uniqueCopies >= reflectorProof && 4*s.uniqueCopies >= 3*s.unique && now.since(s.copied) <= repeatsTime
}

// isHost says whether the source has shown that it copies nothing. passed
// counts the queries that were passed on to its link.
func (s *source) isHost(passed uint32) bool {
	n := passed - s.since
	return n >= hostProof && s.copies <= n/copyShare
}

// isReflector says whether the source has sent what others said before.
func (s *source) isReflector(passed uint32) bool {
	return s.copies >= reflectorProof && 2*s.copies > passed-s.since
}
