package upstream

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/internal/llm"
)

func (t *tracker) now() (l llm.Load) {
	t.load(&l)
	return l
}

func TestTracker(t *testing.T) {
	var tr tracker
	if l := tr.now(); l != (llm.Load{}) {
		t.Errorf("new: %+v", l)
	}
	tr.try(noon)
	tr.observe(time.Second)
	if l := tr.now(); l.Latency != time.Second || l.Recent != time.Second || l.Tried != noon.UnixNano() {
		t.Errorf("after one: %+v", l)
	}
	tr.observe(2 * time.Second)
	if l := tr.now(); l.Latency != 1300*time.Millisecond || l.Recent != 2*time.Second {
		t.Errorf("after two: %+v", l)
	}
	tr.observe(0)
	if l := tr.now(); l.Latency.Round(time.Microsecond) != 910*time.Millisecond || l.Recent == 0 {
		t.Errorf("after nothing: %+v", l)
	}
	tr.fail()
	tr.reset()
	if n, _ := tr.take(); n != 0 || tr.now() != (llm.Load{}) {
		t.Errorf("after reset: %+v and %d samples", tr.now(), n)
	}
}

func TestTrackerFindsSlowAndHealed(t *testing.T) {
	var tr tracker
	for range 50 {
		tr.observe(100 * time.Millisecond)
	}
	for n, d := range []time.Duration{300 * time.Millisecond, 100 * time.Millisecond} {
		for range 5 {
			tr.observe(d)
		}
		if got := tr.now().Latency; (got > 200*time.Millisecond) != (n == 0) {
			t.Errorf("after five of %v: %v", d, got)
		}
	}
}

func TestTrackerFailing(t *testing.T) {
	var tr tracker
	tr.succeed()
	tr.fail()
	if got := tr.now().Failing; got != 0.3 {
		t.Errorf("after a failure: %v", got)
	}
	tr.fail()
	if got := tr.now().Failing; got < 0.50999 || got > 0.51001 {
		t.Errorf("after two: %v", got)
	}
	tr.succeed()
	if got := tr.now().Failing; got < 0.35699 || got > 0.35701 {
		t.Errorf("after a success: %v", got)
	}
	for range 20 {
		tr.succeed()
	}
	if got := tr.now().Failing; got != 0 {
		t.Errorf("after many: %v", got)
	}
}

// TestTrackerMerge: replicas that report to one another all arrive at what one after the other would give,
// and no report moves what a replica knows back: own samples stay on top until they are reported.
func TestTrackerMerge(t *testing.T) {
	near := func(a, b time.Duration) bool { return (a - b).Abs() < time.Microsecond }
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) []time.Duration {
			return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
				return time.Duration(rapid.IntRange(1, 60_000).Draw(t, "ms")) * time.Millisecond
			}), 1, 30).Draw(t, name)
		}
		common := draw("common")[0]
		var tr tracker
		tr.merge(common)
		want := common
		move := func(d time.Duration) { want += time.Duration(Alpha * float64(d-want)) }
		first, second := draw("first"), draw("second")
		for _, d := range first {
			tr.observe(d)
			move(d)
		}
		n, mean := tr.take()
		if n != len(first) {
			t.Fatalf("%d samples, want %d", n, len(first))
		}
		reported := common + time.Duration((1-math.Pow(1-Alpha, float64(n)))*float64(mean-common)) // as Common has it
		if !near(reported, want) {
			t.Fatalf("the report moves the average to %v, want %v", reported, want)
		}
		for _, d := range second {
			tr.observe(d)
			move(d)
		}
		if rapid.Bool().Draw(t, "lost") {
			tr.giveBack(n, mean)
			tr.merge(common)
		} else {
			tr.merge(reported)
		}
		if got := tr.now().Latency; !near(got, want) {
			t.Fatalf("average %v, want %v", got, want)
		}
		tr.merge(0)
		if got := tr.now().Latency; !near(got, want) {
			t.Fatalf("a cluster that knows nothing gave %v", got)
		}
	})
}

func TestTrackerIsSafe(t *testing.T) {
	var tr tracker
	var s sketch
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 1000 {
				tr.try(noon)
				tr.observe(time.Duration(i))
				s.observe(time.Duration(i) * time.Millisecond)
				tr.fail()
				tr.succeed()
				n, mean := tr.take()
				tr.giveBack(n, mean)
				tr.merge(time.Second)
				s.p95()
				tr.now()
			}
		})
	}
	all.Wait()
	if n, _ := tr.take(); n != 4000 {
		t.Errorf("%d samples, want 4000", n)
	}
}

