// Package usagetest is the suite that every usage.Store must pass. What stores answer is held against plain sums over the
// rows that were shipped.
package usagetest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// A Harness makes stores.
type Harness struct {
	// Open gives an empty store.
	Open func(t *testing.T) usage.Store
}

// Run holds a store to its interface.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*rig){
		"every member is kept":            testMembers,
		"hostile texts stay texts":        testHostile,
		"shipped once":                    testOnce,
		"a batch of some that are there":  testSome,
		"positions":                       testPositions,
		"who has not joined":              testNotJoined,
		"all or nothing":                  testAllOrNothing,
		"open calls":                      testOpen,
		"claims":                          testClaims,
		"claims of claims":                testClaimedAgain,
		"claimed by one only":             testClaimRace,
		"sums and reports":                testSums,
		"spent and marks are one picture": testPicture,
		"spent by parts":                  testParts,
		"days of a zone":                  testZones,
		"pages":                           testPages,
		"replicas at once":                testTogether,
		"days to come, days gone by":      testRetention,
		"recounted up to marks":           testRecount,
		"sums are audited and mended":     testAudit,
		"audited while others ship":       testAuditBesides,
	} {
		t.Run(name, func(t *testing.T) { test(&rig{h.Open(t), t, map[string]uint64{}}) })
	}
}

// A rig ships rows and knows where each replica's log is.
type rig struct {
	usage.Store
	t  *testing.T
	at map[string]uint64
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) join(replica string) usage.Standing {
	r.t.Helper()
	now, err := r.Join(r.t.Context(), replica)
	r.ok(err)
	r.at[replica] = now.Shipped
	return now
}

// batch is the next of a replica.
func (r *rig) batch(replica string, rows []usage.Row, calls ...usage.Open) *usage.Batch {
	b := &usage.Batch{Replica: replica, After: r.at[replica], Rows: rows, Open: calls}
	b.Position = b.After + uint64(len(rows)+len(calls)) + 1
	for i := range rows {
		b.Ended = append(b.Ended, rows[i].RequestID)
	}
	return b
}

func (r *rig) ship(replica string, rows []usage.Row, calls ...usage.Open) {
	r.t.Helper()
	b := r.batch(replica, rows, calls...)
	r.ok(r.Ship(r.t.Context(), b))
	r.at[replica] = b.Position
}

func (r *rig) rows(q usage.RowQuery) []usage.Row {
	r.t.Helper()
	page, err := r.Rows(r.t.Context(), &q)
	r.ok(err)
	return page.Rows
}

func (r *rig) spent(f usage.Filter) usage.Spent {
	r.t.Helper()
	s, err := r.Spent(r.t.Context(), &usage.SpentQuery{Filter: f})
	r.ok(err)
	return s
}

func (r *rig) same(what string, got, want any) {
	r.t.Helper()
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Base is the time about which rows are made.
func Base() time.Time { return time.Date(2026, 3, 28, 22, 7, 3, 456789000, time.UTC) }

// Row makes the row of a call charged at a time.
func Row(id string, at time.Time) usage.Row {
	at = at.UTC().Truncate(time.Microsecond)
	return usage.Row{
		Replica: "a", Position: 1,
		Call: usage.Call{
			RequestID: id, Payer: usage.Payer{Org: "default", Team: "t", User: "u", Key: "k", Project: "p", Tags: []string{"x", "y"}},
			Start: at.Add(-time.Millisecond), Charged: at, Format: "openai", Op: llm.OpChat, Model: "gpt-4o", BytesIn: 100,
		},
		Mark: usage.Mark{
			Provider: "openai", Upmodel: "gpt-4o-2024-08-06", Credential: "main", Attempts: 1,
			Usage: llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(20)}, Costs: usage.Costs{Input: 25, Output: 200}, PriceVersion: "v1", Total: time.Second,
		},
		Status: 200,
	}
}

// fill sets every member below v to a value of its own.
func fill(v reflect.Value, n *int64) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(Base().Add(time.Duration(*n) * time.Microsecond)))
	case v.Type() == reflect.TypeFor[time.Duration]():
		v.SetInt(*n * int64(time.Microsecond))
	case v.Type() == reflect.TypeFor[llm.Members]():
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case v.Kind() == reflect.String:
		v.SetString(fmt.Sprint("text ", *n, " ä🙂"))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(*n)
	case v.CanUint():
		v.SetUint(uint64(*n))
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case v.Type() == reflect.TypeFor[llm.Runs]():
		v.Set(reflect.ValueOf(llm.Runs{"a_tool": *n, "another": *n + 1}))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	default:
		panic("a member of a kind that nobody thought of: " + v.Type().String())
	}
}

