package upstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// What attempts have cost whose answers nobody got is in the trace, and so is that we left those that told nothing.
func TestWaste(t *testing.T) {
	told := func(in, out int64) *llm.Usage { return &llm.Usage{Input: llm.Tokens(in), Output: llm.Tokens(out)} }
	type try struct {
		Outcome string
		Told    *llm.Usage
		Left    bool
	}
	for _, c := range []struct {
		name   string
		stages []string
		hedge  bool
		want   []try
	}{
		{"failed, and told nothing", []string{"a: 500, 500", "b"}, false, []try{{Outcome: "transient"}, {Outcome: "transient"}, {Outcome: "ok"}}},
		{"failed after it had begun", []string{"a: begun, ok", "b"}, false, []try{{Outcome: "transient", Told: told(25, 1)}, {Outcome: "ok"}}},
		{"outrun before it told anything", []string{"a: ok after 10s", "b: ok after 50ms"}, true, []try{{Outcome: "ok"}, {Outcome: "outrun", Left: true}}},
		{"outrun after it had begun", []string{"a: silent", "b: ok after 50ms"}, true, []try{{Outcome: "ok"}, {Outcome: "outrun", Told: told(25, 1), Left: true}}},
		{"a hedge that fails", []string{"a: ok after 1s", "b: begun"}, true, []try{{Outcome: "transient", Told: told(25, 1)}, {Outcome: "ok"}}},
		{"a hedge that was not connected", []string{"a: ok after 1s", "b: connect"}, true, []try{{Outcome: "connect"}, {Outcome: "ok"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool, _ := theatre(Options{Timeouts: llm.Timeouts{FirstToken: time.Minute}}, c.stages...)
				warm(pool, 0)
				reply, tr, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0, 1}}, hedge: c.hedge}, "k", true, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := drain(reply); err != nil {
					t.Error(err)
				}
				var got []try
				for _, x := range tr.Tries {
					got = append(got, try{x.Outcome, x.Told, x.Left})
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// No attempt is made that nobody can pay for, and no hedge.
func TestAllow(t *testing.T) {
	for _, hedge := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			pool, stages := theatre(Options{Timeouts: llm.Timeouts{FirstToken: time.Minute}}, "a: begun", "b")
			if hedge {
				pool, stages = theatre(Options{Timeouts: llm.Timeouts{FirstToken: time.Minute}}, "a: ok after 1s", "b")
			}
			warm(pool, 0)
			var asked []int
			may := func(_ context.Context, tr *llm.Trace, beside bool) error {
				if asked = append(asked, len(tr.Tries)); beside != hedge {
					t.Errorf("asked for a hedge: %v", beside)
				}
				return errors.New("no")
			}
			reply, _, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0, 1}}, hedge: hedge}, "k", true, may)
			if (err == nil) != hedge || !hedge && kindOf(err) != llm.KindUpstream || len(asked) != 1 || stages["a"].calls != 1 || stages["b"].calls != 0 {
				t.Errorf("hedge %v: error %v, asked at %v tries, %d and %d calls", hedge, err, asked, stages["a"].calls, stages["b"].calls)
			}
			if reply != nil {
				_ = drain(reply)
			}
		})
	}
}
