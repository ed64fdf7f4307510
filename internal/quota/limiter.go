package quota

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// Options are what a Limiter needs. Store and Replica are required, and Spent where there are budgets.
type Options struct {
	Store   Store
	Replica string // this process's name in settlements: that of its log
	// Spent reads what was spent under budgets, and of each replica the last position of its log that is in it: all from one
	// snapshot of the database. It gives a level for each query, in order.
	Spent func(ctx context.Context, qs []Query) ([]Level, error)
	// Flush waits until what this process has logged is settled, at most as long as the context lives. A budget that seems
	// used up is asked once more after it: what ended calls still hold may be all that is in the way. nil: none.
	Flush func(ctx context.Context)
	// Behind is called when the store turns out to have lost its data: the log must be shipped at once, and settled again
	// from as far back as it reaches (what is counted already is skipped). It must not block.
	Behind func()
	// Crossed is told of thresholds that were reached: once each, but for replies that were lost and stores that lost their
	// data, after which it may be told again. It must not block.
	Crossed func(Crossing)
	// Replicas is how many share the limits, as far as is known: while the store cannot be reached each keeps to its part of them.
	// nil: one.
	Replicas func() int
	Log      *slog.Logger
	Now      func() time.Time
}

const (
	flushTime = 50 * time.Millisecond
	seedTime  = 2 * time.Second
	tries     = 8 // of one reservation, for all reasons together
)

// A Limiter says whether calls may be made. It is the only thing here that the path of a call uses.
type Limiter struct {
	o      Options
	none   *Grant
	plans  plans
	local  *Memory      // counts limits while the store cannot be reached, and what it admitted before
	shared bool         // the store is not in this process
	skew   atomic.Int64 // the store's clock less ours
	owed   atomic.Int64 // calls that ended and are not settled yet
	seeds  flights
	books  books
	softs  chan soft     // grants whose soft budgets are cold
	wake   chan struct{} // has Run look at once
	frees  chan struct{} // has freer look

	mu     sync.Mutex // guards what follows
	live   map[string]*Grant
	orgs   map[string]*standing
	failed time.Time // when the store last failed

	unfreed []lateRelease
	ended   map[string]*standing // where some were

	writes sync.Mutex // holds renewals and settlements apart: a renewal must not bring back what has been settled
}

// A standing is what is known of an organisation in the store.
type standing struct {
	epoch  int64
	holds  int  // that this process renews
	lost   bool // the store lost them, and they are to be renewed at once
	unsure bool // what came of the last batch is not known
	swept  bool // once, or it is about to be

	freed []Freed   // what ended calls have in a shared store
	came  time.Time // when a reservation last could take some of these along
}

// New makes a limiter. Run must run while it is used.
func New(o Options) *Limiter {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	_, own := o.Store.(*Memory)
	return &Limiter{
		shared: !own, o: o, none: &Grant{}, local: NewMemory(o.Now), live: map[string]*Grant{}, orgs: map[string]*standing{},
		softs: make(chan soft, 64), wake: make(chan struct{}, 1), frees: make(chan struct{}, 1), ended: map[string]*standing{}, seeds: flights{under: map[string]*flight{}},
	}
}

// Reserve takes room under every rule that holds for a call, or none, and then the error says which rule has none, as a
// *Refusal within a *llm.Error. A call without rules costs nothing and does no I/O. The grant must be released.
func (l *Limiter) Reserve(ctx context.Context, who *auth.Who, r Request) (*Grant, error) {
	if len(who.Rules) == 0 {
		return l.none, nil
	}
	p := l.plans.of(who, r.Model)
	if len(p.asks) == 0 {
		return l.none, nil
	}
	if r.Unpriced && p.money {
		return nil, &llm.Error{
			Kind: llm.KindUnpriced, Param: "model",
			Msg: "the price of this model is not known, and a budget of money holds for the call: use another model, or have the operator set a price",
		}
	}
	g := &Grant{l: l, store: l.o.Store, plan: p, req: r, hold: Hold{Org: p.org, ID: r.ID, Asks: make([]Ask, len(p.asks))}}
	g.refs = g.few[:0]
	if err := l.reserve(ctx, g); err != nil {
		return nil, err
	}
	g.granted(l)
	return g, nil
}

