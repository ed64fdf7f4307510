package cache

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Memory is a Store in this process: of all that is kept, what was asked for last, up to a number of bytes.
type Memory struct {
	most int64
	now  func() time.Time

	mu    sync.Mutex // guards what follows
	all   map[Key]*list.Element
	order *list.List // of *item, the one asked for last in front
	bytes int64
}

type item struct {
	key   Key
	value []byte
	at    time.Time
	until time.Time
}

// overhead is what an answer takes beside its bytes.
const overhead = 512

func (i *item) size() int64 { return overhead + int64(len(i.value)) }

// NewMemory makes a store of so many bytes; time.Now when now is nil.
func NewMemory(most int64, now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{most: most, now: now, all: make(map[Key]*list.Element), order: list.New()}
}

// Get implements Store.
func (m *Memory) Get(_ context.Context, k Key) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.all[k]
	if !ok {
		return nil, nil
	}
	i := e.Value.(*item) //nolint:forcetypeassert // nothing else is in the list
	if !m.now().Before(i.until) {
		m.remove(e)
		return nil, nil
	}
	m.order.MoveToFront(e)
	return i.value, nil
}

// Set implements Store. What is larger than the store is not kept.
func (m *Memory) Set(_ context.Context, k Key, value []byte, ttl time.Duration) error {
	now := m.now()
	i := &item{key: k, value: value, at: now, until: now.Add(ttl)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.all[k]; ok {
		m.remove(e)
	}
	if i.size() > m.most {
		return nil
	}
	m.all[k] = m.order.PushFront(i)
	for m.bytes += i.size(); m.bytes > m.most; {
		m.remove(m.order.Back())
	}
	return nil
}

// remove needs mu.
func (m *Memory) remove(e *list.Element) {
	i := m.order.Remove(e).(*item) //nolint:forcetypeassert // nothing else is in the list
	delete(m.all, i.key)
	m.bytes -= i.size()
}

// Purge implements Store.
func (m *Memory) Purge(_ context.Context, f Filter) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.order.Front(); e != nil; {
		next := e.Next()
		if i := e.Value.(*item); f.Matches(&i.key, i.at) { //nolint:forcetypeassert // nothing else is in the list
			m.remove(e)
			n++
		}
		e = next
	}
	return n, nil
}

// Size implements Store.
func (m *Memory) Size() (entries, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.all)), m.bytes
}
