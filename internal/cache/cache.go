package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sluice/internal/llm"
)

// Options are what a cache is made of.
type Options struct {
	Store   Store
	Meaning *Meaning // nil: nothing is found by what it means
	Secret  []byte   // of the keys of answers, the same on all replicas
	Log     *slog.Logger
	Now     func() time.Time
}

// A Cache keeps answers and gives them again. It outlives configurations, whose rules come with each call.
type Cache struct {
	store   Store
	meaning *Meaning
	seal    *sealer
	log     *slog.Logger
	now     func() time.Time
	work    sync.WaitGroup
	fills   chan struct{} // one for each answer that is being kept
	stats   stats

	mu      sync.Mutex // guards what follows
	flights map[Key]*flight
	purges  []purge
}

// mostFills bounds the answers that are being kept at a time. More are not kept.
const mostFills = 64

// setTime is how long a store may take to keep an answer.
const setTime = time.Second

// New makes a cache. Close ends it.
func New(o Options) (*Cache, error) {
	if len(o.Secret) < 32 || o.Store == nil {
		return nil, errors.New("cache: a store and a secret of 32 bytes are needed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Meaning != nil {
		o.Meaning.init()
	}
	return &Cache{
		store: o.Store, meaning: o.Meaning, seal: newSealer(o.Secret), log: o.Log, now: o.Now,
		fills: make(chan struct{}, mostFills), flights: make(map[Key]*flight),
	}, nil
}

// Close waits until what is being kept is kept. No call is under way any more.
func (c *Cache) Close() { c.work.Wait() }

// Lookup looks for an answer to a call. Nil: there is no cache for it. Else the visit has the answer, or takes note of the one that
// the upstream gives; Close ends it. It never fails: what goes wrong is a miss.
func (c *Cache) Lookup(ctx context.Context, r *Rules, a *Ask) *Visit {
	if c == nil || a.Mode == Off || a.Mode == "" {
		return nil
	}
	v := &Visit{cache: c, rules: r, ask: a, State: Bypass, began: c.now()}
	scope, ok := NewScope(a.Who, r.Level)
	if v.Why = WhyScope; ok {
		v.Why = r.bypass(a)
	}
	if v.Why != "" {
		c.stats.bypassed(v.Why)
		return v
	}
	var err error
	if v.key, err = c.key(a, scope); err != nil {
		v.Why = WhyForm
		c.stats.bypassed(v.Why)
		return v
	}
	v.keeps = true
	if a.Control.Fresh {
		v.Why = WhyFresh
		c.stats.bypassed(v.Why)
		return v
	}
	v.State = Miss
	if a.Mode == Semantic && c.meaning != nil && a.Call.Op == llm.OpChat {
		var why string
		if v.question, why = c.question(a, scope); v.question == nil {
			c.stats.found(why)
		}
	}
	c.find(ctx, v)
	c.stats.looked(v.State)
	return v
}

// find looks for the answer: of calls that ask the same at a time one does, and makes the call where there is none.
func (c *Cache) find(ctx context.Context, v *Visit) {
	waits := false
	for {
		f, leads := c.join(v.key)
		if leads {
			v.flight = f
			value, err := c.store.Get(ctx, v.key)
			if err != nil {
				c.stats.storeFailed()
			}
			switch {
			case v.take(value):
				v.land(landed, value)
			case v.question != nil && c.similar(ctx, v):
				v.land(left, nil) // another request with these words looks for itself
			}
			return
		}
		if !waits {
			waits = true
			var stop context.CancelFunc
			ctx, stop = context.WithTimeout(ctx, v.rules.wait())
			defer stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-f.done:
		}
		switch f.end {
		case landed:
			v.take(f.value)
			return
		case left: // nobody knows what it would have been: another one finds out
			continue
		}
		return
	}
}

func (r *Rules) wait() time.Duration {
	if r.Wait <= 0 {
		return DefaultWait
	}
	return r.Wait
}

// A flight is one call that others wait for, as theirs are the same.
type flight struct {
	done  chan struct{} // closed when end and value are set
	end   ending
	value []byte // landed: the answer
}

// An ending is how a flight ended.
type ending int

const (
	landed ending = iota // there is an answer
	failed               // there is none, or it is not for others
	left                 // its client left
)

// join joins the flight of a key, or begins it.
func (c *Cache) join(k Key) (f *flight, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.flights[k]; ok {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	c.flights[k] = f
	return f, true
}

func (c *Cache) land(k Key, f *flight, end ending, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.end, f.value = end, value
	delete(c.flights, k)
	close(f.done)
}

// A purge is one that was made here, for calls that were under way then.
type purge struct {
	Filter
	at time.Time
}

// mostPurges bounds those that are remembered. What falls out is taken to have been of everything.
const mostPurges = 64

// Purge forgets answers on all replicas that share the store, and tells how many. An answer that is under way here, and that would
// have been selected, is not kept either.
func (c *Cache) Purge(ctx context.Context, f Filter) (int, error) {
	c.mu.Lock()
	if c.purges = append(c.purges, purge{f, c.now()}); len(c.purges) > mostPurges {
		c.purges = append(c.purges[:0], purge{at: c.purges[mostPurges].at})
	}
	c.mu.Unlock()
	n, err := c.store.Purge(ctx, f)
	err = errors.Join(err, c.dropSpaces(ctx, &f))
	c.stats.purged.Add(int64(n))
	return n, err
}

// purgedSince tells whether an answer was purged whose call began at a time.
func (c *Cache) purgedSince(k *Key, began time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.purges {
		if p := &c.purges[i]; !p.at.Before(began) && p.Matches(k, began) {
			return true
		}
	}
	return false
}

// Select makes the filter of names. Empty ones are not asked for. A team and a key are an organisation's.
func (c *Cache) Select(org, team, key, model string) Filter {
	return Filter{Org: c.seal.tag("org", org), Team: c.seal.tagOf("team", org, team), Key: c.seal.tagOf("key", org, key), Model: c.seal.tag("model", model)}
}

// keep keeps the answer of a visit, and lets those that wait for it have it.
func (c *Cache) keep(ctx context.Context, v *Visit) {
	select {
	case c.fills <- struct{}{}:
	default:
		c.stats.refused(WhyBusy)
		v.land(failed, nil)
		return
	}
	c.work.Go(func() {
		defer func() { <-c.fills }()
		value, why := v.fill(ctx)
		if why != "" {
			c.stats.refused(why)
			v.land(failed, nil)
			return
		}
		c.stats.stored.Add(1)
		v.land(landed, value)
		if v.question != nil {
			c.indexed(ctx, v)
		}
	})
}

// fill makes a kept answer of what a visit has recorded, and keeps it.
func (v *Visit) fill(ctx context.Context) (value []byte, why string) {
	c := v.cache
	e := &keptAnswer{head: v.record.head, body: v.record.body}
	t := e.target()
	answer, err := v.rules.again(&t, e)
	if err != nil {
		return nil, WhyForm
	}
	if v.shadow != nil {
		c.agree(ctx, v, answer)
	}
	if why = v.rules.refuse(v.op, answer, v.inputs); why != "" {
		return nil, why
	}
	now := c.now()
	e.Sum, e.At, e.Expires = v.key.Sum[:], now.UnixMilli(), now.Add(v.rules.TTL).UnixMilli()
	e.Print = print(answer)
	ttl := v.rules.TTL
	if q := v.question; q != nil {
		e.Space, e.Question, ttl = q.space, q.text, max(ttl, v.rules.SemanticTTL)
	}
	if value, err = e.encode(); err != nil {
		return nil, WhyForm
	}
	if c.purgedSince(&v.key, v.began) {
		return nil, WhyPurged
	}
	ctx, stop := context.WithTimeout(ctx, setTime)
	defer stop()
	if err := c.store.Set(ctx, v.key, value, ttl); err != nil {
		c.stats.storeFailed()
		c.stats.refused(WhyStore) // those that wait have it all the same
	}
	if c.purgedSince(&v.key, v.began) { // meanwhile
		_, _ = c.store.Purge(ctx, Filter{Org: v.key.Org, Team: v.key.Team, Key: v.key.Key, Model: v.key.Model})
		return nil, WhyPurged
	}
	return value, ""
}
