package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settle    = 100 * time.Millisecond // how long files must be left alone before they are read: editors write in several steps
	impatient = 10 * settle            // a folder in which something always happens is not waited for any longer
)

// Watch calls changed each time the file at path, one that it names by ${file:}, or one of also, has come to hold something else, and waits
// for it to return. The file counts as changed at first if it does not hold doc, which is what was read of it before. It ends when ctx ends
// (nil) or when the file cannot be watched. The folders are watched, not the files: an editor puts a new file in the place of the old one, and
// Kubernetes swaps a symbolic link beside it.
func Watch(ctx context.Context, path string, doc []byte, changed func(), also ...string) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	defer w.Close() //nolint:errcheck // nothing is lost
	if err := w.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	seen := watched{w: w, path: path, also: also}
	seen.look()
	seen.doc = sha256.Sum256(doc)
	quiet := time.NewTimer(settle) // what changed before the folders were watched is seen now
	defer quiet.Stop()
	first := time.Now() // of the events that are waited for; zero: none
	noticed := func() {
		if first.IsZero() {
			first = time.Now()
		}
		quiet.Reset(min(settle, time.Until(first.Add(impatient))))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return nil
			}
			noticed()
		case _, ok := <-w.Errors:
			if !ok {
				return nil
			}
			noticed() // an overflow loses events: look at the files themselves
		case <-quiet.C:
			first = time.Time{}
			if seen.look() {
				changed()
			}
		}
	}
}

// watched is what a document and the files that it names held when they were last there.
type watched struct {
	w     *fsnotify.Watcher
	path  string
	doc   sum
	also  []string
	files map[string]sum
}

// look reads everything again, watches what is new, and tells whether something changed. A file that is gone has not changed:
// between an editor's two steps there may be none.
func (s *watched) look() (changed bool) {
	doc, err := read(s.path)
	if err != nil {
		return false
	}
	s.folders(s.path)
	now := sha256.Sum256(doc)
	changed = now != s.doc
	files := make(map[string]sum)
	names := slices.Clone(s.also)
	for _, m := range fileReference.FindAllSubmatch(doc, -1) {
		names = append(names, string(m[1]))
	}
	for _, name := range names {
		s.folders(name)
		was, known := s.files[name]
		files[name] = was
		if data, err := read(name); err == nil {
			files[name] = sha256.Sum256(data)
			changed = changed || known && files[name] != was
		}
	}
	s.doc, s.files = now, files
	return changed
}

// folders watches the folder of a file, and that of the file it links to, which changes when the link does. Where that
// cannot be done, changes go unseen; SIGHUP is left.
func (s *watched) folders(path string) {
	_ = s.w.Add(filepath.Dir(path))
	if real, err := filepath.EvalSymlinks(path); err == nil {
		_ = s.w.Add(filepath.Dir(real))
	}
}

// fileReference finds the files that a document names, whether it can be understood or not: a secret that is put right
// must be seen when its document was refused for it. One in a comment is watched in vain.
var fileReference = regexp.MustCompile(`\$\{file:([^}]+)\}`)

type sum [sha256.Size]byte

// read reads as much of a file as can matter.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDocument+1))
}
