package reverse

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// MaxForeign bounds, in bytes, the answer of a client that knows nothing of
// chunks: it comes in one message.
const MaxForeign = 16 << 20

// maxEnvelope is what a message has beside its data: meta, and the fields' tags.
const maxEnvelope = MaxMeta + 4<<10

// Presence: the gateway pings a hub that says nothing, and the hub one that
// doesn't ping. A gateway that vanished is found out in at most pingAfterHub +
// pongWithin, which is less than 30 s.
const (
	pingAfter    = 10 * time.Second
	pingAfterHub = 13 * time.Second
	pongWithin   = 10 * time.Second
)

const (
	// Windows promise room for data that comes; they take none before. A chunk
	// fits into a stream's, several streams' chunks into a connection's.
	streamWindow     = 512 << 10
	connectionWindow = 4 << 20

	maxStreams       = 128              // calls of one gateway at a time
	maxHeaders       = 16 << 10         // bytes
	handshakeWithin  = 20 * time.Second // TLS and HTTP/2
	idleConnection   = 5 * time.Minute  // without a call: it isn't a gateway's
	writeBuffer      = 4 << 10          // of the hub, which says little; borrowed while it speaks
	clientBuffer     = 32 << 10         // of the gateway
	minPingInterval  = 5 * time.Second
	maxReply         = 1 << 20 // bytes of what a hub says in one message
	serverReadBuffer = 0       // frames are read from TLS's own buffer
)

// serverOptions are what 10,000 idle gateways ask for: nothing is kept for a
// connection that it doesn't need while it is idle.
func serverOptions(maxMessage int) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ReadBufferSize(serverReadBuffer),
		grpc.WriteBufferSize(writeBuffer),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.HeaderTableSize(0), // remembering what a gateway said before takes more than hearing it again
		grpc.ConnectionTimeout(handshakeWithin),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: pingAfterHub, Timeout: pongWithin, MaxConnectionIdle: idleConnection,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
	}
}

// dialOptions are the same for a gateway.
func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithReadBufferSize(0),
		grpc.WithWriteBufferSize(clientBuffer),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableHealthCheck(),
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pongWithin, PermitWithoutStream: true}),
	}
}

// oversize counts the messages that grpc refuses since they are too large: no
// handler sees them.
type oversize struct{ n *atomic.Uint64 }

// TagRPC implements stats.Handler.
func (oversize) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (o oversize) HandleRPC(_ context.Context, event stats.RPCStats) {
	if end, ok := event.(*stats.End); ok && status.Code(end.Error) == codes.ResourceExhausted {
		o.n.Add(1)
	}
}

// TagConn implements stats.Handler.
func (oversize) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (oversize) HandleConn(context.Context, stats.ConnStats) {}
