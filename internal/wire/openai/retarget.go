package openai

import (
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// Retarget gives a chat body the target's model and, in a stream, the wish for usage.
func (c *ChatFormat) Retarget(raw []byte, m *llm.Marks, e *llm.Encoding) [][]byte {
	return retarget(raw, m, e, !c.d.NoStreamOptions)
}

// An edit replaces a span of the body. An empty span inserts.
type edit struct {
	at   llm.Span
	with []byte
}

var (
	wantUsage       = []byte(`"include_usage":true`)
	wantUsageFirst  = []byte(`"include_usage":true,`)
	wantUsageObject = []byte(`{"include_usage":true}`)
	isTrue          = []byte("true")
)

// retarget cuts the body at the members to be changed. Pieces of raw are shared, not copied.
func retarget(raw []byte, m *llm.Marks, e *llm.Encoding, usage bool) [][]byte {
	model := m[llm.MarkModel]
	if model.End == 0 {
		return [][]byte{raw}
	}
	name, err := jsontext.AppendQuote(make([]byte, 0, len(e.Model)+len(`"","stream_options":{"include_usage":true}`)), e.Model)
	if err != nil { // not UTF-8: the quoted form has it replaced, and the upstream will not know the model
		name = append(name, `""`...)
	}
	edits := [2]edit{{at: model}}
	n := 1
	if e.Stream && usage {
		switch extra := askUsage(raw, m); {
		case extra.at.End != 0:
			edits[1], n = extra, 2
		case extra.with != nil: // no stream_options yet: they go behind the model
			name = append(append(name, `,"stream_options":`...), extra.with...)
		}
	}
	edits[0].with = name
	if n == 2 && edits[1].at.Start < edits[0].at.Start {
		edits[0], edits[1] = edits[1], edits[0]
	}
	out := make([][]byte, 0, 2*n+1)
	pos := 0
	for _, ed := range edits[:n] {
		out = append(out, raw[pos:ed.at.Start], ed.with)
		pos = ed.at.End
	}
	return append(out, raw[pos:])
}

// askUsage is the edit that makes stream_options.include_usage true: none when it is true already; one
// without a span when there is no member to edit.
func askUsage(raw []byte, m *llm.Marks) edit {
	flag, options := m[llm.MarkIncludeUsage], m[llm.MarkStreamOptions]
	switch value := options.Of(raw); {
	case flag.End != 0 && string(flag.Of(raw)) == "true":
		return edit{}
	case flag.End != 0:
		return edit{at: flag, with: isTrue}
	case value == nil:
		return edit{with: wantUsageObject}
	case value[0] != '{': // null
		return edit{at: options, with: wantUsageObject}
	case isEmptyObject(value):
		return edit{at: llm.Span{Start: options.Start + 1, End: options.Start + 1}, with: wantUsage}
	}
	return edit{at: llm.Span{Start: options.Start + 1, End: options.Start + 1}, with: wantUsageFirst}
}

func isEmptyObject(v []byte) bool {
	for _, c := range v[1:] {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == '}'
		}
	}
	return false
}
