package llm

import (
	"sync/atomic"
	"time"
)

// A Bar is why a deployment is not to be called now.
type Bar uint8

// The bars, from none to those that only a person lifts.
const (
	Free       Bar = iota
	Full           // as many calls are under way as it may have
	Throttled      // its vendor said that the rate limit is used up
	Open           // its breaker is open
	Credential     // its credential's breaker is open: the vendor refused it
	Draining       // an operator lets running calls end and sends no new ones
	Disabled       // an operator took it out
)

var bars = [...]string{"free", "full", "throttled", "breaker_open", "credential_refused", "draining", "disabled"}

func (b Bar) String() string { return bars[b] }

// A Load is what is known of a deployment at one moment. The zero Load is one never called: nothing is
// known, and nothing speaks against it.
type Load struct {
	Latency  time.Duration // moving average of the time to the first output (docs/routing.md has the formula); 0: never measured
	Recent   time.Duration // the last measurement; 0: none
	Tried    int64         // when it was last called, in Unix nanoseconds; 0: never
	Until    int64         // when Bar may end by itself, in Unix nanoseconds; 0: not known
	InFlight int32         // calls under way from this process
	Others   int32         // calls under way from other replicas, as they last said
	Failing  float32       // moving average of the share of calls that failed, 0 to 1
	Bar      Bar           //
}

// A Gauge is where what changes with every call of a deployment is kept, as Load has it: whoever must look at hundreds of them
// for one call looks there.
type Gauge struct {
	Calls *Calls
	Times *Times
}

// Calls counts the calls under way at a deployment.
type Calls struct{ InFlight, Others atomic.Int32 }

// Times are what a deployment's calls took, and when it was last called.
type Times struct{ Latency, Recent, Tried atomic.Int64 }

// A Fall is why a call leaves the deployments of its model for those of another.
type Fall int

// The reasons; each has a list of models of its own.
const (
	FallGeneral Fall = iota // none of them could answer
	FallContext             // the request is longer than the model's context
	FallContent             // the provider's content filter refused it
	FallCount               // how many reasons there are
)

var falls = [...]string{"general", "context-window", "content-policy"}

func (f Fall) String() string { return falls[f] }
