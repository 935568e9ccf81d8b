package api

import (
	"encoding/hex"
	"maps"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

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

func wireGateway(s fleet.Standing, devices int) Gateway {
	g := Gateway{
		ID: s.ID, Name: s.Name, State: "offline", Address: s.Address, Version: s.Version,
		LastSeen: moment(s.LastSeen), Devices: devices, Labels: maps.Clone(s.Labels),
		Insecure: s.Insecure(), Revoked: !s.Revoked.IsZero(), Enrolled: moment(s.Enrolled), Why: s.Session.Why,
	}
	if s.Online {
		g.State, g.ConnectedAt, g.Why = "online", moment(s.Session.Since), ""
	}
	if g.Labels == nil {
		g.Labels = map[string]string{}
	}
	return g
}

// wireCommand leaves the output out. A command that went down the stream counts as
// running: nobody can tell whether it does before its gateway says so.
func wireCommand(c fleet.Command, name string) Command {
	w := Command{
		Gateway: c.Gateway, GatewayName: name, ID: c.ID, Line: c.Line, Status: string(c.State), Exit: c.Exit, Error: c.Error,
		Type: reverse.Type(c.Type).String(), Size: c.Size, By: c.By, Queue: c.Queue, CancelledBy: c.CancelledBy,
		Created: c.Created.UTC(), Deadline: moment(c.Deadline), Started: moment(c.Started), Ended: moment(c.Ended),
	}
	if c.State == fleet.Sent {
		w.Status = string(fleet.Running)
	}
	if c.SHA256 != [32]byte{} {
		w.SHA256 = hex.EncodeToString(c.SHA256[:])
	}
	return w
}

// moment is a time as it goes out; nil for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
