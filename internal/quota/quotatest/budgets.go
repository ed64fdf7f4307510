package quotatest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/quota"
)

// dies has a replica go without a word: its leases end, and of its budgets what it is known to have spent stays.
func dies(t *testing.T, w *world) {
	a := w.hold("a", parallel(1), w.budget("x", 100, 60))
	b := w.hold("b", w.budget("x", 100, 40))
	w.want(t, quota.Granted, a)
	w.want(t, quota.Granted, b)
	w.h.Pass(quota.Lease / 2)
	w.renew(t, a, b)
	a.Asks[1].Spent = 25
	w.renew(t, a)
	w.want(t, quota.Refused, w.hold("c", w.budget("x", 100, 1)))
	w.h.Pass(quota.Lease + 2*time.Second)
	other := w.h.Join(t)
	if err := other.Sweep(t.Context(), w.org); err != nil {
		t.Fatal(err)
	}
	w.stands(t, w.ref("x"), 0, 25)
	w.want(t, quota.Granted, w.hold("c", parallel(1), w.budget("x", 100, 75)))
	w.h.Pass(quota.Lease / 2)
	w.settle(t, "r1", 1, "a", 30, w.ref("x")) // by its log, when it is back
	w.stands(t, w.ref("x"), 30, 75)
}

// restores has a replica come back after its holds expired: its calls are still under way.
func restores(t *testing.T, w *world) {
	a := w.hold("a", parallel(1), w.budget("x", 100, 60))
	w.want(t, quota.Granted, a)
	a.Asks[1].Spent = 10
	w.renew(t, a)
	w.h.Pass(quota.Lease + 2*time.Second)
	w.sweep(t)
	w.stands(t, w.ref("x"), 0, 10)
	w.renew(t, a)
	w.renew(t, a)
	w.stands(t, w.ref("x"), 0, 60)
	w.want(t, quota.Refused, w.hold("b", parallel(1)))
	w.settle(t, "r", 1, "a", 20, w.ref("x"))
	w.stands(t, w.ref("x"), 20, 0)
	w.release(t, a, 0)
	w.want(t, quota.Granted, w.hold("b", parallel(1)))
}

func cold(t *testing.T, w *world) {
	h := w.hold("a", requests(1), w.budget("x", 100, 60), w.budget("y", 100, 60))
	v := w.want(t, quota.Cold, h)
	if !h.Asks[1].Cold || !h.Asks[2].Cold || h.Asks[0].Cold || !w.level(t, w.ref("x")).Cold {
		t.Errorf("cold: %+v", h.Asks)
	}
	w.seed(t, v.Epoch+1, quota.Level{Counter: w.ref("x")}) // of another time
	if !w.level(t, w.ref("x")).Cold {
		t.Error("a seed of another epoch was taken")
	}
	level := quota.Level{Counter: w.ref("x"), Parts: []quota.Part{{Amount: 30}}, Marks: map[string]uint64{"r1": 7, "r2": 1 << 40}}
	w.seed(t, v.Epoch, level)
	w.seed(t, v.Epoch, level)
	got := w.level(t, w.ref("x"))
	if diff := cmp.Diff(level, got); diff != "" {
		t.Errorf("level (-want +got):\n%s", diff)
	}
	h = w.hold("a", requests(1), w.budget("x", 100, 60), w.budget("y", 100, 60))
	w.want(t, quota.Cold, h)
	if h.Asks[1].Cold || !h.Asks[2].Cold {
		t.Errorf("cold: %+v", h.Asks)
	}
	w.want(t, quota.Granted, h) // after a seed of the other
	w.stands(t, w.ref("x"), 30, 60)
	w.seed(t, v.Epoch, quota.Level{Counter: w.ref("x"), Parts: []quota.Part{{Amount: 1}}})
	w.stands(t, w.ref("x"), 30, 60)
}

