// Package sharedtest holds every upstream.Shared to what its interface promises. Memory and real servers run the
// same suite.
package sharedtest

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"sluice/internal/upstream"
)

// A Harness is one cluster's shared state, empty at first.
type Harness struct {
	// Join gives a new replica its store; it ends with the test.
	Join func(t *testing.T) upstream.Shared
	// Pass lets time go on; nil: it does so by itself.
	Pass func(time.Duration)
	// Wipe loses all that is stored, under running replicas; nil: that cannot happen.
	Wipe func(t *testing.T)
}

// Run runs the suite; start is called for each test.
func Run(t *testing.T, start func(t *testing.T) Harness) {
	t.Run("everything lost", func(t *testing.T) {
		if h := start(t); h.Wipe != nil {
			wiped(t, h)
		}
	})
	for name, f := range map[string]func(*testing.T, Harness){
		"nothing to say":               nothing,
		"in flight":                    inFlight,
		"a replica dies":               dies,
		"all start at once":            atOnce,
		"latencies are merged":         latencies,
		"no latency is lost":           contended,
		"breaker":                      breaker,
		"breaker is kept half-open":    halfOpen,
		"breaker by notice":            breakerTold,
		"reset":                        reset,
		"modes are kept":               modes,
		"notices reach all":            notices,
		"revoked keys are kept":        revoked,
		"one permit a span":            permits,
		"more deployments than may be": tooMany,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, start(t))
		})
	}
}

type shares = map[string]upstream.Share

// hour is a time ahead that is far from every other in a test, whatever the machine does meanwhile.
func hour(n int) time.Time { return time.Now().Add(time.Duration(n) * time.Hour) }

// near says whether two times are the same but for the time that passed on the way.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < 10*time.Minute }

func sync1(t *testing.T, s upstream.Shared, replica string, in shares) upstream.Picture {
	t.Helper()
	p, err := s.Sync(t.Context(), upstream.Report{Replica: replica, Shares: in})
	if err != nil {
		t.Fatalf("sync of %s: %v", replica, err)
	}
	return p
}

func tell(t *testing.T, s upstream.Shared, n upstream.Notice) {
	t.Helper()
	if err := s.Tell(t.Context(), n); err != nil {
		t.Fatalf("tell: %v", err)
	}
}

