package pgtest

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Trips gives another URL of a database, over which whatever is sent after the server has last spoken is counted: how often somebody
// waits for an answer, however many statements go at once.
func Trips(t testing.TB, database string) (dsn string, trips *atomic.Int64) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	trips = new(atomic.Int64)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var carried sync.WaitGroup
	carried.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			carried.Go(func() { carry(ctx, client, server, trips) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		carried.Wait()
	})
	return u.String(), trips
}

// carry takes bytes both ways until either end, or ctx, is done.
func carry(ctx context.Context, client net.Conn, server string, trips *atomic.Int64) {
	defer client.Close()
	to, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = client.Close(), to.Close() })
	defer stop()
	var spoke atomic.Bool // the server did last
	spoke.Store(true)
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		pass(client, to, func() { spoke.Store(true) })
	})
	pass(to, client, func() {
		if spoke.Swap(false) {
			trips.Add(1)
		}
	})
	_ = to.Close()
	back.Wait()
}

// pass copies, and calls seen for what it has read before it hands that on.
func pass(to io.Writer, from io.Reader, seen func()) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			seen()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
