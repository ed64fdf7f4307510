package app

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/quota"
)

// budgets of the recounts: of money and tokens, of all, by key and by model, in calendar and rolling periods; the last one is
// soft. None is reached.
const recountRules = `
rules:
  - {name: all, budgets: [{dollars: 1000, every: day}, {tokens: 900000000, every: month}, {dollars: 1000, every: rolling-day}]}
  - {name: each, per: [key, model], models: ["good*"], budgets: [{dollars: 1000, every: hour}, {tokens: 90000000, every: rolling-hour, mode: soft}]}
models:
  - name: good
    deployments: [{provider: o, model: echo, price: {input: "0.37", output: "1.13"}}]
  - name: good-slow
    deployments: [{provider: a, model: "echo?pace=2ms", price: {input: "0.77", output: "3.1"}}]
  - name: other
    deployments: [{provider: g, model: "echo", price: {input: "0.11", output: "0.13"}}]
`

// recount asks the running gateway, and gives what it found.
func (r *rig) recount(t *testing.T, fix bool) *Recounted {
	t.Helper()
	out, err := r.app.money.recounter().recount(t.Context(), fix)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// books are the counters, and all that they hold.
func (r *rig) books(t *testing.T) (list []quota.Book, held int64) {
	t.Helper()
	list, err := r.app.money.limiter.Books(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		held += list[i].Held
	}
	return list, held
}

// TestRecountWhileCalling is I3: every counter is the sum of the ledger, to the nano-dollar, at every moment while calls of all
// formats come, stream, fail and are left; and when they have ended, nothing is held.
func TestRecountWhileCalling(t *testing.T) {
	r := newRig(t, recountRules)
	ctx, stop := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for i := range 6 {
		rng := rand.New(rand.NewPCG(uint64(i), 17))
		crowd.Go(func() {
			for ctx.Err() == nil {
				r.someCall(ctx, t, rng)
			}
		})
	}
	late := time.After(30 * time.Second)
	for full := 0; full < 12 && !t.Failed(); { // with all counters begun, and calls under way
		out := r.recount(t, false)
		if out.Sums.Wrong > 0 || out.Counters.Wrong > 0 || out.Counters.Unknown > 0 {
			t.Errorf("recounted: %+v", out)
		}
		if out.Counters.Checked >= 7 {
			full++
		}
		select {
		case <-late:
			t.Fatalf("only %d counters were held against the rows", out.Counters.Checked)
		default:
		}
	}
	stop()
	crowd.Wait()
	late = time.After(20 * time.Second)
	for {
		if _, held := r.books(t); held == 0 {
			break
		}
		select {
		case <-late:
			list, _ := r.books(t)
			t.Fatalf("held with no call under way: %+v", list)
		default: // a hold ends when its settlement is applied
			if err := r.app.money.journal.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out := r.recount(t, true); out.Counters.Wrong > 0 || out.Sums.Wrong > 0 || len(out.Counters.Anew) > 0 {
		t.Errorf("at rest: %+v", out)
	}
}

// someCall makes a call, and leaves some before their end.
func (r *rig) someCall(ctx context.Context, t *testing.T, rng *rand.Rand) {
	v := vendors[rng.IntN(len(vendors))]
	model := []string{"good", "good", "good-slow", "other"}[rng.IntN(4)]
	stream := rng.IntN(2) == 0
	text := strings.Repeat("word ", 1+rng.IntN(60))
	if rng.IntN(4) == 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(20))*time.Millisecond)
		defer cancel()
		ctx = limited
	}
	resp, err := http.DefaultClient.Do(r.request(t, v, model, text, stream).WithContext(ctx))
	if err != nil {
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		t.Errorf("%s %s: %d", v.name, model, resp.StatusCode)
	}
}

// TestRecountMends: what is wrong with sums and counters is found, told with its cause, and mended.
func TestRecountMends(t *testing.T) {
	r := newRig(t, recountRules)
	call := func() {
		t.Helper()
		if resp, body := do(t, r.request(t, vendors[0], "good", "one two three", false)); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	right := func(when string) {
		t.Helper()
		if out := r.recount(t, false); out.Counters.Checked < 4 || out.Counters.Wrong+out.Counters.Unknown+out.Sums.Wrong > 0 {
			t.Fatalf("%s: %+v", when, out)
		}
	}
	for range 3 {
		call()
	}
	right("before")

	// A call is settled that no log has: its replica's disk is gone, say.
	list, _ := r.books(t)
	ghost := quota.Settlement{ID: "ghost", Position: 1 << 40, Money: 5}
	for i := range list {
		if b := &list[i]; b.Part == 0 && !b.Tokens && b.Subject == sharedSubject("all") {
			ghost.Counters = append(ghost.Counters, b.Query.Counter)
		}
	}
	if len(ghost.Counters) != 1 {
		t.Fatalf("the budget of a day is counted in %q", ghost.Counters)
	}
	if err := r.app.money.limiter.Settle(t.Context(), []quota.Settlement{ghost}); err != nil {
		t.Fatal(err)
	}
	plant(t, r, "UPDATE rollup SET cost = cost + 7 WHERE span = 86400")
	out := r.recount(t, false)
	if out.Sums.Wrong != 1 || out.Sums.List[0].Cost != "-0.000000007" || out.Sums.List[0].Span != "day" || out.Sums.Mended {
		t.Errorf("sums: %+v", out.Sums)
	}
	if c := out.Counters; c.Unknown != 1 || c.Wrong != 0 || !strings.Contains(c.List[0].Cause, "replica "+r.app.money.journal.Replica()) || c.List[0].Subject != sharedSubject("all") {
		t.Errorf("counters: %+v", c)
	}
	out = r.recount(t, true)
	if !out.Sums.Mended || !slices.Equal(out.Counters.Anew, []string{"default"}) {
		t.Errorf("mended: %+v", out)
	}
	if out = r.recount(t, false); out.Counters.Cold < 4 || out.Counters.Checked > 0 || out.Sums.Wrong > 0 {
		t.Errorf("begun anew: %+v", out)
	}
	call() // waits until budgets may be asked again
	right("counted anew")

	plant(t, r, "DELETE FROM ledger WHERE request_id = (SELECT min(request_id) FROM ledger)")
	out = r.recount(t, true)
	if out.Sums.Wrong != 2 || out.Sums.List[0].Calls != -1 || out.Counters.Wrong < 4 || !strings.Contains(out.Counters.List[0].Cause, "more than the rows") {
		t.Errorf("a row is gone: %+v", out)
	}
	call()
	right("without the row")
}

// plant changes the store behind everybody's back.
func plant(t *testing.T, r *rig, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.app.cfg.Data, "sluice.db")+"?_pragma=busy_timeout(10000)") // the ledger is written at the same time
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", statement, err))
	}
}
