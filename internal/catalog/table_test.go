package catalog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func TestParsePrices(t *testing.T) {
	const file = `
format: 1
vendors:
  - kinds: [a, b]
    source: https://a.example/pricing
    checked: 2026-11-01
    fees: {search: 10, dig: 2.5}
    prices:
      - models: [m, "m-20*"]
        from: 2026-08-16T16:00:00Z
        hours: ["01:00-04:00", "22:00-24:00"]
        weekdays: true
        input: 0.15
        cache_read: 0.075
        output: 0.60
        above: [{over: 200000, input: 0.3, cache_read: 0.15, output: 0.9}]
        service: {Flex: 50, priority: 170}
        window: 1_000_000
        max_output: 64000
      - {models: [free], input: 0, output: 0, fees: {}, source: elsewhere, checked: 2026-11-02}
`
	got, err := ParsePrices("p.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	fees := map[string]llm.Nano{"search": 10_000_000, "dig": 2_500_000}
	want := []Price{
		{
			Kinds: []string{"a", "b"}, Models: []string{"m", "m-20*"}, From: day(t, "2026-08-16T16:00:00Z"),
			Hours: Hours{Spans: []Span{{time.Hour, 4 * time.Hour}, {22 * time.Hour, 24 * time.Hour}}, Weekdays: true},
			Rates: Rates{Input: 150_000_000, CacheRead: 75_000_000, Output: 600_000_000},
			Steps: []Step{{200_000, Rates{Input: 300_000_000, CacheRead: 150_000_000, Output: 900_000_000}}},
			Fees:  fees, Service: map[string]int64{"flex": 50, "priority": 170}, Window: 1_000_000, MaxOutput: 64_000,
			Source: "https://a.example/pricing", Checked: day(t, "2026-11-01"),
		},
		{Kinds: []string{"a", "b"}, Models: []string{"free"}, Fees: map[string]llm.Nano{}, Source: "elsewhere", Checked: day(t, "2026-11-02")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Every mistake is told with its place and its cure.
func TestParsePricesRefuses(t *testing.T) {
	one := func(price string) string {
		return "format: 1\nvendors:\n  - kinds: [a]\n    source: s\n    checked: 2026-01-01\n    prices:\n      - " + price + "\n"
	}
	for name, test := range map[string]struct{ file, want string }{
		"empty":            {"", "p.yaml: is empty: it must say format and vendors"},
		"not YAML":         {"a: [", "p.yaml: not YAML: "},
		"two documents":    {"format: 1\n---\nformat: 1\n", "p.yaml: something follows the document"},
		"a list":           {"[]", "p.yaml:1:1: must be an object"},
		"no format":        {"vendors: []", "p.yaml:1:1: format must be 1"},
		"another format":   {"format: 2", "format must be 1"},
		"unknown member":   {one("{models: [m], input: 1, output: 1, ouptut: 2}"), `p.yaml:7:44: a price has no member "ouptut": it has above, audio_input, `},
		"said twice":       {one("{models: [m], input: 1, input: 2, output: 1}"), `"input" is said twice`},
		"no output":        {one("{models: [m], input: 1}"), "p.yaml:7:9: input and output must be said: 0 where nothing is charged"},
		"no models":        {one("{input: 1, output: 1}"), "no models: name those that cost this"},
		"a negative price": {one("{models: [m], input: -1, output: 1}"), "p.yaml:7:30: must be US dollars such as 0.15"},
		"a float":          {one("{models: [m], input: 1e-1, output: 1}"), "must be US dollars such as 0.15"},
		"too precise":      {one("{models: [m], input: 0.1234567890, output: 1}"), "at most nine decimals"},
		"too dear":         {one("{models: [m], input: 1000001, output: 1}"), "at most 1000000"},
		"a free part":      {one("{models: [m], input: 1, cache_read: 0, output: 1}"), "cache_read cannot be 0: leave it out"},
		"no day":           {one("{models: [m], input: 1, output: 1, from: tomorrow}"), "must be a day such as 2026-07-30"},
		"no hours":         {one(`{models: [m], input: 1, output: 1, hours: ["22:00-02:00"]}`), "write two where midnight lies between"},
		"steps that fall":  {one("{models: [m], input: 1, output: 1, above: [{over: 5, input: 1, output: 1}, {over: 4, input: 1, output: 1}]}"), "over must be said, and rise"},
		"a step that forgets": {
			one("{models: [m], input: 1, cache_read: 0.5, output: 1, above: [{over: 5, input: 2, output: 2}]}"), "above: cache_read must be said in every step or in none",
		},
		"no percent":    {one("{models: [m], input: 1, output: 1, service: {flex: 0}}"), "must be a whole number above 0"},
		"a large one":   {one("{models: [m], input: 1, output: 1, service: {flex: 1001}}"), "must be percent of the standard rates, from 1 to 1000"},
		"a fee in bits": {one("{models: [m], input: 1, output: 1, fees: {search: 0.0000001}}"), "use at most six decimals"},
		"an alias":      {one("{models: &x [m], input: 1, output: 1, hours: *x}"), "must be a list"},
		"not a truth":   {one("{models: [m], input: 1, output: 1, weekdays: perhaps}"), "must be true or false"},
		"the same twice": {
			one("{models: [m], input: 1, output: 1}\n      - {models: [o, m], input: 2, output: 2}"), `p.yaml:8:9: "m" of "a" has a price for this time in line 7 already`,
		},
		"no source":       {"format: 1\nvendors:\n  - kinds: [a]\n    prices:\n      - {models: [m], input: 1, output: 1}\n", "source and checked must be said"},
		"no kinds":        {"format: 1\nvendors:\n  - prices: []\n", "no kinds: name the kinds of providers"},
		"no prices":       {"format: 1\nvendors:\n  - kinds: [a]\n", "no prices: a vendor needs a list of them"},
		"too many models": {one("{models: [" + strings.Repeat("m, ", 200) + "], input: 1, output: 1}"), "more than 100: spread them"},
		"too large":       {strings.Repeat("#", MaxTable+1), "more than 4194304 bytes"},
	} {
		prices, err := ParsePrices("p.yaml", []byte(test.file))
		if err == nil {
			t.Errorf("%s: accepted: %+v", name, prices)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	// All at once, and not without end.
	_, err := ParsePrices("p.yaml", []byte(one("{models: [m], input: x, output: y}"+strings.Repeat("\n      - {}", 100))))
	for _, want := range []string{"p.yaml:7:30:", "p.yaml:7:41:", "p.yaml:8:9:", "and 62 more"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func FuzzParsePrices(f *testing.F) {
	f.Add([]byte(embedded)[:3000])
	f.Add([]byte("format: 1\nvendors: [{kinds: [a], source: s, checked: 2026-01-01, prices: [{models: ['m*'], input: 1, output: 2, hours: ['01:00-02:00'], fees: {s: 1}, service: {x: 3}, above: [{over: 1, input: 3, output: 4}]}]}]"))
	f.Add([]byte("a: &a [*a, *a]\nb: !!binary x\n? [k]: v"))
	f.Fuzz(func(t *testing.T, data []byte) {
		prices, err := ParsePrices("p", data)
		if err != nil {
			return
		}
		p := NewPrices(Options{Layers: [][]Price{prices}})
		for _, price := range p.Layer(0) {
			c := price.Cost(&llm.Usage{Input: llm.Tokens(1e9), CacheRead: llm.Tokens(5), Output: llm.Tokens(7), Tier: "x"})
			if c.Total() < 0 {
				t.Errorf("%+v: %+v", price, c)
			}
			for _, kind := range price.Kinds {
				if price.Hours.always() {
					if _, ok := p.Find(kind, price.Models[0], price.From); !ok {
						t.Errorf("%+v is not found", price)
					}
				}
			}
		}
		if d := Diff(prices, prices); len(d) > 0 {
			t.Errorf("differs from itself: %+v", d)
		}
	})
}
