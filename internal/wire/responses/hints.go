package responses

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// A hint is a member that an upstream of this format should get and that nobody misses elsewhere: a default
// that was spelled out, advice on caching, the status of an item long done. Encoders for other formats
// refuse every member of Extra that is not null, so a hint is kept there as a null with its value in the
// name.
const hintMark = "#"

func setHint(m *llm.Members, name string, value jsontext.Value) {
	if *m == nil {
		*m = make(llm.Members)
	}
	(*m)[hintMark+name+"="+string(value)] = llm.Raw("null")
}

// hint reads one back, nil when it is not there.
func hint(m llm.Members, name string) jsontext.Value {
	for k := range m {
		if v, ok := strings.CutPrefix(k, hintMark+name+"="); ok {
			return jsontext.Value(v)
		}
	}
	return nil
}

// plain gives the members as they came, hints included, for a document of this format.
func plain(m llm.Members) llm.Members {
	out := make(llm.Members, len(m))
	for k, v := range m {
		if name, value, ok := strings.Cut(strings.TrimPrefix(k, hintMark), "="); ok && strings.HasPrefix(k, hintMark) {
			out[name] = llm.Raw(value)
		} else {
			out[k] = v
		}
	}
	return out
}

// keep drops the members that are null: they say nothing.
func keep(m llm.Members) llm.Members {
	for name, v := range m {
		if string(v) == "null" {
			delete(m, name)
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// keepItem keeps what an item of a conversation says beside what the hub has a place for.
func (it *item) keep() llm.Members {
	m := keep(it.Extra)
	for name, v := range map[string]string{"status": it.Status, "phase": it.Phase} {
		if v != "" {
			setHint(&m, name, quote(nil, v))
		}
	}
	return m
}

// isHint says that a member of a request asks for nothing that an upstream of another format would fail
// to do.
func isHint(name string, v llm.Raw, tools []jsontext.Value) bool {
	switch name {
	case "safety_identifier", "prompt_cache_retention", "prompt_cache_options", "stream_options":
		return true
	case "max_tool_calls": // counts only the calls of hosted tools
		return !slices.ContainsFunc(tools, func(t jsontext.Value) bool { return string(topString(t, "type")) != "function" })
	case "truncation":
		return string(v) == `"disabled"`
	case "background":
		return string(v) == "false"
	}
	return false
}
