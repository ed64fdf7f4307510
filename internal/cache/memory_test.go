package cache_test

import (
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/cache/cachetest"
)

func TestMemory(t *testing.T) {
	now := time.Now()
	cachetest.Run(t, cachetest.Harness{
		Stores: func(*testing.T) (a, b cache.Store) {
			m := cache.NewMemory(4<<20, func() time.Time { return now })
			return m, m
		},
		Pass: func(_ *testing.T, d time.Duration) { now = now.Add(d) },
	})
}

// What does not fit goes, what was asked for the longest ago first, and what is larger than all is not kept.
func TestMemoryIsBounded(t *testing.T) {
	m := cache.NewMemory(10_000, nil)
	k := func(i int) cache.Key { return cache.Key{Sum: [32]byte{byte(i)}} }
	for i := range 10 {
		_ = m.Set(t.Context(), k(i), make([]byte, 1500), time.Hour)
		_, _ = m.Get(t.Context(), k(0)) // in use
	}
	if n, size := m.Size(); n != 4 || size > 10_000 {
		t.Errorf("%d of %d bytes", n, size)
	}
	if v, _ := m.Get(t.Context(), k(0)); v == nil {
		t.Error("what is in use has gone")
	}
	_ = m.Set(t.Context(), k(0), make([]byte, 20_000), time.Hour)
	if v, _ := m.Get(t.Context(), k(0)); v != nil {
		t.Error("an old value stays where the new one was too large")
	}
}
