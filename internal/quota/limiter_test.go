package quota_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/quota"
)

// spentNothing is a database without rows.
func spentNothing(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
	out := make([]quota.Level, len(qs))
	for i, q := range qs {
		out[i].Counter = q.Counter
	}
	return out, nil
}

// start runs a limiter over a store in memory.
func start(t testing.TB, change func(*quota.Options)) *quota.Limiter {
	t.Helper()
	o := quota.Options{Store: quota.NewMemory(nil), Replica: "r1", Spent: spentNothing}
	if change != nil {
		change(&o)
	}
	l := quota.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { l.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return l
}

func caller(rules ...llm.Rule) *auth.Who {
	w := &auth.Who{Name: "k", ID: "k1", Org: "acme", Team: "t", User: "u", Project: "p"}
	for i := range rules {
		w.Rules = append(w.Rules, llm.Bound{Subject: "key:k1", Rule: &rules[i]})
	}
	return w
}

func call(id int) quota.Request {
	return quota.Request{ID: fmt.Sprint(id), Model: "gpt", InputTokens: 10, InputAbout: 10, OutputLeast: 1, OutputMost: 100, FixedCost: 10, OutputRate: 1e6}
}

func refusal(t *testing.T, err error) (*llm.Error, *quota.Refusal) {
	t.Helper()
	e, ok := errors.AsType[*llm.Error](err)
	if !ok {
		t.Fatalf("error %v, want a refusal", err)
	}
	r, ok := errors.AsType[*quota.Refusal](err)
	if !ok {
		t.Fatalf("error %v, want a refusal", err)
	}
	return e, r
}

func TestNoRules(t *testing.T) {
	l := start(t, nil)
	other := llm.Rule{Name: "x", Models: []string{"claude-*"}, Parallel: 1}
	for _, who := range []*auth.Who{caller(), caller(other)} {
		g, err := l.Reserve(t.Context(), who, call(1))
		if err != nil {
			t.Fatal(err)
		}
		if n, less := g.MaxOutput(); less || n != 0 {
			t.Errorf("output is bounded by %d", n)
		}
		g.Progress(1, 1)
		g.Release(t.Context(), 5)
		g.Cancel(t.Context())
		if err := g.TopUp(t.Context(), 1e9); err != nil || len(g.Counters()) > 0 {
			t.Errorf("a grant without rules does something: %v, %v", err, g.Counters())
		}
	}
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, nil)
		who := caller(llm.Rule{Name: "rpm", Requests: []llm.Pace{{N: 3, Per: time.Minute}, {N: 5, Per: time.Hour}}})
		for i := range 3 {
			g, err := l.Reserve(t.Context(), who, call(i))
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Requests(); got.Limit != 3 || got.Left != int64(2-i) {
				t.Errorf("after %d requests: %+v", i+1, got)
			}
			g.Release(t.Context(), 0)
		}
		for range 5 { // refusals are free
			_, err := l.Reserve(t.Context(), who, call(9))
			e, r := refusal(t, err)
			if e.Kind != llm.KindRateLimited || r.Rule != "rpm" || r.Limit != 3 || r.Used != 3 || e.RetryAfter <= 59*time.Second || e.RetryAfter > 61*time.Second ||
				!strings.Contains(e.Msg, `"rpm" of your key`) {
				t.Errorf("refused with %+v: %+v", e, r)
			}
		}
		time.Sleep(61 * time.Second)
		for i := range 2 {
			if _, err := l.Reserve(t.Context(), who, call(i)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := l.Reserve(t.Context(), who, call(9))
		if _, r := refusal(t, err); r.Limit != 5 || r.Per != time.Hour {
			t.Errorf("refused by %+v", r)
		}
	})
}

func TestTokensAreCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, nil)
		who := caller(llm.Rule{Name: "tpm", Tokens: []llm.Pace{{N: 100, Per: time.Minute}}, Requests: []llm.Pace{{N: 100, Per: time.Minute}}})
		r := call(1)
		r.InputTokens, r.InputAbout = 89, 89
		g, err := l.Reserve(t.Context(), who, r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Reserve(t.Context(), who, call(2)); err == nil {
			t.Fatal("the second call has room")
		}
		g.Release(t.Context(), 20)
		g.Release(t.Context(), 90) // idempotent
		g, err = l.Reserve(t.Context(), who, call(3))
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Tokens(); got.Left != 100-20-11 {
			t.Errorf("left: %+v, want 69", got)
		}
		g.Release(t.Context(), 500) // a debt
		_, err = l.Reserve(t.Context(), who, call(4))
		if e, r := refusal(t, err); r.Kind != quota.Tokens || r.Used != 520 || e.RetryAfter < time.Minute {
			t.Errorf("refused with %v, %+v", e, r)
		}
		time.Sleep(time.Minute + time.Second)
		r.InputTokens, r.InputAbout = 1<<40, 1<<40 // no call needs more than all at once
		if _, err := l.Reserve(t.Context(), who, r); err != nil {
			t.Error(err)
		}
	})
}

func TestParallelIsFreeAtOnce(t *testing.T) {
	l := start(t, nil)
	who := caller(llm.Rule{Name: "one", Parallel: 1})
	for i := range 100 {
		g, err := l.Reserve(t.Context(), who, call(i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Reserve(t.Context(), who, call(1000)); err == nil {
			t.Fatal("a second call has room")
		} else if e, r := refusal(t, err); e.Kind != llm.KindConcurrency || r.Used != 1 || e.RetryAfter != time.Second {
			t.Errorf("refused with %v, %+v", e, r)
		}
		g.Release(t.Context(), 0)
	}
}

func TestLeaseOutlivesLongCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, nil)
		who := caller(llm.Rule{Name: "one", Parallel: 1})
		if _, err := l.Reserve(t.Context(), who, call(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * quota.Lease)
		if _, err := l.Reserve(t.Context(), who, call(2)); err == nil {
			t.Error("the lease of a call under way has expired")
		}
	})
}

func settle(t *testing.T, l *quota.Limiter, pos uint64, g *quota.Grant, id int, money llm.Nano) {
	t.Helper()
	g.Release(t.Context(), 0)
	if err := l.Settle(t.Context(), []quota.Settlement{{ID: fmt.Sprint(id), Position: pos, Counters: g.Counters(), Money: money, Tokens: int64(money)}}); err != nil {
		t.Fatal(err)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var crossed []int
		l := start(t, func(o *quota.Options) { o.Crossed = func(c quota.Crossing) { crossed = append(crossed, c.Percent) } })
		who := caller(llm.Rule{Name: "day", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard, Alerts: []int{80, 50, 100}}}})
		g1, err := l.Reserve(t.Context(), who, call(1))
		if err != nil {
			t.Fatal(err)
		}
		if n, less := g1.MaxOutput(); less || n != 100 {
			t.Errorf("output: %d, %v: want all of it", n, less)
		}
		g2, err := l.Reserve(t.Context(), who, quota.Request{ID: "2", Model: "gpt", FixedCost: 10, OutputLeast: 1, OutputMost: 1e6, OutputRate: 1e6})
		if err != nil {
			t.Fatal(err)
		}
		if n, less := g2.MaxOutput(); !less || n != (1000-110-10)/4 {
			t.Errorf("output: %d, %v: want a quarter of the room", n, less)
		}
		big := call(3)
		big.FixedCost = 800
		_, err = l.Reserve(t.Context(), who, big)
		if e, r := refusal(t, err); e.Kind != llm.KindBudget || !r.Held || e.RetryAfter != time.Second || r.Limit != 1000 {
			t.Errorf("refused with %v, %+v", e, r)
		}
		settle(t, l, 1, g1, 1, 100)
		settle(t, l, 1, g1, 1, 100) // once
		settle(t, l, 2, g2, 2, 390)
		if len(crossed) != 0 {
			t.Errorf("crossed %v at 49 %%", crossed)
		}
		if _, err = l.Reserve(t.Context(), who, big); err == nil {
			t.Error("800 more than 490 has room")
		}
		big.FixedCost = 450
		g3, err := l.Reserve(t.Context(), who, big)
		if err != nil {
			t.Fatal(err)
		}
		settle(t, l, 3, g3, 3, 510)
		if diff := cmp.Diff([]int{50, 80, 100}, crossed); diff != "" {
			t.Errorf("crossed (-want +got):\n%s", diff)
		}
		_, err = l.Reserve(t.Context(), who, call(4))
		if e, r := refusal(t, err); r.Held || e.RetryAfter < 20*time.Hour || r.Used != 1000 || !strings.Contains(e.Msg, "$0.000001 each day") {
			t.Errorf("refused with %v, %+v", e, r)
		}
		time.Sleep(24 * time.Hour)
		if _, err := l.Reserve(t.Context(), who, call(5)); err != nil {
			t.Errorf("on the next day: %v", err)
		}
	})
}