// seedRace has eight replicas find a counter cold at once, each with a snapshot of its own time.
func seedRace(t *testing.T, w *world) {
	h := w.hold("a", w.budget("x", 100, 1))
	v := w.want(t, quota.Cold, h)
	done := make(chan struct{})
	const n = 8
	for i := range n {
		s := w.h.Join(t)
		go func() {
			defer func() { done <- struct{}{} }()
			// By snapshot i settlements 1 to i of r are in the sum, and all of them are sent besides.
			l := quota.Level{Counter: w.ref("x"), Parts: []quota.Part{{Amount: int64(i)}}, Marks: map[string]uint64{"r": uint64(i)}}
			if err := s.Seed(t.Context(), w.org, v.Epoch, []quota.Level{l}); err != nil {
				t.Error(err)
			}
		}()
	}
	for i := range n {
		w.settle(t, "r", uint64(i+1), fmt.Sprint(i), 1, w.ref("x"))
	}
	for range n {
		<-done
	}
	w.stands(t, w.ref("x"), n, 0)
}

func once(t *testing.T, w *world) {
	w.want(t, quota.Granted, w.hold("a", w.budget("x", 1000, 10)))
	w.settle(t, "r1", 3, "a", 5, w.ref("x"))
	w.settle(t, "r1", 3, "a", 5, w.ref("x"))
	w.settle(t, "r1", 2, "old", 100, w.ref("x"))
	w.stands(t, w.ref("x"), 5, 0)
	w.settle(t, "r2", 3, "b", 7, w.ref("x")) // positions are each replica's own
	w.stands(t, w.ref("x"), 12, 0)
	list := []quota.Settlement{
		{ID: "c", Position: 3, Counters: []string{w.ref("x")}, Money: 1000},
		{ID: "d", Position: 4, Counters: []string{w.ref("x")}, Money: 20},
		{ID: "e", Position: 6, Counters: []string{w.ref("x"), "rubbish", w.ref("y")}, Money: 30},
		{ID: "f", Position: 7},
	}
	w.batch(t, quota.Batch{Replica: "r1", List: list})
	w.batch(t, quota.Batch{Replica: "r1", List: list, Again: true})
	w.stands(t, w.ref("x"), 62, 0)
	if got := w.level(t, w.ref("x")).Marks; got["r1"] != 6 || got["r2"] != 3 {
		t.Errorf("marks: %v", got)
	}
}

// early has settlements come for a counter that is not known yet: those that the seed has not are added to it.
func early(t *testing.T, w *world) {
	for i := range 6 {
		w.settle(t, "r", uint64(i+1), "", 10, w.ref("x"))
	}
	w.settle(t, "r", 4, "", 10, w.ref("x"))
	w.settle(t, "s", 9, "", 1, w.ref("x"))
	h := w.hold("a", w.budget("x", 1000, 10))
	v := w.want(t, quota.Cold, h)
	w.seed(t, v.Epoch, quota.Level{Counter: w.ref("x"), Parts: []quota.Part{{Amount: 40}}, Marks: map[string]uint64{"r": 4}})
	w.stands(t, w.ref("x"), 61, 0)
	w.settle(t, "r", 6, "", 10, w.ref("x"))
	w.settle(t, "r", 7, "", 10, w.ref("x"))
	w.stands(t, w.ref("x"), 71, 0)
}

func cancelled(t *testing.T, w *world) {
	h := w.hold("a", w.budget("x", 100, 100))
	w.want(t, quota.Granted, h)
	w.settle(t, "r", 0, "a", 0, w.ref("x"))
	w.settle(t, "r", 0, "a", 0, w.ref("x"))
	w.stands(t, w.ref("x"), 0, 0)
	w.want(t, quota.Granted, w.hold("b", w.budget("x", 100, 100)))
}

