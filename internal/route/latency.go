package route

import (
	"math"
	"time"

	"sluice/internal/llm"
)

// latency takes the candidate that answers soonest; those within a tenth of the best are equal and share by
// weight, by chance. How busy they are does not matter.
//
// A candidate never called goes first, once. One called but not measured yet counts as equal to the best:
// if it went before all, every call would go to it until its first answer. One turn in fifty goes to the
// candidate tried longest ago, so that a slow one can recover.
func latency(p *Pick, c []Candidate) int {
	if explores(p.Turn) {
		return oldest(c)
	}
	best := time.Duration(math.MaxInt64 / 2)
	for i := range c {
		if c[i].Latency == 0 && c[i].Tried == 0 {
			return i
		}
		if x := estimate(&c[i].Load); x > 0 && x < best {
			best = x
		}
	}
	most, total := best+best/10, 0
	for i := range c {
		if estimate(&c[i].Load) <= most {
			total += c[i].Weight
		}
	}
	at := portion(random(p, len(c)), total)
	for i := range c {
		if estimate(&c[i].Load) > most {
			continue
		}
		if at -= c[i].Weight; at < 0 {
			return i
		}
	}
	return 0
}

// estimate is what a candidate is expected to take: its average, or its last measurement if that is lower, so
// that one good sample is enough for a target that has healed. It is 0 for one never measured.
func estimate(l *llm.Load) time.Duration {
	if l.Recent == 0 {
		return l.Latency
	}
	return min(l.Latency, l.Recent)
}
