package quotatest

import (
	"testing"
	"time"

	"sluice/internal/quota"
)

// allOrNone has each kind refuse once, with room in all others: nothing of them is used up.
func allOrNone(t *testing.T, w *world) {
	full := func() []quota.Ask {
		return []quota.Ask{requests(5), tokens(50, 10), parallel(5), w.budget("a", 500, 100), w.budget("b", 500, 100)}
	}
	for i, tight := range []quota.Ask{requests(0), tokens(9, 10), parallel(0), w.budget("a", 99, 100), w.budget("b", 99, 100)} {
		asks := full()
		asks[i] = tight
		for range 10 {
			if v := w.want(t, quota.Refused, w.hold("refused", asks...)); v.Ask != i {
				t.Errorf("refused by ask %d, want %d", v.Ask, i)
			}
		}
	}
	for i := range 5 {
		h := w.hold(string(rune('a'+i)), full()...)
		w.want(t, quota.Granted, h)
		if h.Asks[0].Used != int64(i+1) || h.Asks[3].Granted != 100 {
			t.Errorf("hold %d: %+v", i, h.Asks)
		}
	}
	w.want(t, quota.Refused, w.hold("f", full()...))
	for i := range 5 {
		if one := w.reserve(t, w.hold("g", full()[i])); one.Answer != quota.Refused {
			t.Errorf("ask %d has room for one more", i)
		}
	}
}

func again(t *testing.T, w *world) {
	h := w.hold("x", parallel(1), tokens(100, 60), w.budget("a", 100, 60))
	w.want(t, quota.Granted, h)
	same := w.hold("x", parallel(1), tokens(100, 60), w.budget("a", 100, 60))
	w.want(t, quota.Granted, same)
	if same.Asks[2].Granted != 60 || same.Asks[1].Slot != h.Asks[1].Slot {
		t.Errorf("again: %+v, want %+v", same.Asks, h.Asks)
	}
	w.stands(t, w.ref("a"), 0, 60)
	w.release(t, h, 60)
	w.release(t, same, 60)
	w.want(t, quota.Granted, w.hold("y", parallel(1), tokens(100, 40)))
	w.want(t, quota.Refused, w.hold("z", tokens(100, 1)))
}

func slides(t *testing.T, w *world) {
	for range 3 {
		w.want(t, quota.Granted, w.hold("x", requests(3)))
	}
	h := w.hold("x", requests(3))
	w.want(t, quota.Refused, h)
	if a := h.Asks[0]; a.Wait <= 59*time.Second || a.Wait > 61*time.Second || a.Used != 3 {
		t.Errorf("refused with %+v", a)
	}
	w.h.Pass(50 * time.Second) // a test may take nine seconds until here
	w.want(t, quota.Refused, w.hold("x", requests(3)))
	w.h.Pass(12 * time.Second)
	h = w.hold("x", requests(3))
	w.want(t, quota.Granted, h)
	if a := h.Asks[0]; a.Used != 1 || a.Reset <= 50*time.Second || a.Reset > 61*time.Second {
		t.Errorf("granted with %+v", a)
	}
	day := quota.Ask{Counter: &quota.Counter{Kind: quota.Requests, Key: "k|day", N: 1, Per: 24 * time.Hour}, Cost: 1}
	w.want(t, quota.Granted, w.hold("x", day))
	w.h.Pass(23 * time.Hour)
	w.want(t, quota.Refused, w.hold("x", day))
	w.h.Pass(2 * time.Hour)
	w.want(t, quota.Granted, w.hold("x", day))
	second := quota.Ask{Counter: &quota.Counter{Kind: quota.Requests, Key: "k|second", N: 1, Per: time.Second}, Cost: 1}
	w.want(t, quota.Granted, w.hold("x", second))
	w.h.Pass(1100 * time.Millisecond)
	w.want(t, quota.Granted, w.hold("x", second))
}

