package wal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk that is really full refuses what begins, takes the ends that it was promised, and nothing faults. Once
// there is room again, the log goes on by itself.
func TestFullFilesystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("NOT TESTED: a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l := open(t, filepath.Join(dir, "log"), Options{Segment: 128 << 10})
	add(t, l, nil)
	ballast := filepath.Join(dir, "ballast")
	if err := writeZeros(ballast, 2<<20); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	begun := 0
	for {
		_, err := l.Append(text(250), sizeOf(250), 0)
		if errors.Is(err, ErrFull) && errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		begun++
	}
	for range begun {
		if _, err := l.Append(text(250), 0, sizeOf(250)); err != nil {
			t.Fatal("promised, but:", err)
		}
	}
	if begun < 100 {
		t.Errorf("only %d begun", begun)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	for len(l.spares) == 0 {
		l.made.Wait()
	}
	l.mu.Unlock()
	last := add(t, l, []byte("more"))
	if got := all(t, l, l.Reader(0)); len(got) != int(last) || got[last] != "more" {
		t.Errorf("%d records of %d", len(got), last)
	}
}
