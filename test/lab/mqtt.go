package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// MQTT says which broker is to run and how. The zero value is a Mosquitto that
// lets everyone in on port 1883 of every address and keeps nothing.
type MQTT struct {
	// Lanfolk has lanfolk's own broker run, not Mosquitto.
	Lanfolk bool
	// Persistent keeps state from one Start to the next.
	Persistent bool
	// Passwords are users and their passwords; with any, nobody else comes in.
	Passwords map[string]string
	// ACL is the text of a file of topic rules, in Mosquitto's form.
	ACL string
	// TLS opens port 8883 with a certificate for the host's addresses. With
	// Certificates, clients there show one, and are who it names.
	TLS, Certificates bool
	// WebSocket opens port 9001, and with TLS port 9002.
	WebSocket bool
	// WillGrace is lanfolk's --will-grace, 0 for its default.
	WillGrace time.Duration
	// Lines are added to Mosquitto's configuration.
	Lines []string
}

// MQTTBroker is a broker in a host.
type MQTTBroker struct {
	MQTT
	host      *Host
	dir       string
	run       *Process
	stderr    string // of the runs before
	authority *Authority
}

// MQTT starts a broker and waits until it serves.
func (h *Host) MQTT(m MQTT) *MQTTBroker {
	t := h.lab.t
	t.Helper()
	b := &MQTTBroker{MQTT: m, host: h, dir: h.lab.tempDir("mqtt")}
	if m.TLS {
		names := []string{"localhost", "127.0.0.1", "::1"}
		for _, a := range h.Addresses() {
			names = append(names, a.String())
		}
		b.authority = NewAuthority(t, b.dir)
		b.authority.Issue("server", names...)
	}
	if m.ACL != "" {
		h.lab.writeFile(b.dir, "acl", m.ACL)
	}
	if len(m.Passwords) > 0 {
		b.passwords()
	}
	b.Start()
	return b
}

// passwords makes the password file, with the broker's own tool.
func (b *MQTTBroker) passwords() {
	t := b.host.lab.t
	t.Helper()
	path := b.host.lab.writeFile(b.dir, "passwords", "")
	for _, user := range slices.Sorted(maps.Keys(b.Passwords)) {
		c := b.host.Lanfolk("mqtt", "passwd", path, user)
		c.Stdin = b.Passwords[user] + "\n"
		if !b.Lanfolk {
			c = b.host.Command("mosquitto_passwd", "-b", path, user, b.Passwords[user])
		}
		if r := c.Run(); r.Exit != 0 {
			t.Fatalf("lab: password of %s: exit %d: %s", user, r.Exit, r.Stderr)
		}
	}
}

// Start starts the broker again, with the state that it has.
func (b *MQTTBroker) Start() {
	t := b.host.lab.t
	t.Helper()
	if b.run != nil {
		b.stderr += b.run.Stderr()
	}
	if b.Lanfolk {
		b.startLanfolk()
		return
	}
	Require(t, "mosquitto")
	conf := []string{"user root", "log_type all", "listener 1883"}
	if b.TLS {
		server := []string{"cafile " + b.authority.CA, "certfile " + b.path("server.pem"), "keyfile " + b.path("server.key")}
		if b.Certificates {
			server = append(server, "require_certificate true", "use_identity_as_username true")
		}
		conf = append(append(conf, "listener 8883"), server...)
		if b.WebSocket {
			conf = append(append(conf, "listener 9002", "protocol websockets"), server...)
		}
	}
	if b.WebSocket {
		conf = append(conf, "listener 9001", "protocol websockets")
	}
	conf = append(conf, fmt.Sprintf("allow_anonymous %v", len(b.Passwords) == 0 && !b.Certificates))
	if len(b.Passwords) > 0 {
		conf = append(conf, "password_file "+b.path("passwords"))
	}
	if b.ACL != "" {
		conf = append(conf, "acl_file "+b.path("acl"))
	}
	if b.Persistent {
		conf = append(conf, "persistence true", "persistence_location "+b.dir+"/")
	}
	conf = append(conf, b.Lines...)
	file := b.host.lab.writeFile(b.dir, "mosquitto.conf", strings.Join(conf, "\n")+"\n")
	b.run = b.host.startMosquitto(file, "127.0.0.1:1883")
}

