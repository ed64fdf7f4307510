package quota

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// late is how long after its period an account is kept for settlements that are on their way.
const late = time.Hour

// An account is a budget's counter.
type account struct {
	key     string
	gone    bool // it was forgotten
	cold    bool
	parts   []Part // ascending
	held    int64
	marks   map[string]uint64
	waiting []waiting // settlements that came before the seed
	over    time.Time // when it was first found without room
	until   time.Time // it ends; of a rolling budget, the newest part does
	limit   int64
	alerts  []Alert
	told    int // the highest percentage that was reached before, or reported
}

type waiting struct {
	replica  string
	position uint64
	part     int64
	amount   int64
}

// meet learns what an ask says of its budget.
func (c *account) meet(a *Ask) {
	if a.Until.After(c.until) {
		c.until = a.Until
		if a.Rolling {
			c.until = a.Until.Add(time.Duration(a.Part-a.Oldest) * time.Second)
			if i, _ := slices.BinarySearchFunc(c.parts, a.Oldest, byStart); i > 0 {
				c.parts = slices.Delete(c.parts, 0, i)
				c.told = min(c.told, c.reached()) // what is reached once more is told once more
			}
		}
	}
	c.limit, c.alerts = a.Limit, a.Alerts
}

func byStart(p Part, start int64) int { return cmp.Compare(p.Start, start) }

func (c *account) idle(now time.Time) bool { return now.After(c.until.Add(late)) }

// spent is the sum of the parts that count.
func (c *account) spent(oldest int64) (n int64) {
	for _, p := range c.parts {
		if p.Start >= oldest {
			n = plus(n, p.Amount)
		}
	}
	return n
}

// reached is the highest percentage of the alerts, which ascend, that is.
func (c *account) reached() (percent int) {
	spent := c.spent(0)
	for _, a := range c.alerts {
		if spent >= a.Amount {
			percent = a.Percent
		}
	}
	return percent
}

// room says whether a hold fits, or may be over.
func (c *account) room(a *Ask, now time.Time) bool {
	return a.gap(c.spent(a.Oldest), c.held) <= 0 || !a.hard(c.over, now)
}

// grant is how much a hold gets that may have it.
func (c *account) grant(a *Ask, now time.Time) int64 {
	room := a.Limit - plus(c.spent(a.Oldest), plus(c.held, a.Fixed))
	if room >= a.Least && a.blocks() {
		return plus(a.Fixed, Output(room, a.Least, a.Most))
	}
	if room < a.Least && c.over.IsZero() {
		c.over = now
	}
	return plus(a.Fixed, a.Most)
}

// gapMore says what the room is short of what an extension needs at least.
func (c *account) gapMore(a *Ask) int64 {
	return plus(plus(c.spent(a.Oldest), c.held), a.Least) - a.Limit
}

// more is how much an extension gets that may have it.
func (c *account) more(a *Ask, has int64, now time.Time) int64 {
	most := max(a.Most-has, 0)
	if gap := c.gapMore(a); gap <= 0 && a.blocks() {
		return Output(a.Limit-plus(c.spent(a.Oldest), c.held), min(a.Least, most), most)
	}
	if c.over.IsZero() && a.blocks() {
		c.over = now
	}
	return most
}

// book adds a cost to a part.
func (c *account) book(part, amount int64) {
	i, ok := slices.BinarySearchFunc(c.parts, part, byStart)
	if !ok {
		if amount == 0 {
			return
		}
		c.parts = slices.Insert(c.parts, i, Part{Start: part})
	}
	c.parts[i].Amount = plus(c.parts[i].Amount, amount)
}

// settle books a settlement once.
func (c *account) settle(replica string, position uint64, part, amount int64) {
	switch {
	case position == 0 || position <= c.marks[replica]:
		return
	case c.cold:
		if !slices.ContainsFunc(c.waiting, func(w waiting) bool { return w.replica == replica && w.position == position }) {
			c.waiting = append(c.waiting, waiting{replica, position, part, amount})
		}
		return
	}
	if c.marks == nil {
		c.marks = map[string]uint64{}
	}
	c.marks[replica] = position
	c.book(part, amount)
}