// until asks again and again while time passes.
func (h Harness) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if ok() {
			return
		}
		if h.Pass != nil {
			h.Pass(20 * time.Millisecond)
		} else {
			<-tick.C
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

func nothing(t *testing.T, h Harness) {
	p := sync1(t, h.Join(t), "a", nil)
	if p.Replicas != 1 || len(p.Commons) != 0 || len(p.Revoked) != 0 {
		t.Errorf("got %+v, want one replica and no more", p)
	}
}

func inFlight(t *testing.T, h Harness) {
	a, b, c := h.Join(t), h.Join(t), h.Join(t)
	sync1(t, a, "a", shares{"x": {InFlight: 3}, "y": {InFlight: 1}})
	sync1(t, b, "b", shares{"x": {InFlight: 5}, "key with : and \" in it": {InFlight: 2}})
	p := sync1(t, c, "c", shares{"x": {InFlight: 7}})
	for key, want := range map[string]int{"x": 8, "y": 1, "key with : and \" in it": 2} {
		if got := p.Commons[key].Others; got != want || p.Replicas != 3 {
			t.Errorf("c sees %d of %s on %d replicas, want %d on 3", got, key, p.Replicas, want)
		}
	}
	sync1(t, b, "b", shares{"x": {InFlight: 1}}) // counts are replaced, not added
	p = sync1(t, a, "a", nil)
	if got := p.Commons["x"].Others; got != 8 {
		t.Errorf("a sees %d of x, want 8", got)
	}
	p = sync1(t, c, "c", nil) // one left out has none
	if got := p.Commons["x"].Others; got != 1 {
		t.Errorf("c sees %d of x, want 1", got)
	}
}

func dies(t *testing.T, h Harness) {
	a, b := h.Join(t), h.Join(t)
	sync1(t, b, "b", shares{"x": {InFlight: 500}})
	if p := sync1(t, a, "a", nil); p.Replicas != 2 || p.Commons["x"].Others != 500 {
		t.Errorf("while it lives: %+v", p)
	}
	c := h.Join(t)
	sync1(t, c, "c", shares{"y": {InFlight: 7}})
	h.until(t, "the dead replica's calls are gone", func() bool {
		p, q := sync1(t, a, "a", shares{"y": {InFlight: 5}}), sync1(t, c, "c", shares{"y": {InFlight: 7}})
		if p.Commons["y"].Others != 7 || q.Commons["y"].Others != 5 {
			t.Fatalf("the living do not see one another: %+v, %+v", p, q)
		}
		return p.Replicas == 2 && p.Commons["x"].Others == 0
	})
	if p := sync1(t, b, "b", shares{"x": {InFlight: 2}}); p.Replicas != 3 {
		t.Errorf("back again: %+v", p)
	}
	if p := sync1(t, a, "a", nil); p.Commons["x"].Others != 2 {
		t.Errorf("back again: %+v", p)
	}
}

func atOnce(t *testing.T, h Harness) {
	const n = 12
	var all sync.WaitGroup
	stores := make([]upstream.Shared, n)
	errs := make([]error, n)
	for i := range n {
		stores[i] = h.Join(t)
		all.Go(func() {
			_, errs[i] = stores[i].Sync(t.Context(), upstream.Report{Replica: fmt.Sprint(i), Shares: shares{"x": {InFlight: i + 1}}})
		})
	}
	all.Wait()
	for i, s := range stores {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		p := sync1(t, s, fmt.Sprint(i), shares{"x": {InFlight: i + 1}})
		if want := n*(n+1)/2 - (i + 1); p.Replicas != n || p.Commons["x"].Others != want {
			t.Errorf("replica %d sees %d replicas and %d calls, want %d and %d", i, p.Replicas, p.Commons["x"].Others, n, want)
		}
	}
}

func latencies(t *testing.T, h Harness) {
	a, b := h.Join(t), h.Join(t)
	steps := []struct {
		store   upstream.Shared
		id      string
		samples int
		mean    time.Duration
	}{{a, "a", 10, 100 * time.Millisecond}, {b, "b", 1, 200 * time.Millisecond}, {a, "a", 2, 100 * time.Millisecond}, {b, "b", 1000, time.Second}, {a, "a", 1, time.Microsecond}}
	var want float64
	for i, s := range steps {
		if i == 0 {
			want = float64(s.mean)
		} else {
			want += (1 - math.Pow(1-upstream.Alpha, float64(s.samples))) * (float64(s.mean) - want)
		}
		p := sync1(t, s.store, s.id, shares{"x": {Samples: s.samples, Latency: s.mean}})
		if got := p.Commons["x"].Latency; math.Abs(float64(got)-want) > float64(time.Microsecond) {
			t.Errorf("step %d: average %v, want %v", i, got, time.Duration(want))
		}
	}
	before := sync1(t, b, "b", nil).Commons["x"].Latency
	if got := sync1(t, h.Join(t), "c", nil).Commons["x"].Latency; got != before || got == 0 {
		t.Errorf("a replica that starts later finds %v, want %v", got, before)
	}
}

// contended reports samples of nearly nothing from all sides at once: in whatever order they come, each takes its
// three tenths of what is left.
func contended(t *testing.T, h Harness) {
	const n = 8
	first := h.Join(t)
	sync1(t, first, "first", shares{"x": {Samples: 1, Latency: time.Second}})
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		s := h.Join(t)
		all.Go(func() {
			_, errs[i] = s.Sync(t.Context(), upstream.Report{Replica: fmt.Sprint(i), Shares: shares{"x": {Samples: 1, Latency: 1}}})
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := time.Duration(math.Pow(1-upstream.Alpha, n) * float64(time.Second))
	if got := sync1(t, first, "first", nil).Commons["x"].Latency; (got - want).Abs() > time.Millisecond {
		t.Errorf("average %v, want %v: a report was lost", got, want)
	}
}

func wantBreaker(t *testing.T, when string, c upstream.Common, until time.Time, opens int) {
	t.Helper()
	if !near(c.Until, until) || c.Opens != opens {
		t.Errorf("%s: open until %v (%d in a row), want %v (%d)", when, c.Until, c.Opens, until, opens)
	}
}

func breaker(t *testing.T, h Harness) {
	a, b := h.Join(t), h.Join(t)
	sync1(t, a, "a", shares{"x": {Until: hour(2), Opens: 3}})
	wantBreaker(t, "another sees it", sync1(t, b, "b", nil).Commons["x"], hour(2), 3)
	wantBreaker(t, "an earlier end does not shorten it", sync1(t, b, "b", shares{"x": {Until: hour(1), Opens: 1}}).Commons["x"], hour(2), 3)
	wantBreaker(t, "a later end prolongs it", sync1(t, b, "b", shares{"x": {Until: hour(3), Opens: 4}}).Commons["x"], hour(3), 4)
	wantBreaker(t, "a replica that starts later", sync1(t, h.Join(t), "c", nil).Commons["x"], hour(3), 4)
	wantBreaker(t, "closed and opened again", sync1(t, a, "a", shares{"x": {Closed: true, Until: hour(1), Opens: 1}}).Commons["x"], hour(1), 1)
	sync1(t, a, "a", shares{"x": {Closed: true}})
	wantBreaker(t, "closed", sync1(t, b, "b", nil).Commons["x"], time.Time{}, 0)
}

func halfOpen(t *testing.T, h Harness) {
	a, b := h.Join(t), h.Join(t)
	sync1(t, a, "a", shares{"x": {Until: time.Now().Add(-time.Minute), Opens: 2}})
	c := sync1(t, b, "b", nil).Commons["x"]
	if c.Until.IsZero() || !c.Until.Before(time.Now()) || c.Opens != 2 {
		t.Errorf("got %+v, want a breaker that was open until a minute ago", c)
	}
}

func breakerTold(t *testing.T, h Harness) {
	a, b := h.Join(t), h.Join(t)
	tell(t, a, upstream.Notice{From: "a", Deployment: "x", Until: hour(2), Opens: 3})
	wantBreaker(t, "told", sync1(t, b, "b", nil).Commons["x"], hour(2), 3)
	tell(t, a, upstream.Notice{From: "a", Deployment: "x", Until: hour(1), Opens: 1})
	wantBreaker(t, "an earlier end", sync1(t, b, "b", nil).Commons["x"], hour(2), 3)
	tell(t, a, upstream.Notice{From: "a", Deployment: "x", Closed: true})
	wantBreaker(t, "closed", sync1(t, b, "b", nil).Commons["x"], time.Time{}, 0)
}

func reset(t *testing.T, h Harness) {
	a := h.Join(t)
	sync1(t, a, "a", shares{
		"x": {InFlight: 1, Samples: 1, Latency: time.Second, Until: hour(1), Opens: 1},
		"y": {Samples: 1, Latency: time.Second, Until: hour(1), Opens: 1},
	})
	tell(t, a, upstream.Notice{From: "a", Deployment: "x", Reset: true})
	p := sync1(t, h.Join(t), "b", nil)
	if got, want := p.Commons["x"], (upstream.Common{Others: 1}); got != want {
		t.Errorf("x: %+v, want %+v", got, want)
	}
	if got := p.Commons["y"]; got.Latency != time.Second || got.Opens != 1 {
		t.Errorf("y: %+v, want it left alone", got)
	}
}

func modes(t *testing.T, h Harness) {
	a, b := h.Join(t), h.Join(t)
	for _, mode := range []string{"draining", "disabled", string(upstream.Active), "disabled"} {
		tell(t, a, upstream.Notice{From: "a", Deployment: "x", Mode: mode})
		for id, s := range map[string]upstream.Shared{"a": a, "b": b, "later": h.Join(t)} {
			if got := sync1(t, s, id, nil).Commons["x"].Mode; got != mode {
				t.Errorf("after %q %s sees %q", mode, id, got)
			}
		}
	}
}

// A hearer keeps what it hears.
type hearer struct {
	mu    sync.Mutex
	heard []upstream.Notice
}

func (h *hearer) hear(n upstream.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, n)
}

func (h *hearer) has(want upstream.Notice) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.heard {
		if near(n.Until, want.Until) {
			n.Until = want.Until
		}
		if n == want {
			return true
		}
	}
	return false
}

func notices(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	var ends sync.WaitGroup
	defer ends.Wait()
	defer cancel()
	hearers := make([]*hearer, 3)
	var first upstream.Shared
	for i := range hearers {
		hearers[i] = &hearer{}
		s := h.Join(t)
		if first == nil {
			first = s
		}
		ends.Go(func() {
			if err := s.Listen(ctx, hearers[i].hear); ctx.Err() == nil {
				t.Errorf("listening ended: %v", err)
			}
		})
	}
	all := func(n upstream.Notice) func() bool {
		return func() bool {
			for _, one := range hearers {
				if !one.has(n) {
					return false
				}
			}
			return true
		}
	}
	probe := upstream.Notice{From: "a", Deployment: "probe", Closed: true}
	h.until(t, "all have joined", func() bool { tell(t, first, probe); return all(probe)() })
	for _, n := range []upstream.Notice{
		{From: "a", Deployment: "x", Mode: "draining"},
		{From: "a", Deployment: "x", Until: hour(1), Opens: 7},
		{From: "a", Deployment: "x", Closed: true},
		{From: "a", Deployment: "x", Probed: true},
		{From: "a", Deployment: "x", Reset: true},
		{From: "a", RevokedKey: "0123456789ab"},
	} {
		tell(t, first, n)
		h.until(t, fmt.Sprintf("all hear %+v", n), all(n))
	}
}

func revoked(t *testing.T, h Harness) {
	a, b := h.Join(t), h.Join(t)
	sync1(t, b, "b", nil)
	for _, key := range []string{"0123456789ab", "ba9876543210"} {
		tell(t, a, upstream.Notice{From: "a", RevokedKey: key})
		for id, s := range map[string]upstream.Shared{"b": b, "later": h.Join(t)} {
			found := false
			for _, got := range sync1(t, s, id, nil).Revoked {
				found = found || got == key
			}
			if !found {
				t.Errorf("%s does not see that %s is revoked", id, key)
			}
		}
	}
}

func permits(t *testing.T, h Harness) {
	stores := []upstream.Shared{h.Join(t), h.Join(t), h.Join(t), h.Join(t)}
	granted := func(purpose string, span time.Duration) int {
		var all sync.WaitGroup
		var mu sync.Mutex
		n := 0
		for i := range 16 {
			all.Go(func() {
				ok, err := stores[i%len(stores)].Permit(t.Context(), purpose, span)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if ok {
					n++
				}
			})
		}
		all.Wait()
		return n
	}
	for _, purpose := range []string{"probe x", "probe y"} {
		if n := granted(purpose, time.Hour); n != 1 {
			t.Errorf("%d of 16 have the permit to %s, want 1", n, purpose)
		}
		if n := granted(purpose, time.Hour); n != 0 {
			t.Errorf("%d of 16 have a second permit to %s in the same span", n, purpose)
		}
	}
	h.until(t, "the first permit of a short span", func() bool { return granted("short", 100*time.Millisecond) > 0 })
	h.until(t, "the permit of the next span", func() bool { return granted("short", 100*time.Millisecond) > 0 })
}

func tooMany(t *testing.T, h Harness) {
	s := h.Join(t)
	in := make(shares)
	for i := range upstream.MaxDeployments / 2 {
		in[fmt.Sprint("a", i)] = upstream.Share{Samples: 1, Latency: time.Second}
	}
	sync1(t, s, "a", in)
	clear(in)
	for i := range upstream.MaxDeployments {
		in[fmt.Sprint("b", i)] = upstream.Share{Samples: 1, Latency: time.Second}
	}
	sync1(t, s, "a", in)
	p := sync1(t, s, "a", shares{"a1": {Samples: 1, Latency: 2 * time.Second}})
	if len(p.Commons) != upstream.MaxDeployments {
		t.Errorf("%d deployments are kept, want %d", len(p.Commons), upstream.MaxDeployments)
	}
	if got := p.Commons["a1"].Latency; got != 1300*time.Millisecond {
		t.Errorf("a deployment that is known moved to %v, want 1.3s", got)
	}
}

// wiped loses all under two replicas that go on reporting.
func wiped(t *testing.T, h Harness) {
	a, b := h.Join(t), h.Join(t)
	tell(t, a, upstream.Notice{From: "a", Deployment: "x", Mode: "disabled"})
	tell(t, a, upstream.Notice{From: "a", Deployment: "y", Mode: "disabled"})
	sync1(t, a, "a", shares{"x": {InFlight: 3, Samples: 1, Latency: time.Second}})
	sync1(t, b, "b", shares{"x": {InFlight: 4}})
	if ok, err := a.Permit(t.Context(), "p", time.Hour); !ok || err != nil {
		t.Errorf("permit: %t, %v", ok, err)
	}
	h.Wipe(t)
	if got := sync1(t, b, "b", shares{"x": {InFlight: 4}}).Commons["x"].Mode; got != "disabled" {
		t.Errorf("a deployment that an operator disabled is %q at the first picture after", got)
	}
	tell(t, a, upstream.Notice{From: "a", Deployment: "y", Mode: string(upstream.Active)}) // newer than what b remembers
	for range 2 {
		sync1(t, a, "a", shares{"x": {InFlight: 3, Samples: 1, Latency: time.Minute}})
		sync1(t, b, "b", shares{"x": {InFlight: 4}})
	}
	p := sync1(t, h.Join(t), "later", nil)
	want := upstream.Common{Others: 7, Latency: time.Minute, Mode: "disabled"}
	if got := p.Commons["x"]; got != want || p.Replicas != 3 {
		t.Errorf("later: %+v on %d replicas, want %+v on 3", got, p.Replicas, want)
	}
	for id, s := range map[string]upstream.Shared{"a": a, "b": b, "later": h.Join(t)} {
		if got := sync1(t, s, id, nil).Commons["y"].Mode; got != string(upstream.Active) {
			t.Errorf("%s sees %q of a deployment put back in service after the loss", id, got)
		}
	}
	if ok, err := b.Permit(t.Context(), "p", time.Hour); !ok || err != nil {
		t.Errorf("permit after the loss: %t, %v", ok, err)
	}
}
