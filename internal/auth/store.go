package auth

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Files of the data directory.
const (
	pepperFile = "pepper"
	keysFile   = "keys.json"
)

// A Store is the keys kept in the data directory: hashes, never keys.
type Store struct {
	dir    string
	hasher *Hasher
	keys   []storedKey
}

// A FileKey is a key in the file where earlier releases kept them.
type FileKey = storedKey

type storedKey struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Hash    string    `json:"hash"`
	Models  []string  `json:"models"`
	Created time.Time `json:"created"`
}

// OpenStore opens the data directory, making it and its pepper where they are missing.
func OpenStore(dir string, random io.Reader) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	pepper, err := openPepper(filepath.Join(dir, pepperFile), random)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, hasher: NewHasher(pepper)}
	if err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) read() error {
	path := filepath.Join(s.dir, keysFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("read keys: %w", err)
	}
	if err := json.Unmarshal(text, &s.keys); err != nil {
		return fmt.Errorf("read keys: %s: %w", path, err)
	}
	return nil
}

// ReadKeysFile reads the keys that earlier releases kept in the data directory; none where there is no file.
func ReadKeysFile(dir string) ([]FileKey, error) {
	s := &Store{dir: dir}
	err := s.read()
	return s.keys, err
}

// RetireKeysFile puts the file away, once its keys are kept elsewhere.
func RetireKeysFile(dir string) error {
	path := filepath.Join(dir, keysFile)
	err := os.Rename(path, path+".taken-over")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		syncDir(dir)
	}
	return err
}

// openPepper reads the pepper or draws one. A damaged file is an error: a new pepper would lock every
// stored key out.
func openPepper(path string, random io.Reader) ([]byte, error) {
	const size = 32
	text, err := os.ReadFile(path)
	if err == nil {
		pepper, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(pepper) != size {
			return nil, fmt.Errorf("pepper: %s does not hold %d bytes in hex; restore it, or remove it and %s to begin anew", path, size, keysFile)
		}
		return pepper, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pepper: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(path), keysFile)); err == nil {
		if _, err := os.Lstat(path); err == nil { // both were made since, by another process
			return openPepper(path, random)
		}
		return nil, fmt.Errorf("pepper: %s is gone, and %s is useless without it; restore it, or remove %[2]s to begin anew", path, keysFile)
	}
	pepper := make([]byte, size)
	if _, err := io.ReadFull(random, pepper); err != nil {
		return nil, fmt.Errorf("pepper: %w", err)
	}
	switch err := createFile(path, []byte(hex.EncodeToString(pepper)+"\n")); {
	case errors.Is(err, fs.ErrExist): // another process was first: its pepper is everyone's
		return openPepper(path, random)
	case err != nil:
		return nil, fmt.Errorf("pepper: %w", err)
	}
	return pepper, nil
}

// Hasher hashes keys under the directory's pepper.
func (s *Store) Hasher() *Hasher { return s.hasher }

// Load adds the stored keys to m.
func (s *Store) Load(m Memory) error {
	for _, k := range s.keys {
		h, err := ParseHash(k.Hash)
		if err != nil {
			return fmt.Errorf("key %s in %s: %w", k.Name, keysFile, err)
		}
		m[h] = &Who{Name: k.Name, ID: k.ID, Org: "default", Models: k.Models}
	}
	return nil
}

// EnsureFirst makes a key for all models if none is stored yet, and returns it: the only time it is seen.
func (s *Store) EnsureFirst(random io.Reader, now time.Time) (key string, created bool, err error) {
	if len(s.keys) > 0 {
		return "", false, nil
	}
	if key, err = NewKey(random); err != nil {
		return "", false, fmt.Errorf("draw key: %w", err)
	}
	public, _ := Public(key)
	s.keys = append(s.keys, storedKey{
		Name: "first", ID: public, Hash: s.hasher.Key(key).String(), Models: []string{"*"}, Created: now.UTC().Truncate(time.Second),
	})
	text, err := json.MarshalIndent(s.keys, "", "  ")
	if err != nil {
		return "", false, fmt.Errorf("store key: %w", err)
	}
	switch err := createFile(filepath.Join(s.dir, keysFile), append(text, '\n')); {
	case errors.Is(err, fs.ErrExist): // another process was first: its key counts, and it has shown it
		s.keys = nil
		if err = s.read(); err == nil && len(s.keys) == 0 {
			err = fmt.Errorf("%s holds no key; remove it to have one made", filepath.Join(s.dir, keysFile))
		}
		return "", false, err
	case err != nil:
		return "", false, fmt.Errorf("store key: %w", err)
	}
	return key, true, nil
}

// createFile makes a file in one step, whole or not at all, readable by its owner only. One that is there
// already stays, and the error is fs.ErrExist: two processes may start in one directory at once.
func createFile(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err = os.Link(f.Name(), path); err == nil {
		_ = os.Remove(f.Name()) // only the second name
		syncDir(filepath.Dir(path))
	}
	if _, missing := os.Lstat(path); !errors.Is(err, fs.ErrExist) && missing != nil {
		err = os.Rename(f.Name(), path) // a file system without hard links
	}
	return err
}

// syncDir makes a new name in a directory outlive a crash. Not every file system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
