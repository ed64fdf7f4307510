package cache

import (
	"context"
	"io"
	"time"

	"sluice/internal/llm"
)

// A State is what became of a call at the cache, as X-Sluice-Cache has it.
type State string

// The states.
const (
	Hit     State = "hit"
	Similar State = "semantic" // a question that means the same was answered before
	Miss    State = "miss"
	Bypass  State = "bypass" // it was not looked up
)

// A Visit is one call at the cache. It is used by one goroutine.
type Visit struct {
	State      State
	Why        string        // of a bypass
	Reply      *llm.Reply    // the answer; nil: the call is to be made
	Age        time.Duration // of the answer
	Similarity float32       // of the question that it was given to, where it is not the same

	cache  *Cache
	rules  *Rules
	ask    *Ask // until Lookup returns, but for Raw and Call
	key    Key
	keeps  bool // an answer is to be kept
	flight *flight
	began  time.Time
	record *record

	question *question   // nil: it is not looked up by its meaning
	shadow   *keptAnswer // an answer found so that is held against the model's own

	op     llm.Op
	inputs int // texts of a call for embeddings
}

// Answered tells whether the cache gives the answer.
func (v *Visit) Answered() bool { return v != nil && v.Reply != nil }

// How is the word of the ledger for how the cache gave the answer: exact or semantic.
func (v *Visit) How() string {
	if v.State == Similar {
		return string(Semantic)
	}
	return string(Exact)
}

// take takes a kept answer for the call's own, unless it is none that may be.
func (v *Visit) take(value []byte) bool {
	if value == nil {
		return false
	}
	e, err := decode(value)
	now := v.cache.now()
	if err != nil || string(e.Sum) != string(v.key.Sum[:]) || now.UnixMilli() >= e.Expires {
		return false
	}
	return v.give(e, now)
}

// give makes the reply of a kept answer.
func (v *Visit) give(e *keptAnswer, now time.Time) bool {
	if v.tooOld(e, now) {
		return false
	}
	call := v.ask.Call
	t := e.target()
	s, err := v.rules.Read(&t, e.Format, e.Streamed, v.ask.Raw && e.Format == call.Format, e.body)
	if err != nil {
		return false
	}
	v.State, v.Age, v.Reply = Hit, e.age(now), &llm.Reply{Target: t, Dropped: e.Dropped, Stream: s}
	return true
}

// tooOld tells whether the request wants a younger answer.
func (v *Visit) tooOld(e *keptAnswer, now time.Time) bool {
	most := v.ask.Control.MaxAge
	return most > 0 && e.age(now) > most
}

// land ends the flight that the visit leads, if it does.
func (v *Visit) land(end ending, value []byte) {
	if f := v.flight; f != nil {
		v.flight = nil
		v.cache.land(v.key, f, end, value)
	}
}

// Keep records the upstream's answer while it is read.
func (v *Visit) Keep(reply *llm.Reply, trace *llm.Trace) {
	if v == nil || !v.keeps || v.Reply != nil {
		return
	}
	call := v.ask.Call
	v.op = call.Op
	if p, err := call.Body.Payload(); err == nil {
		if embed, ok := p.(*llm.Embed); ok {
			v.inputs = len(embed.Inputs)
		}
	}
	t := &reply.Target
	v.record = &record{
		Stream: reply.Stream, most: v.rules.MaxAnswer,
		head: head{Streamed: call.Stream, Target: place{t.Provider, t.Model, t.Credential}, Dropped: reply.Dropped},
	}
	if trace.Fallback != "" {
		v.record.why = WhyFallback
	}
	reply.Stream = v.record
}

// Close ends the visit. What was recorded whole is kept, in the background.
func (v *Visit) Close(ctx context.Context) {
	if v == nil || !v.keeps {
		return
	}
	rec := v.record
	switch {
	case v.Reply != nil:
	case rec == nil, !rec.whole:
		end, why := failed, WhyFailed
		if ctx.Err() != nil {
			end = left
		}
		if rec != nil && rec.why != "" {
			end, why = failed, rec.why
		} else if rec != nil {
			why = WhyPartial
		}
		v.cache.stats.refused(why)
		v.land(end, nil)
	case rec.why != "":
		v.cache.stats.refused(rec.why)
		v.land(failed, nil)
	default:
		v.ask = nil // it holds the request's memory, which is another call's from now on
		v.cache.keep(context.WithoutCancel(ctx), v)
	}
}

// A record is a stream whose bytes are kept while they are read.
type record struct {
	llm.Stream
	head
	most  int
	body  []byte
	whole bool   // the answer ended as it should
	why   string // it is not kept
}

// Next implements llm.Stream.
func (r *record) Next() (*llm.Event, error) {
	ev, err := r.Stream.Next()
	if err != nil {
		r.whole = r.whole || err == io.EOF
		return ev, err
	}
	switch {
	case r.why != "":
	case ev.Raw == nil && (ev.Output || ev.Usage != nil || len(ev.Delta) > 0), ev.Element:
		r.drop(WhyForm)
	case len(r.body)+len(ev.Raw) > r.most:
		r.drop(WhyLarge)
	case ev.Raw != nil:
		r.Format = ev.Format
		r.body = append(r.body, ev.Raw...)
	}
	r.whole = r.whole || !r.Streamed // it is the answer
	return ev, nil
}

func (r *record) drop(why string) { r.why, r.body = why, nil }
