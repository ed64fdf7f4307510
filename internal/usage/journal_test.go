package usage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/usage/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a journal in a folder, with a store, counters and a ledger.
type house struct {
	t        testing.TB
	o        JournalOptions
	store    *memory
	counters *counters
	j        *Journal
	l        *Ledger
}

// price is two nano-dollars for a token in, ten for one out.
func price(m *Mark, _ time.Time) {
	m.Costs.Input, m.Costs.Output = llm.Nano(2*m.Usage.Input.N), llm.Nano(10*m.Usage.Output.N)
	m.PriceVersion = "v1"
}

func newHouse(t testing.TB, set func(*JournalOptions)) *house {
	t.Helper()
	h := &house{t: t, store: newMemory(), counters: newCounters()}
	h.o = JournalOptions{
		Dir: t.TempDir(), WAL: wal.Options{Segment: 64 << 10, Sync: time.Millisecond}, Store: h.store, Settle: h.counters.settle,
		Wait: time.Millisecond, Backoff: time.Millisecond,
	}
	if set != nil {
		set(&h.o)
	}
	h.open()
	t.Cleanup(func() { h.kill() })
	return h
}

func (h *house) open() {
	h.t.Helper()
	j, err := OpenJournal(h.o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.j, h.l = j, New(Options{Journal: j, Price: price})
}

// kill ends the journal as a kill of the process does: nothing is handed on any more.
func (h *house) kill() {
	if h.j == nil {
		return
	}
	h.j.cancel()
	h.j.work.Wait()
	_ = h.j.log.Close()
	h.j = nil
}

func (h *house) flush() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.j.Flush(ctx); err != nil {
		h.t.Fatalf("flush: %v, %+v", err, h.j.Stats())
	}
}

var caller = &auth.Who{Name: "ci", ID: "sk-slc-public", Org: "acme", Team: "red", User: "ann", Project: "p1"}

// begin opens an entry and begins it.
func (h *house) begin(id string) *Entry {
	h.t.Helper()
	e := h.l.Open(id, llm.OpenAIChat, "192.0.2.1")
	e.Caller(caller)
	e.Call(&llm.Call{Op: llm.OpChat, Model: "fast", Stream: true, Body: llm.NewBody(nil, []byte(strings.Repeat("x", 40)), llm.Marks{})})
	if err := e.Begin(Hold{Input: 20, InputCost: 40, Price: "bound", Counters: []string{"budget"}, Tags: []string{"a"}}); err != nil {
		h.t.Fatal(err)
	}
	e.Met(&llm.Trace{Attempts: 1, Target: &llm.Target{Provider: "openai", Model: "gpt", Credential: "k1"}})
	return e
}

// frame is an event with output, and usage if there is any.
func frame(u *llm.Usage) *llm.Event {
	return &llm.Event{Raw: []byte(`data: {"delta":"token"}` + "\n\n"), Format: llm.OpenAIChat, Output: true, Usage: u}
}

func last(in, out int64) *llm.Event {
	return &llm.Event{Raw: []byte("data: usage\n\n"), Usage: &llm.Usage{Input: llm.Tokens(in), Output: llm.Tokens(out)}}
}

// read reads an entry's answer.
func read(e *Entry, events []*llm.Event, err error) error {
	for _, e := range llm.All(e.Meter(&script{events: events, err: err}, Hooks{})) {
		if e != nil {
			return e
		}
	}
	return nil
}

