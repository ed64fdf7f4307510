package quota

import (
	"math"
	"time"
)

// Slots is how many parts a pace's span has. A call counts until the part it is in has left the span altogether: so
// no span of that length, wherever it begins, ever sees more than the limit, at the price of one part in a hundred of
// the pace. An algorithm with one number for its state (GCRA, a bucket that refills) lets twice the limit pass where a
// burst meets the edge, or allows no burst.
const Slots = 100

// A window counts what passes in a span that slides. The zero window is empty. Counts may be more than any limit: a call
// that used more than it had reserved leaves a debt, which leaves with its slot.
type window struct {
	slots []slot // oldest first, none empty
	total int64
}

type slot struct{ at, n int64 }

// slotAt is the part of the span that a time is in.
func slotAt(now time.Time, per time.Duration) int64 {
	return now.UnixNano() / max(int64(per)/Slots, 1)
}

// leaves is how long after now a slot is out of the span.
func leaves(at int64, now time.Time, per time.Duration) time.Duration {
	width := max(int64(per)/Slots, 1)
	return time.Duration((at+Slots+1)*width - now.UnixNano())
}

// roll forgets what has left the span.
func (w *window) roll(now int64) {
	i := 0
	for i < len(w.slots) && w.slots[i].at < now-Slots {
		w.total -= w.slots[i].n
		i++
	}
	if i > 0 {
		w.slots = w.slots[:copy(w.slots, w.slots[i:])]
	}
}

// add counts n in a slot, or corrects what is there; a slot that has left is only corrected upward, and now.
func (w *window) add(at, now, n int64) {
	w.roll(now)
	if at < now-Slots {
		if n <= 0 {
			return
		}
		at = now
	}
	i := len(w.slots)
	for i > 0 && w.slots[i-1].at > at {
		i--
	}
	if i == 0 || w.slots[i-1].at != at {
		if n <= 0 {
			return
		}
		w.slots = append(w.slots, slot{})
		copy(w.slots[i+1:], w.slots[i:])
		w.slots[i] = slot{at: at}
		i++
	}
	s := &w.slots[i-1]
	n = max(n, -s.n)
	s.n, w.total = plus(s.n, n), plus(w.total, n)
	if s.n == 0 {
		w.slots = append(w.slots[:i-1], w.slots[i:]...)
	}
}

// wait is how long until n more fit under a limit: when the slots that are in the way have left.
func (w *window) wait(n, limit int64, now time.Time, per time.Duration) time.Duration {
	over := plus(w.total, n) - limit
	for _, s := range w.slots {
		if over -= s.n; over <= 0 {
			return leaves(s.at, now, per)
		}
	}
	return 0 // never: the limit is less than n
}

// reset is how long until the window is empty.
func (w *window) reset(now time.Time, per time.Duration) time.Duration {
	if len(w.slots) == 0 {
		return 0
	}
	return leaves(w.slots[len(w.slots)-1].at, now, per)
}

// plus adds amounts, and stays at the largest instead of wrapping.
func plus(a, b int64) int64 {
	switch s := a + b; {
	case a > 0 && b > 0 && s < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && s >= 0:
		return math.MinInt64
	default:
		return s
	}
}
