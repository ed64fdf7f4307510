package gemini

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// With streamFunctionCallArguments a call comes in pieces: its name first, then values with the JSON path
// where each belongs ("$.items[0].name"), strings themselves in pieces. The hub's arguments are JSON text
// that grows at its end, which such pieces are not, so they are put together and given out as one.

// partialArg is one piece of one value.
type partialArg struct {
	JSONPath    string         `json:"jsonPath"`
	StringValue *string        `json:"stringValue"`
	NumberValue jsontext.Value `json:"numberValue"`
	BoolValue   *bool          `json:"boolValue"`
	NullValue   jsontext.Value `json:"nullValue"`
}

const maxPartialDepth = 64

// A node is a value that is being put together: an object, an array, a string, or the text of a scalar.
type node struct {
	kind   byte // '{', '[', '"', 'v'; 0: nothing yet
	names  []string
	kids   []*node // of names, or items
	str    strings.Builder
	scalar []byte
}

// A partial is the arguments of one call so far.
type partial struct{ root node }

// add puts a piece where it belongs; false when its path makes no sense.
func (p *partial) add(a *partialArg) bool {
	at := &p.root
	rest, ok := strings.CutPrefix(a.JSONPath, "$")
	for depth := 0; ok && rest != ""; depth++ {
		if depth > maxPartialDepth {
			return false
		}
		var name string
		var index int
		if name, index, rest, ok = pathStep(rest); !ok {
			return false
		}
		if at, ok = at.child(name, index); !ok {
			return false
		}
	}
	return ok && at.set(a)
}

// pathStep takes ".name", "['name']" or "[3]" off a path; index is -1 for a name.
func pathStep(path string) (name string, index int, rest string, ok bool) {
	switch {
	case path[0] == '.':
		end := strings.IndexAny(path[1:], ".[") + 1
		if end == 0 {
			end = len(path)
		}
		return path[1:end], -1, path[end:], end > 1
	case strings.HasPrefix(path, "['"), strings.HasPrefix(path, `["`):
		end := strings.Index(path[2:], path[1:2]+"]") + 2
		if end < 2 {
			return "", 0, "", false
		}
		return path[2:end], -1, path[end+2:], true
	case path[0] == '[':
		end := strings.IndexByte(path, ']')
		if end < 0 {
			return "", 0, "", false
		}
		n, err := strconv.Atoi(path[1:end])
		return "", n, path[end+1:], err == nil && n >= 0
	}
	return "", 0, "", false
}

func (n *node) child(name string, index int) (*node, bool) {
	kind := byte('{')
	if index >= 0 {
		kind = '['
	}
	if n.kind == 0 {
		n.kind = kind
	}
	if n.kind != kind {
		return nil, false
	}
	if kind == '[' {
		if index > len(n.kids) {
			return nil, false // items come in order; an index is no licence to allocate
		}
		if index == len(n.kids) {
			n.kids = append(n.kids, new(node))
		}
		return n.kids[index], true
	}
	for i, known := range n.names {
		if known == name {
			return n.kids[i], true
		}
	}
	n.names, n.kids = append(n.names, name), append(n.kids, new(node))
	return n.kids[len(n.kids)-1], true
}

func (n *node) set(a *partialArg) bool {
	switch {
	case a.StringValue != nil:
		if n.kind != 0 && n.kind != '"' {
			return false
		}
		n.kind = '"'
		n.str.WriteString(*a.StringValue)
		return true
	case n.kind != 0 && n.kind != 'v':
		return false
	case a.NumberValue.Kind() == '0':
		n.scalar = a.NumberValue
	case a.BoolValue != nil:
		n.scalar = strconv.AppendBool(nil, *a.BoolValue)
	case a.NullValue != nil:
		n.scalar = []byte("null")
	default:
		return true // a piece without a value says only that it goes on
	}
	n.kind = 'v'
	return true
}

func (n *node) write(t *text) {
	switch n.kind {
	case '{':
		t.open('{')
		for i, name := range n.names {
			t.member(name)
			n.kids[i].write(t)
		}
		t.close('}')
	case '[':
		t.open('[')
		for _, k := range n.kids {
			k.write(t)
		}
		t.close(']')
	case '"':
		t.string(n.str.String())
	case 'v':
		t.raw(n.scalar)
	default:
		t.raw([]byte("null"))
	}
}

// arguments is what came so far, as an object.
func (p *partial) arguments() []byte {
	if p.root.kind != '{' {
		return []byte("{}")
	}
	var t text
	p.root.write(&t)
	return t
}
