package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/bridge"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/tged"
)

// tgedSpeaker is what speaks TGED.
type tgedSpeaker struct {
	source source.TGED

	// server answers or, without services, only hears; nil if the config wants neither.
	server *tged.Server
	port   tgedPort // of a server that only hears
	// These are what it answers from, nil unless the config wants it.
	bridge *bridge.TGED
	file   *tged.File
	rows   *source.TGEDRows
	table  *tged.Table // of rows
}

// How many requests of one source, and of all, a node that doesn't answer hears in a
// second. No more is to be learnt from a flood.
const (
	tgedHeardSource = 50
	tgedHeardTotal  = 2000
)

func listenBroadcast(l packet.Link, port uint16) (tged.Conn, error) {
	return lan.ListenBroadcast(l, port)
}

// openTGED makes what speaks TGED.
func (n *Node) openTGED() error {
	c, s := n.Config.TGED, &n.tged
	s.source = source.TGED{Gateway: n.Config.Name}
	var heard func(tged.Request)
	if c.Enabled && c.Listen {
		from := &source.TGEDHeard{Gateway: n.Config.Name, Own: n.links.has, MAC: n.reflection.macs.of, Record: n.recorder.Record, Observe: n.registry.Observe}
		heard = func(q tged.Request) { from.Hear(time.Now(), q) }
	}
	if !c.Answer {
		if heard != nil {
			s.server = &tged.Server{
				Heard: heard, Links: n.selection.Watch, Listen: s.port.listen, Patient: true,
				PerSource: tgedHeardSource, Total: tgedHeardTotal, Log: n.Log,
			}
		}
		return nil
	}
	s.source.Own = n.ownTGED
	// What is on an MQTT broker may be there because a node heard it by TGED.
	var err error
	if s.bridge, err = bridge.NewTGED(c.Services.Types(), source.ProtocolTGED, source.ProtocolMQTT); err != nil {
		return fmt.Errorf("node: tged.services: %w", err)
	}
	services := tged.Services(s.bridge)
	// Neither is read before the parts run: what is broken there must not keep the
	// node from starting.
	switch path := c.ServicesFile.Path; {
	case c.ServicesFile.SQLite, c.ServicesFile.Postgres != "":
		s.rows = &source.TGEDRows{Path: path, Postgres: store.PostgresURL{URL: c.ServicesFile.Postgres, PasswordFile: c.ServicesPasswordFile}}
		s.table = &tged.Table{Rows: s.rows, Log: n.Log}
		services = tged.Join(s.table, s.bridge)
	case path != "":
		s.file = &tged.File{Path: path, Log: n.Log}
		services = tged.Join(s.file, s.bridge)
	}
	at := n.selection
	at.Loopback = true // what this machine asks itself
	s.server = &tged.Server{
		Services: services, Heard: heard, Links: at.Watch, Listen: listenBroadcast,
		OffLink: c.OffLink, PerSource: c.RateLimit, Log: n.Log,
	}
	if c.RateLimit == 0 {
		s.server.PerSource = -1
	}
	if c.ReplyStyle == config.TGEDCompact {
		s.server.Style = tged.Compact
	}
	return nil
}

// ownTGED says whether this node gave an answer itself: broadcasts come back.
func (n *Node) ownTGED(a tged.Answer) bool {
	if !n.links.has(a.Server.Addr()) {
		return false
	}
	_, err := n.tged.server.Services.Lookup([]byte(a.Service))
	return err == nil
}

// tgedClient asks on the links that are used.
func (n *Node) tgedClient(timeout time.Duration) *tged.Client {
	return &tged.Client{
		Links: func() ([]packet.Link, error) {
			all, err := lan.Links()
			return n.selection.Filter(all), err
		},
		Listen: listenBroadcast, Timeout: timeout, Log: n.Log,
	}
}

// tgedParts are the parts that speak TGED.
func (n *Node) tgedParts() []*daemon.Task {
	parts := []*daemon.Task{{Name: "tged", Run: n.runTGED, Detail: n.tgedDetail}}
	switch c := n.Config.TGED; {
	case n.tged.server == nil:
	case !c.Answer:
		parts = append(parts, &daemon.Task{Name: "tged listener", Run: n.runTGEDListener, Detail: n.tged.listening, Counters: n.tged.counters})
	default:
		parts = append(parts, &daemon.Task{Name: "tged server", Run: n.runTGEDServer, Detail: n.tgedServerDetail, Counters: n.tged.counters})
		if c.TCP {
			parts = append(parts, &daemon.Task{Name: "tged tcp", Run: n.runTGEDOverTCP})
		}
	}
	return parts
}

