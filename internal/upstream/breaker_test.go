package upstream

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// TestBreaker plays a script: "ok", "fail", "connect", "trip" and "refused" are calls that allow lets
// through and that end so at once, "late" ones begin in the closed state; "+5s" moves the clock.
func TestBreaker(t *testing.T) {
	many := func(s string, n int) string { return strings.Repeat(s+" ", n) }
	for _, c := range []struct {
		name, script string
		phase        phase
		opens        int
		left         time.Duration // until, from the end of the script
	}{
		{name: "new"},
		{name: "nine failures", script: many("fail", 9)},
		{name: "ten failures", script: many("fail", 10), phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "half of ten", script: many("ok", 5) + many("fail", 5), phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "less than half", script: many("ok", 6) + many("fail", 5)},
		{name: "successes have aged", script: many("ok", 100) + "+10s " + many("fail", 10), phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "failures have aged", script: many("fail", 9) + "+10s " + many("fail", 9)},
		{name: "failures have not aged", script: many("fail", 9) + "+9s fail", phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "five connect errors", script: many("connect", 5), phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "connect errors with a success between", script: many("ok", 9) + many("connect", 4) + "ok " + many("connect", 4)},
		{name: "connect errors with another between", script: many("ok", 20) + many("connect", 4) + "fail " + many("connect", 4)},
		{name: "connect errors far apart", script: many("connect +60s", 5), phase: phaseHalfOpen, opens: 1, left: -55 * time.Second},
		{name: "trip", script: "trip=30s", phase: phaseOpen, left: 30 * time.Second},
		{name: "short trip", script: "trip=10ms", phase: phaseOpen, left: time.Second},
		{name: "long trip", script: "trip=1h", phase: phaseOpen, left: 120 * time.Second},
		{name: "a trip keeps the longer time", script: "trip=30s latetrip=5s", phase: phaseOpen, left: 30 * time.Second},
		{name: "a trip lengthens", script: "trip=3s latetrip=5s", phase: phaseOpen, left: 5 * time.Second},
		{name: "a trip does not double", script: "trip=3s +3s trip=3s +5s trip=3s +5s fail", phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "refused credential", script: "refused", phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "two refused at once are one opening", script: "refused laterefused", phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "half-open", script: "refused +5s", phase: phaseHalfOpen, opens: 1},
		{name: "one success", script: "refused +5s ok", phase: phaseHalfOpen, opens: 1},
		{name: "two successes", script: "refused +5s ok +5s ok"},
		{name: "the second probe waits", script: "refused +5s ok +4999ms no", phase: phaseHalfOpen, opens: 1, left: -4999 * time.Millisecond},
		{name: "late outcomes say nothing", script: "refused +5s lateok lateok latefail lateconnect laterefused", phase: phaseHalfOpen, opens: 1},
		{name: "a probe fails", script: "refused +5s ok +5s fail", phase: phaseOpen, opens: 2, left: 10 * time.Second},
		{name: "a success before a reopening does not count", script: "refused +5s ok +5s fail +10s ok", phase: phaseHalfOpen, opens: 2},
		{name: "doubled to the most", script: "refused +5s fail +10s fail +20s fail +40s fail +80s fail +120s fail", phase: phaseOpen, opens: 7, left: 120 * time.Second},
		{name: "doubling ends with a close", script: "refused +5s fail +10s ok +5s ok refused", phase: phaseOpen, opens: 1, left: 5 * time.Second},
		{name: "a close forgets failures", script: many("fail", 9) + "trip=1s +1s ok +5s ok fail"},
		{name: "cancel gives the permit back", script: "refused +5s cancel cancel ok", phase: phaseHalfOpen, opens: 1},
		{name: "cancel counts for nothing", script: many("fail", 9) + "cancel " + many("ok", 10)},
		{name: "open refuses", script: "refused +4999ms no +1ms ok", phase: phaseHalfOpen, opens: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b breaker
			now := noon
			for step := range strings.FieldsSeq(c.script) {
				play(t, &b, &now, step)
			}
			p, until, opens := b.state(now)
			var left time.Duration
			if !until.IsZero() {
				left = until.Sub(now)
			}
			if p != c.phase || opens != c.opens || left != c.left {
				t.Errorf("got %v, %d times, %v left; want %v, %d, %v", p, opens, left, c.phase, c.opens, c.left)
			}
		})
	}
}

