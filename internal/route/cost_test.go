package route

import (
	"slices"
	"testing"
)

func priced(prices ...int64) []Candidate {
	c := byWeight(slices.Repeat([]int{1}, len(prices))...)
	for i, p := range prices {
		c[i].Price = p
	}
	return c
}

func TestCost(t *testing.T) {
	for name, tt := range map[string]struct {
		c    []Candidate
		want int
	}{
		"one":                    {priced(5), 0},
		"the cheapest":           {priced(5, 3, 4), 1},
		"free":                   {priced(5, 3, 0), 2},
		"one not known":          {priced(-1, 3, 4), 1},
		"two not known":          {priced(-1, -7, 4), 2},
		"only one, and unknown":  {priced(-1), 0},
		"the dearest is a price": {priced(-1, 1<<63-1), 1},
	} {
		for turn := range uint64(100) {
			if got := cost(&Pick{Turn: turn}, tt.c); got != tt.want {
				t.Errorf("%s: %d, want %d", name, got, tt.want)
				break
			}
		}
	}
}

// Candidates of the same price share as smoothly as in weighted, whatever the others are.
func TestCostShares(t *testing.T) {
	for _, price := range []int64{7, -1} {
		for _, weights := range vectors() {
			equal, y := byWeight(weights...), newTally(len(weights))
			var all []Candidate
			for i := range equal {
				equal[i].Price = price
				if price < 0 {
					equal[i].Price -= int64(i) // which negative number it is says nothing
				}
				all = append(all, equal[i])
				if price >= 0 {
					all = append(all, Candidate{Weight: 50, Price: 8}, Candidate{Weight: 50, Price: -1})
				}
			}
			for turn := range uint64(2000) {
				y.add(turn, equal, all[cost(&Pick{Turn: turn}, all)].Index)
			}
			if y.off > 5 || y.wait > 3 {
				t.Errorf("%v: a count is off by %.2f, the longest wait is %.2f of the mean", weights, y.off, y.wait)
			}
		}
	}
}

func TestPriority(t *testing.T) {
	at := func(indexes ...int) []Candidate {
		c := byWeight(slices.Repeat([]int{1}, len(indexes))...)
		for i, x := range indexes {
			c[i].Index = x
		}
		return c
	}
	for name, tt := range map[string]struct {
		c    []Candidate
		want int
	}{
		"one":             {at(3), 0},
		"in order":        {at(0, 1, 2), 0},
		"the first away":  {at(1, 2), 0},
		"not in order":    {at(5, 2, 9, 3), 1},
		"the last of all": {at(5, 4, 3), 2},
	} {
		for turn := range uint64(100) {
			if got := priority(&Pick{Turn: turn, Random: mix(turn)}, tt.c); got != tt.want {
				t.Errorf("%s: %d, want %d", name, got, tt.want)
			}
		}
	}
}

// Every n turns in a row choose every candidate once.
func TestRoundRobin(t *testing.T) {
	for n := 1; n < 20; n++ {
		c := byWeight(slices.Repeat([]int{7}, n)...)
		for start := range uint64(50) {
			seen := make([]bool, n)
			for turn := start; turn < start+uint64(n); turn++ {
				seen[roundRobin(&Pick{Turn: turn}, c)] = true
			}
			if slices.Contains(seen, false) {
				t.Fatalf("of %d, from turn %d: %v", n, start, seen)
			}
		}
	}
}
