package wal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel takes the order to sync a file, and tells what came of it; a file that cannot be synced so is left to the other way.
func TestSyncer(t *testing.T) {
	s := newSyncer()
	if s == nil {
		t.Skip("NOT TESTED: this kernel has no asynchronous I/O")
	}
	defer s.close()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 3 { // one after the other, by the same queue
		if _, err := f.WriteString("written"); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.sync(f); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if ok, err := s.sync(w); ok && !errors.Is(err, unix.EINVAL) {
		t.Error("a pipe:", ok, err)
	}
	if ok, err := (*syncer)(nil).sync(f); ok || err != nil {
		t.Error("without a syncer:", ok, err)
	}
	if ok, err := s.sync(f); !ok || err != nil {
		t.Error("after a pipe:", ok, err)
	}
}
