// Package quota says whether a call may be made: limits on the pace, and budgets. A Limiter turns a caller's rules
// into questions to a Store, which counts; what a call may cost and where its account is kept are others' business.
package quota

import (
	"context"
	"time"

	"sluice/internal/llm"
)

// A Kind is what an Ask is for.
type Kind uint8

// The kinds.
const (
	Requests Kind = iota + 1
	Tokens
	Parallel
	Money       // a budget of nano-dollars
	TokenBudget // a budget of tokens
)

// Budget says that a kind is one of those that hold and settle.
func (k Kind) Budget() bool { return k >= Money }

// MaxLimit is the most that a budget's limit may be, in nano-dollars (nine million dollars) or tokens. A larger one counts as this: stores
// that compute in doubles are exact below 2^53. What is spent is counted exactly beyond it.
const MaxLimit = 9e15

// Lease is how long a hold lives that nobody renews, and Beat how often its owner does.
const (
	Lease = 30 * time.Second
	Beat  = time.Second
)

// Grace is how long a store that has lost its data refuses hard budgets: time for every replica to tell it anew what is
// under way, and to ship its log to the database that counters are seeded from.
const Grace = 2 * time.Second

// A Counter is what an Ask counts in, and its terms. It is never changed: all calls that ask for it share it.
type Counter struct {
	Kind Kind
	Key  string // its name, in its organisation

	// Of Requests and Tokens at most N in any Per; of Parallel at most N at once. N 0 admits nothing.
	N   int64
	Per time.Duration

	// A budget.
	Limit       int64
	Mode        llm.BudgetMode
	Grace       time.Duration // of HardAfterGrace, from the first call that finds no room
	From, Until time.Time     // when the ask is right, by the store's clock: the period, or a part of a rolling one
	Rolling     bool
	Part        int64   // in which a rolling budget books it: the part's start, as Unix seconds; 0 if it does not roll
	Oldest      int64   // the oldest part that counts
	Alerts      []Alert // thresholds that Settle reports
}

// An Ask is room that a call must have in a counter. The store fills in what is marked so.
type Ask struct {
	*Counter
	Cost int64 // of Requests and Tokens

	// Of a budget. Its room is the limit less what is spent and what others hold. Granted is Fixed and an output part:
	// Output(room - Fixed, Least, Most); it is refused when that is less than Least.
	Fixed, Least, Most int64

	Granted int64         // filled in, of a budget: what is held
	Used    int64         // filled in, of a pace, Parallel: after this call; of a budget: spent, without holds
	Wait    time.Duration // filled in, when refused: until it is worth another try; 0: not known
	Reset   time.Duration // filled in, of a pace: until the limit is whole again
	Slot    int64         // filled in, of Tokens: where its cost was counted
	Cold    bool          // filled in: the counter needs a seed
	Spent   int64         // given to Renew: of a budget, what the call has used by now
}

// An Alert is a threshold of a budget.
type Alert struct {
	Percent int
	Amount  int64
}

// A Hold is what a call asks for, and then what it has.
type Hold struct {
	Org   string
	ID    string // of the call
	Asks  []Ask
	Freed []Freed // given to Reserve: what is released on the way

	held *held // where a Memory that granted it keeps it
}

// A Freed is a hold of which all but budgets ends.
type Freed struct {
	Hold   *Hold
	Tokens int64 // that its call has used, input and output
}

// An Answer is what came of an ask.
type Answer uint8

// The answers. Only Granted has changed anything.
const (
	Granted     Answer = iota
	Refused            // there is no room in the ask that the verdict names
	Cold               // counters are not known yet (Ask.Cold): seed them, and ask again
	WrongPeriod        // the store's clock is in another period: ask again by it
	Recovering         // the store lost its data a moment ago: hard budgets must wait
	Gone               // there is no such hold
)

// A Verdict is the answer to a hold.
type Verdict struct {
	Answer Answer
	Ask    int           // which one was refused; of several the one to wait longest for
	Now    time.Time     // by the store's clock; zero: it is ours
	Wait   time.Duration // left of the time that a Recovering store needs
	Epoch  int64         // as in Outcome
}

