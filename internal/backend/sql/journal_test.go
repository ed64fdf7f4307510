package sql

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// A row that comes from the log, whose last part the store keeps as it is, is read as it was written.
func TestJournalRows(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		l := open(t, o).Ledger()
		j, err := usage.OpenJournal(usage.JournalOptions{Dir: t.TempDir(), Store: l, Wait: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		books := usage.New(usage.Options{Journal: j, Price: func(m *usage.Mark, _ time.Time) {
			m.Costs.Input, m.Costs.Output, m.PriceVersion = 3, 4, "v"
		}})
		begin := time.Now().UTC().Truncate(time.Microsecond)
		for i, status := range []int{200, 200, 500} { // the last is not as nearly all are
			call(t, books, fmt.Sprint("req_", i), begin, status)
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		page, err := l.Rows(t.Context(), &usage.RowQuery{})
		if err != nil || len(page.Rows) != 3 {
			t.Fatalf("%d rows, %v; want 3", len(page.Rows), err)
		}
		for i := range page.Rows {
			r := &page.Rows[i]
			if r.Start.Before(begin) || r.Total <= 0 || r.FirstToken <= 0 || r.Own <= 0 || r.Position == 0 {
				t.Errorf("times %v, %v, %v, %v, position %d", r.Start, r.Total, r.FirstToken, r.Own, r.Position)
			}
			r.Start, r.Total, r.FirstToken, r.Own, r.Position = time.Time{}, 0, 0, 0, 0
			want := usage.Row{
				Replica: j.Replica(), Fallback: "other", Status: []int{500, 200, 200}[i],
				Call: usage.Call{
					RequestID: fmt.Sprint("req_", 2-i), Payer: usage.Payer{Org: "acme", Team: "red", Key: "key", Project: "p", Tags: []string{"a", "b"}},
					Charged: begin, Format: llm.OpenAIChat, Op: llm.OpChat, Model: "fast", BytesIn: 40,
				},
				Mark: usage.Mark{
					Provider: "openai", Upmodel: "gpt", Credential: "main", Attempts: 2, BytesOut: 2, Frames: 1, PriceVersion: "v", Costs: usage.Costs{Input: 3, Output: 4},
					Usage: llm.Usage{
						Input: llm.Tokens(1), CacheRead: llm.Tokens(0), Output: llm.Tokens(2), AudioInput: llm.Tokens(5), Total: llm.Tokens(8), Tier: "flex",
					},
				},
			}
			if diff := cmp.Diff(want, *r); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
}

// call goes through the books.
func call(t *testing.T, books *usage.Ledger, id string, charged time.Time, status int) {
	t.Helper()
	e := books.Open(id, llm.OpenAIChat, "192.0.2.1")
	e.Caller(&auth.Who{Name: "ci", ID: "key", Org: "acme", Team: "red", Project: "p"})
	e.Call(&llm.Call{Op: llm.OpChat, Model: "fast", Body: llm.NewBody(nil, make([]byte, 40), llm.Marks{})})
	if err := e.Begin(usage.Hold{Charged: charged, Tags: []string{"a", "b"}, Counters: []string{"budget"}}); err != nil {
		t.Fatal(err)
	}
	e.Met(&llm.Trace{Attempts: 2, Target: &llm.Target{Provider: "openai", Model: "gpt", Credential: "main"}, Fallback: "other"})
	answer := &whole{ev: llm.Event{Raw: []byte("{}"), Format: llm.OpenAIChat, Output: true, Usage: &llm.Usage{
		Input: llm.Tokens(1), CacheRead: llm.Tokens(0), Output: llm.Tokens(2), AudioInput: llm.Tokens(5), Total: llm.Tokens(8), Tier: "flex",
	}}}
	for _, err := range llm.All(e.Meter(answer, usage.Hooks{})) {
		if err != nil {
			t.Fatal(err)
		}
	}
	e.Status = status
	e.Wrote(2, 1, time.Now())
	e.Close()
}

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
