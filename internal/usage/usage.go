// Package usage accounts for calls: what each one was, what it consumed and how it ended. An entry is
// opened before the upstream is called and closed exactly once. Its Journal keeps a record of every step in a
// log on the local disk and hands the ends on, in order: to the store of rows and to the budgets' counters. The
// package knows no price, no budget and no database: app hands it funcs and stores.
package usage

import (
	"sync"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// Options are what a ledger is made of.
type Options struct {
	// Record is called once for each entry, on the call's own goroutine; it must not block and must not keep
	// the entry. It is for logs and metrics.
	Record func(*Entry)
	// Journal writes down the calls that Begin; nil: nothing is written down.
	Journal *Journal
	// Price sets Costs, but for Waste, and PriceVersion of what a call consumed that began at a moment; nil: all is free.
	Price func(m *Mark, at time.Time)
}

// A Ledger opens entries and records them when they close. There is one for each configuration; they share
// the journal.
type Ledger struct {
	o       Options
	entries sync.Pool
}

// New makes a ledger.
func New(o Options) *Ledger { return &Ledger{o: o} }

// charge prices a call that began at a moment. What a cache served costs nothing: its price is what was saved.
func (l *Ledger) charge(r *Row, at time.Time) {
	l.price(&r.Mark, at)
	if r.Cache != "" {
		waste := r.Costs.Waste
		r.Costs.Waste = 0
		r.Saved = r.Costs.Total()
		r.Costs = Costs{Waste: waste}
	}
}

func (l *Ledger) price(m *Mark, at time.Time) {
	waste := m.Costs.Waste // reckoned already
	m.Costs, m.PriceVersion = Costs{}, ""
	if l.o.Price != nil {
		l.o.Price(m, at)
	}
	m.Costs.Waste = waste
}

// An Entry is one call's account. It is used by one goroutine.
type Entry struct {
	ID     string
	Start  time.Time
	Format llm.Format
	Op     llm.Op
	Model  string // as asked
	Stream bool
	Key    string // the key's public part or name: safe in logs
	Remote string // the peer's address

	Target     llm.Target // of the last attempt
	Attempts   int
	Tries      []llm.Try // where there was more than one
	Fallback   string    // the model that served it instead of the one asked for
	Status     int       // told to the client
	Err        error     // nil: the call succeeded
	Usage      llm.Usage // as the upstream told it
	BytesIn    int64
	BytesOut   int64
	Frames     int64
	Upstream   time.Duration // waited for the upstream, until its first output or refusal
	FirstToken time.Duration // until the first byte of the answer was handed to the client; 0: never
	Own        time.Duration // of the time before the first byte (or of all, when there was none), not spent waiting for the upstream
	Total      time.Duration
	Cache      string // how a cache served it: "" not at all, exact or semantic

	Coverage *llm.Coverage // what guards saw and found; nil: none held for the call

	ledger *Ledger
	who    *auth.Who
	body   *llm.Body
	most   int64 // output tokens that the call allows; 0: not known
	trace  *llm.Trace
	waste  waste
	meter  meter
	begun  bool   // the call may have been sent upstream
	input  int64  // bound of the input tokens; 0: not known
	draft  *draft // nil: nobody writes the call down
}

// Open begins a call's account. The call itself may not be known yet.
func (l *Ledger) Open(id string, f llm.Format, remote string) *Entry {
	e, ok := l.entries.Get().(*Entry)
	if !ok {
		e = new(Entry)
	}
	d, sample := e.draft, e.meter.sample
	switch {
	case d != nil:
		*d = draft{buf: d.buf[:0]}
	case l.o.Journal != nil:
		d = new(draft)
	}
	*e = Entry{ID: id, Start: time.Now(), Format: f, Remote: remote, ledger: l, draft: d}
	e.meter.sample = sample[:0]
	return e
}

// Caller notes who calls.
func (e *Entry) Caller(who *auth.Who) { e.who, e.Key = who, who.Public() }

// Call notes what is asked. The call must live until Close.
func (e *Entry) Call(c *llm.Call) {
	e.Op, e.Model, e.Stream, e.BytesIn = c.Op, c.Model, c.Stream, int64(c.Body.Len())
	e.body, e.most = &c.Body, c.MaxOutput*max(c.Choices, 1)
}

// Guarded notes what guards see and find. It may still change until the entry is closed.
func (e *Entry) Guarded(c *llm.Coverage) { e.Coverage = c }

// Met notes what the call met upstream. The trace may still change until the answer is closed.
func (e *Entry) Met(t *llm.Trace) {
	e.Attempts, e.Upstream, e.Fallback = t.Attempts, t.Waited, t.Fallback
	if t.Target != nil {
		e.Target = *t.Target
	}
	if len(t.Tries) > 1 {
		e.Tries = t.Tries
	}
	e.trace, e.waste = t, e.wasted(t.Tries)
}

// Served notes that a cache gives the answer, exact or semantic, which is then read and counted as an upstream's is.
func (e *Entry) Served(how string) { e.Cache = how }

// Saved is what a call that a cache served would have cost without it, as far as that is known.
func (e *Entry) Saved() llm.Nano {
	if e.draft == nil {
		return 0
	}
	return e.draft.final.row.Saved
}

// Wrote notes what was sent to the client, and when the first byte of it was; zero: nothing was.
func (e *Entry) Wrote(bytes, frames int64, began time.Time) {
	e.BytesOut, e.Frames = bytes, frames
	if !began.IsZero() {
		e.FirstToken = began.Sub(e.Start)
		e.Own = e.FirstToken - e.Upstream
	}
}

// Payer is whom the call is charged to, as far as that is known.
func (e *Entry) Payer() Payer {
	w := e.who
	if w == nil {
		return Payer{}
	}
	return Payer{Org: w.Org, Team: w.Team, User: w.User, Key: e.Key, Project: w.Project}
}

// Account is what is written down of how far the call has come: at its end, what its row says, but for an answer whose tokens
// are still to be counted. ok is false for a call that never began, or that nobody writes down. It must not be changed.
func (e *Entry) Account() (m *Mark, ok bool) {
	if e.draft == nil {
		return nil, false
	}
	return &e.draft.final.row.Mark, e.begun
}

// Close ends the account, writes it down and records it. It gives the position of the final record, 0 when
// there is none yet (the answer's tokens must be counted first) or at all (the call never began). The entry
// must not be used afterwards: what the call used is asked before.
func (e *Entry) Close() uint64 {
	e.Total = time.Since(e.Start)
	if e.FirstToken == 0 {
		e.Own = e.Total - e.Upstream
	}
	pos := e.finish()
	l := e.ledger
	if l.o.Record != nil {
		l.o.Record(e)
	}
	l.entries.Put(e)
	return pos
}
