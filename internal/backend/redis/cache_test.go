package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/cache/cachetest"
	"sluice/internal/faultproxy"
	"sluice/internal/redistest"
)

func answers(t *testing.T, o Options, key byte) *Answers {
	t.Helper()
	a, err := open(t, o).Answers(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnswers(t *testing.T) {
	for _, p := range redistest.Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			if p.External() {
				t.Skip("time is made to pass by shortening the lives of all keys, which an external server may hold for others")
			}
			conformAnswers(t, s, patient(single(s)))
			t.Run("sealed", func(t *testing.T) { sealedAnswers(t, s, patient(single(s))) })
		})
	}
}

func conformAnswers(t *testing.T, s *redistest.Server, o Options) {
	cachetest.Run(t, cachetest.Harness{
		Stores: func(t *testing.T) (a, b cache.Store) {
			o.Prefix = fresh()
			return answers(t, o, 7), answers(t, o, 7)
		},
		Pass: func(t *testing.T, d time.Duration) { age(t, s, o.Prefix+":1:cache:*", d) },
	})
}

// sealedAnswers: Redis never sees an answer or a name, and an answer moved to another key is none.
func sealedAnswers(t *testing.T, s *redistest.Server, o Options) {
	o.Prefix = fresh()
	a := answers(t, o, 7)
	k, other := cache.Key{Sum: [32]byte{1}}, cache.Key{Sum: [32]byte{2}}
	if err := a.Set(t.Context(), k, []byte("planted words"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if v := fmt.Sprint(s.Do(t, "GET", a.name(&k))); strings.Contains(v, "planted") || len(v) < 40 {
		t.Errorf("Redis holds %q", v)
	}
	s.Do(t, "COPY", a.name(&k), a.name(&other))
	if v, err := a.Get(t.Context(), other); err == nil {
		t.Errorf("another was given %q", v)
	}
	if v, err := answers(t, o, 8).Get(t.Context(), k); err == nil {
		t.Errorf("a replica with another pepper was given %q", v)
	}
}

// R18: a store that is slow or gone answers at once, with an error that is a miss, after it has failed a few times; and works again by
// itself.
func TestAnswersRest(t *testing.T) {
	r := redistest.Own(t).Start(t)
	p, err := faultproxy.Listen(r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	o := Options{URL: "redis://" + p.Addr(), Prefix: fresh(), Dial: 10 * time.Second, Timeout: CacheTimeout}
	a := answers(t, o, 7)
	k := cache.Key{Sum: [32]byte{1}}
	until(t, "an answer is kept", func() bool { return a.Set(context.WithoutCancel(t.Context()), k, []byte("v"), time.Hour) == nil })
	if err := p.Set(faultproxy.Faults{Latency: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	resting := 0
	for range 100 {
		if v, err := a.Get(t.Context(), k); err == nil {
			t.Errorf("a slow store gives %q", v)
		} else if errors.Is(err, ErrResting) {
			resting++
		}
	}
	if resting < 80 {
		t.Errorf("of 100 calls %d were not tried", resting)
	}
	p.Reset()
	if err := p.Set(faultproxy.Faults{}); err != nil {
		t.Fatal(err)
	}
	until(t, "it works again", func() bool {
		v, err := a.Get(context.WithoutCancel(t.Context()), k)
		return err == nil && string(v) == "v"
	})
}

// FuzzAnswerName: only names that we write are read.
func FuzzAnswerName(f *testing.F) {
	a := &Answers{prefix: "p:1:cache:"}
	f.Add(a.name(&cache.Key{Org: cache.Tag{1}, Sum: [32]byte{2}}))
	f.Add("p:1:cache:a:b:c:d:e")
	f.Fuzz(func(t *testing.T, name string) {
		if k, ok := a.parse(name); ok && !strings.EqualFold(a.name(&k), name) {
			t.Errorf("%q was read as %q", name, a.name(&k))
		}
	})
}
