package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// An audit compares what the upstreams did and what the clients got with the ledger: I1, I2 and I5.
type audit struct {
	t       *testing.T
	rough   bool            // the gateway was killed: calls may have ended without anybody's fault
	dropped map[string]bool // calls that the gateway itself said it could not account for (go_on)

	calls, whole, exact, cut, refused, orphans int
	wrong                                      int
}

// fails notes what is wrong, the first few in full.
func (a *audit) fails(what, id string, args ...any) {
	a.t.Helper()
	if a.wrong++; a.wrong <= 8 {
		a.t.Errorf("%s: request %s: %s", what, id, fmt.Sprintln(args...))
	}
}

// compare holds every call that an upstream knows against its row, and every row against what the upstreams know.
func (a *audit) compare(truth map[string][]upstreamTruth, rows map[string][]row, receipts map[string]*receipt) {
	a.t.Helper()
	for id, tries := range truth {
		a.calls++
		switch list := rows[id]; {
		case len(list) == 0 && a.dropped[id]:
		case len(list) == 0:
			a.fails("I1 missing", id, tries)
		case len(list) > 1:
			a.fails("I1 double", id, list)
		default:
			a.call(id, tries, &list[0], receipts[id])
		}
	}
	for id, list := range rows {
		for i := range list {
			a.row(&list[i], truth[id])
		}
	}
}

// call compares one.
func (a *audit) call(id string, tries []upstreamTruth, r *row, got *receipt) {
	a.t.Helper()
	u := lastOf(tries)
	marked := r.estimated || r.partial
	if got != nil {
		if got.whole {
			a.whole++
		}
		if marked && r.output.Int64 < got.words {
			a.fails("I2 less than the client received", id, *r, "words:", got.words)
		}
		if cost := got.header.Get("X-Sluice-Cost"); cost != "" && got.whole && (&purse{Unit: "usd"}).amount(cost) != r.cost {
			a.fails("I1 another cost than the client was told", id, *r, cost)
		}
	}
	untold := strings.HasPrefix(u.Model, "n") // usage=none
	switch {
	case u.whole() && untold:
		a.cut++
		if !marked && r.cost > 0 {
			a.fails("I2 not marked as estimated", id, *r, *u)
		}
	case u.whole() && a.same(u, r):
		a.exact++
	case u.whole() && marked && (got == nil || !got.whole):
		// The upstream gave it all; the gateway had not read all of it when its client left, a budget ended it, or it was killed.
		a.cut++
		if got != nil && !got.left() && !got.cut && !a.rough {
			a.fails("I1 estimated, and nobody left", id, *r, *u, got.status, got.err, got.body)
		}
	case u.whole():
		a.fails("I1 other tokens", id, *r, *u)
	case u.Outcome == "refused" || r.output.Int64 == 0 && r.cost <= waste(tries): // it told nothing; those before it may have
		a.refused++
	default:
		a.cut++
		if !marked {
			a.fails("I2 cut, and not marked", id, *r, *u)
		}
	}
}

// same says that a row has exactly the upstream's tokens.
func (a *audit) same(u *upstreamTruth, r *row) bool {
	n := &u.Tokens
	return !r.estimated && !r.partial && r.input.Int64 == n.Input && r.output.Int64 == n.Whole && r.read.Int64 == n.Cached &&
		r.write.Int64 == n.Write && (!r.reasoning.Valid || r.reasoning.Int64 == n.Reasoning)
}

// waste is what the attempts before the last can have cost at most, whose answers nobody got.
func waste(tries []upstreamTruth) (most int64) {
	for i := range tries[:max(len(tries)-1, 0)] {
		if u := &tries[i]; !u.whole() {
			most += u.Tokens.Input*priceIn + (u.Tokens.Output+1)*priceOut
		}
	}
	return most
}

// row checks what must hold of each: I5, and that nothing is invented.
func (a *audit) row(r *row, tries []upstreamTruth) {
	a.t.Helper()
	want := r.input.Int64*priceIn + r.output.Int64*priceOut
	if r.estimated && r.partial && r.output.Int64 == 0 && r.cost <= want+9 {
		want = r.cost // the bound of an input, each of whose kinds is rounded up
	}
	if more := r.cost - want; more > 0 && more <= waste(tries) {
		want = r.cost
	}
	if r.cost != want || r.least < 0 || r.cost > 0 && r.version == "" {
		a.fails("I5", r.id, *r, "wanted a cost of", want)
	}
	if len(tries) > 0 {
		return
	}
	if a.orphans++; r.cost > 0 && !r.partial && !r.estimated {
		a.fails("I1 invented", r.id, *r)
	}
}

// close notes the figures.
func (a *audit) close() {
	a.t.Helper()
	holds(a.t, a.wrong == 0, "I1, I2, I5: 0 missing, double, invented or otherwise wrong",
		"%d wrong of %d upstream calls: %d exact, %d cut or estimated, %d refused; %d rows without an upstream's call; %d whole answers",
		a.wrong, a.calls, a.exact, a.cut, a.refused, a.orphans, a.whole)
}
