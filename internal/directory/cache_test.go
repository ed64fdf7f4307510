package directory_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// A source is a store that can be down, slow and counted.
type source struct {
	*directory.Memory
	looked atomic.Int64
	down   atomic.Bool
	gap    atomic.Bool
	hold   func(n int64) <-chan struct{} // when set: the nth look-up waits for it after it has read
}

var errDown = errors.New("the store is down")

func (s *source) ByHash(ctx context.Context, h auth.Hash) (*directory.Entry, error) {
	n := s.looked.Add(1)
	if s.down.Load() {
		return nil, errDown
	}
	e, err := s.Memory.ByHash(ctx, h)
	if s.hold != nil {
		select {
		case <-s.hold(n):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return e, err
}

func (s *source) Changes(ctx context.Context, seq int64) ([]directory.Change, error) {
	if s.down.Load() {
		return nil, errDown
	}
	if s.gap.Swap(false) {
		return nil, directory.ErrGap
	}
	return s.Memory.Changes(ctx, seq)
}

func (s *source) Newest(ctx context.Context) (int64, error) {
	if s.down.Load() {
		return 0, errDown
	}
	return s.Memory.Newest(ctx)
}

func hashOf(n int) (h auth.Hash) {
	binary.BigEndian.PutUint64(h[24:], uint64(n+1))
	// spread over the shards as real hashes are
	h[0] = byte(n * 37)
	return h
}

// put stores a key with the hash of a number.
func put(t testing.TB, s directory.Store, n int, change ...func(*directory.Key)) *directory.Key {
	t.Helper()
	id, err := directory.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := &directory.Key{Record: directory.Record{ID: id, Name: fmt.Sprint("k", n), Spec: directory.Spec{Models: []string{"*"}}}, Org: directory.DefaultOrganisation, Hash: hashOf(n)}
	for _, f := range change {
		f(k)
	}
	if err := s.Keys().Create(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	return k
}

// look asks a cache for the key of a number: its name, "none", or an error's kind.
func look(t testing.TB, c *directory.Cache, n int) string {
	t.Helper()
	who, err := c.Key(t.Context(), hashOf(n))
	switch {
	case err != nil:
		return string(llm.AsError(err).Kind)
	case who == nil:
		return "none"
	case who.Disabled:
		return "disabled"
	}
	return who.Name
}

func run(t *testing.T, c *directory.Cache) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	return func() { cancel(); <-ended }
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

// Known and unknown keys are asked for once, however many want them at a time.
func TestCacheSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		s := &source{Memory: directory.NewMemory(), hold: func(int64) <-chan struct{} { return hold }}
		put(t, s, 1)
		c := directory.NewCache(directory.CacheOptions{Source: s})
		for n, name := range map[int]string{1: "k1", 2: "none"} {
			s.looked.Store(0)
			var callers sync.WaitGroup
			for range 50 {
				callers.Go(func() { want(t, "a caller", look(t, c, n), name) })
			}
			synctest.Wait()
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := c.Key(gone, hashOf(n)); !errors.Is(err, context.Canceled) {
				t.Errorf("a caller who has left: %v", err)
			}
			hold <- struct{}{}
			callers.Wait()
			want(t, "again", look(t, c, n), name)
			if got := s.looked.Load(); got != 1 {
				t.Errorf("%s: %d look-ups, want 1", name, got)
			}
		}
	})
}

// Invalidate holds from the moment that it returns, also for a look-up that had already read the old state.
func TestCacheInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := make(chan struct{}), make(chan struct{})
		s := &source{Memory: directory.NewMemory(), hold: func(n int64) <-chan struct{} {
			if n == 1 {
				return before
			}
			return after
		}}
		k := put(t, s, 1)
		c := directory.NewCache(directory.CacheOptions{Source: s})
		first := make(chan string, 1)
		go func() { first <- look(t, c, 1) }()
		synctest.Wait() // it has read the key, and waits
		k.Spec.Disabled = true
		if err := s.Keys().Update(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		c.Invalidate(directory.Change{Kind: directory.KindKey, ID: k.ID})
		second := make(chan string, 1)
		go func() { second <- look(t, c, 1) }()
		synctest.Wait()
		close(after)
		want(t, "who came after", <-second, "disabled")
		close(before)
		want(t, "who came before", <-first, "k1")
		want(t, "later", look(t, c, 1), "disabled")
	})
}

