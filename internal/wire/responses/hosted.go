package responses

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// paid are the items of tools that run at the vendor and are paid by the call, and the names that price files have for them.
var paid = map[string]string{
	"web_search_call": "web_search", "file_search_call": "file_search", "code_interpreter_call": "code_interpreter", "image_generation_call": "image_generation",
}

// A counter counts the calls of such tools.
type counter struct {
	calls      llm.Runs
	containers map[string]bool // code runs in one as often as it likes
}

// mayBePaid is a quick no for most answers: no item in it is of such a tool.
func mayBePaid(b []byte) bool {
	for kind := range paid {
		if bytes.Contains(b, []byte(kind)) {
			return true
		}
	}
	return false
}

// add counts an item, if it is of such a tool. Of web search, opening a page that was found costs nothing.
func (c *counter) add(raw jsontext.Value) {
	var it struct {
		Type      string `json:"type"`
		Container string `json:"container_id"`
		Action    struct {
			Type string `json:"type"`
		} `json:"action"`
	}
	if json.Unmarshal(raw, &it, readOptions) != nil {
		return
	}
	tool, ok := paid[it.Type]
	switch {
	case !ok, tool == "web_search" && it.Action.Type != "" && it.Action.Type != "search", c.containers[it.Container]:
		return
	case it.Container != "":
		if c.containers == nil {
			c.containers = make(map[string]bool)
		}
		c.containers[it.Container] = true
	}
	c.calls = c.calls.With(tool, c.calls[tool]+1)
}

// told adds to usage the calls that a whole response tells: its items, and what the vendor counts itself.
func told(u *llm.Usage, output, own jsontext.Value, details llm.Raw) *llm.Usage {
	var c counter
	var items []jsontext.Value
	if mayBePaid(output) && json.Unmarshal(output, &items, readOptions) == nil {
		for _, it := range items {
			c.add(it)
		}
	}
	var t struct {
		Web struct {
			Requests *whole `json:"num_requests"`
		} `json:"web_search"`
	}
	if own.Kind() == '{' && json.Unmarshal(own, &t, readOptions) == nil && t.Web.Requests != nil && (*t.Web.Requests > 0 || c.calls != nil) {
		c.calls = c.calls.With("web_search", int64(*t.Web.Requests))
	}
	var counts map[string]whole // xAI
	if details != nil && json.Unmarshal(details, &counts, readOptions) == nil {
		for name, n := range counts {
			if tool, ok := strings.CutSuffix(name, "_calls"); ok && n > 0 {
				c.calls = c.calls.With(tool, int64(n))
			}
		}
	}
	if c.calls == nil {
		return u
	}
	if u == nil {
		u = new(llm.Usage)
	}
	u.Runs = c.calls
	return u
}

// detailsMember is where xAI counts the calls of its tools, in usage.
const detailsMember = "server_side_tool_usage_details"

func (u *usage) details() llm.Raw {
	if u == nil {
		return nil
	}
	return u.Extra[detailsMember]
}
