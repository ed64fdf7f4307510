package app

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// TestMoneyIsTold: the line of a call says who pays how much, metrics sum it, and refusals are counted by what refused.
func TestMoneyIsTold(t *testing.T) {
	r := newRig(t, strings.Replace(recountRules, "rules:", "rules:\n  - {name: few, requests: [3/day]}\n  - {name: tiny, models: [other], budgets: [{tokens: 1, every: day}]}", 1))
	resp, body := do(t, r.request(t, vendors[0], "good", "one two three", false))
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	cost := resp.Header.Get("X-Sluice-Cost")
	if cost == "" || cost == "0" {
		t.Fatalf("the call cost %q", cost)
	}
	if !r.log.has(`"cost_usd":"`+cost+`"`, 1) || !strings.Contains(r.log.String(), `"key":"test","org":"default",`) {
		t.Errorf("no line with the cost %s in %s", cost, r.log)
	}
	if resp, body = do(t, r.request(t, vendors[0], "other", "one", false)); resp.StatusCode != 429 && resp.StatusCode != 402 {
		t.Errorf("a budget of one token: %d %s", resp.StatusCode, body)
	}
	for range 5 {
		do(t, r.request(t, vendors[0], "good", "one", false))
	}
	if err := r.app.money.journal.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r.app.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/metrics", nil))
	for _, line := range []string{
		`sluice_cost_dollars_total\{model="echo",provider="o"\} \d+(\.\d+)?e-0\d`, `sluice_refusals_total\{limit="token_budget"\} 1`, `sluice_refusals_total\{limit="requests"\} 3`,
		`sluice_ledger_position\{stage="shipped"\} 9`, `sluice_ledger_open_calls 0`, `sluice_ledger_spool_bytes [1-9][0-9.e+]*`, `sluice_ledger_store_trouble_seconds 0`,
		`sluice_key_cache_entries\{kind="known"\} 0`,
	} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).Match(w.Body.Bytes()) {
			t.Errorf("no line %s", line)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(w.Body.String()) {
			if strings.HasPrefix(line, "sluice_") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}
