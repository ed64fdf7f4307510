// Package alerttest holds every outbox to what the package alert asks of one.
package alerttest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/alert"
)

// A Harness makes what is tested.
type Harness struct {
	// Outboxes are two ways to one empty outbox, as two replicas have them.
	Outboxes func(t *testing.T) (a, b alert.Outbox)
	// Pass lets time pass for both.
	Pass func(d time.Duration)
}

func notice(id string) *alert.Notice {
	return &alert.Notice{
		ID: id, Type: "budget.threshold", At: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Org: "default", Subject: "key:abc", Rule: "month",
		Period: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Percent: 80, Unit: "usd", Spent: "0.8", Limit: "1",
	}
}

type room struct {
	*testing.T
	a, b alert.Outbox
}

func (r *room) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *room) claim(o alert.Outbox, want ...string) []alert.Task {
	r.Helper()
	tasks, err := o.Claim(r.Context(), []string{"h1", "h2"}, 10, time.Minute)
	r.ok(err)
	var got []string
	for i := range tasks {
		got = append(got, tasks[i].ID+"/"+tasks[i].Hook)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.Fatalf("claimed (-want +got):\n%s", diff)
	}
	return tasks
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	test := func(name string, f func(r *room)) {
		t.Run(name, func(t *testing.T) {
			a, b := h.Outboxes(t)
			f(&room{t, a, b})
		})
	}
	test("put, claimed, done", func(r *room) {
		r.ok(r.a.Put(r.Context(), notice("n"), []string{"h1"}))
		tasks := r.claim(r.b, "n/h1")
		if diff := cmp.Diff(alert.Task{Notice: *notice("n"), Hook: "h1"}, tasks[0]); diff != "" {
			r.Errorf("-want +got:\n%s", diff)
		}
		r.claim(r.a) // b has it
		r.ok(r.b.Done(r.Context(), &tasks[0]))
		h.Pass(2 * time.Minute)
		r.claim(r.a)
		r.ok(r.a.Put(r.Context(), notice("n"), []string{"h1"})) // told already
		r.claim(r.a)
	})
	test("twice is once, for each hook", func(r *room) {
		for range 3 {
			r.ok(r.a.Put(r.Context(), notice("n"), []string{"h1", "h2"}))
		}
		r.claim(r.b, "n/h1", "n/h2")
	})
	test("other hooks are not ours", func(r *room) {
		r.ok(r.a.Put(r.Context(), notice("n"), []string{"gone"}))
		r.claim(r.a)
	})
	test("who dies loses the task", func(r *room) {
		r.ok(r.a.Put(r.Context(), notice("n"), []string{"h1"}))
		r.claim(r.a, "n/h1")
		h.Pass(59 * time.Second)
		r.claim(r.b)
		h.Pass(2 * time.Second)
		r.claim(r.b, "n/h1")
	})
	test("later", func(r *room) {
		r.ok(r.a.Put(r.Context(), notice("n"), []string{"h1"}))
		for i := range 3 {
			tasks := r.claim(r.a, "n/h1")
			if tasks[0].Tries != i {
				r.Errorf("%d tries, want %d", tasks[0].Tries, i)
			}
			r.ok(r.a.Later(r.Context(), &tasks[0], time.Hour))
			h.Pass(59 * time.Minute)
			r.claim(r.b)
			h.Pass(2 * time.Minute)
		}
	})
	test("a bounded claim", func(r *room) {
		for i := range 15 {
			r.ok(r.a.Put(r.Context(), notice(fmt.Sprintf("n%02d", i)), []string{"h1"}))
		}
		seen := map[string]bool{}
		for range 2 {
			tasks, err := r.a.Claim(r.Context(), []string{"h1"}, 10, time.Minute)
			r.ok(err)
			for i := range tasks {
				seen[tasks[i].ID] = true
			}
		}
		if len(seen) != 15 {
			r.Errorf("%d tasks were claimed, want 15", len(seen))
		}
	})
	test("no task is two replicas' at once", func(r *room) {
		for i := range 40 {
			r.ok(r.a.Put(r.Context(), notice(fmt.Sprintf("n%02d", i)), []string{"h1"}))
		}
		var mu sync.Mutex
		seen := map[string]int{}
		var all sync.WaitGroup
		for i := range 8 {
			o := r.a
			if i%2 == 1 {
				o = r.b
			}
			all.Go(func() {
				for range 5 {
					tasks, err := o.Claim(r.Context(), []string{"h1"}, 3, time.Minute)
					if err != nil {
						r.Error(err)
						return
					}
					mu.Lock()
					for i := range tasks {
						seen[tasks[i].ID]++
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		for id, n := range seen {
			if n > 1 {
				r.Errorf("%s was claimed %d times", id, n)
			}
		}
		if len(seen) != 40 {
			r.Errorf("%d tasks were claimed, want 40", len(seen))
		}
	})
}
