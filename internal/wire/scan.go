package wire

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

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
	out, err := s.scan(shape, body)
	if err != nil {
		return nil, err
	}
	kept := *out
	kept.Notes = slices.Clone(out.Notes)
	kept.Texts.Long = slices.Clone(out.Texts.Long)
	return &kept, nil
}

// scan is Scan; what it finds is valid until release.
func (s *scanner) scan(shape *Shape, body []byte) (*Scanned, error) {
	s.lex = lexer{src: body}
	s.out = Scanned{Raw: body}
	if err := s.document(shape); err != nil && !errors.Is(err, errMany) {
		s.problems = append(s.problems, llm.Problem{At: s.pointer(), Msg: err.Error()})
	}
	if len(s.problems) > 0 {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not valid", Problems: slices.Clone(s.problems)}
	}
	s.out.Notes = s.notes
	s.out.Texts = llm.Texts{Long: s.long, Disguised: s.lex.disguised}
	return &s.out, nil
}

// A scanner is the state of one scan. It is used again, so that a scan allocates only what it returns.
type scanner struct {
	lex      lexer
	out      Scanned
	problems []llm.Problem
	notes    []Note
	long     []llm.Span
	frames   [maxDepth]frame // the containers that are open, outermost first
	depth    int             // how many of frames
	names    names
	text     []byte // a string that was written with escapes
}

// A frame is an open container, and where in it we are: pointers are made of that, and only when there is a
// problem to report.
type frame struct {
	array bool
	items int // of an array: begun so far
	name  int // of an object: offset of the current member's name, -1 before the first and between two
	// Where the names of an object begin.
	firstName, firstSlot int
}

var scanners = sync.Pool{New: func() any { return &scanner{names: names{seed: maphash.MakeSeed()}} }}

// release keeps a scanner for the next scan; it must not pin a body, nor the memory that a large one needed.
func (s *scanner) release() {
	const keep = 1 << 10
	clear(s.notes)
	clear(s.problems)
	s.lex, s.out, s.depth = lexer{}, Scanned{}, 0
	s.notes, s.long, s.problems, s.text = s.notes[:0], s.long[:0], s.problems[:0], s.text[:0]
	if cap(s.notes) > keep {
		s.notes = nil
	}
	if cap(s.long) > keep {
		s.long = nil
	}
	if cap(s.text) > 4*keep {
		s.text = nil
	}
	s.names.release()
	scanners.Put(s)
}

var (
	errDepth    = fmt.Errorf("is nested deeper than %d levels", maxDepth)
	errMany     = errors.New("has too many problems to go on")
	errNotes    = fmt.Errorf("has more than %d messages and parts", maxNotes)
	errEmpty    = errors.New("is empty; a JSON object is needed")
	errBehind   = errors.New("has data behind its end")
	errRepeated = errors.New("stands twice; parsers disagree on which one counts")
)

func (s *scanner) document(shape *Shape) error {
	if s.lex.next(); s.lex.done() {
		return errEmpty
	}
	if err := s.value(shape, llm.NoMark, NoNote); err != nil {
		return err
	}
	if s.lex.next(); !s.lex.done() {
		return errBehind
	}
	return nil
}

// enter opens the container at the position and steps over its bracket.
func (s *scanner) enter(array bool) *frame {
	f := &s.frames[s.depth]
	*f = frame{array: array, name: -1, firstName: len(s.names.seen), firstSlot: len(s.names.slots)}
	s.depth++
	s.lex.pos++
	return f
}

// leave steps over the bracket that closes a container.
func (s *scanner) leave(f *frame) {
	s.lex.pos++
	s.depth--
	s.names.seen, s.names.slots = s.names.seen[:f.firstName], s.names.slots[:f.firstSlot]
}