func TestTopUp(t *testing.T) {
	l := start(t, nil)
	who := caller(llm.Rule{Name: "day", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard}}})
	r := quota.Request{ID: "1", Model: "gpt", OutputLeast: 1, OutputMost: 1e6, OutputRate: 1e6}
	g, err := l.Reserve(t.Context(), who, r)
	if err != nil {
		t.Fatal(err)
	}
	var used int64
	for used = range int64(2000) {
		if err = g.TopUp(t.Context(), used); err != nil {
			break
		}
	}
	if e, _ := refusal(t, err); e.Kind != llm.KindBudget || used != 1001 {
		t.Errorf("cut at %d with %v, want at 1001: 1000 are paid for", used, err)
	}
	r.ID = "2"
	if _, err := l.Reserve(t.Context(), who, r); err == nil {
		t.Error("another call has room")
	}
}

func TestUnpriced(t *testing.T) {
	l := start(t, nil)
	r := call(1)
	r.Unpriced = true
	money := caller(llm.Rule{Name: "m", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily}}})
	if _, err := l.Reserve(t.Context(), money, r); llm.AsError(err).Kind != llm.KindUnpriced {
		t.Errorf("under a budget of money: %v", err)
	}
	tokens := caller(llm.Rule{Name: "m", Budgets: []llm.Budget{{Tokens: 1000, Every: llm.Daily}}})
	if _, err := l.Reserve(t.Context(), tokens, r); err != nil {
		t.Errorf("under a budget of tokens: %v", err)
	}
}

func TestModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, nil)
		who := caller(
			llm.Rule{Name: "s", Budgets: []llm.Budget{{Money: 100, Every: llm.Monthly, Mode: llm.Soft}}},
			llm.Rule{Name: "g", Budgets: []llm.Budget{{Tokens: 100, Every: llm.Monthly, Mode: llm.HardAfterGrace, Grace: time.Hour}}},
		)
		for i := range 5 {
			g, err := l.Reserve(t.Context(), who, call(i))
			if err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			settle(t, l, uint64(i+1), g, i, 90)
		}
		time.Sleep(time.Hour)
		_, err := l.Reserve(t.Context(), who, call(9))
		if _, r := refusal(t, err); r.Rule != "g" || r.Kind != quota.TokenBudget {
			t.Errorf("after the grace: refused by %+v", r)
		}
	})
}

// TestFlush has the room that a refused call needs come free by settlements that are on their way.
func TestFlush(t *testing.T) {
	var l *quota.Limiter
	var late []quota.Settlement
	l = start(t, func(o *quota.Options) {
		o.Flush = func(ctx context.Context) {
			if err := l.Settle(ctx, late); err != nil {
				t.Error(err)
			}
		}
	})
	who := caller(llm.Rule{Name: "day", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard}}})
	big := call(1)
	big.FixedCost = 900
	g, err := l.Reserve(t.Context(), who, big)
	if err != nil {
		t.Fatal(err)
	}
	g.Release(t.Context(), 0)
	late = []quota.Settlement{{ID: "1", Position: 1, Counters: g.Counters(), Money: 50}}
	big.ID = "2"
	if _, err := l.Reserve(t.Context(), who, big); err != nil {
		t.Errorf("the second call: %v", err)
	}
}

