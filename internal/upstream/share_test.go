package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// A replica is a pool with a fleet of its own, sharing a store with others.
type replica struct {
	*Pool
	stages map[string]*stage
	mu     sync.Mutex
	news   []string
	keys   []string
	end    context.CancelFunc
	done   chan struct{}
}

func newReplica(t *testing.T, name string, shared Shared, specs ...string) *replica {
	t.Helper()
	r := &replica{done: make(chan struct{})}
	fleet := NewFleet(FleetOptions{
		Replica: name, Shared: shared,
		Notify: func(c Change) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.news = append(r.news, fmt.Sprint(c.Deployment, " ", c.Event, c.Mode, map[bool]string{true: " told"}[c.Remote]))
		},
		Revoked: func(public string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.keys = append(r.keys, public)
		},
	})
	r.Pool, r.stages = theatre(Options{Fleet: fleet}, specs...)
	ctx, end := context.WithCancel(t.Context())
	r.end = end
	go func() { fleet.Share(ctx); close(r.done) }()
	return r
}

func (r *replica) stop() {
	r.end()
	<-r.done
}

func (r *replica) call(t *testing.T) error {
	t.Helper()
	reply, _, err := r.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: r.Pool, groups: [][]int{{0}}}, "k", true, nil)
	if err == nil {
		err = drain(reply)
	}
	return err
}

// revoked are the keys that the replica was told to refuse.
func (r *replica) revoked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keys)
}

func (r *replica) bar(slot int) llm.Bar {
	var l llm.Load
	r.slots[slot].load(time.Now(), &l)
	return l.Bar
}

// What one replica learns, the others know within a moment.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := NewMemory(nil)
		a, b := newReplica(t, "a", shared, "x: connect", "y"), newReplica(t, "b", shared, "x", "y")
		synctest.Wait()
		time.Sleep(time.Second)
		if a.Replicas() != 2 || b.Replicas() != 2 || !a.fleet.Linked() {
			t.Errorf("%d and %d replicas", a.Replicas(), b.Replicas())
		}
		for range 3 {
			_ = a.call(t)
		}
		if a.bar(0) != llm.Open {
			t.Fatalf("%s", a.bar(0))
		}
		synctest.Wait()
		if b.bar(0) != llm.Open {
			t.Errorf("the other replica has %s at once", b.bar(0))
		}
		late := newReplica(t, "late", shared, "x", "y")
		time.Sleep(time.Second)
		if late.bar(0) != llm.Open {
			t.Errorf("a replica that starts later has %s", late.bar(0))
		}
		// One probe in 5 s over all of them, and its success is everybody's.
		a.stages["x"].words = []string{"ok"}
		probes := 0
		for range 40 {
			time.Sleep(250 * time.Millisecond)
			for _, r := range []*replica{a, b, late} {
				if r.bar(0) == llm.Free {
					if p, _, _ := r.slots[0].breaker.state(time.Now()); p == phaseHalfOpen {
						probes++
					}
					_ = r.call(t)
				}
			}
			if a.bar(0) == llm.Free && b.bar(0) == llm.Free && late.bar(0) == llm.Free {
				break
			}
		}
		if probes == 0 || probes > 3 {
			t.Errorf("%d probes in 10 s, want one in 5 s", probes)
		}
		time.Sleep(30 * time.Second)
		for range 3 {
			_ = b.call(t)
			time.Sleep(6 * time.Second)
		}
		if a.bar(0) != llm.Free || b.bar(0) != llm.Free || late.bar(0) != llm.Free {
			t.Errorf("after it is well: %s, %s, %s", a.bar(0), b.bar(0), late.bar(0))
		}
		for _, r := range []*replica{a, b, late} {
			r.stop()
		}
	})
}

func TestShareOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := NewMemory(nil)
		a, b := newReplica(t, "a", shared, "x", "y"), newReplica(t, "b", shared, "x", "y")
		time.Sleep(time.Second)
		if err := a.fleet.SetMode("y/m", Disabled); err != nil {
			t.Fatal(err)
		}
		a.fleet.Revoke("public")
		synctest.Wait()
		if a.bar(1) != llm.Disabled || b.bar(1) != llm.Disabled || !slices.Contains(b.revoked(), "public") {
			t.Errorf("%s, %s, revoked %v", a.bar(1), b.bar(1), b.revoked())
		}
		late := newReplica(t, "late", shared, "x", "y")
		time.Sleep(time.Second)
		if late.bar(1) != llm.Disabled || len(late.revoked()) == 0 {
			t.Errorf("a replica that starts later: %s, revoked %v", late.bar(1), late.revoked())
		}
		if err := b.fleet.SetMode("y/m", Active); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if a.bar(1) != llm.Free || b.bar(1) != llm.Free || late.bar(1) != llm.Free {
			t.Errorf("%s %s %s, want it back in service", a.bar(1), b.bar(1), late.bar(1))
		}
		b.slots[0].breaker.trip(time.Now(), time.Minute, 0)
		a.slots[0].breaker.trip(time.Now(), time.Minute, 0)
		if err := a.fleet.Reset("x/m"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a.bar(0) != llm.Free || b.bar(0) != llm.Free {
			t.Errorf("after a reset: %s %s", a.bar(0), b.bar(0))
		}
		if a.fleet.Reset("nobody/m") == nil || a.fleet.SetMode("nobody/m", Draining) == nil {
			t.Error("an unknown deployment was taken")
		}
		for _, r := range []*replica{a, b, late} {
			r.stop()
		}
	})
}

