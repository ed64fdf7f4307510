//go:build unix

package wal

import (
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// A region is a file's bytes in memory. What put wrote outlives the process, and the machine once sync is done.
type region struct {
	mem []byte
}

// mapFile maps a file as long as it is.
func mapFile(path string) (*region, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return &region{}, nil
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &region{mem}, nil
}

// put writes head and then body at off.
func (r *region) put(off int, head, body []byte) (err error) {
	defer caught(&err, debug.SetPanicOnFault(true))
	copy(r.mem[off+len(head):], body)
	copy(r.mem[off:], head)
	return nil
}

func (r *region) sync(from, to int) error {
	from -= from % os.Getpagesize()
	return unix.Msync(r.mem[from:to], unix.MS_SYNC)
}

func (r *region) close() error {
	if r.mem == nil {
		return nil
	}
	return unix.Munmap(r.mem)
}
