package redis

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/idempotency"
	"sluice/internal/idempotency/idempotencytest"
	"sluice/internal/redistest"
)

func TestOnce(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	for _, p := range redistest.Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			if p.External() {
				t.Skip("time is made to pass by shortening the lives of all keys, which an external server may hold for others")
			}
			o := patient(single(s))
			o.Prefix = fresh()
			make := func(t *testing.T) idempotency.Store {
				once, err := open(t, o).Once(key)
				if err != nil {
					t.Fatal(err)
				}
				return once
			}
			idempotencytest.Run(t, idempotencytest.Harness{
				Stores: func(t *testing.T) (a, b idempotency.Store) { return make(t), make(t) },
				Pass:   func(t *testing.T, d time.Duration) { age(t, s, o.Prefix+":1:once:*", d) },
			})
			t.Run("sealed", func(t *testing.T) { sealed(t, s, o) })
		})
	}
}

// age shortens the lives of keys, as if time had passed.
func age(t *testing.T, s *redistest.Server, pattern string, d time.Duration) {
	t.Helper()
	for _, k := range strings.Fields(fmt.Sprint(s.Do(t, "KEYS", pattern))) {
		k = strings.Trim(k, "[]")
		left, err := strconv.ParseInt(fmt.Sprint(s.Do(t, "PTTL", k)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s.Do(t, "PEXPIRE", k, fmt.Sprint(left-d.Milliseconds()))
	}
}

// sealed: Redis never sees an answer, and an answer moved to another key is none.
func sealed(t *testing.T, s *redistest.Server, o Options) {
	store := open(t, o)
	once, err := store.Once(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	k, other, p := idempotency.NewKey("a", "n"), idempotency.NewKey("b", "n"), idempotency.NewPrint("/", nil)
	if _, _, _, err := once.Begin(t.Context(), k, p, "x", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := once.Save(t.Context(), k, p, "x", &idempotency.Answer{Status: 200, Body: []byte("planted words")}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if v := fmt.Sprint(s.Do(t, "GET", once.name(k))); strings.Contains(v, "planted") || len(v) < 40 {
		t.Errorf("Redis holds %q", v)
	}
	s.Do(t, "COPY", once.name(k), once.name(other))
	if _, _, a, err := once.Begin(t.Context(), other, p, "x", time.Minute); err == nil {
		t.Errorf("another caller was given %+v", a)
	}
	stranger, err := store.Once(bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, a, err := stranger.Begin(t.Context(), k, p, "x", time.Minute); err == nil {
		t.Errorf("a replica with another pepper was given %+v", a)
	}
}
