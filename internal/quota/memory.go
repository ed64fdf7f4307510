package quota

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Memory is a Store in this process. Counters are cold at first, and what can change no answer any more is forgotten.
type Memory struct {
	now func() time.Time

	mu   sync.RWMutex
	orgs map[string]*tenant
	lost int64 // how often Lose and Restart were called
}

var _ Store = (*Memory)(nil)

// NewMemory makes one. now is time.Now when nil.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now, orgs: map[string]*tenant{}}
}

// A tenant is all that is counted of one organisation.
type tenant struct {
	mu       sync.Mutex // guards what follows
	epoch    int64
	ready    time.Time // hard budgets are refused before
	windows  map[string]*pace
	leases   map[string]*lease
	accounts map[string]*account
	holds    map[string]*held
	oldest   *held // of a ring by time of renewal; held.next of the oldest is the next one to expire
	spares   *held // that are over, to be used again; a list by next
	spare    int   // how many
	clean    int   // how many counters there may be until those that say nothing are looked for
}

// A pace counts what passes.
type pace struct {
	window
	key  string
	per  time.Duration
	gone bool // it was forgotten: under its name is another one, or none
}

// A lease counts calls under way.
type lease struct {
	key  string
	n    int64
	gone bool
}

func (m *Memory) tenant(org string) *tenant {
	m.mu.RLock()
	t := m.orgs[org]
	m.mu.RUnlock()
	if t != nil {
		return t
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t = m.orgs[org]; t == nil {
		t = newTenant(m.lost + 1)
		m.orgs[org] = t
	}
	return t
}

func newTenant(epoch int64) *tenant {
	return &tenant{
		epoch: epoch, windows: map[string]*pace{}, leases: map[string]*lease{}, accounts: map[string]*account{},
		holds: map[string]*held{}, clean: 256,
	}
}

// Lose forgets everything, as a server does that is flushed under its clients, and begins an epoch. Tests use it.
func (m *Memory) Lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost++
	for org := range m.orgs {
		t := newTenant(m.lost + 1)
		t.ready = m.now().Add(Grace)
		m.orgs[org] = t
	}
}

// Restart implements Store. Calls under way keep what they hold.
func (m *Memory) Restart(_ context.Context, org string) error {
	m.mu.Lock()
	m.lost++
	epoch := m.lost + 1
	m.mu.Unlock()
	t, now := m.tenant(org), m.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch, t.ready = max(epoch, t.epoch+1), now.Add(Grace)
	for _, acc := range t.accounts {
		acc.cold, acc.parts, acc.marks, acc.waiting, acc.told = true, nil, nil, nil, 0
	}
	return nil
}

// Reserve implements Store.
func (m *Memory) Reserve(_ context.Context, h *Hold) (Verdict, error) {
	t, now := m.tenant(h.Org), m.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(h.Freed, now)
	t.expire(now)
	v := Verdict{Now: now, Epoch: t.epoch}
	if e := t.holds[h.ID]; e != nil {
		h.held = e
		e.again(h)
		return v, nil
	}
	t.tidy(now)
	var some [8]spot // so that most calls need no other
	spots := some[:0]
	if len(h.Asks) > len(some) {
		spots = make([]spot, 0, len(h.Asks))
	}
	spots = spots[:len(h.Asks)]
	if v.Answer, v.Wait = t.known(h, spots, now); v.Answer != Granted {
		return v, nil
	}
	if v.Ask = t.refuses(h, spots, now); v.Ask >= 0 {
		v.Answer = Refused
		return v, nil
	}
	v.Ask = 0
	t.take(h, spots, now)
	return v, nil
}

// A spot is where an ask counts, so that each is looked for once.
type spot struct {
	pace  *pace
	lease *lease
	acc   *account
}

// mirror counts in the paces what another store has admitted, so that the windows are full when that store is gone.
func (m *Memory) mirror(h *Hold) {
	t, now := m.tenant(h.Org), m.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tidy(now)
	for i := range h.Asks {
		if a := &h.Asks[i]; a.Kind == Requests || a.Kind == Tokens {
			at := slotAt(now, a.Per)
			t.window(a, now).add(at, at, a.Cost)
		}
	}
}