func TestCancel(t *testing.T) {
	l := start(t, nil)
	who := caller(llm.Rule{Name: "day", Parallel: 1, Budgets: []llm.Budget{{Money: 110, Every: llm.Daily, Mode: llm.Hard}}})
	for i := range 3 {
		g, err := l.Reserve(t.Context(), who, call(i))
		if err != nil {
			t.Fatal(err)
		}
		g.Cancel(t.Context())
		g.Cancel(t.Context())
	}
}

// TestRolling fills a rolling hour: what was spent leaves it after an hour, by the part.
func TestRolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, nil)
		who := caller(llm.Rule{Name: "h", Budgets: []llm.Budget{{Money: 1000, Every: llm.RollHour, Mode: llm.Hard}}})
		for i := range 10 {
			g, err := l.Reserve(t.Context(), who, call(i))
			if err != nil {
				t.Fatal(err)
			}
			settle(t, l, uint64(i+1), g, i, 100)
			time.Sleep(5 * time.Minute)
		}
		time.Sleep(9 * time.Minute) // 59 since the first
		if _, err := l.Reserve(t.Context(), who, call(11)); err == nil {
			t.Error("there is room within the hour")
		}
		time.Sleep(16 * time.Minute)
		g, err := l.Reserve(t.Context(), who, call(12))
		if err != nil {
			t.Fatalf("after an hour and a part: %v", err)
		}
		settle(t, l, 11, g, 12, 0)
	})
}

// TestPer counts apart by what a rule says, and together otherwise.
func TestPer(t *testing.T) {
	l := start(t, nil)
	rule := llm.Rule{Name: "r", Per: []llm.Dim{llm.DimModel, llm.DimProject}, Requests: []llm.Pace{{N: 1, Per: time.Hour}}}
	ask := func(model, project string) bool {
		w := &auth.Who{ID: "k", Org: "acme", Project: project, Rules: []llm.Bound{{Subject: "org:acme", Rule: &rule}}}
		_, err := l.Reserve(t.Context(), w, quota.Request{ID: "x", Model: model})
		return err == nil
	}
	var got []bool
	for _, c := range [][2]string{{"a", "p"}, {"b", "p"}, {"a", "q"}, {"a", "p"}, {"a,project=q", ""}, {"a", "q"}} {
		got = append(got, ask(c[0], c[1]))
	}
	if want := []bool{true, true, true, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// broken is a store that fails while it is told to.
type broken struct {
	*quota.Memory
	down atomic.Bool
}

var errDown = errors.New("down")

func (b *broken) Reserve(ctx context.Context, h *quota.Hold) (quota.Verdict, error) {
	if b.down.Load() {
		return quota.Verdict{}, errDown
	}
	return b.Memory.Reserve(ctx, h)
}

func (b *broken) Extend(ctx context.Context, h *quota.Hold) (quota.Verdict, error) {
	if b.down.Load() {
		return quota.Verdict{}, errDown
	}
	return b.Memory.Extend(ctx, h)
}

func (b *broken) Renew(ctx context.Context, org string, holds []*quota.Hold) (quota.Outcome, error) {
	if b.down.Load() {
		return quota.Outcome{}, errDown
	}
	return b.Memory.Renew(ctx, org, holds)
}

func (b *broken) Settle(ctx context.Context, batch quota.Batch) (quota.Outcome, error) {
	if b.down.Load() {
		return quota.Outcome{}, errDown
	}
	return b.Memory.Settle(ctx, batch)
}

func (b *broken) Release(ctx context.Context, org string, list []quota.Freed) error {
	if b.down.Load() {
		return errDown
	}
	return b.Memory.Release(ctx, org, list)
}

// TestStoreDown: hard budgets are refused, soft ones pass, and limits hold with this replica's part of them.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &broken{Memory: quota.NewMemory(nil)}
		l := start(t, func(o *quota.Options) {
			o.Store = store
			o.Replicas = func() int { return 4 }
		})
		limits := llm.Rule{Name: "l", Requests: []llm.Pace{{N: 40, Per: time.Minute}}, Parallel: 100}
		soft := llm.Rule{Name: "s", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Soft}}}
		hard := llm.Rule{Name: "h", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard}}}
		before := 0
		for i := range 6 {
			g, err := l.Reserve(t.Context(), caller(limits, soft), call(i))
			if err != nil {
				t.Fatal(err)
			}
			settle(t, l, uint64(i+1), g, i, 10)
			before++
		}
		under, err := l.Reserve(t.Context(), caller(hard), call(7))
		if err != nil {
			t.Fatal(err)
		}
		store.down.Store(true)
		_, err = l.Reserve(t.Context(), caller(hard, limits), call(8))
		if e := llm.AsError(err); e.Kind != llm.KindBudgetUnknown || e.RetryAfter == 0 || !errors.Is(err, errDown) {
			t.Errorf("a hard budget: %v", err)
		}
		var late []quota.Settlement
		for i := range 20 {
			g, err := l.Reserve(t.Context(), caller(limits, soft), call(100+i))
			if err != nil {
				break
			}
			late = append(late, quota.Settlement{ID: fmt.Sprint(100 + i), Position: uint64(50 + i), Counters: g.Counters(), Money: 1})
			g.Release(t.Context(), 0)
		}
		if len(late)+before != 10 {
			t.Errorf("%d and %d calls in a minute, want a quarter of 40 together", before, len(late))
		}
		if err := under.TopUp(t.Context(), 1); err != nil {
			t.Errorf("within the hold: %v", err)
		}
		if err := l.Settle(t.Context(), late); !errors.Is(err, errDown) {
			t.Errorf("settled: %v", err)
		}
		time.Sleep(quota.Lease + quota.Beat)
		if err := under.TopUp(t.Context(), 1); llm.AsError(err).Kind != llm.KindBudgetUnknown {
			t.Errorf("after the hold's time: %v", err)
		}
		store.down.Store(false)
		time.Sleep(2 * quota.Beat)
		if err := l.Settle(t.Context(), late); err != nil {
			t.Error(err)
		}
		levels, err := store.Levels(t.Context(), "acme", []string{late[0].Counters[0]})
		if err != nil || levels[0].Spent() != int64(60+len(late)) {
			t.Errorf("settled in the end: %+v, %v", levels, err)
		}
	})
}

