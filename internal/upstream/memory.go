package upstream

import (
	"context"
	"math"
	"sync"
	"time"
)

// keep is how long what nobody speaks of any more is remembered.
const (
	keep        = 24 * time.Hour
	keepBreaker = 10 * time.Minute // past the breaker's Until
)

// A Memory is a Shared for replicas within one process: one value, handed to each of them.
type Memory struct {
	now func() time.Time

	mu       sync.Mutex // guards what follows
	replicas map[string]member
	latency  map[string]time.Duration
	breakers map[string]opened
	modes    map[string]string
	permits  map[string]time.Time // by purpose: when the next one is due
	revoked  map[string]time.Time // by public part
	ears     map[*ear]struct{}
}

// A member is a replica that has reported.
type member struct {
	expires  time.Time
	inFlight map[string]int
}

type opened struct {
	until time.Time
	opens int
}

type ear struct{ f func(Notice) }

// NewMemory makes one in which nothing is known. now is its clock; nil means time.Now.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{
		now: now, replicas: make(map[string]member), latency: make(map[string]time.Duration), breakers: make(map[string]opened),
		modes: make(map[string]string), permits: make(map[string]time.Time), revoked: make(map[string]time.Time), ears: make(map[*ear]struct{}),
	}
}

// Sync is as Shared has it. It does not fail.
func (m *Memory) Sync(_ context.Context, r Report) (Picture, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.forget(now)
	me := member{expires: now.Add(LeaseTime), inFlight: make(map[string]int)}
	for key, s := range r.Shares {
		if s.InFlight > 0 {
			me.inFlight[key] = s.InFlight
		}
		if s.Samples > 0 && room(m.latency, key) {
			m.latency[key] = merge(m.latency[key], s.Latency, s.Samples)
		}
		m.breaker(key, s.Until, s.Opens, s.Closed)
	}
	m.replicas[r.Replica] = me
	return m.picture(r.Replica), nil
}

// merge moves an average by the samples of one report.
func merge(old, mean time.Duration, samples int) time.Duration {
	if old == 0 {
		return mean
	}
	return old + time.Duration(math.Round((1-math.Pow(1-Alpha, float64(samples)))*float64(mean-old)))
}

// breaker takes in what became of one. Of two that opened it, the later end holds. m.mu is held.
func (m *Memory) breaker(key string, until time.Time, opens int, closed bool) {
	if closed {
		delete(m.breakers, key)
	}
	if until.After(m.breakers[key].until) && room(m.breakers, key) {
		m.breakers[key] = opened{until, opens}
	}
}

// room says whether a key may be set without making the map larger than it may be.
func room[V any](in map[string]V, key string) bool {
	_, ok := in[key]
	return ok || len(in) < MaxDeployments
}

// forget drops the dead, and what is too old to be true. m.mu is held.
func (m *Memory) forget(now time.Time) {
	for id, one := range m.replicas {
		if !one.expires.After(now) {
			delete(m.replicas, id)
		}
	}
	for key, b := range m.breakers {
		if now.Sub(b.until) > keepBreaker {
			delete(m.breakers, key)
		}
	}
	for purpose, next := range m.permits {
		if !next.After(now) {
			delete(m.permits, purpose)
		}
	}
	for key, at := range m.revoked {
		if now.Sub(at) > keep {
			delete(m.revoked, key)
		}
	}
}

// picture is what replica me sees. m.mu is held.
func (m *Memory) picture(me string) Picture {
	p := Picture{Replicas: len(m.replicas), Commons: make(map[string]Common)}
	change := func(key string, f func(*Common)) {
		c := p.Commons[key]
		f(&c)
		p.Commons[key] = c
	}
	for id, one := range m.replicas {
		if id == me {
			continue
		}
		for key, n := range one.inFlight {
			change(key, func(c *Common) { c.Others += n })
		}
	}
	for key, d := range m.latency {
		change(key, func(c *Common) { c.Latency = d })
	}
	for key, b := range m.breakers {
		change(key, func(c *Common) { c.Until, c.Opens = b.until, b.opens })
	}
	for key, mode := range m.modes {
		change(key, func(c *Common) { c.Mode = mode })
	}
	for key := range m.revoked {
		p.Revoked = append(p.Revoked, key)
	}
	return p
}

// Permit is as Shared has it. It does not fail.
func (m *Memory) Permit(_ context.Context, purpose string, span time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.forget(now)
	if _, taken := m.permits[purpose]; taken {
		return false, nil
	}
	m.permits[purpose] = now.Add(span)
	return true, nil
}

// Tell is as Shared has it: everybody has heard the notice when it returns. It does not fail.
func (m *Memory) Tell(_ context.Context, n Notice) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n.Reset {
		delete(m.latency, n.Deployment)
		delete(m.breakers, n.Deployment)
	}
	m.breaker(n.Deployment, n.Until, n.Opens, n.Closed)
	if n.Mode != "" && room(m.modes, n.Deployment) {
		m.modes[n.Deployment] = n.Mode
	}
	if n.RevokedKey != "" {
		m.revoked[n.RevokedKey] = m.now()
	}
	for e := range m.ears {
		e.f(n)
	}
	return nil
}

// Listen is as Shared has it. f is called while others wait.
func (m *Memory) Listen(ctx context.Context, f func(Notice)) error {
	e := &ear{f}
	m.mu.Lock()
	m.ears[e] = struct{}{}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	delete(m.ears, e)
	m.mu.Unlock()
	return ctx.Err()
}