// What an owner loses is lost by all its keys, and by nobody else's.
func TestCacheOwners(t *testing.T) {
	s := &source{Memory: directory.NewMemory()}
	team := &directory.Team{Record: directory.Record{ID: "t", Name: "t"}, Org: directory.DefaultOrganisation}
	user := &directory.User{Record: directory.Record{ID: "u", Name: "u"}, Org: directory.DefaultOrganisation, Teams: []string{"t"}}
	if err := errors.Join(s.Teams().Create(t.Context(), team), s.Users().Create(t.Context(), user)); err != nil {
		t.Fatal(err)
	}
	put(t, s, 1, func(k *directory.Key) { k.Team, k.User = "t", "u" })
	put(t, s, 2)
	c := directory.NewCache(directory.CacheOptions{Source: s})
	want(t, "1", look(t, c, 1), "k1")
	want(t, "2", look(t, c, 2), "k2")

	user.Teams = nil
	if err := s.Users().Update(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	looked := s.looked.Load()
	c.Invalidate(directory.Change{Kind: directory.KindUser, ID: "u"})
	want(t, "1 of a user who has left the team", look(t, c, 1), "disabled")
	want(t, "2", look(t, c, 2), "k2")
	if got := s.looked.Load() - looked; got != 1 {
		t.Errorf("%d look-ups, want 1", got)
	}
	for _, ch := range []directory.Change{{Kind: directory.KindTeam, ID: "t"}, {Kind: directory.KindOrganisation, ID: directory.DefaultOrganisation}} {
		looked = s.looked.Load()
		c.Invalidate(ch)
		look(t, c, 1)
		if s.looked.Load() != looked+1 {
			t.Errorf("%v is not heard", ch)
		}
	}
}

// Without a word from anybody, a change reaches the cache by the next poll.
func TestCachePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{Memory: directory.NewMemory()}
		k := put(t, s, 1)
		c := directory.NewCache(directory.CacheOptions{Source: s})
		stop := run(t, c)
		defer stop()
		synctest.Wait()
		want(t, "at first", look(t, c, 1), "k1")
		want(t, "not yet stored", look(t, c, 2), "none")
		k.Spec.Disabled = true
		if err := s.Keys().Update(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		put(t, s, 2)
		want(t, "before the poll", look(t, c, 1), "k1")
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		want(t, "after it", look(t, c, 1), "disabled")
		want(t, "stored since", look(t, c, 2), "k2")

		k.Spec.Disabled = false
		if err := s.Keys().Update(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		s.gap.Store(true) // and what was changed cannot be told any more
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		want(t, "after a gap", look(t, c, 1), "k1")
	})
}

// While the store is down, keys found before go on for a while, and others get 503.
func TestCacheStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{Memory: directory.NewMemory()}
		put(t, s, 1)
		put(t, s, 2)
		c := directory.NewCache(directory.CacheOptions{Source: s})
		stop := run(t, c)
		defer stop()
		synctest.Wait()
		want(t, "at first", look(t, c, 1), "k1")
		time.Sleep(time.Hour)
		s.looked.Store(0)
		want(t, "an hour later", look(t, c, 1), "k1")
		if s.looked.Load() != 0 {
			t.Error("a key that has not changed was waited for")
		}
		synctest.Wait()

		s.down.Store(true)
		time.Sleep(14 * time.Minute)
		want(t, "known", look(t, c, 1), "k1")
		want(t, "not known", look(t, c, 2), "overloaded")
		s.looked.Store(0)
		for range 100 {
			look(t, c, 2)
			look(t, c, 3)
		}
		if got := s.looked.Load(); got != 0 {
			t.Errorf("a store in trouble was asked %d times at once", got)
		}
		time.Sleep(2 * time.Minute)
		want(t, "known, for too long", look(t, c, 1), "overloaded")

		s.down.Store(false)
		time.Sleep(time.Second)
		want(t, "not known, the store is back", look(t, c, 2), "k2")
		want(t, "known, the store is back", look(t, c, 1), "k1")
		want(t, "unknown", look(t, c, 3), "none")
	})
}

// A cache that was started while the store was down becomes right once it is back.
func TestCacheStartsWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{Memory: directory.NewMemory()}
		k := put(t, s, 1)
		s.down.Store(true)
		c := directory.NewCache(directory.CacheOptions{Source: s})
		defer run(t, c)()
		synctest.Wait()
		want(t, "down", look(t, c, 1), "overloaded")
		s.down.Store(false)
		time.Sleep(time.Second)
		want(t, "back, but not yet polled", look(t, c, 1), "k1")
		k.Spec.Disabled = true
		if err := s.Keys().Update(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want(t, "polled", look(t, c, 1), "disabled")
	})
}

