package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/redistest"
)

// redisLine is the configuration's line of a Redis of the test's own.
func redisLine(s *redistest.Server) string { return "redis: {url: \"redis://" + s.Addr + "\"}\n" }

// leastBusySpread: four replicas that see each other late keep the calls in flight equal over deployments of which one is
// ten times as slow as another. What is in flight is what the mock had, moment by moment. Ten calls for each replica and
// deployment, as docs/routing.md has it: a whole number each.
func leastBusySpread(t *testing.T, _ *rand.Rand) {
	const replicas, each = 4, 10
	service := []int{200, 400, 800, 1400, 2000} // ms
	_, mock := mocked(t)
	var b strings.Builder
	b.WriteString(redisLine(redistest.Own(t).Start(t)) + "providers:\n" + provider("up", mock) + "models:\n  - name: m\n    strategy: least-busy\n    deployments:\n")
	for _, ms := range service {
		fmt.Fprintf(&b, "      - {provider: up, model: \"echo?latency=%dms\"}\n", ms)
	}
	c := muster(t, replicas, b.String())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	var mu sync.Mutex // guards wrong
	var wrong string
	tr := &http.Transport{MaxIdleConnsPerHost: 100}
	defer tr.CloseIdleConnections()
	begin := time.Now()
	for i := range replicas * each * len(service) {
		clients.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				if s := shoot(context.WithoutCancel(ctx), tr, c[n%replicas], key, chat("m", "ping", false)); s.why != "" {
					mu.Lock()
					wrong = s.why
					mu.Unlock()
				}
			}
		})
	}
	lasts(t, sized(9*time.Second, time.Minute))
	end := time.Now()
	stop()
	clients.Wait()
	holds(t, wrong == "", "0 errors", "%q", wrong)
	worst, mean := spread(logged(t, mock), begin.Add(3*time.Second), end)
	holds(t, worst < 0.5, "far from what chance would give", "the worst deployment is off by %.1f %% in the mean over time", 100*worst)
	measured(t, worst <= 0.15, "the worst deployment within 15 % of its share, in the mean over time", "%.1f %%; by deployment, in the mean over time: %.1f", 100*worst, mean)
}

// spread is by how much the worst deployment's calls in flight differ from an equal share, in the mean over moments 10 ms
// apart; and what each had in the mean.
func spread(calls []upstreamCall, from, to time.Time) (worst float64, mean []float64) {
	moments := int(to.Sub(from) / (10 * time.Millisecond))
	flying := map[string][]int{}
	for _, c := range calls {
		if flying[c.Model] == nil {
			flying[c.Model] = make([]int, moments)
		}
		first := int(c.Start.Sub(from)/(10*time.Millisecond)) + 1
		last := int(c.Start.Add(time.Duration(c.End*1e6)).Sub(from) / (10 * time.Millisecond))
		for i := max(first, 0); i <= min(last, moments-1); i++ {
			flying[c.Model][i]++
		}
	}
	for i := range moments {
		total, off := 0, 0.0
		for _, n := range flying {
			total += n[i]
		}
		share := float64(total) / float64(len(flying))
		for _, n := range flying {
			off = max(off, float64(n[i])/share-1, 1-float64(n[i])/share)
		}
		worst += off / float64(moments)
	}
	for _, n := range flying {
		sum := 0
		for _, x := range n {
			sum += x
		}
		mean = append(mean, float64(sum)/float64(moments))
	}
	slices.Sort(mean)
	return worst, mean
}

