package app

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// A client that does not read holds little in the kernel: the writer is stopped soon, and with it the upstream.
func TestUnsentIsBounded(t *testing.T) {
	l, err := listenOn(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	taken := 0
	for frame := make([]byte, 4<<10); err == nil; {
		_ = server.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		var n int
		n, err = server.Write(frame)
		taken += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	t.Logf("the kernel took %d bytes", taken)
	if taken > 4*unsent {
		t.Errorf("the kernel took %d bytes that the client does not read, want some %d", taken, unsent)
	}
}
