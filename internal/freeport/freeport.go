// Package freeport finds ports for programs that cannot be given one by the kernel.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports that are looked at lie below those that kernels give to connections (from 32768 on Linux, from 49152 elsewhere): such a
// one may be taken by anybody's connection before a program listens on it, or while it is down, even by the connection of
// somebody who calls it.
const (
	first = 10_000
	last  = 32_000
)

// Find gives a port of 127.0.0.1 that nobody listens on now, drawn at random, so that those who look at the same time seldom find
// the same.
func Find() (int, error) {
	for range 100 {
		port := first + rand.IntN(last-first)                                          //nolint:gosec // no secret
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // it ends here
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("none of 100 ports of 127.0.0.1 from %d to %d is free", first, last)
}
