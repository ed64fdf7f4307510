package app

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unsent is how much of an answer the kernel may hold that a client is not ready for, in bytes.
const unsent = 128 << 10

// boundUnsent bounds what a client that does not read costs in the kernel: without it a stream fills a send buffer of megabytes before
// the upstream is held back. What is on its way is not bounded, so a long fast path stays fast. Connections inherit it from their
// listener.
func boundUnsent(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent) // an old kernel goes without
	})
}
