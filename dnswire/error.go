package dnswire

import (
	"fmt"
	"strconv"
)

// Reason says what is wrong with a message. Its String is short and constant,
// fit for the label of a counter.
type Reason uint8

// The reasons for which Parse rejects a message.
const (
	ReasonShort       Reason = iota + 1 // the message ends inside of something
	ReasonLong                          // the message has more than 65535 bytes
	ReasonCounts                        // the header promises more records than fit
	ReasonPointer                       // a compression pointer that isn't backward, or into the header
	ReasonPointers                      // too many compression pointers in one name
	ReasonLabelType                     // a label of a reserved type
	ReasonNameLength                    // a name of more than 255 bytes
	ReasonWork                          // names that take too many steps to read
	ReasonRDataShort                    // rdata ends inside of something
	ReasonRDataLength                   // rdata of the wrong length for its type
)

// String returns the reason as a short constant phrase.
func (r Reason) String() string {
	switch r {
	case ReasonShort:
		return "message ends early"
	case ReasonLong:
		return "message too long"
	case ReasonCounts:
		return "counts too high"
	case ReasonPointer:
		return "pointer not backward"
	case ReasonPointers:
		return "too many pointers"
	case ReasonLabelType:
		return "reserved label type"
	case ReasonNameLength:
		return "name too long"
	case ReasonWork:
		return "too much work"
	case ReasonRDataShort:
		return "rdata ends early"
	case ReasonRDataLength:
		return "wrong rdata length"
	}
	return "reason " + strconv.Itoa(int(r))
}

// Error says why Parse rejected a message, and where.
type Error struct {
	// Where is the part of the message: "header", "question", "answer",
	// "authority" or "additional".
	Where string
	// Index counts the entries of that part from 1, and 0 in the header.
	Index int
	// Part is the piece of the entry: "name", "fields", "SRV rdata"; "" in the
	// header.
	Part string
	// Offset is where in the message it was noticed, in bytes.
	Offset int
	Reason Reason
	// Value is the number that goes with the reason: where a pointer points
	// to, the first byte of a label, a length in bytes.
	Value int
}

// Error returns a sentence like
// "dnswire: answer 3: name: pointer to offset 512 is not backward".
func (e *Error) Error() string {
	s := "dnswire: " + e.Where
	if e.Index > 0 {
		s += " " + strconv.Itoa(e.Index)
	}
	if e.Part != "" {
		s += ": " + e.Part
	}
	return s + ": " + e.what()
}

func (e *Error) what() string {
	switch e.Reason {
	case ReasonShort:
		return fmt.Sprintf("message ends early, at byte %d", e.Offset)
	case ReasonLong:
		return fmt.Sprintf("message has %d bytes, more than 65535", e.Value)
	case ReasonCounts:
		return fmt.Sprintf("counts promise at least %d bytes, message has %d", e.Value, e.Offset)
	case ReasonPointer:
		if e.Value < headerLen {
			return fmt.Sprintf("pointer to offset %d is inside the header", e.Value)
		}
		return fmt.Sprintf("pointer to offset %d is not backward", e.Value)
	case ReasonPointers:
		return fmt.Sprintf("more than %d pointers", maxPointers)
	case ReasonLabelType:
		return fmt.Sprintf("label of reserved type 0x%02x at offset %d", e.Value&0xC0, e.Offset)
	case ReasonNameLength:
		return fmt.Sprintf("longer than %d bytes", maxName)
	case ReasonWork:
		return "names take too many steps to read"
	case ReasonRDataShort:
		return fmt.Sprintf("ends early, at offset %d", e.Offset)
	case ReasonRDataLength:
		return fmt.Sprintf("has %d bytes, wrong for its type", e.Value)
	}
	return e.Reason.String()
}
