//go:build !linux

package app

import "syscall"

// boundUnsent bounds nothing here: the send buffer's own size does.
func boundUnsent(_, _ string, _ syscall.RawConn) error { return nil }
