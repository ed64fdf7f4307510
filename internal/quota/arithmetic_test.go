package quota

import (
	"math"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/internal/llm"
)

// TestWindowAgainstLog holds the window against a list of every call: no span of the limit's length, wherever it begins,
// has more than the limit, and what is refused would have been one too many of a span a hundredth longer.
func TestWindowAgainstLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		per := time.Duration(rapid.SampledFrom([]int64{1e9, 60e9, 3600e9, 86400e9}).Draw(t, "per"))
		limit := rapid.Int64Range(1, 20).Draw(t, "limit")
		now := time.Unix(1_700_000_000, 0)
		var w window
		var log []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(per)/8).Draw(t, "gap")))
			at := slotAt(now, per)
			w.roll(at)
			in := func(span time.Duration) (n int64) {
				for _, c := range log {
					if now.Sub(c) < span {
						n++
					}
				}
				return n
			}
			if w.total+1 > limit {
				if got := in(per + per/Slots + time.Nanosecond); got < limit {
					t.Fatalf("refused with %d of %d in the longer span", got, limit)
				}
				wait := w.wait(1, limit, now, per)
				later := now.Add(wait)
				if w.roll(slotAt(later, per)); wait <= 0 || w.total+1 > limit {
					t.Fatalf("after a wait of %v there is no room: %d of %d", wait, w.total, limit)
				}
				now = later
				continue
			}
			if got := in(per); got >= limit {
				t.Fatalf("admitted with %d of %d in the span", got, limit)
			}
			w.add(at, at, 1)
			log = append(log, now)
		}
	})
}

func TestWindowCorrects(t *testing.T) {
	var w window
	w.add(10, 10, 100)
	w.add(10, 15, -60)
	if w.total != 40 {
		t.Errorf("after a correction down: %d, want 40", w.total)
	}
	w.add(10, 15, -500)
	if w.total != 0 || len(w.slots) != 0 {
		t.Errorf("after a correction below nothing: %+v", w)
	}
	w.add(10, 15, 70) // more than was reserved, in a slot that is empty by now
	w.add(20, 20, 5)
	w.add(12, 20, 1)
	if w.total != 76 || len(w.slots) != 3 || w.slots[1].at != 12 {
		t.Errorf("slots are not in order: %+v", w)
	}
	w.add(10, 10+Slots+1, 3) // a slot that has left: the debt is due now
	if got := w.slots[len(w.slots)-1]; got.at != 10+Slots+1 || got.n != 3 || w.total != 9 {
		t.Errorf("a late debt: %+v", w)
	}
	w.add(0, 10+Slots+1, -3)
	if w.total != 9 {
		t.Errorf("a late refund: %+v", w)
	}
	w.add(10+Slots+1, 10+Slots+1, math.MaxInt64)
	if w.total != math.MaxInt64 {
		t.Errorf("a sum wraps: %d", w.total)
	}
}

func TestOutput(t *testing.T) {
	for _, c := range []struct{ room, least, most, want int64 }{
		{1000, 1, 100, 100}, {1000, 1, 1_000_000, 250}, {1000, 600, 1_000_000, 600}, {10, 11, 20, 10}, {11, 11, 20, 11}, {3, 1, 100, 1}, {0, 0, 5, 0},
	} {
		if got := Output(c.room, c.least, c.most); got != c.want {
			t.Errorf("Output(%d, %d, %d) = %d, want %d", c.room, c.least, c.most, got, c.want)
		}
	}
}

func TestTokensFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := llm.Rate(rapid.Int64Range(0, 1e15).Draw(t, "rate"))
		most := rapid.Int64Range(0, 1e7).Draw(t, "most")
		amount := rapid.Int64Range(0, MaxLimit).Draw(t, "amount")
		n := tokensFor(amount, rate, most)
		if n < 0 || n > most || int64(rate.Cost(n)) > amount {
			t.Fatalf("%d tokens cost %d, more than %d (most %d)", n, rate.Cost(n), amount, most)
		}
		if n < most && int64(rate.Cost(n+1)) < amount {
			t.Fatalf("%d tokens for %d, but %d cost %d", n, amount, n+1, rate.Cost(n+1))
		}
	})
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		limit int64
		p     int
		want  int64
	}{{1000, 50, 500}, {1001, 50, 501}, {3, 80, 3}, {0, 80, 0}, {math.MaxInt64, 100, math.MaxInt64}, {math.MaxInt64, 200, math.MaxInt64}, {7, 100, 7}} {
		if got := percent(c.limit, c.p); got != c.want {
			t.Errorf("percent(%d, %d) = %d, want %d", c.limit, c.p, got, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		period      llm.Period
		zone, now   string
		from, until string
	}{
		{llm.Hourly, "UTC", "2026-03-29T01:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"},
		{llm.Hourly, "Asia/Kolkata", "2026-03-29T01:10:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"},
		{llm.Hourly, "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"}, // 02:30, the first
		{llm.Hourly, "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}, // and the second
		{llm.Hourly, "Australia/Lord_Howe", "2026-10-03T15:20:00Z", "2026-10-03T14:30:00Z", "2026-10-03T15:30:00Z"},
		{llm.Daily, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},  // 23 hours
		{llm.Daily, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},  // 25
		{llm.Daily, "America/Havana", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"}, // no midnight
		{llm.Daily, "America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"}, // two midnights
		{llm.Daily, "Pacific/Apia", "2011-12-31T12:00:00Z", "2011-12-31T10:00:00Z", "2012-01-01T10:00:00Z"},
		{llm.Weekly, "UTC", "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"}, // a Sunday
		{llm.Weekly, "UTC", "2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z"},
		{llm.Monthly, "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{llm.Monthly, "America/New_York", "2026-12-31T23:00:00-05:00", "2026-12-01T05:00:00Z", "2027-01-01T05:00:00Z"},
		{llm.Monthly, "UTC", "2026-01-31T12:00:00Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"},
		{llm.Quarterly, "UTC", "2026-12-31T12:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{llm.Quarterly, "UTC", "2026-05-31T12:00:00Z", "2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z"},
		{llm.RollHour, "Asia/Kolkata", "2026-05-31T12:03:00Z", "2026-05-31T12:00:00Z", "2026-05-31T12:15:00Z"},
		{llm.RollMonth, "UTC", "2026-05-31T12:03:00Z", "2026-05-31T00:00:00Z", "2026-06-01T00:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		from, until := Span(c.period, zone, now)
		if got, got2 := from.Format(time.RFC3339), until.Format(time.RFC3339); got != c.from || got2 != c.until {
			t.Errorf("%s in %s at %s: from %s until %s, want %s and %s", c.period, c.zone, c.now, got, got2, c.from, c.until)
		}
	}
}

// TestSpansFollow walks through time: the time is always in its span, and one span begins where the one before ends.
func TestSpansFollow(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "America/Havana", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo", "America/Asuncion"}
	periods := []llm.Period{llm.Hourly, llm.Daily, llm.Weekly, llm.Monthly, llm.Quarterly, llm.RollHour, llm.RollDay, llm.RollWeek, llm.RollMonth}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		p := rapid.SampledFrom(periods).Draw(t, "period")
		now := time.Unix(rapid.Int64Range(946684800, 2208988800).Draw(t, "now"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
		if rapid.Bool().Draw(t, "at a change of clocks") {
			if _, end := now.In(zone).ZoneBounds(); !end.IsZero() {
				now = end.Add(time.Duration(rapid.Int64Range(-7200, 7200).Draw(t, "beside")) * time.Second)
			}
		}
		from, until := Span(p, zone, now)
		if now.Before(from) || !now.Before(until) {
			t.Fatalf("%s in %s: %v is not in [%v, %v)", p, zone, now.UTC(), from, until)
		}
		for _, at := range []time.Time{from, until.Add(-1), from.Add(until.Sub(from) / 2)} {
			if f, u := Span(p, zone, at); !f.Equal(from) || !u.Equal(until) {
				t.Fatalf("%s in %s: %v is in [%v, %v), but %v is in [%v, %v)", p, zone, now.UTC(), from, until, at.UTC(), f, u)
			}
		}
		if next, _ := Span(p, zone, until); !next.Equal(until) {
			t.Fatalf("%s in %s: the next span begins at %v, want %v", p, zone, next, until)
		}
	})
}

func TestLimitAt(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 5, d, 0, 0, 0, 0, time.UTC) }
	b := &llm.Budget{Money: 100, Overrides: []llm.Override{{From: day(10), Until: day(12), Money: 500}, {From: day(11), Until: day(12), Money: 7}}}
	for d, want := range map[int]int64{9: 100, 10: 500, 11: 7, 12: 100} {
		if got := limitAt(b, day(d)); got != want {
			t.Errorf("on day %d: %d, want %d", d, got, want)
		}
	}
	if got := limitAt(&llm.Budget{Money: math.MaxInt64}, day(1)); got != MaxLimit {
		t.Errorf("a huge limit: %d, want %d", got, int64(MaxLimit))
	}
}

func TestRef(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z|@%=,:. -]{0,12}`)
		org := word.Draw(t, "org")
		what := rapid.SampledFrom([]string{"money:month", "tokens:day", "tokens:rolling-day", "money:month:2"}).Draw(t, "what")
		prefix := name(org, word.Draw(t, "subject"), word.Draw(t, "rule"), "key="+word.Draw(t, "key")) + "|" + what
		from, until := time.Unix(1e9, 0), time.Unix(1e9+3600, 0)
		r, ok := ParseRef(calendarRef(prefix, from, until))
		if !ok || r.Org != org || !r.Until.Equal(until) || r.Rolling || r.Tokens != (what[0] == 't') || r.Counter != calendarRef(prefix, from, until) {
			t.Fatalf("%q: %+v, %v", calendarRef(prefix, from, until), r, ok)
		}
		r, ok = ParseRef(rollingRef(prefix, 77))
		if !ok || r.Org != org || !r.Rolling || r.Part != 77 || r.Counter != prefix || r.Tokens != (what[0] == 't') {
			t.Fatalf("%q: %+v, %v", rollingRef(prefix, 77), r, ok)
		}
	})
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"", "|", "o|s|r||money:month|1-2", "o|s|r||tokens:rolling-day@5", "o|money:x@-1", "@|", "o|1-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, ok := ParseRef(s); ok && (r.Counter == "" || r.Part < 0) {
			t.Errorf("%q: %+v", s, r)
		}
	})
}

// TestIdleCountersGo has many callers come once: what says nothing any more is forgotten, what does is not.
func TestIdleCountersGo(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	m := NewMemory(func() time.Time { return now })
	reserve := func(i int, cost int64) Verdict {
		id := strconv.Itoa(i)
		from, until := Span(llm.Hourly, nil, now)
		ref := calendarRef(name("o", "key:"+id, "r", "")+"|money:hour", from, until)
		h := &Hold{Org: "o", ID: id, Asks: []Ask{
			{Counter: &Counter{Kind: Requests, Key: id, N: 1, Per: time.Minute}, Cost: 1},
			{Counter: &Counter{Kind: Money, Key: ref, Limit: 100, From: from, Until: until, Mode: llm.Hard}, Fixed: cost},
		}}
		v, _ := m.Reserve(t.Context(), h)
		if v.Answer == Cold {
			_ = m.Seed(t.Context(), "o", v.Epoch, []Level{{Counter: ref}})
			v, _ = m.Reserve(t.Context(), h)
		}
		_, _ = m.Settle(t.Context(), Batch{Org: "o", Replica: "r", List: []Settlement{{ID: id, Position: uint64(i + 1), Counters: []string{ref}, Money: llm.Nano(cost)}}})
		return v
	}
	for i := range 20_000 {
		reserve(i, 100)
		if now = now.Add(time.Second); i%100 == 99 && reserve(i, 1).Answer != Refused {
			t.Fatalf("caller %d has room that it used up", i)
		}
	}
	tenant := m.tenant("o")
	if n := len(tenant.windows) + len(tenant.accounts); n > 2*2*(60+2*3600)+256 {
		t.Errorf("%d counters are kept of 20000 callers in %v", n, 20_000*time.Second)
	}
	if n := len(tenant.holds); n != 0 {
		t.Errorf("%d holds are left", n)
	}
}
