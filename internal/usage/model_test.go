package usage

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/internal/llm"
)

// A world is three replicas with one store and one set of counters, and what truly happened.
type world struct {
	t        *rapid.T
	store    *memory
	counters *counters
	replicas [3]*house
	under    [3]map[string]*underway
	calls    int
	truth    map[string]int64 // output tokens of calls that ended whole, or -1
	given    map[string]int64 // output tokens that clients got
}

type underway struct {
	*Entry
	stream llm.Stream
	script *script
}

func newWorld(t *rapid.T, outer testing.TB) *world {
	w := &world{t: t, store: newMemory(), counters: newCounters(), truth: map[string]int64{}, given: map[string]int64{}}
	w.store.dead = map[string]bool{}
	for i := range w.replicas {
		dir, err := os.MkdirTemp(outer.TempDir(), "replica")
		if err != nil {
			t.Fatal(err)
		}
		h := &house{t: outer, store: w.store, counters: w.counters}
		h.o = JournalOptions{
			Dir: dir, Store: w.store, Settle: w.counters.settle, Wait: time.Millisecond, Backoff: time.Millisecond, Gone: time.Millisecond, Batch: 5,
		}
		h.o.WAL.Segment, h.o.WAL.Sync = 16<<10, time.Millisecond
		h.open()
		w.replicas[i], w.under[i] = h, map[string]*underway{}
	}
	return w
}

// begin begins a call.
func (w *world) begin(i int) {
	w.calls++
	id := fmt.Sprint("req_", w.calls)
	e := &underway{Entry: w.replicas[i].begin(id), script: &script{err: io.EOF}}
	e.stream = e.Meter(e.script, Hooks{})
	w.under[i][id] = e
	w.truth[id] = -1
}

// give gives a client some frames.
func (w *world) give(i int) {
	for id, e := range w.under[i] {
		for range rapid.IntRange(1, 40).Draw(w.t, "frames") {
			e.script.events = []*llm.Event{frame(nil)}
			_, _ = e.stream.Next()
			w.given[id]++
		}
		return
	}
}

// end ends a call, well or not.
func (w *world) end(i int) {
	for id, e := range w.under[i] {
		if rapid.Bool().Draw(w.t, "well") {
			e.script.events = []*llm.Event{last(10, w.given[id])}
			_, _ = e.stream.Next()
			_, _ = e.stream.Next()
			w.truth[id] = w.given[id]
		} else {
			e.Err = llm.Errorf(llm.KindClientGone, "left")
		}
		e.Close()
		delete(w.under[i], id)
		return
	}
}

// crash kills a replica. What it had under way is gone.
func (w *world) crash(i int) {
	w.replicas[i].kill()
	clear(w.under[i])
}

// leave lets a replica vanish for so long that others close its calls. Its log is in the store: an end that was
// settled, but is not in the store, would be settled once more by who closes the call (docs/accounting.md).
func (w *world) leave(i int) {
	w.faults(nil, nil)
	w.replicas[i].flush()
	replica, log := w.replicas[i].j.Replica(), w.replicas[i].j.log
	w.crash(i)
	w.store.mu.Lock()
	w.store.dead[replica] = w.store.shipped[replica] == log.Last()
	w.store.mu.Unlock()
}

func (w *world) start(i int) {
	w.replicas[i].open()
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	delete(w.store.dead, w.replicas[i].j.Replica())
}

func (w *world) faults(store func(string) error, settle func() error) {
	w.store.set(store)
	w.counters.mu.Lock()
	defer w.counters.mu.Unlock()
	w.counters.fail = settle
}

// lose is a Redis that was flushed: its counters are seeded from what the store has.
func (w *world) lose() {
	w.faults(nil, nil)
	c := w.counters
	c.mu.Lock()
	c.epoch++
	epoch := c.epoch
	c.cold, c.waits = true, map[string]map[uint64]llm.Nano{}
	c.spent, c.marks = map[string]llm.Nano{}, map[string]uint64{}
	c.mu.Unlock()
	for _, h := range w.replicas {
		if h.j != nil {
			h.j.Rewind(epoch)
		}
	}
	for range rapid.IntRange(0, 5).Draw(w.t, "wait") {
		runtime.Gosched()
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for replica, pos := range w.store.shipped {
		c.marks["budget"+replica] = pos
	}
	for key, waits := range c.waits {
		seeded := c.marks[key]
		for at, amount := range waits {
			if at > seeded {
				c.marks[key] = max(c.marks[key], at)
				c.spent["budget"] += amount
			}
		}
	}
	for _, r := range w.store.rows {
		c.spent["budget"] += r.Costs.Total()
	}
	c.cold = false
}

func (w *world) step() {
	i := rapid.IntRange(0, 2).Draw(w.t, "replica")
	if w.replicas[i].j == nil {
		w.start(i)
		return
	}
	switch rapid.SampledFrom([]string{"begin", "begin", "begin", "give", "give", "end", "end", "end", "crash", "leave", "fail", "mend", "lose"}).Draw(w.t, "step") {
	case "begin":
		w.begin(i)
	case "give":
		w.give(i)
	case "end":
		w.end(i)
	case "crash":
		w.crash(i)
	case "leave":
		w.leave(i)
	case "fail":
		w.faults(func(string) error { return errDown }, func() error { return errDown })
	case "mend":
		w.faults(nil, nil)
	case "lose":
		w.lose()
	}
}

// rest lets everything come to rest.
func (w *world) rest() {
	w.faults(nil, nil)
	for i, h := range w.replicas {
		if h.j == nil {
			w.start(i)
		}
		for len(w.under[i]) > 0 {
			w.end(i)
		}
	}
	for range 2 { // calls that were claimed end in a second round
		for _, h := range w.replicas {
			h.flush()
		}
	}
	until(w.replicas[0].t, func() bool {
		w.replicas[0].flush()
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return len(w.store.open) == 0
	})
	for _, h := range w.replicas {
		h.flush()
	}
}

// Whatever crashes, fails and comes back: every call that began has one row, rows and counters say the same,
// whole answers cost what they are, and cut ones no less than what the client got.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, t)
		defer func() {
			for _, h := range w.replicas {
				h.kill()
			}
		}()
		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			w.step()
		}
		w.rest()
		rows := w.store.all()
		if len(rows) != w.calls {
			rt.Fatalf("%d rows of %d calls", len(rows), w.calls)
		}
		var sum llm.Nano
		for id, whole := range w.truth {
			r, ok := rows[id]
			switch {
			case !ok:
				rt.Fatalf("%s has no row", id)
			case whole >= 0 && (r.Usage.Output.N != whole || r.Estimated || r.Partial):
				// A claim may have been made of a call that then ended: its end is the other's.
				rt.Fatalf("%s: %d tokens in truth, row %+v", id, whole, r)
			case whole < 0 && (r.Usage.Output.N < w.given[id] || !r.Estimated && !r.Partial):
				rt.Fatalf("%s: %d tokens given, row %+v", id, w.given[id], r)
			}
			sum += r.Costs.Total()
		}
		w.counters.mu.Lock()
		defer w.counters.mu.Unlock()
		if w.counters.spent["budget"] != sum || len(w.counters.wrong) > 0 {
			rt.Fatalf("rows cost %v, counters say %v, %v", sum, w.counters.spent, w.counters.wrong)
		}
	})
}
