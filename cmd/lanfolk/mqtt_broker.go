package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/broker"
	"github.com/lanfolk/lanfolk/internal/config"
)

// mqttBroker is one run of the command.
type mqttBroker struct {
	app
	listen    []string
	origins   []string
	state     string
	memory    bool
	passwords string
	rules     string
	anonymous bool
	cert, key string
	clientCA  string
	grace     time.Duration
	clients   int
	message   int
	retained  int
	verbose   bool
}

func mqttBrokerCommand(a app) *cobra.Command {
	x := &mqttBroker{app: a}
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Be an MQTT broker",
		Long: `broker is an MQTT broker, 3.1.1 and 5, over TCP, TLS and WebSockets. It prints
"ready" when it listens, and works until it is interrupted.

By itself it listens on this machine alone, where everyone may do everything.
What comes in from elsewhere needs a user with a password, a client certificate,
or --anonymous.

--passwords names a file of mosquitto_passwd's or of "lanfolk mqtt passwd";
--client-ca has TLS clients show a certificate, whose common name is their user.
A user reads everything and writes device/USER, provider/USER, and what lies
under current/USER and desired/USER: enough for a device. Bridges, janitors and
whoever switches lamps on need more, from a file that --rules names, in the form of
Mosquitto's acl_file:

  pattern read #
  pattern write current/+
  pattern write device/%u
  pattern write current/%u/#
  user zigbee
  topic write device/+
  topic write provider/+
  topic write current/#
  user janitor
  topic readwrite #
  user panel
  topic write desired/#

current/+ is where those who list devices say something to themselves, to hear when
the list is over.

Retained messages, sessions and wills are kept in the state folder, and written
ten times a second: so much may be lost when the broker is killed. Messages of
QoS 1 and 2 that wait for a client that is away are lost. When it stops, by SIGTERM or
a kill, it speaks no wills: clients that haven't come back --will-grace after it
has started again have died, and theirs are spoken then. When the disk is full it
goes on in memory and says so.`,
		Example: `  lanfolk mqtt broker
  lanfolk mqtt broker --listen 0.0.0.0:1883 --passwords passwords
  lanfolk mqtt broker --listen mqtts://0.0.0.0:8883 --cert broker.pem --key broker.key --client-ca ca.pem
  lanfolk mqtt broker --listen 127.0.0.1:1883 --listen ws://127.0.0.1:9001`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&x.listen, "listen", []string{"127.0.0.1:1883"}, "listen at this `[SCHEME://]ADDR[:PORT]`: mqtt, mqtts, ws or wss; may be repeated")
	fl.StringSliceVar(&x.origins, "origin", nil, "let web pages of this `ORIGIN` connect by WebSocket, such as https://panel.example; may be repeated")
	fl.StringVar(&x.state, "state", "", "the state `folder` (default the service's, then the user's)")
	fl.BoolVar(&x.memory, "in-memory", false, "keep nothing on disk")
	fl.StringVar(&x.passwords, "passwords", "", "the `FILE` of users and their hashed passwords")
	fl.StringVar(&x.rules, "rules", "", "the `FILE` of topic rules")
	fl.BoolVar(&x.anonymous, "anonymous", false, "let in who has no user, from anywhere")
	fl.StringVar(&x.cert, "cert", "", "the certificate `FILE` for mqtts and wss, PEM with its chain")
	fl.StringVar(&x.key, "key", "", "the `FILE` of its private key")
	fl.StringVar(&x.clientCA, "client-ca", "", "ask for client certificates that an authority in this `FILE` has signed")
	fl.DurationVar(&x.grace, "will-grace", broker.DefaultWillGrace, "how long clients have to come back after a restart before their wills are spoken")
	fl.IntVar(&x.clients, "max-clients", 1000, "how many clients may be connected")
	fl.IntVar(&x.message, "max-message", 256<<10, "how large a packet may be, in `bytes`")
	fl.IntVar(&x.retained, "max-retained", 500_000, "how many retained messages are kept; each takes some 2 KiB of memory")
	fl.BoolVarP(&x.verbose, "verbose", "v", false, "say who comes and goes")
	return cmd
}

