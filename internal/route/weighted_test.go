package route

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWeighted(t *testing.T) {
	for _, tt := range []struct {
		weights []int
		want    []int
	}{
		{[]int{7}, []int{0, 0, 0, 0, 0, 0, 0, 0}},
		{[]int{1, 1}, []int{0, 1, 0, 0, 1, 1, 0, 0}},
		{[]int{3, 1}, []int{0, 0, 0, 0, 1, 0, 0, 0}},
		{[]int{1, 1, 1}, []int{0, 0, 1, 2, 0, 1, 2, 0}},
		{[]int{1, 1, 2}, []int{0, 1, 2, 2, 0, 2, 2, 0}},
	} {
		var got []int
		for turn := range uint64(8) {
			got = append(got, weighted(&Pick{Turn: turn}, byWeight(tt.weights...)))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.weights, diff)
		}
	}
}

// vectors are weights of many kinds: each number of candidates to 12 and some beyond, even, steep and by chance.
func vectors() (all [][]int) {
	r := numbers(4)
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 37, 100, 300} {
		even, steep := slices.Repeat([]int{1}, n), make([]int, n)
		for i := range steep {
			steep[i] = 1 + i*i
		}
		all = append(all, even, steep)
		for range 4 {
			some := make([]int, n)
			for i := range some {
				some[i] = 1 + r.IntN(100)
			}
			all = append(all, some)
		}
	}
	return append(all, []int{1, 99}, []int{99, 1}, []int{1000, 1, 1000}, []int{5, 1, 1}, []int{1, 1, 1000})
}

// A tally compares calls with the shares that they should be.
type tally struct {
	count []float64
	share []float64 // how many calls it should have by now
	last  []uint64  // turn of the last call, and 1
	off   float64   // the largest difference seen
	wait  float64   // the longest wait for a call, times the share
	run   float64   // the longest run of one candidate, times the share of the others
	began uint64    // turn of the first call of the present run
	now   int       // whose run it is
}

func newTally(n int) *tally {
	return &tally{count: make([]float64, n), share: make([]float64, n), last: make([]uint64, n)}
}

func (y *tally) add(turn uint64, c []Candidate, chosen int) {
	total := float64(sum(c))
	for i := range c {
		x := &c[i]
		share := float64(x.Weight) / total
		y.share[x.Index] += share
		if i == chosen {
			y.wait = max(y.wait, float64(turn+1-y.last[x.Index])*share)
			if y.now != x.Index {
				y.now, y.began = x.Index, turn
			}
			y.run = max(y.run, float64(turn+1-y.began)*(1-share))
			y.count[x.Index]++
			y.last[x.Index] = turn + 1
		}
		y.off = max(y.off, y.count[x.Index]-y.share[x.Index], y.share[x.Index]-y.count[x.Index])
	}
}

// After every turn each candidate is near its share, none waits long for its next call, and none has a long run.
func TestWeightedIsSmooth(t *testing.T) {
	var off, wait, run float64
	for _, weights := range vectors() {
		c, y := byWeight(weights...), newTally(len(weights))
		for turn := range uint64(10_000) {
			y.add(turn, c, weighted(&Pick{Turn: turn}, c))
		}
		if y.off > 5 || y.wait > 3 || y.run > 3 {
			t.Errorf("%v: a count is off by %.2f, the longest wait is %.2f of the mean, the longest run %.2f", weights, y.off, y.wait, y.run)
		}
		off, wait, run = max(off, y.off), max(wait, y.wait), max(run, y.run)
	}
	t.Logf("at most %.2f off, %.2f of the mean wait, %.2f of the mean run", off, wait, run)
}

// Candidates come and go, in step with the turns and by chance, and the counts stay near what the candidates
// that were there at each turn should have had.
func TestWeightedAsCandidatesComeAndGo(t *testing.T) {
	r, worst := numbers(5), 0.0
	for _, weights := range [][]int{{1, 1}, {1, 1, 1}, {3, 2, 1}, {5, 1, 1, 3}, {10, 20, 30, 40, 50}, slices.Repeat([]int{1}, 20)} {
		all := byWeight(weights...)
		rest, some := without(all, 0), all
		there := func(period, turn uint64) []Candidate {
			switch {
			case period == 0: // some are there, others at another time
				if r.IntN(50) == 0 {
					some = slices.DeleteFunc(slices.Clone(all), func(x Candidate) bool { return x.Index > 0 && r.IntN(3) == 0 })
				}
				return some
			case turn%period == 0, period >= 50 && turn/period%2 == 0: // the first is away now and then, or half of the time
				return rest
			}
			return all
		}
		for _, period := range []uint64{0, 2, 3, 5, 8, 10, 50, 89, 144, 1000} {
			y := newTally(len(all))
			for turn := range uint64(10_000) {
				c := there(period, turn)
				y.add(turn, c, weighted(&Pick{Turn: turn}, c))
			}
			if y.off > 40 {
				t.Errorf("%v, a change each %d turns: a count is off by %.2f", weights, period, y.off)
			}
			worst = max(worst, y.off)
		}
	}
	t.Logf("at most %.2f off", worst)
}
