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

	"sluice/internal/atomicfile"
	"sluice/internal/llm"
)

// Files of the data directory.
const (
	pepperFile = "pepper"
	keysFile   = "keys.json" // of earlier releases
)

const pepperSize = 32 // bytes

// A FileKey is a key in the file where earlier releases kept them.
type FileKey struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Hash    string    `json:"hash"`
	Models  []string  `json:"models"`
	Created time.Time `json:"created"`
}

// OpenHasher hashes keys under the pepper of the data directory, making both where they are missing, or under the
// one that is configured. Replicas that share a store must share the pepper.
func OpenHasher(dir string, configured llm.Secret, random io.Reader) (*Hasher, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if configured != "" {
		if _, err := os.Lstat(filepath.Join(dir, keysFile)); err == nil {
			return nil, fmt.Errorf("pepper: the keys of %s were hashed under that of the file pepper beside it: start once without a configured pepper, or remove %[1]s", filepath.Join(dir, keysFile))
		}
		return NewHasher(pepperOf(string(configured))), nil
	}
	pepper, err := openPepper(filepath.Join(dir, pepperFile), random)
	if err != nil {
		return nil, err
	}
	return NewHasher(pepper), nil
}

// pepperOf reads a configured pepper: what stands in a file pepper means the same here, and any other text stands
// for itself.
func pepperOf(text string) []byte {
	if pepper, err := hex.DecodeString(text); err == nil && len(pepper) == pepperSize {
		return pepper
	}
	return []byte(text)
}

// ReadKeysFile reads the keys that earlier releases kept in the data directory; none where there is no file.
func ReadKeysFile(dir string) (keys []FileKey, err error) {
	path := filepath.Join(dir, keysFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read keys: %w", err)
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, fmt.Errorf("read keys: %s: %w", path, err)
	}
	return keys, nil
}

// RetireKeysFile puts the file away, once its keys are kept elsewhere.
func RetireKeysFile(dir string) error {
	path := filepath.Join(dir, keysFile)
	err := atomicfile.Rename(path, path+".taken-over")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// openPepper reads the pepper or draws one. A damaged file is an error: a new pepper would lock every
// stored key out.
func openPepper(path string, random io.Reader) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		pepper, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(pepper) != pepperSize {
			return nil, fmt.Errorf("pepper: %s does not hold %d bytes in hex; restore it: without it nobody can call with a stored key", path, pepperSize)
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
	pepper := make([]byte, pepperSize)
	if _, err := io.ReadFull(random, pepper); err != nil {
		return nil, fmt.Errorf("pepper: %w", err)
	}
	switch err := atomicfile.Create(path, []byte(hex.EncodeToString(pepper)+"\n")); {
	case errors.Is(err, fs.ErrExist): // another process was first: its pepper is everyone's
		return openPepper(path, random)
	case err != nil:
		return nil, fmt.Errorf("pepper: %w", err)
	}
	return pepper, nil
}