func (x *mqttBroker) run(ctx context.Context) error {
	o, err := x.options(ctx)
	if err != nil {
		return err
	}
	closeAll := func() {
		for _, l := range o.Listeners {
			l.Close()
		}
	}
	b, err := broker.Open(o)
	if err != nil {
		closeAll()
		return err
	}
	for _, l := range o.Listeners {
		o.Log.Info("listening", "addr", l.Addr().String())
	}
	fmt.Fprintln(x.out, "ready")
	return b.Run(ctx)
}

// options reads the flags and opens the listeners.
func (x *mqttBroker) options(ctx context.Context) (broker.Options, error) {
	level := slog.LevelInfo
	if x.verbose {
		level = slog.LevelDebug
	}
	o := broker.Options{
		Anonymous: x.anonymous, WillGrace: x.grace, Log: x.logger(level, config.FormatAuto),
		Limits: broker.Limits{Clients: x.clients, Message: x.message, Retained: x.retained},
	}
	if x.grace <= 0 || x.clients < 1 || x.message < 1 || x.retained < 1 {
		return o, usagef("--will-grace, --max-clients, --max-message and --max-retained: want more than 0")
	}
	if x.message > 64<<20 {
		return o, usagef("--max-message %d: want at most %d", x.message, 64<<20)
	}
	if x.memory && x.state != "" {
		return o, usagef("--in-memory and --state exclude each other")
	}
	if !x.memory {
		dir, err := stateFolder(x.state)
		if err != nil {
			return o, err
		}
		o.Dir = filepath.Join(dir, "mqtt")
	}
	switch {
	case (x.cert == "") != (x.key == ""):
		return o, usagef("--cert and --key go together")
	case x.clientCA != "" && x.cert == "":
		return o, usagef("--client-ca: TLS needs --cert and --key, too")
	}
	files := broker.Files{Passwords: x.passwords, Rules: x.rules, Cert: x.cert, Key: x.key, ClientCA: x.clientCA}
	tlsConfig, err := files.Read(&o)
	if err != nil {
		return o, err
	}
	for _, s := range x.listen {
		l, err := x.open(ctx, s, tlsConfig, o)
		if err != nil {
			for _, l := range o.Listeners {
				l.Close()
			}
			return o, err
		}
		o.Listeners = append(o.Listeners, l)
	}
	return o, nil
}

// open opens a listener.
func (x *mqttBroker) open(ctx context.Context, s string, tlsConfig *tls.Config, o broker.Options) (broker.Listener, error) {
	var l broker.Listener
	scheme, at, ok := strings.Cut(s, "://")
	if !ok {
		scheme, at = "mqtt", s
	}
	port, known := map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "9001", "wss": "9002"}[scheme]
	if !known {
		return l, usagef("--listen %q: want mqtt, mqtts, ws or wss", s)
	}
	if _, err := netip.ParseAddr(at); err == nil {
		at = net.JoinHostPort(at, port)
	}
	ap, err := netip.ParseAddrPort(at)
	if err != nil {
		return l, usagef("--listen %q: want an IP address and a port", s)
	}
	if scheme == "mqtts" || scheme == "wss" {
		if tlsConfig == nil {
			return l, usagef("--listen %q: TLS needs --cert and --key", s)
		}
		l.TLS = tlsConfig
	}
	l.WebSocket, l.Origins = strings.HasPrefix(scheme, "ws"), x.origins
	certificate := l.TLS != nil && o.Certificates
	if !ap.Addr().Unmap().IsLoopback() && o.Users == nil && !o.Anonymous && !certificate {
		return l, usagef("--listen %q: nobody could come in from elsewhere; add --passwords, --client-ca with mqtts, or --anonymous", s)
	}
	l.Listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", at)
	if err != nil {
		return l, err
	}
	return l, nil
}
