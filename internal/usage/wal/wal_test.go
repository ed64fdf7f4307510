package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const small = 4 << 10 // a segment of a few records

func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	if o.Segment == 0 {
		o.Segment = small
	}
	if o.Sync == 0 {
		o.Sync = time.Millisecond
	}
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func add(t testing.TB, l *Log, payload []byte) uint64 {
	t.Helper()
	pos, err := l.Append(payload, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// all reads what a reader gives until it has passed everything that is appended.
func all(t testing.TB, l *Log, r *Reader) map[uint64]string {
	t.Helper()
	got := map[uint64]string{}
	l.Sync()
	for r.Passed() < l.Last() {
		if pos, payload, ok := r.Next(); ok {
			got[pos] = string(payload)
		}
	}
	return got
}

// text is the n-th record: each of its own length and content.
func text(n int) []byte { return bytes.Repeat([]byte{byte('a' + n%26)}, n%300) }

func TestLog(t *testing.T) {
	dir := t.TempDir()
	want := map[uint64]string{}
	var replica string
	for life := range 4 {
		l := open(t, dir, Options{})
		if life == 0 {
			replica = l.Replica()
		}
		if len(replica) < 20 || l.Replica() != replica {
			t.Fatalf("the log is called %q, then %q", replica, l.Replica())
		}
		if l.Born() != uint64(len(want)) || len(l.Damage()) > 0 {
			t.Fatalf("life %d begins after %d with %v", life, l.Born(), l.Damage())
		}
		for range 100 {
			n := len(want)
			pos := add(t, l, text(n))
			if pos != uint64(n+1) {
				t.Fatalf("position %d, want %d", pos, n+1)
			}
			want[pos] = string(text(n))
		}
		if diff := cmp.Diff(want, all(t, l, l.Reader(0))); diff != "" {
			t.Fatal(diff)
		}
		if life%2 == 0 {
			abandon(l)
		}
		_ = l.Close()
	}
	rep, err := Verify(dir, nil)
	rep.Files, rep.Spares = 0, 0
	if diff := cmp.Diff(Report{Replica: replica, Records: 400, First: 1, Last: 400}, rep); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// abandon lets go of a log as a kill does: nothing is flushed, and what is mapped stays as it is.
func abandon(l *Log) {
	l.mu.Lock()
	l.closed = true
	l.made.Broadcast()
	l.mu.Unlock()
	close(l.stop)
	l.work.Wait()
	l.unmap()
	l.lock.Close()
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process gets %v", err)
	}
	_ = l.Close()
	_ = open(t, dir, Options{}).Close()
}

func TestConcurrentAppends(t *testing.T) {
	l := open(t, t.TempDir(), Options{Segment: 64 << 10})
	r := l.Reader(0)
	const writers, each = 8, 500
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range each {
				if _, err := l.Append(fmt.Appendf(nil, "%d/%d", w, i), 0, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	got := map[string]int{}
	for want := uint64(1); want <= writers*each; {
		pos, payload, ok := r.Next()
		if !ok {
			<-r.Wait()
			continue
		}
		if pos != want {
			t.Fatalf("position %d, want %d", pos, want)
		}
		got[string(payload)]++
		r.Done(pos)
		want++
	}
	work.Wait()
	if len(got) != writers*each {
		t.Errorf("%d different records, want %d", len(got), writers*each)
	}
}

// Segments go when all readers have passed them, and one that goes back keeps what it goes back to.
func TestRemove(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	fast, slow := l.Reader(0), l.Reader(0)
	for n := range 200 {
		add(t, l, text(n))
	}
	all(t, l, fast)
	fast.Done(200)
	l.remove()
	if got := len(all(t, l, slow)); got != 200 {
		t.Fatalf("the slow reader is given %d records, want 200", got)
	}
	if at := fast.Seek(100); at != 100 {
		t.Fatalf("goes back to %d, want 100", at)
	}
	slow.Done(200)
	l.remove()
	if got := len(all(t, l, fast)); got != 100 {
		t.Fatalf("after going back it is given %d records, want 100", got)
	}
	fast.Done(200)
	l.remove()
	if names, _ := fileNames(dir); len(names) > 3 {
		t.Errorf("%d files are left", len(names))
	}
	if at := fast.Seek(0); at == 0 || at > 200 {
		t.Errorf("goes back to %d", at)
	}
	last := add(t, l, []byte("more"))
	if got := all(t, l, fast); got[last] != "more" {
		t.Errorf("%d records, and not the last one", len(got))
	}
	_ = l.Close()
	if l = open(t, dir, Options{}); len(l.Damage()) > 0 || l.Last() != last {
		t.Errorf("opened again: %v, last %d", l.Damage(), l.Last())
	}
}

var errDisk = errors.New("no space left on device")

// disk lets operations fail.
type disk struct {
	mu   sync.Mutex
	fail map[string]error
	ops  map[string]int
}

func (d *disk) do(op string, do func() error) error {
	d.mu.Lock()
	err := d.fail[op]
	if d.ops == nil {
		d.ops = map[string]int{}
	}
	d.ops[op]++
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return do()
}

func (d *disk) set(op string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = map[string]error{op: err}
}

// A full disk refuses what begins, and still takes the end of all that has begun.
func TestDiskFull(t *testing.T) {
	var d disk
	dir := t.TempDir()
	l := open(t, dir, Options{Disk: d.do})
	add(t, l, nil)
	d.set("make", errDisk)
	begun, last := 0, uint64(0)
	for {
		_, err := l.Append(text(100), sizeOf(200), 0)
		if err != nil {
			if !errors.Is(err, ErrFull) || !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
			break
		}
		begun++
	}
	if begun < 5 || l.Room(100) {
		t.Fatalf("%d begun, room for more: %v", begun, l.Room(100))
	}
	for range begun {
		pos, err := l.Append(text(200), 0, sizeOf(200))
		if err != nil {
			t.Fatal("promised, but:", err)
		}
		last = pos
	}
	if l.promised != 0 || l.Failures() == 0 {
		t.Errorf("%d bytes still promised, %d failures", l.promised, l.Failures())
	}
	d.set("", nil)
	kick(l.kickMake)
	l.mu.Lock()
	for len(l.spares) == 0 {
		l.made.Wait()
	}
	l.mu.Unlock()
	if pos := add(t, l, text(100)); pos != last+1 {
		t.Errorf("goes on at %d, want %d", pos, last+1)
	}
}

// The log never takes more than it may, and goes on when readers have passed.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Spool: 4 * small})
	r := l.Reader(0)
	var err error
	for n := 0; err == nil; n++ {
		_, err = l.Append(text(n), 0, 0)
	}
	if !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if names, _ := fileNames(dir); len(names) != 4 {
		t.Errorf("%d files", len(names))
	}
	all(t, l, r)
	r.Done(l.Last())
	l.mu.Lock()
	for len(l.spares) == 0 {
		l.made.Wait()
	}
	l.mu.Unlock()
	add(t, l, text(100))
}

// Readers see only what is on the disk, but a disk that cannot sync does not stop them.
func TestSync(t *testing.T) {
	var d disk
	release := make(chan struct{})
	l := open(t, t.TempDir(), Options{Sync: time.Millisecond, Disk: func(op string, do func() error) error {
		if op == "sync" {
			<-release
		}
		return d.do(op, do)
	}})
	r := l.Reader(0)
	pos := add(t, l, []byte("x"))
	if _, _, ok := r.Next(); ok {
		t.Error("read before it was on the disk")
	}
	d.set("sync", errDisk)
	close(release)
	<-r.Wait()
	if got, _, ok := r.Next(); !ok || got != pos {
		t.Error("not read after the disk failed")
	}
	if l.Failures() == 0 {
		t.Error("the failure is not counted")
	}
}

// A file that is cut under the mapping is an error, not the end of the process: the log goes on in another.
func TestFault(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Segment: 64 << 10})
	r := l.Reader(0)
	first := add(t, l, []byte("first"))
	l.Sync()
	if err := os.Truncate(l.segments[0].path, 0); err != nil {
		t.Fatal(err)
	}
	second := add(t, l, []byte("second"))
	if l.Failures() == 0 {
		t.Skip("this system keeps the memory of a file that was cut")
	}
	if got := all(t, l, r); got[second] != "second" || second != first+1 {
		t.Errorf("got %v", got)
	}
}

// written makes a log of some segments and tells its records and where each ends in its file.
func build(t testing.TB, dir string, n int) (records map[uint64]string, ends map[string]map[uint64]int) {
	t.Helper()
	l := open(t, dir, Options{})
	records, ends = map[uint64]string{}, map[string]map[uint64]int{}
	for i := range n {
		b := text(i * 7)
		pos := add(t, l, b)
		s := l.segments[len(l.segments)-1]
		name := filepath.Base(s.path)
		if ends[name] == nil {
			ends[name] = map[uint64]int{}
		}
		records[pos], ends[name][pos] = string(b), int(s.end.Load())
	}
	_ = l.Close()
	return records, ends
}

// Wherever the last file was cut or turned into zeros, no record before that point is lost, none is invented, no
// position is given twice, and what was torn is told.
func TestCrashPoints(t *testing.T) {
	master := t.TempDir()
	records, ends := build(t, master, 60)
	names, err := fileNames(master)
	if err != nil {
		t.Fatal(err)
	}
	used := slices.Sorted(func(yield func(string) bool) {
		for name := range ends {
			if !yield(name) {
				return
			}
		}
	})
	last := used[len(used)-1]
	rapid.Check(t, func(rt *rapid.T) {
		dir := filepath.Join(t.TempDir(), "log")
		if err := os.CopyFS(dir, os.DirFS(master)); err != nil {
			rt.Fatal(err)
		}
		for _, name := range names {
			if name > last {
				_ = os.Remove(filepath.Join(dir, name))
			}
		}
		b, _ := os.ReadFile(filepath.Join(dir, last))
		point := rapid.IntRange(0, len(b)).Draw(rt, "point")
		how := rapid.SampledFrom([]string{"cut", "zeros", "garbage"}).Draw(rt, "how")
		end := ends[last][60]
		switch how {
		case "cut":
			b = b[:point]
		case "zeros":
			clear(b[point:])
		case "garbage":
			for i := point; i < min(point+1+rapid.IntRange(0, 200).Draw(rt, "bytes"), len(b)); i++ {
				b[i] = byte(rand.IntN(256))
			}
		}
		if err := os.WriteFile(filepath.Join(dir, last), b, 0o600); err != nil {
			rt.Fatal(err)
		}
		l := open(t, dir, Options{})
		got := all(t, l, l.Reader(0))
		torn := false
		for pos, want := range records {
			at, here := ends[last][pos]
			if have, ok := got[pos]; ok && have != want || !ok && (!here || point >= at) {
				rt.Fatalf("record %d is %q, want %q", pos, have, want)
			}
			start := at - sizeOf(len(want))
			torn = torn || here && how == "zeros" && point > start && point < at && !zero([]byte(want)) && len(got[pos]) == 0 && len(want) > 0
			delete(got, pos)
		}
		if len(got) > 0 {
			rt.Fatalf("invented: %v", got)
		}
		if (torn || how == "cut" && point > 128 && point < end && !boundary(ends[last], point)) && len(l.Damage()) == 0 {
			rt.Fatalf("a torn tail at %d (%s) is not told", point, how)
		}
		pos := add(t, l, []byte("after"))
		if len(l.Damage()) > 0 && pos <= 60 {
			rt.Fatalf("position %d is given again after %v", pos, l.Damage())
		}
		_ = l.Close()
		l = open(t, dir, Options{})
		if got := all(t, l, l.Reader(0)); got[pos] != "after" {
			rt.Fatalf("what came after the crash is lost: %v", l.Damage())
		}
		_ = l.Close()
	})
}

func boundary(ends map[uint64]int, point int) bool {
	for _, end := range ends {
		if end == point {
			return true
		}
	}
	return false
}

// Every single bit that turns is found. At most one record is lost to it, and that one by name.
func TestBitFlips(t *testing.T) {
	master := t.TempDir()
	records, ends := build(t, master, 40)
	var files []string
	content := map[string][]byte{}
	for name := range ends {
		files = append(files, name)
		content[name], _ = os.ReadFile(filepath.Join(master, name))
	}
	slices.Sort(files)
	tried := 0
	for i, name := range files {
		mem := content[name]
		stop := len(mem)
		for bit := 0; bit < stop*8; bit += 1 + bit%7 {
			mem[bit/8] ^= 1 << (bit % 8)
			var c chain
			var damage []Damage
			found := map[uint64]string{}
			for _, other := range files {
				_, _, _, wrong := c.read(other, content[other], func(pos uint64, payload []byte) { found[pos] = string(payload) })
				damage = append(damage, wrong...)
			}
			mem[bit/8] ^= 1 << (bit % 8)
			tried++
			if len(damage) == 0 {
				t.Fatalf("bit %d of file %d turned: nothing found", bit, i)
			}
			lost := 0
			for pos, want := range records {
				got, ok := found[pos]
				if ok && got != want {
					t.Fatalf("bit %d of file %d turned: record %d is %q", bit, i, pos, got)
				}
				if !ok {
					lost++
				}
			}
			if lost > 1 || len(found)+lost != len(records) {
				t.Fatalf("bit %d of file %d turned: %d records lost, %d found", bit, i, lost, len(found))
			}
			if d := damage[0]; lost == 1 && d.Before != 0 && d.Before != d.After+2 {
				t.Fatalf("bit %d of file %d turned: one record lost, told as %s", bit, i, d)
			}
		}
	}
	t.Logf("%d flips", tried)
}

// A damage that comes while the log is open is met by a reader, told once, and passed.
func TestDamageWhileOpen(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for n := range 20 {
		add(t, l, text(50+n))
	}
	first := l.segments[0]
	first.mem[firstRecord+sizeOf(50)+recordHeader] ^= 1 // of the second record
	for range 2 {
		got := all(t, l, l.Reader(0))
		if len(got) != 19 || got[2] != "" {
			t.Errorf("%d records read", len(got))
		}
	}
	if len(l.seen) != 1 {
		t.Errorf("met %v", l.seen)
	}
	if copies, err := os.ReadDir(filepath.Join(dir, "quarantine")); err != nil || len(copies) != 1 {
		t.Errorf("%v in quarantine, %v", copies, err)
	}
}

// A file that is missing in the middle is told by its positions.
func TestMissingFile(t *testing.T) {
	dir := t.TempDir()
	_, ends := build(t, dir, 60)
	var names []string
	for name := range ends {
		names = append(names, name)
	}
	slices.Sort(names)
	if err := os.Remove(filepath.Join(dir, names[1])); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(dir, nil)
	if err != nil || len(rep.Damage) != 1 || rep.Records != 60-len(ends[names[1]]) ||
		rep.Damage[0].Before-rep.Damage[0].After-1 != uint64(len(ends[names[1]])) {
		t.Errorf("%+v, %v", rep, err)
	}
	l := open(t, dir, Options{})
	if l.Last() != 60 || len(l.Damage()) != 1 {
		t.Errorf("last %d, damage %v", l.Last(), l.Damage())
	}
}

func FuzzScan(f *testing.F) {
	dir := f.TempDir()
	build(f, dir, 5)
	names, _ := fileNames(dir)
	b, _ := os.ReadFile(filepath.Join(dir, names[0]))
	f.Add(b[:1024], 130, byte(1))
	f.Fuzz(func(t *testing.T, mem []byte, at int, with byte) {
		mem = bytes.Clone(mem)
		if at >= 0 && at < len(mem) {
			mem[at] ^= with
		}
		var c chain
		last := uint64(0)
		_, end, _, _ := c.read("x", mem, func(pos uint64, _ []byte) {
			if pos <= last {
				t.Errorf("position %d after %d", pos, last)
			}
			last = pos
		})
		if end > len(mem) {
			t.Errorf("ends at %d of %d", end, len(mem))
		}
	})
}

// The disk's own time is left out: what an append costs its caller is a copy and a checksum.
func BenchmarkAppend(b *testing.B) {
	l := open(b, b.TempDir(), Options{Segment: 16 << 20, Sync: 5 * time.Millisecond, Disk: func(op string, do func() error) error {
		if op == "sync" {
			return nil
		}
		return do()
	}})
	payload := bytes.Repeat([]byte("x"), 400)
	b.ReportAllocs()
	done := make(chan struct{})
	r := l.Reader(0)
	go func() {
		defer close(done)
		for r.Passed() < uint64(b.N) {
			if pos, _, ok := r.Next(); ok {
				r.Done(pos)
				continue
			}
			<-r.Wait()
		}
	}()
	for b.Loop() {
		if _, err := l.Append(payload, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	<-done
}
