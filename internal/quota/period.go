package quota

import (
	"sort"
	"time"

	"sluice/internal/llm"
)

// parts of rolling periods. A part counts until all of it has left the period: never less than what was spent in the
// last so many hours counts.
var rolling = map[llm.Period]struct{ span, part time.Duration }{
	llm.RollHour:  {time.Hour, 15 * time.Minute}, // the sums that counters are seeded from are kept by quarters
	llm.RollDay:   {24 * time.Hour, time.Hour},
	llm.RollWeek:  {7 * 24 * time.Hour, 6 * time.Hour},
	llm.RollMonth: {30 * 24 * time.Hour, 24 * time.Hour},
}

// Rolling gives a rolling period's span and the length of its parts.
func Rolling(p llm.Period) (span, part time.Duration, ok bool) {
	r, ok := rolling[p]
	return r.span, r.part, ok
}

// Span is the calendar period that a time is in, or the part of a rolling one, in UTC. Periods follow one another without
// a gap or an overlap, whatever the zone does to its clocks.
func Span(p llm.Period, zone *time.Location, now time.Time) (from, until time.Time) {
	step := time.Hour
	if _, part, ok := Rolling(p); ok {
		step = part
	} else if p != llm.Hourly {
		return days(p, zone, now)
	} else if zone != nil {
		// Full hours of the zone: its offset may have half ones. Where the clocks change within an hour, it is cut there.
		_, offset := now.In(zone).Zone()
		shift := time.Duration(offset) * time.Second
		from = now.Add(shift).UTC().Truncate(step).Add(-shift)
		until = from.Add(step)
		start, end := now.In(zone).ZoneBounds()
		if from.Before(start) {
			from = start.UTC()
		}
		if !end.IsZero() && end.Before(until) {
			until = end.UTC()
		}
		return from, until
	}
	from = now.UTC().Truncate(step)
	return from, from.Add(step)
}

// days are periods that begin with a day.
func days(p llm.Period, zone *time.Location, now time.Time) (from, until time.Time) {
	if zone == nil {
		zone = time.UTC
	}
	y, m, d := now.In(zone).Date()
	next := [3]int{0, 1, 0} // years, months, days
	switch p {
	case llm.Daily:
		next = [3]int{0, 0, 1}
	case llm.Weekly:
		d -= (int(now.In(zone).Weekday()) + 6) % 7 // days since Monday
		next = [3]int{0, 0, 7}
	case llm.Quarterly:
		m, d = m-(m-1)%3, 1
		next = [3]int{0, 3, 0}
	default:
		d = 1
	}
	day := func(n int) time.Time {
		return midnight(time.Date(y+n*next[0], m+time.Month(n*next[1]), d+n*next[2], 12, 0, 0, 0, time.UTC), zone)
	}
	from, until = day(0), day(1)
	switch { // clocks that go back over midnight show the day before once more
	case now.Before(from):
		return day(-1), from
	case !now.Before(until):
		return until, day(2)
	}
	return from, until
}

// midnight is the first second of a date in a zone; its clocks may skip it, or strike it twice.
func midnight(date time.Time, zone *time.Location) time.Time {
	y, m, d := date.Date()
	first := time.Date(y, m, d-1, 12, 0, 0, 0, zone)
	n := sort.Search(36*3600, func(s int) bool {
		yy, mm, dd := first.Add(time.Duration(s) * time.Second).Date()
		return !time.Date(yy, mm, dd, 12, 0, 0, 0, time.UTC).Before(date)
	})
	return first.Add(time.Duration(n) * time.Second).UTC()
}

// limitAt is a budget's limit in the period that begins at a time.
func limitAt(b *llm.Budget, from time.Time) int64 {
	money, tokens := b.Money, b.Tokens
	for _, o := range b.Overrides {
		if !from.Before(o.From) && from.Before(o.Until) {
			money, tokens = o.Money, o.Tokens
		}
	}
	if b.Tokens > 0 {
		return min(max(tokens, 0), MaxLimit)
	}
	return min(max(int64(money), 0), MaxLimit)
}
