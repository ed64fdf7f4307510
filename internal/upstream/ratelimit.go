package upstream

import (
	"time"

	"sluice/internal/llm"
)

const (
	mostThrottle   = 60 * time.Second
	unsaidThrottle = time.Second // when a vendor says that nothing is left, and not until when
)

// throttle says whether a deployment is to be left alone because its vendor's rate limit is used up, and
// until when: calls that would be refused are better made elsewhere. Calls in flight count as made, for the
// vendor may not have counted them when it answered. What it said holds for 60 s at most, so that a wrong
// clock or a limit of a whole day does not take a deployment away for long; the next answer corrects it.
func throttle(q llm.Quota, inFlight int, now time.Time) (until time.Time, closed bool) {
	if q.At.IsZero() {
		return time.Time{}, false
	}
	if q.Requests.Known && q.Requests.Left <= int64(inFlight) {
		until = resetOf(q.Requests, q.At)
	}
	if q.Tokens.Known && q.Tokens.Left == 0 {
		if t := resetOf(q.Tokens, q.At); t.After(until) {
			until = t
		}
	}
	if !now.Before(until) {
		return time.Time{}, false
	}
	return until, true
}

func resetOf(r llm.Room, at time.Time) time.Time {
	if r.Reset.IsZero() {
		return at.Add(unsaidThrottle)
	}
	return at.Add(min(r.Reset.Sub(at), mostThrottle))
}
