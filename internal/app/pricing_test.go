package app

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/catalog"
	"sluice/internal/config"
	"sluice/internal/gateway"
	"sluice/internal/llm"
)

// hello makes a call.
func (p *program) hello(t *testing.T) *http.Response {
	t.Helper()
	v := vendors[0]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.addr+v.path("o/echo", false), strings.NewReader(v.body("o/echo", "hello", false)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	resp, _ := do(t, req)
	return resp
}

// TestPricesAreTakenUp has prices change while the gateway runs, well and badly.
func TestPricesAreTakenUp(t *testing.T) {
	p := runProgram(t, "")
	cost := func() string {
		t.Helper()
		resp := p.hello(t)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
		return resp.Header.Get("X-Sluice-Cost")
	}
	put := func(input string) {
		t.Helper()
		text := fmt.Sprintf("format: 1\nvendors:\n  - {kinds: [openai], source: a test, checked: 2026-01-01, prices: [{models: [echo], input: %s, output: 0}]}\n", input)
		if err := os.WriteFile(filepath.Join(p.data, "prices.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := cost(); got != "" {
		t.Errorf("a model without a price cost %s", got)
	}
	put("1000000")
	p.waitFor(t, "prices: another file")
	one := cost()
	if n, err := llm.ParseNano(one); err != nil || n < llm.Dollar {
		t.Errorf("it cost %q", one)
	}
	put("dear")
	p.waitFor(t, "configuration not replaced")
	if got := cost(); got != one {
		t.Errorf("after a broken price file it cost %s, before %s", got, one)
	}
}

func TestPricing(t *testing.T) {
	rate := func(dollars int64) llm.Rate { return llm.Rate(dollars) * llm.Rate(llm.Dollar) }
	file := filepath.Join(t.TempDir(), "prices.yaml")
	text := "format: 1\nvendors:\n  - {kinds: [openai], source: a test, checked: 2026-01-01, prices: [{models: [gpt-4o-mini], input: 7, output: 8}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{
		Data: t.TempDir(), Prices: config.Prices{File: file, Unknown: config.Price{Input: rate(100), Output: rate(200)}},
		Providers: []config.Provider{{Name: "up", Kind: "openai"}},
		Models: []config.Model{{Name: "own/*", Deployments: []config.Deployment{
			{Provider: "up", Model: "own-*", Price: config.Price{Input: rate(3), Output: rate(4)}}, {Provider: "up", Model: "gpt-4o-mini"},
		}}},
		ModelPrices: []config.ModelPrice{
			{Name: "contract", Provider: "up", Models: []string{"gpt-5*", "own-*"}, Input: rate(5), Output: rate(6)},
			{Name: "soon", Provider: "up", Models: []string{"gpt-5*"}, From: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC), Input: rate(50), Output: rate(60)},
			{Name: "other", Provider: "another", Models: []string{"*"}, Input: rate(9), Output: rate(9)},
		},
	}
	p, err := newPricing(cfg, cfg.Providers)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		provider, model string
		input           llm.Rate
		guess           bool
	}{
		{"up", "own-x", rate(3), false}, // of its deployment
		{"up", "gpt-4o-mini", rate(7), false},
		{"up", "gpt-4o", rate(5) / 2, false}, // of the program
		{"up", "gpt-5-mini", rate(5), false}, // of model_prices
		{"up", "nobody-knows", rate(100), true},
		{"mock", "echo", rate(1), false},
	} {
		price, ok := p.price(&llm.Target{Provider: c.provider, Model: c.model}, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
		if !ok || price.Input != c.input || price.Guess != c.guess || price.Version == "" {
			t.Errorf("%s/%s costs %+v, want input %d", c.provider, c.model, price, c.input)
		}
	}
	groups := []catalog.Group{{Deployments: []catalog.Deployment{
		{Target: llm.Target{Provider: "up", Model: "gpt-4o-mini"}},
		{Target: llm.Target{Provider: "up", Model: "gpt-4o-mini"}, Input: 1, Output: 2},
		{Target: llm.Target{Provider: "up", Model: "nobody-knows"}},
		{Target: llm.Target{Provider: "up", Model: "gpt-5-mini"}},
	}}}
	p.fill(groups, time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC))
	for i, want := range []llm.Rate{rate(7), 1, 0, rate(50)} {
		if got := groups[0].Deployments[i].Input; got != want {
			t.Errorf("deployment %d is filled with %d, want %d", i, got, want)
		}
	}
}

// What the admin API tells of prices is what calls are charged.
func TestPricesAreTold(t *testing.T) {
	rate := func(dollars int64) llm.Rate { return llm.Rate(dollars) * llm.Rate(llm.Dollar) }
	cfg := &config.Config{
		Data: t.TempDir(), Providers: []config.Provider{{Name: "up", Kind: "openai"}},
		Models: []config.Model{{Name: "group", Deployments: []config.Deployment{
			{Name: "a", Provider: "up", Model: "own", Price: config.Price{Input: rate(3), Output: rate(4)}}, {Name: "b", Provider: "up", Model: "gpt-4o"}, {Name: "c", Provider: "up", Model: "nobody-knows"},
		}}, {Name: "alias", Model: "group"}},
	}
	p, err := newPricing(cfg, cfg.Providers)
	if err != nil {
		t.Fatal(err)
	}
	a := running{&App{cfg: cfg, current: &built{state: &gateway.State{Price: p.price}}}}
	var got []string
	for _, one := range a.Prices().Data {
		got = append(got, fmt.Sprintf("%s %s %s %s", one.Model, one.Deployment, one.From, one.Rates["input"]))
	}
	want := []string{"group a own 3", "group b table 2.5", "group c none ", "alias a own 3", "alias b table 2.5", "alias c none "}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
