package usage

import (
	"time"

	"sluice/internal/llm"
)

// A Payer is whom a call is charged to.
type Payer struct {
	Org     string // never ""
	Team    string // "": none
	User    string // "": a service key
	Key     string // the key's public part, or its name in the configuration: no secret
	Project string
	Tags    []string // the key's metadata tags
}

// A Call is what is known of a call when it begins. Times are kept to the microsecond.
type Call struct {
	RequestID string
	Payer
	Start   time.Time // by the replica's clock
	Charged time.Time // in whose periods it counts: when its hold was made, by the quota store's clock; Start when nothing was held
	Format  llm.Format
	Op      llm.Op
	Model   string // as asked, in canonical form
	Stream  bool
	BytesIn int64
}

// A Mark is how far a call has come.
type Mark struct {
	Provider     string // of the last attempt; "": none was made
	Upmodel      string // the upstream's own name of the model
	Credential   string
	Attempts     int
	Usage        llm.Usage // absent is not zero; Extra is always nil
	Costs        Costs
	PriceVersion string        // "": there was no price
	BytesOut     int64         // given to the client
	Frames       int64         //
	Total        time.Duration // since Start
	Wasted       int64         // tokens that attempts used whose answers nobody got, at all upstreams; not in Usage
	Estimated    bool          // some count in Usage is our own estimate
	Partial      bool          // the answer goes on, or was cut: by the client, the upstream, a budget or a crash
}

// A Row is the account of one call that was to be sent upstream, at rest. It is plain data and holds no
// content. There is exactly one for each request id.
type Row struct {
	Replica  string // whose log has it
	Position uint64 // of its final record in that log
	Call
	Mark

	Upstream   time.Duration // waited for upstreams until the first output or the last refusal
	FirstToken time.Duration // until the first byte was handed to the client; 0: never
	Own        time.Duration // of the time before that byte, not spent waiting
	Fallback   string        // the model that answered instead of the one asked for
	Status     int           // told to the client; 0: nobody knows, the process ended before
	Error      llm.Kind      // "": the call succeeded
	Cache      string        // how the cache served it: "" not at all, exact or semantic
	Saved      llm.Nano      // what the call would have cost without the cache
}

// Tokens is what a call counts against limits and budgets of tokens: input and output of its answer together.
func (m *Mark) Tokens() int64 { return m.Usage.Input.N + m.Usage.Output.N }

// Tokens is Mark.Tokens of what an upstream served. What a cache gave was counted when it was made.
func (r *Row) Tokens() int64 {
	if r.Cache != "" {
		return 0
	}
	return r.Mark.Tokens()
}

// Costs is what a call cost, by kind. No kind holds another, so their sum is the whole.
type Costs struct {
	Input        llm.Nano // neither cached nor audio nor image
	CacheRead    llm.Nano
	CacheWrite   llm.Nano // with a lifetime of five minutes
	CacheWrite1h llm.Nano
	Output       llm.Nano // neither reasoning nor audio
	Reasoning    llm.Nano
	Audio        llm.Nano // in and out
	Image        llm.Nano // in and out
	Tools        llm.Nano // fees for calls of tools that run at the vendor
	Waste        llm.Nano // of attempts whose answers nobody got, each by the price of its own model
}

// Total is the sum.
func (c *Costs) Total() llm.Nano {
	return c.Input.Plus(c.CacheRead).Plus(c.CacheWrite).Plus(c.CacheWrite1h).Plus(c.Output).Plus(c.Reasoning).Plus(c.Audio).Plus(c.Image).Plus(c.Tools).Plus(c.Waste)
}

// An Intent is a call in the log before its upstream is called.
type Intent struct {
	Call
	Input     int64    // bound of the input tokens; 0: not known
	InputCost llm.Nano // what so much input costs: the price of a call that is never heard of again
	Price     string   // the version of the price that it was computed by
	Counters  []string // the budget counters that hold something for it, by the names of package quota
}

// An Open is a call that has begun and of which no end is known.
type Open struct {
	Replica  string
	Position uint64 // of its intent in the log of the replica that began it
	Intent
	Mark *Mark // nil: none was made
}
