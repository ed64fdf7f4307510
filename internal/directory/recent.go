package directory

import (
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/auth"
)

// A recent keeps the values that were used last, up to a number of them. It is made of shards, so that readers
// do not wait for each other.
type recent[V any] struct {
	shards []shard[V]
	most   int // in each shard
}

type shard[V any] struct {
	mu sync.RWMutex // guards m
	m  map[auth.Hash]*used[V]
}

type used[V any] struct {
	val  V
	last atomic.Int64 // when it was used last, in nanoseconds
}

func newRecent[V any](most int) *recent[V] {
	n := 64
	for n > 1 && most/n < 64 { // small ones are exact
		n /= 2
	}
	r := &recent[V]{shards: make([]shard[V], n), most: max(1, most/n)}
	for i := range r.shards {
		r.shards[i].m = make(map[auth.Hash]*used[V])
	}
	return r
}

// shard picks by the hash, which an outsider can neither foresee nor choose.
func (r *recent[V]) shard(h auth.Hash) *shard[V] { return &r.shards[int(h[0])%len(r.shards)] }

func (r *recent[V]) get(h auth.Hash, now time.Time) (val V, ok bool) {
	s := r.shard(h)
	s.mu.RLock()
	u := s.m[h]
	s.mu.RUnlock()
	if u == nil {
		return val, false
	}
	u.last.Store(now.UnixNano())
	return u.val, true
}

// sampled is how many entries are looked at to find one that was not used for long. With eight, what is thrown
// out is nearly always among the oldest eighth, and nothing must be kept in order while it is read.
const sampled = 8

// put keeps a value, and gives the one that had to make room for it.
func (r *recent[V]) put(h auth.Hash, val V, now time.Time) (out auth.Hash, gone V, evicted bool) {
	u := &used[V]{val: val}
	u.last.Store(now.UnixNano())
	s := r.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.m[h]; !there && len(s.m) >= r.most {
		out = s.oldest()
		gone, evicted = s.m[out].val, true
		delete(s.m, out)
	}
	s.m[h] = u
	return out, gone, evicted
}

// oldest finds a value that was not used for long.
func (s *shard[V]) oldest() (oldest auth.Hash) {
	var last int64
	n := 0
	for h, u := range s.m { // begins at a random place
		if t := u.last.Load(); n == 0 || t < last {
			oldest, last = h, t
		}
		if n++; n == sampled {
			break
		}
	}
	return oldest
}

// each calls f with every value, while readers go on.
func (r *recent[V]) each(f func(auth.Hash, V)) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		for h, u := range s.m {
			f(h, u.val)
		}
		s.mu.RUnlock()
	}
}

func (r *recent[V]) remove(h auth.Hash) {
	s := r.shard(h)
	s.mu.Lock()
	delete(s.m, h)
	s.mu.Unlock()
}

func (r *recent[V]) len() (n int) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}
