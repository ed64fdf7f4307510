package wiretest

import (
	"strings"

	"sluice/internal/llm"
)

// loosen gives what means the same in a format one form: null, empty and absent, a text and a list of one text,
// snake_case and camelCase in Gemini's. What differs after that was lost or made up.
func loosen(f llm.Format, t tree) any {
	l := loosener{f}
	v := l.value("", plain(t.v))
	if m, ok := v.(map[string]any); ok {
		delete(m, "model")
		if m["stream"] == false {
			delete(m, "stream")
		}
		if text, ok := m["input"].(string); ok { // Responses: a text is a message
			m["input"] = []any{map[string]any{"type": "message", "role": "user", "content": text}}
		}
		if f == llm.OpenAIChat {
			delete(m, "stream_options") // usage is always asked for
			if m["n"] == 1.0 {
				delete(m, "n")
			}
			if m["tool_choice"] == "any" { // Mistral's word
				m["tool_choice"] = "required"
			}
		}
	}
	return v
}

// substance is what an answer is about, in one form: the choices and the usage.
func substance(f llm.Format, t tree) any {
	m, _ := loosener{f}.value("", plain(t.v)).(map[string]any)
	out := make(map[string]any)
	for _, name := range []string{"choices", "content", "output", "candidates", "usage", "usageMetadata", "stop_reason", "stop_sequence", "incomplete_details"} {
		if v, ok := m[name]; ok && !empty(v) {
			out[name] = v
		}
	}
	list, _ := out["candidates"].([]any)
	for _, v := range list { // protobuf JSON: a zero may be left out, and an enumeration's value be told as its number
		c, _ := v.(map[string]any)
		if c["index"] == 0.0 {
			delete(c, "index")
		}
		if c["finishReason"] == 1.0 {
			c["finishReason"] = "STOP"
		}
	}
	return out
}

type loosener struct{ f llm.Format }

func (l loosener) value(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		return l.object(v)
	case []any:
		out := make([]any, 0, len(v))
		for _, x := range v {
			out = append(out, l.value("", x))
		}
		if s, ok := onlyText(out); ok && (name == "content" || name == "system" || name == "output") {
			return s
		}
		return out
	case string:
		if name == "arguments" {
			return canonical(v)
		}
	}
	return v
}

func (l loosener) object(m map[string]any) any {
	out := make(map[string]any, len(m))
	for k, x := range m {
		if x = l.value(k, x); empty(x) {
			continue
		}
		if l.f == llm.GeminiGenerate { // a schema has two names, by its language
			k = strings.NewReplacer("parametersJsonSchema", "parameters", "responseJsonSchema", "responseSchema").Replace(camel(k))
		}
		if l.f == llm.OpenAIChat && k == "max_tokens" { // its old name
			k = "max_completion_tokens"
		}
		out[k] = x
	}
	if l.f == llm.GeminiGenerate {
		if out["parts"] != nil && out["role"] == nil {
			out["role"] = "user"
		}
		if s, ok := out["type"].(string); ok { // of a schema, in either of the two languages
			out["type"] = strings.ToLower(s)
		}
	}
	if l.f == llm.OpenAIResponses && out["role"] != nil && out["type"] == nil {
		out["type"] = "message"
	}
	return out
}

// empty values say what absent ones do.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// onlyText is the text of a list that holds one bare text.
func onlyText(list []any) (string, bool) {
	if len(list) != 1 {
		return "", false
	}
	m, _ := list[0].(map[string]any)
	s, ok := m["text"].(string)
	kind, _ := m["type"].(string)
	return s, ok && len(m) == 2 && strings.HasSuffix(kind, "text")
}

func camel(s string) string {
	parts := strings.Split(s, "_")
	for i := 1; i < len(parts); i++ {
		if parts[i] != "" {
			parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
		}
	}
	return strings.Join(parts, "")
}
