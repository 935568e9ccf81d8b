package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// State is where a command is in its life.
type State string

// The states. From Queued, Sent and Running a command goes forward, perhaps past
// some; the others are its ends, which never change.
const (
	Queued      State = "queued"  // kept, not sent yet
	Sent        State = "sent"    // down the stream, perhaps more than once
	Running     State = "running" // the gateway said so
	OK          State = "ok"
	Error       State = "error"       // it ran and failed, or couldn't be begun
	Timeout     State = "timeout"     // its deadline passed
	Offline     State = "offline"     // the gateway wasn't there
	Denied      State = "denied"      // the gateway doesn't allow it, or the hub not any more
	Cancelled   State = "cancelled"   // called off
	Interrupted State = "interrupted" // the gateway died while it ran
)

// states are those that are no end, which lead somewhere.
func states() []State { return []State{Queued, Sent, Running} }

// rank is how far a state is; 0 is no state.
func (s State) rank() int {
	switch s {
	case Queued:
		return 1
	case Sent:
		return 2
	case Running:
		return 3
	case OK, Error, Timeout, Offline, Denied, Cancelled, Interrupted:
		return 4
	}
	return 0
}

// Ended says whether the state is an end.
func (s State) Ended() bool { return s.rank() == 4 }

// Leads says whether a command may go from one state to another. It may stay
// in a state that is no end.
func (s State) Leads(to State) bool {
	return s.rank() > 0 && to.rank() > 0 && !s.Ended() && s.rank() <= to.rank()
}

// A Command is one line for one gateway, and how it went.
type Command struct {
	// These never change.
	ID       string // sorts by time; see reverse.IDs
	Gateway  string
	Line     string
	By       string // who asked
	Created  time.Time
	Deadline time.Time // by the hub's clock; zero is none
	Queue    bool      // kept for a gateway that isn't there, until the deadline

	// Revision is how often it was written; CommandLog counts it.
	Revision uint64
	State    State
	// CancelledBy is who asked for its end; "" for nobody. The state says whether
	// that came in time.
	CancelledBy string
	Sent        time.Time // first
	Started     time.Time
	Ended       time.Time
	Exit        int
	Error       string   // for people
	Type        uint32   // of the result; see reverse.Type
	Size        int64    // of the result, bytes; Blobs has it under the command's id
	SHA256      [32]byte // of the result
}

// CommandFilter says which commands are meant; the zero value is all.
type CommandFilter struct {
	Gateway string
	By      string
	States  []State
	Before  string // ids below this one: the page after it
	Limit   int    // at most so many; 0 is 100, and so is anything above 1000
}

// CommandLog keeps commands, and with them what the audit says of them: no state is on
// record in one and not in the other. All of its methods may be called at once.
type CommandLog interface {
	// Create keeps new commands in state Queued and revision 1, and puts entries on
	// record in the audit: all or, with an error, nothing. ErrExists if an id is taken.
	Create(ctx context.Context, entries []Entry, commands ...Command) error
	// Command returns one; ErrUnknown.
	Command(ctx context.Context, id string) (Command, error)
	// Update writes c if its Revision is still that of the log, and returns it
	// with the next one. ErrConflict if it isn't, ErrState if the log's state
	// doesn't lead to c's, ErrUnknown. What never changes is left as it is. Entries
	// are put on record in the audit, if and only if c is written.
	Update(ctx context.Context, c Command, entries ...Entry) (Command, error)
	// Outstanding returns those that haven't ended, in the order of their ids;
	// of all gateways for "".
	Outstanding(ctx context.Context, gateway string) ([]Command, error)
	// Commands returns a page, the newest id first.
	Commands(ctx context.Context, f CommandFilter) ([]Command, error)
	// Forget drops the oldest that ended before a moment, at most limit, and
	// returns their ids; their blobs can go, too.
	Forget(ctx context.Context, before time.Time, limit int) ([]string, error)
}

// Amend reads a command, lets change change it, and writes it; again when
// somebody else was first. change returns false to leave it as it is.
func Amend(ctx context.Context, log CommandLog, id string, change func(*Command) bool) (Command, error) {
	const tries = 100
	var err error
	for range tries {
		var c Command
		if c, err = log.Command(ctx, id); err != nil {
			return Command{}, err
		}
		if !change(&c) {
			return c, nil
		}
		if c, err = log.Update(ctx, c); !isConflict(err) {
			return c, err
		}
	}
	return Command{}, err
}

func (c *Command) check() error {
	switch {
	case !cleanID(c.ID) || len(c.ID) > maxID:
		return fmt.Errorf("%w: a command's id %q", ErrInvalid, c.ID)
	case c.Gateway == "":
		return fmt.Errorf("%w: command %s is for no gateway", ErrInvalid, c.ID)
	}
	return nil
}

// maxID bounds the ids of commands and blobs, which are names of files.
const maxID = 64

// cleanID says whether an id may be the name of a file: letters and digits.
func cleanID(id string) bool {
	return id != "" && !slices.ContainsFunc([]byte(id), func(c byte) bool {
		return ('0' > c || c > '9') && ('A' > c || c > 'Z') && ('a' > c || c > 'z')
	})
}
