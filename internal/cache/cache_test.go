package cache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/auth"
	"sluice/internal/cache"
	"sluice/internal/llm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// codec decodes requests of which only the words matter.
type codec struct{ chat *llm.Chat }

func (c codec) Format() llm.Format                                          { return llm.OpenAIChat }
func (c codec) Decode([]byte) (llm.Payload, error)                          { return c.chat, nil }
func (c codec) Encode(llm.Payload, *llm.Encoding) ([]byte, error)           { return nil, errors.New("not here") }
func (c codec) Retarget(raw []byte, _ *llm.Marks, _ *llm.Encoding) [][]byte { return [][]byte{raw} }

// asked is a call that says something.
func asked(who *auth.Who, text string) *cache.Ask {
	chat := &llm.Chat{Format: llm.OpenAIChat, Messages: []llm.Message{{Role: llm.RoleUser, Parts: []llm.Part{{Text: text}}}}}
	body := []byte(`{"model":"m","q":"` + text + `"}`)
	return &cache.Ask{
		Who: who, Mode: cache.Exact, Route: "m", Raw: true, Body: body,
		Call: &llm.Call{Format: llm.OpenAIChat, Op: llm.OpChat, Model: "m", Choices: 1, Body: llm.NewBody(codec{chat}, body, llm.Marks{})},
	}
}

// said is a stream of one answer, of which raw is all that there is.
type said struct {
	text string
	err  error
	done bool
}

func (s *said) Next() (*llm.Event, error) {
	if s.done {
		return nil, cmpErr(s.err, io.EOF)
	}
	s.done = true
	if s.err != nil {
		return nil, s.err
	}
	return &llm.Event{
		Raw: []byte(s.text), Format: llm.OpenAIChat, Output: true,
		Delta: []llm.Delta{{Part: &llm.Part{Text: s.text}, Stop: llm.StopEnd}}, Usage: &llm.Usage{Output: llm.Tokens(1)},
	}, nil
}

func (s *said) Close() error { return nil }

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func reread(_ *llm.Target, _ llm.Format, _, _ bool, body []byte) (llm.Stream, error) {
	return &said{text: string(body)}, nil
}

func keeping() *cache.Rules {
	return &cache.Rules{General: cache.Exact, Level: cache.ByKey, TTL: time.Minute, MaxAnswer: 1000, MaxTemperature: 0.3, Wait: time.Minute, Read: reread}
}

func fresh(t *testing.T, store cache.Store) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{Store: store, Secret: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var ann = &auth.Who{Org: "o", Team: "t", ID: "ann"}

// take makes a call by way of the cache and gives what it was answered, and how.
func take(ctx context.Context, c *cache.Cache, r *cache.Rules, a *cache.Ask, upstream func() llm.Stream) (string, cache.State, error) {
	v := c.Lookup(ctx, r, a)
	defer func() { v.Close(ctx) }()
	reply := v.Reply
	if reply == nil {
		reply = &llm.Reply{Stream: upstream()}
	}
	v.Keep(reply, &llm.Trace{})
	ev, err := reply.Next()
	if err != nil {
		return "", v.State, err
	}
	return string(ev.Raw), v.State, nil
}

// Of calls that ask the same at a time one is made, and all have its answer. What fails is not shared: each then asks for itself. When
// the client of the one leaves, another is made in its place.
func TestOneFlight(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  func(leave func()) llm.Stream // what the first call meets
		calls  int64
		states string
	}{
		{"answered", func(func()) llm.Stream { return &said{text: "yes"} }, 1, "hit"},
		{"failed", func(func()) llm.Stream { return &said{err: errors.New("no")} }, 10, "miss"},
		{"not to be kept", func(func()) llm.Stream { return &said{text: strings.Repeat("x", 2000)} }, 10, "miss"},
		{"left", func(leave func()) llm.Stream { leave(); return &said{err: context.Canceled} }, 2, "hit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := fresh(t, cache.NewMemory(1<<20, nil))
				var calls atomic.Int64
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				go func() {
					_, _, _ = take(ctx, c, keeping(), asked(ann, "q"), func() llm.Stream {
						calls.Add(1)
						time.Sleep(time.Second)
						return tt.first(leave)
					})
				}()
				synctest.Wait()
				hits := make(chan cache.State, 9)
				for range 9 {
					go func() {
						_, state, err := take(t.Context(), c, keeping(), asked(ann, "q"), func() llm.Stream { calls.Add(1); return &said{text: "yes"} })
						if err != nil {
							t.Error(err)
						}
						hits <- state
					}()
				}
				n := 0
				for range 9 {
					if s := <-hits; string(s) == tt.states {
						n++
					}
				}
				c.Close()
				if want := 9; calls.Load() != tt.calls || n < want-1 {
					t.Errorf("%d calls, want %d; %d of 9 are a %s", calls.Load(), tt.calls, n, tt.states)
				}
			})
		})
	}
}

