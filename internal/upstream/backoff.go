package upstream

import "time"

const (
	firstBackoff = 250 * time.Millisecond
	mostBackoff  = 5 * time.Second
	mostWait     = 10 * time.Second // a longer Retry-After is not waited for
)

// backoff says how long to wait before retry n (from 0) and whether the same target may be asked again.
// The wait is 0.25 s x 2^n, 5 s at most, times random (0 to 1): full jitter, so that calls that failed
// together do not come back together. An upstream that says how long to wait is believed, with up to 0.25 s
// on top; more than 10 s are not waited for: the call goes to the next target, at once. retryAfter 0: it does
// not say.
func backoff(n int, retryAfter time.Duration, random float64) (wait time.Duration, sameTarget bool) {
	switch {
	case retryAfter > mostWait:
		return 0, false
	case retryAfter > 0:
		return retryAfter + time.Duration(random*float64(firstBackoff)), true
	}
	ceiling := min(firstBackoff<<min(max(n, 0), 10), mostBackoff)
	return time.Duration(random * float64(ceiling)), true
}
