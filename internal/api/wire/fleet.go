// Package wire holds what the API and those who call it say to each other about a fleet:
// types that are JSON, and nothing else.
package wire

import "time"

// Gateway is a gateway as it goes out.
type Gateway struct {
	ID          string            `json:"id" doc:"Assigned by the hub; insecure/NAME where nobody vouches for it."`
	Name        string            `json:"name" doc:"What people call it; several may have the same."`
	State       string            `json:"state" enum:"online,offline"`
	Address     string            `json:"address" doc:"Where it dialled from last."`
	Version     string            `json:"version" doc:"Of its program, as it said last."`
	ConnectedAt *time.Time        `json:"connected_at" doc:"Since when it is online; null while it is not."`
	LastSeen    *time.Time        `json:"last_seen" doc:"When it was there last; null if it never was."`
	Devices     int               `json:"devices" doc:"How many devices it has told of."`
	Labels      map[string]string `json:"labels" doc:"Set at the hub only."`
	Insecure    bool              `json:"insecure" doc:"Whether nobody vouches for who it is."`
	Revoked     bool              `json:"revoked" doc:"Whether its certificate is good for nothing any more."`
	Enrolled    *time.Time        `json:"enrolled" doc:"When it got its first certificate."`
	Why         string            `json:"why" doc:"Why it is offline, if that is known."`
}

// Command is a command for one gateway, and how it went, as it goes out.
type Command struct {
	Gateway     string     `json:"gateway" doc:"The gateway's id."`
	GatewayName string     `json:"gateway_name"`
	ID          string     `json:"command_id" doc:"Sorts by time. Empty where the hub didn't let it begin."`
	Line        string     `json:"command" doc:"A verb and its arguments, quoted as a shell quotes."`
	Status      string     `json:"status" enum:"queued,running,ok,error,timeout,offline,denied,cancelled,interrupted"`
	Exit        int        `json:"exit" doc:"A program's exit code; 0 where there is none."`
	Error       string     `json:"error" doc:"What went wrong, for people."`
	Output      string     `json:"output" doc:"The result's first 64 KiB, if they are UTF-8 text and you may read it. Lists leave it out."`
	Type        string     `json:"type" enum:"error,result,listing,file" doc:"What the result is."`
	Size        int64      `json:"size" doc:"The whole result's bytes."`
	SHA256      string     `json:"sha256" doc:"The whole result's hash, in hexadecimal digits; empty where there is none."`
	By          string     `json:"by" doc:"Who asked for it."`
	Queue       bool       `json:"queue" doc:"Whether it waits for a gateway that is offline."`
	CancelledBy string     `json:"cancelled_by" doc:"Who asked for its end."`
	Created     time.Time  `json:"created"`
	Deadline    *time.Time `json:"deadline"`
	Started     *time.Time `json:"started"`
	Ended       *time.Time `json:"ended"`
}

// NewCommand is what somebody wants to have run. One of Line and Argv says what, one of
// Gateways, Selector and All where.
type NewCommand struct {
	Line     string            `json:"line,omitempty" maxLength:"65536" doc:"A verb and its arguments, quoted as a shell quotes."`
	Argv     []string          `json:"argv,omitempty" maxItems:"4096" doc:"The same, a string each."`
	Gateways []string          `json:"gateways,omitempty" maxItems:"1000" doc:"Ids, or names that only one gateway has."`
	Selector map[string]string `json:"selector,omitempty" doc:"Gateways that have all of these labels."`
	All      bool              `json:"all,omitempty" doc:"Every gateway."`
	Timeout  string            `json:"timeout,omitempty" doc:"How long it may take from now on, as Go writes durations; an hour, or a day with queue, if it is left out; at most a week."`
	Queue    bool              `json:"queue,omitempty" doc:"Keep it for gateways that are offline until its time is over."`
}

// Events of a watched list.
const (
	Add    = "add"
	Update = "update"
	Remove = "remove"
	Synced = "synced" // the list is complete; its id is empty
)

// GatewayEvent is a change of a gateway. A removed one has its last state.
type GatewayEvent struct {
	Event string `json:"event" enum:"add,update,remove"`
	Gateway
}

// CommandEvent is a change of a command.
type CommandEvent struct {
	Event string `json:"event" enum:"add,update"`
	Key   string `json:"id" doc:"The same as command_id."`
	Command
}
