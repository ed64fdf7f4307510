package gemini

import (
	"bytes"
	"strconv"
)

// A peeker walks JSON without decoding it and without allocating, for the frames that pass through. It
// takes what is nearly JSON, too (it does not look at scalars nor for commas); what it must not do is run
// past the end or stand still. bad is set when the text ends early or has brackets where none may be.
type peeker struct {
	b   []byte
	i   int
	bad bool
}

func (p *peeker) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\r', '\n':
			p.i++
		default:
			return
		}
	}
}

// next gives the first byte of what follows, 0 at the end.
func (p *peeker) next() byte {
	p.space()
	if p.bad || p.i >= len(p.b) {
		return 0
	}
	return p.b[p.i]
}

// object steps to the next member of an object and says whether there is one; the first call enters it.
// Between two calls a key and a value must be read.
func (p *peeker) object() bool { return p.step('{', '}') }

// array steps to the next item of an array.
func (p *peeker) array() bool { return p.step('[', ']') }

// step tells entering from going on by what stands before it. A value of another type is stepped over as if
// it were empty.
func (p *peeker) step(open, end byte) bool {
	c := p.next()
	switch {
	case !p.after() && c != open:
		p.skip()
		return false
	case c == end:
		p.i++
		return false
	case c == open, c == ',':
		p.i++
	default:
		p.bad = true
		return false
	}
	if c == open && p.next() == end {
		p.i++
		return false
	}
	if c := p.next(); c == 0 || c == '}' || c == ']' || c == ',' {
		p.bad = true
	}
	return !p.bad
}

// after says that the last thing before here was a value: what follows goes on and enters nothing.
func (p *peeker) after() bool {
	for i := p.i - 1; i >= 0; i-- {
		switch p.b[i] {
		case ' ', '\t', '\r', '\n':
		case ',', ':', '{', '[':
			return false
		default:
			return true
		}
	}
	return false
}

// key reads a member's name, without quotes and with its escapes undone by nobody, and the colon.
func (p *peeker) key() []byte {
	if p.next() != '"' {
		p.bad = true
		return nil
	}
	start := p.i + 1
	p.str()
	end := p.i - 1
	if p.next() != ':' {
		p.bad = true
		return nil
	}
	p.i++
	return p.b[start:end]
}

// str steps over a string.
func (p *peeker) str() {
	p.i++
	for {
		j := bytes.IndexByte(p.b[p.i:], '"')
		if j < 0 {
			p.i, p.bad = len(p.b), true
			return
		}
		end := p.i + j
		slashes := 0
		for end-1-slashes >= p.i && p.b[end-1-slashes] == '\\' {
			slashes++
		}
		p.i = end + 1
		if slashes%2 == 0 {
			return
		}
	}
}

// skip steps over a value.
func (p *peeker) skip() {
	switch p.next() {
	case '"':
		p.str()
	case '{', '[':
		p.brackets()
	case 0, '}', ']', ',', ':':
		p.bad = true
	default:
		p.scalar()
	}
}

func (p *peeker) brackets() {
	depth := 0
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case '"':
			p.str()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				p.i++
				return
			}
		}
		p.i++
	}
	p.bad = true
}

func (p *peeker) scalar() []byte {
	start := p.i
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return p.b[start:p.i]
		}
		p.i++
	}
	return p.b[start:]
}

// value steps over a value and gives its text.
func (p *peeker) value() []byte {
	p.space()
	start := p.i
	p.skip()
	if p.bad {
		return nil
	}
	return p.b[start:p.i]
}

// int reads a whole number, quoted or not (protobuf JSON quotes those of 64 bits).
func (p *peeker) int() (n int64, ok bool) {
	v := bytes.Trim(p.value(), `"`)
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			f, err := strconv.ParseFloat(string(v), 64) // 12.0; nobody sends it
			return int64(f), err == nil && f >= 0 && f < 1<<53
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// done says that nothing but space follows and that all was well.
func (p *peeker) done() bool {
	p.space()
	return !p.bad && p.i == len(p.b)
}
