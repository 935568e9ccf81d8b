package reflector

// verdict is what became of a packet on its way from one side to another.
type verdict uint8

// The verdicts. Each has its counter for every pair of sides.
const (
	// passed: the packet was passed on as it was.
	passed verdict = iota
	// edited: it was passed on without some of its records, or changed.
	edited
	// split: it was passed on in several messages.
	split
	// stoppedRule: rules left nothing of it.
	stoppedRule
	// stoppedAddress: it is about hosts that nobody reaches from the other side.
	stoppedAddress
	// stoppedSize: no link carries what it holds.
	stoppedSize
	// What follows is decided before the rules are asked.

	// stoppedMalformed: it can't be parsed.
	stoppedMalformed
	// stoppedForm: no host would use it: an opcode or rcode (RFC 6762 §18.3,
	// §18.11), a response from another port (§6), nothing in it.
	stoppedForm
	// stoppedOwn: this host sent it, the reflector or another program.
	stoppedOwn
	// stoppedUnicast: it was sent to this host alone, and answers nobody's question.
	stoppedUnicast
	// stoppedCopy: another reflector's copy of what was passed on already.
	stoppedCopy
	// stoppedRepeat: it was passed on less than a second ago.
	stoppedRepeat
	// stoppedChain: known answers without their query, or to one that others ask, too.
	stoppedChain
	// stoppedSource: its sender sends too much.
	stoppedSource
	// stoppedLink: too much is passed on to the link.
	stoppedLink
	// stoppedSend: it couldn't be sent.
	stoppedSend
	// answered: it was passed on to those alone who had asked.
	answered
	// proxied: the proxy deals with it.
	proxied

	numVerdicts
)

// String returns the verdict as a short constant phrase.
func (v verdict) String() string {
	switch v {
	case passed:
		return "passed"
	case edited:
		return "edited"
	case split:
		return "split"
	case stoppedRule:
		return "stopped by a rule"
	case stoppedAddress:
		return "no useful address"
	case stoppedSize:
		return "too large"
	case stoppedMalformed:
		return "malformed"
	case stoppedForm:
		return "no use to anybody"
	case stoppedOwn:
		return "own packet"
	case stoppedUnicast:
		return "unicast"
	case stoppedCopy:
		return "another reflector's copy"
	case stoppedRepeat:
		return "repeated too soon"
	case stoppedChain:
		return "stray known answers"
	case stoppedSource:
		return "rate of one source"
	case stoppedLink:
		return "rate of the link"
	case stoppedSend:
		return "not sent"
	case answered:
		return "answered by unicast"
	case proxied:
		return "left to the proxy"
	}
	return "unknown"
}
