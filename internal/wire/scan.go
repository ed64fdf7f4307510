package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

const (
	maxDepth    = 64
	maxProblems = 32      // reported of one request
	maxNotes    = 1 << 16 // kept of one request
)

// Scan is the strict reading of a body: one pass that checks the JSON (UTF-8, surrogates, duplicate and
// case-variant names, depth, number range, nothing behind the end) and holds it against a shape. It keeps
// the offsets of the members that policies read, so that exactly the bytes that were checked go on.
// Every problem is reported, as one *llm.Error of KindInvalid; a syntax error ends the scan.
func Scan(shape *Shape, body []byte) (*Scanned, error) {
	s := scanners.Get().(*scanner)
	defer s.release()
	s.out = &Scanned{Raw: body}
	s.src = *bytes.NewBuffer(body)
	s.dec.Reset(&s.src)
	if err := s.document(shape); err != nil {
		s.syntax(err)
	}
	if len(s.problems) > 0 {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not valid", Problems: append([]llm.Problem(nil), s.problems...)}
	}
	return s.out, nil
}

// A scanner is the state of one scan.
type scanner struct {
	src      bytes.Buffer
	dec      *jsontext.Decoder
	out      *Scanned
	problems []llm.Problem
	indices  []int // of the arrays we are in
	name     []byte
}

var scanners = sync.Pool{New: func() any { return &scanner{dec: new(jsontext.Decoder)} }}

func (s *scanner) release() {
	s.out = nil
	s.src = bytes.Buffer{}
	s.dec.Reset(&s.src) // a pooled scanner must not pin a body
	s.problems, s.indices = s.problems[:0], s.indices[:0]
	scanners.Put(s)
}

var (
	errDepth = fmt.Errorf("is nested deeper than %d levels", maxDepth)
	errMany  = errors.New("has too many problems to go on")
	errNotes = fmt.Errorf("has more than %d messages and parts", maxNotes)
)

func (s *scanner) document(shape *Shape) error {
	if err := s.value(shape, llm.NoMark, NoNote); err != nil {
		return err
	}
	if _, err := s.dec.ReadToken(); err != io.EOF {
		return errors.New("has data behind its end")
	}
	return nil
}

// syntax turns an error that ends the scan into a problem.
func (s *scanner) syntax(err error) {
	at, msg := string(s.dec.StackPointer()), err.Error()
	var syn *jsontext.SyntacticError
	switch {
	case err == errMany:
		return
	case len(s.out.Raw) == 0:
		at, msg = "", "is empty; a JSON object is needed"
	case errors.As(err, &syn):
		at = string(syn.JSONPointer)
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			msg = "stands twice; parsers disagree on which one counts"
		case errors.Is(err, io.ErrUnexpectedEOF):
			msg = fmt.Sprintf("ends too early, at byte %d", len(s.out.Raw))
		default:
			msg = fmt.Sprintf("is not valid JSON: %v at byte %d", syn.Err, syn.ByteOffset)
		}
	}
	s.problems = append(s.problems, llm.Problem{At: at, Msg: msg})
}

// problem notes what is wrong with the value just read; member, if not empty, is one within it.
func (s *scanner) problem(member, msg string) error {
	at := string(s.dec.StackPointer())
	if member != "" {
		at += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(member)
	}
	s.problems = append(s.problems, llm.Problem{At: at, Msg: msg})
	if len(s.problems) >= maxProblems {
		return errMany
	}
	return nil
}

func (s *scanner) value(sh *Shape, mark llm.Mark, note NoteKind) error {
	var err error
	var start, end int
	switch kind := s.dec.PeekKind(); kind {
	case '{', '[':
		if s.dec.StackDepth() >= maxDepth {
			return errDepth
		}
		if _, err = s.dec.ReadToken(); err != nil {
			return err
		}
		start = int(s.dec.InputOffset()) - 1
		if kind == '{' {
			err = s.object(sh)
		} else {
			err = s.array(sh)
		}
		end = int(s.dec.InputOffset())
	default:
		var v jsontext.Value
		if v, err = s.dec.ReadValue(); err != nil {
			return err
		}
		end = int(s.dec.InputOffset())
		start = end - len(v)
		err = s.scalar(sh, s.out.Raw[start:end])
	}
	if err != nil {
		return err
	}
	if mark != llm.NoMark {
		s.out.Marks[mark] = llm.Span{Start: start, End: end}
	}
	if note != NoNote && s.out.Raw[start] == '"' {
		return s.note(note, s.out.Raw[start+1:end-1])
	}
	return nil
}

