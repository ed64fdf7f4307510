package upstream

import (
	"bytes"
	"context"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// A deaf store brings no notices: its channel is cut.
type deaf struct{ *Memory }

func (deaf) Listen(ctx context.Context, _ func(Notice)) error {
	<-ctx.Done()
	return ctx.Err()
}

// What was said last holds on all, by the picture alone: who knows an older word does not unsay the newer.
func TestWordsWithoutNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := deaf{NewMemory(nil)}
		a, b := newReplica(t, "a", shared, "x"), newReplica(t, "b", shared, "x")
		time.Sleep(time.Second)
		for _, m := range []Mode{Disabled, Active, Draining, Active} {
			if err := a.fleet.SetMode("x/m", m); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if a.slots[0].word() != m || b.slots[0].word() != m {
				t.Errorf("after %s: %s and %s", m, a.slots[0].word(), b.slots[0].word())
			}
		}
		a.stop()
		b.stop()
	})
}

// Who has said a word that is still to be told does not give way to an older one.
func TestWordsNotToldYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &flaky{Memory: NewMemory(nil)}
		a := newReplica(t, "a", shared, "x")
		time.Sleep(time.Second)
		shared.down.Store(true)
		if err := a.fleet.SetMode("x/m", Draining); err != nil {
			t.Fatal(err)
		}
		a.fleet.hear(Notice{From: "b", Deployment: "x/m", Mode: string(Active)})
		if got := a.slots[0].word(); got != Draining {
			t.Errorf("%s", got)
		}
		shared.down.Store(false)
		time.Sleep(time.Second)
		a.fleet.hear(Notice{From: "b", Deployment: "x/m", Mode: string(Active)})
		if got := a.slots[0].word(); got != Active {
			t.Errorf("%s, said after ours was told", got)
		}
		a.stop()
	})
}

// A tardy store's pictures are on their way for a while.
type tardy struct{ *Memory }

func (s tardy) Sync(ctx context.Context, r Report) (Picture, error) {
	p, err := s.Memory.Sync(ctx, r)
	time.Sleep(100 * time.Millisecond)
	return p, err
}

// A word that is heard while a picture without it is on its way is not unsaid by it, not even for a moment.
func TestWordsOvertakePictures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := tardy{NewMemory(nil)}
		a, b := newReplica(t, "a", shared, "x"), newReplica(t, "b", shared, "x")
		time.Sleep(time.Second)
		for i := range 20 { // the pictures' phase moves through them
			m := []Mode{Draining, Active}[i%2]
			from, to := []*replica{a, b}[i/2%2], []*replica{b, a}[i/2%2]
			if err := from.fleet.SetMode("x/m", m); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				time.Sleep(11 * time.Millisecond)
				synctest.Wait()
				if to.slots[0].unsaid.Load() > 0 {
					t.Fatalf("%s, which %s said, is told again by the one who heard it", m, from.fleet.replica)
				}
			}
			if a.slots[0].word() != m || b.slots[0].word() != m {
				t.Fatalf("after %s: %s and %s", m, a.slots[0].word(), b.slots[0].word())
			}
		}
		changes := 0
		for _, r := range []*replica{a, b} {
			changes += len(r.news)
		}
		if changes != 40 {
			t.Errorf("%d changes of 20 words on two replicas", changes)
		}
		a.stop()
		b.stop()
	})
}

// Two probes that go well close a breaker, whichever replicas make them.
func TestProbesOfAllCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := NewMemory(nil)
		list := make([]*replica, 4)
		for i := range list {
			list[i] = newReplica(t, string(rune('a'+i)), shared, "x", "y")
		}
		time.Sleep(time.Second)
		for range 10 { // no replica makes both of them
			list[0].slots[0].breaker.trip(time.Now(), 5*time.Second, 0)
			list[0].fleet.opened(list[0].slots[0].deployment, time.Now(), classLimited)
			synctest.Wait()
			opened := time.Now()
			probed := make(map[*replica]bool)
			for shut := len(list); shut > 0 && time.Since(opened) < time.Minute; {
				time.Sleep(100 * time.Millisecond)
				for _, r := range list {
					if !probed[r] && r.bar(0) == llm.Free {
						if p, _, _ := r.slots[0].breaker.state(time.Now()); p == phaseHalfOpen {
							probed[r] = true
						}
						_ = r.call(t)
					}
				}
				shut = 0
				for _, r := range list {
					if p, _, _ := r.slots[0].breaker.state(time.Now()); p != phaseClosed {
						shut++
					}
				}
			}
			if n := len(probed); n > 2 {
				t.Errorf("%d probes, %v from opened to closed everywhere", n, time.Since(opened))
			}
		}
		for _, r := range list {
			r.stop()
		}
	})
}

// A remote store never answers, and finds out who asks.
type remote struct{ asked, byCall atomic.Int32 }

func (s *remote) wait(ctx context.Context) error {
	s.asked.Add(1)
	if stack := debug.Stack(); bytes.Contains(stack, []byte(".(*Pool).Do(")) || bytes.Contains(stack, []byte(".(*run).")) {
		s.byCall.Add(1)
		return errDown
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *remote) Sync(ctx context.Context, _ Report) (Picture, error) { return Picture{}, s.wait(ctx) }

func (s *remote) Permit(ctx context.Context, _ string, _ time.Duration) (bool, error) {
	return false, s.wait(ctx)
}
func (s *remote) Tell(ctx context.Context, _ Notice) error         { return s.wait(ctx) }
func (s *remote) Listen(ctx context.Context, _ func(Notice)) error { return s.wait(ctx) }

// No call waits for the shared store, whatever becomes of it: here the store never answers, and every call takes
// exactly the time of its upstream.
func TestCallsNeverAskTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &remote{}
		r := newReplica(t, "a", store, "x: ok, ok after 2s, credential, connect, connect, connect, connect, connect, connect, ok", "y", "hedged: ok after 2s")
		time.Sleep(time.Second)
		do := func(plan *planned) time.Duration {
			plan.pool = r.Pool
			began := time.Now()
			if reply, _, err := r.Do(t.Context(), &llm.Call{Stream: true}, plan, "k", true, nil); err == nil {
				_ = drain(reply)
			}
			return time.Since(began)
		}
		for range 60 { // breakers open, are probed and close, and there are last resorts
			if took := do(&planned{groups: [][]int{{0}}}); took > 3*time.Second {
				t.Errorf("a call took %v", took)
			}
			if took := do(&planned{groups: [][]int{{0, 1}}}); took > 3*time.Second {
				t.Errorf("a call with a spare took %v", took)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if took := do(&planned{groups: [][]int{{2, 1}}, hedge: true}); took > 2*time.Second {
			t.Errorf("a hedged call took %v", took)
		}
		if store.asked.Load() == 0 || store.byCall.Load() != 0 {
			t.Errorf("the store was asked %d times, %d of them by a call", store.asked.Load(), store.byCall.Load())
		}
		r.stop()
	})
}
