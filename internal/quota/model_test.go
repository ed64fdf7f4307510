package quota_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/quota"
)

// The model: what was spent is the sum of final accounts, by counter. Everything else in this file is a machine that
// crashes, loses its store and its replies, and has to come to the same sums.
type model map[string]int64

func (m model) book(counters []string, cost int64) {
	for _, c := range counters {
		m[c] += cost
	}
}

// A replica is a limiter, its log, and what its settler and its shipper have done of it.
type replica struct {
	name    string
	l       *quota.Limiter // nil: crashed
	stop    func()
	calls   []*underWay
	orphans []*underWay // calls that a crash ended
	log     []quota.Settlement
	shipped int
	crashed time.Time

	mu      sync.Mutex // guards l and how much of the log is settled
	settled int
	up      atomic.Bool
	behind  atomic.Bool // the store has lost its data
}

// GoString keeps rapid's log short.
func (r *replica) GoString() string { return r.name }

type underWay struct {
	g    *quota.Grant
	id   string
	most int64 // that it may cost
	used int64
}

type machine struct {
	t        *rapid.T
	memory   *quota.Memory
	rules    *auth.Who
	limits   map[string]int64 // of each kind of counter
	replicas []*replica
	truth    model
	ids      int
	lossy    bool // the store has lost its data at least once
	lostAt   time.Time
	blind    bool // a replica died as the store did, or was away for longer than its holds live: costs that only its log knows

	mu     sync.Mutex // guards logs and how much of them is shipped, and what follows
	faults bool
	luck   *rand.Rand
}

// flaky loses calls and replies.
type flaky struct {
	*quota.Memory
	m *machine
}

var errLost = errors.New("lost")

func (m *machine) lost() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faults && m.luck.IntN(10) == 0
}

func (f flaky) Reserve(ctx context.Context, h *quota.Hold) (quota.Verdict, error) {
	v, err := f.Memory.Reserve(ctx, h)
	if f.m.lost() {
		return quota.Verdict{}, errLost
	}
	return v, err
}

func (f flaky) Settle(ctx context.Context, b quota.Batch) (quota.Outcome, error) {
	if f.m.lost() {
		return quota.Outcome{}, errLost
	}
	out, err := f.Memory.Settle(ctx, b)
	if f.m.lost() {
		return quota.Outcome{}, errLost
	}
	return out, err
}

func (f flaky) Release(ctx context.Context, org string, list []quota.Freed) error {
	if f.m.lost() {
		return errLost
	}
	return f.Memory.Release(ctx, org, list)
}

func (m *machine) start(r *replica) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l = quota.New(quota.Options{
		Store: flaky{m.memory, m}, Replica: r.name, Spent: m.spent,
		Behind: func() { r.behind.Store(true) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { r.l.Run(ctx) })
	r.stop = func() {
		cancel()
		run.Wait()
	}
	for _, c := range r.orphans { // the ledger ends what a crash left open, at its last progress
		m.final(r, c, c.used)
	}
	r.orphans, r.settled = nil, 0
	r.up.Store(true)
}

// works has every replica that lives ship and settle its log twice in a second.
func (m *machine) works(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.ship()
			for _, r := range m.replicas {
				_ = m.settle(r)
			}
		}
	}
}

func (m *machine) ship() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.replicas {
		if r.up.Load() {
			r.shipped = len(r.log)
		}
	}
}