func (s *scanner) note(kind NoteKind, v []byte) error {
	if len(s.out.Notes) >= maxNotes {
		return errNotes
	}
	n := Note{Kind: kind, Value: v, Item: -1, Inner: -1}
	if len(s.indices) > 0 {
		n.Item = s.indices[0]
	}
	if len(s.indices) > 1 {
		n.Inner = s.indices[len(s.indices)-1]
	}
	s.out.Notes = append(s.out.Notes, n)
	return nil
}

func (s *scanner) scalar(sh *Shape, v []byte) error {
	switch v[0] {
	case 'n':
		return s.is(sh, kNull)
	case 't', 'f':
		return s.is(sh, kBool)
	case '"':
		if err := s.is(sh, kString); err != nil || sh == nil || sh.str == nil || sh.kinds&kString == 0 {
			return err
		}
		return s.str(sh.str, v)
	}
	if err := s.is(sh, kNumber); err != nil {
		return err
	}
	return s.num(sh, v)
}

// is checks the type of the value just read.
func (s *scanner) is(sh *Shape, k kinds) error {
	if sh == nil || sh.kinds&k != 0 {
		return nil
	}
	return s.problem("", "must be "+sh.kinds.String()+", not "+k.String())
}

func (s *scanner) str(r *strRule, v []byte) error {
	if n := len(v) - 2; n < r.minLen || r.maxLen > 0 && n > r.maxLen {
		if n < r.minLen && r.minLen == 1 {
			return s.problem("", "must not be empty")
		}
		return s.problem("", fmt.Sprintf("is %d bytes long; %s are allowed", n, between(r.minLen, r.maxLen)))
	}
	if r.enum == nil {
		return nil
	}
	text := v[1 : len(v)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		s.name, _ = jsontext.AppendUnquote(s.name[:0], v)
		text = s.name
	}
	for _, e := range r.enum {
		if string(text) == e {
			return nil
		}
	}
	return s.problem("", "must be one of "+quoted(r.enum)+", not "+clip(v))
}

func (s *scanner) num(sh *Shape, v []byte) error {
	plain := len(v) <= 15 && bytes.IndexByte(v, 'e') < 0 && bytes.IndexByte(v, 'E') < 0
	var rule *numRule
	if sh != nil && sh.kinds&kNumber != 0 {
		rule = sh.num
	}
	if plain && rule == nil {
		return nil
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return s.problem("", "is a number too large to be read: "+clip(v))
	}
	if rule == nil {
		return nil
	}
	if rule.integer && f != float64(int64(f)) {
		return s.problem("", "must be a whole number, not "+clip(v))
	}
	if f < rule.min || f > rule.max {
		return s.problem("", fmt.Sprintf("must be between %s and %s, not %s", number(rule.min), number(rule.max), clip(v)))
	}
	return nil
}

func (s *scanner) array(sh *Shape) error {
	var rule *arrRule
	if sh != nil && sh.kinds&kArray != 0 {
		rule = sh.arr
	}
	var items *Shape
	if rule != nil {
		items = rule.items
	}
	s.indices = append(s.indices, 0)
	depth := len(s.indices) - 1
	for s.dec.PeekKind() != ']' {
		if err := s.value(items, llm.NoMark, NoNote); err != nil {
			return err
		}
		s.indices[depth]++
	}
	n := s.indices[depth]
	s.indices = s.indices[:depth]
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	if err := s.is(sh, kArray); err != nil {
		return err
	}
	if rule != nil && (n < rule.minLen || rule.maxLen > 0 && n > rule.maxLen) {
		if n == 0 && rule.minLen == 1 {
			return s.problem("", "must not be empty")
		}
		return s.problem("", fmt.Sprintf("has %d items; %s are allowed", n, between(rule.minLen, rule.maxLen)))
	}
	return nil
}