// A call waits no longer than it may.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fresh(t, cache.NewMemory(1<<20, nil))
		first := c.Lookup(t.Context(), keeping(), asked(ann, "q"))
		began := time.Now()
		v := c.Lookup(t.Context(), keeping(), asked(ann, "q"))
		if took := time.Since(began); v.State != cache.Miss || took != time.Minute {
			t.Errorf("a %s after %s", v.State, took)
		}
		first.Close(t.Context())
		v.Close(t.Context())
		c.Close()
	})
}

// An answer has its time.
func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fresh(t, cache.NewMemory(1<<20, nil))
		for i, want := range []cache.State{cache.Miss, cache.Hit, cache.Hit, cache.Miss} {
			v := c.Lookup(t.Context(), keeping(), asked(ann, "q"))
			if v.State != want || v.Reply != nil && v.Age != time.Duration(i)*25*time.Second {
				t.Errorf("%d: a %s of age %s, want %s", i, v.State, v.Age, want)
			}
			if v.Reply == nil {
				reply := &llm.Reply{Stream: &said{text: "yes"}}
				v.Keep(reply, &llm.Trace{})
				_, _ = reply.Next()
			}
			v.Close(t.Context())
			c.Close()
			time.Sleep(25 * time.Second)
		}
	})
}

// broken is a store that fails.
type broken struct{ *cache.Memory }

func (broken) Get(context.Context, cache.Key) ([]byte, error) { return nil, errors.New("gone") }
func (broken) Set(context.Context, cache.Key, []byte, time.Duration) error {
	return errors.New("gone")
}

// R18: a store that is gone is a miss, never an error; what waits for a call still has its answer.
func TestStoreGone(t *testing.T) {
	c := fresh(t, broken{cache.NewMemory(1, nil)})
	for range 3 {
		text, state, err := take(t.Context(), c, keeping(), asked(ann, "q"), func() llm.Stream { return &said{text: "yes"} })
		if text != "yes" || state != cache.Miss || err != nil {
			t.Errorf("%q, %s, %v", text, state, err)
		}
		c.Close()
	}
	if s := c.Stats(); s.StoreErrors != 6 {
		t.Errorf("%+v", s)
	}
}

// What is not the answer of the key that it is found under is nobody's: not another's, not a part of one, not noise.
func TestEntriesAreChecked(t *testing.T) {
	store := &swapped{Memory: cache.NewMemory(1<<20, nil)}
	c := fresh(t, store)
	ask := func(text string) cache.State {
		_, state, err := take(t.Context(), c, keeping(), asked(ann, text), func() llm.Stream { return &said{text: text} })
		if err != nil {
			t.Error(err)
		}
		c.Close()
		return state
	}
	ask("a")
	if got := ask("a"); got != cache.Hit {
		t.Fatalf("a %s", got)
	}
	other := store.last
	for name, value := range map[string][]byte{"another's": other, "half": other[:len(other)/2], "short": {1, 2}, "long head": {0xff, 0xff, 0xff, 0xff, 'x'}} {
		store.give = value
		if got := ask("b" + name); got != cache.Miss {
			t.Errorf("%s: a %s", name, got)
		}
	}
}

type swapped struct {
	*cache.Memory
	last, give []byte
}

