package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a file must be left alone before it is read: editors write in several steps.
const settle = 100 * time.Millisecond

// Watch calls changed each time the file at path has come to hold something else, and waits for it to
// return. It ends when ctx ends (nil) or when the file cannot be watched. The folders are watched, not the file: an
// editor puts a new file in the place of the old one, and Kubernetes swaps a symbolic link beside it.
func Watch(ctx context.Context, path string, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	defer w.Close() //nolint:errcheck // nothing is lost
	if err := w.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	watchTarget(w, path)
	last := digest(path)
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return nil
			}
			quiet.Reset(settle)
		case err, ok := <-w.Errors:
			if !ok {
				return nil
			}
			_ = err // an overflow loses events: look at the file itself
			quiet.Reset(settle)
		case <-quiet.C:
			watchTarget(w, path)
			if now := digest(path); now != last && now != (sum{}) {
				last = now
				changed()
			}
		}
	}
}

// watchTarget adds the folder of the file that path links to; it changes when the link does.
func watchTarget(w *fsnotify.Watcher, path string) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		_ = w.Add(filepath.Dir(real)) // without it only edits behind the link go unseen; SIGHUP is left
	}
}

type sum [sha256.Size]byte

// digest is zero while there is no file: between an editor's two steps there may be none.
func digest(path string) sum {
	data, err := os.ReadFile(path)
	if err != nil {
		return sum{}
	}
	return sha256.Sum256(data)
}
