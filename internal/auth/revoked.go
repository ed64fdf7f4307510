package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"sluice/internal/atomicfile"
)

const revokedFile = "revoked.json"

// Revoked are the keys that an operator has refused, by their public part or name. They are kept in the data
// directory and outlast a configuration that still has them.
type Revoked struct {
	path string
	set  atomic.Pointer[map[string]bool]
	mu   sync.Mutex // makes Add one step
}

// OpenRevoked reads what was revoked before.
func OpenRevoked(dir string) (*Revoked, error) {
	r := &Revoked{path: filepath.Join(dir, revokedFile)}
	text, err := os.ReadFile(r.path)
	var names []string
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read revoked keys: %w", err)
	default:
		if err := json.Unmarshal(text, &names); err != nil {
			return nil, fmt.Errorf("read revoked keys: %s: %w", r.path, err)
		}
	}
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	r.set.Store(&set)
	return r, nil
}

// Has tells whether a key was revoked.
func (r *Revoked) Has(w *Who) bool { return r != nil && (*r.set.Load())[w.Public()] }

// Add revokes a key. It takes effect at once, also where it cannot be kept, which is an error.
func (r *Revoked) Add(public string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := maps.Clone(*r.set.Load())
	if set[public] {
		return nil
	}
	set[public] = true
	return r.keep(set)
}

// Forget takes a key off the list: whether it is refused is kept elsewhere from now on.
func (r *Revoked) Forget(public string) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	set := maps.Clone(*r.set.Load())
	if !set[public] {
		return nil
	}
	delete(set, public)
	return r.keep(set)
}

func (r *Revoked) keep(set map[string]bool) error {
	r.set.Store(&set)
	text, err := json.Marshal(slices.Sorted(maps.Keys(set)))
	if err == nil {
		err = atomicfile.Replace(r.path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep revoked key: %w", err)
	}
	return nil
}
