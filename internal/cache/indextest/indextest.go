// Package indextest holds every index of vectors to what the package cache asks of one.
package indextest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/internal/cache"
)

// A Harness makes what is tested. Time stands still for the index but for Pass, or passes at its usual pace.
type Harness struct {
	// Indexes are two ways to one empty index, as two replicas have them; one and the same where it is not shared.
	Indexes func(t *testing.T) (a, b cache.Index)
	// Now is the index's time.
	Now func() time.Time
	// Pass lets time pass for the index.
	Pass func(t *testing.T, d time.Duration)
	// Settle waits until all that was added by either is found.
	Settle func(t *testing.T)
	// Near is how far a similarity may be from the true one.
	Near float64
}

const dim = 64

// A room is one test's.
type room struct {
	*testing.T
	h    Harness
	a, b cache.Index
	rand *rand.Rand
}

// vector is a random one.
func (r *room) vector() []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(r.rand.NormFloat64())
	}
	return v
}

// beside is a vector whose cosine with v is c.
func (r *room) beside(v []float32, c float64) []float32 {
	w := r.vector()
	var vv, vw float64
	for i := range v {
		vv += float64(v[i]) * float64(v[i])
		vw += float64(v[i]) * float64(w[i])
	}
	var ww float64
	for i := range w {
		w[i] -= float32(vw / vv * float64(v[i])) // now at a right angle
		ww += float64(w[i]) * float64(w[i])
	}
	for i := range w {
		w[i] = float32(c*float64(v[i])/math.Sqrt(vv) + math.Sqrt(1-c*c)*float64(w[i])/math.Sqrt(ww))
	}
	return w
}

func (r *room) add(x cache.Index, space, id string, v []float32, life time.Duration) {
	r.Helper()
	if err := x.Add(r.Context(), space, cache.Entry{ID: id, Vector: v, Expires: r.h.Now().Add(life)}); err != nil {
		r.Fatalf("add %s: %v", id, err)
	}
}

// find holds what both ways show against want, which are IDs in order.
func (r *room) find(space string, v []float32, k int, want ...string) []cache.Neighbour {
	r.Helper()
	var last []cache.Neighbour
	for i, x := range []cache.Index{r.a, r.b} {
		got, err := x.Nearest(r.Context(), space, v, k)
		if err != nil {
			r.Fatal(err)
		}
		var ids []string
		for _, n := range got {
			ids = append(ids, n.ID)
		}
		if !slices.Equal(ids, want) {
			r.Errorf("way %d found %v, want %v", i, got, want)
		}
		last = got
	}
	return last
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		f    func(r *room)
	}{
		{"the nearest come first, with their cosines", cosines},
		{"one space never shows another's", apart},
		{"an entry ends with its time", ends},
		{"an entry is replaced", replaced},
		{"what is removed is gone", removed},
		{"what has no direction is refused", refused},
		{"the nearest of many is found", many},
		{"any ID comes back", names},
		{"many at once", crowd},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := h.Indexes(t)
			tt.f(&room{t, h, a, b, rand.New(rand.NewPCG(1, 2))}) //nolint:gosec // the same vectors in each run
		})
	}
}

func cosines(r *room) {
	v := r.vector()
	r.find("s", v, 2)
	want := map[string]float64{"same": 1, "near": 0.95, "less": 0.9, "far": 0.3, "across": 0, "against": -1}
	for id, c := range want {
		w := r.beside(v, c)
		for i := range w {
			w[i] *= 7 // length is nothing
		}
		r.add(r.a, "s", id, w, time.Hour)
	}
	r.h.Settle(r.T)
	for _, n := range r.find("s", v, 10, "same", "near", "less", "far", "across", "against") {
		if got := float64(n.Similarity); math.Abs(got-want[n.ID]) > r.h.Near {
			r.Errorf("%s has the cosine %v, want %v", n.ID, got, want[n.ID])
		}
	}
	r.find("s", v, 2, "same", "near")
	r.find("s", v, 1, "same")
	r.find("s", v, 0)
}

func apart(r *room) {
	v := r.vector()
	r.add(r.a, "one", "x", v, time.Hour)
	r.add(r.b, "two", "y", r.beside(v, 0.5), time.Hour)
	r.h.Settle(r.T)
	r.find("one", v, 5, "x")
	r.find("two", v, 5, "y")
	for _, other := range []string{"", "on", "one:", "one*", "{one}", "*", "ONE"} {
		r.find(other, v, 5)
	}
	r.err(r.a.Remove(r.Context(), "two", "x"))
	r.find("one", v, 5, "x")
	r.err(r.b.Drop(r.Context(), "two"))
	r.find("one", v, 5, "x")
	r.find("two", v, 5)
}

func (r *room) err(err error) {
	r.Helper()
	if err != nil {
		r.Error(err)
	}
}

func ends(r *room) {
	v := r.vector()
	r.add(r.a, "s", "short", v, 10*time.Minute)
	r.add(r.a, "s", "long", r.beside(v, 0.9), time.Hour)
	r.add(r.a, "s", "over", v, -time.Minute)
	r.h.Settle(r.T)
	r.find("s", v, 5, "short", "long")
	r.h.Pass(r.T, 11*time.Minute)
	r.find("s", v, 5, "long")
	r.add(r.b, "s", "new", v, 10*time.Minute) // must not shorten the life of long
	r.h.Settle(r.T)
	r.h.Pass(r.T, 11*time.Minute)
	r.find("s", v, 5, "long")
	r.h.Pass(r.T, time.Hour)
	r.find("s", v, 5)
}

