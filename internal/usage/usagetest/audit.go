package usagetest

import (
	"fmt"
	"sync"
	"time"

	"sluice/internal/usage"
)

// auditor is the store as one that can be audited.
func (r *rig) auditor() usage.Auditor {
	r.t.Helper()
	a, ok := r.Store.(usage.Auditor)
	if !ok {
		r.t.Fatal("the store is no usage.Auditor")
	}
	return a
}

// right has an audit find nothing.
func (r *rig) right(what string, mend bool) {
	r.t.Helper()
	list, err := r.auditor().Audit(r.t.Context(), time.Time{}, mend)
	r.ok(err)
	r.same("sums "+what, list, []usage.WrongSum{})
}

// testRecount: rows are added up as far as each replica's mark, whatever is shipped by now.
func testRecount(r *rig) {
	const span = 3 * 24 * time.Hour
	rng := seeded(11)
	rows := some(rng, 300, span)
	replicas := []string{"a", "b", "it's"}
	for i, name := range replicas {
		r.join(name)
		chunk := rows[i*100 : i*100+100]
		for j := range chunk {
			chunk[j].Replica, chunk[j].Position = name, uint64(j+1)
		}
		r.ok(r.Ship(r.t.Context(), &usage.Batch{Replica: name, Position: 100, Rows: chunk}))
	}
	for range 60 {
		f := someFilter(rng, span)
		marks := map[string]uint64{"stranger": 9}
		for _, name := range replicas {
			if rng.IntN(4) > 0 {
				marks[name] = uint64(rng.IntN(120))
			}
		}
		want := usage.Spent{Marks: map[string]uint64{"a": 100, "b": 100, "it's": 100}}
		for i := range rows {
			row := &rows[i]
			if !f.Matches(row) || row.Position > marks[row.Replica] {
				continue
			}
			want.Calls, want.Tokens, want.Money = want.Calls+1, want.Tokens+row.Tokens(), want.Money.Plus(row.Costs.Total())
		}
		got, err := r.auditor().Recount(r.t.Context(), &f, marks)
		r.ok(err)
		r.same(fmt.Sprintf("%+v up to %v", f, marks), got, want)
	}
	got, err := r.auditor().Recount(r.t.Context(), &usage.Filter{}, nil)
	r.ok(err)
	if got.Calls != 0 || got.Marks["a"] != 100 {
		r.t.Errorf("without marks: %+v", got)
	}
}

// testAudit: sums whose rows are gone are left alone. That wrong ones are found and mended is for the engines' own tests: no
// method of a store makes any.
func testAudit(r *rig) {
	if at, err := r.auditor().Oldest(r.t.Context()); err != nil || !at.IsZero() {
		r.t.Errorf("the oldest of none: %v, %v", at, err)
	}
	r.right("of nothing", true)
	r.join("a")
	rows := some(seeded(13), 200, 4*24*time.Hour)
	big := Row("big", Base())
	big.Costs.Input = 1 << 62
	r.ship("a", append(rows, big))
	r.right("as shipped", false)
	first := Base().Truncate(24 * time.Hour)
	if at, err := r.auditor().Oldest(r.t.Context()); err != nil || !at.IsZero() {
		r.t.Errorf("the oldest of all is %v, %v", at, err)
	}

	// Rows of two days go, sums stay for one of them: its first day cannot be held against its rows, the second can.
	r.ok(r.Retain(r.t.Context(), first.AddDate(0, 0, 2), first.AddDate(0, 0, 1)))
	r.right("without rows", true)
	if at, err := r.auditor().Oldest(r.t.Context()); err != nil || !at.Equal(first.AddDate(0, 0, 3)) {
		r.t.Errorf("the oldest is %v, %v", at, err)
	}
	if got := r.spent(usage.Filter{From: first.AddDate(0, 0, 1), Until: first.AddDate(0, 0, 2)}); got.Calls == 0 {
		r.t.Error("an audit took sums away whose rows are gone")
	}
}

// testAuditBesides: nobody who ships meanwhile is counted twice or left out.
func testAuditBesides(r *rig) {
	const batches = 40
	var all sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		r.join(name)
		all.Go(func() {
			for i := range batches {
				rows := []usage.Row{Row(fmt.Sprint(name, i, "x"), Base()), Row(fmt.Sprint(name, i, "y"), Base().Add(time.Hour))}
				if err := r.Ship(r.t.Context(), &usage.Batch{Replica: name, After: uint64(2 * i), Position: uint64(2*i + 2), Rows: rows}); err != nil {
					r.t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		r.right("meanwhile", true)
	}
	if got := r.spent(usage.Filter{}); got.Calls != 4*batches {
		r.t.Errorf("%d calls, want %d", got.Calls, 4*batches)
	}
}
