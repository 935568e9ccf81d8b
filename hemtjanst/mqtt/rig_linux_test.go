package mqtt_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
)

// patience is how long anything may take here, on a busy machine.
const patience = time.Minute

// mosquitto is Debian's broker on the loopback of the test's namespace.
type mosquitto struct {
	t    testing.TB
	conf string
	cmd  *exec.Cmd
}

// startMosquitto starts a broker on port 1883 with more lines in its configuration.
func startMosquitto(t testing.TB, lines ...string) *mosquitto {
	t.Helper()
	if _, err := exec.LookPath("mosquitto"); err != nil {
		if _, err := os.Stat("/usr/sbin/mosquitto"); err != nil {
			nstest.Missing(t, "mosquitto (Debian's package mosquitto)")
		}
	}
	dir := t.TempDir()
	m := &mosquitto{t: t, conf: filepath.Join(dir, "mosquitto.conf")}
	conf := strings.Join(append([]string{
		"per_listener_settings true", "user root", "persistence true", "persistence_location " + dir + "/",
		"listener 1883 127.0.0.1", "allow_anonymous true", "log_type error", "log_type warning",
	}, lines...), "\n") + "\n"
	if err := os.WriteFile(m.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(func() { m.stop(syscall.SIGKILL) })
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command("mosquitto", "-c", m.conf)
	m.cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin")
	if path, err := exec.LookPath("mosquitto"); err != nil {
		m.cmd.Path, m.cmd.Err = "/usr/sbin/mosquitto", nil
	} else {
		m.cmd.Path = path
	}
	// Its output would keep the test's own open; and it must not outlive the test, however that ends.
	log, err := os.OpenFile(m.conf+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:1883")
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("mosquitto doesn't listen: %v", err)
		}
	}
}

func (m *mosquitto) stop(how syscall.Signal) {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(how)
	_ = m.cmd.Wait()
	m.cmd = nil
}

// wires are the connections of one client, so that a test may cut them.
type wires struct {
	mu  sync.Mutex
	all []net.Conn
}

func (w *wires) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		w.mu.Lock()
		w.all = append(w.all, c)
		w.mu.Unlock()
	}
	return c, err
}

// cut resets all connections.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.all {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	w.all = nil
}

func broker(version mqtt.Version, w *wires) *mqtt.Broker {
	if w == nil {
		w = &wires{}
	}
	return &mqtt.Broker{URL: "mqtt://127.0.0.1", Dial: w.dial, Version: version}
}

// client is a helper that publishes, and keeps what it hears.
type client struct {
	t testing.TB
	hemtjanst.Conn

	mu    sync.Mutex
	heard []string
	now   map[string]string
}

func newClient(t testing.TB, b *mqtt.Broker, filters ...string) *client {
	t.Helper()
	c := &client{t: t, now: map[string]string{}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := b.Connect(ctx, hemtjanst.Session{ClientID: fmt.Sprintf("helper%d", time.Now().UnixNano()), Receive: func(m hemtjanst.Message) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.heard = append(c.heard, m.Topic+" "+string(m.Payload))
		if c.now[m.Topic] = string(m.Payload); len(m.Payload) == 0 {
			delete(c.now, m.Topic)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.Conn = conn
	t.Cleanup(func() { _ = conn.Close() })
	if len(filters) > 0 {
		if err := conn.Subscribe(ctx, hemtjanst.SubscribeOptions{}, filters...); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *client) pub(topic, payload string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Publish(ctx, hemtjanst.Message{Topic: topic, Payload: []byte(payload), Retain: true, QoS: 1}); err != nil {
		c.t.Fatal(err)
	}
	if err := c.Flush(ctx); err != nil {
		c.t.Fatal(err)
	}
}

// eventually waits until f returns "".
func eventually(t testing.TB, f func() string) {
	t.Helper()
	why := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if why = f(); why == "" {
			return
		}
	}
	t.Fatal(why)
}

// state waits until topics have these payloads; "" is none.
func (c *client) state(want map[string]string) {
	c.t.Helper()
	eventually(c.t, func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		for topic, payload := range want {
			if c.now[topic] != payload {
				return fmt.Sprintf("%s is %q, not %q", topic, c.now[topic], payload)
			}
		}
		return ""
	})
}

func (c *client) count(message string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.heard {
		if m == message {
			n++
		}
	}
	return n
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
