package idempotency_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/idempotency"
	"sluice/internal/idempotency/idempotencytest"
	"sluice/internal/llm"
)

func TestMemory(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	idempotencytest.Run(t, idempotencytest.Harness{
		Stores: func(*testing.T) (a, b idempotency.Store) {
			m := idempotency.NewMemory(1<<20, func() time.Time { return now })
			return m, m
		},
		Pass: func(_ *testing.T, d time.Duration) { now = now.Add(d) },
	})
}

func kind(err error) llm.Kind {
	if err == nil {
		return ""
	}
	return llm.AsError(err).Kind
}

// TestMemoryIsBounded keeps more than fits: the oldest go.
func TestMemoryIsBounded(t *testing.T) {
	k := idempotency.New(idempotency.Options{Store: idempotency.NewMemory(10_000, nil), Most: 2000})
	defer k.Close()
	p := idempotency.NewPrint("/", nil)
	name := func(i int) idempotency.Key { return idempotency.NewKey("s", string(rune('a'+i))) }
	for i := range 10 {
		c, _, err := k.Begin(t.Context(), name(i), p, "x")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Finish(t.Context(), &idempotency.Answer{Status: 200, Body: make([]byte, 1500)}); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for i := range 10 {
		c, a, err := k.Begin(t.Context(), name(i), p, "x")
		switch {
		case err != nil:
			t.Fatal(err)
		case a != nil:
			kept++
		default:
			_ = c.Finish(t.Context(), nil)
		}
	}
	if kept != 4 { // of 2012 bytes each
		t.Errorf("%d answers are kept, want 4", kept)
	}
}

func TestRules(t *testing.T) {
	k := idempotency.New(idempotency.Options{Store: idempotency.NewMemory(1<<20, nil), Most: 10})
	defer k.Close()
	key, p, other := idempotency.NewKey("s", "n"), idempotency.NewPrint("/", []byte("1")), idempotency.NewPrint("/", []byte("2"))
	c, _, err := k.Begin(t.Context(), key, p, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Begin(t.Context(), key, p, "y"); kind(err) != llm.KindIdempotencyRunning {
		t.Errorf("a twin: %v", err)
	}
	if _, _, err := k.Begin(t.Context(), key, other, "y"); kind(err) != llm.KindIdempotencyReused {
		t.Errorf("another request: %v", err)
	}
	if err := c.Finish(t.Context(), &idempotency.Answer{Status: 200, Body: []byte("more than ten bytes")}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Begin(t.Context(), key, p, "y"); kind(err) != llm.KindIdempotencyReused || !strings.Contains(err.Error(), "10 bytes") {
		t.Errorf("after a large answer: %v", err)
	}
	for _, bad := range []string{strings.Repeat("a", 256), "a\x00", "ä"} {
		if idempotency.Name(bad) == nil {
			t.Errorf("%q is a name", bad)
		}
	}
	if idempotency.NewKey("ab", "c") == idempotency.NewKey("a", "bc") {
		t.Error("two callers share a key")
	}
}

// TestClaimIsRenewed has a call run far longer than a lease.
func TestClaimIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := idempotency.New(idempotency.Options{Store: idempotency.NewMemory(1<<20, nil), Lease: 3 * time.Second})
		key, p := idempotency.NewKey("s", "n"), idempotency.NewPrint("/", nil)
		c, _, err := k.Begin(t.Context(), key, p, "x")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, _, err := k.Begin(t.Context(), key, p, "y"); kind(err) != llm.KindIdempotencyRunning {
			t.Errorf("after an hour: %v", err)
		}
		if err := c.Finish(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		k.Close()
		if c, _, err = k.Begin(t.Context(), key, p, "y"); err != nil {
			t.Errorf("after a failure: %v", err)
		}
		_ = c.Finish(t.Context(), nil)
		k.Close()
	})
}

type down struct{ idempotency.Store }

func (down) Begin(context.Context, idempotency.Key, idempotency.Print, string, time.Duration) (idempotency.State, idempotency.Print, *idempotency.Answer, error) {
	return 0, idempotency.Print{}, nil, errors.New("secret detail")
}

// TestStoreDown: the call might be made twice, so it is not made.
func TestStoreDown(t *testing.T) {
	k := idempotency.New(idempotency.Options{Store: down{}})
	_, _, err := k.Begin(t.Context(), idempotency.Key{}, idempotency.Print{}, "x")
	if e := llm.AsError(err); e.Kind != llm.KindOverloaded || e.RetryAfter == 0 || strings.Contains(e.Msg, "secret") {
		t.Errorf("got %v", err)
	}
}