// killedReplica is R21: what a dead replica had in flight is nobody's burden for long, and what the replicas have learned
// outlives them all.
func killedReplica(t *testing.T, _ *rand.Rand) {
	besides(t)
	n := sized(20, 500)
	_, mock := mocked(t)
	config := redisLine(redistest.Own(t).Start(t)) + "timeouts: {idle: 1h, total: 1h}\nbreaker: {open: 1m}\nproviders:\n" + provider("up", mock) + provider("gone", "127.0.0.1:1") +
		"models:\n  - {name: m, provider: up, model: \"echo?latency=50ms\"}\n  - {name: gone, provider: gone, model: echo}\n  - {name: held, provider: up, model: \"echo?chunks=2&stall=1h@2\"}\n"
	c := muster(t, 3, config)
	streams(t, c[0], "held", n)
	c[1:].each(t, "they see what the first has in flight", func(p *pool) bool { _, others := p.calls(); return others == n })
	for range 5 {
		call(t, c[1], http.MethodPost, "/v1/chat/completions", chat("m", "ping", false))
		call(t, c[1], http.MethodPost, "/v1/chat/completions", chat("gone", "ping", false))
	}
	known := func(p *pool) bool {
		return strings.HasSuffix(p.state("gone/echo"), " open") && slices.ContainsFunc(p.Deployments, func(d deployment) bool { return strings.Contains(d.Deployment, "latency") && d.Latency > 0 })
	}
	c.each(t, "all know of the latency and the breaker", known)
	c[:1].kill()
	took := c[1:].each(t, "its calls are gone", func(p *pool) bool { _, others := p.calls(); return others == 0 && p.Replicas == 2 })
	holds(t, true, "they are freed", "%d calls of a killed replica", n)
	measured(t, took <= 10*time.Second, "all freed <= 10 s", "%.1f s", took.Seconds())
	c[1:].kill()
	again := muster(t, 3, config)
	again.each(t, "after a restart of all they know it still", known)
	holds(t, true, "breakers and latencies outlive a restart of all", "known to each of %d new ones before its first call", len(again))
}

// sharedBreaker: what one replica finds broken, all leave alone; one call in each span probes it, whichever makes it; and
// all come back when it is well.
func sharedBreaker(t *testing.T, _ *rand.Rand) {
	besides(t)
	span := sized(1500*time.Millisecond, 5*time.Second)
	_, good := mocked(t)
	sick, bad := mocked(t, "--default", "status=500")
	c := muster(t, 4, redisLine(redistest.Own(t).Start(t))+fmt.Sprintf("breaker: {open: %v, open_max: %v, probe: %v}\nproviders:\n", span, span, span)+provider("bad", bad)+provider("good", good)+
		"models:\n  - {name: m, strategy: priority, deployments: [{provider: bad, model: echo}, {provider: good, model: echo}]}\n")
	var all []shot
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for look(t, c[0]).state("bad/echo") == "free closed" { // one replica alone finds out
		all = append(all, shoot(t.Context(), tr, c[0], key, chat("m", "ping", false)))
		if len(all) > 100 {
			t.Fatal("the breaker does not open")
		}
	}
	soon := c.each(t, "all know that it is broken", func(p *pool) bool { return !strings.HasSuffix(p.state("bad/echo"), " closed") })
	known := time.Now()
	before := len(logged(t, bad))
	l := fire(t, c, 200, "m")
	spans := sized(3, 12)
	lasts(t, time.Duration(spans)*span)
	passed := time.Since(known)
	probes := len(logged(t, bad)) - before
	sick.stop()
	most := int(passed/span) + 2 // the first may be used late, the last at once
	holds(t, probes >= 1 && probes <= most, "one probe in each span, of all replicas", "%d in %.1f spans of %v under 200 calls a second to 4 replicas", probes, float64(passed)/float64(span), span)
	measured(t, soon < time.Second, "open on all within a moment", "%.0f ms", ms(soon))
	mocked(t, "--listen", bad)
	soon = c.each(t, "all take it back", func(p *pool) bool { return p.state("bad/echo") == "free closed" })
	measured(t, soon <= 2*span+span, "taken back in two probe periods (and one that may have begun before it was well)", "%.1f spans after it was well", float64(soon)/float64(span))
	unhurt(t, append(all, l.end()...))
}

