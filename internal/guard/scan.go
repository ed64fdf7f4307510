package guard

import (
	"context"
	"slices"

	"sluice/internal/llm"
)

// A scan looks at an answer. A part is given on as far as every detector is done with it: whatever may still become a finding
// is kept back.
type scan struct{ in *Inspection }

func newScan(in *Inspection) *scan {
	if !in.answers() {
		return nil
	}
	return &scan{in}
}

func answerMode(g *Guard) Mode { return g.o.Answers }

// A reading is one part of an answer, as far as it is not given on.
type reading struct {
	text   []byte // kept back
	follow []*following
	hits   []hit // in text, or behind it
}

// A following is one detector's reading of a part.
type following struct {
	Follow
	guard *Guard
	name  string
	done  int // bytes of text that it is done with
}

// mostHeld is how much of a part may be kept back. A word without an end that is longer is looked at in pieces.
const mostHeld = 256 << 10

// decided takes a piece of a part and gives what may go on, with placeholders in the place of what was found.
func (s *scan) decided(p *part, piece []byte, ends bool) ([]byte, error) {
	if p.reads == nil {
		p.reads = &reading{}
	}
	r := p.reads
	if p.escaped { // the arguments of a tool are JSON, of which a piece cannot be read
		r.text = append(r.text, piece...)
		if !ends {
			return nil, nil
		}
		p.reads = nil
		return s.all(r.text, true)
	}
	var out []byte
	for len(piece) > 0 || ends {
		const step = 4 << 10
		n := min(len(piece), step)
		part, last := piece[:n], ends && n == len(piece)
		if err := s.read(r, part, last || len(r.text)+n > mostHeld); err != nil {
			return nil, err
		}
		done, err := s.give(r)
		if err != nil {
			return nil, err
		}
		out = append(out, done...)
		if piece = piece[n:]; last {
			p.reads = nil
			break
		}
	}
	return out, nil
}

// read has every detector take a piece.
func (s *scan) read(r *reading, piece []byte, last bool) error {
	if r.follow == nil {
		s.open(r)
	}
	r.text = append(r.text, piece...)
	text := string(piece)
	for _, f := range r.follow {
		if err := s.next(r, f, text, false); err != nil {
			return err
		}
		if !last {
			continue
		}
		if err := s.next(r, f, "", true); err != nil {
			return err
		}
		f.done = len(r.text)
	}
	if last {
		r.follow = nil
	}
	return nil
}

func (s *scan) open(r *reading) {
	for _, g := range s.in.guards {
		if g.o.Answers == Off {
			continue
		}
		for _, d := range g.o.Detectors {
			s.in.looks(d.Name())
			f := &following{guard: g, name: d.Name()}
			if follower, ok := d.(Follower); ok {
				f.Follow = follower.Follow()
			} else {
				f.Follow = &later{ctx: s.in.ctx, d: d}
			}
			r.follow = append(r.follow, f)
		}
	}
}

// next has one detector take a piece, or end.
func (s *scan) next(r *reading, f *following, piece string, last bool) error {
	take := func() (int, []Finding, error) { return f.Next(piece) }
	if last {
		take = f.Close
	}
	n, found, err := take()
	if err != nil {
		if err := s.in.failed(f.guard, f.name, err); err != nil {
			return err
		}
		f.Follow, f.done = blind{}, len(r.text)
		return nil
	}
	for _, v := range found {
		v.Start, v.End = v.Start+f.done, v.End+f.done
		if v.Start >= 0 && v.Start < v.End && v.End <= len(r.text) {
			r.hits = append(r.hits, hit{v, f.guard.mode(f.guard.o.Answers, v.Type)})
		}
	}
	f.done = min(f.done+n, len(r.text))
	return nil
}

// give takes what is settled off the beginning of a reading.
func (s *scan) give(r *reading) ([]byte, error) {
	n := len(r.text)
	for _, f := range r.follow {
		n = min(n, f.done)
	}
	for _, h := range slices.Backward(settle(slices.Clone(r.hits))) {
		if h.Start < n && h.End > n {
			n = h.Start // what overlaps is settled together
		}
	}
	var now, then []hit
	for _, h := range r.hits {
		if h.Start < n {
			now = append(now, h)
			continue
		}
		h.Start, h.End = h.Start-n, h.End-n
		then = append(then, h)
	}
	r.hits = then
	out, err := s.change(string(r.text[:n]), settle(now))
	for _, f := range r.follow {
		f.done -= n
	}
	r.text = slices.Delete(r.text, 0, n)
	return out, err
}

// change is a text with placeholders in the place of what was found.
func (s *scan) change(text string, hits []hit) ([]byte, error) {
	if s.in.count([]leaf{{}}, [][]hit{hits}, true) == Block {
		return nil, s.in.blocked("the answer")
	}
	if out, changed := s.in.masked(text, 0, hits); changed {
		s.in.outcome(llm.GuardMasked)
		return out, nil
	}
	return []byte(text), nil
}

// all is a whole text; of JSON, each of its strings is one.
func (s *scan) all(text []byte, escaped bool) ([]byte, error) {
	in, doc := s.in, string(text)
	w := walk{texts: []string{doc}}
	leaves := []leaf{{}}
	if escaped {
		var inner walk
		if found, err := inner.document(doc, true, 0); err == nil {
			w, leaves = inner, found
		} else {
			escaped = false
		}
	}
	hits, err := in.detect(in.ctx, w.texts, answerMode)
	switch {
	case err != nil || hits == nil:
		return text, err
	case !escaped:
		return s.change(doc, hits[0])
	case in.count(leaves, hits, true) == Block:
		return nil, in.blocked("the answer")
	}
	var out []byte
	from := 0
	for i := range leaves {
		if v := in.rendered(&leaves[i], w.texts, hits); v != nil {
			at := leaves[i].at
			out, from = append(append(out, doc[from:at.Start]...), v...), at.End
		}
	}
	if from > 0 {
		in.outcome(llm.GuardMasked)
	}
	return append(out, doc[from:]...), nil
}

// later is a detector that must see a text whole.
type later struct {
	ctx  context.Context //nolint:containedctx // the call's, for as long as its answer
	d    Detector
	text []byte
}

func (l *later) Next(piece string) (int, []Finding, error) {
	l.text = append(l.text, piece...)
	return 0, nil, nil
}

func (l *later) Close() (settled int, found []Finding, err error) {
	err = l.d.Detect(l.ctx, []string{string(l.text)}, func(_ int, f Finding) { found = append(found, f) })
	return len(l.text), found, err
}

// blind is a detector that has failed where nobody insists on it.
type blind struct{}

func (blind) Next(piece string) (int, []Finding, error) { return len(piece), nil, nil }
func (blind) Close() (int, []Finding, error)            { return 0, nil, nil }
