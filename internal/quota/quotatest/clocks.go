package quotatest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/quota"
)

// A ledger is what was settled, as a database knows it.
type ledger struct {
	at    []time.Time
	marks map[string]uint64
}

func (b *ledger) spent(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
	out := make([]quota.Level, len(qs))
	for i, q := range qs {
		n := int64(0)
		for _, at := range b.at {
			if !at.Before(q.From) && at.Before(q.Until) {
				n++
			}
		}
		out[i] = quota.Level{Counter: q.Counter, Parts: []quota.Part{{Amount: n}}, Marks: b.marks}
	}
	return out, nil
}

// A clocked is a replica with a clock of its own, which may be set.
type clocked struct {
	l    *quota.Limiter
	name string
	off  time.Duration // ahead of the store's
	next uint64        // position in its log
}

// clocks has two replicas, five minutes apart, whose clocks are set back by an hour and forward by a day, spend budgets at the
// end of a month and at changes of the clocks: the store's clock alone says when a period ends. In each as much is let in as
// there is, no more (a second reset) and no less (none).
func clocks(t *testing.T, w *world) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	who := &auth.Who{Name: "k", Org: w.org, Rules: []llm.Bound{{Subject: "key:k", Rule: &llm.Rule{Name: "r", Budgets: []llm.Budget{
		{Money: 3, Every: llm.Daily, Zone: zone, Mode: llm.Hard}, {Money: 1000, Every: llm.Monthly, Zone: zone, Mode: llm.Hard},
	}}}}}
	start := time.Until(w.want(t, quota.Granted, w.hold("now", requests(1000))).Now)
	now := func() time.Time { return time.Now().Add(start) } // the store's
	books := &ledger{marks: map[string]uint64{}}
	replicas := []*clocked{{name: "a", off: 150 * time.Second}, {name: "b", off: -150 * time.Second}}
	for _, r := range replicas {
		r.l = quota.New(quota.Options{Store: w.h.Join(t), Replica: r.name, Spent: books.spent, Now: func() time.Time { return now().Add(r.off) }})
	}
	calls := 0
	let := func(want int) { // so many are let in, whoever is asked
		t.Helper()
		in := 0
		for range 4 {
			for _, r := range replicas {
				calls++
				g, err := r.l.Reserve(t.Context(), who, quota.Request{ID: fmt.Sprint(calls), Model: "m", FixedCost: 1})
				if err != nil {
					if llm.AsError(err).Kind != llm.KindBudget {
						t.Fatal(err)
					}
					continue
				}
				if gap := g.At().Sub(now()).Abs(); gap > time.Minute {
					t.Errorf("replica %s counts a call at %v, the store has %v", r.name, g.At(), now())
				}
				in++
				r.next++
				books.at, books.marks[r.name] = append(books.at, g.At()), r.next
				if err := r.l.Settle(t.Context(), []quota.Settlement{{ID: fmt.Sprint(calls), Position: r.next, Counters: g.Counters(), Money: 1}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if in != want {
			t.Errorf("at %v, with clocks %v and %v off: %d calls are let in, want %d", now().In(zone), replicas[0].off, replicas[1].off, in, want)
		}
	}
	to := func(at time.Time) {
		d := at.Sub(now())
		w.h.Pass(d)
		start += d
	}
	set := func(a, b time.Duration) { replicas[0].off, replicas[1].off = replicas[0].off+a, replicas[1].off+b }
	for _, c := range []struct {
		midnight time.Time
		before   int // calls that the day before has left
	}{
		{time.Date(2031, 2, 1, 0, 0, 0, 0, zone), 3},   // a month's end
		{time.Date(2031, 3, 30, 0, 0, 0, 0, zone), 3},  // begins a day of 23 hours
		{time.Date(2031, 3, 31, 0, 0, 0, 0, zone), 0},  // ends it
		{time.Date(2031, 10, 26, 0, 0, 0, 0, zone), 3}, // begins one of 25
		{time.Date(2031, 10, 27, 0, 0, 0, 0, zone), 0},
		{time.Date(2032, 1, 1, 0, 0, 0, 0, zone), 3},
	} {
		to(c.midnight.Add(-10 * time.Minute))
		let(c.before)
		set(-time.Hour, 24*time.Hour)
		let(0)
		to(c.midnight.Add(-2 * time.Minute)) // one clock or the other says that it is tomorrow, or was yesterday
		let(0)
		to(c.midnight.Add(time.Second))
		let(3)
		set(24*time.Hour, -25*time.Hour)
		let(0)
		set(-23*time.Hour, time.Hour)
		let(0)
	}
}

// clockedPaces has the same clocks set while a pace is used up: it is the store's time that must pass.
func clockedPaces(t *testing.T, w *world) {
	var off time.Duration
	l := quota.New(quota.Options{Store: w.s, Replica: "r", Now: func() time.Time { return time.Now().Add(off) }})
	who := &auth.Who{Name: "k", Org: w.org, Rules: []llm.Bound{{Subject: "key:k", Rule: &llm.Rule{Name: "p", Requests: []llm.Pace{{N: 2, Per: time.Hour}}}}}}
	n := 0
	let := func(want bool) {
		t.Helper()
		n++
		g, err := l.Reserve(t.Context(), who, quota.Request{ID: fmt.Sprint(n), Model: "m"})
		if (err == nil) != want {
			t.Errorf("our clock %v ahead: let in: %v, want %v", off, err == nil, want)
		}
		if err == nil {
			g.Release(t.Context(), 0)
		}
	}
	let(true)
	let(true)
	for _, off = range []time.Duration{0, -time.Hour, 24 * time.Hour, 25 * time.Hour} {
		let(false)
	}
	w.h.Pass(61 * time.Minute)
	let(true)
}
