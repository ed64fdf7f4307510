package cache_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/auth"
	"sluice/internal/cache"
	"sluice/internal/llm"
)

// bag is an embedder of words: texts with the same words have the same vector.
type bag struct {
	calls atomic.Int64
	fail  func(ctx context.Context) ([]float32, error) // instead
}

func (b *bag) ID() string { return "bag" }
func (b *bag) Dim() int   { return 64 }

func (b *bag) Embed(ctx context.Context, text string) ([]float32, error) {
	b.calls.Add(1)
	if b.fail != nil {
		return b.fail(ctx)
	}
	v := make([]float32, b.Dim())
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r != '\'' && (r < 'a' || r > 'z') }) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(w))
		v[h.Sum32()%64]++
	}
	var n float64
	for _, x := range v {
		n += float64(x) * float64(x)
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(max(n, 1e-9)))
	}
	return v, nil
}

// library is a cache that finds by meaning.
type library struct {
	*cache.Cache
	bag   *bag
	index *cache.MemoryIndex
	store *cache.Memory
	m     *cache.Meaning
}

func newLibrary(t *testing.T, change func(*cache.Meaning)) *library {
	t.Helper()
	l := &library{bag: new(bag), index: cache.NewMemoryIndex(cache.MemoryIndexOptions{}), store: cache.NewMemory(8<<20, nil)}
	l.m = &cache.Meaning{Embedder: l.bag, Index: l.index, Threshold: 0.7, Margin: 0.02, Deadline: 10 * time.Second}
	if change != nil {
		change(l.m)
	}
	var err error
	if l.Cache, err = cache.New(cache.Options{Store: l.store, Secret: make([]byte, 32), Meaning: l.m}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// ask makes a call whose answer, if the model is asked, is that.
func (l *library) ask(t *testing.T, who *auth.Who, text, answer string) (string, cache.State) {
	t.Helper()
	a := asked(who, text)
	a.Mode = cache.Semantic
	r := keeping()
	r.SemanticTTL = time.Hour
	said, state, err := take(t.Context(), l.Cache, r, a, func() llm.Stream { return &said{text: answer} })
	if err != nil {
		t.Error(err)
	}
	l.Close()
	return said, state
}

const (
	asksFor = "What is the capital of France?"
	inOther = "what's the capital of france"
)

func TestMeaning(t *testing.T) {
	l := newLibrary(t, nil)
	l.ask(t, ann, asksFor, "Paris")
	if said, state := l.ask(t, ann, inOther, "no"); said != "Paris" || state != cache.Similar {
		t.Errorf("%q, a %s; %+v", said, state, l.Stats().Found)
	}
	for _, other := range []string{"What is the capital of Spain?", "What isn't the capital of France?", "Why is the capital of France?", "What is the capital of France 2?", "What is the capital of France today?"} {
		if said, state := l.ask(t, ann, other, "other"); said != "other" || state != cache.Miss {
			t.Errorf("%q: %q, a %s", other, said, state)
		}
	}
}

// All but the question must be the same, and the answer no older than the request allows.
func TestMeaningKeepsApart(t *testing.T) {
	l := newLibrary(t, nil)
	l.ask(t, ann, asksFor, "Paris")
	for name, change := range map[string]func(*cache.Ask){
		"a model":       func(a *cache.Ask) { a.Call.Model = "n" },
		"a route":       func(a *cache.Ask) { a.Route = "elsewhere" },
		"a namespace":   func(a *cache.Ask) { a.Control.Namespace = "mine" },
		"a temperature": func(a *cache.Ask) { low := 0.1; chat(a).Temperature = &low },
		"a system prompt": func(a *cache.Ask) {
			c := chat(a)
			c.Messages = append([]llm.Message{{Role: llm.RoleSystem, Parts: []llm.Part{{Text: "Answer in French."}}}}, c.Messages...)
		},
		"tools":          func(a *cache.Ask) { chat(a).Tools = []llm.Tool{{Name: "f"}} },
		"a stream":       func(a *cache.Ask) { a.Call.Stream = true },
		"exact only":     func(a *cache.Ask) { a.Mode = cache.Exact },
		"turns before":   func(a *cache.Ask) { c := chat(a); c.Messages = append(c.Messages, c.Messages...) },
		"a picture":      func(a *cache.Ask) { p := &chat(a).Messages[0].Parts; *p = append(*p, llm.Part{Media: &llm.Media{}}) },
		"an unknown one": func(a *cache.Ask) { chat(a).Extra = llm.Members{"x": llm.Raw("1")} },
	} {
		a := asked(ann, inOther)
		a.Mode = cache.Semantic
		change(a)
		r := keeping()
		r.SemanticTTL = time.Hour
		v := l.Lookup(t.Context(), r, a)
		if v.State != cache.Miss {
			t.Errorf("%s: a %s", name, v.State)
		}
		v.Close(t.Context())
		l.Close()
	}
}

func chat(a *cache.Ask) *llm.Chat {
	p, _ := a.Call.Body.Payload()
	return p.(*llm.Chat)
}

// Where two that are near were answered otherwise, neither is given.
func TestMeaningMargin(t *testing.T) {
	l := newLibrary(t, func(m *cache.Meaning) { m.Margin, m.Threshold = 0.5, 0.3 })
	l.ask(t, ann, asksFor, "Paris")
	l.ask(t, ann, "What is the capital of Spain?", "Madrid")
	if said, state := l.ask(t, ann, inOther, "asked"); said != "asked" || state != cache.Miss || l.Stats().Found["margin"] == 0 {
		t.Errorf("%q, a %s: %v", said, state, l.Stats().Found)
	}
}

// Some of what is found is held against the model's own answer; what is far is not found again.
func TestMeaningIsChecked(t *testing.T) {
	l := newLibrary(t, func(m *cache.Meaning) { m.Check = 1000 })
	l.ask(t, ann, asksFor, "Paris")
	if said, state := l.ask(t, ann, inOther, "paris"); said != "paris" || state != cache.Miss || l.Stats().Agreed["equal"] != 1 {
		t.Errorf("%q, a %s: %v", said, state, l.Stats().Agreed)
	}
	l.ask(t, ann, "the capital of France, what is it", "Something else altogether")
	if l.Stats().Agreed["far"] != 1 {
		t.Errorf("%v of %v", l.Stats().Agreed, l.Stats().Found)
	}
}

// What is purged is not found by its meaning either, and nothing of it is left in the index.
func TestMeaningIsPurged(t *testing.T) {
	l := newLibrary(t, nil)
	l.ask(t, ann, asksFor, "Paris")
	l.ask(t, &auth.Who{Org: "p", ID: "eve"}, asksFor, "Paris")
	if n, err := l.Purge(t.Context(), l.Select("o", "", "", "")); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if left, _ := l.index.Spaces(t.Context()); len(left) != 1 {
		t.Errorf("%d spaces are left", len(left))
	}
	if _, state := l.ask(t, ann, inOther, "x"); state != cache.Miss {
		t.Errorf("a %s", state)
	}
}

// noIndex is an index whose server cannot hold vectors.
type noIndex struct{ asked int }

func (n *noIndex) Add(context.Context, string, cache.Entry) error { return cache.ErrNoIndex }
func (n *noIndex) Nearest(context.Context, string, []float32, int) ([]cache.Neighbour, error) {
	n.asked++
	return nil, cache.ErrNoIndex
}
func (n *noIndex) Remove(context.Context, string, ...string) error { return nil }
func (n *noIndex) Drop(context.Context, string) error              { return nil }

// R41: an embedder that is down, slow or gives vectors of another size, and an index that is not there: a miss, never an error and never
// another's answer. After a few failures it is left alone, so that it costs nothing; and it is tried again.
func TestMeaningFails(t *testing.T) {
	for name, tt := range map[string]struct {
		fail func(ctx context.Context) ([]float32, error)
		why  string
	}{
		"down":       {func(context.Context) ([]float32, error) { return nil, errors.New("refused") }, "embedder"},
		"slow":       {func(ctx context.Context) ([]float32, error) { <-ctx.Done(); return nil, ctx.Err() }, "slow"},
		"deaf":       {func(context.Context) ([]float32, error) { time.Sleep(time.Second); return nil, nil }, "slow"},
		"wrong size": {func(context.Context) ([]float32, error) { return make([]float32, 3), nil }, "size"},
		"no index":   {nil, "index"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				none := &noIndex{}
				l := newLibrary(t, func(m *cache.Meaning) {
					m.Deadline = 25 * time.Millisecond
					if tt.fail == nil {
						m.Index = none
					}
				})
				l.bag.fail = tt.fail
				const calls = 50
				for i := range calls {
					began := time.Now()
					v := l.Lookup(t.Context(), keeping(), semantic(fmt.Sprintf("What is the capital of country %c?", 'a'+i%26)))
					if took := time.Since(began); v.State != cache.Miss || v.Reply != nil || took > 25*time.Millisecond {
						t.Errorf("%d: a %s after %s", i, v.State, took)
					}
					v.Close(t.Context())
				}
				found := l.Stats().Found
				if found[tt.why] != 3 || found["resting"] != calls-3 {
					t.Errorf("%v", found)
				}
				if e, x := l.Resting(); e != (tt.fail != nil) || x != (tt.fail == nil) {
					t.Errorf("resting: embedder %t, index %t", e, x)
				}
				before := int(l.bag.calls.Load()) + none.asked
				time.Sleep(2 * time.Second) // the rest is over: one tries
				l.Lookup(t.Context(), keeping(), semantic("What is the capital of country z?")).Close(t.Context())
				if int(l.bag.calls.Load())+none.asked == before {
					t.Error("it is never tried again")
				}
				l.Close()
			})
		})
	}
}

