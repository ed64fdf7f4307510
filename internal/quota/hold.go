package quota

import (
	"math"
	"math/bits"
	"time"

	"sluice/internal/llm"
)

// Output is how much of a budget's room a call holds for its output: a quarter of the room, but least at the least and
// most at the most. So a client that names a huge maximum freezes a quarter of what is left and not all of it, the next
// one a quarter of the rest; and none slips past the budget, for what is granted is all that the answer may cost until
// a top-up has found more room. The input's cost is not negotiable: it is held in full beforehand. less than least:
// there is no room.
func Output(room, least, most int64) int64 {
	if room < least {
		return room
	}
	return max(least, min(room/4, most))
}

// gap says what a budget's room is short of what the ask needs at least; 0 or less: it has room.
func (a *Ask) gap(spent, held int64) int64 {
	return plus(plus(spent, held), plus(a.Fixed, a.Least)) - a.Limit
}

// hard says whether the budget refuses calls now; over is when it was first found without room, zero if it never was.
func (a *Ask) hard(over, now time.Time) bool {
	switch a.Mode {
	case llm.Soft:
		return false
	case llm.HardAfterGrace:
		return !over.IsZero() && now.Sub(over) >= a.Grace
	}
	return true
}

// blocks says whether the budget must be known for a call to pass.
func (a *Ask) blocks() bool { return a.Kind.Budget() && a.Mode != llm.Soft }

// tokensFor is how many output tokens an amount pays for at a rate; never more than most.
func tokensFor(amount int64, rate llm.Rate, most int64) int64 {
	if rate <= 0 || amount >= int64(rate.Cost(most)) {
		return most
	}
	if amount <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(amount), 1e6)
	if hi >= uint64(rate) {
		return most
	}
	q, _ := bits.Div64(hi, lo, uint64(rate))
	return int64(min(q, uint64(most))) // most is positive here: amount is less than its cost
}

// times multiplies amounts that are not negative, and stays at the largest instead of wrapping.
func times(a, b int64) int64 {
	hi, lo := bits.Mul64(uint64(max(a, 0)), uint64(max(b, 0)))
	if hi > 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(lo)
}

// percent is that part of a limit, rounded up: who has reached it has reached the threshold.
func percent(limit int64, p int) int64 {
	hi, lo := bits.Mul64(uint64(max(limit, 0)), uint64(max(p, 0)))
	lo, carry := bits.Add64(lo, 99, 0)
	hi += carry
	if hi >= 100 {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, 100)
	return int64(min(q, math.MaxInt64))
}
