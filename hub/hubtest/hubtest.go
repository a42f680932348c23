// Package hubtest starts a hub for a test: the server of `d2nwg hub serve`, on loopback, in a folder of the test's own.
package hubtest

import (
	"context"
	"net"
	"testing"
	"time"

	"d2nwg/hub/server"
)

// The tokens of a test's hub, unless its options have others.
const (
	AliceToken = "hf_test"  // alice writes
	ReadToken  = "hf_read"  // alice reads
	BobToken   = "hf_other" // bob writes
	AdminToken = "hf_admin" // root may do everything
)

// Hub is a running hub.
type Hub struct {
	URL string // its endpoint, without a slash at the end
	Dir string // its folder
}

// Start runs a hub until the test ends.
func Start(tb testing.TB, o server.Options) *Hub {
	tb.Helper()
	return StartIn(tb, tb.TempDir(), o)
}

// StartIn runs a hub in a folder that may hold one already.
func StartIn(tb testing.TB, dir string, o server.Options) *Hub {
	tb.Helper()
	if o.Tokens == nil {
		o.Tokens = []server.Token{
			{Name: "alice", Secret: AliceToken, Role: server.Write},
			{Name: "alice", Secret: ReadToken, Role: server.Read},
			{Name: "bob", Secret: BobToken, Role: server.Write},
			{Name: "root", Secret: AdminToken, Role: server.Admin},
		}
	}
	if o.Log == nil {
		o.Log = func(line string) { tb.Errorf("the hub failed: %s", line) }
	}
	s, err := server.Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, 5*time.Second) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("the hub ended: %v", err)
		}
		if err := s.Close(); err != nil {
			tb.Errorf("the hub's folder: %v", err)
		}
	})
	return &Hub{URL: "http://" + l.Addr().String(), Dir: dir}
}