// Calls in flight elsewhere are known, and those of a replica that died are not for long.
func TestShareInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := NewMemory(nil)
		a, b := newReplica(t, "a", shared, "x: ok after 1h"), newReplica(t, "b", shared, "x")
		ctx, leave := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		for range 7 {
			calls.Go(func() {
				_, _, _ = a.Do(ctx, &llm.Call{}, &planned{pool: a.Pool, groups: [][]int{{0}}}, "k", true, nil)
			})
		}
		others := func() int32 {
			_, n, _ := b.slots[0].queue.load()
			return n
		}
		time.Sleep(time.Second)
		if others() != 7 {
			t.Errorf("%d calls elsewhere, want 7", others())
		}
		a.stop() // dies
		time.Sleep(4 * time.Second)
		if others() != 7 {
			t.Errorf("%d calls elsewhere before the lease ends", others())
		}
		time.Sleep(2 * time.Second)
		if others() != 0 || b.Replicas() != 1 || b.fleet.Seen() != 2 {
			t.Errorf("%d calls elsewhere and %d replicas after the lease's end, %d seen", others(), b.Replicas(), b.fleet.Seen())
		}
		time.Sleep(time.Minute)
		if b.fleet.Seen() != 1 {
			t.Errorf("%d replicas seen a minute later", b.fleet.Seen())
		}
		leave()
		calls.Wait()
		b.stop()
	})
}

func TestShareLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := NewMemory(nil)
		a, b := newReplica(t, "a", shared, "x"), newReplica(t, "b", shared, "x")
		for range 20 {
			a.slots[0].tracker.observe(100 * time.Millisecond)
			b.slots[0].tracker.observe(300 * time.Millisecond)
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(time.Second)
		x, y := time.Duration(a.slots[0].tracker.times.Latency.Load()), time.Duration(b.slots[0].tracker.times.Latency.Load())
		if x != y || x < 150*time.Millisecond || x > 250*time.Millisecond {
			t.Errorf("averages %v and %v, want one that both have moved", x, y)
		}
		a.stop()
		b.stop()
	})
}

// A flaky store fails while it is told to.
type flaky struct {
	*Memory
	down atomic.Bool
}

var errDown = errors.New("down")

func (f *flaky) Sync(ctx context.Context, r Report) (Picture, error) {
	if f.down.Load() {
		return Picture{}, errDown
	}
	return f.Memory.Sync(ctx, r)
}

func (f *flaky) Permit(ctx context.Context, purpose string, span time.Duration) (bool, error) {
	if f.down.Load() {
		return false, errDown
	}
	return f.Memory.Permit(ctx, purpose, span)
}

func (f *flaky) Tell(ctx context.Context, n Notice) error {
	if f.down.Load() {
		return errDown
	}
	return f.Memory.Tell(ctx, n)
}

// Without the store each replica goes on alone; what operators said meanwhile is told when it is back.
func TestShareStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &flaky{Memory: NewMemory(nil)}
		a, b := newReplica(t, "a", shared, "x: connect, connect, connect, connect, connect, ok", "y"), newReplica(t, "b", shared, "x", "y")
		time.Sleep(time.Second)
		shared.down.Store(true)
		time.Sleep(time.Second)
		if a.fleet.Linked() || a.Replicas() != 1 || a.fleet.Seen() != 2 {
			t.Errorf("linked %v, %d replicas, %d seen", a.fleet.Linked(), a.Replicas(), a.fleet.Seen())
		}
		for range 3 {
			_ = a.call(t)
		}
		if a.bar(0) != llm.Open || b.bar(0) != llm.Free {
			t.Errorf("%s %s", a.bar(0), b.bar(0))
		}
		for range 30 { // its own probes close it again
			time.Sleep(time.Second)
			_ = a.call(t)
		}
		if a.bar(0) != llm.Free {
			t.Errorf("%s: without the store nobody granted a probe", a.bar(0))
		}
		_ = a.fleet.SetMode("y/m", Draining)
		a.fleet.Revoke("public")
		a.slots[0].tracker.observe(50 * time.Millisecond)
		time.Sleep(time.Minute)
		shared.down.Store(false)
		time.Sleep(2 * time.Second)
		if !a.fleet.Linked() || b.bar(1) != llm.Draining || a.bar(1) != llm.Draining || len(b.revoked()) == 0 {
			t.Errorf("after it is back: linked %v, %s %s, revoked %v", a.fleet.Linked(), a.bar(1), b.bar(1), b.revoked())
		}
		if b.slots[0].tracker.times.Latency.Load() == 0 {
			t.Error("what was measured while the store was down is lost")
		}
		a.stop()
		b.stop()
	})
}
