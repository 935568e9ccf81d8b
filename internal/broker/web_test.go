package broker_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/lanfolk/lanfolk/internal/broker"
)

// A page elsewhere can't have a browser on this machine speak to the broker,
// nor can one whose host name points here.
func TestWebPagesElsewhereStayOut(t *testing.T) {
	t.Parallel()
	l := broker.Listener{Listener: listenLoopback(t), WebSocket: true, Origins: []string{"https://panel.example"}}
	r := newRig(t, broker.Options{Listeners: []broker.Listener{l}})
	for _, c := range []struct {
		origin, host string
		want         int
	}{
		{"", "", http.StatusSwitchingProtocols},
		{"http://" + r.addr, "", http.StatusSwitchingProtocols},
		{"http://localhost:1", "localhost:1", http.StatusSwitchingProtocols},
		{"https://panel.example", "", http.StatusSwitchingProtocols},
		{"https://evil.example", "", http.StatusForbidden},
		{"http://evil.example", "evil.example", http.StatusForbidden}, // its name points at this machine
		{"http://127.0.0.1:1", "", http.StatusForbidden},
		{"null", "", http.StatusForbidden},
	} {
		h := http.Header{}
		if c.origin != "" {
			h.Set("Origin", c.origin)
		}
		if c.host != "" {
			h.Set("Host", c.host)
		}
		d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: patience}
		ws, answer, err := d.Dial("ws://"+r.addr+"/mqtt", h)
		if answer == nil {
			t.Errorf("origin %q, host %q: %v", c.origin, c.host, err)
			continue
		}
		if answer.StatusCode != c.want {
			t.Errorf("origin %q, host %q: status %d, want %d", c.origin, c.host, answer.StatusCode, c.want)
		}
		if err == nil {
			if ws.Subprotocol() != "mqtt" {
				t.Errorf("subprotocol %q", ws.Subprotocol())
			}
			ws.Close()
		}
	}
}

// MQTT 5 §6: packets don't keep to messages, and those are binary.
func TestWebSocketMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{Listeners: []broker.Listener{{Listener: listenLoopback(t), WebSocket: true}}})
	hello := []byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01w\xc0\x00\xc0\x00") // CONNECT and two PINGREQ
	dial := func() *websocket.Conn {
		ws, _, err := (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+r.addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.Close() })
		_ = ws.SetReadDeadline(time.Now().Add(patience))
		return ws
	}
	ws := dial()
	for _, part := range [][]byte{hello[:1], hello[1:9], {}, hello[9:17], hello[17:]} {
		if err := ws.WriteMessage(websocket.BinaryMessage, part); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	for len(got) < 8 {
		kind, b, err := ws.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage {
			t.Fatalf("%d %v after %x", kind, err, got)
		}
		got = append(got, b...)
	}
	if want := "\x20\x02\x00\x00\xd0\x00\xd0\x00"; string(got) != want {
		t.Errorf("it answers %x, want %x", got, want)
	}
	ws = dial()
	if err := ws.WriteMessage(websocket.TextMessage, hello); err != nil {
		t.Fatal(err)
	}
	if _, b, err := ws.ReadMessage(); err == nil {
		t.Errorf("it answers text with %x", b)
	}
}
