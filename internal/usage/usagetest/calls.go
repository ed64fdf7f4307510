package usagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/internal/usage"
)

func contextThatEnds(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// Open makes an open call.
func Open(id, replica string, position uint64) usage.Open {
	row := Row(id, Base())
	return usage.Open{Replica: replica, Position: position, Intent: usage.Intent{Call: row.Call, Input: 10, InputCost: 25, Price: "v", Counters: []string{"c"}}}
}

func marked(o usage.Open, out int64) usage.Open {
	o.Mark = &usage.Mark{Provider: "openai", Attempts: 1, BytesOut: out}
	return o
}

func testOpen(r *rig) {
	r.join("a")
	one, two, three := Open("1", "a", 1), Open("2", "a", 2), Open("3", "a", 3)
	r.ship("a", nil, three, two, one)
	r.same("in the log's order", r.join("a").Open, []usage.Open{one, two, three})
	two = marked(two, 100)
	r.ship("a", nil, two)
	r.same("with a mark", r.join("a").Open, []usage.Open{one, two, three})
	two = marked(two, 200)
	r.ship("a", []usage.Row{Row("1", Base())}, two)
	r.same("one has ended", r.join("a").Open, []usage.Open{two, three})
	r.ship("a", []usage.Row{Row("4", Base())}, Open("4", "a", 9))
	r.same("one began and ended", r.join("a").Open, []usage.Open{two, three})
	r.join("b")
	if got := r.join("b"); len(got.Open)+len(got.Claimed) != 0 {
		r.t.Errorf("somebody else's calls: %+v", got)
	}
	// A row that is skipped ends its call as well.
	r.ship("b", []usage.Row{Row("2", Base())})
	r.ship("a", []usage.Row{Row("2", Base())})
	r.same("two have ended", r.join("a").Open, []usage.Open{three})
}

func (r *rig) claim(by string, gone time.Duration) []usage.Open {
	r.t.Helper()
	calls, err := r.Claim(r.t.Context(), by, gone)
	r.ok(err)
	return calls
}

func testClaims(r *rig) {
	ctx := r.t.Context()
	for _, replica := range []string{"a", "b", "c"} {
		r.join(replica)
	}
	one, two := Open("1", "a", 1), marked(Open("2", "a", 2), 7)
	r.ship("a", nil, one, two)
	r.ship("b", nil, Open("3", "b", 1))
	if got := r.claim("c", time.Hour); len(got) > 0 {
		r.t.Fatalf("calls of the living were claimed: %+v", got)
	}
	got := r.claim("b", 0)
	r.same("claimed", got, []usage.Open{one, two})
	r.same("claimed again", r.claim("b", time.Hour), []usage.Open{one, two})

	lost := r.batch("a", []usage.Row{Row("1", Base())})
	if err := r.Ship(ctx, lost); !errors.Is(err, usage.ErrGone) {
		r.t.Fatalf("who was robbed ships: %v", err)
	}
	if got := r.spent(usage.Filter{}); got.Calls != 0 {
		r.t.Error("a row of a refused batch is there")
	}
	end := Row("1", Base())
	end.Replica, end.Partial = "b", true
	r.ship("b", []usage.Row{end})
	r.same("one is ended", r.claim("b", time.Hour), []usage.Open{two})

	now := r.join("a")
	slices.Sort(now.Claimed)
	r.same("what was taken", now.Claimed, []string{"1", "2"})
	r.same("what is left", now.Open, []usage.Open(nil))
	r.ok(r.Ship(ctx, lost)) // its row is skipped: the call has one
	if got := r.rows(usage.RowQuery{RequestID: "1"}); len(got) != 1 || got[0].Replica != "b" {
		r.t.Errorf("rows of the call that was taken: %+v", got)
	}
}

func testClaimedAgain(r *rig) {
	for _, replica := range []string{"a", "b", "c"} {
		r.join(replica)
	}
	one, two := Open("1", "a", 1), Open("2", "b", 1)
	r.ship("a", nil, one)
	r.ship("b", nil, two)
	r.same("b has a's", r.claim("b", 0), []usage.Open{one})
	r.same("c has both", r.claim("c", 0), []usage.Open{one, two})
	r.same("b has none", r.claim("b", time.Hour), []usage.Open(nil))
	if err := r.Ship(r.t.Context(), r.batch("b", nil)); !errors.Is(err, usage.ErrGone) {
		r.t.Errorf("b ships: %v", err)
	}
	now := r.join("b")
	slices.Sort(now.Claimed)
	r.same("what was taken from b", now.Claimed, []string{"1", "2"})
	r.same("what was taken from a", r.join("a").Claimed, []string{"1"})
	// They come back to b when c is gone.
	r.same("b has both", r.claim("b", 0), []usage.Open{one, two})
	if now := r.join("b"); len(now.Claimed) > 0 || len(now.Open) > 0 {
		r.t.Errorf("b stands at %+v, want nothing but what it claims", now)
	}
	r.ship("b", []usage.Row{Row("1", Base()), Row("2", Base())})
	r.same("all has ended", r.claim("b", 0), []usage.Open(nil))
}

func testClaimRace(r *rig) {
	r.join("gone")
	var calls []usage.Open
	for i := range 20 {
		calls = append(calls, Open(fmt.Sprint("r", i), "gone", uint64(i+1)))
	}
	r.ship("gone", nil, calls...)
	var mu sync.Mutex
	had := map[string]int{}
	var all sync.WaitGroup
	for i := range 6 {
		by := fmt.Sprint("heir ", i) // none has joined, so none is gone
		all.Go(func() {
			got, err := r.Claim(r.t.Context(), by, 0)
			if err != nil {
				r.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range got {
				had[got[i].RequestID]++
			}
		})
	}
	all.Wait()
	for id, n := range had {
		if n != 1 {
			r.t.Errorf("call %s was given to %d", id, n)
		}
	}
	if len(had) != len(calls) {
		r.t.Errorf("%d calls were given, want %d", len(had), len(calls))
	}
}
