package mock

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// Entry is what the mock did with one request. Times are in milliseconds from when the request had been read; a time that
// never came is 0.
type Entry struct {
	Seq          int64       `json:"seq"`
	ID           string      `json:"id"` // X-Request-Id as it was received
	Start        time.Time   `json:"start"`
	API          string      `json:"api"`
	Path         string      `json:"path"`
	Proto        string      `json:"proto"`
	Model        string      `json:"model"`
	Stream       bool        `json:"stream"`
	Status       int         `json:"status"` // 0: no status line was written
	Outcome      string      `json:"outcome"`
	Fault        string      `json:"fault,omitzero"`
	Tokens       Tokens      `json:"tokens"`
	Received     int         `json:"received"` // bytes of the request's body
	Bytes        int64       `json:"bytes"`    // of the answer's body, before compression
	Events       int         `json:"events"`
	Head         float64     `json:"head_ms"`
	First        float64     `json:"first_ms"`
	Cancelled    float64     `json:"cancelled_ms"`
	End          float64     `json:"end_ms"`
	Headers      []string    `json:"headers"` // names, as they were received
	RequestHead  http.Header `json:"request_head,omitzero"`
	RequestBody  string      `json:"request_body,omitzero"`
	RequestQuery string      `json:"request_query,omitzero"`
}

// Tokens are those of the part of the answer that was written, counted as OpenAI counts: Cached and Write are within Input, Reasoning is
// within Output. Whole is the output of the whole answer: what the usage says, if the client got to see it.
type Tokens struct {
	Input     int64 `json:"input"`
	Output    int64 `json:"output"`
	Cached    int64 `json:"cached"`
	Write     int64 `json:"write"`
	Reasoning int64 `json:"reasoning"`
	Whole     int64 `json:"whole"`
}

// Log is the answer of GET /log.
type Log struct {
	Served  int64   `json:"served"`
	Dropped int64   `json:"dropped"`
	Entries []Entry `json:"entries"`
}

// log is a ring: the slot that is overwritten lends its slice of names, so that a call under load allocates nothing here.
type log struct {
	mu      sync.Mutex
	ring    []Entry
	most    int
	served  int64
	cleared int64
	grown   chan struct{} // closed by the next call; nil while nobody waits
}

func newLog(most int) *log { return &log{most: most} }

func (c *call) since() time.Duration { return max(1, time.Since(c.start)) }

func (l *log) add(c *call, p *plan) {
	end := c.since()
	gone := time.Duration(c.gone.Load())
	if c.outcome == "" || c.outcome == cancelled {
		// A write can fail before net/http has ended the context.
		c.outcome = cancelled
		if gone == 0 {
			gone = end
		}
	} else {
		gone = 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served++
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
	var e *Entry
	if len(l.ring) < l.most {
		l.ring = append(l.ring, Entry{})
		e = &l.ring[len(l.ring)-1]
	} else {
		e = &l.ring[(l.served-1-l.cleared)%int64(l.most)]
	}
	names := e.Headers[:0]
	for name := range c.r.Header {
		names = append(names, name)
	}
	*e = Entry{
		Seq: l.served, ID: c.r.Header.Get("X-Request-Id"), Start: c.start, API: p.api.String(), Path: c.r.URL.Path, Proto: c.r.Proto,
		Model: p.model, Status: c.status, Outcome: string(c.outcome), Fault: c.fault, Received: c.received, Bytes: c.sent, Events: c.events,
		Head: ms(c.headAt), First: ms(c.firstAt), Cancelled: ms(gone), End: ms(end), Headers: names,
		RequestHead: c.head, RequestBody: string(c.body),
	}
	if c.head != nil {
		e.RequestQuery = c.r.URL.RawQuery
	}
	if a := p.answer; a != nil {
		e.Stream = a.stream
		e.Tokens = Tokens{Input: a.tokens.input, Output: c.tokens, Cached: a.tokens.cached, Write: a.tokens.write, Whole: a.tokens.output}
		e.Tokens.Reasoning = min(a.tokens.reasoning, c.tokens)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// read copies the entries that keep wants, oldest first.
func (l *log) read(keep func(*Entry) bool) Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.served - l.cleared
	out := Log{Served: since, Dropped: since - int64(len(l.ring)), Entries: []Entry{}}
	for i := range l.ring {
		e := &l.ring[(int64(i)+out.Dropped)%int64(max(1, len(l.ring)))]
		if keep(e) {
			copied := *e
			copied.Headers = slices.Sorted(slices.Values(e.Headers))
			out.Entries = append(out.Entries, copied)
		}
	}
	return out
}

func (l *log) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.cleared = nil, l.served
}

// Log returns what was served since the log was last cleared.
func (s *Server) Log() Log { return s.log.read(func(*Entry) bool { return true }) }

// Await waits until calls calls have been logged since the log was cleared: an answer is logged a moment after its client has read it.
func (s *Server) Await(ctx context.Context, calls int64) (Log, error) {
	if err := s.log.await(ctx, calls); err != nil {
		return Log{}, err
	}
	return s.Log(), nil
}

func (l *log) await(ctx context.Context, calls int64) error {
	for {
		l.mu.Lock()
		if l.served-l.cleared >= calls {
			l.mu.Unlock()
			return nil
		}
		if l.grown == nil {
			l.grown = make(chan struct{})
		}
		grown := l.grown
		l.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("await %d calls in the mock's log: %w", calls, ctx.Err())
		}
	}
}

// maxAwait bounds ?await=.
const maxAwait = 10 * time.Second

func (l *log) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after, _ := strconv.ParseInt(q.Get("after"), 10, 64)
	if n, err := strconv.ParseInt(q.Get("await"), 10, 64); err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), maxAwait)
		defer cancel()
		_ = l.await(ctx, n) // what there is is answered anyway
	}
	got := l.read(func(e *Entry) bool {
		return e.Seq > after && (!q.Has("id") || e.ID == q.Get("id"))
	})
	w.Header().Set("Content-Type", jsonType)
	_ = json.MarshalWrite(w, got)
}
