package upstream

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// warm makes a deployment one that nearly always begins within 100 ms, and gives hedges a budget.
func warm(p *Pool, slots ...int) {
	for _, slot := range slots {
		for range 50 {
			p.slots[slot].firsts.observe(100 * time.Millisecond)
			p.slots[slot].tracker.observe(100 * time.Millisecond)
		}
	}
	for range 40 { // 5 % of 40 are two
		p.fleet.hedges.request(time.Now())
	}
}

func TestHedge(t *testing.T) {
	for _, c := range []struct {
		name   string
		stages []string
		cold   bool
		want   string
		err    llm.Kind
		took   time.Duration
		calls  int // of the second stage
	}{
		{name: "a quick one needs none", stages: []string{"a: ok after 200ms", "b"}, want: "a ok", took: 200 * time.Millisecond},
		{name: "a slow one is outrun", stages: []string{"a: ok after 10s", "b: ok after 50ms"}, want: "b ok, a outrun", took: 350 * time.Millisecond, calls: 1},
		{name: "the first may still win", stages: []string{"a: ok after 400ms", "b: ok after 10s"}, want: "a ok, b outrun", took: 400 * time.Millisecond, calls: 1},
		{name: "the hedge fails", stages: []string{"a: ok after 1s", "b: 500"}, want: "b transient, a ok", took: time.Second, calls: 1},
		{name: "the first fails, the hedge answers", stages: []string{"a: connect after 1s", "b: ok after 2s"}, want: "a connect, b ok", took: 2300 * time.Millisecond, calls: 1},
		{name: "both refuse", stages: []string{"a: 400 after 1s", "b: 400 after 1s"}, want: "a final, b final", err: llm.KindInvalid, took: 1300 * time.Millisecond, calls: 1},
		{name: "the first fails before its time: the plan goes on", stages: []string{"a: connect after 100ms", "b"}, want: "a connect, b ok", took: 100 * time.Millisecond, calls: 1},
		{name: "unknown times", stages: []string{"a: ok after 10s", "b"}, cold: true, want: "a ok", took: 10 * time.Second},
		{name: "a storm", stages: []string{"a: ok after 10s", "b", "c", "d"}, want: "a ok", took: 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool, stages := theatre(Options{Timeouts: llm.Timeouts{FirstToken: time.Minute}}, c.stages...)
				if !c.cold {
					warm(pool, 0)
				}
				groups := [][]int{{0, 1}}
				if len(c.stages) > 2 {
					groups = [][]int{{0, 1, 2, 3}}
					pool.slots[3].breaker.trip(time.Now(), time.Minute, 0)
				}
				start := time.Now()
				reply, tr, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: groups, hedge: true}, "k", true, nil)
				if got := outcomes(tr); got != c.want || time.Since(start) != c.took || kindOf(err) != c.err {
					t.Errorf("%q after %v, error %v; want %q after %v, %q", got, time.Since(start), err, c.want, c.took, c.err)
				}
				if strings.Contains(c.want, "outrun") && tr.Attempts != 2 {
					t.Errorf("%d attempts, want the loser counted, too", tr.Attempts)
				}
				if reply != nil {
					if err := drain(reply); err != nil {
						t.Error(err)
					}
				}
				if n := stages["b"].calls; n != c.calls {
					t.Errorf("%d calls of the second, want %d", n, c.calls)
				}
				synctest.Wait()
				for _, s := range stages {
					if s.open != 0 {
						t.Error("a stream is open")
					}
				}
				for _, d := range pool.slots {
					if d.queue.inFlight() != 0 {
						t.Errorf("%s has calls in flight", d.key)
					}
				}
			})
		})
	}
}

// Closing the winner waits for the loser, which reads the same bytes.
func TestHedgeLoserIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := theatre(Options{}, "a", "b")
		stubborn := &stubbornProvider{}
		pool.slots[0].provider = stubborn
		warm(pool, 0)
		reply, tr, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0, 1}}, hedge: true}, "k", true, nil)
		if err != nil || tr.Target.Provider != "b" {
			t.Fatalf("%+v %v", tr, err)
		}
		start := time.Now()
		_ = reply.Close()
		if time.Since(start) != time.Second || !stubborn.done {
			t.Errorf("closed after %v, the loser done: %v", time.Since(start), stubborn.done)
		}
	})
}

// A stubbornProvider takes a second to hear that it was cancelled.
type stubbornProvider struct{ done bool }

func (s *stubbornProvider) Do(ctx context.Context, _ *llm.Attempt) (*llm.Reply, error) {
	<-ctx.Done()
	time.Sleep(time.Second) // on synctest's clock
	s.done = true
	return nil, ctx.Err()
}

func TestHedgesHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, stages := theatre(Options{}, "a: ok after 2s", "b")
		warm(pool, 0)
		for range 100 {
			reply, _, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0, 1}}, hedge: true}, "k", true, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = drain(reply)
		}
		if n := stages["b"].calls; n == 0 || n > 7 {
			t.Errorf("%d second requests for 140 calls, want at most 5 %%", n)
		}
	})
}
