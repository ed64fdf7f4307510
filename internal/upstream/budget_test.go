package upstream

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBudget(t *testing.T) {
	for _, c := range []struct {
		name            string
		requests, asked int
		want            int
	}{
		{"few requests", 10, 200, 100},
		{"none", 0, 200, 100},
		{"many", 1000, 300, 200},
		{"all within", 1000, 150, 150},
		{"very many", 300_000, 60_000, 52_428}, // a bucket counts to 262,143
	} {
		t.Run(c.name, func(t *testing.T) {
			var b budget
			for range c.requests {
				b.request(noon)
			}
			got := 0
			for range c.asked {
				if b.retry(noon.Add(9*time.Second), BudgetRules{}.orDefault()) {
					got++
				}
			}
			if got != c.want {
				t.Errorf("%d retries, want %d", got, c.want)
			}
		})
	}
}

func TestBudgetRefills(t *testing.T) {
	var b budget
	for range 100 {
		b.retry(noon, BudgetRules{}.orDefault())
	}
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, false}, {9 * time.Second, false}, {10 * time.Second, false}, {11 * time.Second, true}} {
		if got := b.retry(noon.Add(c.after), BudgetRules{}.orDefault()); got != c.want {
			t.Errorf("after %v: %v", c.after, got)
		}
	}
}

// TestBudgetBound: in each 10 s that end with a retry, the retries are at most 20 % of the requests or 100.
func TestBudgetBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b budget
		now := noon
		var requests, retries []time.Time
		within := func(list []time.Time) (n int) {
			for _, at := range list {
				if now.Sub(at) < 10*time.Second {
					n++
				}
			}
			return n
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			for range rapid.IntRange(0, 400).Draw(t, "requests") {
				b.request(now)
				requests = append(requests, now)
			}
			for range rapid.IntRange(0, 150).Draw(t, "retries") {
				if !b.retry(now, BudgetRules{}.orDefault()) {
					break
				}
				retries = append(retries, now)
			}
			taken := len(retries) > 0 && retries[len(retries)-1].Equal(now)
			if n, most := within(retries), max(within(requests)/5, 100); taken && n > most {
				t.Fatalf("%d retries, at most %d may be", n, most)
			}
		}
	})
}
