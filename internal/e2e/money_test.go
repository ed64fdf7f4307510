package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice/internal/pgtest"
)

// TestMoney is the proof of the accounts: whatever happens, the books agree with the upstreams' logs, and no budget is overspent. SQLite and
// PostgreSQL go through the same checks.
func TestMoney(t *testing.T) {
	seed := seedOf(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, rnd *rand.Rand, dsn string)
		both bool // stores also in the short form, because the check is about what they do
	}{
		{"books", randomCalls, true},
		{"waste", wasted, false},
		{"R20 races", racesMemory, false},
		{"R21 held", heldByTheDead, true},
		{"R23 paces", paces, false},
		{"R24 killed", killedUnderLoad, true},
		{"R25 store away", storeAway, true},
		{"R25 disk full", diskFull, false},
		{"R27 damaged log", damagedLog, false},
		{"R39 twins", twins, false},
	} {
		for _, store := range []string{"SQLite", "PostgreSQL"} {
			if store == "PostgreSQL" && !c.both && !long {
				continue
			}
			t.Run(c.name+", "+store, func(t *testing.T) {
				say("%s, %s", c.name, store)
				dsn := ""
				if store == "PostgreSQL" {
					dsn = pgtest.Database(t)
				}
				c.run(t, rand.New(rand.NewPCG(seed, 0)), dsn)
			})
		}
	}
}

// moneyKey is a key of these checks.
func moneyKey(name string) string { return fmt.Sprintf("sk-e2e-%x", sha256.Sum256([]byte(name))) }

// till is the keys' lines of a configuration: one without a budget, one that never reaches its own, one in dollars and one in tokens that do.
func till() string {
	return fmt.Sprintf("  - {name: free, key: %s}\n", moneyKey("free")) +
		fmt.Sprintf("  - {name: rich, key: %s, rules: [{name: q, budgets: [{dollars: 1000, every: quarter}]}]}\n", moneyKey("rich")) +
		fmt.Sprintf("  - {name: tight, key: %s, rules: [{name: q, budgets: [{dollars: 0.004, every: quarter}]}]}\n", moneyKey("tight")) +
		fmt.Sprintf("  - {name: tokens, key: %s, rules: [{name: q, budgets: [{tokens: 6000, every: quarter}]}]}\n", moneyKey("tokens"))
}

var tillKeys = []string{moneyKey("free"), moneyKey("rich"), moneyKey("tight"), moneyKey("tokens")}

// newShop has three upstreams, which fail in all the ways that a call can survive, and in those that it cannot.
func newShop(t *testing.T, rnd *rand.Rand, dsn, settings string) *shop {
	t.Helper()
	s := &shop{t: t, dsn: dsn, vendors: []*vendor{startVendor(t, "a", "openai"), startVendor(t, "b", "anthropic"), startVendor(t, "c", "gemini")}}
	for _, v := range s.vendors {
		seed := rnd.Uint64() >> 1
		v.script(t, "g = echo\ns = echo?pace=3ms\nn = echo?usage=none\nu = usage\n"+
			fmt.Sprintf("f = echo?seed=%d rate=0.4 status=500 | status=429 | rst=head | garbage=start | cut=1 | drop=head | status=503&body=html\n", seed)+
			fmt.Sprintf("x = echo?pace=1ms seed=%d rate=0.5 cut=50%% | drop=60%% | rst=30%% | error=70%% | garbage=50%%\n", seed))
	}
	deployments := func(model string) string {
		var all []string
		for _, v := range s.vendors {
			all = append(all, fmt.Sprintf("{provider: %s, model: %s, %s}", v.name, model, tillPrice))
		}
		return "deployments: [" + strings.Join(all, ", ") + "]"
	}
	s.config = till() + settings + "breaker: {open: 50ms, open_max: 200ms, probe: 50ms}\nproviders:\n"
	for _, v := range s.vendors {
		s.config += v.provider("")
	}
	s.config += "models:\n" +
		"  - {name: good, " + deployments("g") + "}\n  - {name: slow, " + deployments("s") + "}\n  - {name: uneven, " + deployments("u") + "}\n" +
		"  - {name: broken, " + deployments("x") + "}\n  - {name: faulty, " + deployments("f") + ", fallback: [good]}\n" +
		"  - {name: silent, deployments: [{provider: a, model: n, " + tillPrice + "}]}\n"
	return s
}

// settle waits for rest and judges everything.
func (s *shop) settle(a *audit, c *crowd) {
	s.t.Helper()
	rows := s.rest(tillKeys...)
	s.limits(rows, tillKeys...)
	s.recomputed()
	a.compare(s.truth(), rows, c.byID())
	a.close()
	for _, g := range *s.now.Load() {
		for _, l := range g.callLines() {
			if l.Own < 0 || l.Total < l.Own {
				a.fails("R26 a negative duration", l.ID, l)
			}
		}
	}
	holds(s.t, !s.t.Failed(), "I3, I4: counters are the sum of the ledger, to the nano-dollar; no budget overspent", "%d keys, %d rows", len(tillKeys), len(rows))
}

// randomCalls is all formats, streamed or not, of random lengths, with fallbacks, retries, errors, and clients that leave.
func randomCalls(t *testing.T, rnd *rand.Rand, dsn string) {
	s := newShop(t, rnd, dsn, "")
	s.open()
	c := &crowd{shop: s, seed: rnd.Uint64(), secrets: tillKeys, leave: 25, models: []string{"good", "good", "slow", "faulty", "broken", "silent"}}
	ctx, stop := context.WithTimeout(t.Context(), sized(20*time.Second, 5*time.Minute))
	defer stop()
	looks := s.watchBudgets(ctx, true, tillKeys[2:]...)
	shown := progress(20*time.Second, c.state)
	c.run(ctx, sized(800, 20_000), sized(300, 100))
	shown()
	stop()
	if n, over := looks(); over != "" {
		t.Errorf("I4: seen in %d looks: %s", n, over)
	}
	s.settle(&audit{t: t}, c)
}

// killedUnderLoad is R24: SIGKILL at random moments, and a start on what is left.
func killedUnderLoad(t *testing.T, rnd *rand.Rand, dsn string) {
	s := newShop(t, rnd, dsn, "")
	s.open()
	c := &crowd{shop: s, seed: rnd.Uint64(), secrets: tillKeys[:3], leave: 10, models: []string{"good", "good", "good", "slow", "faulty"}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan struct{})
	go func() { defer close(ended); c.run(ctx, 0, sized(200, 500)) }()
	shown := progress(20*time.Second, c.state)
	var worst time.Duration
	kills := sized(3, 20)
	for range kills {
		lasts(t, time.Duration(200+rnd.IntN(sized(400, 3000)))*time.Millisecond)
		g := s.gateway()
		_ = g.cmd.Process.Kill()
		<-g.done
		worst = max(worst, s.again())
	}
	lasts(t, 200*time.Millisecond)
	stop()
	<-ended
	shown()
	measured(t, worst <= 2*time.Second, "ready in <= 2 s", "ready at most %.2f s after the start, %d kills, %s", worst.Seconds(), kills, c.state())
	s.settle(&audit{t: t, rough: true}, c)
}