// runTGEDListener hears who asks.
func (n *Node) runTGEDListener(ctx context.Context) error { return n.tged.port.run(ctx, n.tged.server) }

// listening says where requests are heard.
func (s *tgedSpeaker) listening() string {
	names, err := s.server.Listening()
	detail := "hears requests on " + strings.Join(names, " ")
	if len(names) == 0 {
		detail = "hears no requests"
	}
	if err != nil {
		detail += "; " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return detail
}

// runTGEDOverTCP answers over TCP, too.
func (n *Node) runTGEDOverTCP(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", fmt.Sprintf(":%d", tged.Port))
	if err != nil {
		return fmt.Errorf("node: tged.tcp: %w", err)
	}
	return n.tged.server.ServeTCP(ctx, l)
}

// runTGED asks for the services that the config names.
func (n *Node) runTGED(ctx context.Context) error {
	c := n.Config.TGED
	if !c.Enabled {
		return daemon.Unavailable{Reason: errors.New("the config says tged.enabled = false")}
	}
	return n.tged.source.Feed(ctx, n.tgedClient(tged.DefaultTimeout), c.Ask, n.registry.Observe)
}

func (n *Node) tgedDetail() string {
	if len(n.Config.TGED.Ask) == 0 {
		return "asks when somebody looks for a service by name"
	}
	return "asks for " + strings.Join(n.Config.TGED.Ask, ", ")
}

// runTGEDServer answers who asks.
func (n *Node) runTGEDServer(ctx context.Context) error {
	s := &n.tged
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		s.bridge.Run(n.registry.Watch(ctx, lanfolk.Filter{Kind: lanfolk.KindService}))
		return nil
	})
	if s.file != nil {
		tasks.Go(func() error { return s.file.Run(ctx) })
	}
	if s.rows != nil {
		defer s.rows.Close()
		tasks.Go(func() error { return s.table.Run(ctx) })
	}
	tasks.Go(func() error { return s.server.Run(ctx) })
	return tasks.Wait()
}

func (n *Node) tgedServerDetail() string {
	var parts []string
	if types := n.Config.TGED.Services.Types(); len(types) > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d services are known by other protocols", n.tged.bridge.Len(), len(types)))
	}
	if n.tged.file != nil {
		s := n.tged.file.Status()
		parts = append(parts, fmt.Sprintf("%d services in the file", s.Services))
		if s.Err != nil {
			parts = append(parts, "it can't be used as it is now: "+s.Err.Error())
		}
	}
	if n.tged.table != nil {
		s := n.tged.table.Status()
		parts = append(parts, fmt.Sprintf("%d reads of the database", s.Reads))
		if s.Err != nil {
			parts = append(parts, "it can't be read now: "+s.Err.Error())
		}
		if s.Bad != nil {
			parts = append(parts, "rows that can't be used: "+s.Bad.Error())
		}
	}
	return strings.Join(parts, "; ")
}

func (s *tgedSpeaker) counters() map[string]uint64 {
	x := s.server.Stats()
	c := map[string]uint64{
		"received": x.Received, "replies": x.Replies, "invalids": x.Invalids, "send_errors": x.Failed,
		"dropped: not TGED": x.NotTGED, "dropped: too long": x.TooLong, "dropped: no request": x.Answers,
		"dropped: off link": x.OffLink, "dropped: amplified": x.Amplified,
		"dropped: rate of a source": x.SourceLimit, "dropped: rate of all": x.TotalLimit,
		"dropped: crowded": x.Crowded, "dropped: unavailable": x.Unavailable,
		"heard": x.Heard, "connections": x.Connections,
	}
	if s.file != nil {
		f := s.file.Status()
		c["file_loads"], c["file_failures"] = f.Loads, f.Failures
	}
	if s.table != nil {
		t := s.table.Status()
		c["database_reads"], c["database_failures"] = t.Reads, t.Failures
	}
	return c
}
