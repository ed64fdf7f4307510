package wal

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A syncer has the kernel put a file on the disk and tell when it is done, so that nobody waits within a system call. A thread
// that does holds one of Go's processors until the scheduler's watcher takes it away, and after each time the watcher looks
// every 20 µs for a while: with a sync every 5 ms and 3,000 calls a second, that was a seventh of all the CPU time. It is used by
// one goroutine at a time; nil does nothing.
type syncer struct {
	queue uintptr // of Linux's asynchronous I/O
	event int
	done  *os.File // the same, waited for as a socket is
	order iocb
	came  ioEvent
	count [8]byte
}

// An iocb is an order to the kernel, an ioEvent what came of it: include/uapi/linux/aio_abi.h.
type iocb struct {
	_        uint64 // given back
	_, _     uint32 // the kernel's key, and flags
	opcode   uint16
	_        int16 // priority
	file     uint32
	_, _     uint64 // of reads and writes: memory and length
	_        int64  // and where
	_        uint64
	notified uint32 // by what
	event    uint32
}

type ioEvent struct {
	_, _   uint64 // what was given, and the order
	result int64
	_      int64
}

const (
	opDataSync    = 3 // IOCB_CMD_FDSYNC
	notifyByEvent = 1 // IOCB_FLAG_RESFD
)

// newSyncer makes one; nil where the kernel has no such thing or does not let us have it.
func newSyncer() *syncer {
	s := &syncer{}
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.queue)), 0); e != 0 { //nolint:gosec // how a system call is given memory
		return nil
	}
	var err error
	if s.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		s.close()
		return nil
	}
	s.done = os.NewFile(uintptr(s.event), "eventfd")
	return s
}

// sync puts on the disk what was written to a file; the file must be open until it returns. ok is false when the kernel does not
// take such an order, for this file at least.
func (s *syncer) sync(f *os.File) (ok bool, err error) {
	if s == nil {
		return false, nil
	}
	s.order = iocb{opcode: opDataSync, file: uint32(f.Fd()), notified: notifyByEvent, event: uint32(s.event)}
	orders := [...]*iocb{&s.order}
	if _, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, s.queue, 1, uintptr(unsafe.Pointer(&orders))); e != 0 { //nolint:gosec // the same
		return false, nil
	}
	_, _ = s.done.Read(s.count[:]) // what counts comes now, and is waited for if need be
	for {
		_, _, e := unix.Syscall6(unix.SYS_IO_GETEVENTS, s.queue, 1, 1, uintptr(unsafe.Pointer(&s.came)), 0, 0) //nolint:gosec // the same
		switch {
		case errors.Is(e, unix.EINTR):
		case e != 0:
			return true, os.NewSyscallError("io_getevents", e)
		case s.came.result < 0:
			return true, os.NewSyscallError("fdatasync", unix.Errno(-s.came.result))
		default:
			return true, nil
		}
	}
}

func (s *syncer) close() {
	if s == nil {
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, s.queue, 0, 0)
	s.done.Close()
}
