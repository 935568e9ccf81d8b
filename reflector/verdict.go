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
	}
	return "unknown"
}
