package quota

import (
	"context"
	"errors"
	"sync"
)

// flights are seeds under way: of one counter one at a time.
type flights struct {
	mu    sync.Mutex
	under map[string]*flight
}

type flight struct {
	done chan struct{}
	err  error // once done is closed
}

// A soft is a grant whose soft budgets are not known yet.
type soft struct {
	grant *Grant
	epoch int64
}

// seed reads the levels of what was found cold, or waits for who does.
func (l *Limiter) seed(ctx context.Context, g *Grant, epoch int64) error {
	own, others := l.seeds.join(g)
	if len(own) > 0 {
		err := l.read(context.WithoutCancel(ctx), g.hold.Org, epoch, own)
		l.seeds.land(own, err)
		if err != nil {
			return err
		}
	}
	for _, f := range others {
		select {
		case <-f.done:
			if f.err != nil {
				return f.err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// join makes the caller the reader of what nobody reads yet.
func (s *flights) join(g *Grant) (own []Query, others []*flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range g.hold.Asks {
		a := &g.hold.Asks[i]
		if !a.Cold {
			continue
		}
		if f := s.under[a.Key]; f != nil {
			others = append(others, f)
			continue
		}
		p := &g.plan.asks[i]
		s.under[a.Key] = &flight{done: make(chan struct{})}
		own = append(own, p.ask(p.at(a.From)))
	}
	return own, others
}

func (s *flights) land(own []Query, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range own {
		f := s.under[q.Counter]
		f.err = err
		close(f.done)
		delete(s.under, q.Counter)
	}
}

func (l *Limiter) read(ctx context.Context, org string, epoch int64, qs []Query) error {
	levels, err := l.spent(ctx, qs)
	if err != nil {
		return err
	}
	return l.o.Store.Seed(ctx, org, epoch, levels)
}

// spent asks the database, in bounded time.
func (l *Limiter) spent(ctx context.Context, qs []Query) ([]Level, error) {
	if l.o.Spent == nil {
		return nil, errors.New("there is nothing to read it from")
	}
	ctx, cancel := context.WithTimeout(ctx, seedTime)
	defer cancel()
	levels, err := l.o.Spent(ctx, qs)
	if err == nil && len(levels) != len(qs) {
		err = errors.New("not every budget was found")
	}
	return levels, err
}
