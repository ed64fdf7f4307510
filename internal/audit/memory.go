package audit

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"sluice/internal/llm"
)

// A Memory is a Store in memory, for tests and for want of another.
type Memory struct {
	mu          sync.Mutex // guards the rest, for a whole transaction
	entries     []Entry
	checkpoints []Checkpoint
	keys        []DataKey
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return new(Memory) }

var _ Store = (*Memory)(nil)

var errTaken = errors.New("the number is taken")

// inside is the key under which a context carries that it is in a transaction.
type inside struct{ m *Memory }

// Together implements Store.
func (m *Memory) Together(ctx context.Context, do func(context.Context) error) error {
	if ctx.Value(inside{m}) != nil {
		return do(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	entries, checkpoints, keys := len(m.entries), len(m.checkpoints), slices.Clone(m.keys)
	err := do(context.WithValue(ctx, inside{m}, true))
	if err != nil {
		m.entries, m.checkpoints, m.keys = m.entries[:entries], m.checkpoints[:checkpoints], keys
	}
	return err
}

// do runs one operation in a transaction.
func (m *Memory) do(ctx context.Context, op func()) error {
	return m.Together(ctx, func(ctx context.Context) error { op(); return ctx.Err() })
}

func (m *Memory) heads() []Head {
	newest := map[string]Head{}
	for i := range m.entries {
		e := &m.entries[i]
		newest[e.Org] = Head{e.Org, e.Seq, e.Hash, e.At}
	}
	list := make([]Head, 0, len(newest))
	for _, h := range newest {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b Head) int { return cmp.Compare(a.Org, b.Org) })
	return list
}

// Head implements Store.
func (m *Memory) Head(ctx context.Context, org string, subjects []string) (head Head, keys []DataKey, err error) {
	head.Org = org
	err = m.do(ctx, func() {
		keys = m.keysThat(func(k *DataKey) bool { return slices.Contains(subjects, k.Subject) })
		for _, h := range m.heads() {
			if h.Org == org {
				head = h
			}
		}
	})
	return head, keys, err
}

// Append implements Store.
func (m *Memory) Append(ctx context.Context, e *Entry) error {
	return m.Together(ctx, func(context.Context) error {
		if slices.ContainsFunc(m.entries, func(o Entry) bool { return o.Org == e.Org && o.Seq == e.Seq }) {
			return errTaken
		}
		m.entries = append(m.entries, *e)
		return nil
	})
}

// Entries implements Store.
func (m *Memory) Entries(ctx context.Context, org string, after, until uint64) (list []Entry, err error) {
	err = m.do(ctx, func() {
		for _, e := range m.entries {
			if e.Org == org && (e.Seq > after || after == 0) && e.Seq <= until && len(list) < MaxList {
				list = append(list, e)
			}
		}
	})
	return list, err
}

// Find implements Store.
func (m *Memory) Find(ctx context.Context, q *Query) (list []Entry, keys map[string]DataKey, err error) {
	keys = map[string]DataKey{}
	err = m.do(ctx, func() {
		for i := range m.entries {
			if q.fits(&m.entries[i]) {
				list = append(list, m.entries[i])
			}
		}
		slices.SortFunc(list, func(a, b Entry) int {
			return cmp.Or(b.At.Compare(a.At.Time), cmp.Compare(b.Org, a.Org), cmp.Compare(b.Seq, a.Seq))
		})
		list = list[:min(len(list), q.Limit)]
		for _, k := range m.keys {
			if slices.ContainsFunc(list, func(e Entry) bool { return e.Said.Key == k.ID || e.Changed.Key == k.ID }) {
				keys[k.ID] = k
			}
		}
	})
	return list, keys, err
}

// fits tells whether an entry is looked for.
func (q *Query) fits(e *Entry) bool {
	return (len(q.Orgs) == 0 || slices.Contains(q.Orgs, e.Org)) &&
		(q.Actor == "" || e.Actor.ID == q.Actor || e.Actor.ID == "" && e.Actor.Kind == q.Actor) &&
		(q.Act == "" || llm.Match(q.Act, e.Act)) && (q.Object == "" || e.Object.ID == q.Object) && (q.Result == "" || e.Result == q.Result) &&
		(q.From.IsZero() || !e.At.Before(q.From)) && (q.Until.IsZero() || e.At.Before(q.Until)) && (q.Before == nil || q.Before.after(e))
}

// Chains implements Store.
func (m *Memory) Chains(ctx context.Context) (list []Head, err error) {
	err = m.do(ctx, func() { list = m.heads() })
	return list, err
}

// Moved implements Store.
func (m *Memory) Moved(ctx context.Context) (list []Head, err error) {
	err = m.do(ctx, func() {
		stated := map[string]uint64{}
		for i := range m.checkpoints {
			for _, h := range m.checkpoints[i].Heads {
				stated[h.Org] = h.Seq
			}
		}
		list = slices.DeleteFunc(m.heads(), func(h Head) bool { return stated[h.Org] == h.Seq })
	})
	return list, err
}

// LastCheckpoint implements Store.
func (m *Memory) LastCheckpoint(ctx context.Context) (last *Checkpoint, err error) {
	err = m.do(ctx, func() {
		if n := len(m.checkpoints); n > 0 {
			c := m.checkpoints[n-1]
			c.Heads = nil
			last = &c
		}
	})
	return last, err
}

// AddCheckpoint implements Store.
func (m *Memory) AddCheckpoint(ctx context.Context, c *Checkpoint) error {
	return m.Together(ctx, func(context.Context) error {
		if slices.ContainsFunc(m.checkpoints, func(o Checkpoint) bool { return o.Number == c.Number }) {
			return errTaken
		}
		m.checkpoints = append(m.checkpoints, *c)
		return nil
	})
}

// Checkpoints implements Store.
func (m *Memory) Checkpoints(ctx context.Context, after, until uint64) (list []Checkpoint, err error) {
	err = m.do(ctx, func() {
		for _, c := range m.checkpoints {
			if (c.Number > after || after == 0) && c.Number <= until && len(list) < MaxList {
				c.Heads = slices.Clone(c.Heads)
				list = append(list, c)
			}
		}
	})
	return list, err
}

// Keys implements Store.
func (m *Memory) Keys(ctx context.Context, ids []string) (list []DataKey, err error) {
	err = m.do(ctx, func() {
		list = m.keysThat(func(k *DataKey) bool { return slices.Contains(ids, k.ID) })
	})
	return list, err
}

// keysThat are the keys of which something is true, by id.
func (m *Memory) keysThat(is func(*DataKey) bool) (list []DataKey) {
	for i := range m.keys {
		if is(&m.keys[i]) {
			list = append(list, m.keys[i])
		}
	}
	slices.SortFunc(list, func(a, b DataKey) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// AddKey implements Store.
func (m *Memory) AddKey(ctx context.Context, k *DataKey) error {
	return m.do(ctx, func() { m.keys = append(m.keys, *k) })
}

// DropKeys implements Store.
func (m *Memory) DropKeys(ctx context.Context, subject string) (n int, err error) {
	err = m.do(ctx, func() {
		had := len(m.keys)
		m.keys = slices.DeleteFunc(m.keys, func(k DataKey) bool { return k.Subject == subject })
		n = had - len(m.keys)
	})
	return n, err
}