// spent is the database: rows up to the shipped position of each replica.
func (m *machine) spent(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
	if m.lost() {
		return nil, errLost
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []quota.Level
	for _, q := range qs {
		l := quota.Level{Counter: q.Counter, Marks: map[string]uint64{}, Parts: []quota.Part{{}}}
		for _, r := range m.replicas {
			l.Marks[r.name] = uint64(r.shipped)
			for _, s := range r.log[:r.shipped] {
				for _, c := range s.Counters {
					if c == q.Counter {
						l.Parts[0].Amount += int64(s.Money)
					}
				}
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// final writes the last record of a call.
func (m *machine) final(r *replica, c *underWay, cost int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.log = append(r.log, quota.Settlement{ID: c.id, Position: uint64(len(r.log) + 1), Counters: c.g.Counters(), Money: llm.Nano(cost), Tokens: cost})
	m.truth.book(c.g.Counters(), cost)
}

func (m *machine) reserve(r *replica) {
	m.ids++
	req := quota.Request{
		ID: fmt.Sprint("c", m.ids), Model: "gpt", FixedCost: llm.Nano(rapid.Int64Range(0, 30).Draw(m.t, "input")), OutputLeast: 1,
		OutputMost: rapid.SampledFrom([]int64{1, 20, 1_000_000}).Draw(m.t, "most"), OutputRate: 1e6,
	}
	g, err := r.l.Reserve(context.Background(), m.rules, req)
	if err != nil {
		return
	}
	n, _ := g.MaxOutput()
	r.calls = append(r.calls, &underWay{g: g, id: req.ID, most: int64(req.FixedCost) + n})
}

func (m *machine) finish(r *replica) {
	i := rapid.IntRange(0, len(r.calls)-1).Draw(m.t, "which")
	c := r.calls[i]
	r.calls = append(r.calls[:i], r.calls[i+1:]...)
	m.final(r, c, rapid.Int64Range(c.used, c.most).Draw(m.t, "cost"))
	c.g.Release(context.Background(), 1)
}

func (m *machine) progress(r *replica) {
	c := r.calls[rapid.IntRange(0, len(r.calls)-1).Draw(m.t, "which")]
	c.used = rapid.Int64Range(c.used, c.most).Draw(m.t, "used")
	c.g.Progress(llm.Nano(c.used), c.used)
	m.pass(3 * quota.Beat) // it reaches the store
}

// settle books what is logged, a few at a time, as long as it goes well.
func (m *machine) settle(r *replica) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.l != nil {
		if r.behind.Swap(false) {
			r.settled = 0
		}
		m.mu.Lock()
		part := r.log[r.settled:min(r.settled+3, len(r.log))]
		m.mu.Unlock()
		if len(part) == 0 {
			return nil
		}
		if err := r.l.Settle(context.Background(), part); err != nil {
			return err
		}
		r.settled += len(part)
	}
	return nil
}

func (m *machine) crash(r *replica) {
	r.up.Store(false)
	r.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.crashed = time.Now()
	m.blind = m.blind || m.lossy && time.Since(m.lostAt) < quota.Grace+quota.Beat
	r.l, r.orphans, r.calls = nil, append(r.orphans, r.calls...), nil
}

func (m *machine) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	for _, r := range m.replicas {
		if r.l == nil && r.settled < len(r.log) && time.Since(r.crashed) >= quota.Lease {
			m.blind = true
		}
	}
}

func (m *machine) lose(*replica) {
	m.lossy, m.lostAt = true, time.Now()
	m.memory.Lose()
}

func (m *machine) whole() bool {
	for _, r := range m.replicas {
		if r.l == nil || len(r.orphans) > 0 {
			return false
		}
	}
	return true
}

// check holds after every step: what is spent and what calls under way may yet spend is within every hard budget. The
// store believes so, too, but for a while after a loss, when the database already has what a call cost and its hold
// still waits for the settlement.
func (m *machine) check() {
	if m.blind {
		return
	}
	most := model{}
	for c, spent := range m.truth {
		most[c] = spent
	}
	for _, r := range m.replicas {
		for _, c := range r.calls {
			most.book(c.g.Counters(), c.most)
		}
		for _, c := range r.orphans {
			most.book(c.g.Counters(), c.used)
		}
	}
	for c, spent := range most {
		if limit := m.limit(c); spent > limit {
			m.t.Fatalf("%s: %d spent or under way of %d", c, spent, limit)
		}
		levels, _ := m.memory.Levels(context.Background(), "acme", []string{c})
		if l := levels[0]; l.Spent()+l.Held > m.limit(c) && !m.lossy {
			m.t.Fatalf("%s: %d spent and %d held of %d", c, l.Spent(), l.Held, m.limit(c))
		}
	}
}

func (m *machine) limit(counter string) int64 {
	for rule, limit := range m.limits {
		if ref, _ := quota.ParseRef(counter); containsPart(ref.Counter, rule) {
			return limit
		}
	}
	m.t.Fatalf("no limit for %s", counter)
	return 0
}

func containsPart(name, rule string) bool {
	for i := 0; i+len(rule) <= len(name); i++ {
		if name[i:i+len(rule)] == rule {
			return true
		}
	}
	return false
}

// rest brings everything to an end: every sum is in the store, once, and nothing is held.
func (m *machine) rest() {
	m.mu.Lock()
	m.faults = false
	m.mu.Unlock()
	for _, r := range m.replicas {
		for _, c := range r.calls {
			m.final(r, c, c.used)
			c.g.Release(context.Background(), 1)
		}
		if r.calls = nil; r.l == nil {
			m.start(r)
		}
	}
	m.pass(2*quota.Lease + quota.Grace)
	probe, err := m.replicas[0].l.Reserve(context.Background(), m.rules, quota.Request{ID: "probe", Model: "gpt"})
	if err == nil { // it seeds what is cold
		probe.Cancel(context.Background())
	}
	m.pass(time.Second)
	for _, r := range m.replicas {
		if err := m.settle(r); err != nil {
			m.t.Fatal(err)
		}
	}
	for c, want := range m.truth {
		levels, _ := m.memory.Levels(context.Background(), "acme", []string{c})
		if l := levels[0]; !l.Cold && (l.Spent() != want || l.Held != 0) {
			m.t.Fatalf("%s: %d spent and %d held at rest, want %d and 0", c, l.Spent(), l.Held, want)
		}
	}
	m.pass(2 * quota.Lease)
	for i := range 4 { // every lease is free again
		g, err := m.replicas[0].l.Reserve(context.Background(), m.parallel(), quota.Request{ID: fmt.Sprint("p", i), Model: "gpt"})
		if err != nil {
			m.t.Fatalf("lease %d: %v", i, err)
		}
		defer g.Release(context.Background(), 0)
	}
	for _, r := range m.replicas {
		r.stop()
	}
}

// parallel are the rules without budgets.
func (m *machine) parallel() *auth.Who {
	return &auth.Who{ID: "k", Org: "acme", Rules: m.rules.Rules[:1]}
}

func TestModel(t *testing.T) {
	rules := []llm.Rule{
		{Name: "four", Parallel: 4},
		{Name: "month", Budgets: []llm.Budget{{Money: 400, Every: llm.Monthly, Mode: llm.Hard}}},
		{Name: "hourly", Per: []llm.Dim{llm.DimKey}, Budgets: []llm.Budget{{Money: 90, Every: llm.Hourly, Mode: llm.Hard}}},
	}
	rapid.Check(t, func(rt *rapid.T) {
		var failure any // rapid fails by a panic, which must not leave the bubble on its goroutine
		synctest.Test(t, func(*testing.T) {
			defer func() { failure = recover() }()
			drive(rt, rules)
		})
		if failure != nil {
			panic(failure)
		}
	})
}

// drive does things at random.
func drive(t *rapid.T, rules []llm.Rule) {
	m := &machine{
		t: t, memory: quota.NewMemory(nil), truth: model{}, limits: map[string]int64{"|month|": 400, "|hourly|": 90}, faults: true,
		rules: &auth.Who{ID: "k", Org: "acme"}, luck: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "luck"), 0)),
	}
	for i := range rules {
		m.rules.Rules = append(m.rules.Rules, llm.Bound{Subject: "org:acme", Rule: &rules[i]})
	}
	for i := range 3 {
		m.replicas = append(m.replicas, &replica{name: fmt.Sprint("r", i)})
		m.start(m.replicas[i])
	}
	ctx, cancel := context.WithCancel(context.Background())
	var shipper sync.WaitGroup
	shipper.Go(func() { m.works(ctx) })
	defer func() {
		cancel()
		shipper.Wait()
		for _, r := range m.replicas {
			r.stop()
		}
	}()
	step := func(ready func(*replica) bool, f func(*replica)) func(*rapid.T) {
		return func(t *rapid.T) {
			m.t = t
			if r := rapid.SampledFrom(m.replicas).Draw(t, "replica"); ready(r) {
				f(r)
			}
		}
	}
	up := func(r *replica) bool { return r.l != nil }
	busy := func(r *replica) bool { return r.l != nil && len(r.calls) > 0 }
	t.Repeat(map[string]func(*rapid.T){
		"reserve":  step(up, m.reserve),
		"reserve2": step(up, m.reserve),
		"reserve3": step(up, m.reserve),
		"finish":   step(busy, m.finish),
		"finish2":  step(busy, m.finish),
		"progress": step(busy, m.progress),
		"settle":   step(up, func(r *replica) { _ = m.settle(r) }),
		"again":    step(up, func(r *replica) { r.behind.Store(true) }),
		"crash":    step(up, m.crash),
		"restart":  step(func(r *replica) bool { return r.l == nil }, m.start),
		"moment":   step(up, func(*replica) { m.pass(100 * time.Millisecond) }),
		"while":    step(up, func(*replica) { m.pass(quota.Lease) }),
		"hour":     step(up, func(*replica) { m.pass(15 * time.Minute) }),
		"lose":     step(func(*replica) bool { return m.whole() }, m.lose),
		"":         func(t *rapid.T) { m.t = t; m.check() },
	})
	m.t = t
	m.rest()
}
