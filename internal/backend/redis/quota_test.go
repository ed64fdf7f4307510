package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/quota/quotatest"
	"sluice/internal/redistest"
)

// conformQuota runs the suite against servers that all tests of it share, in organisations of their own.
func conformQuota(t *testing.T, o Options, wipe func(t *testing.T)) {
	quotatest.Run(t, func(*testing.T) quotatest.Harness {
		o := patient(o)
		o.Prefix = fresh()
		var all []*Quota
		var ahead time.Duration
		return quotatest.Harness{
			Join: func(t *testing.T) quota.Store {
				q := open(t, o).Quota()
				q.ahead.Store(ahead.Microseconds())
				all = append(all, q)
				until(t, "it is connected", func() bool {
					_, err := q.Levels(t.Context(), "nobody", nil)
					return err == nil
				})
				return q
			},
			Pass: func(d time.Duration) {
				ahead += d
				for _, q := range all {
					q.ahead.Store(ahead.Microseconds())
				}
			},
			Lose: wipe,
		}
	})
}

func TestQuota(t *testing.T) {
	for _, p := range redistest.Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			if p.External() {
				conformQuota(t, single(s), nil)
				return
			}
			conformQuota(t, single(s), flush(s))
		})
	}
	own := redistest.Own(t)
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := own.Cluster(t)
		conformQuota(t, clustered(c), flush(c.Masters...))
	})
}

// reservation is what a call under three limits and two budgets asks for.
func reservation(id string) *quota.Hold {
	from, till := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	budget := func(name string) quota.Ask {
		return quota.Ask{Fixed: 10, Least: 1, Most: 100, Counter: &quota.Counter{
			Kind: quota.Money, Key: fmt.Sprintf("acme|key:k|%s||money:month|%d-%d", name, from.Unix(), till.Unix()), Limit: quota.MaxLimit,
			Mode: llm.Hard, From: from, Until: till, Alerts: []quota.Alert{{Percent: 80, Amount: 8e14}},
		}}
	}
	return &quota.Hold{Org: "acme", ID: id, Asks: []quota.Ask{
		{Counter: &quota.Counter{Kind: quota.Requests, Key: "acme|key:k|r||requests", N: 1e9, Per: time.Minute}, Cost: 1},
		{Counter: &quota.Counter{Kind: quota.Tokens, Key: "acme|key:k|r||tokens", N: 1e12, Per: time.Minute}, Cost: 100},
		{Counter: &quota.Counter{Kind: quota.Parallel, Key: "acme|key:k|r||parallel", N: 1e6}},
		budget("a"), budget("b"),
	}}
}

// TestQuotaUnderFaults asks for reservations while Redis is of no use: none waits long, and after a second none is tried.
func TestQuotaUnderFaults(t *testing.T) {
	own := redistest.Own(t)
	for _, f := range faults {
		if f.partly {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, own, "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
			q := r.store.Quota()
			reserve := func(id string) error {
				_, err := q.Reserve(t.Context(), reservation(id))
				return err
			}
			until(t, "it works at first", func() bool { return reserve("a") == nil })
			heal := f.begin(t, r)
			if suffer(t, r.store, func(i int) error { return reserve(fmt.Sprint(i)) }) == 0 {
				t.Error("every call was tried")
			}
			heal(t)
			until(t, "it works again", func() bool { return reserve("b") == nil })
		})
	}
}

// TestFreedLast has a call settled before its limits are released: nothing of it stays.
func TestFreedLast(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t).Start(t)
	q := open(t, patient(single(server))).Quota()
	hold := &quota.Hold{Org: "acme", ID: "x", Asks: []quota.Ask{
		{Counter: &quota.Counter{Kind: quota.Parallel, Key: "p", N: 1}},
		{Counter: &quota.Counter{
			Kind: quota.Money, Key: "acme|key:k|r||money:month|0-4000000000", Mode: llm.Soft, Limit: 100, From: time.Unix(0, 0), Until: time.Unix(4e9, 0),
		}, Fixed: 1},
	}}
	until(t, "it is reserved", func() bool {
		v, err := q.Reserve(t.Context(), hold)
		return err == nil && v.Answer == quota.Granted
	})
	s := quota.Settlement{ID: "x", Counters: []string{hold.Asks[1].Key}}
	if _, err := q.Settle(t.Context(), quota.Batch{Org: "acme", Replica: "r", List: []quota.Settlement{s}}); err != nil {
		t.Fatal(err)
	}
	if err := q.Release(t.Context(), "acme", []quota.Freed{{Hold: hold}}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"expires", "holds", "p:p"} {
		if n := server.Do(t, "EXISTS", "{sluice:acme}:q1:"+key); n != "0" {
			t.Errorf("%s is still there", key)
		}
	}
}

