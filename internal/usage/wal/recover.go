package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Damage is something wrong with a log.
type Damage struct {
	File   string
	Offset int
	Bytes  int    // that make no sense
	After  uint64 // the positions between After and Before are missing
	Before uint64 // 0: nothing that makes sense follows in this file; how many are missing, if any, is not known
	Tail   bool   // at the end of what was written: a record that was being written when the process or machine stopped looks so
	Cause  error
}

func (d Damage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d bytes at offset %d make no sense; ", filepath.Base(d.File), d.Bytes, d.Offset)
	switch d.Before {
	case 0:
		fmt.Fprintf(&b, "what came after position %d is lost, if anything did", d.After)
	case d.After + 1:
		b.WriteString("no position is missing")
	case d.After + 2:
		fmt.Fprintf(&b, "position %d is missing", d.After+1)
	default:
		fmt.Fprintf(&b, "positions %d to %d are missing", d.After+1, d.Before-1)
	}
	if d.Cause != nil {
		fmt.Fprintf(&b, " (%v)", d.Cause)
	}
	return b.String()
}

// report tells a damage and keeps a copy of its file, once.
func (l *Log) report(d Damage) {
	l.o.Log.Error("ledger damage", "what", d.String())
	if err := quarantine(l.dir, d); err != nil {
		l.o.Log.Error("ledger quarantine", "file", d.File, "error", err)
	}
}

func quarantine(dir string, d Damage) error {
	to := filepath.Join(dir, "quarantine", fmt.Sprintf("%s-%d", filepath.Base(d.File), d.Offset))
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	from, err := os.Open(d.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, from)
	if e := w.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(to)
	}
	return err
}

// A chain reads segments one after the other.
type chain struct {
	any  bool   // a segment with a header was read
	last uint64 // position of the last record
	torn bool   // records after last may be lost
}

// read reads one segment. used is false for a spare.
func (c *chain) read(path string, mem []byte, each func(uint64, []byte)) (h header, end int, used bool, wrong []Damage) {
	h, ok, sound := readHeader(mem)
	if !ok {
		if zero(mem) {
			return h, 0, false, nil
		}
		c.torn = true
		return h, 0, true, []Damage{{File: path, Bytes: written(mem), After: c.last, Tail: true, Cause: errHeader}}
	}
	if !sound {
		wrong = append(wrong, Damage{Bytes: headerSize, After: h.after, Before: h.after + 1, Cause: errHeader})
	}
	switch {
	case c.any && h.after > c.last:
		wrong = append(wrong, Damage{After: c.last, Before: h.after + 1, Cause: errMissing})
	case c.any && h.base <= c.last:
		c.torn = true
		return h, 0, true, []Damage{{File: path, Bytes: written(mem), After: c.last, Tail: true, Cause: errOrder}}
	}
	end, last, damage := scan(mem, h, each)
	wrong = append(wrong, damage...)
	for i := range wrong {
		wrong[i].File = path
	}
	c.any, c.last = true, max(last, c.last)
	c.torn = !sound || len(damage) > 0 && damage[len(damage)-1].Tail
	return h, end, true, wrong
}

var (
	errHeader  = errors.New("the file's header is damaged")
	errMissing = errors.New("a file before it is missing or incomplete")
	errOrder   = errors.New("the file does not follow the one before it")
)

// recover reads what is there.
func (l *Log) recover() error {
	_ = os.Remove(filepath.Join(l.dir, spareName))
	names, err := fileNames(l.dir)
	if err != nil {
		return err
	}
	var c chain
	for _, name := range names {
		if err := l.load(&c, name); err != nil {
			return err
		}
	}
	l.after, l.next = c.last, c.last+1
	if c.torn {
		l.next += jump
	}
	for i, s := range l.segments {
		s.sealed = s.sealed || c.torn || i < len(l.segments)-1
	}
	l.born = l.next - 1
	l.appended.Store(l.born)
	for _, d := range l.damage {
		l.seen[fmt.Sprint(d.File, d.Offset)] = true
		l.report(d)
	}
	return nil
}

func (l *Log) load(c *chain, name string) error {
	path := filepath.Join(l.dir, name)
	r, err := mapFile(path)
	if err != nil {
		return err
	}
	s := &segment{path: path, seq: seqOf(name), region: r}
	l.files = s.seq + 1
	var end int
	var used bool
	var wrong []Damage
	if err := guard(func() { s.header, end, used, wrong = c.read(path, r.mem, nil) }); err != nil {
		used, end, c.torn = true, 0, true
		wrong = []Damage{{File: path, After: c.last, Tail: true, Cause: err}}
	}
	r.forget()
	l.damage = append(l.damage, wrong...)
	switch whole := len(r.mem) == l.o.Segment; {
	case !used && whole:
		l.spares = append(l.spares, s)
	case !used:
		_ = r.close()
		_ = os.Remove(path)
	case end == 0: // nothing of it can be used: only its copy is kept
		for i := range wrong {
			if err := quarantine(l.dir, wrong[i]); err != nil {
				_ = r.close()
				return fmt.Errorf("put %s in quarantine: %w", name, err)
			}
		}
		_ = r.close()
		return os.Remove(path)
	default:
		s.last = c.last
		s.end.Store(int64(end))
		s.flushed = firstRecord - headerSize
		s.sealed = !whole
		l.segments = append(l.segments, s)
		for _, spare := range l.spares { // it was in use once: its place is before this one
			_ = spare.close()
			_ = os.Remove(spare.path)
		}
		l.spares = nil
	}
	return nil
}

func fileNames(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, suffix) && name == fileName(seqOf(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func seqOf(name string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(name, suffix), 10, 64)
	return n
}

// identity reads the log's name, or gives it one.
func identity(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "replica"))
	if errors.Is(err, fs.ErrNotExist) {
		return rename(dir)
	}
	name := strings.TrimSpace(string(b))
	if err == nil && name == "" {
		return rename(dir) // the machine stopped before the name was on the disk
	}
	return name, err
}

func rename(dir string) (string, error) {
	name := strings.ToLower(rand.Text())
	path := filepath.Join(dir, "replica")
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(name + "\n")
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	return name, err
}

// Rename gives the log a new name: it is not the log that others know by the old one.
func (l *Log) Rename() (string, error) {
	name, err := rename(l.dir)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replica = name
	return name, nil
}

// A Report is what Verify found.
type Report struct {
	Replica     string
	Files       int
	Spares      int
	Records     int
	First, Last uint64 // positions; 0: there are none
	Damage      []Damage
}

// Verify reads a log without changing anything, also one that is in use; then the record that is just being
// written may look torn. each, if not nil, is given every record that is whole.
func Verify(dir string, each func(pos uint64, payload []byte)) (Report, error) {
	var rep Report
	names, err := fileNames(dir)
	if err != nil {
		return rep, fmt.Errorf("verify the log: %w", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "replica")); err == nil {
		rep.Replica = strings.TrimSpace(string(b))
	}
	var c chain
	for _, name := range names {
		path := filepath.Join(dir, name)
		mem, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return rep, fmt.Errorf("verify the log: %w", err)
		}
		_, _, used, wrong := c.read(path, mem, func(pos uint64, payload []byte) {
			rep.Records++
			rep.Last = pos
			if rep.First == 0 {
				rep.First = pos
			}
			if each != nil {
				each(pos, payload)
			}
		})
		rep.Damage = append(rep.Damage, wrong...)
		if rep.Files++; !used {
			rep.Files--
			rep.Spares++
		}
	}
	return rep, nil
}
