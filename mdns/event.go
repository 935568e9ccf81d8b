package mdns

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Question is what a Subscription asks the network. The class is always IN.
type Question struct {
	Name dnswire.Name
	// Link and Family narrow the question to links with that index and to one
	// address family. Zero values mean all.
	Link int
	// Tries is after how many queries in each zone asking ends when no answer
	// ends it before, 0 for never. Listening for answers goes on.
	Tries  int
	Type   dnswire.Type // TypeANY asks for every type
	Family Family
	// FollowUp says that an answer gave rise to the question, as an SRV record
	// does to one for its target. What many hosts do at once was spread by the
	// first question; this one waits for 35 to 60 ms only, in which others join it.
	FollowUp bool
}

func (q Question) in(z Zone) bool {
	return (q.Link == 0 || q.Link == z.Link) && (q.Family == 0 || q.Family == z.Family)
}

// questionKey is what makes two questions of one subscription the same.
type questionKey struct {
	name   dnswire.Name // folded
	link   int32
	typ    dnswire.Type
	family Family
}

func (q Question) key() questionKey {
	return questionKey{q.Name.Fold(), int32(q.Link), q.Type, q.Family} // the kernel's interface indexes have 31 bits
}

// Op says what happened.
type Op uint8

// What can happen. Changes of a record's data come as an OpAdd of the new and
// an OpRemove of the old, in this order where the responder follows RFC 6762
// §10.2.
const (
	// OpAdd: a record is there.
	OpAdd Op = iota + 1
	// OpUpdate: a record was heard again and lives notably longer than the
	// last event said. One that is refreshed as RFC 6762 §5.2 says never
	// outlives the expiry that was told. Only for subscriptions with Refreshes
	// and for observers.
	OpUpdate
	// OpRemove: a record's time ran out, or its owner took it back.
	OpRemove
	// OpNone: the owner of the name says that it has no record of the type
	// that the question asks for (RFC 6762 §6.1).
	OpNone
	// OpAsked: a query with the question went out in the zone.
	OpAsked
	// OpReset: the subscriber was too slow and events were lost. It forgets
	// what it knows; events for all that is there follow.
	OpReset
	// OpFailed: nobody who could know answers the question. An Engine never says
	// so, for silence is an answer by multicast; a source of unicast DNS does.
	OpFailed
	// OpAnswered: with this the whole answer to the question was told, or nothing
	// of it changed. An Engine never says so; a source of unicast DNS does each time.
	OpAnswered
)

// String returns the operation in a word.
func (o Op) String() string {
	switch o {
	case OpAdd:
		return "add"
	case OpUpdate:
		return "update"
	case OpRemove:
		return "remove"
	case OpNone:
		return "none"
	case OpAsked:
		return "asked"
	case OpReset:
		return "reset"
	case OpFailed:
		return "failed"
	case OpAnswered:
		return "answered"
	}
	return "unknown"
}

// Event is one thing that happened in one zone.
type Event struct {
	Op Op
	// Unicast says of an OpAsked that unicast answers were asked for: then hosts
	// answer that have multicast their records within the last second, too
	// (RFC 6762 §5.4, §6).
	Unicast bool
	Zone    Zone
	// RR is the record of an OpAdd, OpUpdate or OpRemove. Its TTL is the one
	// it came with, after clamping. For OpNone it is the NSEC record.
	RR dnswire.RR
	// Question is set for OpNone, OpAsked, OpFailed and OpAnswered.
	Question Question
	// Err says why there is no record: of an OpFailed and, from a source of
	// unicast DNS, of an OpNone and an OpAnswered.
	Err error
	// Source is who the record was first heard from. A reflector may stand in
	// between.
	Source netip.Addr
	Time   time.Time
	// Expires is when the record's time runs out if it isn't heard again.
	Expires time.Time
}

// Packet is a message that was heard.
type Packet struct {
	Zone     Zone
	Src, Dst netip.AddrPort
	Time     time.Time // when the engine read it
	Message  dnswire.Message
	Data     []byte // the message's bytes
	// Malformed says why the message can't be read. Only a Relay gets to see
	// such a packet; its Message is empty.
	Malformed error
}

// Observer sees what an engine hears without asking for anything. Its methods
// run on the goroutine that owns the engine's state: they must return soon,
// must not call the engine, and must not keep a Packet or anything in it.
type Observer interface {
	// Heard gets every message of another host that RFC 6762 lets us use,
	// queries too, before it has an effect.
	Heard(*Packet)
	// Changed gets every OpAdd, OpUpdate and OpRemove of every zone's cache.
	Changed(Event)
}
