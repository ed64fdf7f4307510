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
	mem  []byte
	file *os.File
}

// mapFile maps a file as long as it is.
func mapFile(path string) (*region, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r := &region{file: f}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		r.mem, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return r, nil
}

// put writes head and then body at off.
func (r *region) put(off int, head, body []byte) (err error) {
	defer caught(&err, debug.SetPanicOnFault(true))
	copy(r.mem[off+len(head):], body)
	copy(r.mem[off:], head)
	return nil
}

// forget lets go of the memory in which the file was read; what is looked at again is read again. A file is read whole when the log is
// opened, and most of it never again.
func (r *region) forget() {
	if r.mem != nil {
		_ = unix.Madvise(r.mem, unix.MADV_DONTNEED) // it is the kernel's to do or not
	}
}

// sync puts on the disk what was put between from and to.
func (r *region) sync(by *syncer, from, to int) error {
	if ok, err := by.sync(r.file); ok {
		return err
	}
	from -= from % os.Getpagesize()
	return unix.Msync(r.mem[from:to], unix.MS_SYNC)
}

func (r *region) close() error {
	defer r.file.Close()
	if r.mem == nil {
		return nil
	}
	return unix.Munmap(r.mem)
}
