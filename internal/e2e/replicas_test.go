package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReplicas runs several gateways that share a Redis, as docs/high-availability.md tells to. What a replica does, the others
// must show in the end on any machine; how soon is held to its bar in a long run only.
func TestReplicas(t *testing.T) {
	seed := seedOf(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, rnd *rand.Rand)
	}{
		{"R18 Redis at fault", redisFaults},
		{"R18 no wait for Redis", noWait},
		{"R18 wrong Redis", wrongRedis},
		{"R18 Redis as documented", asDocumented},
		{"R19 Sentinel failover", sentinelFailover},
		{"R19 cluster failover", clusterFailover},
		{"R21 killed replica", killedReplica},
		{"R35 rolling update", rollingUpdate},
		{"R37 revoked keys", revokedKeys},
		{"pool least-busy", leastBusySpread},
		{"pool one breaker", sharedBreaker},
		{"pool operators' words", operatorsWord},
	} {
		t.Run(c.name, func(t *testing.T) {
			say("%s", c.name)
			c.run(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

// A crew is replicas of one gateway.
type crew []*gateway

// muster starts n replicas of a configuration, all at once, and waits until each knows of all.
func muster(t *testing.T, n int, config string) crew {
	t.Helper()
	c := make(crew, n)
	errs := make([]error, n)
	dirs := make([]string, n)
	var all sync.WaitGroup
	for i := range c {
		dirs[i] = t.TempDir()
		all.Go(func() { c[i], errs[i] = serve(dirs[i], config) })
	}
	all.Wait()
	for _, g := range c {
		if g != nil {
			t.Cleanup(g.stop)
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	c.whole(t)
	return c
}

// whole waits until each replica knows of all, and gives how long that took.
func (c crew) whole(t *testing.T) time.Duration {
	t.Helper()
	return c.each(t, "all replicas know of all", func(v *pool) bool { return v.Shared == "ok" && v.Replicas == len(c) })
}

// each waits until every replica's picture is as wanted.
func (c crew) each(t *testing.T, what string, ok func(*pool) bool) time.Duration {
	t.Helper()
	began := time.Now()
	for i, g := range c {
		var last *pool
		if !comes(func() bool { last = look(t, g); return ok(last) }) {
			t.Fatalf("replica %d: waited in vain: %s; it shows %+v\n%s", i, what, last, tail(g))
		}
	}
	return time.Since(began)
}

func tail(g *gateway) string {
	lines := strings.Split(g.log(), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// kill ends all as a crash does.
func (c crew) kill() {
	for _, g := range c {
		_ = g.cmd.Process.Kill()
	}
	for _, g := range c {
		<-g.done
	}
}

// comes asks again and again; false: in vain.
func comes(ok func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if ok() {
			return true
		}
	}
	return false
}

// A pool is what GET /admin/upstreams shows.
type pool struct {
	Replicas    int
	Shared      string
	Redis       struct{ Listens int }
	Deployments []deployment
}

type deployment struct {
	Deployment, State, Breaker string
	InFlight                   int     `json:"in_flight"`
	Others                     int     `json:"in_flight_others"`
	Latency                    float64 `json:"latency_ms"`
}

// state is a deployment's state and breaker, in a word.
func (p *pool) state(deployment string) string {
	for _, d := range p.Deployments {
		if d.Deployment == deployment {
			return d.State + " " + d.Breaker
		}
	}
	return ""
}

// calls is how many are in flight from the replica and from others.
func (p *pool) calls() (own, others int) {
	for _, d := range p.Deployments {
		own += d.InFlight
		others += d.Others
	}
	return own, others
}

func look(t *testing.T, g *gateway) *pool {
	t.Helper()
	p := new(pool)
	if status, out := operate(t, g, http.MethodGet, "/admin/upstreams", ""); status != http.StatusOK || json.Unmarshal(out, p) != nil {
		t.Fatalf("%d %s", status, out)
	}
	return p
}

// operate does as an operator does.
func operate(t *testing.T, g *gateway, method, path, body string) (int, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+g.admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

func act(t *testing.T, g *gateway, deployment, action string) {
	t.Helper()
	if status, out := operate(t, g, http.MethodPost, "/admin/upstreams", fmt.Sprintf(`{"deployment":%q,"action":%q}`, deployment, action)); status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", action, deployment, status, out)
	}
}

// A shot is one call of a load.
type shot struct {
	due  time.Time
	took time.Duration // from when it was due: a late start counts
	own  time.Duration // X-Sluice-Overhead-Us
	why  string        // what was wrong with it
}

// A load is calls at a steady rate, each to the next replica, as a load balancer would spread them.
type load struct {
	to    atomic.Pointer[crew] // those that take calls now
	stop  context.CancelFunc
	all   sync.WaitGroup
	mu    sync.Mutex // guards shots
	shots []shot
}

// fire begins a load.
func fire(t *testing.T, c crew, rate int, model string) *load {
	t.Helper()
	const workers = 32
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	l.to.Store(&c)
	t.Cleanup(func() { l.end() })
	tr := &http.Transport{MaxIdleConnsPerHost: workers}
	body := chat(model, "ping", false)
	step := time.Second / time.Duration(rate)
	begin := time.Now()
	var turn atomic.Int64
	for range workers {
		l.all.Go(func() {
			for {
				n := turn.Add(1) - 1
				due := begin.Add(time.Duration(n) * step)
				select {
				case <-time.After(time.Until(due)):
				case <-ctx.Done():
					return
				}
				to := *l.to.Load()
				s := shoot(context.WithoutCancel(ctx), tr, to[int(n)%len(to)], key, body)
				s.due, s.took = due, time.Since(due)
				l.mu.Lock()
				l.shots = append(l.shots, s)
				l.mu.Unlock()
			}
		})
	}
	return l
}

// shoot makes one call that must be answered within ten seconds.
func shoot(ctx context.Context, tr *http.Transport, g *gateway, secret, body string) (s shot) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return shot{why: err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return shot{why: err.Error()}
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(out, []byte("ping")) {
		return shot{why: fmt.Sprintf("%d %v %.200s", resp.StatusCode, err, out)}
	}
	us, _ := strconv.Atoi(resp.Header.Get("X-Sluice-Overhead-Us"))
	return shot{own: time.Duration(us) * time.Microsecond}
}

// end stops a load and gives all of it.
func (l *load) end() []shot {
	l.stop()
	l.all.Wait()
	return l.shots
}

// wrongs counts calls that went wrong, and gives the first reason.
func wrongs(shots []shot) (n int, first string) {
	for i := range shots {
		if shots[i].why != "" {
			n++
			first = cmp.Or(first, shots[i].why)
		}
	}
	return n, first
}

// between gives the times of the calls that were due from one moment to another.
func between(shots []shot, from, to time.Time) (took []time.Duration) {
	for i := range shots {
		if s := &shots[i]; !s.due.Before(from) && s.due.Before(to) {
			took = append(took, s.took)
		}
	}
	return took
}

// unhurt notes that no call of a load failed.
func unhurt(t *testing.T, shots []shot) {
	t.Helper()
	n, first := wrongs(shots)
	holds(t, n == 0 && len(shots) > 0, "0 errors, 0 hung", "%d of %d calls failed %s", n, len(shots), first)
}

// besides lets a short test run beside others that mostly wait, too. Figures are taken alone.
func besides(t *testing.T) {
	if !long {
		t.Parallel()
	}
}

// lasts waits: what is going on is to go on for so long.
func lasts(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// streams opens calls that stay in flight until the test or the replica ends. Each has begun to answer.
func streams(t *testing.T, g *gateway, model string, n int) {
	t.Helper()
	for range n {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(chat(model, "one two three", true)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cancel(); resp.Body.Close() })
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("a stream: %d", resp.StatusCode)
		}
	}
}

// An upstreamCall is an entry of a mock's log.
type upstreamCall struct {
	Start time.Time
	Model string
	End   float64 `json:"end_ms"`
}

// logged is what a mock has served since it started.
func logged(t *testing.T, mock string) []upstreamCall {
	t.Helper()
	resp, err := http.Get("http://" + mock + "/log") //nolint:noctx // a test's own mock
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var log struct {
		Dropped int
		Entries []upstreamCall
	}
	if err := json.NewDecoder(resp.Body).Decode(&log); err != nil || log.Dropped > 0 {
		t.Fatalf("the mock's log: %v, %d dropped", err, log.Dropped)
	}
	return log.Entries
}

// mocked starts a mock that remembers all, and ends with the test.
func mocked(t *testing.T, args ...string) (p *process, addr string) {
	t.Helper()
	p, addr, err := startMock(t.TempDir(), append([]string{"--log", "1000000"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p, addr
}

// provider is a provider's line of the configuration.
func provider(name, mock string) string {
	return fmt.Sprintf("  - {name: %s, kind: openai, base_url: \"http://%s/v1\", api_key: x, allow_private: [127.0.0.1/32], models: []}\n", name, mock)
}

// median of durations, 0 of none.
func median(d []time.Duration) time.Duration { return quantile(slices.Clone(d), 0.5) }
