package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// long says that the reliability checks run in their full size (`make long`, some 25 minutes); else they take seconds, and only what does
// not hang on the machine's speed can fail them.
var long = os.Getenv("SLUICE_LONG") != ""

// sized picks the size of a check.
func sized[T any](short, full T) T {
	if long {
		return full
	}
	return short
}

// seedOf is SLUICE_SEED, which repeats a run, or a fresh one; it is told.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if v, err := strconv.ParseUint(os.Getenv("SLUICE_SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("SLUICE_SEED=%d", seed)
	return seed
}

// TestReliability runs the checks of docs/reliability.md. Each has a gateway and a mock of its own.
func TestReliability(t *testing.T) {
	seed := seedOf(t)
	drip := slowDrip(t, seed) // needs 20 minutes and next to no CPU: the others run beside it
	for _, c := range []struct {
		name string
		run  func(t *testing.T, rnd *rand.Rand)
	}{
		{"R13 huge answers", hugeAnswers},
		{"R28 slow senders", slowSenders},
		{"R29 idle connections", idleConnections},
		{"R31 stalled readers", stalledReaders},
		{"R32 overload", memoryOverload},
		{"R33 large images", largeImages},
		{"R34 drain", drainStreams},
		{"R36 reload", reloads},
	} {
		t.Run(c.name, func(t *testing.T) {
			say("%s", c.name)
			c.run(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
	t.Run("R4 slow drip", drip)
}

// A finding is one figure of a check, beside its bar.
type finding struct {
	check, figure, bar string
	ok                 bool
}

// findings is the table at the end of a long run.
type findings struct {
	mu   sync.Mutex // guards rows
	rows []finding
}

var found findings

// holds notes what must hold on any machine, and fails the test where it does not.
func holds(t *testing.T, ok bool, bar, figure string, args ...any) {
	t.Helper()
	note(t, true, ok, bar, figure, args...)
}

// measured notes a figure of time or memory. It fails the test only in a long run: the short forms are too small to tell.
func measured(t *testing.T, ok bool, bar, figure string, args ...any) {
	t.Helper()
	note(t, long, ok, bar, figure, args...)
}

func note(t *testing.T, strict, ok bool, bar, figure string, args ...any) {
	t.Helper()
	check := strings.ReplaceAll(t.Name()[strings.LastIndex(t.Name(), "/")+1:], "_", " ")
	seen := fmt.Sprintf(figure, args...)
	found.add(check, ok, bar, seen)
	if !ok && strict {
		t.Errorf("%s; wanted: %s", seen, bar)
	}
}

func (f *findings) add(check string, ok bool, bar, figure string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows = append(f.rows, finding{check, figure, bar, ok})
	say("  %s: %s (bar: %s)", check, figure, bar)
}

// print writes the table.
func (f *findings) print(w io.Writer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(f.rows, func(a, b finding) int { return cmp.Compare(order(a.check), order(b.check)) })
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "\ncheck\tseen\tbar\t")
	for _, r := range f.rows {
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\n", r.check, r.figure, r.bar, map[bool]string{true: "ok", false: "MISSED"}[r.ok])
	}
	_ = tab.Flush()
}

// order is a check's number.
func order(check string) int {
	n, _, _ := strings.Cut(strings.TrimPrefix(check, "R"), " ")
	i, _ := strconv.Atoi(n)
	return i
}

// say tells a person at a long run how far it is.
func say(format string, args ...any) {
	if long {
		fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
	}
}

// progress says something each few seconds until its result is called.
func progress(every time.Duration, state func() string) (stop func()) {
	if !long {
		return func() {}
	}
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				say("  … %s", state())
			case <-done:
				return
			}
		}
	})
	return func() { close(done); ended.Wait() }
}

// rig is a gateway before a mock, for one check. extra models are NAME: SCRIPT, offered over OpenAI's format.
func rig(t *testing.T, settings string, models map[string]string) *gateway {
	t.Helper()
	g, _ := rigAndMock(t, settings, models)
	return g
}

func rigAndMock(t *testing.T, settings string, models map[string]string, args ...string) (g *gateway, mock string) {
	t.Helper()
	p, addr, err := startMock(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	mock = "http://" + addr
	var b strings.Builder
	b.WriteString(settings + mockConfig(mock))
	for name, script := range models {
		fmt.Fprintf(&b, "  - {name: %s, provider: oai, model: %q}\n", name, script)
	}
	return started(t, b.String()), mock
}

// chat is the body of a call.
func chat(model, text string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, stream, text)
}

// rawCall is a whole request as it goes over the wire.
func rawCall(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, key, len(body), body)
}

