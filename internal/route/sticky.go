package route

import (
	"math"
	"math/bits"
)

// sticky sends what a prompt cache would keep together to one candidate: to the one that served it not long
// ago, if that may be called; else to the one that rendezvous hashing gives (Thaler, Ravishankar: Using
// Name-Based Mappings to Increase Hit Rates, 1998), which is the same in all replicas and after a restart,
// and of which only the keys of a lost candidate move. A candidate with more than 1.25 times its share of the
// calls under way, and one, is passed over (bounded loads: Mirrokni, Thorup, Zadimoghaddam, 2016); there is
// always one below that. A call without affinity goes as in weighted.
func sticky(p *Pick, c []Candidate) int {
	if p.Affinity == 0 {
		return weighted(p, c)
	}
	var weight, calls int64
	for i := range c {
		x := &c[i]
		if x.Index == p.Stuck {
			return i
		}
		weight += int64(x.Weight)
		calls += int64(x.InFlight) + int64(x.Others)
	}
	// Each candidate draws an exponential time with its weight as rate; the first wins, as often as its weight
	// says. The draw is -log(uniform)/weight; the least so far is far/heavy, and 1/0 is above all.
	best, far, heavy := 0, uint64(1), uint64(0)
	for i := range c {
		x := &c[i]
		w, u := uint64(x.Weight), mix(p.Affinity+uint64(x.Index))
		if ^u>>32*heavy >= far*w { // 1 - u is below -log2(u): most have lost without a logarithm
			continue
		}
		log := minusLog(u)
		if log*heavy >= far*w || 4*weight*(int64(x.InFlight)+int64(x.Others)-1) > 5*calls*int64(w) {
			continue
		}
		best, far, heavy = i, log, w
	}
	return best
}

// logs holds 1 - log2(1 + k/256), in units of 2^-32.
var logs = func() (t [257]uint64) {
	for k := range t {
		t[k] = uint64(math.Round((1 - math.Log2(1+float64(k)/256)) * (1 << 32)))
	}
	return t
}()

// minusLog is -log2(u / 2^64) in units of 2^-32, from a table with straight lines between its entries: within
// 3 in a million, and within 0.2 % where it is near 0. Integers, because replicas on other hardware must agree.
func minusLog(u uint64) uint64 {
	zeros := bits.LeadingZeros64(u | 1)
	u = u << zeros << 1 // the fraction after the leading one
	k, part := u>>56, u<<8>>32
	return uint64(zeros)<<32 + logs[k] - (logs[k]-logs[k+1])*part>>32
}
