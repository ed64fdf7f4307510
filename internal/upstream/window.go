package upstream

import (
	"sync/atomic"
	"time"
)

const (
	windowSeconds = 10               // how far back budgets look
	mostWindow    = 15 * time.Second // how far back a window can
)

// A window counts what happened in the last seconds, in buckets of whole seconds: all of it, and some of it
// (failures of requests, retries of requests). Adding is lock-free, for it is on the path of every call. It
// goes by the wall clock: a clock that is set forgets or repeats a few seconds, no more.
//
// A bucket is one word, so that its second and both counts change together: 28 bits of the second, 18 bits
// of each count. Counts stay at their maximum of 262,143 a second.
type window struct {
	buckets [16]atomic.Uint64
}

const (
	countBits  = 18
	countMask  = 1<<countBits - 1
	secondMask = 1<<(64-2*countBits) - 1
)

func (w *window) add(now time.Time, all, some uint64) {
	second := uint64(now.Unix()) & secondMask
	b := &w.buckets[second%uint64(len(w.buckets))]
	for {
		old := b.Load()
		var a, s uint64
		if old>>(2*countBits) == second {
			a, s = old>>countBits&countMask, old&countMask
		}
		a, s = min(a+all, countMask), min(s+some, countMask)
		if b.CompareAndSwap(old, second<<(2*countBits)|a<<countBits|s) {
			return
		}
	}
}

// sum counts this second and those before it, as many as said.
func (w *window) sum(now time.Time, seconds uint64) (all, some uint64) {
	second := uint64(now.Unix())
	for i := range seconds {
		at := (second - i) & secondMask
		if v := w.buckets[at%uint64(len(w.buckets))].Load(); v>>(2*countBits) == at {
			all, some = all+v>>countBits&countMask, some+v&countMask
		}
	}
	return all, some
}

func (w *window) clear() {
	for i := range w.buckets {
		w.buckets[i].Store(0)
	}
}

// allows says whether one more of some fits: at most percent of all, or least where that is more. It counts
// all over 9 to 10 s and some over 10 to 11 s, so that what it allows holds for every 10 s that end now.
func (w *window) allows(now time.Time, percent, least uint64) bool {
	all, _ := w.sum(now, windowSeconds)
	_, some := w.sum(now, windowSeconds+1)
	return some+1 <= max(all*percent/100, least)
}