func corrected(t *testing.T, w *world) {
	h := w.hold("a", tokens(100, 90))
	w.want(t, quota.Granted, h)
	w.want(t, quota.Refused, w.hold("b", tokens(100, 11)))
	w.release(t, h, 20)
	w.release(t, h, 20)
	b := w.hold("b", tokens(100, 80))
	w.want(t, quota.Granted, b)
	w.release(t, b, 500) // more than it had: a debt
	c := w.hold("c", tokens(100, 1))
	w.want(t, quota.Refused, c)
	if a := c.Asks[0]; a.Used != 520 || a.Wait <= 50*time.Second {
		t.Errorf("after a debt: %+v", a)
	}
	w.h.Pass(62 * time.Second)
	w.want(t, quota.Granted, w.hold("c", tokens(100, 100)))
	w.release(t, w.hold("nobody's", tokens(100, 5)), 1000)
	d := w.hold("d", quota.Ask{Counter: &quota.Counter{Kind: quota.Tokens, Key: "k|late", N: 100, Per: time.Second}, Cost: 10})
	w.want(t, quota.Granted, d)
	w.renew(t, d)
	w.h.Pass(5 * time.Second)
	w.release(t, d, 100) // 90 more than it reserved, and what it reserved has left
	e := w.hold("e", quota.Ask{Counter: &quota.Counter{Kind: quota.Tokens, Key: "k|late", N: 1 << 40, Per: time.Second}, Cost: 1})
	w.want(t, quota.Granted, e)
	if got := e.Asks[0].Used; got > 91 {
		t.Errorf("a late correction: %d used, want at most 91", got)
	}
}

func leases(t *testing.T, w *world) {
	a, b := w.hold("a", parallel(2)), w.hold("b", parallel(2))
	w.want(t, quota.Granted, a)
	w.want(t, quota.Granted, b)
	c := w.hold("c", parallel(2))
	w.want(t, quota.Refused, c)
	if c.Asks[0].Used != 2 {
		t.Errorf("used %d, want 2", c.Asks[0].Used)
	}
	w.release(t, a, 0)
	w.release(t, a, 0)
	w.want(t, quota.Granted, c)
	w.want(t, quota.Refused, w.hold("d", parallel(2)))
	w.h.Pass(quota.Lease / 2)
	w.renew(t, b)
	w.h.Pass(quota.Lease/2 + 2*time.Second) // c's is over
	w.want(t, quota.Granted, w.hold("d", parallel(2)))
	w.want(t, quota.Refused, w.hold("e", parallel(2)))
}

// along has reservations take along what others free: before they ask for it themselves, and whatever comes of them.
func along(t *testing.T, w *world) {
	asks := func() []quota.Ask {
		return []quota.Ask{requests(100), tokens(100, 60), parallel(1), w.budget("a", 1000, 10)}
	}
	a := w.hold("a", asks()...)
	w.want(t, quota.Granted, a)
	other := w.hold("other", quota.Ask{Counter: &quota.Counter{Kind: quota.Parallel, Key: "j|parallel", N: 1}}) // of another key
	w.want(t, quota.Granted, other)
	b := w.hold("b", asks()...)
	w.want(t, quota.Refused, b)
	b.Freed = []quota.Freed{{Hold: other}, {Hold: a, Tokens: 20}}
	w.want(t, quota.Granted, b)
	if got := b.Asks[1].Used; got != 80 {
		t.Errorf("%d tokens used, want 20 and 60", got)
	}
	c := w.hold("c", asks()...)
	c.Freed = []quota.Freed{{Hold: a, Tokens: 20}, {Hold: other}} // once more
	if w.want(t, quota.Refused, c); c.Asks[1].Used != 80 || c.Asks[2].Used != 1 {
		t.Errorf("%d tokens and %d calls, want 80 and 1", c.Asks[1].Used, c.Asks[2].Used)
	}
	c = w.hold("c", append(asks(), requests(0))...)
	c.Freed = []quota.Freed{{Hold: b, Tokens: 0}}
	w.want(t, quota.Refused, c)
	w.want(t, quota.Granted, w.hold("d", tokens(100, 80), parallel(1)))
	w.want(t, quota.Granted, w.hold("e", quota.Ask{Counter: other.Asks[0].Counter}))
	w.stands(t, w.ref("a"), 0, 20) // what budgets hold waits for the settlement
}

// race has many ask at once for what only some can have.
func race(t *testing.T, w *world) {
	const replicas, each, limit = 4, 50, 70
	w.want(t, quota.Granted, w.hold("first", w.budget("a", limit, 1)))
	granted := make(chan int, replicas)
	for i := range replicas {
		s := w.h.Join(t)
		go func() {
			n := 0
			for j := range each {
				h := w.hold(string(rune('A'+i))+string(rune('0'+j)), w.budget("a", limit, 1), parallel(1000), requests(1000))
				v, err := s.Reserve(t.Context(), h)
				if err != nil {
					t.Errorf("reserve: %v", err)
				}
				if v.Answer == quota.Granted {
					n++
				}
			}
			granted <- n
		}()
	}
	all := 1
	for range replicas {
		all += <-granted
	}
	if all != limit {
		t.Errorf("%d of %d granted", all, limit)
	}
	w.stands(t, w.ref("a"), 0, limit)
}