// pointer is the JSON pointer of the value that is being read, or was read last.
func (s *scanner) pointer() string {
	var b strings.Builder
	for i := range s.frames[:s.depth] {
		switch f := &s.frames[i]; {
		case f.array && f.items > 0:
			b.WriteString("/" + strconv.Itoa(f.items-1))
		case !f.array && f.name >= 0:
			b.WriteString("/" + pointerEscapes.Replace(string(unescape(nil, stringAt(s.lex.src, f.name)))))
		}
	}
	return b.String()
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// problem notes what is wrong with the value just read; member, if not empty, is one within it.
func (s *scanner) problem(member, msg string) error {
	at := s.pointer()
	if member != "" {
		at += "/" + pointerEscapes.Replace(member)
	}
	s.problems = append(s.problems, llm.Problem{At: at, Msg: msg})
	if len(s.problems) >= maxProblems {
		return errMany
	}
	return nil
}

func (s *scanner) value(sh *Shape, mark llm.Mark, note NoteKind) error {
	c := s.lex.next()
	start := s.lex.pos
	var err error
	switch c {
	case '{', '[':
		switch {
		case s.depth == maxDepth:
			s.frames[s.depth-1].items = 0 // it is the array that is too deep for an item like this
			return errDepth
		case c == '{':
			err = s.object(sh)
		default:
			err = s.array(sh)
		}
	case '"':
		err = s.str(sh)
	default:
		err = s.scalar(sh, c)
	}
	if err != nil {
		return err
	}
	if mark != llm.NoMark {
		s.out.Marks[mark] = llm.Span{Start: start, End: s.lex.pos}
	}
	if note != NoNote && c == '"' {
		return s.note(note, s.out.Raw[start+1:s.lex.pos-1])
	}
	return nil
}

func (s *scanner) note(kind NoteKind, v []byte) error {
	if len(s.notes) >= maxNotes {
		return errNotes
	}
	n := Note{Kind: kind, Value: v, Item: -1, Inner: -1}
	for i := range s.frames[:s.depth] {
		switch f := &s.frames[i]; {
		case !f.array:
		case n.Item < 0:
			n.Item = f.items - 1
		default:
			n.Inner = f.items - 1
		}
	}
	s.notes = append(s.notes, n)
	return nil
}

// scalar reads what is neither a container nor a string; c is its first byte.
func (s *scanner) scalar(sh *Shape, c byte) error {
	kind, word := kBool, ""
	switch {
	case c == 't':
		word = "true"
	case c == 'f':
		word = "false"
	case c == 'n':
		kind, word = kNull, "null"
	case c == '-' || c-'0' <= 9:
		start := s.lex.pos
		plain, err := s.lex.number()
		if err != nil {
			return err
		}
		if err := s.is(sh, kNumber); err != nil {
			return err
		}
		return s.num(sh, s.out.Raw[start:s.lex.pos], plain)
	default:
		return s.lex.want("a value")
	}
	if err := s.lex.literal(word); err != nil {
		return err
	}
	return s.is(sh, kind)
}

// is checks the type of the value just read.
func (s *scanner) is(sh *Shape, k kinds) error {
	if sh == nil || sh.kinds&k != 0 {
		return nil
	}
	return s.problem("", "must be "+sh.kinds.String()+", not "+k.String())
}

func (s *scanner) str(sh *Shape) error {
	start := s.lex.pos
	escaped, err := s.lex.str()
	if err != nil {
		return err
	}
	if inner := (llm.Span{Start: start + 1, End: s.lex.pos - 1}); inner.End-inner.Start >= llm.LongText {
		s.long = append(s.long, inner)
	}
	if err := s.is(sh, kString); err != nil || sh == nil || sh.str == nil || sh.kinds&kString == 0 {
		return err
	}
	r, v := sh.str, s.out.Raw[start:s.lex.pos]
	if n := len(v) - 2; n < r.minLen || r.maxLen > 0 && n > r.maxLen {
		if n < r.minLen && r.minLen == 1 {
			return s.problem("", "must not be empty")
		}
		return s.problem("", fmt.Sprintf("is %d bytes long; %s are allowed", n, between(r.minLen, r.maxLen)))
	}
	if r.enum == nil {
		return nil
	}
	text := s.meaning(v[1:len(v)-1], escaped)
	for _, e := range r.enum {
		if string(text) == e {
			return nil
		}
	}
	return s.problem("", "must be one of "+quoted(r.enum)+", not "+clip(v))
}

// meaning is what a string, given without its quotes, stands for; valid until the next call.
func (s *scanner) meaning(raw []byte, escaped bool) []byte {
	if !escaped {
		return raw
	}
	s.text = unescape(s.text[:0], raw)
	return s.text
}

func (s *scanner) num(sh *Shape, v []byte, plain bool) error {
	var rule *numRule
	if sh != nil && sh.kinds&kNumber != 0 {
		rule = sh.num
	}
	if plain && rule == nil && len(v) <= 300 { // digits; the largest number that can be read has 309
		return nil
	}
	f, err := float(v, plain)
	if err != nil {
		return s.problem("", "is a number too large to be read: "+clip(v))
	}
	if rule == nil {
		return nil
	}
	if rule.integer && f != math.Trunc(f) {
		return s.problem("", "must be a whole number, not "+clip(v))
	}
	if f < rule.min || f > rule.max {
		return s.problem("", fmt.Sprintf("must be between %s and %s, not %s", number(rule.min), number(rule.max), clip(v)))
	}
	return nil
}

// float reads a number; plain ones that are short, which nearly all are, by the shortest way.
func float(v []byte, plain bool) (float64, error) {
	if !plain || len(v) > 15 {
		return strconv.ParseFloat(string(v), 64)
	}
	n, sign := int64(0), int64(1)
	if v[0] == '-' {
		v, sign = v[1:], -1
	}
	for _, c := range v {
		n = n*10 + int64(c-'0')
	}
	return float64(sign * n), nil
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
	f := s.enter(true)
	for more := s.lex.next() != ']'; more; {
		f.items++
		if err := s.value(items, llm.NoMark, NoNote); err != nil {
			return err
		}
		switch s.lex.next() {
		case ',':
			s.lex.pos++
		case ']':
			more = false
		default:
			f.items = 0 // wrong is the array, not its last item
			return s.lex.want("a comma or ] behind an item")
		}
	}
	n := f.items
	s.leave(f)
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
	var tag llm.Span
	start, top := s.lex.pos, s.depth == 0
	f := s.enter(false)
	for more := s.lex.next() != '}'; more; {
		i, err := s.member(rule, f, top, seen)
		if err != nil {
			return err
		}
		field := Field{}
		if i >= 0 {
			seen |= 1 << i
			field = rule.fields[i]
		}
		if s.lex.next() != ':' {
			return s.lex.want("a colon behind a name")
		}
		s.lex.pos++
		s.lex.next()
		from := s.lex.pos
		if err := s.value(field.shape, field.mark, field.note); err != nil {
			return err
		}
		if i >= 0 && i == rule.tagField && rule.tag != "" {
			tag = llm.Span{Start: from, End: s.lex.pos}
		}
		switch s.lex.next() {
		case ',':
			s.lex.pos++
		case '}':
			more = false
		default:
			f.name = -1 // wrong is the object, not its last member
			return s.lex.want("a comma or } behind a member")
		}
	}
	s.leave(f)
	if top {
		s.out.Marks[llm.MarkObject] = llm.Span{Start: start, End: s.lex.pos}
	}
	if err := s.is(sh, kObject); err != nil || rule == nil {
		return err
	}
	return s.complete(rule, seen, tag.Of(s.out.Raw))
}

// member reads a name and finds the field that it means, -1 when it is unknown.
func (s *scanner) member(rule *objRule, f *frame, top bool, seen uint64) (int, error) {
	f.name = -1
	if s.lex.next() != '"' {
		return -1, s.lex.want("a name in double quotes")
	}
	at := s.lex.pos
	escaped, err := s.lex.str()
	if err != nil {
		return -1, err
	}
	f.name = at
	name := s.meaning(s.out.Raw[at+1:s.lex.pos-1], escaped)
	if !s.names.add(s.out.Raw, name, at, escaped, f.firstName, f.firstSlot) {
		return -1, errRepeated
	}
	if rule == nil {
		return -1, nil
	}
	if escaped && top {
		return -1, s.problem("", "has a name written with escapes; write it plainly")
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

// complete reports what an object lacks; tag is the value of the member that tells variants apart.
func (s *scanner) complete(rule *objRule, seen uint64, tag []byte) error {
	missing := rule.required &^ seen
	of := rule.untagged
	if of != nil && (len(tag) == 0 || tag[0] == 'n') {
		missing |= of.required &^ seen
	} else if of = nil; len(tag) > 0 && tag[0] == '"' { // what is no string is reported already
		text := s.meaning(tag[1:len(tag)-1], bytes.IndexByte(tag, '\\') >= 0)
		for i := range rule.variants {
			if v := &rule.variants[i]; v.value == string(text) {
				missing |= v.required &^ seen
				of = v
				break
			}
		}
		if of == nil && !rule.open {
			values := make([]string, len(rule.variants))
			for i := range rule.variants {
				values[i] = rule.variants[i].value
			}
			if err := s.problem(rule.tag, "must be one of "+quoted(values)+", not "+clip(tag)); err != nil {
				return err
			}
		}
	}
	for i := 0; missing != 0; i++ {
		if missing&(1<<i) != 0 {
			missing &^= 1 << i
			msg := "is required"
			if rule.required&(1<<i) == 0 {
				msg += " where " + rule.tag + " is " + of.value
				if of == rule.untagged {
					msg += " or absent"
				}
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
		{kString, "a string"},
		{kNumber, "a number"},
		{kBool, "true or false"},
		{kArray, "an array"},
		{kObject, "an object"},
		{kNull, "null"},
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