// A Settlement is the final cost of a call. Its position orders those of one replica; 0: the call was never made, and
// only its hold ends.
type Settlement struct {
	ID       string
	Position uint64
	Counters []string // as Grant.Counters gave them
	Money    llm.Nano
	Tokens   int64
}

// A Batch is settlements of one organisation by one replica, with ascending positions.
type Batch struct {
	Org, Replica string
	List         []Settlement
	Again        bool  // it was sent before, and what came of it is not known
	Epoch        int64 // that the sender last heard of; 0: none
}

// An Outcome is what came of a batch, or of a renewal.
type Outcome struct {
	Epoch   int64 // a later one than before: the store has lost data in between, and every counter is cold
	Crossed []Crossing
	Missed  bool // of Settle: the store has lost data since it was last heard of, so nothing of the batch was booked
}

// A Crossing is a threshold that a budget has reached.
type Crossing struct {
	Counter string
	Percent int
	Spent   int64
	Limit   int64
}

// A Level is what a budget's counter stands at.
type Level struct {
	Counter string
	Parts   []Part            // what is spent; a budget that does not roll has one part, with start 0
	Marks   map[string]uint64 // of each replica the last position that is in it
	Held    int64             // by calls under way; Seed does not look at it
	Cold    bool
}

// Spent is the sum of the parts.
func (l Level) Spent() (n int64) {
	for _, p := range l.Parts {
		n = plus(n, p.Amount)
	}
	return n
}

// A Part is what was spent in a part of a rolling period, or in all of another.
type Part struct{ Start, Amount int64 }

// A Store counts for all replicas. Every method is atomic within an organisation, and may be called from anywhere. Its
// clock is its own: what ours says is never compared with it but through WrongPeriod.
//
// A counter's level is always the sum of settlements, each counted once: by its replica and position, whatever is sent
// twice or late. What the database had at the time of a seed is known by the marks, and settlements that come before a
// counter is seeded wait in it. A store that finds that it has lost data (flushed, or a replica that lagged took over)
// begins a new epoch, in which every counter is cold, and refuses hard budgets as Recovering for a while.
type Store interface {
	// Reserve takes all asks or none. A refusal changes nothing. The same ID again gives the same answer, while a hold of
	// tokens, leases or budgets lives. Soft budgets are never refused, not even cold. What h.Freed names, of the same
	// organisation, is released first, as by Release and whatever the answer is; after an error it may be or not.
	Reserve(ctx context.Context, h *Hold) (Verdict, error)
	// Extend asks for more of budgets that the hold has: each ask's Granted grows by Output(room, Least, Most-Granted), or
	// nothing changes.
	Extend(ctx context.Context, h *Hold) (Verdict, error)
	// Renew keeps holds of one organisation alive, and keeps what they have spent by now (Ask.Spent). A hold that the
	// store does not have is made anew, in full and whatever the limit says: its call is under way.
	Renew(ctx context.Context, org string, holds []*Hold) (Outcome, error)
	// Release ends the leases of holds of one organisation, and corrects their token paces to what was used. Their budgets
	// go on until they are settled. It is idempotent, and goes on when the context has ended, in a time of its own.
	Release(ctx context.Context, org string, list []Freed) error
	// Settle books costs and ends the budgets' holds. A batch that was on its way when the store lost its data books nothing:
	// it would raise marks above what was lost, which must be sent again before it.
	Settle(ctx context.Context, b Batch) (Outcome, error)
	// Seed gives counters that are cold their level. It does nothing to others, and nothing in another epoch than the one
	// in which they were found cold.
	Seed(ctx context.Context, org string, epoch int64, levels []Level) error
	// Levels reads counters.
	Levels(ctx context.Context, org string, counters []string) ([]Level, error)
	// Restart begins a new epoch, as if the budgets' counters had been lost: they are cold, and hard budgets are refused as
	// Recovering for a Grace. Limits may be forgotten with them.
	Restart(ctx context.Context, org string) error
	// Sweep ends leases that nobody renewed, and leaves of the budgets' holds what their calls are known to have spent:
	// that stays until they are settled.
	Sweep(ctx context.Context, org string) error
}
