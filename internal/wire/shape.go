package wire

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"sluice/internal/llm"
)

// A Shape is what a JSON value must look like: its types and, for each type, its rules. Shapes are built
// once, at start, from the functions below, and are immutable from then on. The strict scan holds a body
// against its shape in the same pass that checks the JSON, so strictness costs no second reading.
//
// Unknown members are let through (the same format gets them unchanged; a translation refuses them by
// name), but an unknown member that differs from a known one only by case is refused: parsers disagree on
// what it means.
type Shape struct {
	kinds kinds
	str   *strRule
	num   *numRule
	arr   *arrRule
	obj   *objRule
}

// MaxTools is how many tools one request may offer: far more than any model takes.
const MaxTools = 4096

type kinds uint8

const (
	kNull kinds = 1 << iota
	kBool
	kString
	kNumber
	kArray
	kObject
	kAny = kNull | kBool | kString | kNumber | kArray | kObject
)

type strRule struct {
	enum   []string // nil: any
	minLen int      // bytes
	maxLen int      // bytes; 0: no limit
}

type numRule struct {
	min, max float64
	integer  bool
}

type arrRule struct {
	items  *Shape
	minLen int
	maxLen int // 0: no limit
}

type objRule struct {
	fields   []Field
	byName   map[string]int // names and aliases
	byFold   map[string]int // the same in lower case
	required uint64         // bits of fields
	tag      string         // the member whose value says which variant this is
	tagField int            // its place in fields
	variants []variant
	open     bool     // other values of tag are let through unchecked
	untagged *variant // what an object without tag is
}

type variant struct {
	value    string
	required uint64 // bits of fields
}

// A Field is a member of an object.
type Field struct {
	name     string
	alias    string // another spelling of the same member (protobuf JSON takes snake_case, too)
	shape    *Shape
	required bool
	mark     llm.Mark
	note     NoteKind
}

// Req is a member that must be there.
func Req(name string, s *Shape) Field { return Field{name: name, shape: s, required: true} }

// Opt is a member that may be absent.
func Opt(name string, s *Shape) Field { return Field{name: name, shape: s} }

// Mark has the scan keep where the member's value stands.
func (f Field) Mark(m llm.Mark) Field { f.mark = m; return f }

// Note has the scan keep the member's value in order, for checks that span several objects.
func (f Field) Note(k NoteKind) Field { f.note = k; return f }

// Alias names another spelling of the same member; having both is an error.
func (f Field) Alias(name string) Field { f.alias = name; return f }

// Any is any JSON value (still held to the limits of the scan).
func Any() *Shape { return &Shape{kinds: kAny} }

// Str is a string.
func Str() *Shape { return &Shape{kinds: kString, str: &strRule{}} }

// Enum is a string out of a list.
func Enum(values ...string) *Shape { return &Shape{kinds: kString, str: &strRule{enum: values}} }

// Bool is true or false.
func Bool() *Shape { return &Shape{kinds: kBool} }

// Num is a number, bounds included.
func Num(lo, hi float64) *Shape { return &Shape{kinds: kNumber, num: &numRule{min: lo, max: hi}} }

// Int is a whole number, bounds included. 1.0 and 1e0 are whole numbers, as OpenAI takes them.
func Int(lo, hi float64) *Shape {
	return &Shape{kinds: kNumber, num: &numRule{min: lo, max: hi, integer: true}}
}

// Array is a list of items of one shape; use Len to bound it.
func Array(items *Shape) *Shape { return &Shape{kinds: kArray, arr: &arrRule{items: items}} }

// Object is an object with the given known members (at most 64).
func Object(fields ...Field) *Shape {
	s := &Shape{kinds: kObject, obj: &objRule{}}
	return s.Set(fields...)
}

// Map is an object with free member names, whose values have one shape. nil: any.
func Map() *Shape { return &Shape{kinds: kObject} }

// Len bounds a string (bytes) or an array (items). hi 0 is no bound.
func (s *Shape) Len(lo, hi int) *Shape {
	if s.str != nil {
		s.str.minLen, s.str.maxLen = lo, hi
	}
	if s.arr != nil {
		s.arr.minLen, s.arr.maxLen = lo, hi
	}
	return s
}

// OrNull lets null through, too: most APIs take it for absent.
func (s *Shape) OrNull() *Shape { s.kinds |= kNull; return s }

