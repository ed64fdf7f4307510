package catalog

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func day(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		at, err = time.Parse(time.DateOnly, s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// What the table that is shipped says of models that people use, by day.
func TestEmbedded(t *testing.T) {
	p := NewPrices(Options{Layers: [][]Price{Embedded()}})
	for _, test := range []struct{ kind, model, at, want string }{
		{"openai", "gpt-4o", "2026-11-26", "2.5 / 1.25 / 10"},
		{"openai", "gpt-4o-2024-08-06", "2026-11-26", "2.5 / 1.25 / 10"},
		{"openai", "gpt-4o-2024-05-13", "2026-11-26", "5 / 0 / 15"},
		{"openai", "gpt-4o-2027-01-01", "2027-02-01", "none"}, // a snapshot nobody has priced
		{"openai", "gpt-4o-realtime-preview", "2026-11-26", "none"},
		{"openai", "gpt-7", "2026-11-26", "none"},
		{"openai", "gpt-5.6", "2026-08-20", "5 / 0.5 / 30"},
		{"openai", "gpt-5.6", "2026-08-21", "4 / 0.4 / 20"},
		{"openai", "o3", "2025-06-09", "10 / 2.5 / 40"},
		{"openai", "o3", "2025-06-10", "2 / 0.5 / 8"},
		{"openai", "text-embedding-3-small", "2026-11-26", "0.02 / 0 / 0"},
		{"azure", "gpt-4o", "2026-11-26", "none"}, // the name of a deployment says nothing
		{"anthropic", "claude-haiku-4-5-20251001", "2026-11-26", "1 / 0.1 / 5"},
		{"anthropic", "claude-opus-4-20250514", "2026-11-26", "15 / 1.5 / 75"},
		{"anthropic", "claude-opus-5", "2026-11-26", "5 / 0.5 / 25"},
		{"anthropic", "claude-opus-5-5", "2026-11-26", "4 / 0.2 / 20"},
		{"anthropic", "claude-opus-5-6", "2026-11-26", "none"},
		{"anthropic", "claude-sonnet-5-5", "2026-10-06", "2 / 0.2 / 10"},
		{"anthropic", "claude-sonnet-5-5", "2026-10-07", "2 / 0.1 / 10"},
		{"gemini", "gemini-3.8-flash", "2026-12-31", "0.75 / 0.075 / 3.75"},
		{"gemini-openai", "gemini-3.8-flash", "2027-01-01", "1.5 / 0.15 / 7.5"},
		{"deepseek", "deepseek-flash", "2026-11-26T03:59:59Z", "0.3 / 0.006 / 1.2"}, // a Thursday
		{"deepseek", "deepseek-flash", "2026-11-26T12:00:00+08:00", "0.15 / 0.003 / 0.6"},
		{"deepseek", "deepseek-flash", "2026-11-28T03:00:00Z", "0.15 / 0.003 / 0.6"}, // a Saturday
		{"deepseek", "deepseek-v4-flash", "2026-09-01T03:00:00Z", "0.44 / 0.014 / 1.32"},
		{"groq", "openai/gpt-oss-120b", "2026-11-26", "0.15 / 0.075 / 0.6"},
		{"ollama", "anything:1b", "2026-11-26", "0 / 0 / 0"},
		{"perplexity", "perplexity/sonar", "2026-11-26", "none"},
	} {
		got := "none"
		if f, ok := p.Find(test.kind, test.model, day(t, test.at)); ok {
			got = strings.Join([]string{llm.Nano(f.Input).String(), llm.Nano(f.CacheRead).String(), llm.Nano(f.Output).String()}, " / ")
		}
		if got != test.want {
			t.Errorf("%s %s on %s: %s, want %s", test.kind, test.model, test.at, got, test.want)
		}
	}
}

// Every embedded price is a fact with a source, for exact names but for dated snapshots.
func TestEmbeddedIsReviewed(t *testing.T) {
	local := []string{"ollama", "vllm", "lmstudio"}
	for _, p := range Embedded() {
		if p.Source == "" || p.Checked.Year() < 2025 || p.Checked.After(time.Now()) {
			t.Errorf("%v: source %q, checked %s", p.Models, p.Source, p.Checked)
		}
		if slices.Equal(p.Kinds, local) {
			continue
		}
		if p.Input <= 0 {
			t.Errorf("%v is free", p.Models)
		}
		for _, glob := range p.Models {
			if head, _, star := strings.Cut(glob, "*"); star && !strings.HasSuffix(head, "-20") && !strings.HasSuffix(head, "-25") {
				t.Errorf("%s prices models that nobody has seen", glob)
			}
		}
		if p.CacheRead > p.Input || p.CacheWrite1h != 0 && p.CacheWrite1h < p.CacheWrite || p.Output != 0 && p.Output < p.Input {
			t.Errorf("%v: %+v: a figure has slipped", p.Models, p.Rates)
		}
		for _, s := range p.Steps {
			if s.Input < p.Input || s.Output < p.Output {
				t.Errorf("%v: above %d it is cheaper", p.Models, s.Over)
			}
		}
	}
}

func flat(models string, from time.Time, in, out llm.Rate) Price {
	return Price{Kinds: []string{"x"}, Models: strings.Fields(models), From: from, Rates: Rates{Input: in, Output: out}}
}

func TestFind(t *testing.T) {
	jan, feb := day(t, "2026-01-01"), day(t, "2026-02-01")
	peak := flat("m", time.Time{}, 40, 40)
	peak.Hours = Hours{Spans: []Span{{time.Hour, 2 * time.Hour}, {23 * time.Hour, 24 * time.Hour}}}
	p := NewPrices(Options{
		Layers: [][]Price{
			{flat("m", time.Time{}, 1, 1), peak, flat("m*", feb, 2, 2), flat("mo*", time.Time{}, 3, 3), flat("late", feb, 4, 4), flat("late", jan, 5, 5)},
			{flat("mode*", feb, 10, 10)},
		},
		Unknown: &Price{Rates: Rates{Input: 99, Output: 99}},
	})
	for _, test := range []struct {
		model, at string
		want      llm.Rate
	}{
		{"m", "2026-01-15", 1},
		{"m", "2026-01-15T01:00:00Z", 40},
		{"m", "2026-01-15T02:00:00Z", 1},
		{"m", "2026-01-15T23:59:59Z", 40},
		{"m", "2026-03-01", 1},      // an exact name wins over a later glob
		{"m1", "2026-01-15", 99},    // not yet
		{"m1", "2026-02-01", 2},     // from the first moment of the day
		{"mo1", "2026-03-01", 3},    // the longer glob
		{"model", "2026-01-15", 3},  // the later layer is not in force yet
		{"model", "2026-03-01", 10}, // and now it wins
		{"late", "2026-01-15", 5},
		{"late", "2026-03-01", 4},
		{"nobody", "2026-03-01", 99},
	} {
		got, ok := p.Find("x", test.model, day(t, test.at))
		if !ok || got.Input != test.want || got.Guess != (test.want == 99) {
			t.Errorf("%s at %s: %+v, want %d", test.model, test.at, got, test.want)
		}
	}
	if _, ok := NewPrices(Options{}).Find("x", "m", jan); ok {
		t.Error("without a pessimistic price an unknown model has one")
	}
}

func TestFill(t *testing.T) {
	p := NewPrices(Options{Layers: [][]Price{{flat("m", time.Time{}, 1, 2)}}, Unknown: &Price{Rates: Rates{Input: 99, Output: 99}}})
	for model, want := range map[string]Rates{"m": {Input: 1, Output: 2}, "unheard of": {}} {
		d := Deployment{Target: llm.Target{Model: model}}
		p.Fill(&d, "x", time.Now())
		if d.Input != want.Input || d.Output != want.Output {
			t.Errorf("%s: %d and %d", model, d.Input, d.Output)
		}
	}
	own := Deployment{Target: llm.Target{Model: "m"}, Input: 5, Output: 6}
	if p.Fill(&own, "x", time.Now()); own.Input != 5 || own.Output != 6 {
		t.Errorf("%+v: what the configuration says was lost", own)
	}
}

// A row keeps the version; it must lead back to what was charged, and not change with what charges nothing.
func TestVersion(t *testing.T) {
	a := flat("m", time.Time{}, 100, 200)
	b := a
	b.Models, b.From, b.Source, b.Window, b.CacheRead = []string{"other"}, day(t, "2026-01-01"), "seen elsewhere", 5, 100
	c := a
	c.Service = map[string]int64{"flex": 50}
	d := a
	d.Steps = []Step{{Over: 5, Rates: Rates{Input: 300, Output: 300}}}
	e := a
	e.Fees = map[string]llm.Nano{"search": 1}
	f := a
	f.Reasoning = 201
	p := NewPrices(Options{Layers: [][]Price{{a, b, c, d, e, f}}})
	list := p.Layer(0)
	if list[0].Version != list[1].Version || len(list[0].Version) != 12 {
		t.Errorf("versions %q and %q of prices that charge the same", list[0].Version, list[1].Version)
	}
	seen := map[string]bool{}
	for _, q := range list[1:] {
		if seen[q.Version] {
			t.Errorf("version %s twice", q.Version)
		}
		seen[q.Version] = true
		if back, ok := p.ByVersion(q.Version); !ok || back.Cost(&llm.Usage{Input: llm.Tokens(1e6)}) != q.Cost(&llm.Usage{Input: llm.Tokens(1e6)}) {
			t.Errorf("%s leads to %+v", q.Version, back)
		}
	}
	if a.Version != "" {
		t.Error("the caller's price was changed")
	}
	full := Rates{Input: 1, Output: 2, CacheWrite: 3, CacheWrite1h: 4, Reasoning: 5}
	if got := full.filled(100).plain(); got != full {
		t.Errorf("%+v, want the rates that differ from their wholes' alone", got)
	}
	// The hash is kept in ledgers: it must be the same in every version of the program.
	if got := list[0].Version; got != "25f71e68f9e9" {
		t.Errorf("version %s", got)
	}
}

func TestRatesFallBack(t *testing.T) {
	got := Rates{Input: 100, CacheWrite: 150, Output: 400, AudioOutput: 1000}.filled(50)
	want := Rates{
		Input: 50, CacheRead: 50, CacheWrite: 75, CacheWrite1h: 75, AudioInput: 50, ImageInput: 50,
		Output: 200, Reasoning: 200, AudioOutput: 500, ImageOutput: 200,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	p := NewPrices(Options{Layers: [][]Price{Embedded()}})
	now := day(t, "2026-11-26")
	u := &llm.Usage{Input: llm.Tokens(1000), CacheRead: llm.Tokens(10), Output: llm.Tokens(500), Tier: "flex"}
	if n := testing.AllocsPerRun(100, func() {
		f, _ := p.Find("openai", "gpt-5-2025-08-07", now)
		f.Cost(u)
	}); n > 0 {
		t.Errorf("%.0f allocations", n)
	}
}

func BenchmarkFindAndCost(b *testing.B) {
	p := NewPrices(Options{Layers: [][]Price{Embedded()}})
	now := time.Now()
	u := &llm.Usage{Input: llm.Tokens(1000), CacheRead: llm.Tokens(10), Output: llm.Tokens(500)}
	for b.Loop() {
		f, _ := p.Find("openai", "gpt-5-2025-08-07", now)
		c := f.Cost(u)
		if c.Total() == 0 {
			b.Fatal("free")
		}
	}
}