// operatorsWord: what an operator says to one replica holds on all, also on one that comes later.
func operatorsWord(t *testing.T, _ *rand.Rand) {
	besides(t)
	_, mock := mocked(t)
	config := redisLine(redistest.Own(t).Start(t)) + "breaker: {open: 1m}\nproviders:\n" + provider("up", mock) + provider("gone", "127.0.0.1:1") +
		"models:\n  - {name: m, deployments: [{provider: up, model: echo}, {provider: up, model: echo?seed=2}]}\n  - {name: gone, provider: gone, model: echo}\n"
	c := muster(t, 3, config)
	for range 5 {
		call(t, c[0], http.MethodPost, "/v1/chat/completions", chat("gone", "ping", false))
	}
	c.each(t, "all know that it is gone", func(p *pool) bool { return strings.HasSuffix(p.state("gone/echo"), " open") })
	var worst time.Duration
	for i, s := range []struct{ deployment, action, want string }{
		{"up/echo", "drain", "draining closed"},
		{"up/echo", "disable", "disabled closed"},
		{"up/echo", "enable", "free closed"},
		{"up/echo", "drain", "draining closed"},
		{"up/echo?seed=2", "disable", "disabled closed"},
		{"gone/echo", "reset", "free closed"},
	} {
		act(t, c[i%len(c)], s.deployment, s.action)
		worst = max(worst, c.each(t, s.deployment+" is "+s.want, func(p *pool) bool { return p.state(s.deployment) == s.want }))
	}
	measured(t, worst < time.Second, "on all within a moment", "%.0f ms at most", ms(worst))
	later := muster1(t, config, c)
	later.each(t, "one that comes later knows it, too", func(p *pool) bool {
		return p.state("up/echo") == "draining closed" && p.state("up/echo?seed=2") == "disabled closed" && p.state("gone/echo") == "free closed"
	})
	status, _, _ := call(t, later[len(later)-1], http.MethodPost, "/v1/chat/completions", chat("m", "ping", false))
	holds(t, status == http.StatusServiceUnavailable, "a later replica does as the others do", "%d for a model whose deployments drain or are disabled", status)
}

// muster1 adds a replica to a crew.
func muster1(t *testing.T, config string, c crew) crew {
	t.Helper()
	c = append(slices.Clone(c), started(t, config))
	c.whole(t)
	return c
}

// revokedKeys is R37: a key that is revoked on one replica is refused by all.
func revokedKeys(t *testing.T, rnd *rand.Rand) {
	besides(t)
	server := redistest.Own(t).Start(t)
	_, mock := mocked(t)
	n := sized(12, 150)
	var b strings.Builder
	for i := range 2 * n {
		fmt.Fprintf(&b, "  - {name: k%d, key: %s, models: [\"*\"]}\n", i, spare(i))
	}
	b.WriteString(redisLine(server) + "providers:\n" + provider("up", mock) + "models:\n  - {name: m, provider: up, model: echo}\n")
	c := muster(t, 4, b.String())
	l := fire(t, c, 100, "m")
	c.each(t, "they hear news", func(p *pool) bool { return p.Redis.Listens == 1 })
	heard := c.revoke(t, rnd, 0, n)
	measured(t, p99(heard) <= time.Second, "p99 <= 1 s", "%d keys, 4 replicas: p99 %.0f ms, p50 %.0f ms", n, ms(p99(heard)), ms(p50(heard)))
	server.Do(t, "ACL", "SETUSER", "default", "-subscribe") // commands work, news does not
	_, _ = server.Try("CLIENT", "KILL", "TYPE", "pubsub")
	c.each(t, "they hear no news", func(p *pool) bool { return p.Shared == "ok" })
	told := c.revoke(t, rnd, n, 2*n)
	listeners := strings.Count(server.Do(t, "CLIENT", "LIST", "TYPE", "pubsub"), "addr=")
	holds(t, listeners == 0, "the channel was cut", "%d listen", listeners)
	measured(t, p99(told) <= 5*time.Second, "p99 <= 5 s with the channel cut", "p99 %.0f ms, p50 %.0f ms", ms(p99(told)), ms(p50(told)))
	unhurt(t, l.end())
}

