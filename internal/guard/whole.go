package guard

import (
	"bytes"

	"sluice/internal/llm"
)

// What comes whole within an answer: blocks and members that only their own format knows, citations, results.

// rest changes what a part has beside its text.
func (f *filter) rest(p *llm.Part) (err error) {
	if p.Foreign, err = f.value(p.Foreign); err != nil {
		return err
	}
	if p.Extra, err = f.members(p.Extra); err != nil {
		return err
	}
	if p.Hints, err = f.members(p.Hints); err != nil {
		return err
	}
	if r := p.Result; r != nil {
		own := *r
		own.Parts = append([]llm.Part(nil), r.Parts...)
		for i := range own.Parts {
			q := &own.Parts[i]
			if kind, text := said(q); text != nil {
				out, err := f.whole(text, kind == partCall)
				if err != nil {
					return err
				}
				say(q, kind, out)
			}
			if err := f.rest(q); err != nil {
				return err
			}
		}
		p.Result = &own
	}
	return f.citations(p)
}

func (f *filter) citations(p *llm.Part) error {
	if len(p.Citations) == 0 {
		return nil
	}
	p.Citations = append([]llm.Citation(nil), p.Citations...)
	for i := range p.Citations {
		c := &p.Citations[i]
		for _, s := range []*string{&c.URL, &c.Title, &c.Quote} {
			out, err := f.whole([]byte(*s), false)
			if err != nil {
				return err
			}
			*s = string(out)
		}
		var err error
		if c.Native, err = f.value(c.Native); err != nil {
			return err
		}
	}
	return nil
}

// members changes the values of members.
func (f *filter) members(m llm.Members) (llm.Members, error) {
	if len(m) == 0 {
		return m, nil
	}
	out := make(llm.Members, len(m))
	for name, v := range m {
		var err error
		if out[name], err = f.value(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// value changes a JSON value.
func (f *filter) value(v llm.Raw) (llm.Raw, error) {
	if len(v) == 0 {
		return v, nil
	}
	out, err := f.whole(v, true)
	if err != nil || bytes.Equal(out, v) {
		return v, err
	}
	return out, nil
}

// whole changes a text that has come to its end; in JSON where it is escaped.
func (f *filter) whole(text []byte, escaped bool) ([]byte, error) {
	if f.scan != nil {
		done, err := f.scan.all(text, escaped)
		if err != nil {
			return nil, err
		}
		text = done
	}
	out, _ := f.in.held.restore(nil, text, escaped, true)
	return out, nil
}