func (s *scanner) object(sh *Shape) error {
	var rule *objRule
	if sh != nil && sh.kinds&kObject != 0 {
		rule = sh.obj
	}
	var seen uint64
	var tag []byte
	start := int(s.dec.InputOffset()) - 1
	top := s.dec.StackDepth() == 1
	for s.dec.PeekKind() != '}' {
		raw, err := s.dec.ReadValue()
		if err != nil {
			return err
		}
		if rule == nil {
			if err := s.value(nil, llm.NoMark, NoNote); err != nil {
				return err
			}
			continue
		}
		i, err := s.member(rule, raw, top, seen)
		if err != nil {
			return err
		}
		if i < 0 {
			if err := s.value(nil, llm.NoMark, NoNote); err != nil {
				return err
			}
			continue
		}
		seen |= 1 << i
		f := &rule.fields[i]
		if err := s.value(f.shape, f.mark, f.note); err != nil {
			return err
		}
		if i == rule.tagField && rule.tag != "" {
			end := int(s.dec.InputOffset())
			tag = lastString(s.out.Raw[:end])
		}
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	if top {
		s.out.Marks[llm.MarkObject] = llm.Span{Start: start, End: int(s.dec.InputOffset())}
	}
	if err := s.is(sh, kObject); err != nil || rule == nil {
		return err
	}
	return s.complete(rule, seen, tag)
}

// lastString gives the string, without quotes, that ends at the end of b; nil when no string ends there.
func lastString(b []byte) []byte {
	if len(b) == 0 || b[len(b)-1] != '"' {
		return nil
	}
	if i := bytes.LastIndexByte(b[:len(b)-1], '"'); i >= 0 {
		return b[i+1 : len(b)-1]
	}
	return nil
}

// member finds the field that a name means, -1 when it is unknown.
func (s *scanner) member(rule *objRule, raw []byte, top bool, seen uint64) (int, error) {
	name := raw[1 : len(raw)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		if top {
			return -1, s.problem("", "has a name written with escapes; write it plainly")
		}
		s.name, _ = jsontext.AppendUnquote(s.name[:0], raw)
		name = s.name
	}
	i, ok := rule.byName[string(name)]
	if !ok {
		if known, ok := rule.fold(name); ok {
			return -1, s.problem("", "differs only by case from "+known+"; write it so")
		}
		return -1, nil
	}
	if seen&(1<<i) != 0 { // the same name twice is a syntax error: this is the other spelling
		f := &rule.fields[i]
		return -1, s.problem("", "is the same member as "+f.name+" or "+f.alias+", which is there already")
	}
	return i, nil
}

// complete reports what an object lacks.
func (s *scanner) complete(rule *objRule, seen uint64, tag []byte) error {
	missing := rule.required &^ seen
	if rule.tag != "" && tag != nil {
		known := false
		for i := range rule.variants {
			if v := &rule.variants[i]; v.value == string(tag) {
				missing |= v.required &^ seen
				known = true
				break
			}
		}
		if !known && !rule.open {
			values := make([]string, len(rule.variants))
			for i := range rule.variants {
				values[i] = rule.variants[i].value
			}
			if err := s.problem(rule.tag, "must be one of "+quoted(values)+", not "+clip(append(append([]byte{'"'}, tag...), '"'))); err != nil {
				return err
			}
		}
	}
	for i := 0; missing != 0; i++ {
		if missing&(1<<i) != 0 {
			missing &^= 1 << i
			msg := "is required"
			if tag != nil && rule.required&(1<<i) == 0 {
				msg = "is required where " + rule.tag + " is " + clip(tag)
			}
			if err := s.problem(rule.fields[i].name, msg); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k kinds) String() string {
	names := make([]string, 0, 6)
	for _, n := range []struct {
		k    kinds
		name string
	}{
		{kString, "a string"}, {kNumber, "a number"}, {kBool, "true or false"},
		{kArray, "an array"}, {kObject, "an object"}, {kNull, "null"},
	} {
		if k&n.k != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, " or ")
}

func between(lo, hi int) string {
	if hi == 0 {
		return fmt.Sprintf("at least %d", lo)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func quoted(values []string) string {
	return `"` + strings.Join(values, `", "`) + `"`
}

// clip shows at most a few bytes of what a client sent.
func clip(v []byte) string {
	const most = 40
	if len(v) <= most {
		return string(v)
	}
	v = v[:most]
	for len(v) > 0 && !utf8.Valid(v) {
		v = v[:len(v)-1]
	}
	return string(v) + "…"
}
