package route

import (
	"math"
	"slices"
	"testing"
)

func TestSticky(t *testing.T) {
	idle, busy := byWeight(1, 1, 1, 1), byWeight(1, 1, 1, 1)
	home := sticky(&Pick{Affinity: 42, Stuck: -1}, idle)
	next := without(idle, home)
	second := next[sticky(&Pick{Affinity: 42, Stuck: -1}, next)].Index
	other := (home + 1) % 4
	load := func(own, others int32) []Candidate { // at home, of 4 and 4 elsewhere
		c := slices.Clone(busy)
		for i := range c {
			c[i].InFlight = 4
		}
		c[home].InFlight, c[home].Others = own, others
		return c
	}
	for name, tt := range map[string]struct {
		p    Pick
		c    []Candidate
		want int // Index
	}{
		"at home":                             {Pick{Affinity: 42, Stuck: -1}, idle, home},
		"where it was":                        {Pick{Affinity: 42, Stuck: other}, idle, other},
		"where it was, however busy":          {Pick{Affinity: 42, Stuck: home}, load(900, 0), home},
		"where it was is away":                {Pick{Affinity: 42, Stuck: 7}, idle, home},
		"home is away":                        {Pick{Affinity: 42, Stuck: -1}, next, second},
		"home is as busy as it may be":        {Pick{Affinity: 42, Stuck: -1}, load(6, 0), home},   // 1.25 x 18/4 + 1 = 6.6
		"home is busier":                      {Pick{Affinity: 42, Stuck: -1}, load(7, 0), second}, // 1.25 x 19/4 + 1 = 6.9
		"home is busy with others":            {Pick{Affinity: 42, Stuck: -1}, load(4, 3), second},
		"no affinity: as weighted":            {Pick{Turn: 3, Stuck: home}, idle, weighted(&Pick{Turn: 3}, idle)},
		"no affinity: as weighted, next turn": {Pick{Turn: 4, Stuck: home}, idle, weighted(&Pick{Turn: 4}, idle)},
	} {
		if got := tt.c[sticky(&tt.p, tt.c)].Index; got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// Keys are spread by weight, whatever they are: chance, or numbers in a row.
func TestStickyFollowsWeights(t *testing.T) {
	for _, weights := range [][]int{{1, 1}, {1, 1, 1}, {3, 1}, {10, 1, 5, 1}, {100, 300, 600}, slices.Repeat([]int{1}, 50)} {
		for _, chance := range []bool{true, false} {
			c, r, count := byWeight(weights...), numbers(11), make([]int, len(weights))
			const keys = 200_000
			for k := range uint64(keys) {
				if k++; chance {
					k = r.Uint64()
				}
				count[sticky(&Pick{Affinity: k, Stuck: -1}, c)]++
			}
			for i, got := range count {
				want := keys * float64(weights[i]) / float64(sum(c))
				if math.Abs(float64(got)-want) > 5*math.Sqrt(want) {
					t.Errorf("%v, chance %v: %d has %d keys, want about %.0f", weights, chance, i, got, want)
				}
			}
		}
	}
}

// When a candidate goes, only its keys move; and their order, or a busy stranger, does not matter.
func TestStickyMovesOnlyTheKeysOfOne(t *testing.T) {
	r := numbers(12)
	for range 300 {
		c := make([]Candidate, 2+r.IntN(10))
		for i := range c {
			c[i] = Candidate{Index: i, Weight: 1 + r.IntN(20)}
		}
		gone := r.IntN(len(c))
		for range 100 {
			p := Pick{Affinity: r.Uint64(), Stuck: -1}
			home := sticky(&p, c)
			rest := without(c, gone)
			r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
			if now := rest[sticky(&p, rest)].Index; home != gone && now != home {
				t.Fatalf("of %d, %d went and a key moved from %d to %d", len(c), gone, home, now)
			}
		}
	}
}

// With one key hot, no candidate has more than its bound under way.
func TestStickyBoundsTheLoad(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 1, 1}, {5, 1, 1, 3}} {
		c := byWeight(weights...)
		for n := range 400 {
			i := sticky(&Pick{Affinity: 42, Stuck: -1}, c)
			c[i].InFlight++
			if limit := 1.25*float64(n)*float64(c[i].Weight)/float64(sum(c)) + 2; float64(c[i].InFlight) > limit {
				t.Fatalf("%v: after %d calls %d has %d, and %.1f is the bound", weights, n+1, i, c[i].InFlight, limit)
			}
		}
	}
}

// The logarithm is near the real one, also relatively where it is near 0: there the winners are.
func TestMinusLog(t *testing.T) {
	r := numbers(13)
	for range 100_000 {
		u := r.Uint64()
		if r.IntN(2) == 0 {
			u = -(r.Uint64() >> r.IntN(40)) // near 1
		}
		x := float64(-u) / (1 << 64) // 1 - u, which a float64 holds better
		want := -math.Log1p(-x) / math.Ln2
		got := float64(minusLog(u)) / (1 << 32)
		if off := math.Abs(got - want); off > 4e-6 || off > want*0.003+1e-9 {
			t.Fatalf("%#x: %v, want %v", u, got, want)
		}
	}
	if got := minusLog(0); got < 63<<32 {
		t.Errorf("of 0: %d", got)
	}
}
