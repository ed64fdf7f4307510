package quota_test

import (
	"context"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/quota"
)

// busy is a caller under three limits and two budgets.
func busy() *auth.Who {
	return caller(
		llm.Rule{Name: "limits", Requests: []llm.Pace{{N: 1e9, Per: time.Minute}}, Tokens: []llm.Pace{{N: 1e12, Per: time.Minute}}, Parallel: 1e6},
		llm.Rule{Name: "budgets", Budgets: []llm.Budget{
			{Money: 1e15, Every: llm.Monthly, Mode: llm.Hard, Alerts: []int{50, 80, 100}}, {Money: 1e15, Every: llm.Daily, Mode: llm.Hard},
		}},
	)
}

// pass is all that a call asks of its limiter.
func pass(tb testing.TB, l *quota.Limiter, who *auth.Who, position uint64, list []quota.Settlement) {
	g, err := l.Reserve(context.Background(), who, quota.Request{
		ID: "call", Model: "gpt", InputTokens: 10, OutputLeast: 1, OutputMost: 100, FixedCost: 10, OutputRate: 1e6,
	})
	if err != nil {
		tb.Fatal(err)
	}
	g.Release(context.Background(), 50)
	list[0] = quota.Settlement{ID: "call", Position: position, Counters: g.Counters(), Money: 5, Tokens: 50}
	if err := l.Settle(context.Background(), list); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkCall(b *testing.B) {
	l, who, list := start(b, nil), busy(), make([]quota.Settlement, 1)
	b.ReportAllocs()
	for n := uint64(1); b.Loop(); n++ {
		pass(b, l, who, n, list)
	}
}

// BenchmarkCalls settles as the program does: many at once.
func BenchmarkCalls(b *testing.B) {
	l, who, list := start(b, nil), busy(), make([]quota.Settlement, 64)
	ids := make([]string, len(list))
	for i := range ids {
		ids[i] = "call" + string(rune('0'+i))
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		i := n % len(list)
		g, err := l.Reserve(b.Context(), who, quota.Request{ID: ids[i], Model: "gpt", InputTokens: 10, OutputLeast: 1, OutputMost: 100, FixedCost: 10, OutputRate: 1e6})
		if err != nil {
			b.Fatal(err)
		}
		g.Release(b.Context(), 50)
		list[i] = quota.Settlement{ID: ids[i], Position: uint64(n + 1), Counters: g.Counters(), Money: 5}
		if i == len(list)-1 {
			if err := l.Settle(b.Context(), list); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkReserveNoRules(b *testing.B) {
	l, who := start(b, nil), caller(llm.Rule{Name: "other", Models: []string{"claude-*"}, Parallel: 1})
	b.ReportAllocs()
	for b.Loop() {
		g, _ := l.Reserve(b.Context(), who, quota.Request{ID: "x", Model: "gpt"})
		g.Release(b.Context(), 1)
	}
}

func BenchmarkTopUp(b *testing.B) {
	l := start(b, nil)
	g, err := l.Reserve(b.Context(), busy(), quota.Request{ID: "x", Model: "gpt", OutputLeast: 1, OutputMost: 1e9, OutputRate: 1e9})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := g.TopUp(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l, list := start(t, nil), make([]quota.Settlement, 1)
	none := caller(llm.Rule{Name: "other", Models: []string{"claude-*"}, Parallel: 1})
	if n := testing.AllocsPerRun(1000, func() {
		g, _ := l.Reserve(context.Background(), none, quota.Request{ID: "x", Model: "gpt"})
		g.Release(context.Background(), 1)
	}); n != 0 {
		t.Errorf("a call without rules: %v allocations, want none", n)
	}
	who, position := busy(), uint64(0)
	const most = 2
	if n := testing.AllocsPerRun(1000, func() {
		position++
		pass(t, l, who, position, list)
	}); n > most {
		t.Errorf("a call under three limits and two budgets: %v allocations, want at most %d", n, most)
	}
}
