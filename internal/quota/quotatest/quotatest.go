// Package quotatest holds every quota.Store to what its interface promises. Memory and real servers run the same suite.
package quotatest

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/quota"
)

// A Harness is one store that replicas share.
type Harness struct {
	// Join gives a new replica its access; it ends with the test.
	Join func(t *testing.T) quota.Store
	// Pass lets the store's clock go on.
	Pass func(time.Duration)
	// Lose loses all that is stored, under running replicas; nil: that cannot happen here.
	Lose func(t *testing.T)
}

// Run runs the suite; start is called for each test.
func Run(t *testing.T, start func(t *testing.T) Harness) {
	for name, f := range map[string]func(*testing.T, *world){
		"all or none":                  allOrNone,
		"the same hold again":          again,
		"paces slide":                  slides,
		"tokens are corrected":         corrected,
		"leases":                       leases,
		"freed along":                  along,
		"a replica dies":               dies,
		"a renewal restores":           restores,
		"cold":                         cold,
		"all seed at once":             seedRace,
		"settled once":                 once,
		"settled before the seed":      early,
		"a call that was never made":   cancelled,
		"what is granted":              grants,
		"more on the way":              extends,
		"soft":                         softly,
		"hard after grace":             graceful,
		"another period":               wrongPeriod,
		"rolling":                      rolls,
		"alerts":                       alerts,
		"large amounts":                large,
		"organisations are apart":      apart,
		"nobody gets past":             race,
		"settlements of old periods":   old,
		"names that nobody would give": names,
		"counted anew":                 restarts,
		"clocks that are set":          clocks,
		"clocks and paces":             clockedPaces,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, newWorld(t, start(t)))
		})
	}
	t.Run("everything lost", func(t *testing.T) {
		if w := newWorld(t, start(t)); w.h.Lose != nil {
			lost(t, w)
		}
	})
}

// A world is a store and one replica's access to it, in an organisation that no other test has.
type world struct {
	h   Harness
	s   quota.Store
	org string
}

// newWorld meets the store first: one that does not know an organisation may take it for one that it has lost.
func newWorld(t *testing.T, h Harness) *world {
	w := &world{h, h.Join(t), "org-" + rand.Text()}
	w.renew(t)
	h.Pass(quota.Grace + time.Second)
	return w
}

// Times that are far from now, whatever clock is asked.
func ago(d time.Duration) time.Time   { return time.Now().Add(-d) }
func ahead(d time.Duration) time.Time { return time.Now().Add(d) }

const year = 365 * 24 * time.Hour

func (w *world) ref(what string) string {
	return fmt.Sprintf("%s|key:k|r||money:%s|%d-%d", w.org, what, ago(year).Unix()/1e6*1e6, ahead(year).Unix()/1e6*1e6)
}

// budget is an ask for a fixed amount.
func (w *world) budget(what string, limit, fixed int64) quota.Ask {
	return quota.Ask{Counter: &quota.Counter{Kind: quota.Money, Key: w.ref(what), Mode: llm.Hard, Limit: limit, From: ago(year), Until: ahead(year)}, Fixed: fixed}
}

func requests(n int64) quota.Ask {
	return quota.Ask{Counter: &quota.Counter{Kind: quota.Requests, Key: "k|requests", N: n, Per: time.Minute}, Cost: 1}
}

func tokens(n, cost int64) quota.Ask {
	return quota.Ask{Counter: &quota.Counter{Kind: quota.Tokens, Key: "k|tokens", N: n, Per: time.Minute}, Cost: cost}
}

func parallel(n int64) quota.Ask {
	return quota.Ask{Counter: &quota.Counter{Kind: quota.Parallel, Key: "k|parallel", N: n}}
}

func (w *world) hold(id string, asks ...quota.Ask) *quota.Hold {
	return &quota.Hold{Org: w.org, ID: id, Asks: asks}
}

// reserve gives the answer to a hold.
func (w *world) reserve(t *testing.T, h *quota.Hold) quota.Verdict {
	t.Helper()
	v, err := w.s.Reserve(t.Context(), h)
	if err != nil {
		t.Fatalf("reserve %s: %v", h.ID, err)
	}
	return v
}

// want reserves, and fails when the answer is another; what is cold is seeded with nothing spent.
func (w *world) want(t *testing.T, want quota.Answer, h *quota.Hold) quota.Verdict {
	t.Helper()
	v := w.reserve(t, h)
	if v.Answer == quota.Cold && want != quota.Cold {
		for i := range h.Asks {
			if h.Asks[i].Cold {
				w.seed(t, v.Epoch, quota.Level{Counter: h.Asks[i].Key})
			}
		}
		v = w.reserve(t, h)
	}
	if v.Answer != want {
		t.Fatalf("reserve %s: answer %d (%+v), want %d", h.ID, v.Answer, v, want)
	}
	return v
}

func (w *world) seed(t *testing.T, epoch int64, levels ...quota.Level) {
	t.Helper()
	if err := w.s.Seed(t.Context(), w.org, epoch, levels); err != nil {
		t.Fatalf("seed: %v", err)
	}
}

func (w *world) release(t *testing.T, h *quota.Hold, used int64) {
	t.Helper()
	if err := w.s.Release(t.Context(), w.org, []quota.Freed{{Hold: h, Tokens: used}}); err != nil {
		t.Fatalf("release %s: %v", h.ID, err)
	}
}

// settle books one cost to the hold's budgets.
func (w *world) settle(t *testing.T, replica string, position uint64, id string, cost int64, counters ...string) quota.Outcome {
	t.Helper()
	return w.batch(t, quota.Batch{Replica: replica, List: []quota.Settlement{
		{ID: id, Position: position, Counters: counters, Money: llm.Nano(cost), Tokens: cost},
	}})
}

func (w *world) batch(t *testing.T, b quota.Batch) quota.Outcome {
	t.Helper()
	b.Org = w.org
	out, err := w.s.Settle(t.Context(), b)
	if err != nil {
		t.Fatalf("settle: %v", err)
	}
	return out
}

func (w *world) renew(t *testing.T, holds ...*quota.Hold) quota.Outcome {
	t.Helper()
	out, err := w.s.Renew(t.Context(), w.org, holds)
	if err != nil {
		t.Fatalf("renew: %v", err)
	}
	return out
}

func (w *world) sweep(t *testing.T) {
	t.Helper()
	if err := w.s.Sweep(t.Context(), w.org); err != nil {
		t.Fatalf("sweep: %v", err)
	}
}

func (w *world) level(t *testing.T, counter string) quota.Level {
	t.Helper()
	all, err := w.s.Levels(t.Context(), w.org, []string{counter})
	if err != nil || len(all) != 1 {
		t.Fatalf("levels: %v, %v", all, err)
	}
	return all[0]
}

// stands fails when a counter has another level.
func (w *world) stands(t *testing.T, counter string, spent, held int64) {
	t.Helper()
	if l := w.level(t, counter); l.Spent() != spent || l.Held != held || l.Cold {
		t.Errorf("spent %d, held %d, cold %v; want %d and %d", l.Spent(), l.Held, l.Cold, spent, held)
	}
}