func (s *swapped) Get(ctx context.Context, k cache.Key) ([]byte, error) {
	if s.give != nil {
		return s.give, nil
	}
	return s.Memory.Get(ctx, k)
}

func (s *swapped) Set(ctx context.Context, k cache.Key, v []byte, ttl time.Duration) error {
	s.last = v
	return s.Memory.Set(ctx, k, v, ttl)
}

// Nobody who is not known has a cache, and nothing that a request says gives it another's.
func TestNoScopeNoCache(t *testing.T) {
	c := fresh(t, cache.NewMemory(1<<20, nil))
	for _, who := range []*auth.Who{nil, {}, {Org: "o"}, {Name: "k"}} {
		if v := c.Lookup(t.Context(), keeping(), asked(who, "q")); v.State != cache.Bypass || v.Why != cache.WhyScope {
			t.Errorf("%+v: a %s (%s)", who, v.State, v.Why)
		}
	}
	if c.Lookup(t.Context(), keeping(), &cache.Ask{Mode: cache.Off}) != nil {
		t.Error("a cache that is off")
	}
}

func TestEffective(t *testing.T) {
	for _, tt := range []struct{ model, key, general, want cache.Mode }{
		{"", "", "", cache.Off},
		{"", "", cache.Exact, cache.Exact},
		{"", cache.Exact, cache.Off, cache.Exact},
		{cache.Exact, "", cache.Off, cache.Exact},
		{cache.Off, cache.Semantic, cache.Exact, cache.Off},
		{cache.Semantic, cache.Exact, "", cache.Exact},
		{cache.Exact, cache.Semantic, "", cache.Exact},
		{cache.Semantic, cache.Off, cache.Semantic, cache.Off},
		{"", cache.Off, cache.Exact, cache.Off},
	} {
		if got := cache.Effective(tt.model, tt.key, tt.general); got != tt.want {
			t.Errorf("model %q, key %q, general %q: %q, want %q", tt.model, tt.key, tt.general, got, tt.want)
		}
	}
}

// A purge takes what it names, and what was under way when it came.
func TestPurge(t *testing.T) {
	store := cache.NewMemory(1<<20, nil)
	c := fresh(t, store)
	fill := func(who *auth.Who, text string) {
		_, _, _ = take(t.Context(), c, keeping(), asked(who, text), func() llm.Stream { return &said{text: "yes"} })
		c.Close()
	}
	bob, eve := &auth.Who{Org: "o", Team: "u", ID: "bob"}, &auth.Who{Org: "p", Team: "t", ID: "eve"}
	all := func() {
		for _, who := range []*auth.Who{ann, bob, eve} {
			fill(who, "q")
		}
	}
	for _, tt := range []struct {
		name string
		f    cache.Filter
		n    int
	}{
		{"a key", c.Select("o", "", "ann", ""), 1},
		{"a team", c.Select("o", "t", "", ""), 1},
		{"an organisation", c.Select("o", "", "", ""), 2},
		{"a model", c.Select("", "", "", "m"), 3},
		{"another model", c.Select("", "", "", "n"), 0},
		{"all", cache.Filter{}, 3},
		{"old ones", cache.Filter{Before: time.Now().Add(-time.Hour)}, 0},
		{"all before a time", cache.Filter{Before: time.Now().Add(time.Hour)}, 3},
	} {
		all()
		if n, err := c.Purge(t.Context(), tt.f); n != tt.n || err != nil {
			t.Errorf("%s: %d, %v; want %d", tt.name, n, err, tt.n)
		}
		if n, _ := store.Size(); int(n) != 3-tt.n {
			t.Errorf("%s: %d are left", tt.name, n)
		}
		_, _ = c.Purge(t.Context(), cache.Filter{})
	}
	v := c.Lookup(t.Context(), keeping(), asked(ann, "q"))
	reply := &llm.Reply{Stream: &said{text: "yes"}}
	v.Keep(reply, &llm.Trace{})
	_, _ = reply.Next()
	_, _ = c.Purge(t.Context(), c.Select("o", "", "", ""))
	v.Close(t.Context())
	c.Close()
	if n, _ := store.Size(); n != 0 {
		t.Error("what was under way when it was purged is kept")
	}
}
