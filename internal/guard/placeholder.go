package guard

import (
	"bytes"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// placeholders are what stands upstream for the values of one call: <EMAIL_1> for the first address, and wherever it stands
// again. They are the call's own and die with it.
type placeholders struct {
	seed  maphash.Seed
	known map[uint64]int // place in list, by a hash of type and value
	last  map[string]int // number given last, by label
	taken map[string]bool
	list  []placeholder
}

type placeholder struct {
	text    string
	kind    string
	value   []byte
	restore bool // the answer has the value again
}

// labels are the names in placeholders of the types whose own say less briefly what they are.
var labels = map[string]string{"EMAIL_ADDRESS": "EMAIL", "PHONE_NUMBER": "PHONE", "IBAN_CODE": "IBAN", "URL_CREDENTIALS": "URL"}

// of is the placeholder of a value. What was found in a request under a stricter guard does not come back, whatever another
// says; what is found in an answer changes nothing about that: a client may see its own.
func (p *placeholders) of(kind, value string, restore, answer bool) string {
	if p.known == nil {
		p.seed, p.known, p.last = maphash.MakeSeed(), make(map[uint64]int), make(map[string]int)
	}
	var h maphash.Hash
	h.SetSeed(p.seed)
	_, _ = h.WriteString(kind)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(value)
	sum := h.Sum64()
	if i, ok := p.known[sum]; ok && p.list[i].kind == kind && string(p.list[i].value) == value {
		p.list[i].restore = p.list[i].restore && (restore || answer)
		return p.list[i].text
	}
	label := labels[kind]
	if label == "" {
		label = kind
	}
	text := ""
	for text == "" || p.taken[text] {
		p.last[label]++
		text = "<" + label + "_" + strconv.Itoa(p.last[label]) + ">"
	}
	p.known[sum] = len(p.list)
	p.list = append(p.list, placeholder{text: text, kind: kind, value: []byte(value), restore: restore})
	return text
}

// avoid keeps what looks like a placeholder in the client's own text from becoming one: it would be taken for a value that it
// never stood for.
func (p *placeholders) avoid(text string) {
	for {
		i := strings.IndexByte(text, '<')
		if i < 0 {
			return
		}
		text = text[i:]
		n := likeness(text)
		if n == 0 {
			text = text[1:]
			continue
		}
		if p.taken == nil {
			p.taken = make(map[string]bool)
		}
		p.taken[strings.Clone(text[:n])] = true
		text = text[n:]
	}
}

// likeness is the length of what looks like a placeholder at the beginning of a text; 0: nothing does.
func likeness(s string) int {
	const most = 96
	digits := 0
	for i := 1; i < min(len(s), most); i++ {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z', c == '_', 'a' <= c && c <= 'z', c == '-':
			digits = 0
		case '0' <= c && c <= '9':
			digits++
		case c == '>' && digits > 0:
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

// restorable tells whether any value comes back.
func (p *placeholders) restorable() bool {
	for i := range p.list {
		if p.list[i].restore {
			return true
		}
	}
	return false
}

// escapes tells whether a value that comes back looks different within JSON.
func (p *placeholders) escapes() bool {
	for i := range p.list {
		if p.list[i].restore && bytes.ContainsFunc(p.list[i].value, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) {
			return true
		}
	}
	return false
}

// wipe overwrites the values. Strings that were cut from the request are not ours to overwrite.
func (p *placeholders) wipe() {
	for i := range p.list {
		clear(p.list[i].value)
	}
	*p = placeholders{}
}

// escapedMark is how some servers write the < of a placeholder within JSON, and the > likewise.
var (
	marks   = [...]string{"<", `\u003c`, `\u003C`}
	closing = [...]string{">", `\u003e`, `\u003E`}
)

// restore puts values back for whole placeholders and keeps back what may be the beginning of one, unless the text ends here.
// escaped: the text is within JSON, so that values must be, too, and marks may be escaped.
func (p *placeholders) restore(dst, text []byte, escaped, ends bool) (out, rest []byte) {
	for len(text) > 0 {
		i := bytes.IndexByte(text, '<')
		if escaped {
			i = bytes.IndexAny(text, `<\`)
		}
		if i < 0 {
			return append(dst, text...), nil
		}
		dst, text = append(dst, text[:i]...), text[i:]
		at, n, more := p.match(text, escaped)
		switch {
		case at >= 0 && escaped:
			quoted, err := jsontext.AppendQuote(nil, p.list[at].value)
			if err == nil && len(quoted) >= 2 {
				dst = append(dst, quoted[1:len(quoted)-1]...)
			}
			text = text[n:]
		case at >= 0:
			dst, text = append(dst, p.list[at].value...), text[n:]
		case more && !ends:
			return dst, text
		default:
			n := 1
			if text[0] == '\\' && len(text) > 1 {
				n = 2 // an escaped backslash begins nothing
			}
			dst, text = append(dst, text[:n]...), text[n:]
		}
	}
	return dst, nil
}

// match finds the placeholder at the beginning of a text: its place and its length there. more: it may become one when more
// comes.
func (p *placeholders) match(text []byte, escaped bool) (at, n int, more bool) {
	forms := 1
	if escaped {
		forms = len(marks)
	}
	for i := range p.list {
		h := &p.list[i]
		if !h.restore {
			continue
		}
		for _, open := range marks[:forms] {
			for _, end := range closing[:forms] {
				left := match3(text, open, h.text[1:len(h.text)-1], end)
				if left == 0 {
					return i, len(open) + len(h.text) - 2 + len(end), false
				}
				more = more || left > 0
			}
		}
	}
	return -1, 0, more
}

// match3 holds a text against three pieces in a row: 0 where it begins with them, 1 where it ends before they do, else -1.
func match3(text []byte, pieces ...string) int {
	for _, s := range pieces {
		n := min(len(s), len(text))
		if string(text[:n]) != s[:n] {
			return -1
		}
		if text = text[n:]; n < len(s) {
			return 1
		}
	}
	return 0
}
