package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/route"
	"sluice/internal/usage"
)

// TestRunsAreHeld: what a request lets the vendor's tools do is bounded by what it says, or by a default.
func TestRunsAreHeld(t *testing.T) {
	all := map[string]llm.Nano{"web_search": 1, "file_search": 1, "grounded_prompt": 1}
	for name, c := range map[string]struct {
		body string
		want map[string]int64
	}{
		"none":               {ask, nil},
		"a search":           {`{"tools":[{"type":"web_search"}]}`, map[string]int64{"web_search": mostRuns}},
		"Anthropic's":        {`{"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":3}]}`, map[string]int64{"web_search": 3}},
		"one of two bounded": {`{"tools":[{"type":"web_search_20250305","max_uses":3},{"type":"web_fetch_20250910"}]}`, map[string]int64{"web_search": 3 + mostRuns}},
		"functions are free": {`{"tools":[{"type":"web_search_20250305","max_uses":3},{"name":"f","input_schema":{}},{"type":"custom"}]}`, map[string]int64{"web_search": 3}},
		"Responses'":         {`{"max_tool_calls":7,"tools":[{"type":"web_search"},{"type":"file_search"}]}`, map[string]int64{"web_search": 7, "file_search": 7}},
		"more than usual":    {`{"max_tool_calls":700,"tools":[{"type":"web_search"}]}`, map[string]int64{"web_search": 700}},
		"huge":               {`{"tools":[{"type":"web_search_20250305","max_uses":1e300}]}`, map[string]int64{"web_search": 1<<31 - 1}},
		"less than none":     {`{"tools":[{"type":"web_search_20250305","max_uses":-3}]}`, map[string]int64{"web_search": 0}},
		"Gemini's":           {`{"tools":[{"googleSearch":{}}]}`, map[string]int64{"web_search": mostRuns, "grounded_prompt": 1}},
		"in disguise":        {`{"tools":[{"type":"web\\u005fsearch"}]}`, map[string]int64{"web_search": mostRuns, "file_search": mostRuns, "grounded_prompt": 1}},
	} {
		body := strings.ReplaceAll(c.body, `\\`, `\`)
		if diff := cmp.Diff(c.want, runs(&catalog.Price{Fees: all}, []byte(body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestFeesAreHeld: a call whose tools may cost more than there is left is refused, and is let through when it bounds them.
func TestFeesAreHeld(t *testing.T) {
	h := till()
	h.state.Price = func(*llm.Target, time.Time) (*catalog.Price, bool) {
		return &catalog.Price{Fees: map[string]llm.Nano{"web_search": llm.Dollar}, Window: 1000, MaxOutput: 10}, true
	}
	who, call := &auth.Who{Models: []string{"m*"}}, &llm.Call{Model: "m", Op: llm.OpChat}
	plan, err := h.state.Router.Plan(who, call, route.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Release()
	for body, want := range map[string]llm.Nano{
		`{"tools":[{"type":"web_search"}]}`:              mostRuns * llm.Dollar,
		`{"tools":[{"type":"web_search","max_uses":2}]}`: 2 * llm.Dollar,
		ask: 0,
	} {
		var r quota.Request
		if h.state.bound(&r, who, call, []byte(body), plan); r.FixedCost != want {
			t.Errorf("%s may cost %v, want %v", body, r.FixedCost, want)
		}
	}
}

func FuzzRuns(f *testing.F) {
	f.Add([]byte(`{"max_tool_calls":7,"tools":[{"type":"web_search","max_uses":1}]}`))
	f.Add([]byte(`{"tools":[{"type":"web_search_20250305","max_uses":1e300}],"max_tool_calls":-1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for tool, n := range runs(&catalog.Price{Fees: map[string]llm.Nano{"web_search": 1, "grounded_prompt": 1}}, body) {
			if n < 0 || n > 1<<31 {
				t.Errorf("%s may run %d times", tool, n)
			}
		}
	})
}

// TestPays: before another attempt a budget covers what those before have cost, and before a hedge as much as one may.
func TestPays(t *testing.T) {
	h := till(dollars(4))
	who, _ := h.state.Auth.Identify(nil)
	call := &llm.Call{ID: "c", Model: "m", Op: llm.OpChat, Format: llm.OpenAIChat, Stream: true, Choices: 1}
	plan, err := h.state.Router.Plan(who, call, route.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Release()
	ledger := usage.New(usage.Options{Price: func(m *usage.Mark, _ time.Time) { m.Costs.Input = llm.Nano(m.Usage.Input.N) * llm.Dollar / 1000 }})
	entry := ledger.Open("c", llm.OpenAIChat, "")
	grant, err := h.state.reserve(t.Context(), who, call, []byte(ask), plan) // $1.08 for what it reads, $1.024 for what it writes
	if err != nil {
		t.Fatal(err)
	}
	defer grant.Cancel(t.Context())
	may := pays(grant, entry)
	tried := func(tokens int64) *llm.Trace {
		return &llm.Trace{Tries: []llm.Try{{Told: &llm.Usage{Input: llm.Tokens(tokens)}}}}
	}
	for _, c := range []struct {
		tokens int64
		beside bool
		ok     bool
	}{{0, false, true}, {0, true, false}, {1000, false, true}, {1800, false, true}, {2000, false, false}} {
		if err := may(t.Context(), tried(c.tokens), c.beside); (err == nil) != c.ok {
			t.Errorf("%d tokens lost, a hedge: %v: %v", c.tokens, c.beside, err)
		}
	}
	if pays(new(quota.Grant), entry) != nil {
		t.Error("a call without budgets asks")
	}
}
