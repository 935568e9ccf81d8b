package deliver

import (
	"context"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// A command is one that is outstanding. What isn't in turn is guarded by the
// Dispatcher's lock.
type command struct {
	is      fleet.Command // as it is known to be; the log may lag behind, but for Revision
	gateway *gateway

	// Where it is.
	fresh       bool               // not kept yet: it doesn't count
	waits       bool               // in the gateway's queue
	sending     context.CancelFunc // not nil: the wire has it
	session     uint64             // down which it went last; 0 is none
	held        bool               // the log says that it was sent, and it wasn't
	doubtful    bool               // the hub started anew and can't tell whether it was sent before
	journal     bool               // the gateway's journal named it
	interrupted bool               // as interrupted
	cancelled   time.Time          // when its gateway was told to stop; zero: it wasn't
	result      *result            // that is open
	moved       time.Time          // when a chunk came
	partial     bool               // there may be a part of a result
	tail        []byte             // the last chunk, if that is small: who follows needn't look for it

	// Whether it may be sent still.
	vetted   time.Time // when that was looked at
	unvetted error     // why nobody can say; nil: somebody did

	verdict *ending // how it shall end: on its way to the log; nil: nobody knows yet

	dirty    bool // the log lacks its state
	due      time.Time
	index    int // in the agenda; -1: it isn't there
	failures int // of what was due

	changed chan struct{} // closed and dropped when the state or a term changes; nil: nobody waits
	grown   chan struct{} // the same, for the result

	turn chan struct{} // who has put something in writes to the log
}

func newCommand(c fleet.Command) *command {
	return &command{is: c, index: -1, turn: make(chan struct{}, 1)}
}

// isOver says whether it is known how a command ends.
func (c *command) isOver() bool { return c.verdict != nil || c.is.State.Ended() }

// rest returns what of the result of a command that has ended is behind an offset, if
// that is here.
func (c *command) rest(offset int64) (b []byte, here bool) {
	left := c.is.Size - offset
	if !c.is.State.Ended() || c.is.SHA256 == [32]byte{} || left < 0 || left > int64(len(c.tail)) {
		return nil, false
	}
	return c.tail[int64(len(c.tail))-left:], true
}

// A gateway is one that has outstanding commands.
type gateway struct {
	id     string
	all    map[string]*command
	queue  []*command // to be sent
	busy   bool       // somebody sends, or it is in Dispatcher.unsent
	answer *command   // what a gateway without a journal was sent and hasn't answered
}

// add makes a command one of those that are outstanding.
func (d *Dispatcher) add(c *command) {
	g := d.gateways[c.is.Gateway]
	if g == nil {
		g = &gateway{id: c.is.Gateway, all: map[string]*command{}}
		d.gateways[g.id] = g
	}
	c.gateway = g
	g.all[c.is.ID] = c
	d.commands[c.is.ID] = c
	if !c.fresh {
		d.plan(c)
	}
}

// drop takes a command off that has ended.
func (d *Dispatcher) drop(c *command) {
	g := c.gateway
	delete(d.commands, c.is.ID)
	delete(g.all, c.is.ID)
	d.agenda.remove(c)
	if c.sending != nil {
		c.sending()
	}
	if g.answer == c {
		g.answer = nil
		d.kick(g)
	}
	if len(g.all) == 0 && !g.busy {
		delete(d.gateways, g.id)
	}
}

// wake lets those go on who wait on a channel.
func wake(c *chan struct{}) {
	if *c != nil {
		close(*c)
		*c = nil
	}
}

// waitOn returns a channel that wake closes.
func waitOn(c *chan struct{}) <-chan struct{} {
	if *c == nil {
		*c = make(chan struct{})
	}
	return *c
}

// tell tells everybody who follows a command that it changed.
func (d *Dispatcher) tell(c *command) {
	wake(&c.changed)
	d.board.Post(c.is.ID, c.is)
}

// moveTo brings a command to a state that is no end, if it isn't further already.
func (d *Dispatcher) moveTo(c *command, state fleet.State, now time.Time) {
	if c.is.State == state || !c.is.State.Leads(state) {
		return
	}
	c.is.State = state
	if c.is.Sent.IsZero() {
		c.is.Sent = now
	}
	if state == fleet.Running {
		c.is.Started = now
	}
	c.dirty = true
	d.plan(c)
	d.tell(c)
}

// lock waits for the turn to write a command to the log.
func (c *command) lock(ctx context.Context) bool { return take(ctx, c.turn) }

func (c *command) unlock() { <-c.turn }
