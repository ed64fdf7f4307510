package llm

import (
	"bytes"
	"slices"
)

// An Answer is a whole answer: the sum of the events of a stream. Streamed or not, the same answer sums to
// the same value.
type Answer struct {
	Format  Format // what it was read in: all Extra, Native and Foreign belong to it and to no other
	Head    Head
	Choices []Choice
	Usage   *Usage // nil: the upstream said nothing
	Vectors []Vector
	Extra   Members
}

// A Choice is one of the answers to a call.
type Choice struct {
	Index    int
	Parts    []Part
	Stop     Stop
	Native   string
	StopText string
	Logprobs Raw
	Extra    Members

	at map[int]int // Delta.Index -> place in Parts
}

// Add adds an event. It copies what it keeps.
func (a *Answer) Add(ev *Event) {
	a.Format = Format(or(string(ev.Format), string(a.Format)))
	if ev.Head != nil {
		a.Head = *ev.Head
	}
	for i := range ev.Delta {
		a.choice(ev.Delta[i].Choice).add(&ev.Delta[i])
	}
	if ev.Usage != nil {
		if a.Usage == nil {
			a.Usage = new(Usage)
		}
		a.Usage.Merge(ev.Usage)
	}
	a.Vectors = append(a.Vectors, ev.Vectors...)
	a.Extra = a.Extra.with(ev.Extra)
}

func (a *Answer) choice(index int) *Choice {
	for i := range a.Choices {
		if a.Choices[i].Index == index {
			return &a.Choices[i]
		}
	}
	a.Choices = append(a.Choices, Choice{Index: index, at: make(map[int]int)})
	return &a.Choices[len(a.Choices)-1]
}

func (c *Choice) add(d *Delta) {
	if d.Part != nil {
		if i, ok := c.at[d.Index]; ok {
			c.Parts[i].Append(d.Part)
		} else {
			c.at[d.Index] = len(c.Parts)
			var p Part
			p.Append(d.Part)
			c.Parts = append(c.Parts, p)
		}
	}
	if d.Stop != "" {
		c.Stop, c.Native, c.StopText = d.Stop, d.Native, d.StopText
	}
	if d.Logprobs != nil {
		c.Logprobs = joinLogprobs(c.Logprobs, d.Logprobs)
	}
	c.Extra = c.Extra.with(d.Extra)
}

// Append adds a piece of the same part: text, arguments and reasoning grow, the rest is taken over.
func (p *Part) Append(q *Part) {
	p.Text += q.Text
	switch {
	case q.Call != nil:
		if p.Call == nil {
			p.Call = new(ToolCall)
		}
		c := p.Call
		c.ID, c.Name, c.ItemID = or(q.Call.ID, c.ID), or(q.Call.Name, c.Name), or(q.Call.ItemID, c.ItemID)
		c.Args = append(c.Args, q.Call.Args...)
		c.Custom = c.Custom || q.Call.Custom
	case q.Reasoning != nil:
		if p.Reasoning == nil {
			p.Reasoning = new(Reasoning)
		}
		r := p.Reasoning
		r.Text += q.Reasoning.Text
		r.Redacted = append(r.Redacted, q.Reasoning.Redacted...)
		r.ID, r.Summary = or(q.Reasoning.ID, r.ID), r.Summary || q.Reasoning.Summary
		r.Block = max(r.Block, q.Reasoning.Block)
	case q.Refusal != nil:
		s := *q.Refusal
		if p.Refusal != nil {
			s = *p.Refusal + s
		}
		p.Refusal = &s
	case q.Media != nil:
		p.Media = q.Media
	case q.Result != nil:
		p.Result = q.Result
	case q.Foreign != nil:
		p.Foreign = append(Raw(nil), q.Foreign...)
	}
	p.Citations = append(p.Citations, q.Citations...)
	if q.Signature != nil {
		s := *q.Signature
		if p.Signature != nil && p.Signature.By == s.By {
			s.Value = p.Signature.Value + s.Value
		}
		p.Signature = &s
	}
	if q.Cache != nil {
		p.Cache = q.Cache
	}
	p.Extra, p.Hints = p.Extra.with(q.Extra), p.Hints.with(q.Hints)
	p.At = or(p.At, q.At)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// with adds more to m and returns it; m may be nil.
func (m Members) with(more Members) Members {
	if len(more) == 0 {
		return m
	}
	if m == nil {
		m = make(Members, len(more))
	}
	for k, v := range more {
		m[k] = append(Raw(nil), v...)
	}
	return m
}

// Join is a copy of m with more added; nil when both are empty.
func (m Members) Join(more Members) Members { return Members(nil).with(m).with(more) }

// Clone copies an event so that it outlives the next Next.
func (ev *Event) Clone() *Event {
	c := *ev
	c.Raw = bytes.Clone(ev.Raw)
	c.Delta = slices.Clone(ev.Delta)
	for i := range c.Delta {
		d := &c.Delta[i]
		d.Logprobs = bytes.Clone(d.Logprobs)
		d.Extra = Members(nil).with(d.Extra)
		if d.Part != nil {
			p := new(Part)
			p.Append(d.Part)
			d.Part = p
		}
	}
	if ev.Usage != nil {
		u := *ev.Usage
		c.Usage = &u
	}
	if ev.Head != nil {
		h := *ev.Head
		c.Head = &h
	}
	c.Vectors = slices.Clone(ev.Vectors)
	c.Extra = Members(nil).with(ev.Extra)
	return &c
}
