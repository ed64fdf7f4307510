package route

import (
	"math"

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
	best := uint64(math.MaxUint64)
	for i := range c {
		x := &c[i]
		if int64(x.Latency)|x.Tried == 0 {
			return i
		}
		best = min(best, estimate(&x.Load))
	}
	most, total := best+min(best/10, math.MaxUint64-best), 0
	for i := range c {
		if x := &c[i]; x.Latency == 0 || estimate(&x.Load) <= most {
			total += x.Weight
		}
	}
	at := portion(random(p, len(c)), total)
	for i := range c {
		x := &c[i]
		if x.Latency != 0 && estimate(&x.Load) > most {
			continue
		}
		if at -= x.Weight; at < 0 {
			return i
		}
	}
	return 0
}

// estimate is what a candidate is expected to take, less a nanosecond: its average, or its last measurement if
// that is lower, so that one good sample is enough for a target that has healed. By the nanosecond what was
// never measured, a 0, is above all.
func estimate(l *llm.Load) uint64 { return min(uint64(l.Latency)-1, uint64(l.Recent)-1) }
