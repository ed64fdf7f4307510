package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// twins is R39: a call that is sent twice happens once, by Stripe's rules.
func twins(t *testing.T, rnd *rand.Rand, dsn string) {
	besides(t)
	s := newShop(t, rnd, dsn, fmt.Sprintf("  - {name: other, key: %s, organisation: elsewhere}\n", moneyKey("other")))
	for _, v := range s.vendors {
		v.script(t, "g = echo?latency=150ms\ns = echo?pace=20ms\nf = echo?status=500 first=100\nx = echo?status=400\n")
	}
	s.open()
	asked := func() int {
		n := 0
		for _, list := range s.truth() {
			n += len(list) - 1 // the last stands there twice
		}
		return n
	}
	send := func(o wish, name string) receipt {
		o.header = []string{"Idempotency-Key: " + name}
		return o.place(t.Context(), http.DefaultTransport, s.gateway())
	}
	text := func() string { return words(rnd, 8) }
	plain := wish{secret: moneyKey("rich"), model: "good", text: text()}

	for _, stream := range []bool{false, true} {
		o := wish{secret: moneyKey("rich"), model: map[bool]string{false: "good", true: "slow"}[stream], text: text(), stream: stream}
		before, n := asked(), 50
		got := make([]receipt, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { got[i] = send(o, fmt.Sprintf("twins-%v", stream)) })
		}
		all.Wait()
		whole, conflicts := tally(got)
		holds(t, asked()-before == 1 && whole >= 1 && whole+conflicts == n, "R39: one upstream call of 50 parallel twins",
			"stream %v: %d upstream calls, %d answers, %d told to wait", stream, asked()-before, whole, conflicts)
		again := send(o, fmt.Sprintf("twins-%v", stream))
		if !again.whole || again.header.Get("Idempotent-Replayed") != "true" || asked()-before != 1 {
			t.Errorf("stream %v: after success: %d, replayed %q, %d upstream calls", stream, again.status, again.header.Get("Idempotent-Replayed"), asked()-before)
		}
	}

	other := plain
	other.text = text()
	if got := send(other, "twins-false"); got.status != http.StatusUnprocessableEntity && got.status != http.StatusConflict && got.status != http.StatusBadRequest {
		t.Errorf("another body under the same key: %d %s", got.status, got.body)
	}
	before := asked()
	for _, secret := range []string{moneyKey("other"), moneyKey("free")} {
		o := plain
		o.secret, o.text = secret, "not yours"
		if got := send(o, "twins-false"); !got.whole || got.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("a caller's key met another's: %d, replayed %q: %s", got.status, got.header.Get("Idempotent-Replayed"), got.body)
		}
	}
	if n := asked() - before; n != 2 {
		t.Errorf("%d upstream calls for two callers who use the same key", n)
	}
	s.failedTwins(t, send, plain)
	rows := s.rest(tillKeys[:2]...)
	a := &audit{t: t}
	a.compare(s.truth(), rows, nil)
	a.close()
}

// tally counts the twins that were answered and those that were told to wait.
func tally(twins []receipt) (whole, conflicts int) {
	for i := range twins {
		switch {
		case twins[i].whole:
			whole++
		case twins[i].status == http.StatusConflict:
			conflicts++
		}
	}
	return whole, conflicts
}

// failedTwins: a call that failed is made again, and one whose client left is there for it when it comes back.
func (s *shop) failedTwins(t *testing.T, send func(wish, string) receipt, plain wish) {
	t.Helper()
	failing := plain
	failing.model = "broken"
	if first := send(failing, "failed"); first.status == http.StatusOK {
		t.Fatalf("it should fail: %d", first.status)
	}
	for _, v := range s.vendors {
		v.script(t, "g = echo?latency=150ms\ns = echo?pace=20ms\nx = echo\n")
	}
	if second := send(failing, "failed"); !second.whole || second.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("after a failure: %d %s", second.status, second.body)
	}
	gone := plain
	gone.leaves = 60 * time.Millisecond
	if got := send(gone, "gone"); got.err == nil {
		t.Fatal("the client did not leave")
	}
	gone.leaves = 0
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if got := send(gone, "gone"); got.whole {
			if got.header.Get("Idempotent-Replayed") != "true" {
				t.Error("the answer that its client left was made anew")
			}
			return
		}
	}
	t.Error("the answer that its client left never came")
}
