package wiretest

import (
	"bytes"
	"encoding/json"
	"strings"
)

// A tree is any JSON value, walked without types: the plainest reading there is.
type tree struct{ v any }

// parse reads a value; nothing when it is not JSON.
func parse(raw []byte) tree {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return tree{}
	}
	return tree{v}
}

// at goes down by member names.
func (t tree) at(names ...string) tree {
	for _, name := range names {
		m, _ := t.v.(map[string]any)
		t = tree{m[name]}
	}
	return t
}

// either is the first of several spellings of a member that is there.
func (t tree) either(names ...string) tree {
	for _, name := range names {
		if x := t.at(name); x.v != nil {
			return x
		}
	}
	return tree{}
}

func (t tree) list() []tree {
	a, _ := t.v.([]any)
	out := make([]tree, len(a))
	for i := range a {
		out[i] = tree{a[i]}
	}
	return out
}

func (t tree) str() string { s, _ := t.v.(string); return s }

func (t tree) there() bool { return t.v != nil }

func (t tree) isTrue() bool { b, _ := t.v.(bool); return b }

// num is a number and whether there is one.
func (t tree) num() (int64, bool) {
	n, ok := t.v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return int64(f), err == nil
}

// text is the value as JSON with sorted members; numbers of one value have one form.
func (t tree) text() string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(plain(t.v)) != nil {
		return "?"
	}
	return strings.TrimSpace(b.String())
}

// plain gives numbers one form: 1, 1.0 and 1e0 are the same.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = plain(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	}
	return v
}

// canonical is a JSON text in one form; what is not JSON stays as it is.
func canonical(s string) string {
	if t := parse([]byte(s)); t.v != nil {
		return t.text()
	}
	return s
}

// A frame is one server-sent event.
type frame struct {
	event string
	data  []byte
}

// frames splits a stream by its definition, without an eye to speed.
func frames(body []byte) (out []frame) {
	text := strings.ReplaceAll(strings.TrimPrefix(string(body), "\ufeff"), "\r\n", "\n")
	for block := range strings.SplitSeq(text, "\n\n") {
		var f frame
		var data []string
		for line := range strings.SplitSeq(block, "\n") {
			if v, ok := strings.CutPrefix(line, "data:"); ok {
				data = append(data, strings.TrimPrefix(v, " "))
			} else if v, ok := strings.CutPrefix(line, "event:"); ok {
				f.event = strings.TrimSpace(v)
			}
		}
		if data != nil {
			f.data = []byte(strings.Join(data, "\n"))
			out = append(out, f)
		}
	}
	return out
}
