package quota

import (
	"context"
	"sync"
	"time"
)

// renewAfter is how old a hold is when it is renewed: most calls end before.
const renewAfter = 2 * Beat

// sweeps is how many organisations without calls of ours are swept in a beat.
const sweeps = 16

// Run renews the holds of calls under way, and tells the store anew when it has lost them, until the context ends.
func (l *Limiter) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { l.freer(ctx) })
	work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case g := <-l.softs:
				if err := l.seed(ctx, g.grant, g.epoch); err != nil {
					l.o.Log.Warn("quota.seed", "error", err)
				}
			}
		}
	})
	tick := time.NewTicker(Beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.wake:
		}
		l.beat(ctx)
	}
}

// heard compares the epoch of an answer with the one before. A later one means that the store has lost what it had.
func (l *Limiter) heard(org string, epoch int64) {
	l.mu.Lock()
	s := l.standing(org)
	known := s.epoch
	s.epoch = max(known, epoch)
	lost := known != 0 && epoch > known
	s.lost = s.lost || lost
	l.mu.Unlock()
	if !lost {
		return
	}
	l.o.Log.Warn("quota.lost", "org", org, "epoch", epoch)
	if l.o.Behind != nil {
		l.o.Behind()
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// standing is what is known of an organisation; l.mu is held.
func (l *Limiter) standing(org string) *standing {
	s := l.orgs[org]
	if s == nil {
		s = &standing{}
		l.orgs[org] = s
	}
	return s
}

// know has an organisation swept from now on.
func (l *Limiter) know(org string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.standing(org)
}

// meet sweeps an organisation that this process has not swept yet, and tells whether it did: a call is not refused for what replicas
// hold that are gone, also where all the organisation's calls went to those.
func (l *Limiter) meet(ctx context.Context, org string) bool {
	l.mu.Lock()
	s := l.standing(org)
	first := !s.swept && l.o.Now().Sub(l.failed) >= Lease
	s.swept = s.swept || first
	l.mu.Unlock()
	return first && l.o.Store.Sweep(ctx, org) == nil
}

// beat renews what is due, asks the store of every organisation with calls under way whether it has lost them, and sweeps.
func (l *Limiter) beat(ctx context.Context) {
	now := l.o.Now()
	l.freeAgain(ctx)
	due, sweep := l.due(now)
	for k, grants := range due {
		for {
			n := min(len(grants), 64)
			l.renew(ctx, k.store, k.org, grants[:n], now)
			if grants = grants[n:]; len(grants) == 0 {
				break
			}
		}
	}
	for _, org := range sweep {
		if err := l.o.Store.Sweep(ctx, org); err != nil {
			l.fail(now)
			break
		}
	}
	_ = l.local.Sweep(ctx, "")
}

type place struct {
	store Store
	org   string
}

// due gives the holds to renew, and the organisations to sweep. After the store has failed nobody is swept for a while:
// others could not renew their holds either.
func (l *Limiter) due(now time.Time) (map[place][]*Grant, []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	due, all := map[place][]*Grant{}, map[string]bool{}
	for org, s := range l.orgs {
		if s.holds > 0 {
			due[place{l.o.Store, org}] = nil
		}
		all[org], s.lost = s.lost, false
	}
	for _, g := range l.live {
		k := place{g.store, g.hold.Org}
		if g.due(now) || all[k.org] {
			due[k] = append(due[k], g)
		}
	}
	var sweep []string
	if now.Sub(l.failed) < Lease {
		return due, nil
	}
	others := 0
	for org, s := range l.orgs { // in no order: each has its turn
		if s.holds == 0 {
			if others++; others > sweeps {
				continue
			}
		}
		s.swept = true
		sweep = append(sweep, org)
	}
	return due, sweep
}

func (g *Grant) due(now time.Time) bool { return g.age(now) >= renewAfter }

// age is how long ago the hold was known to live.
func (g *Grant) age(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - g.renewed.Load())
}

func (l *Limiter) fail(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = now
}

// renew renews holds, but those that have been settled meanwhile.
func (l *Limiter) renew(ctx context.Context, store Store, org string, grants []*Grant, now time.Time) {
	l.writes.Lock()
	defer l.writes.Unlock()
	var holds []*Hold
	l.mu.Lock()
	live := grants[:0]
	for _, g := range grants {
		if l.live[g.hold.ID] == g {
			live = append(live, g)
		}
	}
	l.mu.Unlock()
	for _, g := range live {
		holds = append(holds, g.copy(store == Store(l.local)))
	}
	out, err := store.Renew(ctx, org, holds)
	if err != nil {
		l.fail(now)
	} else if store == l.o.Store {
		l.heard(org, out.Epoch)
	}
	for _, g := range live {
		if err == nil {
			g.renewed.Store(now.UnixNano())
		} else if g.age(now) > Lease-2*Beat {
			g.lost.Store(true)
		}
	}
}

// copy is what the store must know of a hold: what it has not released.
func (g *Grant) copy(limitsOnly bool) *Hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	released := g.released.Load()
	h := &Hold{Org: g.hold.Org, ID: g.hold.ID, Asks: make([]Ask, 0, len(g.hold.Asks))}
	for _, a := range g.hold.Asks {
		if a.Kind == Parallel && !released || a.Kind.Budget() && !limitsOnly {
			h.Asks = append(h.Asks, a)
		}
	}
	return h
}
