// Package usage accounts for calls: what each one was, what it consumed and how it ended. An entry is
// opened before the upstream is called and closed exactly once; the ledger hands it on to whoever records
// it (the access log and the metrics today).
package usage

import (
	"sync"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// A Ledger opens entries and records them when they close.
type Ledger struct {
	record  func(*Entry)
	entries sync.Pool
}

// New makes a ledger. record is called once for each entry, on the call's own goroutine; it must not block
// and must not keep the entry.
func New(record func(*Entry)) *Ledger { return &Ledger{record: record} }

// An Entry is one call's account.
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
	Usage      llm.Usage
	BytesIn    int64
	BytesOut   int64
	Frames     int64
	Upstream   time.Duration // waited for the upstream, until its first output or refusal
	FirstToken time.Duration // until the first byte of the answer was handed to the client; 0: never
	Own        time.Duration // of the time before the first byte (or of all, when there was none), not spent waiting for the upstream
	Total      time.Duration

	ledger *Ledger
	meter  meter
}

// Open begins a call's account. The call itself may not be known yet.
func (l *Ledger) Open(id string, f llm.Format, remote string) *Entry {
	e, ok := l.entries.Get().(*Entry)
	if !ok {
		e = new(Entry)
	}
	*e = Entry{ID: id, Start: time.Now(), Format: f, Remote: remote, ledger: l}
	return e
}

// Caller notes who calls.
func (e *Entry) Caller(who *auth.Who) { e.Key = who.Public() }

// Call notes what is asked.
func (e *Entry) Call(c *llm.Call) {
	e.Op, e.Model, e.Stream, e.BytesIn = c.Op, c.Model, c.Stream, int64(c.Body.Len())
}

// Met notes what the call met upstream.
func (e *Entry) Met(t *llm.Trace) {
	e.Attempts, e.Upstream, e.Fallback = t.Attempts, t.Waited, t.Fallback
	if t.Target != nil {
		e.Target = *t.Target
	}
	if len(t.Tries) > 1 {
		e.Tries = t.Tries
	}
}

// Wrote notes what was sent to the client, and when the first byte of it was; zero: nothing was.
func (e *Entry) Wrote(bytes, frames int64, began time.Time) {
	e.BytesOut, e.Frames = bytes, frames
	if !began.IsZero() {
		e.FirstToken = began.Sub(e.Start)
		e.Own = e.FirstToken - e.Upstream
	}
}

// Close ends the account and records it. The entry must not be used afterwards.
func (e *Entry) Close() {
	e.Total = time.Since(e.Start)
	if e.FirstToken == 0 {
		e.Own = e.Total - e.Upstream
	}
	e.ledger.record(e)
	e.ledger.entries.Put(e)
}

// Meter counts what passes through a stream. The upstream's own count is a running total, so the last
// word on each kind of token holds.
func (e *Entry) Meter(s llm.Stream) llm.Stream {
	e.meter = meter{Stream: s, entry: e}
	return &e.meter
}

type meter struct {
	llm.Stream
	entry *Entry
}

func (m *meter) Next() (*llm.Event, error) {
	ev, err := m.Stream.Next()
	if ev != nil && ev.Usage != nil {
		m.entry.Usage.Merge(ev.Usage)
	}
	return ev, err
}
