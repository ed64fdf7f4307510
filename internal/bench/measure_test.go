package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecord(t *testing.T) {
	r := newRecord()
	for i := 1; i <= 1000; i++ {
		r.call(time.Duration(i)*time.Millisecond, time.Duration(i)*time.Microsecond, 10)
	}
	r.gap(time.Hour) // beyond what is kept: counts as the longest
	r.elapsed = 4 * time.Second
	got := r.result()
	for name, c := range map[string]struct{ got, want float64 }{
		"p50": {got.P50, 500e3}, "p99": {got.P99, 990e3}, "p99.9": {got.P999, 999e3}, "max": {got.Max, 1000e3},
		"first p50": {got.FirstP50, 500}, "first p99": {got.FirstP99, 990}, "gap": {got.GapMax, 600e6}, "throughput": {got.Throughput, 250},
	} {
		if math.Abs(c.got-c.want) > c.want/500 {
			t.Errorf("%s is %g, want %g", name, c.got, c.want)
		}
	}
	if got := newRecord().result(); got != (Result{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

// TestOpenLoopCountsWaiting is the coordinated omission: the upstream stalls once for a second. A closed loop sees one slow
// call; at a fixed rate all calls that were due meanwhile are late.
func TestOpenLoopCountsWaiting(t *testing.T) {
	stallAt := func(n *int, at int) func(context.Context, int, time.Time, *record) error {
		return func(_ context.Context, _ int, due time.Time, r *record) error {
			if *n++; *n == at {
				time.Sleep(time.Second) //nolint:forbidigo // a fake clock
			} else {
				time.Sleep(time.Millisecond)
			}
			r.call(time.Since(due), 0, 0)
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		n := 0
		l := load{workers: 1, rate: 100, duration: 4 * time.Second, do: stallAt(&n, 100)}
		r, err := l.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.calls != 400 {
			t.Errorf("%d calls, want 400: one every 10 ms for 4 s", r.calls)
		}
		// Due at 1.00, 1.01, … s and answered from 1.99 s on, 1 ms each: the lateness falls by 9 ms a call.
		late := int64(0)
		for _, b := range r.latency.Distribution() {
			if b.From > 2000 {
				late += b.Count
			}
		}
		if late < 105 || late > 115 {
			t.Errorf("%d calls are late, want about 1 s / 9 ms", late)
		}
		if got := r.result(); got.P99 < 900e3 {
			t.Errorf("p99 %g µs hides the stall", got.P99)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n := 0
		l := load{workers: 1, duration: 4 * time.Second, do: stallAt(&n, 100)}
		r, err := l.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := r.result(); r.calls < 2900 || got.P99 > 1100 {
			t.Errorf("closed loop: %d calls, p99 %g µs", r.calls, got.P99)
		}
	})
}

func TestOpenLoopKeepsItsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var due []time.Duration
		l := load{workers: 3, rate: 50, duration: time.Second, do: func(_ context.Context, _ int, d time.Time, r *record) error {
			if !time.Now().Equal(d) {
				t.Errorf("a call due at %v was sent at %v", d.Sub(start), time.Since(start))
			}
			r.mu.Lock()
			due = append(due, d.Sub(start))
			r.mu.Unlock()
			return nil
		}}
		if _, err := l.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var want []time.Duration
		for i := range 50 {
			want = append(want, time.Duration(i)*20*time.Millisecond)
		}
		if diff := cmp.Diff(want, due); diff != "" {
			t.Errorf("schedule (-want +got):\n%s", diff)
		}
	})
}

func TestLoadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load{workers: 4, duration: time.Hour, do: func(context.Context, int, time.Time, *record) error {
			time.Sleep(time.Millisecond)
			return fmt.Errorf("refused")
		}}
		start := time.Now()
		if _, err := l.run(t.Context()); err == nil || err.Error() != "refused" || time.Since(start) > time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		l = load{workers: 4, rate: 0.01, duration: time.Hour, do: func(context.Context, int, time.Time, *record) error { return nil }}
		start = time.Now()
		if _, err := l.run(ctx); err == nil || time.Since(start) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestSummary(t *testing.T) {
	got := summarise([]Result{{P99: 3, Calls: 10, Peak: 7, CPU: 1}, {P99: 1, Calls: 20, Errors: 2, Error: "x", Peak: 9, CPU: 2}, {P99: 2, Calls: 30, Peak: 8, CPU: 6}})
	want := Result{P99: 2, Calls: 60, Errors: 2, Error: "x", Peak: 8, CPU: 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := summarise([]Result{{P99: 1, Peak: 1}, {P99: 4, Peak: 4}}); got.P99 != 2.5 || got.Peak != 2 {
		t.Errorf("of two: %+v", got)
	}
	// Each round is compared with the baseline of the same round: 2, 2 and 1, though the medians are 40 and 30.
	ratio := compare([]Result{{CPU: 20}, {CPU: 200}, {CPU: 40}}, []Result{{CPU: 10}, {CPU: 100}, {CPU: 40}})["cpu"]
	if diff := cmp.Diff(Ratio{2, 1, 2}, ratio); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// sampleReport has one scenario with round figures.
func sampleReport() *Report {
	rounds := func(cpu float64) []Result {
		return []Result{{Calls: 100, Throughput: 50, P50: 900, P99: 12_345, P999: 200_000, FirstP50: 10, FirstP99: 20, CPU: cpu, Peak: 10 << 20}}
	}
	r := &Report{
		Machine: Machine{CPU: "test CPU", Cores: 2, Kernel: "Linux 6", Go: "go1.26", Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)},
		Method:  Method{Rounds: 1, Seconds: 3, LoadCPU: 0, GateCPU: 1, Baseline: "proxy"},
		Scenarios: []ScenarioReport{
			{Name: "small", About: "chat", Targets: []TargetReport{{Target: "sluice", Rounds: rounds(60)}, {Target: "proxy", Rounds: rounds(80)}}},
			{Name: "slow", About: "10 streams", Targets: []TargetReport{{Target: "sluice", Rounds: []Result{{Calls: 10, PerStream: 65 << 10}}}}},
		},
		Programs: []Program{{Target: "sluice", Startup: []float64{10, 30, 20}, Idle: 20 << 20, Binary: 30 << 20}},
	}
	r.finish()
	r.judge()
	return r
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	r := sampleReport()
	r.Scenarios[0].Targets[0].Median.Errors, r.Scenarios[0].Targets[0].Median.Error = 1, "status 500"
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	want := `test CPU, 2 cores, Linux 6, go1.26, 2026-11-23. 1 rounds of 3 s, targets in turn, gateways on CPU 1, load and fake upstream on CPU 0; medians, and the spread of the rounds' ratios. Every answer was checked. CPU and memory in a row direct are the fake upstream's own.

small: chat
  target  calls/s  CPU a call     p50      p99    p99.9  first byte p50 / p99  peak memory  errors       CPU x proxy       p99 x proxy
  sluice       50       60 µs  900 µs  12.3 ms  0.20 s         10 µs / 20 µs      10.0 MB       1  0.75 (0.75–0.75)  1.00 (1.00–1.00)
  proxy        50       80 µs  900 µs  12.3 ms  0.20 s         10 µs / 20 µs      10.0 MB       0                 1                 1

slow: 10 streams
  target  streams  memory a stream  peak memory  errors
  sluice       10            65 KB            –       0

Programs
  target  start to first answer  idle memory   binary
  sluice                  20 ms      20.0 MB  30.0 MB

Bars
  figure                                 measured         bar
  small: CPU a call beside a bare proxy     0.75x     ≤ 0.60x  MISSED
  memory a slow stream                    65.0 KB   ≤ 40.0 KB  MISSED
  idle memory                             20.0 MB   ≤ 40.0 MB     met
  start to first answer                   20.0 ms  ≤ 300.0 ms     met
  binary                                  30.0 MB   ≤ 40.0 MB     met
  wrong answers                                 0         ≤ 0     met

small, sluice: 1 errors, the first: status 500
`
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if diff := cmp.Diff(squeeze(want), squeeze(b.String())); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, b.String())
	}
	b.Reset()
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"### small: chat\n", "| target | calls/s |", "| --- | --- |", "| proxy | 50 | 80 µs |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestBars(t *testing.T) {
	r := sampleReport()
	c := Command{Check: true}
	if err := c.verdict(r); err == nil || !strings.Contains(err.Error(), "2 of 6 bars missed: small: CPU a call beside a bare proxy; memory a slow stream") {
		t.Errorf("verdict: %v", err)
	}
	if err := c.verdict(&Report{}); err == nil {
		t.Error("--check of nothing is well")
	}
	pool := func(name string, cpu ...float64) (t TargetReport) {
		t.Target = name
		for _, c := range cpu {
			t.Rounds = append(t.Rounds, Result{CPU: c})
		}
		return t
	}
	pools := Report{Scenarios: []ScenarioReport{{Name: "small", Targets: []TargetReport{pool("pool-1", 50, 100, 50), pool("pool-300", 51, 110, 52)}}}}
	pools.judge()
	if b := pools.Bars[0]; b.Got != 1.04 || b.Met {
		t.Errorf("%+v: want the median of the rounds' ratios, and the bar missed", b)
	}
	half := func(name string, p99 float64) TargetReport {
		return TargetReport{Target: name, Rounds: []Result{{P99: p99}, {P99: p99}}}
	}
	for _, tt := range []struct{ direct, proxy, own, want float64 }{
		{100, 200, 400, 3}, {100, 200, 150, 0.5}, {100, 100, 100, 1}, {100, 90, 130, 3},
	} {
		r := Report{Scenarios: []ScenarioReport{{Name: "halfload", Targets: []TargetReport{
			half("direct", tt.direct), half("proxy", tt.proxy), half("sluice", tt.own),
		}}}}
		r.finish()
		if got, ok := r.addedP99(); !ok || got != tt.want {
			t.Errorf("%+v: %g", tt, got)
		}
	}
}

