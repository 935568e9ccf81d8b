package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

// freePorts returns freeport NAME, which sets a variable to an address of loopback that
// nobody listens at, and nobody else will: it is of this process alone, as others take
// ports of 127.0.0.1.
func freePorts() func(*testscript.TestScript, bool, []string) {
	pid := os.Getpid()
	own := netip.AddrFrom4([4]byte{127, 1 + byte(pid>>16), byte(pid >> 8), byte(pid)})
	var last atomic.Uint32
	return func(ts *testscript.TestScript, neg bool, argv []string) {
		if neg || len(argv) != 1 {
			ts.Fatalf("usage: freeport NAME")
		}
		for range 100 {
			address := netip.AddrPortFrom(own, uint16(8000+last.Add(1))).String()
			if ln, err := net.Listen("tcp", address); err == nil {
				ts.Check(ln.Close())
				ts.Setenv(argv[0], address)
				return
			}
		}
		ts.Fatalf("no port of %s is free", own)
	}
}

// foreignGateway NAME ADDRESS listens to a hub in the background as somebody who read
// nothing but reverse_access.proto.
func foreignGateway(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) != 2 {
		ts.Fatalf("usage: gateway NAME ADDRESS")
	}
	conn, err := grpc.NewClient(argv[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	ts.Check(err)
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "client-id", argv[0]))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = obey(ctx, reversepb.NewReverserClient(conn), argv[0], ts.MkAbs("release"))
			time.Sleep(10 * time.Millisecond) // the hub ended the stream
		}
	}()
	ts.Defer(func() {
		cancel()
		<-ended
		conn.Close()
	})
}

// obey answers what it is told until the stream ends.
func obey(ctx context.Context, hub reversepb.ReverserClient, name, release string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := hub.SubscribeCommand(ctx, &reversepb.CommandRequest{Id: name})
	if err != nil {
		return err
	}
	for {
		c, err := stream.Recv()
		if err != nil {
			return err
		}
		go func() {
			// An error means that the hub wants no more of it.
			_, _ = hub.SendResource(ctx, answer(ctx, name, c.GetCommand(), release))
		}()
	}
}

func answer(ctx context.Context, name, command, release string) *reversepb.ResourceRequest {
	switch command {
	case "get big":
		return &reversepb.ResourceRequest{Type: 3, Data: []byte(strings.Repeat("0123456789abcdef\n", 6000))}
	case "exec binary":
		return &reversepb.ResourceRequest{Type: 1, Data: []byte("a\x00\xff\x1b[2J\r\nb")}
	case "exec hold":
		for _, err := os.Stat(release); err != nil && ctx.Err() == nil; _, err = os.Stat(release) {
			time.Sleep(10 * time.Millisecond)
		}
		return &reversepb.ResourceRequest{Type: 1, Data: []byte("held")}
	}
	return &reversepb.ResourceRequest{Type: 1, Data: []byte(name + " does " + command + "\n")}
}
