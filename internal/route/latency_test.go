package route

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func TestLatency(t *testing.T) {
	known := func(average, recent time.Duration, tried int64) llm.Load {
		return llm.Load{Latency: average, Recent: recent, Tried: tried}
	}
	for name, tt := range map[string]struct {
		turn  uint64
		loads []llm.Load
		want  []int // those that may be chosen, each at least once in 200
	}{
		"nothing known: the first":          {0, []llm.Load{{}, {}, {}}, []int{0}},
		"one never called":                  {0, []llm.Load{known(1, 1, 1), {}, known(2, 2, 2)}, []int{1}},
		"one called and not measured":       {0, []llm.Load{known(100, 100, 1), {Tried: 2}, known(200, 200, 3)}, []int{0, 1}},
		"none measured":                     {0, []llm.Load{{Tried: 1}, {Tried: 2}}, []int{0, 1}},
		"the lowest":                        {0, []llm.Load{known(300, 300, 1), known(100, 100, 2), known(200, 200, 3)}, []int{1}},
		"within a tenth":                    {0, []llm.Load{known(1000, 1000, 1), known(1099, 1099, 2), known(1102, 1102, 3)}, []int{0, 1}},
		"busy ones are as good":             {0, []llm.Load{{Latency: 100, Recent: 100, Tried: 1, InFlight: 90}, known(200, 200, 1)}, []int{0}},
		"the last measurement, if lower":    {0, []llm.Load{known(100, 100, 1), known(900, 50, 2)}, []int{1}},
		"the average, if lower":             {0, []llm.Load{known(100, 900, 1), known(200, 200, 2)}, []int{0}},
		"an average from others":            {0, []llm.Load{known(100, 0, 1), known(200, 200, 2)}, []int{0}},
		"an exploring turn: the oldest":     {49, []llm.Load{known(100, 100, 9), known(900, 900, 3), known(500, 500, 5)}, []int{1}},
		"an exploring turn: one never":      {99, []llm.Load{known(100, 100, 9), known(900, 900, 3), {}}, []int{2}},
		"the turn after: the lowest again":  {50, []llm.Load{known(100, 100, 9), known(900, 900, 3)}, []int{0}},
		"the turn before: the lowest still": {48, []llm.Load{known(100, 100, 9), known(900, 900, 3)}, []int{0}},
	} {
		c := make([]Candidate, len(tt.loads))
		for i, l := range tt.loads {
			c[i] = Candidate{Index: i, Weight: 1 + i, Load: l}
		}
		r := numbers(8)
		if diff := cmp.Diff(tt.want, drawn(func() int { return latency(&Pick{Turn: tt.turn, Random: r.Uint64()}, c) })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// drawn are those that are chosen in 200 times, in their order.
func drawn(choose func() int) (all []int) {
	for range 200 {
		if i := choose(); !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	slices.Sort(all)
	return all
}

// A fleet serves a stream of calls by a strategy that looks at measurements, which are known when a call ends.
type fleet struct {
	r        *rand.Rand
	choose   Strategy
	constant bool            // calls take the mean, not an exponential time
	service  []time.Duration // mean time of a call, by deployment
	gap      time.Duration   // mean time between calls
	c        []Candidate
	running  events
	took     map[event]time.Duration
	now      time.Duration
	turn     uint64
}

func (f *fleet) draw(mean time.Duration) time.Duration {
	if f.constant {
		return mean
	}
	return time.Duration(f.r.ExpFloat64() * float64(mean))
}

// serve sends n calls and returns the part of them that went to deployment d.
func (f *fleet) serve(n, d int) float64 {
	there := 0
	for range n {
		f.now += f.draw(f.gap)
		for len(f.running) > 0 && f.running[0].at <= f.now {
			x := heap.Pop(&f.running).(event)
			l, took := &f.c[x.deployment].Load, f.took[x]
			delete(f.took, x)
			l.InFlight--
			if l.Recent = took; l.Latency == 0 {
				l.Latency = took
			}
			l.Latency += (took - l.Latency) * 3 / 10
		}
		i := f.choose(&Pick{Turn: f.turn, Random: f.r.Uint64(), Stuck: -1, Replicas: 1}, f.c)
		f.turn++
		f.c[i].Tried = int64(f.now) + 1
		f.c[i].InFlight++
		took := f.draw(f.service[i]) + 1
		x := event{f.now + took, int(f.turn), i} // the turn keeps ends apart
		f.took[x] = took
		heap.Push(&f.running, x)
		if i == d {
			there++
		}
	}
	return float64(there) / float64(n)
}

// healing runs fleets of n of which the last is three times as slow for 500 calls, and then as fast as the
// others. It returns the mean part of the calls that the last got: of those after the first 50 while it was slow,
// and of 500 that begin 100 calls after it healed.
func healing(choose Strategy, n int, constant bool, gap time.Duration) (slow, healed float64) {
	const runs = 100
	for seed := range uint64(runs) {
		f := &fleet{
			r: numbers(seed), choose: choose, constant: constant, gap: gap, c: byWeight(slices.Repeat([]int{1}, n)...),
			service: slices.Repeat([]time.Duration{time.Second}, n), took: make(map[event]time.Duration),
		}
		f.service[n-1] *= 3
		f.serve(50, n-1)
		slow += f.serve(450, n-1) / runs
		f.service[n-1] = time.Second
		f.serve(100, n-1)
		healed += f.serve(500, n-1) / runs
	}
	return slow, healed
}

// A deployment three times as slow is found within 50 calls, and has its share again 100 calls after it healed: with
// one call at a time, with a few and with 10 to 30.
func TestLatencyFindsAndForgives(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		for _, constant := range []bool{true, false} {
			for _, gap := range []time.Duration{100 * time.Second, time.Second, 100 * time.Millisecond} {
				slow, healed := healing(latency, n, constant, gap)
				t.Logf("of %d, constant %v, a call each %v: %.3f while slow, %.3f when healed", n, constant, gap, slow, healed)
				if slow >= 0.2 || healed < 0.85/float64(n) {
					t.Errorf("of %d, constant %v, a call each %v: it gets %.3f while slow, %.3f when healed", n, constant, gap, slow, healed)
				}
			}
		}
	}
}