// memory gives a process's resident bytes now ("VmRSS:") or at most since the last resetPeak ("VmHWM:").
func memory(t *testing.T, p *process, which string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skipf("memory is read from /proc: %v", err)
	}
	_, rest, _ := strings.Cut(string(b), which)
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// resetPeak makes VmHWM begin again from what is resident now.
func resetPeak(t *testing.T, p *process) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Skipf("the peak of memory cannot be reset: %v", err)
	}
}

// settled waits until a process's memory moves by less than 1 % in two seconds, 20 s at most, and gives it.
func settled(t *testing.T, p *process) int64 {
	t.Helper()
	tick := time.NewTicker(sized(100*time.Millisecond, 2*time.Second))
	defer tick.Stop()
	last := memory(t, p, "VmRSS:")
	for range 10 {
		<-tick.C
		now := memory(t, p, "VmRSS:")
		if d := now - last; d < last/100 && d > -last/100 {
			return now
		}
		last = now
	}
	return last
}

// A window is what good traffic met.
type window struct {
	took   []time.Duration // of each call, from when it was due: a late start counts
	failed int
	first  string // of the failures
}

// traffic makes calls at a steady rate for a while.
func traffic(t *testing.T, g *gateway, rate int, d time.Duration) window {
	t.Helper()
	const workers = 16
	tr := &http.Transport{MaxIdleConnsPerHost: workers}
	defer tr.CloseIdleConnections()
	body := chat("oai-echo", "ping", false)
	step := time.Second * workers / time.Duration(rate)
	var mu sync.Mutex // guards sum
	var sum window
	var all sync.WaitGroup
	begin := time.Now()
	for i := range workers {
		all.Go(func() {
			var own window
			for due := begin.Add(step * time.Duration(i) / workers); due.Sub(begin) < d; due = due.Add(step) {
				select {
				case <-time.After(time.Until(due)):
				case <-t.Context().Done():
					return
				}
				if why := goodCall(t.Context(), tr, g, body); why != "" {
					own.failed++
					own.first = why
				}
				own.took = append(own.took, time.Since(due))
			}
			mu.Lock()
			defer mu.Unlock()
			sum.took = append(sum.took, own.took...)
			sum.failed += own.failed
			sum.first = cmp.Or(sum.first, own.first)
		})
	}
	all.Wait()
	return sum
}

// goodCall makes one call and says what was wrong with the answer.
func goodCall(ctx context.Context, tr *http.Transport, g *gateway, body string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(out, []byte("ping")) {
		return fmt.Sprintf("%d %v %.200s", resp.StatusCode, err, out)
	}
	return ""
}

// beside compares the p99 of good traffic with a disturbance and without, in alternating windows of one run: the machine's own
// speed drifts, and absolute times say nothing. disturb returns once the disturbance is at its height, with what ends it.
func beside(t *testing.T, g *gateway, pairs int, length time.Duration, disturb func() (stop func())) (ratio float64, seen string) {
	t.Helper()
	rate := sized(200, 400)
	traffic(t, g, rate, sized(250*time.Millisecond, 3*time.Second)) // warm
	var ratios []float64
	var plain, with window
	stop := progress(20*time.Second, func() string { return fmt.Sprintf("%d of %d pairs of windows", len(ratios), pairs) })
	defer stop()
	for range pairs {
		a := traffic(t, g, rate, length)
		end := disturb()
		b := traffic(t, g, rate, length)
		end()
		ratios = append(ratios, float64(p99(b.took))/float64(p99(a.took)))
		plain.add(a)
		with.add(b)
	}
	holds(t, plain.failed+with.failed == 0, "0 errors of good traffic", "%d errors of %d calls %s", plain.failed+with.failed, len(plain.took)+len(with.took), cmp.Or(plain.first, with.first))
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	if len(ratios)%2 == 0 {
		median = (ratios[len(ratios)/2-1] + median) / 2
	}
	return median, fmt.Sprintf("x%.2f (pairs %.2f to %.2f; all windows: p99 %.1f -> %.1f ms, p50 %.2f -> %.2f ms)",
		median, ratios[0], ratios[len(ratios)-1], ms(p99(plain.took)), ms(p99(with.took)), ms(p50(plain.took)), ms(p50(with.took)))
}

func (w *window) add(o window) {
	w.took = append(w.took, o.took...)
	w.failed += o.failed
	w.first = cmp.Or(w.first, o.first)
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

func p50(d []time.Duration) time.Duration { return quantile(d, 0.5) }
func p99(d []time.Duration) time.Duration { return quantile(d, 0.99) }
func ms(d time.Duration) float64          { return float64(d.Microseconds()) / 1e3 }
func mb(n int64) float64                  { return float64(n) / 1e6 }
