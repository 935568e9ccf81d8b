package api

import (
	"encoding/hex"
	"maps"
	"time"

	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// Gateway is a gateway as it goes out.
type Gateway = wire.Gateway

// Command is a command for one gateway as it goes out.
type Command = wire.Command

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
