package settings

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// A Memory is a Store that ends with the process, for tests.
type Memory struct {
	mu        sync.Mutex // guards the rest
	revisions []Revision
	replicas  map[string]Replica
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{replicas: make(map[string]Replica)} }

// Newest implements Store.
func (m *Memory) Newest(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.revisions)), nil
}

// Get implements Store.
func (m *Memory) Get(_ context.Context, n int64) (*Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n == 0 {
		n = int64(len(m.revisions))
	}
	if n < 1 || n > int64(len(m.revisions)) {
		return nil, ErrNotFound
	}
	r := m.revisions[n-1]
	r.Document = slices.Clone(r.Document)
	return &r, nil
}

// List implements Store.
func (m *Memory) List(_ context.Context, below int64, limit int) (list []Revision, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range slices.Backward(m.revisions) {
		if len(list) == Bound(limit) {
			break
		}
		if below == 0 || r.Number < below {
			r.Document = nil
			list = append(list, r)
		}
	}
	return list, nil
}

// Bound is how many revisions a list of this limit has at most.
func Bound(limit int) int {
	if limit <= 0 || limit > MaxList {
		return MaxList
	}
	return limit
}

// Append implements Store.
func (m *Memory) Append(_ context.Context, r *Revision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Number != int64(len(m.revisions))+1 {
		return ErrTaken
	}
	kept := *r
	kept.Document = slices.Clone(r.Document)
	m.revisions = append(m.revisions, kept)
	return nil
}

// Report implements Store.
func (m *Memory) Report(_ context.Context, r *Replica) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := *r
	kept.Seen = time.Now().UTC()
	m.replicas[r.ID] = kept
	return nil
}

// Replicas implements Store.
func (m *Memory) Replicas(context.Context) (list []Replica, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.replicas {
		if time.Since(r.Seen) < Silence {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Replica) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}
