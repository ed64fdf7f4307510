package idempotency

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Memory keeps keys in this process, and of their answers the newest so many bytes.
type Memory struct {
	most int64
	now  func() time.Time

	mu    sync.Mutex // guards what follows
	all   map[Key]*list.Element
	order *list.List // of *kept that are answered, the oldest first
	bytes int64
}

type kept struct {
	key    Key
	print  Print
	owner  string // "": answered
	until  time.Time
	answer *Answer // nil: too large, or under way
}

// overhead is what a kept answer costs beside its body.
const overhead = 512

// NewMemory makes a store for so many bytes of answers; time.Now when now is nil. What does not fit any more is
// forgotten, the oldest first: its key may then be used again.
func NewMemory(most int64, now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{most: most, now: now, all: make(map[Key]*list.Element), order: list.New()}
}

// Begin implements Store.
func (m *Memory) Begin(_ context.Context, k Key, p Print, owner string, lease time.Duration) (State, Print, *Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.expire(now)
	if e, ok := m.all[k]; ok {
		switch had := e.Value.(*kept); {
		case !now.Before(had.until):
			m.remove(e)
		case had.owner != "":
			return Running, had.print, nil, nil
		case had.answer == nil:
			return Large, had.print, nil, nil
		default:
			return Done, had.print, had.answer, nil
		}
	}
	m.all[k] = &list.Element{Value: &kept{key: k, print: p, owner: owner, until: now.Add(lease)}}
	return Ours, p, nil, nil
}

// Renew implements Store.
func (m *Memory) Renew(_ context.Context, k Key, _ Print, owner string, lease time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	had, ok := m.claim(k, owner)
	if ok {
		had.until = m.now().Add(lease)
	}
	return ok, nil
}

// claim is a key that is its owner's. It needs mu.
func (m *Memory) claim(k Key, owner string) (*kept, bool) {
	e, ok := m.all[k]
	if !ok || owner == "" {
		return nil, false
	}
	had := e.Value.(*kept)
	return had, had.owner == owner
}

// Save implements Store.
func (m *Memory) Save(_ context.Context, k Key, p Print, owner string, a *Answer, keep time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.claim(k, owner); !ok {
		return nil // the lease ran out and somebody else has made the call
	}
	now := m.now()
	m.all[k] = m.order.PushBack(&kept{key: k, print: p, until: now.Add(keep), answer: a})
	m.bytes += a.size()
	for m.bytes > m.most {
		m.remove(m.order.Front())
	}
	return nil
}

func (a *Answer) size() int64 {
	if a == nil {
		return overhead
	}
	return overhead + int64(len(a.Body))
}

// Drop implements Store.
func (m *Memory) Drop(_ context.Context, k Key, _ Print, owner string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.claim(k, owner); ok {
		delete(m.all, k)
	}
	return nil
}

// expire forgets answers that have been kept long enough. Their times are nearly in the order of the list.
func (m *Memory) expire(now time.Time) {
	for e := m.order.Front(); e != nil && !now.Before(e.Value.(*kept).until); e = m.order.Front() {
		m.remove(e)
	}
}

// remove needs mu.
func (m *Memory) remove(e *list.Element) {
	had := e.Value.(*kept)
	delete(m.all, had.key)
	if had.owner == "" {
		m.bytes -= had.answer.size()
		m.order.Remove(e)
	}
}
