package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ailments are what an upstream can have for a second: scripts, all of them before the first output, so that another can answer; "down" is a
// process that has ended.
var ailments = []string{
	"status=500", "status=503&body=html", "status=529&retry=1s", "status=429", "status=429&retry=2s", "status=401", "status=403", "status=204",
	"hang=head", "hang=start", "rst=head", "drop=head", "garbage=start", "cut=start", "latency=1500ms", "rate=0.5 " + faults, "redirect=http://127.0.0.1:9/", "down",
}

// A storm is R43: each second one ailment at a random one of four upstreams, now and then at all but the last model's, and a new configuration
// every few seconds; and R30's question, whether anything grows. SLUICE_SEED repeats it.
type storm struct {
	rnd     *rand.Rand
	vendors []*vendor
	gateway *gateway
	file    string
	text    []byte // the configuration
	changes int
}

func chaos(t *testing.T, seed uint64) {
	s := storm{rnd: rand.New(rand.NewPCG(seed, 43)), vendors: []*vendor{
		startVendor(t, "a", "openai"), startVendor(t, "b", "openai"), startVendor(t, "c", "anthropic"), startVendor(t, "d", "gemini"),
	}}
	healthy := startVendor(t, "healthy", "anthropic")
	for _, v := range s.vendors {
		v.script(t, "m = echo?chunks=3")
	}
	doc := "breaker: {open: 1s, open_max: 4s, probe: 500ms}\nproviders:\n" + healthy.provider("")
	for _, v := range s.vendors {
		doc += v.provider("")
	}
	doc += "models:\n  - {name: m, deployments: [{provider: a, model: m}, {provider: b, model: m}], fallback: [n, last], timeouts: {first_token: 400ms, total: 1s}}\n" +
		"  - {name: n, strategy: p2c, deployments: [{provider: c, model: m}, {provider: d, model: m}], timeouts: {first_token: 400ms, total: 1s}}\n" +
		"  - {name: last, provider: healthy, model: echo}\n"
	dir := t.TempDir()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if s.gateway, err = serveWhole(bin, dir, preamble(dir, ", pprof: true")+doc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.gateway.stop)
	s.file = filepath.Join(dir, "sluice.yaml")
	if s.text, err = os.ReadFile(s.file); err != nil {
		t.Fatal(err)
	}
	g, rate := s.gateway, sized(60, 50)
	var warm flood
	warm.run(t.Context(), g, "m", 30, rate)
	goroutines, files := s.base(t)

	var f flood
	storm := func(d time.Duration) (heap float64) { // at rest
		ctx, stop := context.WithTimeout(t.Context(), d)
		defer stop()
		ended := make(chan struct{})
		go func() { defer close(ended); f.run(ctx, g, "m", 0, rate) }()
		shown := progress(time.Minute, f.state)
		s.blow(ctx, t)
		<-ended
		shown()
		eventually(t, "all calls to end", func() bool {
			return g.metric(t, "sluice_upstream_in_flight")+g.metric(t, "sluice_upstream_waiting")+g.metric(t, "sluice_requests_in_flight") == 0
		})
		return s.heap(t)
	}
	early, later := sized(4*time.Second, 10*time.Minute), sized(6*time.Second, 20*time.Minute)
	first, last := storm(early), storm(later) // what is kept for good is there after the first
	f.judge(t, 5)                             // a process that ends takes the streams with it that it has begun
	if made := f.made.Load(); made < 100 {
		t.Errorf("only %d calls were made", made)
	}
	grown := (last - first) / later.Hours()
	measured(t, grown <= 1e6, "R30: the heap grows by <= 1 MB an hour", "%.2f MB an hour (%.2f -> %.2f MB in %v)", grown/1e6, first/1e6, last/1e6, later)
	after, open := 0.0, 0.0
	defer func() {
		if t.Failed() {
			t.Logf("goroutines %.0f -> %.0f, open files %.0f -> %.0f; %d configurations", goroutines, after, files, open, s.changes)
		}
	}()
	eventually(t, "goroutines and connections to be as before", func() bool {
		after, open = s.base(t)
		return after <= goroutines+10 && open <= files+10
	})
	holds(t, true, "as before", "goroutines %.0f -> %.0f, open files %.0f -> %.0f; %d configurations", goroutines, after, files, open, s.changes)
	if panics := g.count(`"panic"`); panics > 0 {
		t.Errorf("%d panics", panics)
	}
}

// base is what the gateway holds while nobody calls.
func (s *storm) base(t *testing.T) (goroutines, files float64) {
	t.Helper()
	clients.CloseIdleConnections()
	return s.gateway.metric(t, "go_goroutines"), s.gateway.metric(t, "process_open_fds")
}

// heap is how much of it is in use when garbage has been collected, as the profile itself says: to write one makes garbage, and the more the
// longer a program runs, as it lists all the places that ever needed memory.
func (s *storm) heap(t *testing.T) (inUse float64) {
	t.Helper()
	clients.CloseIdleConnections()
	for range 2 { // what the first collection finalises, the second frees
		_, rest, _ := strings.Cut(s.gateway.operator(t, "/debug/pprof/heap?gc=1&debug=1"), "\n# HeapAlloc = ")
		if _, err := fmt.Sscan(rest, &inUse); err != nil {
			t.Fatalf("a profile of the heap without its size: %v", err)
		}
	}
	return inUse
}

// blow makes each second another upstream ill, and heals the one before.
func (s *storm) blow(ctx context.Context, t *testing.T) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for second := 0; ; second++ {
		i := s.rnd.IntN(len(s.vendors))
		ill := s.vendors[i : i+1]
		if s.rnd.IntN(5) == 0 { // both of the model that is asked for
			ill = s.vendors[:2]
		}
		ailment := ailments[s.rnd.IntN(len(ailments))]
		for _, v := range ill {
			if ailment == "down" {
				v.p.stop()
			} else {
				v.script(t, fmt.Sprintf("m = echo?chunks=3 seed=%d %s", s.rnd.Uint64()>>1, ailment))
			}
		}
		if second%3 == 2 {
			s.changes++
			doc := bytes.Replace(s.text, []byte("provider: a, model: m"), fmt.Appendf(nil, "provider: a, weight: %d, model: m", 1+s.rnd.IntN(9)), 1)
			if err := os.WriteFile(s.file, doc, 0o600); err != nil {
				t.Error(err)
			}
		}
		done := false
		select {
		case <-tick.C:
		case <-ctx.Done():
			done = true
		}
		for _, v := range ill {
			if ailment == "down" {
				v.start(t)
			}
			v.script(t, "m = echo?chunks=3")
		}
		if done {
			return
		}
	}
}
