package quota

import (
	"context"
	"slices"
	"time"
)

// What calls leave behind in a store that replicas share is freed without them: the next reservation of the organisation takes
// it along, in the same round trip and before it asks for room itself. So whoever calls this replica again finds free what its last
// call had. Where no reservation comes, freer tells the store.

const (
	// alongTime is how long freer leaves to the next reservation what it may take along, while they come that often.
	alongTime = time.Millisecond
	// mostAlong is how many holds go at once.
	mostAlong = 32
	// placeTime is how long a call waits that finds no place among parallel ones, before it asks once more: a place whose call ended
	// on another replica may be on its way.
	placeTime = 5 * alongTime
)

// release ends a grant's limits.
func (l *Limiter) release(ctx context.Context, g *Grant, tokens int64) {
	limits := g.plan.frees
	if len(g.refs) > 0 {
		l.owed.Add(1)
	} else if limits {
		l.forget(g.hold.ID)
	}
	if !limits {
		return
	}
	freed := Freed{&g.hold, tokens}
	if l.shared && g.store == l.o.Store {
		l.freeLater(freed)
		return
	}
	g.freed[0] = freed
	if err := g.store.Release(ctx, g.hold.Org, g.freed[:]); err != nil {
		l.owe(lateRelease{store: g.store, freed: freed})
	}
}

// freeLater has the shared store told of a hold's end.
func (l *Limiter) freeLater(f Freed) {
	l.mu.Lock()
	s := l.standing(f.Hold.Org)
	s.freed = append(s.freed, f)
	l.ended[f.Hold.Org] = s
	l.mu.Unlock()
	select {
	case l.frees <- struct{}{}:
	default:
	}
}

// takeFreed gives the holds that a reservation takes along.
func (l *Limiter) takeFreed(org string, now time.Time) []Freed {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.standing(org)
	s.came = now
	if len(s.freed) == 0 {
		return nil
	}
	n := min(len(s.freed), mostAlong)
	list := s.freed[:n:n]
	if s.freed = s.freed[n:]; len(s.freed) == 0 {
		s.freed = nil
	}
	return list
}

// freer tells the shared store of the ends that no reservation takes along, until the context ends and all are told.
func (l *Limiter) freer(ctx context.Context) {
	t := time.NewTimer(alongTime)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			l.freeSome(ctx)
			return
		case <-l.frees:
		}
		for l.freeSome(ctx) {
			t.Reset(alongTime)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
		}
	}
}

// freeSome tells the store of what nobody has taken along, and says whether there is more that somebody still may.
func (l *Limiter) freeSome(ctx context.Context) (more bool) {
	due, more := l.unfree(l.o.Now(), ctx.Err() != nil)
	for org, list := range due {
		for some := range slices.Chunk(list, mostAlong) {
			if err := l.o.Store.Release(ctx, org, some); err != nil {
				l.oweAll(some)
			}
		}
	}
	return more
}

// unfree gives what is to be freed now: all that is left, or what no reservation seems to come for.
func (l *Limiter) unfree(now time.Time, all bool) (due map[string][]Freed, more bool) {
	due = map[string][]Freed{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for org, s := range l.ended {
		ago := now.Sub(s.came)
		switch n := len(s.freed); {
		case n == 0:
		case all || n > mostAlong || ago >= alongTime || ago < 0: // the clock was set back
			due[org], s.freed = s.freed, nil
		default:
			more = true
			continue
		}
		delete(l.ended, org)
	}
	return due, more
}

// owe keeps what the store has not heard of, for Run to try again.
func (l *Limiter) owe(r lateRelease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.unfreed) < maxOwed {
		l.unfreed = append(l.unfreed, r)
	}
}

// oweAll does so for ends that a call to the shared store may have told it of.
func (l *Limiter) oweAll(list []Freed) {
	for _, f := range list {
		l.owe(lateRelease{store: l.o.Store, freed: f})
	}
}

// freeAgain tries the releases that failed, until one fails again.
func (l *Limiter) freeAgain(ctx context.Context) {
	l.mu.Lock()
	list := l.unfreed
	l.unfreed = nil
	l.mu.Unlock()
	for i, r := range list {
		if l.freeOne(ctx, r) != nil {
			for _, r := range list[i:] {
				l.owe(r)
			}
			return
		}
	}
}

func (l *Limiter) freeOne(ctx context.Context, r lateRelease) error {
	h := r.freed.Hold
	if err := r.store.Release(ctx, h.Org, []Freed{r.freed}); err != nil || len(r.refs) == 0 {
		return err
	}
	return l.settle(ctx, Batch{Org: h.Org, Replica: l.o.Replica, List: []Settlement{{ID: h.ID, Counters: r.refs}}})
}