func TestJournal(t *testing.T) {
	h := newHouse(t, nil)
	for i := range 30 {
		e := h.begin(fmt.Sprint("req_", i))
		e.Err = read(e, []*llm.Event{frame(nil), frame(nil), last(10, int64(i))}, io.EOF)
		e.Status = 200
		if pos := e.Close(); pos == 0 {
			t.Error("no position")
		}
	}
	h.flush()
	rows := h.store.all()
	if len(rows) != 30 || len(h.store.open) != 0 {
		t.Fatalf("%d rows, %d open", len(rows), len(h.store.open))
	}
	got := rows["req_7"]
	if got.Start.IsZero() || got.Charged != got.Start || got.Total <= 0 || got.Position == 0 || got.Replica != h.j.Replica() {
		t.Errorf("got %+v", got)
	}
	got.Start, got.Charged, got.Total, got.Own, got.Position, got.Replica = time.Time{}, time.Time{}, 0, 0, 0, ""
	want := Row{
		Call: Call{
			RequestID: "req_7", Payer: Payer{Org: "acme", Team: "red", User: "ann", Key: "sk-slc-public", Project: "p1", Tags: []string{"a"}},
			Format: llm.OpenAIChat, Op: llm.OpChat, Model: "fast", Stream: true, BytesIn: 40,
		},
		Mark: Mark{
			Provider: "openai", Upmodel: "gpt", Credential: "k1", Attempts: 1, Usage: llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(7)},
			Costs: Costs{Input: 20, Output: 70}, PriceVersion: "v1",
		},
		Status: 200,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if h.counters.spent["budget"] != 30*20+10*29*30/2 || len(h.counters.wrong) > 0 {
		t.Errorf("spent %v, %v", h.counters.spent, h.counters.wrong)
	}
	if s := h.j.Stats(); s.Shipped != s.Last || s.Settled != s.Last || s.Open != 0 || s.Trouble != nil {
		t.Errorf("%+v", s)
	}
}

// A call that never began has no row, and one that was refused upstream costs nothing.
func TestRowsOfFailures(t *testing.T) {
	h := newHouse(t, nil)
	h.l.Open("refused", llm.OpenAIChat, "").Close()
	e := h.begin("overloaded")
	e.Err, e.Status = llm.Errorf(llm.KindUpstream, "no"), 502
	e.Close()
	e = h.begin("left")
	e.Err, e.Status = llm.Errorf(llm.KindClientGone, "gone"), 499
	e.Close()
	h.flush()
	rows := h.store.all()
	if r, ok := rows["overloaded"]; len(rows) != 2 || !ok || r.Error != llm.KindUpstream || r.Costs.Total() != 0 || r.Usage.Input.Known || r.Partial || r.Estimated {
		t.Errorf("got %+v", rows)
	}
	if r := rows["left"]; r.Usage.Input != llm.Tokens(10) || r.Costs.Total() != 20 || !r.Partial || !r.Estimated {
		t.Errorf("got %+v", r)
	}
}

// What a killed process left open is closed by the next one, with what the log knows of it.
func TestReplay(t *testing.T) {
	h := newHouse(t, nil)
	h.begin("nothing")
	flushed := h.begin("early")
	h.flush() // two calls are in the store as open, and segments before may go
	m := flushed.Meter(&script{events: []*llm.Event{frame(nil), frame(nil)}}, Hooks{})
	for range 2 {
		_, _ = m.Next()
	}
	whole := h.begin("whole")
	whole.Err = read(whole, []*llm.Event{frame(nil), last(12, 5)}, io.EOF) // and the process dies before Close
	done := h.begin("done")
	done.Err = read(done, []*llm.Event{last(1, 1)}, io.EOF)
	done.Close()
	h.kill()
	h.open()
	h.flush()
	rows := h.store.all()
	if len(rows) != 4 || len(h.store.open) != 0 {
		t.Fatalf("%d rows, %d open", len(rows), len(h.store.open))
	}
	if r := rows["nothing"]; !r.Estimated || !r.Partial || r.Usage.Input != llm.Tokens(20) || r.Costs.Total() != 40 || r.PriceVersion != "bound" || r.Status != 0 || r.Org != "acme" {
		t.Errorf("nothing: %+v", r)
	}
	if r := rows["early"]; !r.Estimated || !r.Partial || r.Usage.Output.N < 2 || r.Costs.Total() != llm.Nano(2*r.Usage.Input.N+10*r.Usage.Output.N) || r.Provider != "openai" {
		t.Errorf("early: %+v", r)
	}
	if r := rows["whole"]; r.Estimated || r.Partial || r.Usage.Output != llm.Tokens(5) || r.Costs.Total() != 74 {
		t.Errorf("whole: %+v", r)
	}
	var sum llm.Nano
	for _, r := range rows {
		sum += r.Costs.Total()
	}
	if h.counters.spent["budget"] != sum {
		t.Errorf("settled %v, rows say %v", h.counters.spent, sum)
	}
	h.kill()
	h.open()
	h.flush()
	if again := h.store.all(); cmp.Diff(rows, again) != "" || h.counters.spent["budget"] != sum {
		t.Error("a second start changed something")
	}
}

