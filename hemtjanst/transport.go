package hemtjanst

import (
	"context"
	"errors"
	"time"
)

// Message is what is published on a topic. An empty payload that is retained clears the topic.
type Message struct {
	Topic   string
	Payload []byte
	// Retain asks the broker to keep the message. In one that was received it means that the broker
	// had kept it, and didn't just hear it.
	Retain bool
	QoS    byte
}

// Will is the message that the broker publishes when the connection ends without a farewell.
type Will = Message

// Session is what a role asks of a connection.
type Session struct {
	ClientID  string
	Will      *Will
	KeepAlive time.Duration // whole seconds; 0 is the transport's default
	// Receive is called for each message, one at a time and in order. The receiver may keep it. What it
	// does must be quick, and it must call nothing of the Conn: while it works nothing else is read.
	Receive func(Message)
	// Refused is called when the broker doesn't take a message, if it says so.
	Refused func(topic string, err error)
	// Taken is called when the broker has answered to a message at QoS 1 that it takes it, where it says
	// otherwise to those that it doesn't: with MQTT 5. It must be as quick as Receive.
	Taken func(topic string)
}

// Transport makes connections to one broker. It may be used by several roles at a time.
type Transport interface {
	// Connect returns a connection that the broker has accepted, with a session that is new.
	Connect(ctx context.Context, s Session) (Conn, error)
}

// Conn is a connection to a broker. Its methods may be called from several goroutines.
type Conn interface {
	// Subscribe asks for what is retained under the filters, and for what is published from now on, all
	// at QoS 0. Filters that the broker refuses are an error. What is retained is sent again if
	// a filter was subscribed to before.
	Subscribe(ctx context.Context, o SubscribeOptions, filters ...string) error
	Unsubscribe(ctx context.Context, filters ...string) error
	// Publish hands a message over. It waits while as many are on their way as the broker takes at
	// a time, and doesn't wait for this one. Messages arrive in order.
	Publish(ctx context.Context, m Message) error
	// Flush waits until the broker has answered to all that was published before.
	Flush(ctx context.Context) error
	// NoLocal says whether the broker can keep back the messages of the connection itself. One that can
	// also says which messages it takes.
	NoLocal() bool
	// Done is closed when the connection has ended. Err then says why.
	Done() <-chan struct{}
	Err() error
	// Disconnect says farewell, so that the will isn't spoken, and ends the connection. Close ends it
	// without a word.
	Disconnect(ctx context.Context) error
	Close() error
}

// SubscribeOptions are about a subscription.
type SubscribeOptions struct {
	// NoLocal keeps back what the connection itself publishes, where the broker can.
	NoLocal bool
}

// Errors of a Conn that roles branch on.
var (
	// ErrTakenOver means that another client connected with the same client id.
	ErrTakenOver = errors.New("the session was taken over by another client with the same client id")
	// ErrBroker means that what is given as the broker's address is none.
	ErrBroker = errors.New("unusable broker address")
	// ErrDenied means that the broker doesn't let us in, or not as what we say we are.
	ErrDenied = errors.New("the broker refuses the connection")
)
