package route

import (
	"math/bits"
	"time"
)

// powerOfTwo draws two candidates and takes the better, by
//
//	(1 - failing) / (1 + latency in seconds x (1 + 0.1 x in flight))
//
// with the calls of all replicas in flight: what is known late does less harm here, since no candidate is
// drawn more often for being the best. A latency never measured counts as 0. One turn in fifty goes to the
// candidate tried longest ago.
func powerOfTwo(p *Pick, c []Candidate) int {
	if len(c) == 1 {
		return 0
	}
	if explores(p.Turn) {
		return oldest(c)
	}
	i, j := pair(p, len(c))
	if worse(&c[i], &c[j]) {
		return j
	}
	return i
}

// pair draws two different ones of n.
func pair(p *Pick, n int) (i, j int) {
	first, rest := bits.Mul64(random(p, n), uint64(n))
	i, j = int(first), portion(rest, n-1) // what the first draw leaves of the number is uniform, too
	if j >= i {
		j++
	}
	return i, j
}

// worse tells whether x has the lower score.
func worse(x, other *Candidate) bool {
	up, down := odds(x)
	upOther, downOther := odds(other)
	// up/down < upOther/downOther, in integers of 128 bits.
	high, low := bits.Mul64(up, downOther)
	highOther, lowOther := bits.Mul64(upOther, down)
	return high < highOther || high == highOther && low < lowOther
}

// odds is the score of a candidate as a fraction: parts in a million over tenths of microseconds.
func odds(x *Candidate) (up, down uint64) {
	const million = 1_000_000
	up = uint64(max(0, million-int64(x.Failing*million)))
	down = 10*million + uint64(x.Latency/time.Microsecond)*uint64(10+int64(x.InFlight)+int64(x.Others))
	return up, down
}