var errDown = errors.New("the store is down")

// While the store is down, the log keeps everything; and what was stored although nobody was told is not stored twice.
func TestStoreDown(t *testing.T) {
	h := newHouse(t, nil)
	var tries atomic.Int64
	h.store.set(func(string) error { tries.Add(1); return errDown })
	for i := range 20 {
		e := h.begin(fmt.Sprint("req_", i))
		e.Err = read(e, []*llm.Event{last(1, 1)}, io.EOF)
		e.Close()
	}
	until(t, func() bool { return tries.Load() > 3 && h.j.Stats().Trouble != nil })
	lost := true
	h.store.mu.Lock()
	h.store.fail = nil
	h.store.after = func(string) (err error) {
		if lost {
			err = errDown
		}
		lost = !lost
		return err
	}
	h.store.mu.Unlock()
	h.flush()
	if n := len(h.store.all()); n != 20 || h.counters.spent["budget"] != 20*12 || h.j.Stats().Trouble != nil {
		t.Errorf("%d rows, %v, %+v", n, h.counters.spent, h.j.Stats())
	}
}

// until waits for a state that somebody else brings about.
func until(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("never came")
		}
	}
}

// afterOutage makes calls while the store is down, and gives how many rows came in each batch once it was there again.
func (h *house) afterOutage(calls int) []int {
	h.store.set(func(string) error { return errDown })
	for i := range calls {
		e := h.begin(fmt.Sprint("req_", i))
		e.Close()
	}
	h.store.set(nil)
	h.flush()
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	return slices.Clone(h.store.batches)
}

// Batches are full when there is much to ship.
func TestBatches(t *testing.T) {
	h := newHouse(t, func(o *JournalOptions) { o.Batch = 10 })
	most, sum, batches := 0, 0, h.afterOutage(35)
	for _, n := range batches {
		most, sum = max(most, n), sum+n
	}
	if most != 10 || sum != 35 {
		t.Errorf("batches of %v", batches)
	}
}

// Batches are small while others wait for the store, and grow when they do not.
func TestCrowdedBatches(t *testing.T) {
	crowded := 3 // times that it is asked
	h := newHouse(t, func(o *JournalOptions) {
		o.Batch = 500
		o.Crowded = func() bool { crowded--; return crowded >= 0 }
	})
	got := h.afterOutage(2000)[1:] // the first was collected before the store was down
	if want := []int{128, 128, 128, 256, 500}; len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("batches of %v, want %v", got, want)
	}
}

// A full log refuses new calls, still writes down the ends of those under way, and goes on when the store does.
func TestFull(t *testing.T) {
	h := newHouse(t, func(o *JournalOptions) { o.WAL.Segment, o.WAL.Spool, o.recall = 16<<10, 48<<10, time.Millisecond })
	h.store.set(func(string) error { return errDown })
	var under []*Entry
	var err error
	for {
		e := h.l.Open(fmt.Sprint("req_", len(under)), llm.OpenAIChat, "")
		e.Caller(caller)
		if err = e.Begin(Hold{}); err != nil {
			e.Err = err
			e.Close()
			break
		}
		under = append(under, e)
	}
	if le := llm.AsError(err); le.Kind != llm.KindLedgerFull || le.RetryAfter == 0 || len(under) < 5 {
		t.Fatalf("%d begun, then %v", len(under), err)
	}
	for _, e := range under {
		if e.Close() == 0 {
			t.Error("an end was not written down")
		}
	}
	h.store.set(nil)
	h.flush()
	if n := len(h.store.all()); n != len(under) || h.j.Stats().Dropped != 0 {
		t.Errorf("%d rows of %d calls, %+v", n, len(under), h.j.Stats())
	}
	until(t, func() bool { return h.j.log.Room(1000) })
	h.begin("more").Close()
}

