package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// holds looks at all that a directory has: one file, of this text, that nobody else may read.
func holds(t *testing.T, path, text string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != text {
		t.Errorf("%q, %v, want %q", got, err, text)
	}
	all, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(all) != 1 {
		t.Fatalf("left behind: %v, %v", all, err)
	}
	if info, err := all[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Create(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	holds(t, path, "first")
	if err := Replace(path, []byte("third")); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "third")
	if err := Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	holds(t, path+"2", "third")
	if err := Replace(path, []byte("fourth")); err != nil {
		t.Errorf("where there is none: %v", err)
	}
}

// What fails leaves nothing.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none", "f")
	for what, err := range map[string]error{
		"replace a directory": Replace(path, nil), "create over one": Create(path, nil), "replace nowhere": Replace(none, nil), "create nowhere": Create(none, nil), "rename nothing": Rename(none, path),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("left behind: %v, %v", all, err)
	}
}

// Of many who make a file at once one does; of many who replace it, a reader finds the whole text of one.
func TestRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var made atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		text := []byte(strings.Repeat(string(rune('a'+i)), 10_000))
		all.Go(func() {
			if Create(path, text) == nil {
				made.Add(1)
			}
			got, err := os.ReadFile(path)
			if err != nil || len(got) != len(text) || strings.Trim(string(got), string(got[:1])) != "" {
				t.Errorf("a part is there: %d bytes, %v", len(got), err)
			}
			if err := Replace(path, text); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("%d made it", made.Load())
	}
}