func TestProcFiles(t *testing.T) {
	cpu, parent, err := parseStat([]byte("42 (a ) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 5 0 100 1000 200"))
	if err != nil || cpu != 2*time.Second || parent != 7 {
		t.Errorf("%v, parent %d, %v", cpu, parent, err)
	}
	if _, _, err := parseStat([]byte("42 (a) S 7")); err == nil {
		t.Error("a short line is taken")
	}
	if got := parseStatus([]byte("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n"), "VmHWM:"); got != 2<<20 {
		t.Errorf("VmHWM %d", got)
	}
	if got := parseStatus([]byte("Name:\tx\n"), "VmRSS:"); got != 0 {
		t.Errorf("VmRSS %d", got)
	}
}

func TestProcessIsMeasured(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	cpu := -1
	if all := cpus(); len(all) > 1 {
		cpu = all[1]
	}
	// A child that spins in a child of its own: both count, and both end.
	p, err := start("spin", cpu, nil, "/bin/sh", "-c", "/bin/sh -c 'while :; do :; done' & wait")
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	var u usage
	for u.cpu < 50*time.Millisecond && time.Now().Before(deadline) {
		if u, err = p.measure(); err != nil {
			t.Fatal(err)
		}
	}
	if u.cpu == 0 || u.rss == 0 || u.peak < u.rss {
		t.Errorf("measured %+v", u)
	}
	if status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid())); cpu >= 0 && field(string(status), "Cpus_allowed_list") != fmt.Sprint(cpu) {
		t.Errorf("bound to %q, want %d", field(string(status), "Cpus_allowed_list"), cpu)
	}
	if len(cpus()) < 2 && cpu >= 0 {
		t.Error("the binding stayed on this process")
	}
	p.stop()
	noChildren(t)
	if _, err := p.measure(); err == nil {
		t.Error("a process that has ended is measured")
	}
}

func TestBindSelf(t *testing.T) {
	all := cpus()
	if len(all) < 2 {
		t.Skip("one CPU")
	}
	procs := runtime.GOMAXPROCS(0)
	undo, err := bindSelf(all[1])
	if err != nil {
		t.Fatal(err)
	}
	if got := cpus(); len(got) != 1 || got[0] != all[1] {
		t.Errorf("bound to %v", got)
	}
	undo()
	if got := cpus(); len(got) != len(all) || runtime.GOMAXPROCS(0) != procs {
		t.Errorf("after undo: %v", got)
	}
}
