package reverse_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// desk is a hub that keeps nothing: it prints what gateways answer.
type desk struct{ online, done chan struct{} }

func (d desk) Begin(context.Context, reverse.Peer) (uint64, error) { close(d.online); return 1, nil }
func (desk) End(reverse.Session, error)                            {}

func (d desk) Open(context.Context, reverse.Peer, string) (reverse.Result, error) {
	return &paper{done: d.done}, nil
}

type paper struct {
	strings.Builder
	done chan struct{}
}

func (*paper) Held() (uint64, io.ReadCloser, error) { return 0, nil, nil }
func (*paper) Limit() uint64                        { return 1 << 20 }
func (*paper) Abort(error)                          {}
func (*paper) Close() error                         { return nil }

func (p *paper) Write(_ context.Context, _ reverse.Meta, data []byte) error {
	_, err := p.Builder.Write(data)
	return err
}

func (p *paper) Finish(_ context.Context, t reverse.Type, m reverse.Meta) error {
	fmt.Printf("%s: %s, %s", t, m.Status, p)
	close(p.done)
	return nil
}

// clock is a gateway that knows one command.
type clock struct{}

func (clock) Hello() *lanfolkpb.HelloRequest      { return &lanfolkpb.HelloRequest{} }
func (clock) Welcome(*lanfolkpb.Welcome)          {}
func (clock) Accept(string, string) (bool, error) { return true, nil }
func (clock) Delivered(string, error)             {}

func (clock) Run(_ context.Context, _, line string, _ reverse.Terms) *reverse.Outgoing {
	if line != "time" {
		return reverse.Failure(reverse.StatusDenied, "only time")
	}
	text := "half past nine\n"
	return &reverse.Outgoing{
		Type: reverse.TypeResult, Fresh: true, Content: strings.NewReader(text),
		End: func() reverse.End {
			return reverse.End{Status: reverse.StatusOK, SHA256: sha256.Sum256([]byte(text)), Total: uint64(len(text))}
		},
	}
}

// A bare hub and a gateway that dials it, joined in memory.
func Example() {
	d := desk{make(chan struct{}), make(chan struct{})}
	hub := &reverse.Server{Sessions: d, Results: d}
	listener := bufconn.Listen(1 << 16)
	server := hub.GRPC(nil)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	gateway := &reverse.Client{
		ID: "tower", Foreign: true, Handler: clock{},
		Dial: func(ctx context.Context) (net.Conn, error) { return listener.DialContext(ctx) },
	}
	go func() { ended <- gateway.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	<-d.online
	for len(hub.Online()) == 0 {
		time.Sleep(time.Millisecond)
	}
	err := hub.Send(ctx, "insecure/tower", reverse.Command{ID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Line: "time"})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-d.done
	// Output: result: ok, half past nine
}