// A key in use is read anew now and then, behind its callers.
func TestCacheRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{Memory: directory.NewMemory()}
		put(t, s, 1)
		c := directory.NewCache(directory.CacheOptions{Source: s})
		defer run(t, c)()
		look(t, c, 1)
		time.Sleep(6 * time.Minute)
		s.looked.Store(0)
		for range 10 {
			want(t, "in use", look(t, c, 1), "k1")
		}
		synctest.Wait()
		look(t, c, 1)
		synctest.Wait()
		if got := s.looked.Load(); got != 1 {
			t.Errorf("%d look-ups, want 1", got)
		}
	})
}

// What others say of a caller is said anew after Forget.
func TestCacheBinds(t *testing.T) {
	s := &source{Memory: directory.NewMemory()}
	put(t, s, 1)
	label := "before"
	c := directory.NewCache(directory.CacheOptions{Source: s, Bind: func(w *auth.Who) { w.Name = label }})
	want(t, "at first", look(t, c, 1), "before")
	label = "after"
	want(t, "still", look(t, c, 1), "before")
	c.Forget()
	want(t, "then", look(t, c, 1), "after")
}

// A flood of keys that do not exist throws out no key that does, and takes a bounded room.
func TestCacheFlood(t *testing.T) {
	s := &source{Memory: directory.NewMemory()}
	const users = 100
	c := directory.NewCache(directory.CacheOptions{Source: s, Known: users, Unknown: 1000})
	for n := range users {
		put(t, s, n)
		want(t, "a user", look(t, c, n), fmt.Sprint("k", n))
	}
	for n := range 20_000 {
		look(t, c, users+n)
	}
	s.looked.Store(0)
	for n := range users {
		want(t, "a user", look(t, c, n), fmt.Sprint("k", n))
	}
	if got := s.looked.Load(); got != 0 {
		t.Errorf("%d users were thrown out", got)
	}
	if st := c.Stats(); st.Unknown > 1000 || st.Unknown < 500 || st.Known != users {
		t.Errorf("%+v, want at most 1000 unknown ones and %d known", st, users)
	}
}

// Keys that are used stay, those that are not make room.
func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := &source{Memory: directory.NewMemory()}
	c := directory.NewCache(directory.CacheOptions{Source: s, Known: 1000, Now: func() time.Time { now = now.Add(time.Microsecond); return now }})
	for n := range 2000 {
		put(t, s, n)
	}
	for n := range 2000 {
		look(t, c, n)
		look(t, c, n%100) // a hundred are in use
	}
	s.looked.Store(0)
	for n := range 100 {
		look(t, c, n)
	}
	if got := s.looked.Load(); got > 5 {
		t.Errorf("%d of 100 keys in use were thrown out", got)
	}
	if st := c.Stats(); st.Known > 1000 {
		t.Errorf("%d keys kept, want at most 1000", st.Known)
	}
}

// S20, plan: among a million keys a look-up costs what it costs among a hundred, known or not.
func BenchmarkCache(b *testing.B) {
	for _, n := range []int{100, 1_000_000} {
		s := &source{Memory: directory.NewMemory()}
		for i := range n {
			put(b, s, i)
		}
		c := directory.NewCache(directory.CacheOptions{Source: s, Known: 2 * n})
		key := func(b *testing.B, i int) {
			if _, err := c.Key(b.Context(), hashOf(i)); err != nil {
				b.Fatal(err)
			}
		}
		for name, from := range map[string]int{"known": 0, "unknown": n} {
			for i := range 100 {
				key(b, from+i)
			}
			b.Run(fmt.Sprintf("%s/cached/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					key(b, from+i%100)
				}
			})
			b.Run(fmt.Sprintf("%s/store/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := s.Memory.ByHash(b.Context(), hashOf(from+i%100)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	for name, kind := range map[string]directory.Kind{"key": directory.KindKey, "team": directory.KindTeam} {
		b.Run("invalidate/"+name, func(b *testing.B) { benchInvalidate(b, kind) })
	}
}

func benchInvalidate(b *testing.B, kind directory.Kind) {
	s := &source{Memory: directory.NewMemory()}
	c := directory.NewCache(directory.CacheOptions{Source: s})
	keys := make([]*directory.Key, 100_000)
	for i := range keys {
		keys[i] = put(b, s, i)
		look(b, c, i)
	}
	for i := 0; b.Loop(); i++ {
		id := "other"
		if kind == directory.KindKey {
			id = keys[i%len(keys)].ID
		}
		c.Invalidate(directory.Change{Kind: kind, ID: id})
	}
}