// reserve asks until there is an answer.
func (l *Limiter) reserve(ctx context.Context, g *Grant) error {
	flushed, stayed, waited := false, false, time.Duration(0)
	for range tries {
		own := l.o.Now()
		g.renewed.Store(own.UnixNano())
		g.fill(own.Add(time.Duration(l.skew.Load())))
		if l.shared {
			g.hold.Freed = l.takeFreed(g.hold.Org, own)
		}
		v, err := l.o.Store.Reserve(ctx, &g.hold)
		if err != nil {
			l.oweAll(g.hold.Freed)
			return l.without(ctx, g, err)
		}
		g.hold.Freed = nil
		if !v.Now.IsZero() {
			l.skew.Store(int64(v.Now.Sub(own)))
			g.at = v.Now // in the period that was asked for, or the answer is another
		}
		l.heard(g.hold.Org, v.Epoch)
		switch v.Answer {
		case Granted:
			l.later(g, v.Epoch)
			if l.shared {
				l.local.mirror(&g.hold)
			}
			return nil
		case Refused:
			a := &g.hold.Asks[v.Ask]
			if a.Kind == Parallel && l.shared && !stayed {
				stayed = true
				if err := sleep(ctx, placeTime); err != nil {
					return err
				}
				continue
			}
			if a.Kind.Budget() && l.meet(ctx, g.hold.Org) {
				continue
			}
			if !a.Kind.Budget() || flushed || l.o.Flush == nil || l.owed.Load() == 0 {
				return l.refusal(g.plan, a, v.Ask, g)
			}
			flushed = true
			flush, cancel := context.WithTimeout(ctx, flushTime)
			l.o.Flush(flush)
			cancel()
		case Cold:
			if err := l.seed(ctx, g, v.Epoch); err != nil {
				return unavailable("what was spent under the budget could not be read", err)
			}
		case Recovering:
			if waited > 0 {
				return recovering(v.Wait)
			}
			waited = v.Wait
			if err := sleep(ctx, v.Wait+time.Millisecond); err != nil {
				return err
			}
		}
	}
	return unavailable("the budget changes too fast to be asked", nil)
}

