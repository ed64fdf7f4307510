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
	go func() { done <- Watch(ctx, path, nil, func() { changes <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	expect = func(step string, write func()) {
		t.Helper()
		write()
		select {
		case <-changes:
		case <-time.After(time.Minute):
			t.Fatalf("%s: no change seen", step)
		}
		drain(changes)
	}
	expect("what was read is not what is there", func() {}) // and the watch stands
	return expect
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

// A secret that the document names by ${file:} is rotated: a change of it counts as one of the document, wherever it lies.
func TestWatchSecrets(t *testing.T) {
	dir, secrets := t.TempDir(), t.TempDir()
	path, one, two := filepath.Join(dir, "sluice.yaml"), filepath.Join(secrets, "one"), filepath.Join(secrets, "later", "two")
	put(t, path, "first")
	expect := watching(t, path)
	put(t, one, "first")
	expect("the document names a file", func() { put(t, path, "api_key: ${file:"+one+"}") })
	expect("written in place", func() { put(t, one, "second") })
	expect("renamed over it", func() {
		put(t, one+".new", "third")
		must(t, os.Rename(one+".new", one))
	})
	expect("removed and made again", func() {
		must(t, os.Remove(one))
		put(t, one, "fourth")
	})
	expect("after the same bytes again, and noise", func() {
		put(t, one, "fourth")
		put(t, filepath.Join(secrets, "other"), "noise")
		put(t, one, "fifth")
	})
	must(t, os.Mkdir(filepath.Dir(two), 0o700))
	expect("a document that names a file that is not there yet", func() { put(t, path, "api_key: \"${file:"+two+"} ${file:"+one+"}\"") })
	expect("the file comes", func() { put(t, two, "here") })
	expect("the other one still counts", func() { put(t, one, "sixth") })
}

// Kubernetes swaps a whole folder of secrets by one link.
func TestWatchSecretSymlinkSwap(t *testing.T) {
	secrets := t.TempDir()
	for _, v := range []string{"one", "two", "three"} {
		must(t, os.Mkdir(filepath.Join(secrets, v), 0o700))
		put(t, filepath.Join(secrets, v, "key"), "secret "+v)
	}
	swap := func(to string) {
		must(t, os.Symlink(to, filepath.Join(secrets, "..tmp")))
		must(t, os.Rename(filepath.Join(secrets, "..tmp"), filepath.Join(secrets, "..data")))
	}
	swap("one")
	must(t, os.Symlink("..data/key", filepath.Join(secrets, "key")))
	path := filepath.Join(t.TempDir(), "sluice.yaml")
	put(t, path, "first")
	expect := watching(t, path)
	expect("the document names it", func() { put(t, path, "api_key: ${file:"+filepath.Join(secrets, "key")+"}") })
	expect("swap", func() { swap("two") })
	expect("and again, the old folder removed", func() {
		swap("three")
		must(t, os.RemoveAll(filepath.Join(secrets, "two")))
	})
}

// Where something happens all the time, changes are seen all the same.
func TestWatchBusyFolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sluice.yaml")
	put(t, path, "first")
	expect := watching(t, path)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(settle / 5)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = os.WriteFile(filepath.Join(dir, "noise"), nil, 0o600)
			case <-stop:
				return
			}
		}
	}()
	expect("amid noise", func() { put(t, path, "changed") })
	close(stop)
	<-ended
}

func TestWatchMissingFolder(t *testing.T) {
	if err := Watch(t.Context(), filepath.Join(t.TempDir(), "none", "sluice.yaml"), nil, func() {}); err == nil {
		t.Error("a folder that is not there is watched")
	}
}
