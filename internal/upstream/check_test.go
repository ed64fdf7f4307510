package upstream

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// A patient is a provider that can be asked how it is.
type patient struct {
	llm.Provider
	mu    sync.Mutex
	err   error
	asked []time.Time
	with  []llm.Secret
}

func (p *patient) Check(_ context.Context, s llm.Secret) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.with = append(p.asked, time.Now()), append(p.with, s)
	return p.err
}

func (p *patient) seen() ([]time.Time, []llm.Secret) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked), slices.Clone(p.with)
}

func (p *patient) is(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &patient{}
		silent := &patient{}
		pool := NewPool(Options{
			Upstreams: map[string]Upstream{
				"a": {Provider: a, Secrets: map[string]llm.Secret{"one": "1"}, Check: 10 * time.Second},
				"b": {Provider: silent, Secrets: map[string]llm.Secret{"": "x"}},
			},
			Deployments: []Deployment{{Provider: "a", Model: "m", Credential: "one"}, {Provider: "a", Model: "n", Credential: "one"}, {Provider: "b"}},
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { pool.Check(ctx); close(done) }()
		phases := func() (p [2]phase) {
			for i := range p {
				p[i], _, _ = pool.slots[i].breaker.state(time.Now())
			}
			return p
		}
		time.Sleep(100 * time.Second)
		asked, with := a.seen()
		if n := len(asked); n < 9 || n > 11 || with[0] != "1" {
			t.Errorf("asked %d times in 100 s, with %q", n, string(with[0]))
		}
		if others, _ := silent.seen(); len(others) != 0 {
			t.Errorf("the one that is not to be asked was, %d times", len(others))
		}
		if gap := asked[1].Sub(asked[0]); gap < 9*time.Second || gap > 11*time.Second || gap == asked[2].Sub(asked[1]) {
			t.Errorf("asked every %v and %v, want 10 s with jitter", gap, asked[2].Sub(asked[1]))
		}
		next := func() { // the moment after the next question
			before, _ := a.seen()
			for now := before; len(now) == len(before); now, _ = a.seen() {
				time.Sleep(time.Second)
			}
		}
		a.is(&llm.Error{Kind: llm.KindUpstream})
		next()
		if phases() != [2]phase{} {
			t.Error("one failure opened a breaker")
		}
		next()
		if phases() == [2]phase{} {
			t.Error("two failures did not open the breakers")
		}
		a.is(&llm.Error{Kind: llm.KindInvalid}) // says nothing
		time.Sleep(30 * time.Second)
		a.is(nil)
		time.Sleep(300 * time.Second)
		if phases() != [2]phase{} {
			t.Errorf("%v: healthy answers did not close the breakers", phases())
		}
		a.is(&llm.Error{Kind: llm.KindUpstreamCreds})
		next()
		if p, _, _ := pool.slots[0].cred.breaker.state(time.Now()); p == phaseClosed || phases() != [2]phase{} {
			t.Errorf("a refused credential: %v, deployments %v", p, phases())
		}
		stop()
		<-done
	})
}
