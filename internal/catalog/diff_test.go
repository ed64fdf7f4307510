package catalog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func TestDiff(t *testing.T) {
	before := []Price{
		flat("same", time.Time{}, 1e9, 2e9), flat("gone", time.Time{}, 1e9, 2e9), flat("m n", day(t, "2026-01-01"), 25e8, 10e9),
	}
	after := []Price{
		flat("same", time.Time{}, 1e9, 2e9), flat("m", day(t, "2026-01-01"), 2e9, 10e9), flat("n", day(t, "2026-01-01"), 25e8, 10e9),
		flat("new", time.Time{}, 15e7, 6e8),
	}
	after[0].Source, after[0].Checked = "seen again", day(t, "2026-11-01")
	after[1].CacheRead = 2e8
	after[1].Steps = []Step{{200000, Rates{Input: 4e9, CacheRead: 4e8, Output: 18e9}}}
	after[1].Service = map[string]int64{"flex": 50}
	after[1].Fees = map[string]llm.Nano{"web_search": 1e7}
	after[1].MaxOutput = 64000
	after[3].Hours = Hours{Spans: []Span{{time.Hour, 90 * time.Minute}}, Weekdays: true}
	var got strings.Builder
	for _, c := range Diff(before, after) {
		fmt.Fprintln(&got, c.Kind, c.Model, c.From.Format(time.DateOnly), c.Hours)
		for _, l := range c.Lines {
			fmt.Fprintln(&got, "  "+l)
		}
	}
	want := `x gone 0001-01-01 
  input $1 -> none
  output $2 -> none
x m 2026-01-01 
  input $2.5 -> $2
  cache_read none -> $0.2
  input above 200000 tokens none -> $4
  cache_read above 200000 tokens none -> $0.4
  output above 200000 tokens none -> $18
  fee of web_search none -> $0.01 a call
  max output none -> 64000 tokens
  service flex none -> 50 %
x new 0001-01-01 01:00-01:30 weekdays
  input none -> $0.15
  output none -> $0.6
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOver(t *testing.T) {
	jan, feb := day(t, "2026-01-01"), day(t, "2026-02-01")
	below := []Price{flat("a b", time.Time{}, 1, 1), flat("a f", feb, 2, 2), flat("c1", jan, 3, 3)}
	below[0].Kinds = []string{"x", "y"}
	below = append(below, flat("d e", jan, 4, 4))
	above := []Price{flat("a", jan, 10, 10), flat("c*", time.Time{}, 11, 11), flat("b", time.Time{}, 12, 12)}
	above[2].Hours.Weekdays = true
	var got []string
	for _, p := range Over(below, above) {
		got = append(got, fmt.Sprint(p.Kinds, p.Models, p.Input))
	}
	want := []string{"[x y] [a b] 1", "[x] [f] 2", "[x] [d e] 4", "[x] [a] 10", "[x] [c*] 11", "[x] [b] 12"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// What it leaves is what is found.
	flatList, layers := NewPrices(Options{Layers: [][]Price{nil, Over(below, above)}}), NewPrices(Options{Layers: [][]Price{below, above}})
	for _, model := range []string{"a", "b", "c1", "c2", "d", "f"} {
		for _, at := range []time.Time{day(t, "2025-06-01"), jan, feb} {
			for _, kind := range []string{"x", "y"} {
				a, _ := flatList.Find(kind, model, at)
				b, _ := layers.Find(kind, model, at)
				if fmt.Sprint(a) != fmt.Sprint(b) && (a == nil || b == nil || a.Input != b.Input) {
					t.Errorf("%s %s %s: %v, in layers %v", kind, model, at, a, b)
				}
			}
		}
	}
}
