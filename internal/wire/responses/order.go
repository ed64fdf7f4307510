package responses

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// checkInput checks what spans several items, by the scan's notes: that there is an input at all, and that
// tool calls and their outputs match.
func checkInput(s *wire.Scanned) []llm.Problem {
	c := inputCheck{calls: make(map[string]*call)}
	at := -1
	var it inputItem
	for i := range s.Notes {
		n := &s.Notes[i]
		if n.Item < 0 { // the input is a string, or something is kept at the provider
			c.stored = c.stored || n.Kind == noteStored
			continue
		}
		if n.Item != at {
			if at >= 0 {
				c.item(at, &it)
			}
			at, it = n.Item, inputItem{}
		}
		switch n.Kind {
		case wire.NoteType:
			it.kind = n.Value
		case wire.NoteCall:
			it.id = n.Value
		}
	}
	if at >= 0 {
		c.item(at, &it)
	}
	if len(s.Notes) == 0 {
		c.problems = append(c.problems, llm.Problem{At: "/input", Msg: "is required"})
	}
	c.close(s.Raw)
	return c.problems
}

// An inputItem is what the notes say of one item.
type inputItem struct{ kind, id []byte }

type call struct {
	index    int
	answered bool
}

type inputCheck struct {
	calls    map[string]*call
	orphans  []int // outputs whose call has not been seen
	stored   bool  // earlier items are kept at the provider, perhaps the calls of this request's outputs
	problems []llm.Problem
}

func (c *inputCheck) bad(index int, msg string) {
	c.problems = append(c.problems, llm.Problem{At: "/input/" + strconv.Itoa(index) + "/call_id", Msg: msg})
}

func (c *inputCheck) item(index int, it *inputItem) {
	switch string(it.kind) {
	case "item_reference":
		c.stored = true
	case "function_call", "custom_tool_call":
		switch {
		case len(it.id) == 0:
			c.bad(index, "is required where type is "+string(it.kind))
		case c.calls[string(it.id)] != nil:
			c.bad(index, "is the id of an earlier call; each call needs its own")
		default:
			c.calls[string(it.id)] = &call{index: index}
		}
	case "function_call_output", "custom_tool_call_output":
		known := c.calls[string(it.id)]
		switch {
		case len(it.id) == 0: // the output of a tool that the model did not call; the API has such
		case known == nil:
			c.orphans = append(c.orphans, index)
		case known.answered:
			c.bad(index, "is answered already")
		default:
			known.answered = true
		}
	}
}

// close reports what matches nothing. The output of an asynchronous tool may come in a later request, so a
// body that speaks of any may leave calls open.
func (c *inputCheck) close(raw []byte) {
	if !c.stored {
		for _, index := range c.orphans {
			c.bad(index, "matches no earlier call")
		}
	}
	for _, call := range c.calls {
		if !call.answered {
			if bytes.Contains(raw, []byte(`"async"`)) {
				break
			}
			c.bad(call.index, "is a call without an output; each call needs one later in the input")
		}
	}
	slices.SortStableFunc(c.problems, func(a, b llm.Problem) int {
		return cmp.Or(cmp.Compare(len(a.At), len(b.At)), cmp.Compare(a.At, b.At))
	})
}