// known says whether the budgets' levels are, at this time.
func (t *tenant) known(h *Hold, spots []spot, now time.Time) (Answer, time.Duration) {
	cold := false
	for i := range h.Asks {
		a := &h.Asks[i]
		if !a.Kind.Budget() {
			continue
		}
		if now.Before(a.From) || !now.Before(a.Until) {
			return WrongPeriod, 0
		}
		wait := t.ready.Sub(now)
		acc := t.accounts[a.Key]
		spots[i].acc = acc
		if acc == nil || acc.cold {
			a.Cold = wait <= 0 // before, settlements may still come in another order than theirs: none may be seeded past them
			cold = cold || a.blocks()
		}
		if wait > 0 && a.blocks() {
			return Recovering, wait
		}
	}
	if cold {
		return Cold, 0
	}
	return Granted, 0
}

// refuses gives the ask without room that is to be waited for longest; -1: there is none.
func (t *tenant) refuses(h *Hold, spots []spot, now time.Time) int {
	worst := -1
	for i := range h.Asks {
		a := &h.Asks[i]
		if t.room(a, &spots[i], now) {
			continue
		}
		if worst < 0 || a.Wait > h.Asks[worst].Wait {
			worst = i
		}
	}
	return worst
}

// room says whether the ask has room, and fills in what it says otherwise. It changes nothing but what time changes.
func (t *tenant) room(a *Ask, at *spot, now time.Time) bool {
	switch {
	case a.Kind == Parallel:
		at.lease = t.lease(a.Key)
		a.Used = at.lease.n
		return a.Used < a.N
	case !a.Kind.Budget():
		w := t.window(a, now)
		at.pace = w
		a.Used, a.Reset = w.total, w.reset(now, a.Per)
		if plus(w.total, a.Cost) <= a.N {
			return true
		}
		a.Wait = w.wait(a.Cost, a.N, now, a.Per)
		return false
	}
	if at.acc == nil {
		at.acc = t.account(a)
	} else {
		at.acc.meet(a)
	}
	acc := at.acc
	a.Used = acc.spent(a.Oldest)
	if acc.room(a, now) {
		return true
	}
	a.Wait = a.Until.Sub(now)
	if a.gap(a.Used, 0) <= 0 {
		a.Wait = Beat // calls under way are in the way, and will end
	}
	return false
}

func (t *tenant) window(a *Ask, now time.Time) *pace {
	w := t.windows[a.Key]
	if w == nil {
		w = &pace{key: a.Key, per: a.Per}
		t.windows[a.Key] = w
	}
	w.roll(slotAt(now, a.Per))
	return w
}

func (t *tenant) lease(key string) *lease {
	l := t.leases[key]
	if l == nil {
		l = &lease{key: key}
		t.leases[key] = l
	}
	return l
}

func (t *tenant) account(a *Ask) *account {
	acc := t.accounts[a.Key]
	if acc == nil {
		acc = &account{key: a.Key, cold: true}
		t.accounts[a.Key] = acc
	}
	acc.meet(a)
	return acc
}

// take takes every ask.
func (t *tenant) take(h *Hold, spots []spot, now time.Time) {
	var e *held
	for i := range h.Asks {
		a, at := &h.Asks[i], &spots[i]
		if e == nil && a.Kind != Requests {
			e = t.hold(h.ID, now)
			h.held = e
		}
		switch a.Kind {
		case Requests, Tokens:
			a.Slot = slotAt(now, a.Per)
			at.pace.add(a.Slot, a.Slot, a.Cost)
			a.Used, a.Reset = at.pace.total, at.pace.reset(now, a.Per)
			if a.Kind == Tokens {
				e.limits = append(e.limits, part{pace: at.pace, slot: a.Slot, n: a.Cost})
			}
		case Parallel:
			at.lease.n++
			e.limits = append(e.limits, part{lease: at.lease})
			a.Used++
		default:
			a.Granted = at.acc.grant(a, now)
			at.acc.held = plus(at.acc.held, a.Granted)
			e.budgets = append(e.budgets, share{acc: at.acc, n: a.Granted})
		}
	}
}

// expire ends what nobody renewed.
func (t *tenant) expire(now time.Time) {
	for t.oldest != nil && !now.Before(t.oldest.expires) {
		e := t.oldest
		t.unlink(e)
		t.free(e, nil, 0, now)
		left := e.budgets[:0]
		for _, x := range e.budgets {
			was := x.counted()
			x.cut = true
			x.acc.held -= was - x.counted()
			if x.used > 0 {
				left = append(left, x)
			}
		}
		if e.budgets = left; len(left) == 0 {
			t.drop(e)
		}
	}
}

