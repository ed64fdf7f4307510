package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/faultproxy"
	"sluice/internal/redistest"
)

// A ward is two replicas whose Redis falls ill, and healthy upstreams.
type ward struct {
	t      *testing.T // servers end with it
	server *redistest.Server
	net    *faultproxy.Proxy
	crew   crew
}

func admit(t *testing.T, args ...string) *ward {
	t.Helper()
	w := &ward{t: t, server: redistest.Own(t).Start(t, args...)}
	w.net = before(t, w.server)
	_, mock := mocked(t)
	w.crew = muster(t, 2, "redis: {url: \"redis://"+w.net.Addr()+"\"}\ntimeouts: {idle: 1h, total: 1h}\nproviders:\n"+provider("up", mock)+
		"models:\n  - {name: m, deployments: [{provider: up, model: echo}, {provider: up, model: echo?seed=2}, {provider: up, model: echo?seed=3}]}\n"+
		"  - {name: held, provider: up, model: \"echo?chunks=2&stall=1h@2\"}\n")
	return w
}

// before puts a network with faults before a server.
func before(t *testing.T, s *redistest.Server) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Listen(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func (w *ward) network(f faultproxy.Faults) func(*testing.T) func() {
	return func(t *testing.T) func() {
		set := func(f faultproxy.Faults) {
			if err := w.net.Set(f); err != nil {
				t.Fatal(err)
			}
		}
		set(f)
		return func() { set(faultproxy.Faults{}) }
	}
}

// byItself sends a command that stops the server for a while.
func (w *ward) byItself(args ...string) func(*testing.T) func() {
	return func(t *testing.T) func() {
		var cmd sync.WaitGroup
		cmd.Go(func() { _, _ = w.server.Try(args...) })
		t.Cleanup(cmd.Wait)
		return cmd.Wait
	}
}

func (w *ward) commands(begin, heal []string) func(*testing.T) func() {
	return func(t *testing.T) func() {
		w.server.Do(t, begin...)
		return func() {
			if heal != nil {
				w.server.Do(t, heal...)
			}
		}
	}
}

func (w *ward) loads(t *testing.T) func() {
	w.server.Do(t, "DEBUG", "POPULATE", "2000")
	w.server.Do(t, "SAVE")
	w.server.Kill(t)
	w.server.Run(w.t) // slow to load by its arguments
	if !comes(func() bool {
		_, err := w.server.Try("GET", "x")
		return err != nil && strings.HasPrefix(err.Error(), "LOADING")
	}) {
		t.Fatal("it never loads")
	}
	return func() {
		w.server.Do(t, "CONFIG", "SET", "key-load-delay", "0")
		// The next server that is started on this file is to be quick.
		if !comes(func() bool {
			_, err := w.server.Try("EVAL", "for _, k in ipairs(redis.call('keys', 'key:*')) do redis.call('del', k) end", "0")
			return err == nil
		}) {
			t.Fatal("it never ends to load")
		}
		w.server.Do(t, "SAVE")
	}
}

// redisFaults is R18: whatever becomes of Redis, no call fails, hangs or is slower for it, and afterwards the replicas
// agree again on what was said and on what is in flight.
func redisFaults(t *testing.T, rnd *rand.Rand) {
	besides(t)
	hold := sized(700*time.Millisecond, 6*time.Second)
	w := admit(t, "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024", "--maxmemory-policy", "noeviction")
	streams(t, w.crew[0], "held", 3)
	streams(t, w.crew[1], "held", 2)
	for _, f := range shuffled(rnd, []struct {
		name  string
		begin func(*testing.T) (heal func())
	}{
		{"killed", func(t *testing.T) func() { w.server.Kill(t); return func() { w.server.Restart(w.t) } }},
		{"DEBUG SLEEP", w.byItself("DEBUG", "SLEEP", fmt.Sprint(hold.Seconds()))},
		{"CLIENT PAUSE", w.commands([]string{"CLIENT", "PAUSE", fmt.Sprint(hold.Milliseconds())}, nil)},
		{"latency", w.network(faultproxy.Faults{Latency: 500 * time.Millisecond})},
		{"partition", w.network(faultproxy.Faults{Partition: true})},
		{"refused", func(t *testing.T) func() {
			heal := w.network(faultproxy.Faults{Refuse: true})(t)
			w.net.Reset()
			return heal
		}},
		{"reset", func(*testing.T) func() { w.net.Reset(); return func() {} }},
		{"full", w.commands([]string{"CONFIG", "SET", "maxmemory", "1"}, []string{"CONFIG", "SET", "maxmemory", "0"})},
		{"read only", w.commands([]string{"REPLICAOF", "127.0.0.1", "1"}, []string{"REPLICAOF", "NO", "ONE"})},
		{"loading", w.loads},
		{"flushed", w.commands([]string{"FLUSHALL"}, nil)},
	}) {
		t.Run("R18 "+f.name, func(t *testing.T) { w.suffers(t, hold, f.begin) })
	}
}

func shuffled[T any](rnd *rand.Rand, list []T) []T {
	rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// suffers has the load go on before, during and after a fault, several times in a long run.
func (w *ward) suffers(t *testing.T, hold time.Duration, begin func(*testing.T) func()) {
	const first, second = "up/echo?seed=2", "up/echo?seed=3"
	pairs := sized(1, 3)
	var added []time.Duration
	var all []shot
	var soon time.Duration
	for range pairs {
		act(t, w.crew[0], first, "drain")
		act(t, w.crew[1], second, "enable")
		w.agree(t, "draining closed", "free closed")
		l := fire(t, w.crew, 200, "m")
		if long {
			lasts(t, hold)
		}
		fault := time.Now()
		heal := begin(t)
		act(t, w.crew[0], second, "disable") // a word that is said during the fault
		lasts(t, hold)
		healed := time.Now()
		heal()
		soon = max(soon, w.agree(t, "draining closed", "disabled closed"))
		shots := l.end()
		all = append(all, shots...)
		added = append(added, p99(between(shots, fault.Add(time.Second), healed))-p99(between(shots, fault.Add(-hold), fault)))
		act(t, w.crew[1], first, "enable")
		w.agree(t, "free closed", "disabled closed")
	}
	unhurt(t, all)
	if long {
		slices.Sort(added)
		measured(t, median(added) <= 5*time.Millisecond, "p99 of calls after the first second + 5 ms at most", "%+.2f ms (%d pairs: %+.2f to %+.2f ms); both agree %.1f s after it",
			ms(median(added)), pairs, ms(added[0]), ms(added[len(added)-1]), soon.Seconds())
	}
}

// agree waits until both replicas show the same of an operator's words and of what is in flight.
func (w *ward) agree(t *testing.T, first, second string) time.Duration {
	t.Helper()
	began := time.Now()
	w.crew.whole(t)
	for i, g := range w.crew {
		others := []int{2, 3}[i]
		if !comes(func() bool {
			p := look(t, g)
			held := 0
			for _, d := range p.Deployments {
				if strings.Contains(d.Deployment, "stall") {
					held = d.Others
				}
			}
			return p.Shared == "ok" && p.state("up/echo?seed=2") == first && p.state("up/echo?seed=3") == second && held == others
		}) {
			t.Fatalf("replica %d does not come to show %q, %q and %d calls of the other: %+v\n%s", i, first, second, others, look(t, g), tail(g))
		}
	}
	return time.Since(began)
}

// noWait is R18: a Redis that answers late costs a call nothing, because no call asks it. Three gateways take turns: one
// without Redis, one whose Redis answers in time but late, one whose Redis answers too late.
func noWait(t *testing.T, _ *rand.Rand) {
	server := redistest.Own(t).Start(t)
	_, mock := mocked(t)
	late, tooLate := before(t, server), before(t, server)
	for p, d := range map[*faultproxy.Proxy]time.Duration{late: 15 * time.Millisecond, tooLate: 150 * time.Millisecond} {
		if err := p.Set(faultproxy.Faults{Latency: d}); err != nil {
			t.Fatal(err)
		}
	}
	rest := "providers:\n" + provider("up", mock) + "models:\n  - {name: m, strategy: least-busy, deployments: [{provider: up, model: echo}, {provider: up, model: echo?seed=2}]}\n"
	c := crew{started(t, rest), started(t, "redis: {prefix: late, url: \"redis://"+late.Addr()+"\"}\n"+rest), started(t, "redis: {url: \"redis://"+tooLate.Addr()+"\"}\n"+rest)}
	c[1:2].whole(t)
	own := make([][]time.Duration, len(c))
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	n := sized(200, 4000)
	for i := range n * len(c) {
		s := shoot(t.Context(), tr, c[i%len(c)], key, chat("m", "ping", false))
		if s.why != "" {
			t.Fatal(s.why)
		}
		own[i%len(c)] = append(own[i%len(c)], s.own)
	}
	c[1:2].whole(t) // still, or again: its Redis is late, but in time
	a, b, d := median(own[0]), median(own[1]), median(own[2])
	// A wait would be 30 ms and more.
	holds(t, max(b, d) < a+15*time.Millisecond, "no call waits for Redis", "own time of %d calls each, median: %d us without Redis, %d with one 30 ms away, %d with one 300 ms away",
		n, a.Microseconds(), b.Microseconds(), d.Microseconds())
	measured(t, max(b, d) <= a+a/10+20*time.Microsecond, "no difference beyond noise (10 % and 20 us)", "x%.2f and x%.2f; p99 %d, %d, %d us", float64(b)/float64(a), float64(d)/float64(a),
		p99(own[0]).Microseconds(), p99(own[1]).Microseconds(), p99(own[2]).Microseconds())
}

// wrongRedis is R18: a Redis that was never right is no reason not to serve, and is told of once.
func wrongRedis(t *testing.T, _ *rand.Rand) {
	besides(t)
	server := redistest.Own(t).Start(t)
	server.Do(t, "CONFIG", "SET", "requirepass", "right")
	_, mock := mocked(t)
	rest := "providers:\n" + provider("up", mock) + "models:\n  - {name: m, provider: up, model: echo}\n"
	for name, url := range map[string]string{
		"password": "redis://:misremembered@" + server.Addr, "name": "redis://no-such-host.invalid:6379", "port": "redis://127.0.0.1:1", "TLS": "rediss://" + server.Addr,
	} {
		g := started(t, "redis: {url: \""+url+"\"}\n"+rest)
		if !comes(func() bool { return g.find("redis.down") != "" }) {
			t.Errorf("%s: nothing in the log", name)
		}
		lasts(t, sized(700*time.Millisecond, 10*time.Second)) // some reports more
		status, _, out := call(t, g, http.MethodPost, "/v1/chat/completions", chat("m", "ping", false))
		holds(t, status == http.StatusOK, "it serves", "wrong %s: %d", name, status)
		if status != http.StatusOK {
			t.Logf("%s", out)
		}
		p := look(t, g)
		n := g.count("redis.down")
		holds(t, p.Shared == "lost" && n == 1, "it says so: lost, and one line", "wrong %s: %s, %d lines", name, p.Shared, n)
		if strings.Contains(g.log(), "misremembered") && name == "password" {
			t.Errorf("the log tells the password: %s", g.find("misremembered"))
		}
	}
	ok := started(t, "redis: {url: \"redis://:right@"+server.Addr+"\"}\n"+rest)
	crew{ok}.whole(t)
	lasts(t, sized(700*time.Millisecond, 10*time.Second))
	n := ok.count("redis.up")
	holds(t, n == 1 && ok.count("redis.down") == 0, "one line", "the right Redis: %d lines", n)
}

func sentinelFailover(t *testing.T, _ *rand.Rand) {
	besides(t)
	w := redistest.Own(t).Sentinel(t)
	failover(t, fmt.Sprintf("redis: {url: \"redis://%s\", addresses: [%q, %q], sentinel: %s}\n", w.Addrs()[0], w.Addrs()[1], w.Addrs()[2], redistest.MasterName), w.Master, w.Replica)
}

func clusterFailover(t *testing.T, _ *rand.Rand) {
	besides(t)
	c := redistest.Own(t).Cluster(t)
	owner, spare := c.Owner(t, "{sluice}")
	failover(t, fmt.Sprintf("redis: {url: \"redis://%s\", addresses: [\"%s\"], cluster: true}\n", c.Addrs()[0], strings.Join(c.Addrs()[1:], `", "`)), owner, spare)
}

// failover is R19: the master dies under load, and another takes its place.
func failover(t *testing.T, redis string, master, replica *redistest.Server) {
	_, mock := mocked(t)
	c := muster(t, 2, redis+"providers:\n"+provider("up", mock)+"models:\n  - {name: m, deployments: [{provider: up, model: echo}, {provider: up, model: echo?seed=2}]}\n")
	act(t, c[0], "up/echo?seed=2", "drain")
	c.each(t, "it drains", func(p *pool) bool { return p.state("up/echo?seed=2") == "draining closed" })
	l := fire(t, c, sized(100, 200), "m")
	var worst time.Duration
	for range sized(1, 4) {
		began := time.Now()
		master.Kill(t)
		c.each(t, "they notice", func(p *pool) bool { return p.Shared == "lost" })
		c.each(t, "another master is found, and the word is still known", func(p *pool) bool {
			return p.Shared == "ok" && p.Replicas == len(c) && p.state("up/echo?seed=2") == "draining closed"
		})
		worst = max(worst, time.Since(began))
		master.Restart(t)
		if !comes(func() bool { return master.Info("master_link_status") == "up" }) {
			t.Fatal("the old master does not follow the new one")
		}
		master, replica = replica, master
	}
	shots := l.end()
	n, first := wrongs(shots)
	holds(t, n == 0, "client errors <= 0.1 %", "%d of %d calls failed %s", n, len(shots), first)
	measured(t, worst < 30*time.Second, "they share again", "at most %.1f s after the kill", worst.Seconds())
}

// asDocumented runs the example of docs/configuration.md: TLS by an authority of one's own, a user, a password, a database.
func asDocumented(t *testing.T, _ *rand.Rand) {
	besides(t)
	dir := t.TempDir()
	ca := authority(t, dir)
	addr := unused(t)
	_, port, _ := net.SplitHostPort(addr)
	server := redistest.Own(t).Start(t, "--tls-port", port, "--tls-auth-clients", "no", "--tls-cert-file", ca, "--tls-key-file", ca, "--tls-ca-cert-file", ca)
	server.Do(t, "ACL", "SETUSER", "sluice", "on", ">pass", "~{sluice-staging}:*", "&{sluice-staging}:*", "-@all", "+@scripting", "+@hash", "+@sortedset", "+set", "+publish", "+subscribe",
		"+pexpire", "+time", "+ping", "+hello", "+select")
	_, mock := mocked(t)
	c := muster(t, 2, "redis: {url: \"rediss://sluice:${REDIS_PASSWORD:-pass}@"+addr+"/1\", ca: "+ca+", prefix: sluice-staging}\nproviders:\n"+provider("up", mock)+
		"models:\n  - {name: m, provider: up, model: echo}\n")
	act(t, c[0], "up/echo", "drain")
	c.each(t, "it drains", func(p *pool) bool { return p.state("up/echo") == "draining closed" && p.Redis.Listens == 1 })
	for _, g := range c {
		if line := g.find("redis.down"); line != "" {
			t.Error(line)
		}
	}
	holds(t, true, "TLS, a user with the rights that docs/high-availability.md names, a database, a prefix", "2 replicas share by them")
}

// authority writes a certificate for 127.0.0.1 that signs itself, and its key, into one file.
func authority(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(crand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
