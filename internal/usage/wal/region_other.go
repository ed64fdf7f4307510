//go:build !unix

package wal

import (
	"os"
)

// A region is a file's bytes, kept in memory, too. What put wrote outlives the process, and the machine once
// sync is done.
type region struct {
	mem  []byte
	file *os.File
}

// mapFile reads a file as long as it is.
func mapFile(path string) (*region, error) {
	mem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &region{mem, f}, nil
}

// put writes head and then body at off.
func (r *region) put(off int, head, body []byte) error {
	copy(r.mem[off+len(head):], body)
	copy(r.mem[off:], head)
	_, err := r.file.WriteAt(r.mem[off:off+len(head)+len(body)], int64(off))
	return err
}

// forget has nothing to let go of.
func (r *region) forget() {}

func (r *region) sync(_ *syncer, _, _ int) error { return r.file.Sync() }

func (r *region) close() error { return r.file.Close() }
