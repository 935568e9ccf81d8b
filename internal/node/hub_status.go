package node

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/agent"
	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/uplink"
)

// HubLink is how the node stands with the hub whose gateway it is. A node that is no
// gateway has the zero value.
type HubLink struct {
	Gateway string `json:"gateway"` // the id that the hub assigned; what it calls itself at a server without TLS
	Name    string `json:"name"`    // what people call it there
	Pin     string `json:"pin"`     // SHA-256 of the hub's authority
	// Insecure says that the hub is a server without TLS.
	Insecure  bool       `json:"insecure"`
	Connected bool       `json:"connected"`
	Since     *time.Time `json:"since"`   // of Connected
	Address   string     `json:"address"` // where the hub was last time
	Version   string     `json:"version"` // the hub's program
	Foreign   bool       `json:"foreign"` // it knows reverse_access only
	Attempts  int        `json:"attempts"`
	Error     string     `json:"error"` // why it isn't connected, for people
	// Expires is when the certificate ends, Renew when a new one is asked for.
	Expires  *time.Time `json:"expires"`
	Renew    *time.Time `json:"renew"`
	Renewals uint64     `json:"renewals"` // since the start
	// Clock is how far the hub's clock was ahead of this machine's when they connected, as Go
	// prints durations; "" before that.
	Clock     string      `json:"clock"`
	Impostors uint64      `json:"impostors"` // times that somebody else was where the hub should be
	Commands  HubCommands `json:"commands"`
	Feeds     *HubFeeds   `json:"feeds"` // null where nothing goes up by itself
}

// HubCommands counts what the hub asked.
type HubCommands agent.Stats

// HubFeeds counts what goes up to the hub by itself.
type HubFeeds uplink.Status

// hubLink returns how the node stands with its hub.
func (n *Node) hubLink() HubLink {
	h := &n.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := HubLink{Renewals: h.renewals}
	if h.identity != nil {
		if i := h.identity.Status(); i.Gateway != "" {
			s.Gateway, s.Name, s.Pin = i.Gateway, i.Name, i.Pin.String()
			s.Expires, s.Renew = new(i.Expires.UTC()), new(i.RenewAfter.UTC())
		}
	}
	if h.client == nil {
		return s
	}
	if c := n.Config.Gateway.Insecure; c.On() {
		s.Gateway, s.Insecure = c.ID, true
	}
	state := h.client.State()
	s.Connected, s.Foreign, s.Attempts = state.Connected, state.Foreign, state.Attempts
	if state.Connected {
		s.Since = new(state.Since.UTC())
	}
	var notThere error
	s.Address, s.Impostors, notThere = h.dialler.state()
	if !state.Connected {
		s.Error = whyNotConnected(notThere, state.Err)
	}
	if w := h.welcome; w != nil {
		s.Version = w.GetVersion()
		if w.GetNow() != 0 {
			s.Clock = h.skew.String()
		}
		if w.GetName() != "" {
			s.Name = w.GetName()
		}
	}
	s.Commands = HubCommands(h.agent.Stats())
	if h.uplink != nil {
		s.Feeds = new(HubFeeds(h.uplink.Status()))
	}
	return s
}

// whyNotConnected says in words why there is no connection: nobody was there, or the
// connection, or the attempt, ended with an error.
func whyNotConnected(notThere, ended error) string {
	switch {
	case notThere != nil:
		return enrol.Explain(notThere).Error()
	case ended == nil:
		return ""
	}
	said := enrol.Explain(ended)
	if s, ok := status.FromError(ended); ok && said == ended { //nolint:errorlint // whether Explain added anything
		return s.Message()
	}
	text, _, _ := strings.Cut(said.Error(), ": rpc error:") // in words it says all
	return text
}

func (n *Node) hubDetail() string {
	s := n.hubLink()
	switch {
	case s.Gateway == "":
		return "this node is no hub's gateway; `lanfolk join` makes it one"
	case s.Connected:
		return fmt.Sprintf("%s, connected to %s", s.Gateway, s.Address)
	case s.Error != "":
		return fmt.Sprintf("%s, not connected: %s", s.Gateway, s.Error)
	}
	return s.Gateway + ", not connected"
}

func (n *Node) hubCounters() map[string]uint64 {
	s := n.hubLink()
	return map[string]uint64{
		"commands": s.Commands.Commands, "refused": s.Commands.Refused, "journal_failures": s.Commands.Failures,
		"renewals": s.Renewals, "impostors": s.Impostors,
	}
}
