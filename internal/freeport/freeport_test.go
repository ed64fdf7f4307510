package freeport

import (
	"net"
	"strconv"
	"testing"
)

func TestFind(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		port, err := Find()
		if err != nil {
			t.Fatal(err)
		}
		if port < first || port >= last {
			t.Fatalf("port %d is not from %d to %d", port, first, last)
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatalf("port %d is not free: %v", port, err)
		}
		defer l.Close()
		if seen[port] {
			t.Fatalf("port %d was found while somebody listened on it", port)
		}
		seen[port] = true
	}
}
