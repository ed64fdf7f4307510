// Package cachetest holds every store of answers to what the package cache asks of one.
package cachetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"sluice/internal/cache"
)

// A Harness makes what is tested.
type Harness struct {
	// Stores are two ways to one empty store, as two replicas have them.
	Stores func(t *testing.T) (a, b cache.Store)
	// Pass lets time pass for both.
	Pass func(t *testing.T, d time.Duration)
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, *room){
		"kept": testKept, "time": testTime, "purge": testPurge, "apart": testApart, "many": testMany,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := h.Stores(t)
			test(t, &room{t, a, b, h.Pass})
		})
	}
}

type room struct {
	*testing.T
	a, b cache.Store
	pass func(*testing.T, time.Duration)
}

func tag(n byte) cache.Tag {
	if n == 0 {
		return cache.Tag{}
	}
	return cache.Tag{n, 0xff, 0, ':', '*'}
}

// key is one of an owner, and of a model.
func key(org, team, key, model, n byte) cache.Key {
	return cache.Key{Org: tag(org), Team: tag(team), Key: tag(key), Model: tag(model), Sum: [32]byte{n, org, team, key, model}}
}

func (r *room) set(k cache.Key, v string, ttl time.Duration) {
	r.Helper()
	if err := r.a.Set(r.Context(), k, []byte(v), ttl); err != nil {
		r.Fatal(err)
	}
}

// want looks on both replicas. "": nothing.
func (r *room) want(k cache.Key, want string) {
	r.Helper()
	for i, s := range []cache.Store{r.a, r.b} {
		got, err := s.Get(r.Context(), k)
		if err != nil || string(got) != want || want == "" && got != nil {
			r.Errorf("replica %d: %q, %v; want %q", i, got, err, want)
		}
	}
}

func testKept(t *testing.T, r *room) {
	k := key(1, 2, 3, 4, 5)
	r.want(k, "")
	r.set(k, "one", time.Minute)
	r.want(k, "one")
	r.set(k, "two", time.Minute)
	r.want(k, "two")
	large := string(bytes.Repeat([]byte{0, 0xff, 'x'}, 100_000))
	r.set(k, large, time.Minute)
	r.want(k, large)
	r.set(k, "", time.Minute)
	if got, err := r.b.Get(t.Context(), k); err != nil || len(got) != 0 {
		t.Errorf("an empty value: %q, %v", got, err)
	}
}

func testTime(t *testing.T, r *room) {
	r.set(key(1, 0, 0, 0, 1), "short", time.Second)
	r.set(key(1, 0, 0, 0, 2), "long", time.Hour)
	r.pass(t, time.Minute)
	r.want(key(1, 0, 0, 0, 1), "")
	r.want(key(1, 0, 0, 0, 2), "long")
	r.set(key(1, 0, 0, 0, 2), "again", time.Hour) // and its time begins anew
	r.pass(t, 59*time.Minute)
	r.want(key(1, 0, 0, 0, 2), "again")
}

// testApart: keys that differ in anything at all have nothing in common.
func testApart(t *testing.T, r *room) {
	keys := []cache.Key{key(1, 1, 1, 1, 1), key(2, 1, 1, 1, 1), key(1, 2, 1, 1, 1), key(1, 1, 2, 1, 1), key(1, 1, 1, 2, 1), key(1, 1, 1, 1, 2), key(1, 0, 0, 1, 1)}
	for i, k := range keys {
		r.set(k, fmt.Sprint(i), time.Minute)
	}
	for i, k := range keys {
		r.want(k, fmt.Sprint(i))
	}
	last := keys[0]
	last.Sum[31]++
	r.want(last, "")
}

func testPurge(t *testing.T, r *room) {
	all := []cache.Key{
		key(1, 1, 1, 1, 1), key(1, 1, 2, 1, 1), key(1, 2, 3, 2, 1), key(1, 0, 0, 1, 1), key(1, 1, 0, 1, 1), // the last two are an organisation's and a team's
		key(2, 1, 1, 1, 1), key(2, 0, 0, 2, 1),
	}
	now := time.Now()
	for _, tt := range []struct {
		name string
		f    cache.Filter
		left []int
	}{
		{"an organisation", cache.Filter{Org: tag(1)}, []int{5, 6}},
		{"a team", cache.Filter{Org: tag(1), Team: tag(1)}, []int{2, 5, 6}},
		{"a key, and what it may have put where more share", cache.Filter{Org: tag(1), Key: tag(1)}, []int{1, 2, 5, 6}},
		{"a model", cache.Filter{Model: tag(2)}, []int{0, 1, 3, 4, 5}},
		{"a model of an organisation", cache.Filter{Org: tag(1), Model: tag(1)}, []int{2, 5, 6}},
		{"what nobody has", cache.Filter{Org: tag(9)}, []int{0, 1, 2, 3, 4, 5, 6}},
		{"old ones", cache.Filter{Before: now.Add(-time.Hour * 24 * 400)}, []int{0, 1, 2, 3, 4, 5, 6}},
		{"all before a time", cache.Filter{Before: now.Add(time.Hour * 24 * 400)}, nil},
		{"all", cache.Filter{}, nil},
	} {
		for _, k := range all {
			r.set(k, "v", time.Hour)
		}
		n, err := r.b.Purge(t.Context(), tt.f)
		if want := len(all) - len(tt.left); n != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", tt.name, n, err, want)
		}
		if again, err := r.a.Purge(t.Context(), tt.f); again != 0 || err != nil {
			t.Errorf("%s, again: %d, %v", tt.name, again, err)
		}
		left := map[int]bool{}
		for _, i := range tt.left {
			left[i] = true
		}
		for i, k := range all {
			want := ""
			if left[i] {
				want = "v"
			}
			r.want(k, want)
		}
	}
}

// testMany uses a store from everywhere, and purges more than one step of it.
func testMany(t *testing.T, r *room) {
	const n = 1200
	var work sync.WaitGroup
	for w := range 8 {
		work.Go(func() {
			for i := w; i < n; i += 8 {
				k := key(1, 0, 0, 1, 0)
				k.Sum[30], k.Sum[31] = byte(i>>8), byte(i)
				if err := r.a.Set(context.WithoutCancel(t.Context()), k, []byte("v"), time.Hour); err != nil {
					t.Error(err)
				}
				if got, err := r.b.Get(t.Context(), k); err != nil || string(got) != "v" {
					t.Errorf("%d: %q, %v", i, got, err)
				}
			}
		})
	}
	work.Wait()
	if got, err := r.b.Purge(t.Context(), cache.Filter{Org: tag(1)}); got != n || err != nil {
		t.Errorf("%d, %v; want %d", got, err, n)
	}
}