// By the other policy calls go on, and what is lost is counted.
func TestGoOn(t *testing.T) {
	h := newHouse(t, func(o *JournalOptions) { o.WAL.Segment, o.WAL.Spool, o.GoOn = 16<<10, 48<<10, true })
	h.store.set(func(string) error { return errDown })
	const calls = 200
	for i := range calls {
		h.begin(fmt.Sprint("req_", i)).Close()
	}
	dropped := h.j.Stats().Dropped
	h.store.set(nil)
	h.flush()
	if n := len(h.store.all()); dropped == 0 || n+int(dropped) != calls {
		t.Errorf("%d rows, %d dropped, of %d calls", n, dropped, calls)
	}
}

// When the disk has no room for ends that were promised it (which a fault can bring about), they wait in memory.
func TestLateEnds(t *testing.T) {
	var broken atomic.Bool
	h := newHouse(t, func(o *JournalOptions) {
		o.WAL.Disk = func(op string, do func() error) error {
			if broken.Load() && op == "make" {
				return errDown
			}
			return do()
		}
	})
	e := h.begin("req_1")
	h.j.keepLate(late{appendFinal(nil, &final{row: Row{Call: Call{RequestID: "late", Payer: Payer{Org: "acme"}}}}), 0}, errDown)
	e.Close()
	h.flush()
	if rows := h.store.all(); len(rows) != 2 {
		t.Errorf("%d rows", len(rows))
	}
}

// Counters that lost what was settled are given it again, and nothing twice.
func TestRewind(t *testing.T) {
	h := newHouse(t, nil)
	call := func(id string) {
		e := h.begin(id)
		e.Err = read(e, []*llm.Event{last(1, 1)}, io.EOF)
		e.Close()
	}
	call("one")
	h.flush()
	h.store.set(func(op string) error {
		if op == "ship" {
			return errDown
		}
		return nil
	})
	call("two")
	h.j.log.Sync()
	until(t, func() bool { return h.j.Stats().Settled == h.j.log.Last() })
	h.counters.mu.Lock()
	fresh := newCounters() // flushed; seeded with what the store has
	fresh.spent["budget"], fresh.marks["budget"+h.j.Replica()] = 12, h.j.Stats().Shipped
	h.counters.spent, h.counters.marks = fresh.spent, fresh.marks
	h.counters.mu.Unlock()
	h.j.Rewind(0)
	h.store.set(nil)
	h.flush()
	if h.counters.spent["budget"] != 24 || len(h.counters.wrong) > 0 {
		t.Errorf("spent %v, %v", h.counters.spent, h.counters.wrong)
	}
}

// What a process could not settle before it died is settled by the next one, also when the store has it.
func TestSettleAfterCrash(t *testing.T) {
	h := newHouse(t, nil)
	h.counters.mu.Lock()
	h.counters.fail = func() error { return errDown }
	h.counters.mu.Unlock()
	e := h.begin("one")
	e.Err = read(e, []*llm.Event{last(1, 1)}, io.EOF)
	e.Close()
	h.j.log.Sync()
	until(t, func() bool { return h.j.Stats().Shipped == h.j.log.Last() })
	h.kill()
	h.counters.fail = nil
	h.open()
	h.flush()
	if h.counters.spent["budget"] != 12 {
		t.Errorf("spent %v", h.counters.spent)
	}
}

