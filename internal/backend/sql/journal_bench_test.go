package sql

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/usage"
)

// whole is an answer that is not streamed.
type whole struct {
	ev   llm.Event
	read bool
}

func (w *whole) Next() (*llm.Event, error) {
	if w.read {
		return nil, io.EOF
	}
	w.read = true
	return &w.ev, nil
}

func (w *whole) Close() error { return nil }

// BenchmarkJournal is all that the ledger does for a call that is not streamed, from its intent to its row in SQLite, without the rest of the
// gateway: CPU of the process. Calls come as fast as they can.
func BenchmarkJournal(b *testing.B) {
	hold := usage.Hold{Input: 100, InputCost: 100, Price: "760ea216a97a", Tags: []string{"rule:bench"}, Counters: []string{
		"default|rule:bench|bench|key%3Dbench%2C|money:month|1793491200-1796083200", "default|rule:bench|bench|key%3Dbench%2C|tokens:day|1795737600-1795824000",
	}}
	for name, hold := range map[string]usage.Hold{"ledger": {}, "rules": hold} {
		b.Run(name, func(b *testing.B) {
			j, err := usage.OpenJournal(usage.JournalOptions{
				Dir: b.TempDir(), Store: open(b, Options{Dir: b.TempDir()}).Ledger(), Settle: func(context.Context, *usage.Settlements) error { return nil },
			})
			if err != nil {
				b.Fatal(err)
			}
			l := usage.New(usage.Options{Journal: j, Price: func(m *usage.Mark, _ time.Time) {
				m.Costs.Input, m.Costs.Output, m.PriceVersion = llm.Nano(1000*m.Usage.Input.N), llm.Nano(2000*m.Usage.Output.N), "760ea216a97a"
			}})
			who := &auth.Who{Name: "bench", ID: "bench", Org: "default"}
			call := &llm.Call{Op: llm.OpChat, Model: "bench-small", Body: llm.NewBody(nil, make([]byte, 245), llm.Marks{})}
			met := &llm.Trace{Attempts: 1, Target: &llm.Target{Provider: "bench", Model: "bench-small"}}
			answer := &whole{ev: llm.Event{Raw: make([]byte, 1016), Format: llm.OpenAIChat, Output: true, Usage: &llm.Usage{
				Input: llm.Tokens(37), CacheRead: llm.Tokens(0), Output: llm.Tokens(40), Reasoning: llm.Tokens(0), AudioInput: llm.Tokens(0), Total: llm.Tokens(77), Tier: "default",
			}}}
			b.ReportAllocs()
			before := cpu()
			for n := 0; b.Loop(); n++ {
				e := l.Open(fmt.Sprintf("req_01M8DH7K%018X", n), llm.OpenAIChat, "192.0.2.1")
				e.Caller(who)
				e.Call(call)
				if err := e.Begin(hold); err != nil {
					b.Fatal(err)
				}
				e.Met(met)
				answer.read = false
				for _, err := range llm.All(e.Meter(answer, usage.Hooks{})) {
					if err != nil {
						b.Fatal(err)
					}
				}
				e.Status = 200
				e.Wrote(1016, 1, time.Now())
				e.Close()
			}
			if err := j.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