// free ends the limits of a hold, with what h says that it used if h is there. What is left are budgets.
func (t *tenant) free(e *held, h *Hold, tokens int64, now time.Time) {
	for i := range e.limits {
		x := &e.limits[i]
		if x.lease != nil {
			x.lease.n--
			continue
		}
		w := x.pace
		if w.gone {
			w = t.windows[w.key]
		}
		if h != nil && w != nil {
			w.add(x.slot, slotAt(now, w.per), tokens-x.n)
		}
	}
	clear(e.limits)
	e.limits = e.limits[:0]
}

// Release implements Store.
func (m *Memory) Release(_ context.Context, org string, list []Freed) error {
	t := m.tenant(org)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(list, m.now())
	return nil
}

func (t *tenant) release(list []Freed, now time.Time) {
	for i := range list {
		if e := t.held(list[i].Hold); e != nil {
			t.free(e, list[i].Hold, list[i].Tokens, now)
			t.settled(e)
		}
	}
}

// Extend implements Store.
func (m *Memory) Extend(_ context.Context, h *Hold) (Verdict, error) {
	t, now := m.tenant(h.Org), m.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	v := Verdict{Now: now, Epoch: t.epoch}
	e := t.held(h)
	if e == nil {
		v.Answer = Gone
		return v, nil
	}
	for i := range h.Asks {
		a := &h.Asks[i]
		x := e.budget(a.Key)
		switch {
		case x == nil || x.cut:
			v.Answer = Gone
			return v, nil
		case x.acc.cold && a.blocks():
			a.Cold, v.Answer = true, Cold
		case x.acc.gapMore(a) > 0 && a.hard(x.acc.over, now):
			a.Used, a.Wait = x.acc.spent(a.Oldest), a.Until.Sub(now)
			v.Answer, v.Ask = Refused, i
		}
	}
	if v.Answer != Granted {
		return v, nil
	}
	for i := range h.Asks {
		a := &h.Asks[i]
		x := e.budget(a.Key)
		more := x.acc.more(a, x.n, now)
		x.n, x.acc.held = x.n+more, plus(x.acc.held, more)
		a.Granted = x.n
	}
	return v, nil
}

// Renew implements Store.
func (m *Memory) Renew(_ context.Context, org string, holds []*Hold) (Outcome, error) {
	t, now := m.tenant(org), m.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range holds {
		e := t.holds[h.ID]
		if e == nil {
			e = t.hold(h.ID, now)
		}
		t.renew(e, now)
		for i := range h.Asks {
			t.restore(e, &h.Asks[i])
		}
		t.settled(e)
	}
	return Outcome{Epoch: t.epoch}, nil
}

// restore gives a hold what it has by its owner's word.
func (t *tenant) restore(e *held, a *Ask) {
	if a.Kind == Parallel {
		for _, x := range e.limits {
			if x.lease != nil && x.lease.key == a.Key {
				return
			}
		}
		l := t.lease(a.Key)
		l.n++
		e.limits = append(e.limits, part{lease: l})
	}
	if !a.Kind.Budget() {
		return
	}
	x := e.budget(a.Key)
	if x == nil {
		acc := t.account(a)
		e.budgets = append(e.budgets, share{acc: acc, n: a.Granted})
		x = &e.budgets[len(e.budgets)-1]
		acc.held = plus(acc.held, x.n)
	}
	was := x.counted()
	x.cut, x.used = false, max(x.used, a.Spent)
	x.acc.held = plus(x.acc.held, x.counted()-was)
}

// Sweep implements Store.
func (m *Memory) Sweep(_ context.Context, org string) error {
	t, now := m.tenant(org), m.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	return nil
}

// tidy forgets counters that say nothing any more, once there are twice as many as the last time some were left.
func (t *tenant) tidy(now time.Time) {
	if t.counters() < t.clean {
		return
	}
	for key, w := range t.windows {
		if w.roll(slotAt(now, w.per)); w.total <= 0 {
			w.gone = true
			delete(t.windows, key)
		}
	}
	for key, l := range t.leases {
		if l.n <= 0 {
			l.gone = true
			delete(t.leases, key)
		}
	}
	for key, acc := range t.accounts {
		if acc.idle(now) {
			acc.gone = true
			delete(t.accounts, key)
		}
	}
	for _, e := range t.holds { // of replicas that are gone
		if e.next == nil && !slices.ContainsFunc(e.budgets, func(x share) bool { return !x.acc.idle(now) }) {
			t.drop(e)
		}
	}
	t.clean = max(256, 2*t.counters())
}

func (t *tenant) counters() int { return len(t.windows) + len(t.leases) + len(t.accounts) }
