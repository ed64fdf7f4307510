package usage

import (
	"errors"
	"time"

	"sluice/internal/llm"
	"sluice/internal/usage/wal"
)

// A Hold is what is known of a call when it is about to be sent upstream.
type Hold struct {
	Charged   time.Time // by the quota store's clock; zero: the call's start
	Input     int64     // bound of the input tokens; 0: not known
	InputCost llm.Nano  // what so much input costs
	Price     string    // the version of the price that says so
	Counters  []string  // of budgets that hold something for the call
	Tags      []string  // of the key
}

// A draft is what an entry writes down.
type draft struct {
	promised int  // bytes of the log kept for the final record
	priced   bool // final says what the whole answer consumed and cost
	guessed  bool // and that some of it is an estimate
	final    final
	buf      []byte
}

// logged tells whether the log has the call's intent.
func (e *Entry) logged() bool { return e.draft != nil && e.draft.final.at != 0 }

// Begin writes down that the call is about to be sent upstream. From then on it has exactly one row, whatever
// happens. It fails with ledger_full when there is no room for what the call will come to, and the call must not
// be made then.
func (e *Entry) Begin(h Hold) error {
	j, d := e.ledger.o.Journal, e.draft
	e.begun, e.input = true, h.Input
	if j == nil {
		return nil
	}
	in := Intent{Input: h.Input, InputCost: h.InputCost, Price: h.Price, Counters: h.Counters, Call: Call{
		RequestID: e.ID, Start: micro(e.Start), Charged: micro(h.Charged), Format: e.Format, Op: e.Op, Model: e.Model, Stream: e.Stream, BytesIn: e.BytesIn,
	}}
	if h.Charged.IsZero() {
		in.Charged = in.Start
	}
	if w := e.who; w != nil {
		in.Payer = Payer{Org: w.Org, Team: w.Team, User: w.User, Key: w.Public(), Project: w.Project, Tags: h.Tags}
	}
	d.final.row.Call, d.final.counters = in.Call, h.Counters
	d.buf = appendIntent(d.buf[:0], &in)
	d.promised = len(d.buf) + promise
	pos, err := j.log.Append(d.buf, d.promised, 0)
	switch {
	case err == nil:
		d.final.at = pos
		return nil
	case errors.Is(err, wal.ErrFull) && j.o.GoOn:
		d.promised = 0 // what the final record does without
		return nil
	case errors.Is(err, wal.ErrFull):
		e.begun = false
		return &llm.Error{Kind: llm.KindLedgerFull, Msg: "what calls use cannot be written down at the moment", RetryAfter: time.Second, Err: err}
	}
	e.begun = false
	return err
}

// Begun tells whether the call may have been sent upstream, and so has a row.
func (e *Entry) Begun() bool { return e.begun }

// promise is how much longer a final record is than its intent, at most, short of names beyond all reason.
const promise = 768

// micro is a time as rows keep it.
func micro(t time.Time) time.Time { return t.Truncate(time.Microsecond).UTC() }

// state sets the draft's row to how far the call has come. output is the number of output tokens, if the
// upstream has not told it; a call that consumed nothing costs nothing.
func (d *draft) state(e *Entry, output int64, consumed bool) {
	d.final.row.Cache = e.Cache
	m := &d.final.row.Mark
	known := consumed && d.priced
	if !known {
		*m = Mark{}
	}
	m.Provider, m.Upmodel, m.Credential, m.Attempts = e.Target.Provider, e.Target.Model, e.Target.Credential, e.Attempts
	m.BytesOut, m.Frames, m.Total = e.BytesOut, e.Frames, time.Since(e.Start)
	m.Wasted, m.Costs.Waste = e.waste.tokens, e.waste.cost
	switch {
	case known:
		m.Partial, m.Estimated = false, d.guessed
	case consumed:
		m.Partial = !e.meter.whole
		d.guessed = e.fill(&m.Usage, output)
		m.Estimated = d.guessed
		e.ledger.charge(&d.final.row, e.Start)
	default:
		m.PriceVersion = e.waste.price
	}
	m.Estimated = m.Estimated || e.waste.estimated
}

// fill makes a whole of what the upstream has told so far: the counts that it owes and has not told are
// estimated. What others do not have (the output of an embedding) stays absent.
func (e *Entry) fill(u *llm.Usage, output int64) (estimated bool) {
	*u = e.Usage
	u.Extra = nil
	if e.Op == llm.OpCount { // its answer is a number of tokens, but nobody read them
		*u = llm.Usage{}
		return false
	}
	if !u.Input.Known {
		u.Input, estimated = llm.Tokens(e.guessInput()), true
	}
	if e.Op == llm.OpChat && (!e.meter.exact() || output > e.meter.told()) {
		u.Output, estimated = llm.Tokens(output), true
	}
	return estimated
}

// guessInput estimates the input tokens from the size of the request.
func (e *Entry) guessInput() int64 {
	n := e.meter.known.input(e.BytesIn)
	if e.input > 0 {
		n = min(n, e.input)
	}
	return n
}

// finish writes down the end of the call, and gives the position of the record, 0 when there is none yet.
func (e *Entry) finish() uint64 {
	j, d, m := e.ledger.o.Journal, e.draft, &e.meter
	if j == nil || !e.begun {
		return 0
	}
	e.lost()
	d.end(e)
	if m.Stream != nil && m.whole {
		j.ratios.learn(e)
	}
	// What a budget has cut is charged as the client was told.
	if m.Stream != nil && m.cut == nil && !e.Usage.Output.Known && e.Op == llm.OpChat && j.count(e) {
		return 0
	}
	d.buf = appendFinal(d.buf[:0], &d.final)
	return j.end(d.buf, d.promised)
}

// end sets the draft's row to how the call ended.
func (d *draft) end(e *Entry) {
	r := &d.final.row
	if e.Err != nil {
		r.Error = llm.AsError(e.Err).Kind
	}
	answered := e.meter.Stream != nil
	// When the client left before that, nobody knows how far the upstream came until it was told to stop.
	d.state(e, e.meter.output(), answered || e.clientLeft() && e.Attempts > 0)
	r.Total, r.Upstream, r.FirstToken, r.Own = e.Total, e.Upstream, e.FirstToken, e.Own
	r.Fallback, r.Status = e.Fallback, e.Status
}