// Settle implements Store.
func (m *Memory) Settle(_ context.Context, b Batch) (Outcome, error) {
	t, now := m.tenant(b.Org), m.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tidy(now)
	out := Outcome{Epoch: t.epoch, Missed: b.Epoch != 0 && b.Epoch != t.epoch}
	if out.Missed {
		return out, nil
	}
	var last [4]booking // of callers who call again and again
	for i := range b.List {
		s := &b.List[i]
		for j, name := range s.Counters {
			k := j % len(last)
			if last[k].name != name {
				last[k] = t.booking(name, b.Org, now)
			}
			if at := &last[k]; at.acc != nil {
				at.acc.settle(b.Replica, s.Position, at.ref.Part, at.ref.Amount(s))
				out.Crossed = at.acc.tell(b.Again, out.Crossed)
			}
		}
		if e := t.holds[s.ID]; e != nil {
			t.unbook(e)
		}
	}
	return out, nil
}

// A booking is what settlements that name a counter are booked in.
type booking struct {
	name string
	ref  Ref
	acc  *account // nil: nothing
}

func (t *tenant) booking(name, org string, now time.Time) booking {
	ref, ok := ParseRef(name)
	if !ok || ref.Org != org {
		return booking{name: name}
	}
	acc := t.accounts[ref.Counter]
	if acc == nil {
		if !ref.Rolling && now.After(ref.Until.Add(late)) {
			return booking{name: name} // nobody will ever ask what it stands at
		}
		acc = &account{key: ref.Counter, cold: true, until: ref.Until}
		if ref.Rolling {
			acc.until = time.Unix(ref.Part, 0).Add(rollingKept)
		}
		t.accounts[ref.Counter] = acc
	}
	return booking{name, ref, acc}
}

// tell reports alerts that are newly reached, or all of them again.
func (c *account) tell(again bool, to []Crossing) []Crossing {
	if c.cold || c.limit <= 0 {
		return to
	}
	spent := c.spent(0)
	for _, a := range c.alerts {
		if spent >= a.Amount && (again || a.Percent > c.told) {
			to = append(to, Crossing{Counter: c.key, Percent: a.Percent, Spent: spent, Limit: c.limit})
		}
	}
	c.told = max(c.told, c.reached())
	return to
}

// rollingKept is longer than any rolling period.
const rollingKept = 31 * 24 * time.Hour

// unbook ends the budgets of a hold.
func (t *tenant) unbook(e *held) {
	for i := range e.budgets {
		e.budgets[i].acc.held -= e.budgets[i].counted()
	}
	clear(e.budgets)
	e.budgets = e.budgets[:0]
	t.settled(e)
}

// Seed implements Store.
func (m *Memory) Seed(_ context.Context, org string, epoch int64, levels []Level) error {
	t := m.tenant(org)
	t.mu.Lock()
	defer t.mu.Unlock()
	if epoch != t.epoch {
		return nil
	}
	for _, l := range levels {
		acc := t.accounts[l.Counter]
		if acc == nil {
			acc = &account{key: l.Counter, cold: true, until: m.now()}
			t.accounts[l.Counter] = acc
		}
		if !acc.cold {
			continue
		}
		acc.cold, acc.marks = false, map[string]uint64{}
		for replica, position := range l.Marks {
			acc.marks[strings.Clone(replica)] = position
		}
		for _, p := range l.Parts {
			acc.book(p.Start, max(p.Amount, 0))
		}
		acc.told = acc.reached()
		slices.SortFunc(acc.waiting, func(a, b waiting) int { return cmp.Compare(a.position, b.position) })
		for _, w := range acc.waiting {
			acc.settle(w.replica, w.position, w.part, w.amount)
		}
		acc.waiting = nil
	}
	return nil
}

// Levels implements Store.
func (m *Memory) Levels(_ context.Context, org string, counters []string) ([]Level, error) {
	t := m.tenant(org)
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Level, 0, len(counters))
	for _, name := range counters {
		l := Level{Counter: name, Cold: true}
		if acc := t.accounts[name]; acc != nil {
			l.Parts, l.Held, l.Cold = slices.Clone(acc.parts), acc.held, acc.cold
			l.Marks = make(map[string]uint64, len(acc.marks))
			for replica, position := range acc.marks {
				l.Marks[replica] = position
			}
		}
		out = append(out, l)
	}
	return out, nil
}