func play(t *testing.T, b *breaker, now *time.Time, step string) {
	t.Helper()
	if d, err := time.ParseDuration(step); err == nil {
		*now = now.Add(d)
		return
	}
	step, late := strings.CutPrefix(step, "late")
	step, arg, _ := strings.Cut(step, "=")
	var p permit
	if !late {
		ready, _ := b.ready(*now)
		var ok bool
		if ok, p = b.allow(*now); ok == (step == "no") || ok != ready {
			t.Fatalf("%s: allow %v, ready %v", step, ok, ready)
		}
	}
	switch step {
	case "ok":
		b.succeed(*now, p)
	case "fail":
		b.fail(*now, classTransient, p)
	case "connect":
		b.fail(*now, classConnect, p)
	case "refused":
		b.trip(*now, 0, p)
	case "cancel":
		b.cancel(p)
	case "trip":
		d, err := time.ParseDuration(arg)
		if err != nil {
			t.Fatal(err)
		}
		b.trip(*now, d, p)
	}
}

func TestBreakerReady(t *testing.T) {
	var b breaker
	b.trip(noon, 0, 0)
	for _, c := range []struct {
		at   time.Duration
		want bool
		next time.Duration
	}{{0, false, 5 * time.Second}, {4 * time.Second, false, 5 * time.Second}, {6 * time.Second, true, 5 * time.Second}} {
		if ok, next := b.ready(noon.Add(c.at)); ok != c.want || next != noon.Add(c.next) {
			t.Errorf("at %v: %v, %v; want %v, %v", c.at, ok, next.Sub(noon), c.want, c.next)
		}
	}
	b.allow(noon.Add(6 * time.Second))
	if ok, next := b.ready(noon.Add(7 * time.Second)); ok || next != noon.Add(11*time.Second) {
		t.Errorf("after a probe: %v, %v", ok, next)
	}
}

func TestBreakerInACluster(t *testing.T) {
	b := breaker{shared: true}
	b.force(noon, noon.Add(-time.Second), 3)
	if p, _, _ := b.state(noon); p != phaseClosed {
		t.Errorf("old news: %v", p)
	}
	b.force(noon, noon.Add(time.Hour), 3)
	if p, until, opens := b.state(noon); p != phaseOpen || until != noon.Add(120*time.Second) || opens != 3 {
		t.Errorf("forced: %v until %v, %d times", p, until, opens)
	}
	b.force(noon, noon.Add(time.Second), 1)
	if _, until, opens := b.state(noon); until != noon.Add(120*time.Second) || opens != 3 {
		t.Errorf("forced shorter: until %v, %d times", until, opens)
	}
	now := noon.Add(119 * time.Second)
	if b.wants(now) {
		t.Error("wants a permit while open")
	}
	now = noon.Add(120 * time.Second)
	if ok, _ := b.allow(now); ok || !b.wants(now) {
		t.Errorf("half-open without a permit: allow %v, wants %v", ok, b.wants(now))
	}
	b.grant(now)
	if b.wants(now) {
		t.Error("wants a second permit")
	}
	b.grant(now) // said twice, still one
	ok, p := b.allow(now.Add(4 * time.Second))
	if again, _ := b.allow(now.Add(4 * time.Second)); !ok || again {
		t.Errorf("granted: %v, and again %v", ok, again)
	}
	b.cancel(p)
	if ok, p = b.allow(now.Add(4 * time.Second)); !ok {
		t.Error("the permit given back is gone")
	}
	b.succeed(now, p)
	now = now.Add(9 * time.Second)
	if ok, _ := b.allow(now); ok || !b.wants(now) {
		t.Error("a second probe without a permit")
	}
	b.grant(now)
	if ok, _ := b.allow(now.Add(5 * time.Second)); ok {
		t.Error("a permit that has lapsed was used")
	}
	b.reset()
	if ok, p := b.allow(now); !ok || p != 0 {
		t.Errorf("after a reset: %v, permit %d", ok, p)
	}
}

// A breakerModel is the breaker told by its whole history.
type breakerModel struct {
	calls     []call // in the closed state, since it was last closed
	open      bool
	until     time.Time
	opens     int
	from      int // probes that began with this opening, as an index into probes
	probes    []time.Time
	successes int
	granted   time.Time
}

type call struct {
	at   time.Time
	kind string // ok, fail or connect
}

