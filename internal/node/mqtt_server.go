package node

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/lanfolk/lanfolk/internal/broker"
	"github.com/lanfolk/lanfolk/internal/daemon"
)

// mqttServerParts is the broker in the node, if the config wants it. Parts that are its clients end before it.
func (n *Node) mqttServerParts() []*daemon.Task {
	if len(n.Config.MQTT.Server.Listen) == 0 {
		return nil
	}
	return []*daemon.Task{{Name: "mqtt broker", Run: n.runMQTTServer, Detail: n.mqttServerDetail, Counters: n.mqtt.serverCounters}}
}

// runMQTTServer is an MQTT broker.
func (n *Node) runMQTTServer(ctx context.Context) error {
	c := n.Config.MQTT.Server
	o := broker.Options{
		Anonymous: c.Anonymous, WillGrace: c.WillGrace.Duration(), Log: n.Log, Dir: cmp.Or(c.State, filepath.Join(n.State, "mqtt")),
		Limits: broker.Limits{Clients: c.MaxClients, Message: c.MaxMessage, Retained: c.MaxRetained},
	}
	files := broker.Files{Passwords: c.PasswordsFile, Rules: c.RulesFile, Cert: c.CertFile, Key: c.KeyFile, ClientCA: c.ClientCAFile}
	tlsConfig, err := files.Read(&o)
	if err != nil {
		return fmt.Errorf("node: mqtt.server: %w", err)
	}
	closeAll := func() {
		for _, l := range o.Listeners {
			_ = l.Close() // nothing was written there
		}
	}
	for _, at := range c.Listen {
		l := broker.Listener{WebSocket: strings.HasPrefix(at.Scheme, "ws"), Origins: c.Origins}
		if at.Secure() {
			l.TLS = tlsConfig
		}
		if l.Listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", at.Addr.String()); err != nil {
			closeAll()
			return fmt.Errorf("node: mqtt.server: %w", err)
		}
		o.Listeners = append(o.Listeners, l)
	}
	b, err := broker.Open(o)
	if err != nil {
		closeAll()
		return err
	}
	n.mqtt.set(func() { n.mqtt.server = b })
	return b.Run(ctx)
}

func (s *mqttSpeaker) serving() *broker.Broker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

func (n *Node) mqttServerDetail() string {
	b := n.mqtt.serving()
	if b == nil {
		return ""
	}
	var at []string
	for _, l := range n.Config.MQTT.Server.Listen {
		at = append(at, l.String())
	}
	x := b.Stats()
	text := fmt.Sprintf("listens at %s; %d clients, %d retained messages", strings.Join(at, ", "), x.Connected, x.Retained)
	if x.Unsaved != nil {
		text += "; in memory alone: " + x.Unsaved.Error()
	}
	return text
}

func (s *mqttSpeaker) serverCounters() map[string]uint64 {
	b := s.serving()
	if b == nil {
		return map[string]uint64{}
	}
	x := b.Stats()
	return map[string]uint64{
		"wills": uint64(x.Wills), "stalled": uint64(x.Stalled), "downgraded": uint64(x.Downgraded), "not_retained": uint64(x.NotRetained),
		"refused_connections": uint64(x.RefusedConnections), "refused_messages": uint64(x.RefusedMessages), "refused_filters": uint64(x.RefusedFilters),
		"dropped: slow client": uint64(x.Dropped),
	}
}