// later has the levels of soft budgets read that were not known.
func (l *Limiter) later(g *Grant, epoch int64) {
	cold := false
	for i := range g.hold.Asks {
		cold = cold || g.hold.Asks[i].Cold
	}
	if !cold {
		return
	}
	copied := &Grant{plan: g.plan, hold: Hold{Org: g.hold.Org, Asks: slices.Clone(g.hold.Asks)}}
	select {
	case l.softs <- soft{copied, epoch}:
	default: // the next call finds them cold, too
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// now is the time by the store's clock, as far as it is known.
func (l *Limiter) now() time.Time { return l.o.Now().Add(time.Duration(l.skew.Load())) }

// fill makes the asks.
func (g *Grant) fill(now time.Time) {
	g.at = now
	r, n := &g.req, g.req.choices()
	g.refs = g.refs[:0]
	for i := range g.plan.asks {
		p, a := &g.plan.asks[i], &g.hold.Asks[i]
		*a = Ask{Counter: &p.Counter, Cost: 1}
		switch p.Kind {
		case Tokens:
			// No call may need more than the limit at once: what it uses beyond is counted when it is known.
			a.Cost = max(min(plus(r.InputAbout, times(r.OutputLeast, n)), p.N), 0)
		case Money, TokenBudget:
			s := p.at(now)
			if !s.listed.Load() {
				g.l.books.add(p, s, now)
			}
			a.Counter = &s.Counter
			if p.Kind == Money {
				a.Fixed, a.Least, a.Most = int64(r.FixedCost), int64(r.OutputRate.Cost(r.OutputLeast)), int64(r.OutputRate.Cost(r.OutputMost))
			} else {
				a.Fixed, a.Least, a.Most = r.InputTokens, times(r.OutputLeast, n), times(r.OutputMost, n)
			}
			a.Fixed, a.Least = min(max(a.Fixed, 0), MaxLimit), min(max(a.Least, 0), MaxLimit)
			a.Most = min(max(a.Most, a.Least), MaxLimit)
			g.refs = append(g.refs, s.ref)
		}
	}
}

// granted makes a filled hold a grant that lives.
func (g *Grant) granted(l *Limiter) {
	g.maxOutput = g.count()
	lives := len(g.refs) > 0
	for i := range g.hold.Asks {
		k := g.hold.Asks[i].Kind
		lives = lives || k == Tokens || k == Parallel
	}
	if !lives {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[g.hold.ID] = g
	l.standing(g.hold.Org).holds++
}

// meet keeps of two the room that is nearest to being used up, as a part of its limit.
func (r *Room) meet(s Room) {
	if r.Limit == 0 || times(s.Left, r.Limit) < times(r.Left, s.Limit) {
		*r = s
	}
}

// doubt has the hold ended, should the store have taken it: its answer was lost.
func (l *Limiter) doubt(g *Grant) {
	l.owe(lateRelease{
		l.o.Store, Freed{Hold: &Hold{Org: g.hold.Org, ID: g.hold.ID, Asks: slices.Clone(g.hold.Asks)}}, slices.Clone(g.refs),
	})
}

// without is what holds while the store cannot be reached: budgets that may refuse do, limits are kept to this replica's
// part, and soft budgets are settled later.
func (l *Limiter) without(ctx context.Context, g *Grant, cause error) error {
	l.doubt(g)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	l.fail(l.o.Now())
	if g.plan.blocks {
		return unavailable("the budget cannot be checked at the moment", cause)
	}
	n := int64(1)
	if l.o.Replicas != nil {
		n = int64(max(l.o.Replicas(), 1))
	}
	local := Hold{Org: g.hold.Org, ID: g.hold.ID}
	var index []int
	for i, a := range g.hold.Asks {
		if a.Kind.Budget() {
			continue
		}
		part := *a.Counter
		part.N = max(a.N/n, min(a.N, 1))
		a.Counter = &part
		a.Cost = min(a.Cost, a.N)
		local.Asks, index = append(local.Asks, a), append(index, i)
	}
	v, err := l.local.Reserve(ctx, &local)
	if err != nil {
		return err
	}
	for j, i := range index {
		g.hold.Asks[i] = local.Asks[j]
	}
	if v.Answer == Refused {
		return l.refusal(g.plan, &local.Asks[v.Ask], index[v.Ask], g)
	}
	g.store = l.local
	return nil
}

// maxOwed bounds the releases that are kept to be tried again. Those beyond are left to the leases' end.
const maxOwed = 4096

// A lateRelease is a release that failed, or the end of a hold that the store may have or not: then refs are its budgets.
type lateRelease struct {
	store Store
	freed Freed
	refs  []string
}

// forget ends the renewal of a hold.
func (l *Limiter) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgotten(id)
}

// forgotten is forget; l.mu is held.
func (l *Limiter) forgotten(id string) {
	g := l.live[id]
	if g == nil {
		return
	}
	delete(l.live, id)
	l.standing(g.hold.Org).holds--
	if g.released.Load() && len(g.refs) > 0 {
		l.owed.Add(-1)
	}
}

func (l *Limiter) cancel(ctx context.Context, g *Grant) {
	err := l.settle(ctx, Batch{Org: g.hold.Org, Replica: l.o.Replica, List: []Settlement{{ID: g.hold.ID, Counters: g.refs}}})
	if err != nil { // the hold expires
		l.forget(g.hold.ID)
	}
}

var errMissed = errors.New("the counters have lost data: what was settled must be settled again")

// Settle books final costs: those of this process's log, in its order, one call at a time. When it fails, the same must be
// sent again. A settlement that names no counters needs none.
func (l *Limiter) Settle(ctx context.Context, list []Settlement) error {
	const most = 64 // in one batch
	for len(list) > 0 {
		org, ok := list[0].org()
		n := 1
		for n < min(len(list), most) && list[n].of(org, ok) {
			n++
		}
		if ok {
			if err := l.settle(ctx, Batch{Org: org, Replica: l.o.Replica, List: list[:n]}); err != nil {
				return err
			}
		}
		list = list[n:]
	}
	return nil
}

// org is whose budgets a settlement must reach; false: nobody's.
func (s *Settlement) org() (string, bool) {
	if len(s.Counters) == 0 {
		return "", false
	}
	org, _, ok := strings.Cut(s.Counters[0], "|")
	return unclean(org), ok
}

func (s *Settlement) of(org string, ok bool) bool {
	o, k := s.org()
	return o == org && k == ok
}

func (l *Limiter) settle(ctx context.Context, b Batch) error {
	l.writes.Lock()
	defer l.writes.Unlock()
	l.mu.Lock()
	s := l.standing(b.Org)
	b.Again, b.Epoch = s.unsure, s.epoch
	l.mu.Unlock()
	out, err := l.o.Store.Settle(ctx, b)
	if err == nil && out.Missed {
		l.heard(b.Org, out.Epoch)
		if err = errMissed; l.o.Behind != nil {
			l.o.Behind()
		}
	}
	l.mu.Lock()
	s.unsure = err != nil
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.mu.Lock()
	for i := range b.List {
		l.forgotten(b.List[i].ID)
	}
	l.mu.Unlock()
	if l.o.Crossed != nil {
		for _, c := range out.Crossed {
			l.o.Crossed(c)
		}
	}
	l.heard(b.Org, out.Epoch)
	return nil
}
