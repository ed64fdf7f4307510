package route

import (
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

// explores says that a turn is to learn something about a candidate that the strategy would not choose: one
// in fifty, so that a slow target can show that it has recovered.
func explores(turn uint64) bool { return turn%50 == 49 }
