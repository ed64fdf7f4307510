package guard

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// A leaf is a value of a document that may be text to a model: a string, the name of a member where names are data, or
// a long number there.
type leaf struct {
	at    llm.Span // in its document, quotes included
	text  int      // its place in walk.texts; -1: it is a document itself
	skip  int      // bytes of that text that only say what the value is called
	inner []leaf   // of a string that holds a JSON document
	doc   string   // that document
}

// A walk goes over all strings of a JSON document that has passed the strict scan. It knows what is not text (words of the
// protocol, ids, proofs, media) and takes everything else for text, so that no field of any format can be forgotten.
type walk struct {
	texts  []string
	opaque int64 // bytes that may hide text and cannot be read
}

// A reader is the place in one document.
type reader struct {
	*walk
	doc    string
	pos    int
	leaves []leaf
}

var errForm = errors.New("not a JSON document")

// deepest is how deep documents are followed, and documents within strings of them.
const (
	deepest     = 128
	deepestDocs = 4
)

// document walks one document. free says that nothing in it is a word of a protocol.
func (w *walk) document(doc string, free bool, docs int) ([]leaf, error) {
	r := reader{walk: w, doc: doc}
	if err := r.value(field{free: free, docs: docs}, 0); err != nil {
		return nil, err
	}
	if r.space(); r.pos != len(r.doc) {
		return nil, errForm
	}
	return r.leaves, nil
}

// A field is where a value stands.
type field struct {
	name   string // of the member that it is, or that holds the arrays that it is in
	parent string // the same of the object around it; "": the document
	free   bool   // it is data: names are text, too, and no word is the protocol's
	listed bool   // it stands in an array
	docs   int    // documents around it
}

func (r *reader) space() byte {
	for ; r.pos < len(r.doc); r.pos++ {
		switch c := r.doc[r.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (r *reader) value(f field, depth int) error {
	if depth > deepest {
		return errForm
	}
	switch c := r.space(); c {
	case '{':
		return r.object(f, depth)
	case '[':
		return r.array(f, depth)
	case '"':
		return r.str(f)
	case 0, '}', ']', ',', ':':
		return errForm
	}
	start := r.pos
	for r.pos < len(r.doc) && strings.IndexByte(",]} \t\n\r", r.doc[r.pos]) < 0 {
		r.pos++
	}
	r.scalar(f, llm.Span{Start: start, End: r.pos})
	return nil
}

// longNumber is how long a number must be to be worth a look: shorter ones are counts.
const longNumber = 7

// scalar takes a long number for text where it is data: a card's in the arguments of a tool. Numbers in place of text are
// tokens, which nobody here can read.
func (r *reader) scalar(f field, at llm.Span) {
	switch v := r.doc[at.Start:at.End]; {
	case v[0] != '-' && (v[0] < '0' || v[0] > '9'):
	case f.listed && !f.free && (f.name == "prompt" || f.name == "input"):
		r.opaque += int64(len(v))
	case f.free && len(v) >= longNumber && strings.IndexAny(v, ".eE") < 0: // a measure or a vector's is nobody's
		r.add(at, v, f.name)
	}
}

// add takes a value for text. What is short and has a digit is read behind its name, if it has one: a number alone may be
// anything, and the word before it often tells.
func (r *reader) add(at llm.Span, text, name string) {
	const short = 64
	l := leaf{at: at, text: len(r.texts)}
	if name != "" && len(name) <= short && len(text) <= short && strings.ContainsAny(text, "0123456789") {
		l.skip = len(name) + len(": ")
		text = name + ": " + text
	}
	r.leaves, r.texts = append(r.leaves, l), append(r.texts, text)
}

func (r *reader) array(f field, depth int) error {
	r.pos++
	f.listed = true
	if r.space() == ']' {
		r.pos++
		return nil
	}
	for {
		if err := r.value(f, depth+1); err != nil {
			return err
		}
		switch r.space() {
		case ',':
			r.pos++
		case ']':
			r.pos++
			return nil
		default:
			return errForm
		}
	}
}

func (r *reader) object(f field, depth int) error {
	r.pos++
	if r.space() == '}' {
		r.pos++
		return nil
	}
	for {
		if r.space() != '"' {
			return errForm
		}
		name, err := r.name(f)
		if err != nil {
			return err
		}
		if r.space() != ':' {
			return errForm
		}
		r.pos++
		in := field{name: name, parent: f.name, docs: f.docs}
		in.free = f.free || data(name, r.space(), f.name)
		if err := r.value(in, depth+1); err != nil {
			return err
		}
		switch r.space() {
		case ',':
			r.pos++
		case '}':
			r.pos++
			return nil
		default:
			return errForm
		}
	}
}

// name reads the name of a member, which is text where it is data.
func (r *reader) name(f field) (string, error) {
	at, err := r.token()
	if err != nil {
		return "", err
	}
	name, err := r.decoded(at)
	if err == nil && f.free {
		r.add(at, name, "")
	}
	return name, err
}

// token steps over the string at the position.
func (r *reader) token() (llm.Span, error) {
	for i := r.pos + 1; i < len(r.doc); i++ {
		switch r.doc[i] {
		case '\\':
			i++
		case '"':
			at := llm.Span{Start: r.pos, End: i + 1}
			r.pos = i + 1
			return at, nil
		}
	}
	return llm.Span{}, errForm
}

// decoded is what a string says.
func (r *reader) decoded(at llm.Span) (string, error) {
	body := r.doc[at.Start+1 : at.End-1]
	if strings.IndexByte(body, '\\') < 0 {
		return body, nil
	}
	out, err := jsontext.AppendUnquote(make([]byte, 0, len(body)), r.doc[at.Start:at.End])
	if err != nil {
		return "", errForm
	}
	return string(out), nil
}

func (r *reader) str(f field) error {
	at, err := r.token()
	if err != nil {
		return err
	}
	text, err := r.decoded(at)
	if err != nil {
		return err
	}
	switch kindOf(f, text) {
	case kindWord:
		return nil
	case kindMedia:
		r.opaque += int64(len(text))
		return nil
	}
	if document(text) {
		n := len(r.texts)
		if f.docs < deepestDocs {
			inner, err := r.document(text, true, f.docs+1)
			if err == nil {
				r.leaves = append(r.leaves, leaf{at: at, text: -1, inner: inner, doc: text})
				return nil
			}
		}
		r.texts = r.texts[:n]
		r.opaque += int64(len(text)) // it is read as text, and what is written in it with escapes is not
	}
	switch {
	case text == "":
	case f.free:
		r.add(at, text, f.name)
	default:
		r.add(at, text, "")
	}
	return nil
}

// document tells whether a text is a JSON object or array: the arguments of a tool, most often. What is written in it
// with escapes would be hidden from whoever reads only the text.
func document(s string) bool {
	s = strings.TrimSpace(s)
	if len(s) < 2 || s[0] != '{' && s[0] != '[' {
		return false
	}
	return jsontext.Value(s).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}
