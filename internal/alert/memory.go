package alert

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Memory is an outbox in this process.
type Memory struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	tasks []*entry   // in the order of Put; ended ones stay, so that nothing is told twice
}

type entry struct {
	Task
	due  time.Time
	done bool
}

// NewMemory makes an outbox; time.Now when now is nil.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now}
}

func (m *Memory) find(id, hook string) *entry {
	if i := slices.IndexFunc(m.tasks, func(e *entry) bool { return e.ID == id && e.Hook == hook }); i >= 0 {
		return m.tasks[i]
	}
	return nil
}

// Put implements Outbox.
func (m *Memory) Put(_ context.Context, n *Notice, hooks []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range hooks {
		if m.find(n.ID, h) == nil {
			m.tasks = append(m.tasks, &entry{Task: Task{Notice: *n, Hook: h}, due: m.now()})
		}
	}
	return nil
}

// Claim implements Outbox.
func (m *Memory) Claim(_ context.Context, hooks []string, most int, lease time.Duration) ([]Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Task
	now := m.now()
	for _, e := range m.tasks {
		if len(out) < most && !e.done && !e.due.After(now) && slices.Contains(hooks, e.Hook) {
			e.due = now.Add(lease)
			out = append(out, e.Task)
		}
	}
	return out, nil
}

// Done implements Outbox.
func (m *Memory) Done(_ context.Context, t *Task) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.find(t.ID, t.Hook); e != nil {
		e.done = true
	}
	return nil
}

// Later implements Outbox.
func (m *Memory) Later(_ context.Context, t *Task, after time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.find(t.ID, t.Hook); e != nil && !e.done {
		e.due, e.Tries = m.now().Add(after), t.Tries+1
	}
	return nil
}