func grants(t *testing.T, w *world) {
	ask := w.budget("x", 1000, 100)
	ask.Least, ask.Most = 10, 1_000_000
	a := w.hold("a", ask)
	w.want(t, quota.Granted, a)
	if got := a.Asks[0].Granted; got != 100+225 {
		t.Errorf("granted %d, want its input and a quarter of the rest", got)
	}
	ask.Most = 20
	b := w.hold("b", ask)
	w.want(t, quota.Granted, b)
	if got := b.Asks[0].Granted; got != 120 {
		t.Errorf("granted %d, want all that it needs", got)
	}
	ask.Fixed, ask.Most = 500, 1_000_000
	c := w.hold("c", ask)
	w.want(t, quota.Granted, c)
	if got := c.Asks[0].Granted; got != 500+13 {
		t.Errorf("granted %d, want its input and a quarter of the rest", got)
	}
	ask.Fixed, ask.Least = 0, 43 // 42 are left
	d := w.hold("d", ask)
	if w.want(t, quota.Refused, d); d.Asks[0].Wait != quota.Beat {
		t.Errorf("wait %v, want a moment: calls under way hold the rest", d.Asks[0].Wait)
	}
	ask.Least = 42
	w.want(t, quota.Granted, w.hold("e", ask))
	w.stands(t, w.ref("x"), 0, 1000)
}