// spare is a client's key.
func spare(i int) string { return fmt.Sprintf("sk-e2e-%d-3b1d7f9a2c8e4d06b5a1c3e7f90d2b4a", i) }

// revoke has one replica after the other revoke a key, and gives how long it took until all others refused it.
func (c crew) revoke(t *testing.T, rnd *rand.Rand, from, to int) (took []time.Duration) {
	t.Helper()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	use := func(g *gateway, i int) string {
		return shoot(t.Context(), tr, g, spare(i), chat("m", "ping", false)).why
	}
	for i := from; i < to; i++ {
		for _, g := range c {
			if why := use(g, i); why != "" {
				t.Fatalf("before it is revoked: %s", why)
			}
		}
		by := rnd.IntN(len(c))
		began := time.Now()
		if status, out := operate(t, c[by], http.MethodPost, "/admin/keys/revoke", fmt.Sprintf(`{"key":"k%d"}`, i)); status != http.StatusOK {
			t.Fatalf("revoke: %d %s", status, out)
		}
		if why := use(c[by], i); !strings.HasPrefix(why, "401") {
			t.Fatalf("the replica that revoked it: %q", why)
		}
		for _, g := range c {
			if !comes(func() bool { return strings.HasPrefix(use(g, i), "401") }) {
				t.Fatal("it is never refused")
			}
		}
		took = append(took, time.Since(began))
	}
	return took
}

// rollingUpdate is R35, by two replicas and more: each is taken out of the load balancer's turn, told to stop, and replaced, as
// docs/high-availability.md tells to. No call fails, no stream is cut, and what was known before all were replaced is known after.
func rollingUpdate(t *testing.T, _ *rand.Rand) {
	besides(t)
	_, mock := mocked(t)
	config := redisLine(redistest.Own(t).Start(t)) + "providers:\n" + provider("up", mock) +
		"models:\n  - {name: m, deployments: [{provider: up, model: echo}, {provider: up, model: echo?seed=2}]}\n  - {name: long, provider: up, model: \"story?words=40&chunks=20&pace=50ms\"}\n"
	c := muster(t, 3, config)
	act(t, c[0], "up/echo?seed=2", "drain")
	l := fire(t, c, sized(100, 300), "m")
	n, cut := sized(5, 30), 0
	for i := range c {
		ends := make(chan bool, n)
		for range n {
			go func() { ends <- whole(t, c[i]) }()
		}
		rest := slices.Delete(slices.Clone(c), i, i+1)
		if !comes(func() bool { own, _ := look(t, c[i]).calls(); return own >= n }) {
			t.Fatal("the streams do not begin")
		}
		l.to.Store(&rest)
		if !comes(func() bool { own, _ := look(t, c[i]).calls(); return own <= n }) {
			t.Fatal("it has calls still")
		}
		c[i].stop()
		for range n {
			if !<-ends {
				cut++
			}
		}
		c[i] = started(t, config)
		if !comes(func() bool {
			status, _, _ := call(t, c[i], http.MethodGet, "/ready", "")
			return status == http.StatusOK
		}) {
			t.Fatal("it is never ready")
		}
		all := slices.Clone(c)
		l.to.Store(&all)
	}
	c.each(t, "the new ones know what was said to an old one", func(p *pool) bool { return p.Replicas == len(c) && p.state("up/echo?seed=2") == "draining closed" })
	unhurt(t, l.end())
	holds(t, cut == 0, "no stream is cut", "%d of %d streams cut while all %d replicas were replaced", cut, n*len(c), len(c))
}

// whole makes a call that streams for a second and tells whether all of it came.
func whole(t *testing.T, g *gateway) bool {
	_, _, out := call(t, g, http.MethodPost, "/v1/chat/completions", chat("long", "tell", true))
	return strings.HasSuffix(strings.TrimSpace(string(out)), "data: [DONE]")
}