func replaced(r *room) {
	v, w := r.vector(), r.vector()
	r.add(r.a, "s", "x", v, 10*time.Minute)
	r.h.Settle(r.T)
	r.add(r.b, "s", "x", w, time.Hour)
	r.h.Settle(r.T)
	if n := r.find("s", w, 5, "x"); len(n) != 1 || n[0].Similarity < float32(1-r.h.Near) {
		r.Errorf("the vector is the old one: %v", n)
	}
	r.h.Pass(r.T, 11*time.Minute)
	r.find("s", w, 5, "x") // its time is the new one
	r.add(r.a, "s", "x", w, 10*time.Minute)
	r.h.Settle(r.T)
	r.h.Pass(r.T, 11*time.Minute)
	r.find("s", w, 5)
}

func removed(r *room) {
	v := r.vector()
	r.err(r.a.Remove(r.Context(), "s", "nobody"))
	r.err(r.a.Drop(r.Context(), "s"))
	for i := range 5 {
		r.add(r.a, "s", fmt.Sprint(i), r.beside(v, 1-float64(i)/10), time.Hour)
	}
	r.err(r.a.Remove(r.Context(), "s", "4")) // whether it is there yet or not
	r.h.Settle(r.T)
	r.find("s", v, 9, "0", "1", "2", "3")
	r.err(r.b.Remove(r.Context(), "s", "1", "3", "nobody"))
	r.find("s", v, 9, "0", "2")
	r.err(r.b.Remove(r.Context(), "s"))
	r.find("s", v, 9, "0", "2")
	r.err(r.a.Drop(r.Context(), "s"))
	r.find("s", v, 9)
	r.add(r.a, "s", "5", v, time.Hour)
	r.h.Settle(r.T)
	r.find("s", v, 9, "5")
}

func refused(r *room) {
	nan, inf := r.vector(), r.vector()
	nan[3], inf[3] = float32(math.NaN()), float32(math.Inf(1))
	for name, v := range map[string][]float32{"none": nil, "zero": make([]float32, dim), "nan": nan, "inf": inf, "long": make([]float32, cache.MaxDim+1)} {
		if len(v) > dim {
			v[0] = 1
		}
		err := r.a.Add(r.Context(), "s", cache.Entry{ID: name, Vector: v, Expires: r.h.Now().Add(time.Hour)})
		if !errors.Is(err, cache.ErrVector) {
			r.Errorf("add %s: %v, want %v", name, err, cache.ErrVector)
		}
		if _, err := r.a.Nearest(r.Context(), "s", v, 1); !errors.Is(err, cache.ErrVector) {
			r.Errorf("look for %s: %v, want %v", name, err, cache.ErrVector)
		}
	}
	// A space has one dimension: another is an error or is not found, and spoils nothing.
	v := r.vector()
	r.add(r.a, "s", "good", v, time.Hour)
	r.h.Settle(r.T)
	_ = r.a.Add(r.Context(), "s", cache.Entry{ID: "short", Vector: v[:dim/2], Expires: r.h.Now().Add(time.Hour)})
	r.h.Settle(r.T)
	r.find("s", v, 5, "good")
	if got, err := r.a.Nearest(r.Context(), "s", v[:dim/2], 5); !errors.Is(err, cache.ErrVector) {
		r.Errorf("a vector of another dimension: %v, %v, want %v", got, err, cache.ErrVector)
	}
}

func many(r *room) {
	const n = 1500
	all := make([][]float32, n)
	for i := range all {
		all[i] = r.vector()
		r.add(r.a, "s", fmt.Sprint(i), all[i], time.Hour)
		if i%100 == 0 {
			r.h.Settle(r.T)
		}
	}
	r.h.Settle(r.T)
	missed := 0
	const asked = 100
	for range asked {
		i := r.rand.IntN(n)
		got, err := r.b.Nearest(r.Context(), "s", r.beside(all[i], 0.9), 1)
		if err != nil {
			r.Fatal(err)
		}
		if len(got) != 1 || got[0].ID != fmt.Sprint(i) {
			missed++
		}
	}
	if missed > asked/50 {
		r.Errorf("%d of %d were not found", missed, asked)
	}
}

func names(r *room) {
	for i, id := range []string{"a b", "\"}{'\\", "\x00\xff\r\n", "", "*", "1.5", "{x}"} {
		space := fmt.Sprint(i)
		v := r.vector()
		r.add(r.a, space, id, v, time.Hour)
		r.h.Settle(r.T)
		r.find(space, v, 1, id)
		r.err(r.b.Remove(r.Context(), space, id))
		r.find(space, v, 1)
	}
}

func crowd(r *room) {
	var all sync.WaitGroup
	for i := range 8 {
		v := r.vector()
		all.Go(func() {
			x, space := r.a, fmt.Sprint(i%3)
			if i%2 == 1 {
				x = r.b
			}
			for j := range 20 {
				e := cache.Entry{ID: fmt.Sprint(i, j%5), Vector: v, Expires: r.h.Now().Add(time.Hour)}
				if err := x.Add(r.Context(), space, e); err != nil {
					r.Error(err)
				}
				if got, err := x.Nearest(r.Context(), space, v, 3); err != nil || len(got) > 3 {
					r.Error(len(got), err)
				}
				if err := x.Remove(r.Context(), space, fmt.Sprint(i, (j+1)%5)); err != nil {
					r.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range 3 {
		r.err(r.a.Drop(r.Context(), fmt.Sprint(i)))
	}
}
