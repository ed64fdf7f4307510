package telemetry

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/llm"
)

func scrape(m *Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost:3002/metrics", nil))
	return w.Body.String()
}

// TestCosts: costs are added as whole numbers, and the names of models cannot grow without bound.
func TestCosts(t *testing.T) {
	m := NewMetrics(func() int64 { return 0 })
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				m.costs.add("p", "gpt", llm.Dollar/10+1)
			}
		})
	}
	all.Wait()
	for i := range 3 * mostModels {
		m.costs.add("p", fmt.Sprint("made up ", i), 1)
	}
	text := scrape(m)
	if !strings.Contains(text, `sluice_cost_dollars_total{model="gpt",provider="p"} 400.000004`) || !strings.Contains(text, `sluice_cost_dollars_total{model="other",provider="p"} 1.001e-06`) {
		t.Error("the costs are not told")
	}
	if n := strings.Count(text, "\nsluice_cost_dollars_total{"); n != mostModels+1 {
		t.Errorf("%d models, want %d and the others", n, mostModels)
	}
}

func TestLedgerStateIsTold(t *testing.T) {
	m := NewMetrics(func() int64 { return 0 })
	m.WatchLedger(func() LedgerState {
		return LedgerState{Appended: 9, Shipped: 7, Settled: 8, Open: 1, Bytes: 2, Late: 3, Dropped: 4, Failures: 5, Damages: 6, Trouble: 1500 * time.Millisecond, Known: 10, Unknown: 11}
	})
	m.Refused("money")
	text := scrape(m)
	for _, line := range []string{
		`ledger_position{stage="appended"} 9`, `ledger_position{stage="shipped"} 7`, `ledger_position{stage="settled"} 8`, "ledger_open_calls 1", "ledger_spool_bytes 2",
		"ledger_late 3", "ledger_dropped_total 4", "ledger_disk_failures_total 5", "ledger_damages 6", "ledger_store_trouble_seconds 1.5",
		`key_cache_entries{kind="known"} 10`, `key_cache_entries{kind="unknown"} 11`, `refusals_total{limit="money"} 1`,
	} {
		if !strings.Contains(text, "\nsluice_"+line+"\n") {
			t.Errorf("no line sluice_%s", line)
		}
	}
}
