package gateway

import (
	"bytes"
	"math"
	"slices"

	"github.com/go-json-experiment/json"

	"sluice/internal/catalog"
)

// google are the words by which a request lets Gemini search.
var google = []string{"google_search", "googleSearch", "enterpriseWebSearch", "enterprise_web_search"}

// causes are words of a request by which a tool that runs at the vendor may run, where they are not its name in price files.
var causes = map[string][]string{"web_search": append([]string{"web_search"}, google...), "grounded_prompt": google}

// runs are the most that tools which run at the vendor may run for a request, of those that the price knows. A word in a text that
// only looks like one makes a hold larger than it had to be, no more; letters in disguise are taken for all of them.
func runs(p *catalog.Price, raw []byte) map[string]int64 {
	var out map[string]int64
	bound := int64(-1)
	for tool := range p.Fees {
		words := causes[tool]
		if words == nil {
			words = []string{tool}
		}
		if !bytes.Contains(raw, []byte(`\u00`)) && !slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(raw, []byte(w)) }) {
			continue
		}
		if bound < 0 {
			bound, out = runsAllowed(raw), make(map[string]int64)
		}
		out[tool] = bound
		if tool == "grounded_prompt" {
			out[tool] = 1
		}
	}
	return out
}

// runsAllowed is how many runs a request allows each tool: what Responses bounds for all of them (max_tool_calls), or Anthropic for
// each (max_uses), whose sum it is. It is never more than that, and a default where something is left open.
func runsAllowed(raw []byte) int64 {
	if !bytes.Contains(raw, []byte("max_uses")) && !bytes.Contains(raw, []byte("max_tool_calls")) {
		return mostRuns
	}
	var r struct {
		All   *float64 `json:"max_tool_calls"`
		Tools []struct {
			Type string   `json:"type"`
			Most *float64 `json:"max_uses"`
		} `json:"tools"`
	}
	if json.Unmarshal(raw, &r) != nil {
		return mostRuns
	}
	sum, open := 0.0, true
	for _, t := range r.Tools {
		switch {
		case t.Most != nil:
			sum, open = sum+max(*t.Most, 0), false
		case t.Type != "" && t.Type != "function" && t.Type != "custom": // one that has no bound
			sum += mostRuns
		}
	}
	if open {
		sum = mostRuns
	}
	if r.All != nil && (open || *r.All < sum) {
		sum = max(*r.All, 0)
	}
	return int64(min(sum, math.MaxInt32))
}
