package upstream

import (
	"testing"
	"time"

	"sluice/internal/llm"
)

func TestHedgeDelay(t *testing.T) {
	for _, c := range []struct {
		p95   time.Duration
		known bool
		want  time.Duration
	}{{time.Second, true, time.Second}, {20 * time.Millisecond, true, 300 * time.Millisecond}} {
		if got, ok := hedgeDelay(c.p95, c.known); got != c.want || !ok {
			t.Errorf("%v: got %v, %v; want %v", c.p95, got, ok, c.want)
		}
	}
	if _, ok := hedgeDelay(time.Second, false); ok {
		t.Error("hedges by a p95 that is not known")
	}
}

func TestHedgeBudget(t *testing.T) {
	var b budget
	if b.hedge(noon) {
		t.Error("a hedge without requests")
	}
	for range 199 {
		b.request(noon)
	}
	got := 0
	for range 50 {
		if b.hedge(noon) {
			got++
		}
	}
	if got != 9 {
		t.Errorf("%d hedges of 199 requests, want 9", got)
	}
}

func TestStorm(t *testing.T) {
	fine := llm.Load{Latency: time.Second, Recent: 2 * time.Second}
	slow := llm.Load{Latency: time.Second, Recent: 2*time.Second + 1}
	open, refused := llm.Load{Bar: llm.Open}, llm.Load{Bar: llm.Credential}
	drained, unknown := llm.Load{Bar: llm.Draining}, llm.Load{}
	for _, c := range []struct {
		name  string
		loads []llm.Load
		want  bool
	}{
		{"none", nil, false},
		{"all fine", []llm.Load{fine, fine, unknown, drained}, false},
		{"one of five slow", []llm.Load{slow, fine, fine, fine, fine}, false},
		{"one of four slow", []llm.Load{fine, slow, fine, fine}, true},
		{"two of five", []llm.Load{slow, fine, fine, open, fine}, true},
		{"credential", []llm.Load{refused, fine}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := storm(c.loads); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
