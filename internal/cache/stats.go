package cache

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats are what a cache has seen since this process began, and what its store holds.
type Stats struct {
	Entries, Bytes int64 // -1: not known
	Looked         map[State]int64
	Bypassed       map[string]int64 // by why
	Stored         int64
	Refused        map[string]int64 // answers that were not kept, by why
	Purged         int64
	StoreErrors    int64
	Found          map[string]int64 // look-ups by meaning, by what became of them
	Indexed        map[string]int64 // answers made known by their meaning, and why others were not
	Agreed         map[string]int64 // found answers that were held against the model's own: equal, near, far
}

type stats struct {
	stored, purged, errors atomic.Int64

	mu      sync.Mutex // guards what follows
	looks   map[State]int64
	skipped map[string]int64
	refuses map[string]int64
	finds   map[string]int64
	indexes map[string]int64
	agrees  map[string]int64
}

func bump[K comparable](mu *sync.Mutex, m *map[K]int64, k K) {
	mu.Lock()
	defer mu.Unlock()
	if *m == nil {
		*m = make(map[K]int64)
	}
	(*m)[k]++
}

func (s *stats) looked(at State)     { bump(&s.mu, &s.looks, at) }
func (s *stats) refused(why string)  { bump(&s.mu, &s.refuses, why) }
func (s *stats) found(what string)   { bump(&s.mu, &s.finds, what) }
func (s *stats) indexed(what string) { bump(&s.mu, &s.indexes, what) }
func (s *stats) agreed(how string)   { bump(&s.mu, &s.agrees, how) }
func (s *stats) storeFailed()        { s.errors.Add(1) }
func (s *stats) bypassed(why string) {
	bump(&s.mu, &s.looks, Bypass)
	bump(&s.mu, &s.skipped, why)
}

// Stats tells what the cache has seen.
func (c *Cache) Stats() Stats {
	out := Stats{Stored: c.stats.stored.Load(), Purged: c.stats.purged.Load(), StoreErrors: c.stats.errors.Load()}
	out.Entries, out.Bytes = c.store.Size()
	c.stats.mu.Lock()
	defer c.stats.mu.Unlock()
	out.Looked, out.Bypassed, out.Refused = maps.Clone(c.stats.looks), maps.Clone(c.stats.skipped), maps.Clone(c.stats.refuses)
	out.Found, out.Indexed, out.Agreed = maps.Clone(c.stats.finds), maps.Clone(c.stats.indexes), maps.Clone(c.stats.agrees)
	return out
}