// Callers who leave between failures neither count as failures nor keep what fails from being left alone.
func TestWhoLeavesSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t, nil)
		l.bag.fail = func(ctx context.Context) ([]float32, error) { return nil, cmpErr(ctx.Err(), errors.New("refused")) }
		gone, leave := context.WithCancel(t.Context())
		leave()
		for range 3 {
			l.Lookup(gone, keeping(), semantic("What is the capital of France?")).Close(gone)
			l.Lookup(t.Context(), keeping(), semantic("What is the capital of Spain?")).Close(t.Context())
		}
		if found := l.Stats().Found; found["left"] != 3 || found["embedder"] != 3 {
			t.Errorf("%v", found)
		}
		if embedder, _ := l.Resting(); !embedder {
			t.Error("it is still asked")
		}
		l.Close()
	})
}

func semantic(text string) *cache.Ask {
	a := asked(ann, text)
	a.Mode = cache.Semantic
	return a
}

// S10: another tenant's answer is found by nothing that asks for it: not by its words, and not by a thousand questions near it.
func TestNoTenantIsFoundByMeaning(t *testing.T) {
	l := newLibrary(t, func(m *cache.Meaning) { m.Threshold = -1 }) // everything is near
	mine, theirs := &auth.Who{Org: "o", Team: "t", ID: "ann"}, &auth.Who{Org: "p", Team: "t", ID: "ann"}
	l.ask(t, mine, asksFor, "secret")
	heads := []string{"What is", "what's", "tell me", "please tell me", "I want to know", "do you know", "say", "name", "give me", "which is"}
	tails := []string{"the capital of France", "the capital city of France", "France's capital", "capital of france", "the main city of France"}
	n := 0
	for _, h := range heads {
		for _, tail := range tails {
			for end := range 20 {
				n++
				if said, state := l.ask(t, theirs, h+" "+tail+strings.Repeat("?", end), "asked"); said != "asked" || state == cache.Similar && said == "secret" {
					t.Fatalf("%s %s: %q, a %s", h, tail, said, state)
				}
			}
		}
	}
	if n != 1000 {
		t.Errorf("only %d tries", n)
	}
	if said, state := l.ask(t, mine, inOther, "asked"); said != "secret" || state != cache.Similar { // it was there to be found
		t.Errorf("its owner is given %q, a %s: %v", said, state, l.Stats().Found)
	}
}
