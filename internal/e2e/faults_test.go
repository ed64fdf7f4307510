package e2e

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// faults are what may be wrong with an upstream before its first output. The one that keeps a deployment away for a second is rarer than the
// others, or they would hardly be met.
const (
	common = "status=500 | status=429 | hang=head | rst=head | garbage=start | cut=1 | status=503&body=html | drop=head"
	faults = common + " | " + common + " | status=429&retry=1s"
)

// A flood is many calls of all dialects, streamed or not, at a steady rate.
type flood struct {
	made, failed atomic.Int64
	mu           sync.Mutex // guards first
	first        string     // of the failures
}

// run makes n calls (or until ctx ends, when n is 0), each with a text of its own, that must come back.
func (f *flood) run(ctx context.Context, g *gateway, model string, n, rate int) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var all sync.WaitGroup
	defer all.Wait()
	for i := 0; n == 0 || i < n; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		all.Go(func() {
			d, stream := &dialects[i%len(dialects)], i/len(dialects)%2 == 0
			text := fmt.Sprintf("call %d of the flood", i)
			why := d.good(d.ask(context.WithoutCancel(ctx), g, model, text, stream), text, stream)
			f.made.Add(1)
			if why != "" {
				f.failed.Add(1)
				f.mu.Lock()
				defer f.mu.Unlock()
				f.first = cmp.Or(f.first, why)
			}
		})
	}
}

func (f *flood) state() string {
	return fmt.Sprintf("%d calls, %d failed", f.made.Load(), f.failed.Load())
}

// judge holds the flood to 99.9 %. Of the few hundred calls of a short run some may fail all the same.
func (f *flood) judge(t *testing.T, some int64) {
	t.Helper()
	made, failed := f.made.Load(), f.failed.Load()
	holds(t, failed <= max(some, made/1000), ">= 99.9 % succeed", "%d of %d calls failed %s", failed, made, f.first)
}

// faultMix is 20 % of nine faults at two deployments, and a healthy fallback at another vendor.
func faultMix(t *testing.T, seed uint64) {
	a, b, c := startVendor(t, "a", "openai"), startVendor(t, "b", "openai"), startVendor(t, "c", "anthropic")
	for i, v := range []*vendor{a, b} {
		v.script(t, fmt.Sprintf("m = echo?chunks=3 seed=%d rate=0.2 %s", seed>>1+uint64(i), faults))
	}
	g := started(t, "breaker: {open: 100ms, open_max: 1s, probe: 100ms}\nproviders:\n"+a.provider("")+b.provider("")+c.provider("")+
		"models:\n  - {name: m, deployments: [{provider: a, model: m}, {provider: b, model: m}], fallback: [spare], timeouts: {first_token: 500ms, total: 1s}}\n"+
		"  - {name: spare, provider: c, model: echo}\n")
	n := sized(500, 5000)
	var f flood
	shown := progress(10*time.Second, f.state)
	f.run(t.Context(), g, "m", n, sized(150, 100))
	shown()
	f.judge(t, 1) // as near as they come to it
	kinds, ill := map[string]int{}, 0
	for _, v := range []*vendor{a, b} {
		for _, call := range v.calls(t, 1) {
			if call.Fault != "" {
				kinds[call.Fault]++
				ill++
			}
		}
	}
	if ill < n/50 || len(kinds) < 4 {
		t.Errorf("only %d faults were met, of the kinds %v", ill, kinds)
	}
	say("  faults met: %v; answered by the fallback: %d", kinds, len(c.calls(t, 0)))
}