// startMosquitto starts a Mosquitto with a file of configuration, and waits until it answers at an address.
// It says that it runs before it does: a SIGTERM that comes in between is lost.
func (h *Host) startMosquitto(file, address string) *Process {
	t := h.lab.t
	t.Helper()
	p := h.Start("mosquitto", "-v", "-c", file)
	p.WaitLine(startsWithin, "start", func(line string) bool {
		return strings.Contains(line, "mosquitto version") && strings.HasSuffix(line, "running")
	})
	ctx, cancel := context.WithTimeout(context.Background(), startsWithin)
	defer cancel()
	c, err := h.DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatalf("lab: mosquitto: %v", err)
	}
	defer c.Close()
	// A CONNECT of MQTT 3.1.1 without a client id. Whether it is accepted, refused or hung up on: its loop runs.
	if _, err := c.Write([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00")); err != nil {
		t.Fatalf("lab: mosquitto: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(startsWithin))
	if _, err := c.Read(make([]byte, 4)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("lab: mosquitto doesn't answer at %s: %s", address, p.describe())
	}
	return p
}

// startsWithin is how long a broker may take to start on a busy machine.
const startsWithin = 30 * time.Second

func (b *MQTTBroker) startLanfolk() {
	plain := "0.0.0.0"
	if b.Certificates && len(b.Passwords) == 0 { // nobody could come in there
		plain = "127.0.0.1"
	}
	args := []string{"mqtt", "broker", "-v", "--listen", plain + ":1883"}
	if b.TLS {
		args = append(args, "--listen", "mqtts://0.0.0.0:8883", "--cert", b.path("server.pem"), "--key", b.path("server.key"))
		if b.Certificates {
			args = append(args, "--client-ca", b.authority.CA)
		}
		if b.WebSocket {
			args = append(args, "--listen", "wss://0.0.0.0:9002")
		}
	}
	if b.WebSocket {
		args = append(args, "--listen", "ws://"+plain+":9001")
	}
	switch {
	case len(b.Passwords) > 0:
		args = append(args, "--passwords", b.path("passwords"))
	case !b.Certificates:
		args = append(args, "--anonymous")
	}
	if b.ACL != "" {
		args = append(args, "--rules", b.path("acl"))
	}
	if b.Persistent {
		args = append(args, "--state", b.dir)
	} else {
		args = append(args, "--in-memory")
	}
	if b.WillGrace > 0 {
		args = append(args, "--will-grace", b.WillGrace.String())
	}
	b.run = b.host.Lanfolk(args...).Start()
	b.run.WaitLine(startsWithin, "ready", func(line string) bool { return line == "ready" })
}

func (b *MQTTBroker) path(name string) string { return filepath.Join(b.dir, name) }

// Stop ends the broker with a signal and waits until it is gone.
func (b *MQTTBroker) Stop(sig syscall.Signal) {
	b.host.lab.t.Helper()
	b.run.Signal(sig)
	b.run.Wait(30 * time.Second)
}

// Process returns the broker's program as it runs now.
func (b *MQTTBroker) Process() *Process { return b.run }

// Log returns what the broker has said, in all its runs.
func (b *MQTTBroker) Log() string { return b.stderr + b.run.Stderr() }

// Authority returns who signed its certificate, nil without TLS.
func (b *MQTTBroker) Authority() *Authority { return b.authority }

// Path returns a file or folder of the broker's.
func (b *MQTTBroker) Path(name string) string { return b.path(name) }

// URL returns the broker's URL as seen from its own host; the scheme is mqtt,
// mqtts, ws or wss.
func (b *MQTTBroker) URL(scheme string) string {
	return fmt.Sprintf("%s://127.0.0.1:%d", scheme, map[string]int{"mqtt": 1883, "mqtts": 8883, "ws": 9001, "wss": 9002}[scheme])
}

// DialContext connects from the host.
func (h *Host) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = h.Do(func() error {
		c, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return c, err
}
