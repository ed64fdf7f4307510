package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// watching starts Watch and gives a func that waits for a change, or for none.
func watching(t *testing.T, path string) (expect func(step string, write func())) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan struct{}, 16), make(chan error, 1)
	go func() { done <- Watch(ctx, path, func() { changes <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	// The watch stands once a change is seen; until then each write is another one.
	for n := byte('a'); ; n++ {
		put(t, path, string(n))
		select {
		case <-changes:
			drain(changes)
			return func(step string, write func()) {
				t.Helper()
				write()
				select {
				case <-changes:
				case <-time.After(10 * time.Second):
					t.Fatalf("%s: no change seen", step)
				}
				drain(changes)
			}
		case err := <-done:
			t.Fatalf("Watch: %v", err)
		case <-time.After(3 * settle):
		}
	}
}

func drain(c chan struct{}) {
	for len(c) > 0 {
		<-c
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchEdits(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sluice.yaml")
	put(t, path, "first")
	expect := watching(t, path)
	expect("written in place", func() { put(t, path, "in place") })
	expect("renamed over it", func() {
		put(t, path+".swp", "renamed")
		must(t, os.Rename(path+".swp", path))
	})
	expect("removed and made again", func() {
		must(t, os.Remove(path))
		put(t, path, "again")
	})
	// Noise beside it and rewrites of the same bytes are no change: the next change seen is the real one.
	expect("after noise", func() {
		put(t, filepath.Join(dir, "other"), "noise")
		put(t, path, "again")
		put(t, path, "real")
	})
}

// Kubernetes: the file links to ..data/file, ..data links to a folder, and a new folder takes its place.
func TestWatchSymlinkSwap(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "one"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "two"), 0o700))
	put(t, filepath.Join(dir, "one", "sluice.yaml"), "1")
	put(t, filepath.Join(dir, "two", "sluice.yaml"), "2")
	must(t, os.Symlink("one", filepath.Join(dir, "..data")))
	path := filepath.Join(dir, "sluice.yaml")
	must(t, os.Symlink("..data/sluice.yaml", path))
	expect := watching(t, path)
	expect("swap", func() {
		must(t, os.Symlink("two", filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	})
	expect("edit behind the link", func() { put(t, filepath.Join(dir, "two", "sluice.yaml"), "3") })
}

func TestWatchMissingFolder(t *testing.T) {
	if err := Watch(t.Context(), filepath.Join(t.TempDir(), "none", "sluice.yaml"), func() {}); err == nil {
		t.Error("a folder that is not there is watched")
	}
}
