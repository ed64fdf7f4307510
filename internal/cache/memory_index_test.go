package cache_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/cache/indextest"
)

func TestMemoryIndex(t *testing.T) {
	var at atomic.Int64
	now := func() time.Time { return time.Unix(1_800_000_000, at.Load()) }
	indextest.Run(t, indextest.Harness{
		Indexes: func(*testing.T) (a, b cache.Index) {
			x := cache.NewMemoryIndex(cache.MemoryIndexOptions{Now: now})
			return x, x
		},
		Now:    now,
		Pass:   func(_ *testing.T, d time.Duration) { at.Add(int64(d)) },
		Settle: func(*testing.T) {},
		Near:   1e-6,
	})
}

// direction is a vector along one axis.
func direction(dim, axis int) []float32 {
	v := make([]float32, dim)
	v[axis] = 1
	return v
}

func TestMemoryIndexIsBounded(t *testing.T) {
	now := time.Now()
	x := cache.NewMemoryIndex(cache.MemoryIndexOptions{Max: 3, Now: func() time.Time { return now }})
	add := func(space, id string, axis int, life time.Duration) {
		t.Helper()
		if err := x.Add(t.Context(), space, cache.Entry{ID: id, Vector: direction(8, axis), Expires: now.Add(life)}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(space string, axis int, want string) {
		t.Helper()
		got, err := x.Nearest(t.Context(), space, direction(8, axis), 1)
		if err != nil {
			t.Fatal(err)
		}
		id := ""
		if len(got) == 1 && got[0].Similarity > 0.5 {
			id = got[0].ID
		}
		if id != want {
			t.Errorf("found %q in %s, want %q", id, space, want)
		}
	}
	add("a", "1", 1, time.Hour)
	add("b", "2", 2, time.Hour)
	add("a", "3", 3, time.Hour)
	has("a", 1, "1") // so 2 is who was not found for the longest time
	add("c", "4", 4, time.Hour)
	has("b", 2, "")
	has("a", 1, "1")
	has("a", 3, "3")
	has("c", 4, "4")
	if n := x.Len(); n != 3 {
		t.Errorf("%d entries, want 3", n)
	}
	now = now.Add(2 * time.Hour) // all have expired: the next one sweeps them
	add("d", "5", 5, time.Hour)
	if n := x.Len(); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

// embedding is a random vector like those of a model: all of them lean to one side, and topics have company.
func embedding(r *rand.Rand, dim, topics int) []float32 {
	topic := rand.New(rand.NewPCG(9, r.Uint64N(uint64(topics))))
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(0.5 + topic.NormFloat64() + 0.5*r.NormFloat64())
	}
	return v
}

// The signs of a large space that changes all the time stay those of their vectors.
func TestSignsFollowTheSpace(t *testing.T) {
	const n, dim = 3000, 96
	r := rand.New(rand.NewPCG(3, 4))
	x := cache.NewMemoryIndex(cache.MemoryIndexOptions{})
	live := map[string][]float32{}
	for i := range 2 * n {
		id, v := fmt.Sprint(i%(n+n/2)), embedding(r, dim, 300)
		if err := x.Add(t.Context(), "s", cache.Entry{ID: id, Vector: v, Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		live[id] = v
		if i%3 == 0 {
			gone := fmt.Sprint(r.IntN(i + 1))
			if err := x.Remove(t.Context(), "s", gone); err != nil {
				t.Fatal(err)
			}
			delete(live, gone)
		}
	}
	for id, v := range live {
		got, err := x.Nearest(t.Context(), "s", v, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].ID != id { // its own bits differ in none
			t.Fatalf("%s is not found by its own vector: %v", id, got)
		}
	}
	if x.Len() != len(live) {
		t.Errorf("%d entries, want %d", x.Len(), len(live))
	}
}

func TestNearestAllocates(t *testing.T) {
	x, q := filled(t, 2000, 384)
	got := testing.AllocsPerRun(100, func() {
		if _, err := x.Nearest(t.Context(), "s", q, 2); err != nil {
			t.Fatal(err)
		}
	})
	if got > 3 && !racing { // the unit query, the candidates and the answer
		t.Errorf("%v allocations, want 3", got)
	}
}

func filled(t testing.TB, n, dim int) (x *cache.MemoryIndex, q []float32) {
	r := rand.New(rand.NewPCG(1, 1))
	x = cache.NewMemoryIndex(cache.MemoryIndexOptions{Max: n})
	for i := range n {
		q = embedding(r, dim, 500)
		if err := x.Add(t.Context(), "s", cache.Entry{ID: fmt.Sprint(i), Vector: q, Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	return x, q
}

func BenchmarkNearest(b *testing.B) {
	for _, n := range []int{500, 10_000, 100_000} {
		for _, dim := range []int{256, 512} {
			b.Run(fmt.Sprintf("%dx%d", n, dim), func(b *testing.B) {
				x, q := filled(b, n, dim)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := x.Nearest(b.Context(), "s", q, 2); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	x, q := filled(b, 10_000, 512)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if err := x.Add(b.Context(), "s", cache.Entry{ID: fmt.Sprint("n", i), Vector: q, Expires: time.Now().Add(time.Hour)}); err != nil {
			b.Fatal(err)
		}
	}
}
