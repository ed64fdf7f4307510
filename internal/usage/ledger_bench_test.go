package usage

import (
	"io"
	"runtime"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/usage/wal"
)

// quiet is a journal on a disk that syncs in no time: what a call itself costs. Its followers see what is
// appended so late.
func quiet(b testing.TB, late time.Duration) *Ledger {
	o := JournalOptions{
		Dir: b.TempDir(), Store: newMemory(), Wait: 10 * time.Millisecond, recall: time.Nanosecond,
		WAL: wal.Options{Spool: 8 << 30, Sync: late, Disk: func(op string, do func() error) error {
			if op == "sync" {
				return nil
			}
			return do()
		}},
	}
	j, err := OpenJournal(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		j.cancel()
		j.work.Wait()
		_ = j.log.Close()
	})
	return New(Options{Journal: j, Price: price})
}

var (
	benchCall = &llm.Call{Op: llm.OpChat, Model: "gpt-5-mini", Stream: true, Body: llm.NewBody(nil, make([]byte, 2000), llm.Marks{})}
	benchMet  = &llm.Trace{Attempts: 1, Target: &llm.Target{Provider: "openai", Model: "gpt-5-mini-2026-08-01", Credential: "main"}}
	benchHold = Hold{Input: 600, InputCost: 1200, Counters: []string{"acme|key:sk-slc-0123456789ab|monthly|0|2026-11-01", "acme|org:acme|all|0|2026-11-01"}}
)

func account(l *Ledger) error {
	e := l.Open("req_ABCDEFGHIJKLMNOPQRSTUVWXYZ", llm.OpenAIChat, "192.0.2.1")
	e.Caller(caller)
	e.Call(benchCall)
	if err := e.Begin(benchHold); err != nil {
		return err
	}
	e.Met(benchMet)
	e.Usage.Input, e.Usage.Output = llm.Tokens(500), llm.Tokens(100)
	e.Close()
	return nil
}

// The time of the calling goroutine alone is cpu-ns/op: the disk and whoever else uses the machine are in ns/op.
func BenchmarkBeginClose(b *testing.B) {
	l := quiet(b, time.Millisecond)
	b.ReportAllocs()
	measure(b, func() {
		if err := account(l); err != nil {
			b.Fatal(err)
		}
	})
}

func measure(b *testing.B, do func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := threadTime(b)
	for b.Loop() {
		do()
	}
	b.ReportMetric(float64(threadTime(b)-begin)/float64(b.N), "cpu-ns/op")
}

// Beginning and closing an account allocates nothing.
func TestAllocations(t *testing.T) {
	if racing {
		t.Skip("allocations are counted without the race detector")
	}
	l := quiet(t, time.Hour)
	_ = account(l)
	var err error
	if n := testing.AllocsPerRun(2000, func() { err = account(l) }); err != nil || n > 0 {
		t.Errorf("%v allocations, want none; %v", n, err)
	}
}

// A streamed answer of a hundred frames.
func BenchmarkStream(b *testing.B) {
	l := quiet(b, time.Millisecond)
	events := make([]*llm.Event, 100)
	for i := range events {
		events[i] = frame(nil)
	}
	events = append(events, last(500, 100))
	s := &script{}
	b.ReportAllocs()
	measure(b, func() {
		e := l.Open("req_ABCDEFGHIJKLMNOPQRSTUVWXYZ", llm.OpenAIChat, "192.0.2.1")
		e.Caller(caller)
		e.Call(benchCall)
		if err := e.Begin(benchHold); err != nil {
			b.Fatal(err)
		}
		e.Met(benchMet)
		s.events, s.err = events, io.EOF
		m := e.Meter(s, Hooks{})
		for {
			if _, err := m.Next(); err != nil {
				break
			}
		}
		e.Close()
	})
}