// Calls of a replica that is gone are closed by another; when it comes back, it does not close them again.
func TestClaim(t *testing.T) {
	gone := newHouse(t, nil)
	one, two := gone.begin("one"), gone.begin("two")
	gone.flush()
	gone.store.set(func(string) error { return errDown })
	gone.counters.mu.Lock()
	gone.counters.fail = func() error { return errDown }
	gone.counters.mu.Unlock()
	one.Err = read(one, []*llm.Event{last(1, 1)}, io.EOF)
	one.Close() // in its log, but nobody hears of it
	gone.kill()
	gone.store.set(nil)
	gone.counters.fail = nil

	alive := newHouse(t, func(o *JournalOptions) { o.Store, o.Gone = gone.store, time.Nanosecond })
	alive.counters, alive.o.Settle = gone.counters, gone.counters.settle
	alive.kill()
	alive.open()
	until(t, func() bool { alive.flush(); return len(gone.store.all()) == 2 })
	rows := gone.store.all()
	for _, id := range []string{"one", "two"} {
		if r := rows[id]; !r.Estimated || !r.Partial || r.Replica != alive.j.Replica() {
			t.Errorf("%+v", r)
		}
	}
	if gone.counters.spent["budget"] != 80 {
		t.Errorf("settled %v", gone.counters.spent)
	}
	alive.kill()
	gone.o.Gone = time.Hour
	gone.open()
	gone.flush()
	if cmp.Diff(rows, gone.store.all()) != "" || gone.counters.spent["budget"] != 80 {
		t.Error("the one that came back closed them again")
	}
	_ = two
}

// A replica that was only silent learns that its calls were taken over, and their ends are not counted again.
func TestGoneWhileAlive(t *testing.T) {
	h := newHouse(t, nil)
	e, other := h.begin("taken"), h.begin("kept")
	h.flush()
	h.store.mu.Lock()
	h.store.gone[h.j.Replica()] = true
	h.store.claimed[h.j.Replica()] = []string{"taken"}
	delete(h.store.open, "taken")
	h.store.mu.Unlock()
	other.Close()
	h.flush()
	e.Close()
	h.flush()
	if rows := h.store.all(); len(rows) != 1 || rows["kept"].RequestID == "" || h.j.Stats().Open != 0 {
		t.Errorf("%v, %+v", rows, h.j.Stats())
	}
}

// A log that is older than what the store has seen of it goes on under another name: its positions mean
// other records now.
func TestOlderLog(t *testing.T) {
	h := newHouse(t, nil)
	h.begin("one").Close()
	h.flush()
	before := h.j.Replica()
	h.kill()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(h.o.Dir)); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.begin("two").Close()
	h.flush()
	h.kill()
	h.o.Dir = copied
	h.open()
	h.begin("three").Close()
	h.flush()
	if rows := h.store.all(); len(rows) != 3 || h.j.Replica() == before || rows["three"].Replica != h.j.Replica() {
		t.Errorf("%d rows, replica %s, before %s", len(rows), h.j.Replica(), before)
	}
	if want := llm.Nano(0); h.counters.spent["budget"] != want {
		t.Errorf("spent %v", h.counters.spent)
	}
}

// What the upstream did not tell is counted from the text, off the call's path.
func TestCount(t *testing.T) {
	release := make(chan struct{})
	var got Sample
	h := newHouse(t, func(o *JournalOptions) {
		o.Count = func(_ context.Context, s *Sample) (int64, int64, error) {
			<-release
			got = *s
			return 9, 33, nil
		}
	})
	e := h.begin("req_1")
	e.Err = read(e, []*llm.Event{frame(nil), frame(nil)}, io.EOF)
	if e.Close() != 0 {
		t.Error("written down before it was counted")
	}
	close(release)
	h.flush()
	r := h.store.all()["req_1"]
	if r.Usage.Input != llm.Tokens(9) || r.Usage.Output != llm.Tokens(33) || !r.Estimated || r.Partial || r.Costs.Total() != 348 {
		t.Errorf("%+v", r)
	}
	want := Sample{
		Format: llm.OpenAIChat, Request: []byte(strings.Repeat("x", 40)), Provider: "openai", Model: "gpt", Answered: llm.OpenAIChat, Stream: true,
		Answer: append(append([]byte(nil), frame(nil).Raw...), frame(nil).Raw...),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Who waits while the settler goes back, and nothing is left to settle, is told when it has.
func TestFlushWhileRewound(t *testing.T) {
	h := newHouse(t, nil)
	for epoch := range int64(300) {
		h.j.Rewind(epoch)
		var all sync.WaitGroup
		for range 16 {
			all.Go(h.flush)
		}
		all.Wait()
	}
}