// halfBad is R14: half of the deployments of a model fail a fifth of their calls, and are slow.
func halfBad(t *testing.T, seed uint64) {
	bad, good := startVendor(t, "bad", "openai"), startVendor(t, "good", "openai")
	slow := sized("300ms", "5s")
	bad.script(t, fmt.Sprintf("m1 = echo?latency=%s seed=%d rate=0.2 status=500\nm2 = echo?latency=%[1]s seed=%d rate=0.2 status=500", slow, seed>>1, seed>>1+1))
	good.script(t, "m1 = echo\nm2 = echo")
	g := started(t, "providers:\n"+bad.provider("")+good.provider("")+
		"models:\n  - {name: m, strategy: p2c, deployments: [{provider: bad, model: m1}, {provider: good, model: m1}, {provider: bad, model: m2}, {provider: good, model: m2}]}\n")
	var f flood
	f.run(t.Context(), g, "m", sized(400, 3000), sized(200, 100))
	made, failed := f.made.Load(), f.failed.Load()
	holds(t, failed <= made/100, "<= 1 % of the calls fail", "%d of %d calls failed, %d went to the bad half first or again %s", failed, made, len(bad.calls(t, 0)), f.first)
}

// outage is R15: everything fails. Hardly anything is sent any more, clients are told at once when to come back, and it ends by itself.
func outage(t *testing.T, _ uint64) {
	all := []*vendor{startVendor(t, "a", "openai"), startVendor(t, "b", "openai"), startVendor(t, "c", "anthropic")}
	probe := sized(500*time.Millisecond, 5*time.Second)
	g := started(t, fmt.Sprintf("breaker: {open: %v, probe: %[1]v}\nproviders:\n", probe)+all[0].provider("")+all[1].provider("")+all[2].provider("")+
		"models:\n  - {name: m, deployments: [{provider: a, model: m}, {provider: b, model: m}], fallback: [spare]}\n  - {name: spare, provider: c, model: m}\n")
	for _, v := range all {
		v.script(t, "m = echo?status=503")
	}
	var f flood
	shown := progress(10*time.Second, f.state)
	f.run(t.Context(), g, "m", sized(500, 3000), sized(250, 50))
	shown()
	sent := 0
	for _, v := range all {
		sent += len(v.calls(t, 1))
	}
	asked, own := int(f.made.Load()), []time.Duration{}
	for _, l := range g.callLines() {
		if l.Error == "no_healthy_upstream" {
			own = append(own, time.Duration(l.Own)*time.Microsecond)
		}
	}
	holds(t, 10*sent <= 12*asked, "<= 1.2 upstream calls a request", "%d upstream calls for %d requests: x%.2f", sent, asked, float64(sent)/float64(asked))
	if len(own) < asked/2 {
		t.Errorf("only %d of %d requests were refused at once", len(own), asked)
	}
	measured(t, p99(own) <= 5*time.Millisecond, "own time of a refusal <= 5 ms at p99", "p50 %.2f ms, p99 %.2f ms of %d", ms(p50(own)), ms(p99(own)), len(own))
	d := &dialects[0]
	for range 20 {
		if a := d.ask(t.Context(), g, "m", "ping", true); a.status != 503 || a.header.Get("Retry-After") == "" && g.line(t, a).Error == "no_healthy_upstream" {
			t.Errorf("%d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.body)
		}
	}
	if n := g.metric(t, "sluice_upstream_waiting") + g.metric(t, "sluice_upstream_in_flight"); n != 0 {
		t.Errorf("%v calls wait or are under way", n)
	}
	recovers(t, g, all, probe)
}

// recovers lets all vendors heal, and waits until 20 calls in a row are answered.
func recovers(t *testing.T, g *gateway, all []*vendor, probe time.Duration) {
	t.Helper()
	for _, v := range all {
		v.script(t, "m = echo")
	}
	begin, well, first, row := time.Now(), time.Duration(0), time.Duration(0), 0
	d := &dialects[0]
	eventually(t, "20 answers in a row", func() bool {
		if d.good(d.ask(t.Context(), g, "m", "ping", false), "ping", false) != "" {
			row = 0
			return false
		}
		if first == 0 {
			first = time.Since(begin)
		}
		if row++; row == 1 {
			well = time.Since(begin)
		}
		return row == 20
	})
	measured(t, well <= 2*probe+500*time.Millisecond, "well in 2 probe periods", "first answer after %.1f s, all from %.1f s on; a probe each %v", first.Seconds(), well.Seconds(), probe)
}
