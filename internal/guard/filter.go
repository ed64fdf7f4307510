package guard

import (
	"slices"

	"sluice/internal/llm"
)

// Filter puts values back into an answer, or looks for more in it, as the guards say. An answer that need not be touched
// is given back as it is.
func (in *Inspection) Filter(s llm.Stream) llm.Stream {
	if in.Raw() {
		return s
	}
	in.answering = true
	return &filter{Stream: s, in: in, scan: newScan(in)}
}

// A filter is one answer on its way. Of each part it keeps back what is not decided: the beginning of what may be a
// placeholder, or the end of what may be a finding. However an answer is cut into pieces, the sum of what is given on is the same.
type filter struct {
	llm.Stream
	in   *Inspection
	scan *scan // nil: answers are not looked at
	open []*part
	out  llm.Event
	list []llm.Delta
	last llm.Format
	err  error // comes after what was kept back
}

// A part is one of an answer that is still being written.
type part struct {
	choice, index int
	kind          partKind
	escaped       bool     // it is JSON
	like          llm.Part // what its pieces are
	reads         *reading // looks at it; nil: nobody does
	scanned       []byte   // is looked at, and may be the beginning of a placeholder
	gone          bool
}

type partKind uint8

const (
	partText partKind = iota
	partCall
	partReasoning
	partRefusal
)

// Next implements llm.Stream.
func (f *filter) Next() (*llm.Event, error) {
	if f.err != nil {
		return nil, f.err
	}
	ev, err := f.Stream.Next()
	f.list = f.list[:0]
	if err != nil {
		f.err = err
		for _, p := range f.open {
			if e := f.finish(p); e != nil {
				f.err = e
				return nil, e
			}
		}
		if f.open = nil; len(f.list) == 0 {
			return nil, err
		}
		f.out = llm.Event{Format: f.last, Delta: f.list, Output: true}
		return &f.out, nil
	}
	f.last = ev.Format
	f.out = *ev
	f.out.Raw, f.out.Size = nil, 0
	f.out.More = false // the next event may be kept back, and this one must not wait for it
	for i := range ev.Delta {
		if err := f.delta(&ev.Delta[i]); err != nil {
			f.err = err
			return nil, err
		}
	}
	f.out.Delta = f.list
	if f.out.Extra, err = f.members(ev.Extra); err != nil {
		f.err = err
		return nil, err
	}
	return &f.out, nil
}

// delta gives on what one delta adds, as far as it is decided, and whatever ends before it.
func (f *filter) delta(d *llm.Delta) error {
	next := *d
	var err error
	if next.Extra, err = f.members(d.Extra); err != nil {
		return err
	}
	if f.scan != nil {
		next.Logprobs = nil // they spell out the text
	}
	kind, text := said(d.Part)
	if err := f.end(d, kind); err != nil {
		return err
	}
	if d.Part != nil {
		own := *d.Part
		if err := f.rest(&own); err != nil {
			return err
		}
		if text != nil {
			p := f.part(d, kind)
			ends := d.Stop != "" || own.Signature != nil || len(own.Citations) > 0
			out, err := f.feed(p, text, ends)
			if err != nil {
				return err
			}
			say(&own, kind, out)
		}
		next.Part = &own
	}
	if next.Part != nil && next.Stop == "" && next.Logprobs == nil && next.Extra == nil && silent(next.Part) {
		return nil
	}
	f.list = append(f.list, next)
	return nil
}

// end finishes the parts that cannot go on beside a delta: all of its answer that has stopped, and those before another part.
// Calls of tools may be written side by side.
func (f *filter) end(d *llm.Delta, kind partKind) error {
	for _, p := range f.open {
		same := d.Part != nil && p.index == d.Index
		beside := d.Part == nil && d.Stop == "" || p.kind == partCall && kind == partCall && d.Part != nil && d.Stop == ""
		if p.choice != d.Choice || same || beside {
			continue
		}
		if err := f.finish(p); err != nil {
			return err
		}
	}
	f.open = slices.DeleteFunc(f.open, func(p *part) bool { return p.gone })
	return nil
}

// finish gives on all that was kept back of a part.
func (f *filter) finish(p *part) error {
	out, err := f.feed(p, nil, true)
	p.gone = true
	if err != nil || len(out) == 0 {
		return err
	}
	like := p.like
	say(&like, p.kind, out)
	f.list = append(f.list, llm.Delta{Choice: p.choice, Index: p.index, Part: &like})
	return nil
}

// part finds the part that a delta adds to.
func (f *filter) part(d *llm.Delta, kind partKind) *part {
	for _, p := range f.open {
		if p.choice == d.Choice && p.index == d.Index && p.kind == kind {
			return p
		}
	}
	p := &part{choice: d.Choice, index: d.Index, kind: kind}
	switch kind {
	case partCall:
		p.escaped = !d.Part.Call.Custom
		p.like.Call = &llm.ToolCall{Custom: d.Part.Call.Custom}
	case partReasoning:
		r := d.Part.Reasoning
		p.like.Reasoning = &llm.Reasoning{Summary: r.Summary, ID: r.ID, Block: r.Block}
	}
	f.open = append(f.open, p)
	return p
}

// feed takes a piece of a part and gives what of it is decided.
func (f *filter) feed(p *part, piece []byte, ends bool) ([]byte, error) {
	if f.scan != nil {
		done, err := f.scan.decided(p, piece, ends)
		if err != nil {
			return nil, err
		}
		piece = done
	}
	p.scanned = append(p.scanned, piece...)
	out, rest := f.in.held.restore(nil, p.scanned, p.escaped || f.in.json, ends)
	p.scanned = append(p.scanned[:0], rest...)
	return out, nil
}

// said is what a piece of a part says, nil where it says nothing that can be cut. Media and blocks that only their own format
// knows come whole.
func said(p *llm.Part) (partKind, []byte) {
	switch {
	case p == nil:
		return partText, nil
	case p.Call != nil:
		return partCall, orEmpty(p.Call.Args)
	case p.Reasoning != nil:
		return partReasoning, []byte(p.Reasoning.Text)
	case p.Refusal != nil:
		return partRefusal, []byte(*p.Refusal)
	case p.Media != nil, p.Result != nil, p.Foreign != nil:
		return partText, nil
	}
	return partText, []byte(p.Text)
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// say makes a part of a kind say something else. What it points to is copied, not changed.
func say(p *llm.Part, kind partKind, text []byte) {
	switch kind {
	case partCall:
		c := *p.Call
		c.Args = text
		p.Call = &c
	case partReasoning:
		r := *p.Reasoning
		r.Text = string(text)
		p.Reasoning = &r
	case partRefusal:
		s := string(text)
		p.Refusal = &s
	default:
		p.Text = string(text)
	}
}

// silent tells whether a piece says nothing any more, so that it need not be sent.
func silent(p *llm.Part) bool {
	switch {
	case p.Media != nil, p.Result != nil, p.Foreign != nil, p.Cache != nil, p.Signature != nil, len(p.Citations) > 0, len(p.Extra) > 0, len(p.Hints) > 0:
		return false
	case p.Call != nil:
		c := p.Call
		return len(c.Args) == 0 && c.ID == "" && c.Name == "" && c.ItemID == ""
	case p.Reasoning != nil:
		r := p.Reasoning
		return r.Text == "" && r.Redacted == nil
	case p.Refusal != nil:
		return *p.Refusal == ""
	}
	return p.Text == ""
}
