package gemini

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// text builds JSON from front to back. Commas are put by looking at what was written last, which works
// because no value ends in an opening bracket or a colon: strings end in a quote.
type text []byte

func (t *text) comma() {
	if b := *t; len(b) > 0 {
		switch b[len(b)-1] {
		case '{', '[', ':':
			return
		}
		*t = append(b, ',')
	}
}

func (t *text) open(bracket byte)  { t.comma(); *t = append(*t, bracket) }
func (t *text) close(bracket byte) { *t = append(*t, bracket) }

func (t *text) name(n string) {
	t.comma()
	*t = append(append(append(*t, '"'), n...), '"', ':')
}

// member starts a member whose name did not come from this package.
func (t *text) member(n string) {
	t.comma()
	*t = append(quote(*t, n), ':')
}

func (t *text) string(s string) { t.comma(); *t = quote(*t, s) }
func (t *text) raw(v []byte)    { t.comma(); *t = append(*t, v...) }
func (t *text) int(n int64)     { t.comma(); *t = strconv.AppendInt(*t, n, 10) }

func (t *text) float(f float64, bits int) {
	t.comma()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0 // JSON has no such numbers; only a broken upstream sends a vector with one
	}
	*t = jsontext.AppendFloat(*t, f, bits)
}

func (t *text) bool(v bool) { t.comma(); *t = strconv.AppendBool(*t, v) }

// str, count and members write what is there, and nothing when it is not.
func (t *text) str(name, s string) {
	if s != "" {
		t.name(name)
		t.string(s)
	}
}

func (t *text) count(name string, c llm.Count) {
	if c.Known {
		t.name(name)
		t.int(c.N)
	}
}

// members writes kept members in a stable order.
func (t *text) members(m llm.Members) {
	for _, k := range sorted(m) {
		t.member(k)
		t.raw(m[k])
	}
}

func sorted(m llm.Members) []string {
	if len(m) == 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// quote appends a JSON string.
func quote(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its error only says that invalid UTF-8 was replaced
	return dst
}

// A number is a whole number in any of JSON's spellings.
type number int64

// UnmarshalJSON takes 8192, 8192.0 and 8e3.
func (n *number) UnmarshalJSON(raw []byte) error {
	f, err := strconv.ParseFloat(string(raw), 64)
	*n = number(f)
	return err
}

func (n *number) int64() *int64 { return (*int64)(n) }

// word reads an enumeration's value: a name, or in protobuf JSON its number.
func word(raw []byte, names []string) string {
	if len(raw) == 0 {
		return ""
	}
	if raw[0] == '"' {
		s, _ := jsontext.AppendUnquote(nil, raw)
		return string(s)
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil { // null
		return ""
	}
	if i := int(n); i >= 0 && i < len(names) {
		return names[i]
	}
	return string(raw)
}

// known drops the members that are null: protobuf JSON takes null for absent.
func known(m llm.Members) llm.Members {
	for k, v := range m {
		if isNull(v) {
			delete(m, k)
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func isNull(v []byte) bool { return len(v) == 0 || v[0] == 'n' }

func isObject(v []byte) bool {
	j := jsontext.Value(v)
	return j.Kind() == '{' && j.IsValid()
}

// pointer writes one step of a JSON pointer.
func pointer(at, member string) string { return at + "/" + escaped(member) }

func escaped(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

func unescaped(name string) string { return strings.NewReplacer("~1", "/", "~0", "~").Replace(name) }

func item(at string, i int) string { return at + "/" + strconv.Itoa(i) }