// Either joins shapes of different JSON types: a string or an array of parts.
func Either(shapes ...*Shape) *Shape {
	out := &Shape{}
	for _, s := range shapes {
		if out.kinds&s.kinds&^kNull != 0 {
			panic("wire: Either of two shapes of one JSON type")
		}
		out.kinds |= s.kinds
		if s.str != nil {
			out.str = s.str
		}
		if s.num != nil {
			out.num = s.num
		}
		if s.arr != nil {
			out.arr = s.arr
		}
		if s.obj != nil {
			out.obj = s.obj
		}
	}
	return out
}

// Variants are the members each value of a tag member requires beside the shape's own required ones.
type Variants map[string][]string

// ByTag makes an object a union told apart by a member: role, type. The tag itself is required, unless it
// is absent everywhere else, too. Other values than those listed are refused.
func (s *Shape) ByTag(tag string, v Variants) *Shape { return s.byTag(tag, v, false) }

// ByOpenTag is ByTag that lets unknown values of the tag through: vendors add content types and hosted
// tools between our releases, and the same format must carry them. A translation refuses them by name.
func (s *Shape) ByOpenTag(tag string, v Variants) *Shape { return s.byTag(tag, v, true) }

func (s *Shape) byTag(tag string, v Variants, open bool) *Shape {
	o := s.obj
	o.tag, o.open = tag, open
	o.tagField = o.index(tag)
	if o.tagField < 0 {
		panic("wire: tag " + tag + " is not a field")
	}
	o.required |= 1 << o.tagField
	for _, value := range slices.Sorted(maps.Keys(v)) {
		w := variant{value: value}
		for _, name := range v[value] {
			i := o.index(name)
			if i < 0 {
				panic("wire: variant " + value + " requires " + name + ", which is not a field")
			}
			w.required |= 1 << i
		}
		o.variants = append(o.variants, w)
	}
	return s
}

// Default says which variant an object is whose tag is absent or null; without it, the tag is required.
func (s *Shape) Default(value string) *Shape {
	o := s.obj
	i := slices.IndexFunc(o.variants, func(v variant) bool { return v.value == value })
	if i < 0 {
		panic("wire: default " + value + " is not a variant of " + o.tag)
	}
	o.untagged = &o.variants[i]
	o.required &^= 1 << o.tagField
	return s
}

// Set gives a recursive shape its fields after it was made: Object() first, then Set.
func (s *Shape) Set(fields ...Field) *Shape {
	if len(fields) > 64 {
		panic("wire: more than 64 fields in one shape")
	}
	o := s.obj
	o.fields, o.required = fields, 0
	o.byName, o.byFold = make(map[string]int), make(map[string]int)
	for i := range fields {
		f := &fields[i]
		for _, name := range []string{f.name, f.alias} {
			if name != "" {
				o.byName[name], o.byFold[strings.ToLower(name)] = i, i
			}
		}
		if f.required {
			o.required |= 1 << i
		}
	}
	return s
}

func (o *objRule) index(name string) int {
	if i, ok := o.byName[name]; ok {
		return i
	}
	return -1
}

// fold finds a known member that name differs from only by case. Folding is Unicode's simple one, as
// encoding/json has it: the long s and the Kelvin sign are letters s and k.
func (o *objRule) fold(name []byte) (known string, ok bool) {
	var buf [64]byte
	if len(name) > 3*len(buf) {
		return "", false
	}
	lower := buf[:0]
	for _, r := range string(name) {
		switch {
		case 'A' <= r && r <= 'Z':
			r += 'a' - 'A'
		case r == '\u017f':
			r = 's'
		case r == '\u212a':
			r = 'k'
		}
		lower = utf8.AppendRune(lower, r)
	}
	i, ok := o.byFold[string(lower)]
	if !ok {
		return "", false
	}
	return o.fields[i].name, true
}

// A NoteKind is a value that a check over several objects needs.
type NoteKind uint8

// The notes.
const (
	NoNote     NoteKind = iota
	NoteRole            // a message's role
	NoteType            // a part's or item's type
	NoteCall            // the id of a tool call made
	NoteResult          // the id of a tool call answered
)

// A Note is a noted string value. Value is the raw JSON string without its quotes (escapes undecoded:
// enough to compare ids), and valid as long as the body.
type Note struct {
	Kind  NoteKind
	Value []byte
	Item  int // index in the outermost array: the message or item
	Inner int // index in the innermost array around it, -1 if there is none within the item
}

// Scanned is what the strict scan found.
type Scanned struct {
	Raw   []byte
	Marks llm.Marks
	Notes []Note
	Texts llm.Texts
}

// Member gives the raw value of a marked member, nil when absent.
func (s *Scanned) Member(m llm.Mark) []byte { return s.Marks[m].Of(s.Raw) }
