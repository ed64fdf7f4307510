package upstream

import (
	"time"

	"sluice/internal/llm"
)

const (
	hedgeFloor   = 300 * time.Millisecond
	hedgePercent = 5  // of the requests
	stormPercent = 20 // of the targets: when more are slow, a second request only adds to it
)

// hedgeDelay says how long after the first request a second one may go to another target: the time in which
// 95 of 100 have their first output, and never less than 300 ms. False: not known, no second request.
func hedgeDelay(p95 time.Duration, known bool) (time.Duration, bool) {
	return max(p95, hedgeFloor), known
}

// storm says that too many of a group's targets are slow for hedging: more than 20 % have a breaker open or
// took more than twice their average for the last call.
func storm(loads []llm.Load) bool {
	slow := 0
	for i := range loads {
		l := &loads[i]
		if l.Bar == llm.Open || l.Bar == llm.Credential || l.Recent > 2*l.Latency {
			slow++
		}
	}
	return slow*100 > stormPercent*len(loads)
}
