package llm

import "time"

// A Try is one upstream call of a request.
type Try struct {
	Provider string
	Model    string
	Outcome  string        // ok, or the class of its failure
	Took     time.Duration // until its first output or its failure
	Hedge    bool          // sent because another took long

	// What an answer that nobody got has cost. Of the one that the client got, all is zero: its stream tells.
	Told *Usage // what the upstream told before it failed or was outrun, and what was seen of its output; nil: nothing
	Left bool   // it was sent and ended by us, so the upstream may have read all of it
}

// A Trace is what a call met upstream, told whether it succeeded or not.
type Trace struct {
	Tries    []Try
	Attempts int           // upstream calls, those of hedges included
	Target   *Target       // of the last try; nil: none was made
	Fallback string        // the model that answered instead of the one asked for; "" when it was that
	Why      Fall          // with Fallback
	Waited   time.Duration // for upstreams, until the first output or the last refusal
}
