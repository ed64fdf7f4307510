package responses

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

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

// hints are what an item of a conversation says of its own making.
func (it *item) hints() llm.Members {
	var m llm.Members
	if it.Status != "" {
		m = m.Join(llm.Members{"status": quote(nil, it.Status)})
	}
	if it.Phase != "" {
		m = m.Join(llm.Members{"phase": quote(nil, it.Phase)})
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
