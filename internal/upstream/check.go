package upstream

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"sluice/internal/llm"
)

// checkTimeout bounds one question whether an upstream is alive.
const checkTimeout = 10 * time.Second

// Check asks the providers that are to be asked whether they are alive, until ctx ends: each in its own time,
// with some jitter, and over all replicas one at a time. Two failures in a row open the breakers of the
// provider's deployments; an answer counts as a probe of those that are half-open.
func (p *Pool) Check(ctx context.Context) {
	var all sync.WaitGroup
	for name, up := range p.Upstreams {
		checker, ok := up.Provider.(llm.Checker)
		if !ok || up.Check <= 0 {
			continue
		}
		for _, cred := range slices.Sorted(maps.Keys(up.Secrets)) {
			c := &check{pool: p, provider: name, credential: cred, secret: up.Secrets[cred], checker: checker, every: up.Check}
			all.Go(func() { c.run(ctx) })
		}
	}
	all.Wait()
}

// A check watches one provider with one credential.
type check struct {
	pool       *Pool
	provider   string
	credential string
	secret     llm.Secret
	checker    llm.Checker
	every      time.Duration
	failures   int // in a row
}

func (c *check) run(ctx context.Context) {
	for {
		jitter := time.Duration(rand.Int64N(int64(c.every)/5 + 1)) //nolint:gosec // G404: spreads questions, keeps no secret
		timer := time.NewTimer(c.every*9/10 + jitter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if c.ours(ctx) {
			c.once(ctx)
		}
	}
}

// ours tells whether this replica is the one that asks this time. When the others cannot be asked, it is.
func (c *check) ours(ctx context.Context) bool {
	f := c.pool.fleet
	if f.shared == nil || !f.linked.Load() {
		return true
	}
	ctx, stop := context.WithTimeout(ctx, syncTimeout)
	defer stop()
	ok, err := f.shared.Permit(ctx, "check "+c.provider+"#"+c.credential, c.every*8/10)
	return ok || err != nil
}

func (c *check) once(ctx context.Context) {
	ask, stop := context.WithTimeout(ctx, checkTimeout)
	defer stop()
	err := c.checker.Check(ask, c.secret)
	if ctx.Err() != nil {
		return
	}
	k := classify(err)
	switch {
	case err == nil:
		c.failures = 0
	case k.speaksAgainst():
		c.failures++
	default:
		return // it says nothing about the upstream
	}
	now := time.Now()
	for _, at := range c.pool.slots {
		d := at.deployment
		if d.Provider != c.provider || d.Credential != c.credential {
			continue
		}
		switch {
		case err == nil:
			c.alive(d, now)
		case k == classCredential:
			(&lease{fleet: c.pool.fleet, d: d}).refuse(k, llm.AsError(err))
			return // the credential is the same for all
		case c.failures >= 2:
			d.breaker.trip(now, 0, 0)
			d.mishap.Store(&Mishap{At: now.UTC(), Class: k.String(), Kind: llm.AsError(err).Kind})
			c.pool.fleet.opened(d, now, k)
		}
	}
}

// alive makes a healthy answer a probe of a breaker that is half-open.
func (c *check) alive(d *deployment, now time.Time) {
	l := &lease{fleet: c.pool.fleet, d: d, begun: now}
	var ok bool
	if ok, l.cred = d.cred.breaker.allow(now); !ok {
		return
	}
	if ok, l.own = d.breaker.allow(now); !ok {
		d.cred.breaker.cancel(l.cred)
		return
	}
	if l.own == 0 && l.cred == 0 {
		return // both are closed: calls tell more than a list of models
	}
	l.accept(0)
}
