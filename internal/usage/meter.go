package usage

import (
	"bytes"
	"context"
	"io"
	"time"

	"sluice/internal/llm"
)

// Hooks are told how an answer goes, on the goroutine that reads it. Each may be nil.
type Hooks struct {
	// Output is told how many output tokens a streamed answer has so far, by our own reckoning where the
	// upstream has not told, each time before more of them is given on. An error ends the answer: the upstream is
	// stopped, and the error comes instead of the event at hand, which counts for nothing.
	Output func(tokens int64) error
	// Mark is told what the log knows of the call from now on, should this process die. It must not keep m.
	Mark func(m *Mark)
	// End is told, once, what the call counts against limits of tokens, before the client can know that the
	// answer has ended.
	End func(tokens int64)
}

// Meter counts what passes through a stream and notes it in the log: before output is given on, the log has a
// mark that is no less.
func (e *Entry) Meter(s llm.Stream, h Hooks) llm.Stream {
	m := &e.meter
	*m = meter{Stream: s, Hooks: h, entry: e, most: e.most, sample: m.sample[:0]}
	if j := e.ledger.o.Journal; j != nil {
		m.known = j.ratios.get(e.Target.Provider, e.Target.Model)
	}
	return m
}

// A meter is the state of one answer's count. The upstream's own count is a running total, so the last word
// on each kind of token holds. What comes after its last word on output, and all when it has said nothing,
// is reckoned from the frames.
type meter struct {
	llm.Stream
	Hooks
	entry *Entry
	known ratio // of this provider and model
	most  int64 // output tokens that the call allows; 0: not known

	tally
	whole bool // the upstream's answer has ended as it should
	ended bool // End was told
	cut   error
	cuts  bool // what was used is told, and cut comes next

	reach  int64     // output tokens that the last mark covers
	marked time.Time // when the last exact one was made

	format  llm.Format // of sample
	sample  []byte     // the frames, as long as they may have to be counted
	request []byte     // a copy, once it is known that they must
	lost    bool       // the sample is not all
}

// A tally is what was counted of frames.
type tally struct {
	frames int64 // with output, since the upstream last told
	bytes  int64 // of those
	text   int64 // bytes of what they say, as far as that is known
	dark   int64 // those that passed undecoded
	hidden int64 // bytes of those
	least  int64 // of the smallest of those
	around int64 // bytes that are not what a frame says, at least
	decode bool  // around is known
	total  int64 // bytes of all frames with output
	seen   int64 // frames with output
}

// add counts a frame with output.
func (c *tally) add(ev *llm.Event) {
	n, text := int64(len(ev.Raw)), said(ev)
	c.frames++
	c.seen++
	switch {
	case ev.Raw == nil: // edited: only what it says counts
		n = text
		c.text += text
	case len(ev.Delta) > 0 || ev.Size > 0:
		c.text += text
		if around := n - text; text > 0 && (!c.decode || around < c.around) {
			c.around, c.decode = around, true
		}
	default:
		c.dark++
		c.hidden += n
		if c.least == 0 || n < c.least {
			c.least = n
		}
	}
	c.bytes += n
	c.total += n
}

// told forgets what the upstream itself has told.
func (c *tally) told() {
	c.frames, c.bytes, c.text, c.dark, c.hidden, c.least = 0, 0, 0, 0, 0, 0
}

// size is how many bytes the frames say: of those that passed undecoded, all that is more than surrounds what others say.
// Where no other is known, the smallest is taken to be that.
func (c *tally) size() int64 {
	around := c.least
	if c.decode {
		around = min(around, c.around)
	}
	return c.text + c.hidden - c.dark*around
}

// said is how long what an event says is, in bytes. Media and what only its own format knows (what a tool at the provider has
// found, most of all) have none.
func said(ev *llm.Event) int64 {
	n := ev.Size
	for i := range ev.Delta {
		p := ev.Delta[i].Part
		if p == nil {
			continue
		}
		n += len(p.Text)
		switch {
		case p.Call != nil:
			n += len(p.Call.ID) + len(p.Call.Name) + len(p.Call.Args)
		case p.Reasoning != nil:
			n += len(p.Reasoning.Text)
		case p.Refusal != nil:
			n += len(*p.Refusal)
		}
	}
	return int64(n)
}

// Next implements llm.Stream.
func (m *meter) Next() (*llm.Event, error) {
	if m.cut != nil {
		return m.over()
	}
	ev, err := m.Stream.Next()
	if err != nil {
		m.whole = m.whole || err == io.EOF
		m.end()
		return ev, err
	}
	e := m.entry
	if !m.take(ev) {
		return m.over()
	}
	if !e.Stream { // it is the answer
		m.whole = true
		m.end()
		return ev, nil
	}
	m.note(ev)
	return ev, nil
}

