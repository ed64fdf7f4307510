// Package idempotencytest holds every store of idempotency keys to what the package idempotency asks of one.
package idempotencytest

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/idempotency"
)

// A Harness makes what is tested.
type Harness struct {
	// Stores are two ways to one store, as two replicas have them.
	Stores func(t *testing.T) (a, b idempotency.Store)
	// Pass lets time pass for both.
	Pass func(t *testing.T, d time.Duration)
}

var (
	print1 = idempotency.NewPrint("/v1/chat/completions", []byte("one"))
	print2 = idempotency.NewPrint("/v1/chat/completions", []byte("two"))
)

func answer(body string) *idempotency.Answer {
	return &idempotency.Answer{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
}

type room struct {
	*testing.T
	a, b idempotency.Store
	key  idempotency.Key
}

func (r *room) begin(s idempotency.Store, p idempotency.Print, owner string, want idempotency.State) *idempotency.Answer {
	r.Helper()
	state, had, a, err := s.Begin(r.Context(), r.key, p, owner, time.Minute)
	if err != nil || state != want {
		r.Fatalf("begin as %s: state %d, %v, want %d", owner, state, err, want)
	}
	if state != idempotency.Ours && had != print1 {
		r.Errorf("begin as %s: the print is not that of the first request", owner)
	}
	return a
}

func (r *room) save(s idempotency.Store, owner string, a *idempotency.Answer) {
	r.Helper()
	if err := s.Save(r.Context(), r.key, print1, owner, a, time.Hour); err != nil {
		r.Fatal(err)
	}
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	n := 0
	test := func(name string, f func(r *room)) {
		n++
		key := idempotency.NewKey("key:test", fmt.Sprint(n))
		t.Run(name, func(t *testing.T) {
			a, b := h.Stores(t)
			f(&room{t, a, b, key})
		})
	}
	test("a twin is told, then answered", func(r *room) {
		r.begin(r.a, print1, "x", idempotency.Ours)
		r.begin(r.b, print1, "y", idempotency.Running)
		r.begin(r.b, print2, "y", idempotency.Running)
		r.save(r.a, "x", answer("hello"))
		for _, s := range []idempotency.Store{r.a, r.b} {
			got := r.begin(s, print1, "z", idempotency.Done)
			if got == nil || got.Status != 200 || string(got.Body) != "hello" || got.Header.Get("Content-Type") != "application/json" {
				r.Errorf("the answer came back as %+v", got)
			}
		}
		r.begin(r.b, print2, "z", idempotency.Done)
	})
	test("a failure leaves the key free", func(r *room) {
		r.begin(r.a, print1, "x", idempotency.Ours)
		if err := r.b.Drop(r.Context(), r.key, print1, "y"); err != nil { // not the owner
			r.Fatal(err)
		}
		r.begin(r.b, print1, "y", idempotency.Running)
		if err := r.a.Drop(r.Context(), r.key, print1, "x"); err != nil {
			r.Fatal(err)
		}
		r.begin(r.b, print1, "y", idempotency.Ours)
	})
	test("what is too large is remembered without its body", func(r *room) {
		r.begin(r.a, print1, "x", idempotency.Ours)
		r.save(r.a, "x", nil)
		r.begin(r.b, print1, "y", idempotency.Large)
	})
	test("a claim ends with its lease", func(r *room) {
		r.begin(r.a, print1, "x", idempotency.Ours)
		h.Pass(r.T, 40*time.Second)
		if ours, err := r.a.Renew(r.Context(), r.key, print1, "x", time.Minute); !ours || err != nil {
			r.Fatalf("renewed: %v, %v", ours, err)
		}
		h.Pass(r.T, 40*time.Second)
		r.begin(r.b, print1, "y", idempotency.Running)
		h.Pass(r.T, 30*time.Second)
		r.begin(r.b, print1, "y", idempotency.Ours)
		if ours, err := r.a.Renew(r.Context(), r.key, print1, "x", time.Minute); ours || err != nil {
			r.Errorf("a lost claim was renewed: %v, %v", ours, err)
		}
		r.save(r.a, "x", answer("late")) // must not end y's claim
		r.begin(r.a, print1, "z", idempotency.Running)
		r.save(r.b, "y", answer("good"))
		if got := r.begin(r.a, print1, "z", idempotency.Done); string(got.Body) != "good" {
			r.Errorf("the answer is %q", got.Body)
		}
	})
	test("an answer is kept for its time", func(r *room) {
		r.begin(r.a, print1, "x", idempotency.Ours)
		r.save(r.a, "x", answer("hello"))
		h.Pass(r.T, 59*time.Minute)
		r.begin(r.b, print1, "y", idempotency.Done)
		h.Pass(r.T, 2*time.Minute)
		r.begin(r.b, print1, "y", idempotency.Ours)
	})
	test("any bytes come back", func(r *room) {
		body := bytes.Repeat([]byte{0, 255, '\r', '\n', 'x'}, 20_000)
		r.begin(r.a, print1, "x", idempotency.Ours)
		r.save(r.a, "x", answer(string(body)))
		if got := r.begin(r.b, print1, "y", idempotency.Done); !bytes.Equal(got.Body, body) {
			r.Errorf("%d bytes came back, want %d", len(got.Body), len(body))
		}
	})
	test("of fifty twins one is first", func(r *room) {
		var ours atomic.Int64
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				s := r.a
				if i%2 == 1 {
					s = r.b
				}
				state, _, _, err := s.Begin(r.Context(), r.key, print1, fmt.Sprint(i), time.Minute)
				if err != nil {
					r.Error(err)
				} else if state == idempotency.Ours {
					ours.Add(1)
				}
			})
		}
		all.Wait()
		if n := ours.Load(); n != 1 {
			r.Errorf("%d calls began, want 1", n)
		}
	})
}