// testMembers: whatever a row or an open call has comes back as it was, and absent is not zero.
func testMembers(r *rig) {
	r.join("a")
	var n int64
	var full usage.Row
	fill(reflect.ValueOf(&full).Elem(), &n)
	bare := usage.Row{Call: usage.Call{RequestID: "bare", Payer: usage.Payer{Org: "default"}, Start: Base(), Charged: Base()}}
	zero := bare
	zero.RequestID = "zero"
	zero.Usage = llm.Usage{
		Input: llm.Tokens(0), CacheRead: llm.Tokens(0), CacheWrite: llm.Tokens(0), CacheWrite1h: llm.Tokens(0), Output: llm.Tokens(0), Reasoning: llm.Tokens(0),
		AudioInput: llm.Tokens(0), AudioOutput: llm.Tokens(0), ImageInput: llm.Tokens(0), ImageOutput: llm.Tokens(0), Total: llm.Tokens(0),
	}
	big := Row("big", Base())
	big.Costs.Input, big.Usage.Output, big.Position, big.BytesOut = 1<<62, llm.Tokens(1<<62), 1<<62, 1<<62
	r.ship("a", []usage.Row{full, bare, zero, big})
	for _, want := range []usage.Row{full, bare, zero, big} {
		got := r.rows(usage.RowQuery{RequestID: want.RequestID})
		r.same("row "+want.RequestID, got, []usage.Row{want})
	}
	r.ship("a", []usage.Row{big2(big)}) // a sum that is too large keeps nothing out

	open := usage.Open{}
	fill(reflect.ValueOf(&open).Elem(), &n)
	open.Replica = "a"
	plain := usage.Open{Replica: "a", Position: open.Position + 1, Intent: usage.Intent{Call: bare.Call}}
	r.ship("a", nil, open, plain)
	r.same("open calls", r.join("a").Open, []usage.Open{open, plain})
}

func big2(r usage.Row) usage.Row {
	r.RequestID = "big2"
	return r
}

