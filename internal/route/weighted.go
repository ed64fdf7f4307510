package route

// golden is the fraction of the golden ratio, in 64 bits.
const golden = 0x9E3779B97F4A7C15

// steps are the fractions, in 64 bits, of the golden ratio, of the roots of 2 and 3 and of (root of 13 - 3)/2.
// Few numbers are as far from every fraction with a small denominator, which is what makes their multiples lie
// evenly; and none is a rational combination of the others, so that the position by one says nothing about
// the position by another.
var steps = [4]uint64{golden, 0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x4D82B446159F360F}

// weighted gives every candidate its share of the calls, smoothly and without a state: the candidates stand
// on a circle, each on an arc as long as its weight, and each turn goes on by an irrational part of the circle
// (a Kronecker sequence). It is the default.
//
// After each of 10,000 turns the calls of a candidate differ from its exact share by at most 5 (4.02 measured), a
// candidate with the share s waits at most 3/s turns for its next call (2.15/s measured), and has at most
// 3/(1-s) calls in a row (1.71/(1-s) measured, with 95 vectors of weights).
//
// The step depends on how many candidates there are, so that the calls that fail at one are spread over all
// others by weight when the strategy is asked again without it; by one step they would mostly go to its neighbour.
func weighted(p *Pick, c []Candidate) int {
	total := 0
	for i := range c {
		total += c[i].Weight
	}
	at := position(p.Turn, len(c), total)
	for i := range c {
		if at -= c[i].Weight; at < 0 {
			return i
		}
	}
	return len(c) - 1
}

// position is where a turn stands on a circle of n candidates and the circumference total.
func position(turn uint64, n, total int) int { return portion(turn*steps[n%len(steps)], total) }
