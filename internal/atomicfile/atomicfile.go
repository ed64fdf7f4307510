// Package atomicfile writes small files that are there whole or not at all, whenever the process or the machine dies. Their owner alone may
// read them.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Create makes a file. One that is there already stays, and the error is fs.ErrExist: of processes that begin in one directory at once, one
// is first.
func Create(path string, text []byte) error {
	temp, err := write(path, text)
	if err != nil {
		return err
	}
	defer os.Remove(temp) //nolint:errcheck // its other name stays
	err = os.Link(temp, path)
	if _, none := os.Lstat(path); none != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(temp, path) // a file system without hard links
	}
	if err == nil {
		syncDir(filepath.Dir(path))
	}
	return err
}

// Replace puts a file in the place of the one that is there, if there is one.
func Replace(path string, text []byte) error {
	temp, err := write(path, text)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// Rename gives a file another name, for good.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	syncDir(filepath.Dir(to))
	return nil
}

// write makes a file beside path, and leaves none where that fails.
func write(path string, text []byte) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return "", err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
	}
	return f.Name(), err
}

// syncDir makes new names in a directory outlive a crash. Not every file system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
