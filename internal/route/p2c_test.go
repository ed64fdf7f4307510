package route

import (
	"testing"
	"time"

	"sluice/internal/llm"
)

// Of two candidates both are drawn, so the better is always chosen.
func TestPowerOfTwo(t *testing.T) {
	for name, tt := range map[string]struct {
		turn        uint64
		better, not llm.Load
	}{
		"faster":                           {0, llm.Load{Latency: time.Second}, llm.Load{Latency: 1100 * time.Millisecond}},
		"never measured":                   {0, llm.Load{}, llm.Load{Latency: time.Microsecond}},
		"less busy":                        {0, llm.Load{Latency: time.Second, InFlight: 3}, llm.Load{Latency: time.Second, InFlight: 4}},
		"others count":                     {0, llm.Load{Latency: time.Second, InFlight: 3}, llm.Load{Latency: time.Second, Others: 4}},
		"fails less":                       {0, llm.Load{Failing: 0.1}, llm.Load{Failing: 0.2}},
		"slower, but does not fail":        {0, llm.Load{Latency: time.Second}, llm.Load{Failing: 0.51}}, // 0.5 and 0.49
		"fails, but is faster":             {0, llm.Load{Failing: 0.49}, llm.Load{Latency: time.Second}}, // 0.51 and 0.5
		"slower, but idle":                 {0, llm.Load{Latency: 1900 * time.Millisecond}, llm.Load{Latency: time.Second, InFlight: 10}},
		"always fails":                     {0, llm.Load{Latency: time.Hour, InFlight: 1e6}, llm.Load{Failing: 1}},
		"an exploring turn: the older one": {49, llm.Load{Latency: time.Hour, Tried: 1}, llm.Load{Latency: 1, Tried: 2}},
	} {
		r := numbers(9)
		for range 100 {
			p := Pick{Turn: tt.turn, Random: r.Uint64()}
			if powerOfTwo(&p, []Candidate{{Load: tt.better}, {Load: tt.not}}) != 0 || powerOfTwo(&p, []Candidate{{Load: tt.not}, {Load: tt.better}}) != 1 {
				t.Errorf("%s: the worse is chosen", name)
				break
			}
		}
	}
	if got := powerOfTwo(&Pick{Turn: 49}, byWeight(1)); got != 0 {
		t.Errorf("of one: %d", got)
	}
}

// Every pair is drawn as often as any other: of n candidates in order, the k-th best is chosen in 2(n-k) of n(n-1) draws.
func TestPowerOfTwoDrawsEvenly(t *testing.T) {
	for _, n := range []int{2, 3, 7, 20} {
		c := make([]Candidate, n)
		for i := range c {
			c[i].Latency = time.Duration(1+i) * time.Second
		}
		const draws = 200_000
		r, count := numbers(10), make([]int, n)
		for range draws {
			count[powerOfTwo(&Pick{Random: r.Uint64()}, c)]++
		}
		for k, got := range count {
			want := draws * 2 * float64(n-1-k) / float64(n*(n-1))
			if !near(float64(got), want, 0.1) {
				t.Errorf("of %d, number %d is chosen %d times, want about %.0f", n, k, got, want)
			}
		}
	}
}

// A deployment three times as slow gets few calls, and its share again after it healed.
func TestPowerOfTwoFindsAndForgives(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		for _, gap := range []time.Duration{100 * time.Second, time.Second, 100 * time.Millisecond} {
			slow, healed := healing(powerOfTwo, n, false, gap)
			t.Logf("of %d, a call each %v: %.3f while slow, %.3f when healed", n, gap, slow, healed)
			if slow >= 0.1 || healed < 0.8/float64(n) {
				t.Errorf("of %d, a call each %v: it gets %.3f while slow, %.3f when healed", n, gap, slow, healed)
			}
		}
	}
}