// TestLost has the store lose its data under calls: they wait for a moment, the budget is what the database says, and
// what is under way is held again.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := quota.NewMemory(nil)
		var behind atomic.Int64
		l := start(t, func(o *quota.Options) {
			o.Store = store
			o.Behind = func() { behind.Add(1) }
			o.Spent = func(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
				return []quota.Level{{Counter: qs[0].Counter, Parts: []quota.Part{{Amount: 700}}}}, nil
			}
		})
		who := caller(llm.Rule{Name: "h", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard}}})
		if _, err := l.Reserve(t.Context(), who, call(1)); err != nil {
			t.Fatal(err)
		}
		store.Lose()
		began := time.Now()
		g, err := l.Reserve(t.Context(), who, call(2))
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < quota.Grace || d > quota.Grace+time.Second || behind.Load() != 1 {
			t.Errorf("waited %v, %d times behind", d, behind.Load())
		}
		levels, _ := store.Levels(t.Context(), "acme", g.Counters())
		if got := levels[0]; got.Spent() != 700 || got.Held < 50+10 {
			t.Errorf("after the loss: %+v", got)
		}
	})
}

// TestDatabaseDown refuses what it cannot know, and asks once for all that wait.
func TestDatabaseDown(t *testing.T) {
	var asked atomic.Int64
	l := start(t, func(o *quota.Options) {
		o.Spent = func(context.Context, []quota.Query) ([]quota.Level, error) {
			asked.Add(1)
			return nil, errDown
		}
	})
	budget := llm.Budget{Money: 1000, Every: llm.Daily, Mode: llm.Hard}
	_, err := l.Reserve(t.Context(), caller(llm.Rule{Name: "h", Budgets: []llm.Budget{budget}}), call(1))
	if e := llm.AsError(err); e.Kind != llm.KindBudgetUnknown || !errors.Is(err, errDown) || asked.Load() != 1 {
		t.Errorf("error %v after %d questions", err, asked.Load())
	}
	budget.Mode = llm.Soft
	if _, err := l.Reserve(t.Context(), caller(llm.Rule{Name: "s", Budgets: []llm.Budget{budget}}), call(2)); err != nil {
		t.Errorf("soft: %v", err)
	}
}