func extends(t *testing.T, w *world) {
	ask := w.budget("x", 1000, 100)
	ask.Least, ask.Most = 1, 800
	a := w.hold("a", ask)
	w.want(t, quota.Granted, a) // 325
	more := func(h *quota.Hold) quota.Verdict {
		t.Helper()
		v, err := w.s.Extend(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	up := a.Asks[0]
	up.Most = 900
	h := w.hold("a", up)
	if v := more(h); v.Answer != quota.Granted || h.Asks[0].Granted != 325+168 {
		t.Errorf("extended to %d (%+v), want 493", h.Asks[0].Granted, v)
	}
	w.stands(t, w.ref("x"), 0, 493)
	w.want(t, quota.Granted, w.hold("b", w.budget("x", 1000, 507)))
	if v := more(h); v.Answer != quota.Refused {
		t.Errorf("extended without room: %+v", v)
	}
	w.settle(t, "r", 1, "b", 0, w.ref("x"))
	h.Asks[0].Most = 500
	if v := more(h); v.Answer != quota.Granted || h.Asks[0].Granted != 500 {
		t.Errorf("extended to %d (%+v), want no more than 500", h.Asks[0].Granted, v)
	}
	w.settle(t, "r", 2, "a", 450, w.ref("x"))
	w.stands(t, w.ref("x"), 450, 0)
	if v := more(h); v.Answer != quota.Gone {
		t.Errorf("a settled hold is extended: %+v", v)
	}
}

func softly(t *testing.T, w *world) {
	ask := w.budget("x", 100, 80)
	ask.Mode = llm.Soft
	a := w.hold("a", ask)
	w.want(t, quota.Granted, a) // cold, and not kept waiting for it
	if !a.Asks[0].Cold || a.Asks[0].Granted != 80 {
		t.Errorf("soft and cold: %+v", a.Asks[0])
	}
	v := w.want(t, quota.Granted, w.hold("b", ask))
	w.settle(t, "r", 1, "a", 70, w.ref("x"))
	w.seed(t, v.Epoch, quota.Level{Counter: w.ref("x"), Parts: []quota.Part{{Amount: 200}}})
	w.stands(t, w.ref("x"), 270, 80)
	w.want(t, quota.Granted, w.hold("c", ask))
	ask.Mode = llm.Hard
	w.want(t, quota.Refused, w.hold("d", ask))
}

func graceful(t *testing.T, w *world) {
	ask := w.budget("x", 100, 60)
	ask.Mode, ask.Grace, ask.Most = llm.HardAfterGrace, time.Hour, 5
	w.want(t, quota.Granted, w.hold("a", ask))
	w.want(t, quota.Granted, w.hold("b", ask)) // over: the grace begins
	w.settle(t, "r", 1, "a", 60, w.ref("x"))
	w.settle(t, "r", 2, "b", 60, w.ref("x"))
	w.h.Pass(59 * time.Minute)
	w.want(t, quota.Granted, w.hold("c", ask))
	w.settle(t, "r", 3, "c", 1, w.ref("x"))
	w.h.Pass(2 * time.Minute)
	w.want(t, quota.Refused, w.hold("d", ask))
}

func wrongPeriod(t *testing.T, w *world) {
	past, future := w.budget("x", 100, 1), w.budget("x", 100, 1)
	past.Until, future.From = ago(24*time.Hour), ahead(24*time.Hour)
	for _, ask := range []quota.Ask{past, future} {
		v := w.want(t, quota.WrongPeriod, w.hold("a", ask, requests(1)))
		if time.Until(v.Now).Abs() > time.Hour {
			t.Errorf("the store's clock is at %v", v.Now)
		}
	}
	w.want(t, quota.Granted, w.hold("b", requests(1)))
}

func rolls(t *testing.T, w *world) {
	key := w.org + "|key:k|r||money:rolling-hour"
	base := time.Now().Unix()
	at := func(part, oldest int64) quota.Ask {
		part, oldest = base+part, base+oldest
		return quota.Ask{Fixed: 1, Counter: &quota.Counter{
			Kind: quota.Money, Key: key, Mode: llm.Hard, Limit: 100, From: ago(year), Until: ahead(year).Add(time.Duration(part) * time.Second),
			Rolling: true, Part: part, Oldest: oldest,
		}}
	}
	ref := func(part int64) string { return fmt.Sprintf("%s@%d", key, base+part) }
	v := w.want(t, quota.Cold, w.hold("a", at(1000, 400)))
	w.seed(t, v.Epoch, quota.Level{Counter: key, Parts: []quota.Part{{Start: base + 300, Amount: 50}, {Start: base + 400, Amount: 10}, {Start: base + 700, Amount: 20}}, Marks: map[string]uint64{"r": 5}})
	a := w.hold("a", at(1000, 400))
	w.want(t, quota.Granted, a)
	if got := a.Asks[0].Used; got != 30 {
		t.Errorf("spent %d, want 30", got)
	}
	w.settle(t, "r", 5, "", 10, ref(1000))
	w.settle(t, "r", 6, "a", 60, ref(1000))
	h := w.hold("b", at(1000, 400))
	h.Asks[0].Fixed = 11
	w.want(t, quota.Refused, h)
	h = w.hold("b", at(1100, 500))
	h.Asks[0].Fixed = 20
	w.want(t, quota.Granted, h)
	w.settle(t, "r", 7, "b", 20, ref(1100))
	h = w.hold("c", at(1700, 1100))
	if w.want(t, quota.Granted, h); h.Asks[0].Used != 20 {
		t.Errorf("spent %d, want 20", h.Asks[0].Used)
	}
	if got := w.level(t, key); len(got.Parts) != 1 || got.Held != 1 {
		t.Errorf("old parts are kept: %+v", got)
	}
}

func alerts(t *testing.T, w *world) {
	ask := w.budget("x", 1000, 1)
	ask.Alerts = []quota.Alert{{Percent: 50, Amount: 500}, {Percent: 80, Amount: 800}, {Percent: 100, Amount: 1000}}
	v := w.want(t, quota.Cold, w.hold("a", ask))
	w.seed(t, v.Epoch, quota.Level{Counter: w.ref("x"), Parts: []quota.Part{{Amount: 400}}})
	w.want(t, quota.Granted, w.hold("a", ask))
	var got []string
	for i, cost := range []int64{99, 1, 1, 400, 200, 1000} {
		out := w.settle(t, "r", uint64(i+1), "a", cost, w.ref("x"))
		for _, c := range out.Crossed {
			if c.Counter != w.ref("x") || c.Limit != 1000 {
				t.Errorf("crossing: %+v", c)
			}
			got = append(got, fmt.Sprintf("%d%% at %d", c.Percent, c.Spent))
		}
	}
	if diff := cmp.Diff([]string{"50% at 500", "80% at 901", "100% at 1101"}, got); diff != "" {
		t.Errorf("crossed (-want +got):\n%s", diff)
	}
	last := []quota.Settlement{{ID: "a", Position: 6, Counters: []string{w.ref("x")}, Money: 1000}}
	if out := w.batch(t, quota.Batch{Replica: "r", List: last}); len(out.Crossed) != 0 {
		t.Errorf("crossed again: %+v", out.Crossed)
	}
	if out := w.batch(t, quota.Batch{Replica: "r", List: last, Again: true}); len(out.Crossed) != 3 {
		t.Errorf("asked again: %+v", out.Crossed)
	}
}

func large(t *testing.T, w *world) {
	const most = quota.MaxLimit
	w.want(t, quota.Granted, w.hold("a", w.budget("x", most, most-1)))
	w.want(t, quota.Refused, w.hold("b", w.budget("x", most, 2)))
	w.want(t, quota.Granted, w.hold("b", w.budget("x", most, 1)))
	w.settle(t, "r", 1, "a", most-1, w.ref("x"))
	w.stands(t, w.ref("x"), most-1, 1)
	w.settle(t, "r", 1<<53+1, "b", 1<<53+1, w.ref("x"))
	w.settle(t, "r", 1<<53+1, "b", 1<<53+1, w.ref("x"))
	w.stands(t, w.ref("x"), most-1+1<<53+1, 0)
	w.settle(t, "r", 1<<53+2, "b", 1, w.ref("x"))
	w.stands(t, w.ref("x"), most-1+1<<53+2, 0)
	w.want(t, quota.Refused, w.hold("c", w.budget("x", most, 0)))
}

func apart(t *testing.T, w *world) {
	other := newWorld(t, w.h)
	w.want(t, quota.Granted, w.hold("a", parallel(1), requests(1)))
	other.want(t, quota.Granted, other.hold("a", parallel(1), requests(1)))
	out := w.settle(t, "r", 1, "a", 5, other.ref("x")) // a counter of another: none of ours
	if !other.level(t, other.ref("x")).Cold || out.Crossed != nil {
		t.Errorf("settled in another organisation")
	}
}

// old has settlements come long after their period: they do no harm, and nobody waits for them.
func old(t *testing.T, w *world) {
	ref := fmt.Sprintf("%s|key:k|r||money:day|%d-%d", w.org, ago(60*24*time.Hour).Unix(), ago(59*24*time.Hour).Unix())
	w.settle(t, "r", 1, "a", 5, ref, w.ref("x"))
	if l := w.level(t, ref); l.Spent() != 0 {
		t.Errorf("level of an old period: %+v", l)
	}
}

func names(t *testing.T, w *world) {
	for i, bad := range []string{"", " ", "\x00\xff", "a\nb", "{x}", strings.Repeat("long", 200), "'\"--", "h:a", "s", "r:r1"} {
		id := fmt.Sprint(i, bad)
		h := w.hold(id, parallel(1), tokens(1000, 1), w.budget(fmt.Sprint(i), 100, 60))
		for j := range h.Asks {
			h.Asks[j].Key += bad
		}
		h.Asks[2].Key = w.ref(fmt.Sprint(i) + strings.NewReplacer("|", "", "@", "").Replace(bad))
		w.want(t, quota.Granted, h)
		w.renew(t, h)
		w.settle(t, "r"+bad, 1, id, 7, h.Asks[2].Key)
		w.stands(t, h.Asks[2].Key, 7, 0)
		w.release(t, h, 1)
		next := w.hold(id+"next", h.Asks...)
		w.want(t, quota.Granted, next)
		if got := w.level(t, h.Asks[2].Key).Marks["r"+bad]; got != 1 {
			t.Errorf("%q: mark %d", bad, got)
		}
	}
}

// lost has the store lose everything under a hold: hard budgets wait, the hold is told anew, and counters come from
// the database.
func lost(t *testing.T, w *world) {
	asks := []quota.Ask{parallel(1), w.budget("x", 100, 60)}
	a := w.hold("a", asks...)
	before := w.want(t, quota.Granted, a)
	w.settle(t, "r", 1, "z", 10, w.ref("x"))
	w.h.Lose(t)
	if out := w.batch(t, quota.Batch{Replica: "r", Epoch: before.Epoch, List: []quota.Settlement{{ID: "y", Position: 2, Counters: []string{w.ref("x")}, Money: 3}}}); !out.Missed || out.Epoch <= before.Epoch { // it was on its way
		t.Errorf("a batch of the epoch before: %+v", out)
	}
	soft := w.budget("x", 100, 60)
	soft.Mode = llm.Soft
	w.want(t, quota.Granted, w.hold("s", soft, requests(1)))
	w.settle(t, "r", 0, "s", 0, w.ref("x"))
	b := w.hold("b", w.budget("x", 100, 60))
	v := w.want(t, quota.Recovering, b)
	if v.Epoch <= before.Epoch || v.Wait <= 0 || v.Wait > quota.Grace {
		t.Errorf("after the loss: %+v, before: %+v", v, before)
	}
	if out := w.renew(t, a); out.Epoch != v.Epoch {
		t.Errorf("renewed in epoch %d, want %d", out.Epoch, v.Epoch)
	}
	w.want(t, quota.Refused, w.hold("c", parallel(1)))
	w.settle(t, "r", 2, "y", 3, w.ref("x"))
	w.h.Pass(quota.Grace + time.Second)
	v = w.want(t, quota.Cold, b)
	w.seed(t, before.Epoch, quota.Level{Counter: w.ref("x")})
	w.want(t, quota.Cold, b)
	w.seed(t, v.Epoch, quota.Level{Counter: w.ref("x"), Parts: []quota.Part{{Amount: 10}}, Marks: map[string]uint64{"r": 1}})
	w.stands(t, w.ref("x"), 13, 60)
	w.want(t, quota.Refused, b)
	w.settle(t, "r", 1, "z", 10, w.ref("x"))
	w.settle(t, "r", 2, "y", 3, w.ref("x"))
	w.settle(t, "r", 3, "a", 20, w.ref("x"))
	w.stands(t, w.ref("x"), 33, 0)
	w.want(t, quota.Granted, b)
}

// restarts has the counters begun anew: they are cold, and what is under way is held still or again.
func restarts(t *testing.T, w *world) {
	a := w.hold("a", w.budget("x", 100, 60))
	before := w.want(t, quota.Granted, a)
	w.settle(t, "r", 1, "z", 10, w.ref("x"))
	if err := w.s.Restart(t.Context(), w.org); err != nil {
		t.Fatal(err)
	}
	after := w.renew(t, a)
	if after.Epoch <= before.Epoch {
		t.Errorf("epoch %d after %d", after.Epoch, before.Epoch)
	}
	b := w.hold("b", w.budget("x", 100, 25))
	if v := w.want(t, quota.Recovering, b); v.Wait <= 0 || v.Wait > quota.Grace {
		t.Errorf("restarted: %+v", v)
	}
	w.h.Pass(quota.Grace + time.Second)
	if l := w.level(t, w.ref("x")); !l.Cold || l.Held != 60 || l.Spent() != 0 || len(l.Marks) > 0 {
		t.Errorf("restarted: %+v", l)
	}
	v := w.want(t, quota.Cold, b)
	w.seed(t, v.Epoch, quota.Level{Counter: w.ref("x"), Parts: []quota.Part{{Amount: 7}}, Marks: map[string]uint64{"r": 1}})
	w.settle(t, "r", 1, "z", 10, w.ref("x"))
	w.stands(t, w.ref("x"), 7, 60)
	w.want(t, quota.Granted, b)
	w.settle(t, "r", 2, "a", 20, w.ref("x"))
	w.stands(t, w.ref("x"), 27, 25)
}