func (m *breakerModel) shouldOpen(now time.Time) bool {
	all, failed, connects := 0, 0, 0
	for _, c := range m.calls {
		if now.Unix()-c.at.Unix() < 10 {
			all++
			if c.kind != "ok" {
				failed++
			}
		}
		if connects++; c.kind != "connect" {
			connects = 0
		}
	}
	return connects >= 5 || all >= 10 && failed*2 >= all
}

func (m *breakerModel) openUntil(until time.Time) {
	if !m.open || until.After(m.until) {
		m.until = until
	}
	m.open, m.successes, m.from, m.calls = true, 0, len(m.probes), nil
}

func (m *breakerModel) reopen(now time.Time) {
	m.until = now
	m.opens++
	d := 5 * time.Second
	for range m.opens - 1 {
		d = min(2*d, 120*time.Second)
	}
	m.openUntil(now.Add(d))
}

func (m *breakerModel) allow(now time.Time, shared bool) bool {
	if !m.open {
		return true
	}
	n := len(m.probes)
	return !now.Before(m.until) && (!shared || now.Before(m.granted)) && (n == 0 || m.probes[n-1].IsZero() || now.Sub(m.probes[n-1]) >= 5*time.Second)
}

// end is an outcome of a call; probe is its index in probes, -1 for none.
func (m *breakerModel) end(now time.Time, kind string, probe int) {
	valid := probe >= m.from && m.open
	switch {
	case kind == "refused" && (valid || !m.open):
		m.reopen(now)
	case kind == "refused" || kind == "cancel":
		if kind == "cancel" && probe >= 0 && probe == len(m.probes)-1 {
			m.probes[probe] = time.Time{}
		}
	case !m.open:
		m.calls = append(m.calls, call{now, kind})
		if kind != "ok" && m.shouldOpen(now) {
			m.reopen(now)
		}
	case valid && kind == "ok":
		if m.successes++; m.successes == 2 {
			m.open, m.opens, m.from, m.until = false, 0, len(m.probes), time.Time{}
		}
	case valid:
		m.reopen(now)
	}
}

// machine runs breaker and model side by side.
type machine struct {
	b     *breaker
	m     breakerModel
	now   time.Time
	calls []outstanding
}

type outstanding struct {
	p     permit
	probe int
}

func (x *machine) check(t *rapid.T) {
	p, until, opens := x.b.state(x.now)
	want, wantUntil, wantOpens := phaseClosed, time.Time{}, 0
	if x.m.open {
		want, wantUntil, wantOpens = phaseHalfOpen, x.m.until, min(x.m.opens, mostOpens)
		if x.now.Before(x.m.until) {
			want = phaseOpen
		}
	}
	got := fmt.Sprint(p, until, opens)
	if diff := cmp.Diff(fmt.Sprint(want, wantUntil, wantOpens), got); diff != "" {
		t.Fatalf("state (-want +got):\n%s", diff)
	}
	if until.After(x.now.Add(120 * time.Second)) {
		t.Fatalf("open for %v", until.Sub(x.now))
	}
	if ok, at := x.b.ready(x.now); ok != x.m.allow(x.now, x.b.shared) || at.After(x.now.Add(125*time.Second)) {
		t.Fatalf("ready %v, %v", ok, at)
	}
}

func (x *machine) begin(t *rapid.T) {
	want := x.m.allow(x.now, x.b.shared)
	ok, p := x.b.allow(x.now)
	if ok != want || (p != 0) != (ok && x.m.open) {
		t.Fatalf("allow %v with permit %d, want %v", ok, p, want)
	}
	if !ok {
		return
	}
	c := outstanding{p, -1}
	if p != 0 {
		c.probe = len(x.m.probes)
		x.m.probes = append(x.m.probes, x.now)
	}
	x.calls = append(x.calls, c)
}

func (x *machine) end(t *rapid.T, kind string) {
	if len(x.calls) == 0 {
		t.Skip()
	}
	i := rapid.IntRange(0, len(x.calls)-1).Draw(t, "call")
	c := x.calls[i]
	x.calls = slices.Delete(x.calls, i, i+1)
	switch kind {
	case "ok":
		x.b.succeed(x.now, c.p)
	case "fail":
		x.b.fail(x.now, classTransient, c.p)
	case "connect":
		x.b.fail(x.now, classConnect, c.p)
	case "cancel":
		x.b.cancel(c.p)
	case "refused":
		x.b.trip(x.now, 0, c.p)
	}
	x.m.end(x.now, kind, c.probe)
}