// testHostile: no text does anything but come back; what no store can keep does not keep the row out.
func testHostile(r *rig) {
	r.join("a")
	var rows []usage.Row
	for i, s := range []string{
		`'; DROP TABLE ledger; --`, `" OR 1=1`, `\`, `%`, `_`, `*`, `?`, `$1`, "a\nb", "\u202e", `{"a":`, `[`, strings.Repeat("x", 2000), "\x00", "\xff\xfe", "ok\x00ok",
	} {
		row := Row(fmt.Sprint("r", i), Base())
		row.Key, row.Model, row.Credential, row.Project, row.Tags = s, s, s, s, []string{s}
		rows = append(rows, row)
	}
	r.ship("a", rows)
	for i, row := range rows[:13] {
		got := r.rows(usage.RowQuery{Filter: usage.Filter{Key: row.Key, Tag: row.Tags[0], Project: row.Project}})
		r.same(fmt.Sprint("by ", row.Key), got, rows[i:i+1])
	}
	if n := r.spent(usage.Filter{}).Calls; n != int64(len(rows)) {
		r.t.Errorf("%d rows were kept, want %d", n, len(rows))
	}
}

func testParts(r *rig) {
	r.join("a")
	from := Base().Truncate(time.Hour)
	r.ship("a", []usage.Row{Row("1", from), Row("2", from.Add(15*time.Minute-time.Microsecond)), Row("3", from.Add(40*time.Minute)), Row("4", from.Add(time.Hour))})
	got, err := r.Spent(r.t.Context(), &usage.SpentQuery{Filter: usage.Filter{From: from, Until: from.Add(time.Hour)}, Part: 15 * time.Minute})
	r.ok(err)
	r.same("parts", got.Parts, []usage.SpentPart{{Start: from, Money: 450, Tokens: 60}, {Start: from.Add(30 * time.Minute), Money: 225, Tokens: 30}})
	if got.Money != 675 || got.Marks["a"] != r.at["a"] {
		r.t.Errorf("the whole is %+v", got)
	}
}

func testOnce(r *rig) {
	r.join("a")
	rows := []usage.Row{Row("1", Base()), Row("2", Base().Add(time.Hour))}
	b := r.batch("a", rows)
	for range 3 {
		r.ok(r.Ship(r.t.Context(), b))
	}
	if got := r.spent(usage.Filter{}); got.Calls != 2 || got.Money != 450 || got.Tokens != 60 {
		r.t.Errorf("spent %+v", got)
	}
	r.same("rows", ids(r.rows(usage.RowQuery{})), []string{"2", "1"})
	// Another replica has a row that is there: it had taken the call over, say.
	r.join("b")
	r.ship("b", []usage.Row{Row("2", Base().Add(time.Hour)), Row("3", Base())})
	if got := r.spent(usage.Filter{}); got.Calls != 3 || got.Money != 675 {
		r.t.Errorf("spent %+v with a row that was there", got)
	}
	if got := r.rows(usage.RowQuery{RequestID: "2"}); len(got) != 1 || got[0].Replica != "a" {
		r.t.Errorf("the first row does not stand: %+v", got)
	}
}

func testSome(r *rig) {
	r.join("a")
	r.join("b")
	rng := seeded(1)
	var all []usage.Row
	want := map[string]bool{}
	for range 6 {
		var rows []usage.Row
		for range 90 {
			id := fmt.Sprint("r", rng.IntN(400))
			if slices.ContainsFunc(rows, func(r usage.Row) bool { return r.RequestID == id }) {
				continue
			}
			row := Row(id, Base())
			rows = append(rows, row)
			if !want[id] {
				all, want[id] = append(all, row), true
			}
		}
		r.ship([]string{"a", "b"}[rng.IntN(2)], rows)
		if got := r.spent(usage.Filter{}); got.Calls != int64(len(all)) || got.Money != llm.Nano(225*len(all)) {
			r.t.Fatalf("spent %+v, want %d calls", got, len(all))
		}
	}
	twice := Row("twice", Base())
	r.ship("a", []usage.Row{twice, twice})
	if got := r.spent(usage.Filter{}).Calls; got != int64(len(all)+1) {
		r.t.Errorf("a row that is twice in a batch: %d calls, want %d", got, len(all)+1)
	}
}

func testPositions(r *rig) {
	ctx := r.t.Context()
	if n, err := r.Shipped(ctx, "a"); n != 0 || err != nil {
		r.t.Errorf("of a stranger: %d, %v", n, err)
	}
	r.join("a")
	r.ok(r.Ship(ctx, &usage.Batch{Replica: "a", Position: 7}))
	if n, err := r.Shipped(ctx, "a"); n != 7 || err != nil {
		r.t.Errorf("shipped %d, %v, want 7", n, err)
	}
	for name, b := range map[string]usage.Batch{
		"a hole":     {After: 8, Position: 9},
		"an overlap": {After: 6, Position: 9},
	} {
		b.Replica, b.Rows = "a", []usage.Row{Row("x", Base())}
		if err := r.Ship(ctx, &b); err == nil || errors.Is(err, usage.ErrGone) {
			r.t.Errorf("%s: %v", name, err)
		}
	}
	r.ok(r.Ship(ctx, &usage.Batch{Replica: "a", After: 0, Position: 7, Rows: []usage.Row{Row("x", Base())}}))
	if got := r.spent(usage.Filter{}); got.Calls != 0 {
		r.t.Errorf("%d rows of refused batches are there", got.Calls)
	}
	if now := r.join("a"); now.Shipped != 7 {
		r.t.Errorf("joined at %d, want 7", now.Shipped)
	}
	r.same("marks", r.spent(usage.Filter{}).Marks, map[string]uint64{"a": 7})
}

func testNotJoined(r *rig) {
	if err := r.Ship(r.t.Context(), &usage.Batch{Replica: "a", Position: 1}); !errors.Is(err, usage.ErrGone) {
		r.t.Errorf("got %v, want ErrGone", err)
	}
}

// testAllOrNothing: a batch that ends half way left nothing.
func testAllOrNothing(r *rig) {
	r.join("a")
	ctx, cancel := contextThatEnds(r.t)
	rows := make([]usage.Row, 2000)
	for i := range rows {
		rows[i] = Row(fmt.Sprint("r", i), Base().Add(time.Duration(i)*time.Second))
	}
	b := r.batch("a", rows)
	cancel()
	if err := r.Ship(ctx, b); err == nil {
		r.t.Fatal("shipped without a context")
	}
	if got := r.spent(usage.Filter{}); got.Calls != 0 || got.Marks["a"] != 0 {
		r.t.Errorf("%d rows of a batch that failed, shipped to %d", got.Calls, got.Marks["a"])
	}
	r.ok(r.Ship(r.t.Context(), b))
	if got := r.spent(usage.Filter{}); got.Calls != int64(len(rows)) {
		r.t.Errorf("%d rows, want %d", got.Calls, len(rows))
	}
}

func ids(rows []usage.Row) (all []string) {
	for i := range rows {
		all = append(all, rows[i].RequestID)
	}
	return all
}

// testTogether: several replicas ship rows of the same payers at once.
func testTogether(r *rig) {
	const replicas, batches, rows = 4, 6, 40
	var all sync.WaitGroup
	for n := range replicas {
		name := fmt.Sprint("replica ", n)
		r.join(name)
		all.Go(func() {
			for b := range batches {
				batch := &usage.Batch{Replica: name, After: uint64(b * rows), Position: uint64(b*rows + rows)}
				for i := range rows {
					row := Row(fmt.Sprint(n, "-", b, "-", i), Base().Add(time.Duration(i%3)*time.Hour))
					row.Key = fmt.Sprint("k", (i+n)%7)
					batch.Rows = append(batch.Rows, row)
				}
				if err := r.Ship(r.t.Context(), batch); err != nil {
					r.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if got := r.spent(usage.Filter{}); got.Calls != replicas*batches*rows || got.Money != replicas*batches*rows*225 {
		r.t.Errorf("spent %+v", got)
	}
}

func byTime(a, b usage.Row) int {
	return -cmp.Or(a.Charged.Compare(b.Charged), strings.Compare(a.RequestID, b.RequestID))
}

// seeded draws the same numbers in every run.
func seeded(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // made-up rows
}
