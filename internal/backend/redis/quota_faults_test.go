package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/redistest"
)

// A bank is replicas that share a budget: each with a log, which is settled and shipped to one database.
type bank struct {
	t     *testing.T
	desks []*desk
	who   *auth.Who
	limit int64
	store *Quota

	mu     sync.Mutex // guards logs and what is shipped
	truth  atomic.Int64
	ids    atomic.Int64
	denied atomic.Int64 // for want of room
	failed atomic.Int64 // because Redis could not be asked
}

type desk struct {
	b       *bank
	name    string
	l       *quota.Limiter
	log     []quota.Settlement
	shipped int

	mu      sync.Mutex // guards settled
	settled int
	behind  atomic.Bool
}

func newBank(t *testing.T, o Options, replicas int, limit llm.Nano) *bank {
	b := &bank{t: t, limit: int64(limit), who: &auth.Who{ID: "k", Org: "org-" + fresh(), Rules: []llm.Bound{{
		Subject: "key:k", Rule: &llm.Rule{Name: "month", Parallel: 10_000, Budgets: []llm.Budget{{Money: limit, Every: llm.Monthly, Mode: llm.Hard}}},
	}}}}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for i := range replicas {
		d := &desk{b: b, name: fmt.Sprint("r", i)}
		q := open(t, o).Quota()
		until(t, "it is connected", func() bool {
			_, err := q.Levels(t.Context(), "nobody", nil)
			return err == nil
		})
		d.l = quota.New(quota.Options{
			Store: q, Replica: d.name, Spent: b.spent,
			Behind: func() { d.behind.Store(true) },
			Flush:  func(context.Context) { d.settle(ctx) },
		})
		b.store = q
		b.desks = append(b.desks, d)
		work.Go(func() { d.l.Run(ctx) })
		work.Go(func() { d.work(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	return b
}

// spent is the database.
func (b *bank) spent(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]quota.Level, len(qs))
	for i, q := range qs {
		out[i] = quota.Level{Counter: q.Counter, Marks: map[string]uint64{}, Parts: []quota.Part{{}}}
		for _, d := range b.desks {
			out[i].Marks[d.name] = uint64(d.shipped)
			for _, s := range d.log[:d.shipped] {
				if slices.Contains(s.Counters, q.Counter) {
					out[i].Parts[0].Amount += int64(s.Money)
				}
			}
		}
	}
	return out, nil
}

// work ships and settles, as a ledger does.
func (d *desk) work(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		<-tick.C
		d.settle(ctx)
		if n%20 == 0 || d.behind.Load() {
			d.b.mu.Lock()
			d.shipped = len(d.log)
			d.b.mu.Unlock()
		}
	}
}

func (d *desk) settle(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.behind.Swap(false) {
		d.settled = 0
	}
	d.b.mu.Lock()
	list := slices.Clone(d.log[d.settled:])
	d.b.mu.Unlock()
	if len(list) > 0 && d.l.Settle(ctx, list) == nil {
		d.settled += len(list)
	}
}

// call makes one call; false: there is no room.
func (d *desk) call(rng *rand.Rand) bool {
	b := d.b
	r := quota.Request{
		ID: fmt.Sprint(d.name, "-", b.ids.Add(1)), Model: "gpt", FixedCost: llm.Nano(rng.Int64N(500)), OutputLeast: 1,
		OutputMost: 1 + rng.Int64N(1000), OutputRate: 1e6,
	}
	g, err := d.l.Reserve(b.t.Context(), b.who, r)
	if err != nil {
		if llm.AsError(err).Kind == llm.KindBudget {
			b.denied.Add(1)
			return false
		}
		b.failed.Add(1)
		return true
	}
	most, _ := g.MaxOutput()
	cost := int64(r.FixedCost) + rng.Int64N(most+1) // a client may leave at any time
	b.mu.Lock()
	d.log = append(d.log, quota.Settlement{ID: r.ID, Position: uint64(len(d.log) + 1), Counters: g.Counters(), Money: llm.Nano(cost)})
	b.mu.Unlock()
	if sum := b.truth.Add(cost); sum > b.limit {
		b.t.Errorf("%d spent of %d", sum, b.limit)
	}
	g.Release(b.t.Context(), 0)
	return true
}

// run has clients call until each has been refused often.
func (b *bank) run(clients int) {
	var all sync.WaitGroup
	for i, d := range b.desks {
		for j := range clients {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			all.Go(func() {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for refused := 0; refused < 3; <-tick.C {
					if d.call(rng) {
						refused = 0
					} else {
						refused++
					}
				}
			})
		}
	}
	all.Wait()
}

// rest waits until the counter is the sum of all costs.
func (b *bank) rest() {
	b.t.Helper()
	var got quota.Level
	counter := b.desks[0].counter()
	until(b.t, "the counter is the sum of all costs, and nothing is held", func() bool {
		g, err := b.desks[0].l.Reserve(b.t.Context(), b.who, quota.Request{ID: fmt.Sprint("probe", b.ids.Add(1)), Model: "gpt"})
		if err == nil {
			g.Cancel(b.t.Context())
		}
		levels, err := b.store.Levels(b.t.Context(), b.who.Org, []string{counter})
		if err == nil {
			got = levels[0]
		}
		return err == nil && !got.Cold && got.Held == 0 && got.Spent() == b.truth.Load()
	})
	b.t.Logf("%d of %d spent, %d calls refused, %d failed", got.Spent(), b.limit, b.denied.Load(), b.failed.Load())
}

func (d *desk) counter() string {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	for _, other := range d.b.desks {
		if len(other.log) > 0 {
			return other.log[0].Counters[0]
		}
	}
	return ""
}

// TestBudgetRace has four replicas with 64 clients each call until a budget is used up: to the last nano-dollar nothing is
// overspent, and no more is left than one call may need.
func TestBudgetRace(t *testing.T) {
	t.Parallel()
	b := newBank(t, func() Options { o := patient(single(redistest.Own(t).Start(t))); o.Prefix = fresh(); return o }(), 4, 500_000)
	b.run(64)
	b.rest()
	if left := b.limit - b.truth.Load(); left > 1500 {
		t.Errorf("%d left, more than one call may need", left)
	}
}

// TestBudgetFaults has Redis fail and lose data under a budget that is being used up.
func TestBudgetFaults(t *testing.T) {
	own := redistest.Own(t)
	for name, fault := range map[string]func(t *testing.T, s *redistest.Server){
		"killed": func(t *testing.T, s *redistest.Server) {
			s.Kill(t)
			s.Restart(t)
		},
		"flushed": func(t *testing.T, s *redistest.Server) { s.Do(t, "FLUSHALL") },
		"paused":  func(t *testing.T, s *redistest.Server) { s.Do(t, "CLIENT", "PAUSE", "700") },
		"rolled back": func(t *testing.T, s *redistest.Server) { // as when a replica takes over that lagged
			s.Do(t, "SAVE")
			wait(t, 100*time.Millisecond)
			s.Kill(t)
			s.Restart(t)
		},
		"out of memory": func(t *testing.T, s *redistest.Server) {
			s.Do(t, "CONFIG", "SET", "maxmemory", "1")
			wait(t, 200*time.Millisecond)
			s.Do(t, "CONFIG", "SET", "maxmemory", "0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := own.Start(t)
			o := single(s)
			o.Prefix, o.Timeout = fresh(), 500*time.Millisecond // a busy machine is no fault
			b := newBank(t, o, 4, 300_000)
			var faults sync.WaitGroup
			faults.Go(func() {
				for range rounds() + 1 {
					half := b.truth.Load() + b.limit/8
					until(t, "much is spent", func() bool { return b.truth.Load() >= min(half, b.limit*3/4) })
					fault(t, s)
				}
			})
			b.run(8)
			faults.Wait()
			b.run(8)
			b.rest()
			if b.truth.Load() < b.limit/2 {
				t.Errorf("only %d of %d were spent", b.truth.Load(), b.limit)
			}
		})
	}
}

// TestBudgetFailover has another server take over under a budget that is being used up.
func TestBudgetFailover(t *testing.T) {
	own := redistest.Own(t)
	for name, begin := range map[string]func(t *testing.T) (Options, func(key string)){
		"sentinel": func(t *testing.T) (Options, func(key string)) {
			w := own.Sentinel(t)
			return watched(w), func(string) { w.Master.Kill(t) }
		},
		"cluster": func(t *testing.T) (Options, func(key string)) {
			c := own.Cluster(t)
			return clustered(c), func(key string) {
				master, _ := c.Owner(t, key)
				master.Kill(t)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, fail := begin(t)
			o.Prefix, o.Timeout = fresh(), 500*time.Millisecond
			b := newBank(t, o, 4, 300_000)
			var faults sync.WaitGroup
			faults.Go(func() {
				until(t, "much is spent", func() bool { return b.truth.Load() >= b.limit/4 })
				fail(b.store.tag(b.who.Org))
			})
			b.run(8)
			faults.Wait()
			b.run(8)
			b.rest()
		})
	}
}

// wait lets the traffic go on for a while.
func wait(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
