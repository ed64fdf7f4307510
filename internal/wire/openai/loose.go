package openai

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// whole is an integer however it is written: 1.0 and 1e0 pass the scan, and some vendors answer with them.
type whole int64

// UnmarshalJSON reads any number, a number in a string, or null, which is 0.
func (w *whole) UnmarshalJSON(b []byte) error {
	*w = 0
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		*w = whole(n)
		return nil
	}
	if f, err := strconv.ParseFloat(string(b), 64); err == nil && f >= -1<<62 && f <= 1<<62 {
		*w = whole(f)
	}
	return nil
}

func wholePtr(v *int64) *whole { return (*whole)(v) }

func (w *whole) int64() *int64 { return (*int64)(w) }

func (w *whole) count() llm.Count {
	if w == nil {
		return llm.Count{}
	}
	return llm.Tokens(int64(*w))
}

func tokens(c llm.Count) *whole {
	if !c.Known {
		return nil
	}
	n := whole(c.N)
	return &n
}

// loose is a string in an answer. Vendors send a number or null where OpenAI has a string.
type loose string

// UnmarshalJSON takes a string's content, the text of a number or boolean, and nothing of the rest.
func (l *loose) UnmarshalJSON(b []byte) error {
	*l = ""
	switch jsontext.Value(b).Kind() {
	case '"':
		*l = loose(unquote(b))
	case '0', 't', 'f':
		*l = loose(b)
	}
	return nil
}

// unquote gives the content of a JSON string, "" when v is no string.
func unquote(v []byte) string {
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	if inner := v[1 : len(v)-1]; plain(inner) {
		return string(inner)
	}
	s, _ := jsontext.AppendUnquote(nil, v) // an error is about invalid UTF-8, which is replaced
	return string(s)
}

// plain tells whether a string's content means what it says: ASCII without escapes.
func plain(v []byte) bool {
	for _, c := range v {
		if c == '\\' || c == '"' || c < ' ' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func ptr[T any](v T) *T { return &v }
