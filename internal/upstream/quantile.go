package upstream

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	sketchBits    = 3                      // buckets in each doubling: 2^3
	sketchUnit    = time.Millisecond       // shorter times count as one
	sketchBuckets = (20 + 1) << sketchBits // up to 2^20 ms, 17 minutes
	sketchAge     = 1024                   // samples after which all are halved
	sketchKnown   = 20                     // samples below which a p95 says nothing
)

// A sketch estimates the 95th percentile of first-output times. Its buckets grow with the time they stand
// for, eight in each doubling, so that a bucket's middle is within 7 % of all that fell into it. All counts
// are halved after each 1,024 samples: the past fades. The zero sketch is empty.
type sketch struct {
	total   atomic.Int64
	buckets [sketchBuckets]atomic.Uint32

	aging sync.Mutex // one halves at a time; others pass by
}

// bucketOf gives the bucket of a time: the power of two below it and the three bits after the first.
func bucketOf(d time.Duration) int {
	eighths := min(max(d, sketchUnit), sketchUnit<<20) << sketchBits / sketchUnit // so that small times have bits after the first, too
	n := uint64(eighths)
	power := bits.Len64(n) - 1 - sketchBits
	i := power<<sketchBits + int(n>>power) - 1<<sketchBits
	return min(i, sketchBuckets-1)
}

// middle is the middle of a bucket.
func middle(i int) time.Duration {
	power, step := i>>sketchBits, i&(1<<sketchBits-1)
	width := sketchUnit << power >> sketchBits
	return sketchUnit<<power + time.Duration(step)*width + width/2
}

func (s *sketch) observe(first time.Duration) {
	s.buckets[bucketOf(first)].Add(1)
	if s.total.Add(1) >= sketchAge && s.aging.TryLock() {
		s.age()
		s.aging.Unlock()
	}
}

// age halves all counts. What halving cuts off is carried to the next bucket: dropped, it would take the
// thin tail away first, and the tail is what is asked for.
func (s *sketch) age() {
	var carry uint32
	for i := range s.buckets {
		v := s.buckets[i].Load()
		kept := (v + carry) / 2
		carry = (v + carry) % 2
		s.buckets[i].Add(kept - v) // kept <= v + 1: mostly less, which wraps around; what came meanwhile stays
		s.total.Add(int64(kept) - int64(v))
	}
}

// p95 is the time within which 95 of 100 calls gave their first output; false: too few are known.
func (s *sketch) p95() (time.Duration, bool) {
	total := s.total.Load()
	if total < sketchKnown {
		return 0, false
	}
	beyond := total / 20
	for i := sketchBuckets - 1; i >= 0; i-- {
		if n := int64(s.buckets[i].Load()); n > 0 {
			if beyond -= n; beyond < 0 {
				return middle(i), true
			}
		}
	}
	return 0, false
}