func (x *machine) actions() map[string]func(*rapid.T) {
	a := map[string]func(*rapid.T){
		"": x.check,
		"clock": func(t *rapid.T) {
			steps := []time.Duration{time.Millisecond, 999 * time.Millisecond, time.Second, 4 * time.Second, 5 * time.Second, 11 * time.Second, 2 * time.Minute}
			x.now = x.now.Add(rapid.SampledFrom(steps).Draw(t, "step"))
		},
		"trip": func(t *rapid.T) {
			d := time.Duration(rapid.IntRange(1, 200_000).Draw(t, "ms")) * time.Millisecond
			x.b.trip(x.now, d, 0)
			x.m.openUntil(x.now.Add(min(max(d, time.Second), 120*time.Second)))
		},
		"force": func(t *rapid.T) {
			d, opens := time.Duration(rapid.IntRange(-1000, 200_000).Draw(t, "ms"))*time.Millisecond, rapid.IntRange(-1, 20).Draw(t, "opens")
			x.b.force(x.now, x.now.Add(d), opens)
			if d > 0 {
				x.m.openUntil(x.now.Add(min(d, 120*time.Second)))
				x.m.opens = max(x.m.opens, min(opens, mostOpens))
			}
		},
		"grant": func(*rapid.T) {
			x.b.grant(x.now)
			x.m.granted = x.now.Add(5 * time.Second)
		},
		"reset": func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "seldom") == 0 {
				x.b.reset()
				x.m = breakerModel{probes: x.m.probes, from: len(x.m.probes)}
			}
		},
		"begin":  x.begin,
		"begin2": x.begin,
		"begin3": func(t *rapid.T) {
			for range 10 {
				x.begin(t)
			}
		},
	}
	for _, kind := range []string{"ok", "fail", "connect", "cancel", "refused"} {
		a[kind] = func(t *rapid.T) { x.end(t, kind) }
	}
	a["fail2"], a["fail3"], a["connect2"], a["connect3"] = a["fail"], a["fail"], a["connect"], a["connect"]
	return a
}

// TestBreakerModel: whatever happens, the breaker does what its history says, lets at most one probe
// through in 5 s, and closes once everything succeeds.
func TestBreakerModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &machine{b: &breaker{shared: rapid.Bool().Draw(t, "shared")}, now: noon}
		t.Repeat(x.actions())
		var last time.Time
		for _, p := range x.m.probes {
			if !p.IsZero() {
				if !last.IsZero() && p.Sub(last) < 5*time.Second {
					t.Fatalf("two probes within %v", p.Sub(last))
				}
				last = p
			} // else given back
		}
		end := x.now.Add(120*time.Second + 3*5*time.Second)
		for ; !x.now.After(end); x.now = x.now.Add(time.Second) {
			if x.b.wants(x.now) {
				x.b.grant(x.now)
			}
			if ok, p := x.b.allow(x.now); ok {
				x.b.succeed(x.now, p)
			}
		}
		if p, _, _ := x.b.state(x.now); p != phaseClosed {
			t.Fatalf("still %v after everything succeeded", p)
		}
	})
}

func TestBreakerIsSafe(t *testing.T) {
	var b breaker
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 2000 {
				now := noon.Add(time.Duration(n) * time.Second)
				if ok, p := b.allow(now); !ok {
					continue
				} else if n%50 < 20 {
					b.fail(now, classConnect, p)
				} else if n%7 == i {
					b.cancel(p)
				} else {
					b.succeed(now, p)
				}
				b.ready(now)
				b.state(now)
			}
		})
	}
	all.Wait()
	for now := noon.Add(time.Hour); now.Before(noon.Add(time.Hour + 20*time.Second)); now = now.Add(time.Second) {
		if ok, p := b.allow(now); ok {
			b.succeed(now, p)
		}
	}
	if p, _, _ := b.state(noon.Add(2 * time.Hour)); p != phaseClosed {
		t.Errorf("%v at the end", p)
	}
}

func BenchmarkBreakerClosed(b *testing.B) {
	var br breaker
	now := noon
	b.ReportAllocs()
	for b.Loop() {
		_, p := br.allow(now)
		br.succeed(now, p)
	}
}

func TestBreakerClosedDoesNotAllocate(t *testing.T) {
	var b breaker
	if n := testing.AllocsPerRun(100, func() {
		_, p := b.allow(noon)
		b.succeed(noon, p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
