package access

import (
	"errors"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// How somebody was recognised.
const (
	ViaSocket  = "socket"
	ViaToken   = "token"
	ViaSession = "session"
)

// Who is somebody that was recognised. The zero value may do nothing.
type Who struct {
	Name   string     // the user's name; "uid:1000" at the hub's unix socket
	Role   fleet.Role // at the socket Admin
	Since  time.Time  // when the account was made; zero at the socket
	Via    string     // ViaSocket, ViaToken or ViaSession
	Token  string     // the API token's id
	Addr   string     // "host:port" of the connection; "" at the socket
	Grants []fleet.Grant
}

// ErrDenied says that something is not for the one who asks.
var ErrDenied = errors.New("denied")

// MayRead says whether w may see what the hub knows: nil or ErrDenied.
func (w Who) MayRead() error {
	switch w.Role {
	case fleet.Viewer, fleet.Operator, fleet.Admin:
		return nil
	}
	return fmt.Errorf("%w: nobody is signed in", ErrDenied)
}

// MayRun says whether w may run a verb at a gateway with these labels: nil or
// ErrDenied. The gateway decides, too: what it doesn't know it doesn't run.
func (w Who) MayRun(verb string, labels map[string]string) error {
	switch verb {
	case "list", "status", "devices", "services", "find", "fingerprints", "browse":
		if w.Role == fleet.Operator || w.Role == fleet.Admin {
			return nil
		}
		return fmt.Errorf("%w: %s runs commands; that takes an operator", ErrDenied, verb)
	case "exec", "get", "capture":
		if w.Role == fleet.Admin {
			return nil
		}
		for _, g := range w.Grants {
			if g.Verb == verb && w.MayRead() == nil && fleet.Matches(g.Selector, labels) {
				return nil
			}
		}
		return fmt.Errorf("%w: %s takes a grant for this gateway's labels", ErrDenied, verb)
	}
	if w.Role == fleet.Admin {
		return nil
	}
	return fmt.Errorf("%w: %q is no command that is known to be harmless; that takes an admin", ErrDenied, verb)
}

// Asked says whether w asked for a command, and not somebody of the same name whose
// account is gone.
func (w Who) Asked(c fleet.Command) bool {
	return w.Name != "" && c.By == w.Name && !c.Created.Before(w.Since)
}

// MayManage says whether w may look after people, grants, tokens and gateways, read the
// audit, and end others' commands: nil or ErrDenied.
func (w Who) MayManage() error {
	if w.Role == fleet.Admin {
		return nil
	}
	return fmt.Errorf("%w: that takes an admin", ErrDenied)
}
