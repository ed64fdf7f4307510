package wire

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Members finds top-level members of a JSON object in one pass, without decoding any: found[i] is the value
// of names[i] as it stands in doc, nil when absent. The whole of doc is checked to be JSON, as loosely as
// upstreams write it: names may repeat (the last counts) and characters may be cut.
func Members(doc []byte, names []string, found [][]byte) error {
	// What the strict lexer takes is JSON to everybody, and nearly all answers are. The others are read again.
	l := lexer{src: doc}
	if l.members(names, found) {
		return nil
	}
	clear(found)
	return looseMembers(doc, names, found)
}

// deepest is how deep the strict lexer follows a document.
const deepest = 64

// members is Members; false: the loose reader must tell.
func (l *lexer) members(names []string, found [][]byte) bool {
	if l.next() != '{' {
		return false
	}
	l.pos++
	if l.next() == '}' {
		l.pos++
		return l.ends()
	}
	for {
		name, ok := l.name()
		if !ok {
			return false
		}
		l.next()
		start := l.pos
		if !l.skip(deepest) {
			return false
		}
		for i, n := range names {
			if string(name) == n {
				found[i] = l.src[start:l.pos]
			}
		}
		switch l.next() {
		case ',':
			l.pos++
		case '}':
			l.pos++
			return l.ends()
		default:
			return false
		}
	}
}

// ends tells whether nothing but whitespace is left.
func (l *lexer) ends() bool {
	l.next()
	return l.done()
}

// name reads a member's name, as it is written, and the colon behind it.
func (l *lexer) name() (name []byte, ok bool) {
	if l.next() != '"' {
		return nil, false
	}
	start := l.pos + 1
	if _, err := l.str(); err != nil {
		return nil, false
	}
	name = l.src[start : l.pos-1]
	if l.next() != ':' {
		return nil, false
	}
	l.pos++
	return name, true
}

// skip reads a value that is nested no deeper than depth.
func (l *lexer) skip(depth int) bool {
	var err error
	switch c := l.next(); c {
	case '"':
		_, err = l.str()
	case '{', '[':
		return depth > 0 && l.skipAll(c, depth-1)
	case 't':
		err = l.literal("true")
	case 'f':
		err = l.literal("false")
	case 'n':
		err = l.literal("null")
	default:
		_, err = l.number()
	}
	return err == nil
}

// skipAll reads an object or an array.
func (l *lexer) skipAll(open byte, depth int) bool {
	end := open + 2 // as ASCII has them
	l.pos++
	if l.next() == end {
		l.pos++
		return true
	}
	for {
		if open == '{' {
			if _, ok := l.name(); !ok {
				return false
			}
		}
		if !l.skip(depth) {
			return false
		}
		switch l.next() {
		case ',':
			l.pos++
		case end:
			l.pos++
			return true
		default:
			return false
		}
	}
}

// looseMembers is Members for what the strict lexer refuses.
func looseMembers(doc []byte, names []string, found [][]byte) error {
	m := readers.Get().(*memberReader)
	defer m.release()
	m.src = *bytes.NewBuffer(doc)
	m.dec.Reset(&m.src, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := m.dec.ReadToken(); err != nil {
		return err
	} else if t.Kind() != '{' {
		return errNoObject
	}
	for m.dec.PeekKind() != '}' {
		name, err := m.dec.ReadValue()
		if err != nil {
			return err
		}
		at := -1
		for i, n := range names {
			if len(name) == len(n)+2 && string(name[1:len(name)-1]) == n {
				at = i
			}
		}
		value, err := m.dec.ReadValue()
		if err != nil {
			return err
		}
		if at >= 0 {
			end := int(m.dec.InputOffset())
			found[at] = doc[end-len(value) : end] //nolint:gosec // found has a place for each name
		}
	}
	if _, err := m.dec.ReadToken(); err != nil {
		return err
	}
	if _, err := m.dec.ReadToken(); err != io.EOF {
		return errTrailing
	}
	return nil
}

var (
	errNoObject = errors.New("not a JSON object")
	errTrailing = errors.New("data behind the JSON object")
)

type memberReader struct {
	src bytes.Buffer
	dec *jsontext.Decoder
}

var readers = sync.Pool{New: func() any { return &memberReader{dec: new(jsontext.Decoder)} }}

func (m *memberReader) release() {
	m.src = bytes.Buffer{}
	m.dec.Reset(&m.src) // a pooled reader must not pin a body
	readers.Put(m)
}
