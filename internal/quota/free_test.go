package quota_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/quota"
)

// far is a store that replicas share. It counts what it is asked.
type far struct {
	*quota.Memory

	mu       sync.Mutex
	down     bool
	reserved int
	released int
	along    int // holds freed with a reservation
	apart    int // and by themselves
	most     int // at once
}

func (f *far) Reserve(ctx context.Context, h *quota.Hold) (quota.Verdict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return quota.Verdict{}, errDown
	}
	f.reserved++
	f.along += len(h.Freed)
	f.most = max(f.most, len(h.Freed))
	return f.Memory.Reserve(ctx, h)
}

func (f *far) Release(ctx context.Context, org string, list []quota.Freed) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return errDown
	}
	f.released++
	f.apart += len(list)
	f.most = max(f.most, len(list))
	return f.Memory.Release(ctx, org, list)
}

// did is how often the store was asked to reserve and to release, and how many holds were freed along and apart, since the last time.
func (f *far) did() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := fmt.Sprint(f.reserved, f.released, f.along, f.apart)
	f.reserved, f.released, f.along, f.apart = 0, 0, 0, 0
	return s
}

func (f *far) fail(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// shared runs a limiter over a far store.
func shared(t *testing.T) (*far, *quota.Limiter) {
	f := &far{Memory: quota.NewMemory(nil)}
	return f, start(t, func(o *quota.Options) { o.Store = f })
}

// TestFreedAlong: a call costs one question to the store while others follow, and who comes after it finds its place free.
func TestFreedAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := shared(t)
		who := caller(llm.Rule{Name: "one", Parallel: 1, Tokens: []llm.Pace{{N: 100, Per: time.Minute}}})
		g := must(t, l, who, 0)
		synctest.Wait()
		for i := range 50 {
			g.Release(t.Context(), 1)
			g = must(t, l, who, i+1)
			if left := g.Tokens().Left; left != int64(100-(i+1)-11) {
				t.Fatalf("after %d calls: %d tokens left", i+1, left)
			}
			time.Sleep(quota.AlongTime / 2)
		}
		if got := store.did(); got != "51 0 50 0" {
			t.Errorf("reserved, released, freed along and apart: %s", got)
		}
		g.Release(t.Context(), 1)
		synctest.Wait()
		if got := store.did(); got != "0 0 0 0" {
			t.Errorf("released before the next call could take it along: %s", got)
		}
		time.Sleep(2 * quota.AlongTime)
		synctest.Wait()
		if got := store.did(); got != "0 1 0 1" {
			t.Errorf("afterwards: %s", got)
		}
	})
}

func must(t *testing.T, l *quota.Limiter, who *auth.Who, id int) *quota.Grant {
	t.Helper()
	g, err := l.Reserve(t.Context(), who, call(id))
	if err != nil {
		t.Fatalf("call %d: %v", id, err)
	}
	return g
}

// TestFreedAtOnce: where no calls follow, nothing waits; and many at once go in batches.
func TestFreedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := shared(t)
		who := caller(llm.Rule{Name: "many", Parallel: 1000})
		g := must(t, l, who, 0)
		time.Sleep(quota.AlongTime)
		g.Release(t.Context(), 0)
		synctest.Wait()
		if got := store.did(); got != "1 1 0 1" {
			t.Errorf("one call: %s", got)
		}
		var all []*quota.Grant
		for i := range 100 {
			all = append(all, must(t, l, who, i+1))
		}
		store.did()
		for _, g := range all {
			g.Release(t.Context(), 0)
		}
		must(t, l, who, 500)
		synctest.Wait()
		time.Sleep(2 * quota.AlongTime)
		synctest.Wait()
		if store.along+store.apart != len(all) || store.most > quota.MostAlong {
			t.Errorf("%d were freed along and %d apart, %d at once", store.along, store.apart, store.most)
		}
	})
}

// TestFreedLater: what was on its way when the store went is freed when it is back, and what is left when the limiter ends.
func TestFreedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &far{Memory: quota.NewMemory(nil)}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		l := quota.New(quota.Options{Store: store, Replica: "r1", Spent: spentNothing})
		var run sync.WaitGroup
		run.Go(func() { l.Run(ctx) })
		who := caller(llm.Rule{Name: "two", Parallel: 2})
		a, b := must(t, l, who, 1), must(t, l, who, 2)
		store.fail(true)
		a.Release(t.Context(), 0)
		if _, err := l.Reserve(t.Context(), who, call(3)); err != nil { // counted here
			t.Fatal(err)
		}
		b.Release(t.Context(), 0)
		synctest.Wait()
		store.fail(false)
		store.did()
		time.Sleep(2 * quota.Beat)
		if got := store.did(); got != "0 3 0 3" { // call 3, too: the store may have it
			t.Errorf("when the store is back: %s", got)
		}
		c := must(t, l, who, 4)
		must(t, l, who, 5).Release(t.Context(), 0)
		c.Release(t.Context(), 0)
		stop()
		run.Wait()
		if got := store.did(); got != "2 1 0 2" && got != "2 2 0 2" {
			t.Errorf("at the end: %s", got)
		}
	})
}

// TestPlaceOnItsWay: who finds no place waits a moment for one that another replica is just giving back.
func TestPlaceOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a := shared(t)
		b := start(t, func(o *quota.Options) { o.Store, o.Replica = store, "r2" })
		who := caller(llm.Rule{Name: "one", Parallel: 1})
		for i := range 20 {
			g := must(t, a, who, 2*i)
			g.Release(t.Context(), 0)
			g = must(t, b, who, 2*i+1)
			g.Release(t.Context(), 0)
		}
		must(t, a, who, 100)
		store.did()
		began := time.Now()
		if _, err := b.Reserve(t.Context(), who, call(101)); llm.AsError(err).Kind != llm.KindConcurrency {
			t.Errorf("beside another call: %v", err)
		}
		if got := store.did(); got != "2 0 0 0" || time.Since(began) > 10*quota.AlongTime {
			t.Errorf("refused after %v: %s", time.Since(began), got)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := b.Reserve(gone, who, call(102)); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: %v", err)
		}
	})
}
