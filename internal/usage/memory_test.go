package usage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"sluice/internal/llm"
)

// memory is a Store in memory.
type memory struct {
	mu      sync.Mutex
	rows    map[string]Row
	open    map[string]taken
	shipped map[string]uint64
	heard   map[string]time.Time
	claimed map[string][]string   // by the replica they were taken from
	gone    map[string]bool       // since its last Join something was taken from it
	dead    map[string]bool       // who is gone; nil: who was not heard of
	fail    func(op string) error // before the operation; nil: never
	after   func(op string) error // after it was done, and nobody knows
	batches []int                 // rows of each
	oldest  time.Time
}

type taken struct {
	Open
	by      string
	claimed bool
}

func newMemory() *memory {
	return &memory{
		rows: map[string]Row{}, open: map[string]taken{}, shipped: map[string]uint64{}, heard: map[string]time.Time{},
		claimed: map[string][]string{}, gone: map[string]bool{},
	}
}

// begin is a transaction.
func (m *memory) begin(op string, do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(op); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if m.after != nil {
		return m.after(op)
	}
	return nil
}

func (m *memory) set(fail func(op string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
}

func (m *memory) Join(_ context.Context, replica string) (s Standing, err error) {
	err = m.begin("join", func() error {
		m.heard[replica], m.gone[replica] = time.Now(), false
		s = Standing{Shipped: m.shipped[replica], Claimed: slices.Clone(m.claimed[replica])}
		for _, o := range m.open {
			if o.by == replica && !o.claimed {
				s.Open = append(s.Open, o.Open)
			}
		}
		slices.SortFunc(s.Open, func(a, b Open) int { return cmp.Compare(a.Position, b.Position) })
		return nil
	})
	return s, err
}

func (m *memory) Ship(_ context.Context, b *Batch) error {
	return m.begin("ship", func() error {
		switch {
		case m.gone[b.Replica]:
			return ErrGone
		case m.shipped[b.Replica] >= b.Position:
			return nil
		case m.shipped[b.Replica] != b.After:
			return fmt.Errorf("the store is at %d, the batch comes after %d", m.shipped[b.Replica], b.After)
		}
		for _, o := range b.Open {
			if have, ok := m.open[o.RequestID]; !ok || have.by == b.Replica {
				m.open[o.RequestID] = taken{o, b.Replica, have.claimed}
			}
		}
		for i := range b.Rows {
			r, err := b.Row(i)
			if err != nil {
				return err
			}
			if _, ok := m.rows[r.RequestID]; !ok {
				m.rows[r.RequestID] = r
			}
		}
		for _, id := range b.Ended {
			delete(m.open, id)
		}
		m.shipped[b.Replica], m.heard[b.Replica] = b.Position, time.Now()
		m.batches = append(m.batches, len(b.Rows))
		return nil
	})
}

func (m *memory) Shipped(_ context.Context, replica string) (n uint64, err error) {
	err = m.begin("shipped", func() error { n = m.shipped[replica]; return nil })
	return n, err
}

func (m *memory) Claim(_ context.Context, by string, gone time.Duration) (list []Open, err error) {
	err = m.begin("claim", func() error {
		for id, o := range m.open {
			silent := time.Since(m.heard[o.by]) >= gone
			if m.dead != nil {
				silent = m.dead[o.by]
			}
			if o.by != by && silent {
				m.gone[o.by] = true
				m.claimed[o.by] = append(m.claimed[o.by], id)
				m.claimed[by] = slices.DeleteFunc(m.claimed[by], func(other string) bool { return other == id })
				o.by, o.claimed = by, true
				m.open[id] = o
			}
			if o.by == by && o.claimed {
				list = append(list, o.Open)
			}
		}
		return nil
	})
	return list, err
}

func (m *memory) Spent(_ context.Context, q *SpentQuery) (s Spent, err error) {
	err = m.begin("spent", func() error {
		s.Marks = maps.Clone(m.shipped)
		for _, r := range m.rows {
			if q.Matches(&r) {
				s.Calls++
				s.Tokens += r.Tokens()
				s.Money = s.Money.Plus(r.Costs.Total())
			}
		}
		return nil
	})
	return s, err
}

func (m *memory) Oldest(context.Context) (time.Time, error) { return m.oldest, nil }

func (m *memory) Recount(_ context.Context, f *Filter, marks map[string]uint64) (s Spent, err error) {
	err = m.begin("recount", func() error {
		s.Marks = maps.Clone(m.shipped)
		for _, r := range m.rows {
			if f.Matches(&r) && r.Position <= marks[r.Replica] {
				s.Calls, s.Tokens, s.Money = s.Calls+1, s.Tokens+r.Tokens(), s.Money.Plus(r.Costs.Total())
			}
		}
		return nil
	})
	return s, err
}

func (m *memory) Audit(context.Context, time.Time, bool) ([]WrongSum, error) { return nil, nil }

func (m *memory) Report(context.Context, *Query) ([]Line, Totals, error) { return nil, Totals{}, nil }

func (m *memory) Rows(_ context.Context, q *RowQuery) (p Page, err error) {
	err = m.begin("rows", func() error {
		var all []Row
		for _, r := range m.rows {
			if q.Matches(&r) && (q.RequestID == "" || q.RequestID == r.RequestID) {
				all = append(all, r)
			}
		}
		slices.SortFunc(all, func(a, b Row) int {
			return cmp.Or(b.Charged.Compare(a.Charged), cmp.Compare(a.RequestID, b.RequestID))
		})
		skip, _ := strconv.Atoi(q.After)
		all = all[min(skip, len(all)):]
		p.Rows = all[:min(len(all), cmp.Or(q.Limit, 100))]
		if len(p.Rows) < len(all) {
			p.Next = strconv.Itoa(skip + len(p.Rows))
		}
		return nil
	})
	return p, err
}

func (m *memory) Prepare(context.Context, time.Time) error           { return nil }
func (m *memory) Retain(context.Context, time.Time, time.Time) error { return nil }

func (m *memory) all() map[string]Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.rows)
}

// counters are budgets that count as package quota does: each settlement once, by its replica and position.
type counters struct {
	mu     sync.Mutex
	spent  map[string]llm.Nano
	marks  map[string]uint64              // by counter and replica
	epoch  int64                          // a new one since they were lost
	cold   bool                           // nobody knows what they stand at: what is settled waits
	waits  map[string]map[uint64]llm.Nano // by replica and position
	fail   func() error
	orders map[string]uint64 // the last position given, by organisation and replica
	wrong  []string
}

func newCounters() *counters {
	return &counters{spent: map[string]llm.Nano{}, marks: map[string]uint64{}, orders: map[string]uint64{}}
}

func (c *counters) settle(_ context.Context, s *Settlements) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return err
		}
	}
	if s.Epoch != c.epoch {
		return &Lost{c.epoch}
	}
	for i := range s.List {
		t := &s.List[i]
		if last := c.orders[s.Org+s.Replica]; t.Position <= last && !s.Again {
			c.wrong = append(c.wrong, fmt.Sprintf("position %d after %d", t.Position, last))
		}
		c.orders[s.Org+s.Replica] = t.Position
		for _, name := range t.Counters {
			key := name + s.Replica
			if c.cold {
				if c.waits[key] == nil {
					c.waits[key] = map[uint64]llm.Nano{}
				}
				c.waits[key][t.Position] = t.Cost
				continue
			}
			if t.Position > c.marks[key] {
				c.marks[key] = t.Position
				c.spent[name] = c.spent[name].Plus(t.Cost)
			}
		}
	}
	return nil
}
