package route

import (
	"math/bits"

	"sluice/internal/llm"
)

// A Candidate is one deployment at one moment, as a strategy sees it.
type Candidate struct {
	llm.Load
	Index  int   // its place in the group, as configured
	Weight int   // share of the calls, at least 1
	Price  int64 // what the call is expected to cost there, in nano-dollars; negative: not known
}

// A Pick is what a strategy may lean on beside the candidates.
type Pick struct {
	Turn     uint64 // counts the plans of the group, from 0
	Random   uint64 // uniform, fresh for each pick
	Affinity uint64 // hash of what a prompt cache would keep; 0: the call has none, or the strategy did not ask
	Stuck    int    // Index of the candidate that served this Affinity not long ago; -1: none
	Replicas int    // processes that share the deployments, at least 1
}

// A Strategy names the candidate to try first, as an index into c, which is never empty. It is pure: the
// same arguments give the same answer. Those to try after it are found by asking again without it.
type Strategy func(p *Pick, c []Candidate) int

// Strategies are those there are, by the name that a configuration or a header gives.
var Strategies = map[string]Strategy{
	"weighted":    weighted,
	"round-robin": roundRobin,
	"least-busy":  leastBusy,
	"latency":     latency,
	"cost":        cost,
	"priority":    priority,
	"p2c":         powerOfTwo,
	"sticky":      sticky,
}

// explores says that a turn is to learn something about a candidate that the strategy would not choose: one
// in fifty, so that a slow target can show that it has recovered.
func explores(turn uint64) bool { return turn%50 == 49 }

// oldest is the candidate tried longest ago, from which an exploring turn learns most.
func oldest(c []Candidate) int {
	best, tried := 0, c[0].Tried
	for i := range c {
		if c[i].Tried < tried {
			best, tried = i, c[i].Tried
		}
	}
	return best
}

// random is a uniform number for a choice among n candidates. It is another one for each n: were it the same
// when the strategy is asked again without its first choice, all calls that fail at one candidate would go to
// its neighbour, and not to all others.
func random(p *Pick, n int) uint64 { return mix(p.Random + uint64(n)*golden) }

// portion scales x, uniform over 64 bits, to 0 <= y < total.
func portion(x uint64, total int) int {
	y, _ := bits.Mul64(x, uint64(total))
	return int(y)
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
// 2014): one to one, and every bit of x changes half of the bits.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
