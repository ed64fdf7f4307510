package cache

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"
)

// DefaultVectors is how many entries a MemoryIndex holds that was not told: with 512 dimensions some 24 MB.
const DefaultVectors = 10_000

// MaxDim is how many dimensions a vector may have.
const MaxDim = 8192

// MemoryIndexOptions bound a MemoryIndex.
type MemoryIndexOptions struct {
	Max int              // entries, all spaces together; 0: DefaultVectors
	Now func() time.Time // nil: time.Now
}

// A MemoryIndex keeps vectors in the memory of this process and finds them by looking at all of a space. It is exact in a small
// space; in a large one the signs of the vectors choose who is compared (see signs). When it is full, the entry that was
// not found for the longest time goes, whoever's it is: a busy tenant costs others hits, and never shows them anything.
type MemoryIndex struct {
	max   int
	now   func() time.Time
	marks sync.Pool // of *marks

	mu     sync.RWMutex // guards what follows
	spaces map[string]*space
	recent *list.List // of *slot, the one added or found last first
}

var _ Index = (*MemoryIndex)(nil)

// NewMemoryIndex makes an empty index.
func NewMemoryIndex(o MemoryIndexOptions) *MemoryIndex {
	if o.Max <= 0 {
		o.Max = DefaultVectors
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &MemoryIndex{
		max: o.Max, now: o.Now, marks: sync.Pool{New: func() any { return new(marks) }},
		spaces: make(map[string]*space), recent: list.New(),
	}
}

// A space holds the slots of one partition, in no order.
type space struct {
	name  string
	dim   int
	slots []*slot
	byID  map[string]*slot
	signs signs
}

// A slot is an entry at its place.
type slot struct {
	space   *space
	at      int // in space.slots
	id      string
	vector  []float32 // of length one
	expires time.Time
	recent  *list.Element
}

// Add implements Index. The entry is found when it returns.
func (x *MemoryIndex) Add(_ context.Context, name string, e Entry) error {
	v, ok := Unit(e.Vector)
	if !ok {
		return ErrVector
	}
	now := x.now()
	if !e.Expires.After(now) {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.spaces[name]
	if s == nil {
		s = &space{name: name, dim: len(v), byID: make(map[string]*slot)}
		x.spaces[name] = s
	}
	if len(v) != s.dim {
		return ErrVector
	}
	if old := s.byID[e.ID]; old != nil {
		x.forget(old)
		x.spaces[name] = s // the space may have been left empty
	}
	l := &slot{space: s, at: len(s.slots), id: e.ID, vector: v, expires: e.Expires}
	l.recent = x.recent.PushFront(l)
	s.slots = append(s.slots, l)
	s.byID[e.ID] = l
	s.signs.add(s.slots, v)
	for last := x.last(); x.recent.Len() > x.max || !last.expires.After(now); last = x.last() {
		x.forget(last)
	}
	return nil
}

// last is the slot that was not found for the longest time. There is one.
func (x *MemoryIndex) last() *slot {
	l, _ := x.recent.Back().Value.(*slot)
	return l
}

// forget takes a slot away; the last of its space comes to its place.
func (x *MemoryIndex) forget(l *slot) {
	s := l.space
	if s.byID[l.id] != l {
		return
	}
	end := len(s.slots) - 1
	s.slots[l.at] = s.slots[end]
	s.slots[l.at].at = l.at
	s.slots[end] = nil
	s.slots = s.slots[:end]
	s.signs.move(l.at, end)
	delete(s.byID, l.id)
	x.recent.Remove(l.recent)
	if end == 0 && x.spaces[s.name] == s {
		delete(x.spaces, s.name)
	}
}

// Nearest implements Index.
func (x *MemoryIndex) Nearest(_ context.Context, name string, vector []float32, k int) ([]Neighbour, error) {
	q, ok := Unit(vector)
	if !ok {
		return nil, ErrVector
	}
	if k <= 0 {
		return nil, nil
	}
	found, err := x.search(name, q, k)
	if len(found) == 0 || err != nil {
		return nil, err
	}
	out := make([]Neighbour, len(found))
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, f := range found {
		out[i] = Neighbour{f.slot.id, f.similarity}
		if f.slot.space.byID[f.slot.id] == f.slot {
			x.recent.MoveToFront(f.slot.recent)
		}
	}
	return out, nil
}

// A candidate is a slot with its similarity.
type candidate struct {
	slot       *slot
	similarity float32
}

// search looks at the space, beside others who search.
func (x *MemoryIndex) search(name string, q []float32, k int) ([]candidate, error) {
	now := x.now()
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.spaces[name]
	if s == nil {
		return nil, nil
	}
	if len(q) != s.dim {
		return nil, ErrVector
	}
	best := make([]candidate, 0, min(k, len(s.slots))+1)
	if !s.signs.use(len(s.slots)) {
		for _, l := range s.slots {
			best = rank(best, k, l, q, now)
		}
		return best, nil
	}
	m, _ := x.marks.Get().(*marks)
	defer x.marks.Put(m)
	s.signs.nearest(m, q, max(k, compared), func(i int) { best = rank(best, k, s.slots[i], q, now) })
	return best, nil
}

// rank puts a slot among the best k, unless it has expired.
func rank(best []candidate, k int, l *slot, q []float32, now time.Time) []candidate {
	if !l.expires.After(now) {
		return best
	}
	c := candidate{l, dot(q, l.vector)}
	if len(best) == k && c.similarity <= best[k-1].similarity {
		return best
	}
	i := len(best)
	best = append(best, c)
	for ; i > 0 && best[i-1].similarity < c.similarity; i-- {
		best[i] = best[i-1]
	}
	best[i] = c
	return best[:min(k, len(best))]
}

// Remove implements Index.
func (x *MemoryIndex) Remove(_ context.Context, name string, ids ...string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.spaces[name]
	if s == nil {
		return nil
	}
	for _, id := range ids {
		if l := s.byID[id]; l != nil {
			x.forget(l)
		}
	}
	return nil
}

// Drop implements Index.
func (x *MemoryIndex) Drop(_ context.Context, name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.spaces[name]
	if s == nil {
		return nil
	}
	for _, l := range s.slots {
		x.recent.Remove(l.recent)
	}
	delete(x.spaces, name)
	return nil
}

// Len is how many entries there are, those that have expired and were not swept yet among them.
func (x *MemoryIndex) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.recent.Len()
}

// Unit is a copy of v of length one. False: it has no direction, a number that is none, or too many.
func Unit(v []float32) ([]float32, bool) {
	var sum float64
	for _, f := range v {
		sum += float64(f) * float64(f)
	}
	if len(v) == 0 || len(v) > MaxDim || !(sum > 0) || math.IsInf(sum, 0) { // not a number is not above 0
		return nil, false
	}
	u, by := make([]float32, len(v)), 1/math.Sqrt(sum)
	for i, f := range v {
		u[i] = float32(float64(f) * by)
	}
	return u, true
}

// dot is the inner product. Four sums let the processor work on several products at once; the compiler does not do it by itself.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}
