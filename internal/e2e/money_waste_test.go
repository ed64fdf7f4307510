package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
)

// wasted is what attempts cost whose answers nobody got: of a fail-over before the first output, and of a hedge's loser. It stands
// in the call's one row beside its answer, and its budget counts it.
func wasted(t *testing.T, _ *rand.Rand, dsn string) {
	secret := moneyKey("waste")
	s := &shop{t: t, dsn: dsn, vendors: []*vendor{startVendor(t, "a", "anthropic"), startVendor(t, "b", "openai")}}
	s.vendors[0].script(t, "cut = echo?cut=1\nh = echo\n")
	s.vendors[1].script(t, "g = echo\n")
	place := func(vendor, model string) string {
		return fmt.Sprintf("{provider: %s, model: %s, %s}", vendor, model, tillPrice)
	}
	s.config = fmt.Sprintf("  - {name: waste, key: %s, rules: [{name: q, budgets: [{dollars: 1, every: quarter}]}]}\n", secret) +
		"providers:\n" + s.vendors[0].provider("") + s.vendors[1].provider("") +
		"models:\n  - {name: over, strategy: priority, deployments: [" + place("a", "cut") + ", " + place("b", "g") + "]}\n" +
		"  - {name: hedged, strategy: priority, hedge: true, deployments: [" + place("a", "h") + ", " + place("b", "g") + "]}\n"
	s.open()
	ask := func(model string) answered {
		t.Helper()
		a := dialects[0].ask(t.Context(), s.gateway(), model, "one two three", true, "Authorization: Bearer "+secret)
		if why := dialects[0].good(a, "one two three", true); why != "" {
			t.Fatal(why)
		}
		return a
	}
	over := ask("over").header.Get("X-Request-Id")
	for range 40 { // so that the time is known after which one is late, and two hedges are paid for
		ask("hedged")
	}
	s.vendors[0].script(t, "cut = echo?cut=1\nh = echo?stall=1h@1\n")
	hedged := ask("hedged").header.Get("X-Request-Id")
	s.rest(secret)
	truth := s.truth()
	for id, tries := range map[string]int{over: 3, hedged: 2} {
		list := truth[id][:len(truth[id])-1]
		var want, answer int64
		for _, u := range list {
			if u.whole() {
				answer += u.Tokens.Input*priceIn + u.Tokens.Whole*priceOut
			} else {
				want += u.Tokens.Input * priceIn // which its head has told
			}
		}
		var page struct {
			Data []struct {
				Cost   string            `json:"cost_usd"`
				Costs  map[string]string `json:"costs_usd"`
				Wasted int64             `json:"wasted_tokens"`
				Tokens map[string]int64
			}
		}
		status, out := operate(t, s.gateway(), http.MethodGet, "/admin/ledger?request="+id, "")
		if status != http.StatusOK || json.Unmarshal(out, &page) != nil || len(page.Data) != 1 {
			t.Fatalf("%d %s", status, out)
		}
		r, usd := &page.Data[0], &purse{Unit: "usd"}
		if len(list) != tries || usd.amount(r.Costs["waste"]) != want || usd.amount(r.Cost) != want+answer || r.Wasted == 0 {
			t.Errorf("%d tries, want %d; waste %d, answer %d in %s", len(list), tries, want, answer, out)
		}
	}
	holds(t, !t.Failed(), "attempts whose answers nobody got are in the row, apart, and in the budget", "a fail-over of 3 attempts and a hedge of 2")
}
