package redis

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/redistest"
)

// BenchmarkLimiter has 64 callers reserve and release at once, as calls do, and tells the CPU time that this process takes for one.
func BenchmarkLimiter(b *testing.B) {
	server := redistest.Own(b).Start(b)
	q := open(b, patient(single(server))).Quota()
	l := quota.New(quota.Options{Store: q, Replica: "r", Spent: func(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
		out := make([]quota.Level, len(qs))
		for i := range qs {
			out[i].Counter = qs[i].Counter
		}
		return out, nil
	}})
	ctx, stop := context.WithCancel(b.Context())
	var run sync.WaitGroup
	run.Go(func() { l.Run(ctx) })
	defer run.Wait()
	defer stop()
	who := &auth.Who{ID: "k", Org: "acme", Rules: []llm.Bound{
		{Subject: "key:k", Rule: &llm.Rule{Name: "pace", Requests: []llm.Pace{{N: 1e9, Per: time.Minute}}, Tokens: []llm.Pace{{N: 1e12, Per: time.Minute}}, Parallel: 1e6}},
		{Subject: "key:k", Rule: &llm.Rule{Name: "month", Budgets: []llm.Budget{{Money: 1e6 * llm.Dollar, Every: llm.Monthly, Mode: llm.Hard}, {Tokens: 1e12, Every: llm.Daily, Mode: llm.Hard}}}},
	}}
	until2(b, func() bool {
		g, err := l.Reserve(b.Context(), who, quota.Request{ID: "first", Model: "gpt"})
		if err == nil {
			g.Cancel(b.Context())
		}
		return err == nil
	})
	var n atomic.Int64
	calls := int64(b.N)
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	before, server0 := used(b), busy(b, server)
	for range 64 {
		all.Go(func() {
			var list []quota.Settlement
			for i := n.Add(1); i <= calls; i = n.Add(1) {
				id := strconv.FormatInt(i, 10)
				g, err := l.Reserve(b.Context(), who, quota.Request{ID: id, Model: "gpt", InputTokens: 100, InputAbout: 20, OutputLeast: 5, OutputMost: 100, FixedCost: 5, OutputRate: 1e6})
				if err != nil {
					b.Error(err)
					return
				}
				g.Release(b.Context(), 50)
				if list = append(list, quota.Settlement{ID: id, Counters: g.Counters(), Money: 5, Tokens: 50}); len(list) == 40 {
					if err := l.Settle(b.Context(), list); err != nil {
						b.Error(err)
					}
					list = list[:0]
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(used(b)-before)/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric((busy(b, server)-server0)*1e6/float64(b.N), "server-cpu-µs/op")
}

// busy is the CPU time that a server has taken, in seconds.
func busy(b *testing.B, s *redistest.Server) (sum float64) {
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		v, err := strconv.ParseFloat(s.Info(name), 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += v
	}
	return sum
}

// used is the CPU time that this process has taken.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