// TestClocksApart has the store's clock be in another day than ours.
func TestClocksApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, off := range []time.Duration{-26 * time.Hour, 5 * time.Minute, 26 * time.Hour} {
			l := start(t, func(o *quota.Options) {
				o.Store = quota.NewMemory(func() time.Time { return time.Now().Add(off) })
			})
			who := caller(llm.Rule{Name: "h", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard}}})
			g, err := l.Reserve(t.Context(), who, call(1))
			if err != nil {
				t.Fatalf("%v ahead: %v", off, err)
			}
			from, until := quota.Span(llm.Daily, nil, time.Now().Add(off))
			if want := fmt.Sprintf("|%d-%d", from.Unix(), until.Unix()); !strings.HasSuffix(g.Counters()[0], want) {
				t.Errorf("%v ahead: counter %s, want %s", off, g.Counters()[0], want)
			}
		}
	})
}

// TestReplicaDies has a replica go that holds five hundred calls: its part of the budget is free five seconds after the
// leases end.
func TestReplicaDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := quota.NewMemory(nil)
		who := caller(llm.Rule{Name: "r", Parallel: 500, Budgets: []llm.Budget{{Money: 500 * 110, Every: llm.Monthly, Mode: llm.Hard}}})
		dead := quota.New(quota.Options{Store: store, Replica: "dead", Spent: spentNothing})
		for i := range 500 {
			g, err := dead.Reserve(t.Context(), who, call(i))
			if err != nil {
				t.Fatal(err)
			}
			g.Progress(llm.Nano(i%2), 0)
		}
		l := start(t, func(o *quota.Options) { o.Store, o.Replica = store, "alive" })
		if _, err := l.Reserve(t.Context(), who, call(1000)); err == nil {
			t.Fatal("there is room while the leases live")
		}
		time.Sleep(quota.Lease + 5*time.Second)
		for i := range 500 {
			if _, err := l.Reserve(t.Context(), who, call(2000+i)); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
	})
}

// haunted is a store whose budgets are full of what the dead hold, until somebody sweeps.
type haunted struct {
	*quota.Memory

	mu    sync.Mutex
	swept int
}

func (h *haunted) Reserve(ctx context.Context, hold *quota.Hold) (quota.Verdict, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.swept == 0 {
		return quota.Verdict{Answer: quota.Refused, Ask: 0}, nil
	}
	return h.Memory.Reserve(ctx, hold)
}

func (h *haunted) sweeps() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.swept
}

func (h *haunted) Sweep(ctx context.Context, org string) error {
	h.mu.Lock()
	h.swept++
	h.mu.Unlock()
	return h.Memory.Sweep(ctx, org)
}

// TestReplicaDiedBefore has all calls of an organisation go to a replica that died. Another frees what that held before it refuses the
// first call that comes to it, and where it is only asked how the budget stands.
func TestReplicaDiedBefore(t *testing.T) {
	who := caller(llm.Rule{Name: "r", Budgets: []llm.Budget{{Money: 110, Every: llm.Monthly, Mode: llm.Hard}}})
	alive := func(t *testing.T) (*haunted, *quota.Limiter) {
		h := &haunted{Memory: quota.NewMemory(nil)}
		return h, start(t, func(o *quota.Options) { o.Store = h })
	}
	synctest.Test(t, func(t *testing.T) {
		h, l := alive(t)
		time.Sleep(10*quota.Beat + quota.Beat/2) // between two beats
		if n := h.sweeps(); n != 0 {
			t.Fatalf("swept %d times without an organisation", n)
		}
		if _, err := l.Reserve(t.Context(), who, call(1)); err != nil || h.sweeps() != 1 {
			t.Errorf("the first call: %v, swept %d times", err, h.sweeps())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h, l := alive(t)
		if _, err := l.Status(t.Context(), who); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * quota.Beat)
		synctest.Wait()
		if h.sweeps() == 0 {
			t.Error("nobody swept an organisation that was asked about")
		}
	})
}