func TestNormalise(t *testing.T) {
	for _, c := range []struct {
		total  time.Duration
		tokens int64
		want   time.Duration
	}{
		{time.Second, 0, time.Second},
		{time.Second, -1, time.Second},
		{time.Second, 50, 500 * time.Millisecond},
		{21 * time.Second, 1000, time.Second},
		{24 * time.Hour, 1 << 60, 0},
	} {
		if got := normalise(c.total, c.tokens); got != c.want {
			t.Errorf("%v, %d tokens: got %v, want %v", c.total, c.tokens, got, c.want)
		}
	}
}

// TestSketch compares p95 with the exact one over kinds of latencies.
func TestSketch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"uniform":     func() float64 { return r.Float64() * 5 },
		"exponential": func() float64 { return r.ExpFloat64() },
		"log-normal":  func() float64 { return math.Exp(r.NormFloat64()) },
		"two humps":   func() float64 { return 0.2 + 0.01*r.NormFloat64() + float64(r.IntN(10)/9)*10 },
		"fast":        func() float64 { return 0.001 + 0.004*r.Float64() },
		"constant":    func() float64 { return 0.317 },
	} {
		for _, n := range []int{sketchKnown, 100, sketchAge - 1} {
			var s sketch
			list := make([]time.Duration, n)
			for i := range list {
				list[i] = time.Duration(draw() * float64(time.Second))
				s.observe(list[i])
			}
			slices.Sort(list)
			exact := list[n-1-n/20]
			if got, ok := s.p95(); !ok || math.Abs(float64(got-exact)) > 0.1*float64(exact) {
				t.Errorf("%s, %d samples: got %v, %v; exact %v", name, n, got, ok, exact)
			}
		}
	}
}

func TestSketchEnds(t *testing.T) {
	var s sketch
	for range sketchKnown - 1 {
		s.observe(time.Second)
	}
	if got, ok := s.p95(); ok {
		t.Errorf("%v is known of too few", got)
	}
	for _, c := range []struct{ d, want time.Duration }{{-time.Hour, 1062500}, {0, 1062500}, {time.Millisecond, 1062500}, {1000 * time.Hour, 1114112 * time.Millisecond}} {
		var s sketch
		for range sketchKnown {
			s.observe(c.d)
		}
		if got, ok := s.p95(); !ok || got != c.want {
			t.Errorf("%v: got %v, %v, want %v", c.d, got, ok, c.want)
		}
	}
}

// TestSketchBuckets: every time is within 7 % of its bucket's middle, and larger times have larger buckets.
func TestSketchBuckets(t *testing.T) {
	before := 0
	for d := time.Millisecond; d < 1000*time.Second; d += d/100 + 1 {
		i := bucketOf(d)
		if i < before || math.Abs(float64(middle(i)-d)) > 0.07*float64(d) {
			t.Fatalf("%v is in bucket %d, middle %v, after %d", d, i, middle(i), before)
		}
		before = i
	}
}

// TestSketchAges: what has changed is seen after a few thousand samples, and the tail outlives the halving.
func TestSketchAges(t *testing.T) {
	var s sketch
	for i := range 20_000 {
		d := time.Duration(100+i%100) * time.Millisecond
		if tail := i*7%1000 - 930; tail >= 0 { // 7 % in many buckets, about one in each
			d = time.Duration(math.Pow(1.1, float64(tail)) * float64(time.Second))
		}
		s.observe(d)
	}
	if got, _ := s.p95(); got < 4*time.Second || got > 14*time.Second {
		t.Errorf("after many halvings of a thin tail: %v, want about 6.7 s", got)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		s.observe(time.Duration(r.ExpFloat64() * float64(time.Second)))
		if got, _ := s.p95(); i > 5000 && i%1000 == 0 && (got < 2400*time.Millisecond || got > 3600*time.Millisecond) {
			t.Errorf("after %d of an exponential kind: %v, want about 3 s", i, got)
		}
	}
	for range 4000 {
		s.observe(10 * time.Millisecond)
	}
	if got, _ := s.p95(); got > 11*time.Millisecond {
		t.Errorf("the past stays: %v", got)
	}
	if n := s.total.Load(); n > sketchAge {
		t.Errorf("%d samples are kept", n)
	}
}

func BenchmarkTracker(b *testing.B) {
	var tr tracker
	var s sketch
	b.ReportAllocs()
	for b.Loop() {
		tr.try(noon)
		tr.observe(time.Second)
		s.observe(time.Second)
		tr.succeed()
	}
}
