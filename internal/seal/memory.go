package seal

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// A Memory is a Store that ends with the process, for tests.
type Memory struct {
	mu     sync.Mutex // guards the rest
	keyset *Keyset
	values map[string]Value
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{values: make(map[string]Value)} }

// Keyset implements Store.
func (m *Memory) Keyset(context.Context) (*Keyset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keyset == nil {
		return nil, nil //nolint:nilnil // the interface asks for it
	}
	k := *m.keyset
	k.Wrapped = slices.Clone(k.Wrapped)
	return &k, nil
}

// PutKeyset implements Store.
func (m *Memory) PutKeyset(_ context.Context, k *Keyset, was int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version() != was {
		return ErrVersion
	}
	kept := *k
	kept.Wrapped = slices.Clone(k.Wrapped)
	m.keyset = &kept
	return nil
}

func (m *Memory) version() int64 {
	if m.keyset == nil {
		return 0
	}
	return m.keyset.Version
}

func (m *Memory) copied(v Value) Value {
	v.Sealed = slices.Clone(v.Sealed)
	return v
}

// Put implements Store.
func (m *Memory) Put(_ context.Context, v *Value, keyset int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version() != keyset {
		return ErrVersion
	}
	if _, taken := m.values[v.ID]; taken {
		return ErrExists
	}
	m.values[v.ID] = m.copied(*v)
	return nil
}

// Reseal implements Store.
func (m *Memory) Reseal(_ context.Context, v *Value, was uint32, keyset int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version() != keyset {
		return ErrVersion
	}
	if kept, ok := m.values[v.ID]; ok && kept.Key == was {
		kept.Key, kept.Sealed = v.Key, slices.Clone(v.Sealed)
		m.values[v.ID] = kept
	}
	return nil
}

// Get implements Store.
func (m *Memory) Get(_ context.Context, id string) (*Value, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[id]
	if !ok {
		return nil, ErrNotFound
	}
	v = m.copied(v)
	return &v, nil
}

// Stale implements Store.
func (m *Memory) Stale(_ context.Context, key uint32, most int) (list []Value, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.values {
		if v.Key != key {
			list = append(list, m.copied(v))
		}
	}
	slices.SortFunc(list, func(a, b Value) int { return cmp.Compare(a.ID, b.ID) })
	return list[:min(most, len(list))], nil
}

// Delete implements Store.
func (m *Memory) Delete(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, id)
	return nil
}

// Use implements Store.
func (m *Memory) Use(_ context.Context, purposes []Purpose, ids []string, now, keep time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, v := range m.values {
		switch used := slices.Contains(ids, id); {
		case !slices.Contains(purposes, v.Purpose):
			continue
		case used:
			v.Unused = time.Time{}
		case v.Unused.IsZero():
			v.Unused = now
		}
		if m.values[id] = v; !v.Unused.IsZero() && v.Unused.Before(keep) {
			delete(m.values, id)
		}
	}
	return nil
}