// TestReservationIsOneRoundTrip counts scripts.
func TestReservationIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t).Start(t)
	q := open(t, patient(single(server))).Quota()
	until(t, "it is connected", func() bool {
		_, err := q.Reserve(t.Context(), reservation("first"))
		return err == nil
	})
	before := scripts(server)
	h := reservation("x")
	if _, err := q.Reserve(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if err := q.Release(t.Context(), h.Org, []quota.Freed{{Hold: h, Tokens: 10}}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Reserve(t.Context(), reservation("x")); err != nil {
		t.Fatal(err)
	}
	if n := scripts(server) - before; n != 4 && n != 3 { // the first of a kind may be sent twice: by its hash, then whole
		t.Errorf("%d scripts for three operations", n)
	}
	for _, key := range strings.Fields(server.Do(t, "KEYS", "*")) {
		ttl, err := strconv.ParseInt(server.Do(t, "PTTL", key), 10, 64)
		if err != nil || ttl <= 0 || ttl > keepQuota.Milliseconds() || !strings.HasPrefix(key, "{sluice:acme}:q1:") {
			t.Errorf("%s: expires in %d ms (%v)", key, ttl, err)
		}
	}
}

// scripts is how many ran on a server.
func scripts(s *redistest.Server) (n int) {
	for _, name := range []string{"eval", "evalsha"} {
		calls, _, _ := strings.Cut(strings.TrimPrefix(s.Info("cmdstat_"+name), "calls="), ",")
		k, _ := strconv.Atoi(calls)
		n += k
	}
	return n
}

func FuzzReadCounters(f *testing.F) {
	f.Add("")
	f.Add("3:abc")
	f.Add("3:a:c0:")
	f.Add("9:abc")
	f.Fuzz(func(t *testing.T, s string) {
		names, err := readCounters(s)
		if err != nil {
			return
		}
		var asks []quota.Ask
		for _, name := range names {
			asks = append(asks, quota.Ask{Counter: &quota.Counter{Kind: quota.Money, Key: name}})
		}
		var c call
		c.counters(asks)
		_, args := c.strings()
		again, err := readCounters(args[1])
		if err != nil || !slices.Equal(again, names) {
			t.Errorf("%q: %q, then %q (%v)", s, names, again, err)
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add("0 0 1 2 3 4 0 0 0 0 0")
	f.Add("1 7 1 2 3 4 0 0 0 0 0")
	f.Fuzz(func(t *testing.T, s string) {
		h := &quota.Hold{Asks: []quota.Ask{{Counter: &quota.Counter{}}}}
		if v, _, err := readVerdict(s, h); err == nil && (v.Ask != 0 || v.Answer > quota.Gone) {
			t.Errorf("%q: %+v", s, v)
		}
		_, _ = outcome(strings.Fields(s), []string{"", "a"})
		_ = readLevel("x", strings.Fields(s))
	})
}

func BenchmarkReservation(b *testing.B) {
	server := redistest.Own(b).Start(b)
	q := open(b, patient(single(server))).Quota()
	until2(b, func() bool {
		_, err := q.Levels(b.Context(), "acme", nil)
		return err == nil
	})
	q.ahead.Store(0)
	v, err := q.Reserve(b.Context(), reservation("first"))
	if err != nil {
		b.Fatal(err)
	}
	q.ahead.Store(quota.Grace.Microseconds())
	h := reservation("first")
	if err := q.Seed(b.Context(), "acme", v.Epoch, []quota.Level{{Counter: h.Asks[3].Key}, {Counter: h.Asks[4].Key}}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	asks := h.Asks
	for b.Loop() {
		n++
		h := &quota.Hold{Org: "acme", ID: strconv.Itoa(n), Asks: slices.Clone(asks)}
		if v, err := q.Reserve(b.Context(), h); err != nil || v.Answer != quota.Granted {
			b.Fatal(v, err)
		}
		if err := q.Release(b.Context(), h.Org, []quota.Freed{{Hold: h, Tokens: 50}}); err != nil {
			b.Fatal(err)
		}
		s := quota.Settlement{ID: h.ID, Position: uint64(n), Counters: []string{asks[3].Key, asks[4].Key}, Money: 5}
		if _, err := q.Settle(b.Context(), quota.Batch{Org: "acme", Replica: "r", List: []quota.Settlement{s}}); err != nil {
			b.Fatal(err)
		}
	}
	_, usec, _ := strings.Cut(server.Info("cmdstat_evalsha"), "usec_per_call=")
	usec, _, _ = strings.Cut(usec, ",")
	if v, err := strconv.ParseFloat(usec, 64); err == nil {
		b.ReportMetric(v, "server-µs/script")
	}
}

func until2(b *testing.B, ok func() bool) {
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			b.Fatal("waited in vain")
		}
	}
}