// take counts an event, unless it is one too many.
func (m *meter) take(ev *llm.Event) bool {
	e := m.entry
	if !e.Stream || !ev.Output || m.Output == nil {
		m.count(ev)
		return true
	}
	before, told := m.tally, e.Usage
	m.count(ev)
	if m.cut = m.Output(m.output()); m.cut != nil {
		m.tally, e.Usage, m.format = before, told, ev.Format
	}
	return m.cut == nil
}

// over ends an answer before the upstream has: what was used so far, as it will be charged, and then the error. The
// upstream must not go on while the client reads that.
func (m *meter) over() (*llm.Event, error) {
	if m.cuts {
		return nil, m.cut
	}
	m.cuts = true
	_ = m.Close()
	m.end()
	ev := &llm.Event{Format: m.format, Usage: new(llm.Usage)}
	if m.entry.fill(ev.Usage, m.output()) {
		ev.Usage.Total = llm.Count{}
	}
	return ev, nil
}

// count adds an event.
func (m *meter) count(ev *llm.Event) {
	e := m.entry
	if e.draft != nil {
		e.draft.priced = false
	}
	if ev.Output {
		m.add(ev)
	}
	if ev.Usage != nil {
		e.Usage.Merge(ev.Usage)
		if ev.Usage.Output.Known {
			m.tally.told()
		}
	}
	m.keep(ev)
}

// output is the number of output tokens so far, never less than what was given on, and no more than the client allows
// the model unless that has told more.
func (m *meter) output() int64 {
	var more int64
	switch {
	case m.frames == 0:
	case !m.entry.Stream:
		more = ceil(m.bytes, 4)
	default:
		more = m.known.guess(&m.tally)
	}
	told := m.told()
	if m.most > 0 {
		more = min(more, max(m.most-told, 0))
	}
	return told + more
}

// told is how many output tokens the upstream has told.
func (m *meter) told() int64 {
	if m.entry == nil {
		return 0
	}
	return m.entry.Usage.Output.N
}

// exact tells whether the upstream itself has told all the output so far.
func (m *meter) exact() bool { return m.entry != nil && m.entry.Usage.Output.Known && m.frames == 0 }

// A mark reaches beyond what it was made at: as much again as has come, but no less and no more than these. So
// short answers need one or two, and long ones about one each second.
const (
	leastReach = 16
	mostReach  = 128
)

// exactEvery is how often the marks of an upstream that tells its count with every piece of output are made.
const exactEvery = 20 * time.Millisecond

// note makes a mark when one is due.
func (m *meter) note(ev *llm.Event) {
	if !m.entry.logged() {
		return
	}
	n := m.output()
	told := ev.Usage != nil && m.exact() && (!ev.Output || time.Since(m.marked) >= exactEvery)
	switch {
	case told:
		m.reach, m.marked = n, time.Now()
	case n > m.reach:
		m.reach = n + min(max(n, leastReach), mostReach)
	default:
		return
	}
	m.mark()
}

// mark writes down how far the answer has come.
func (m *meter) mark() {
	e := m.entry
	if !e.logged() {
		return
	}
	d := e.draft
	d.state(e, m.reach, true)
	d.priced = m.whole
	e.ledger.o.Journal.progress(d)
	if m.Mark != nil {
		m.Mark(&d.final.row.Mark)
	}
}

// end notes the end of the upstream's answer, before it is given on.
func (m *meter) end() {
	if m.ended {
		return
	}
	m.ended = true
	if m.whole {
		m.reach = m.output()
		m.mark()
		if b := m.entry.body; b != nil && len(m.sample) > 0 && !m.lost && b.Len() <= requestSize {
			m.request = bytes.Clone(b.Raw())
		}
	}
	if m.End != nil {
		m.End(m.entry.Tokens())
	}
}

// Tokens is what the call counts against limits of tokens, as far as it is known: exact once a whole answer
// with usage was read, reckoned otherwise. What a cache gives counts nothing.
func (e *Entry) Tokens() int64 {
	m := &e.meter
	if m.Stream == nil || e.Cache != "" {
		return 0
	}
	var u llm.Usage
	e.fill(&u, m.output())
	return u.Input.N + u.Output.N
}

// keep keeps an event for the tokenizer, if the upstream may not tell what it counted.
func (m *meter) keep(ev *llm.Event) {
	j := m.entry.ledger.o.Journal
	if j == nil || j.o.Count == nil || m.known.tells && m.entry.Stream || m.entry.Usage.Output.Known || m.entry.Op != llm.OpChat {
		m.sample = m.sample[:0]
		return
	}
	if m.lost = m.lost || ev.Raw == nil || len(m.sample)+len(ev.Raw) > sampleSize; !m.lost {
		m.format = ev.Format
		m.sample = append(m.sample, ev.Raw...)
	}
}

// Drain reads an answer to its end, for as long as ctx lets it: the client has left, and the upstream's own
// count is worth more than an estimate. It closes the stream.
func Drain(ctx context.Context, s llm.Stream) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	defer s.Close()
	for {
		if _, err := s.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
