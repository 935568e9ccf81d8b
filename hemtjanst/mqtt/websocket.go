package mqtt

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/gorilla/websocket"
)

// maxFrame bounds a WebSocket message. It may hold several packets of MQTT.
const maxFrame = 64 << 20

// wsConn is a WebSocket as a stream of bytes, which one goroutine reads and one writes.
type wsConn struct {
	*websocket.Conn
	raw net.Conn  // below it
	r   io.Reader // of the message that is being read
}

var _ net.Conn = (*wsConn)(nil)

// Read returns what comes next, across messages.
func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.r == nil {
			kind, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("mqtt: a WebSocket message that isn't binary")
			}
			c.r = r
		}
		n, err := c.r.Read(p)
		if errors.Is(err, io.EOF) {
			c.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write sends a message.
func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline may be called while Write runs, as the WebSocket's own may not.
func (c *wsConn) SetWriteDeadline(t time.Time) error { return c.raw.SetWriteDeadline(t) }

// SetDeadline sets both deadlines.
func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// belowWebSocket is a connection on which a WebSocket's writes take off no deadline: it sets one
// before each, its own.
type belowWebSocket struct{ net.Conn }

// SetWriteDeadline does nothing.
func (belowWebSocket) SetWriteDeadline(time.Time) error { return nil }
