package anthropic

import (
	"bytes"
	"fmt"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// A noted is what the scan noted of one block that names a tool call.
type noted struct {
	item, inner int
	kind        string // the block's type: tool_use, tool_result or "" for any other
	id          []byte
}

func (b noted) at(member string) string {
	return fmt.Sprintf("/messages/%d/content/%d/%s", b.item, b.inner, member)
}

// checkOrder holds the conversation to Anthropic's rules: the first message is the user's; tool calls are
// the assistant's, results the user's; a result answers a call of the assistant's turn right before it;
// every call is answered once in the next turn, if there is one. Messages of one role in a row are one
// turn. Blocks of tools that run at the provider (server_tool_use and its results) follow no such rule.
// Instructions (role system) stand right behind a message of the user, or one of the assistant that ends in such
// a tool, and are the last message or have the assistant's behind them.
func checkOrder(notes []wire.Note) error {
	o := order{block: noted{inner: -1}}
	for i := range notes {
		o.note(&notes[i])
	}
	o.endMessage()
	if o.turn == "user" {
		o.endUser()
	}
	if len(o.problems) == 0 {
		return nil
	}
	return &llm.Error{Kind: llm.KindInvalid, Msg: "the messages are not in order", Problems: o.problems}
}

type order struct {
	block  noted   // the block being read; its notes come one after the other
	blocks []noted // the calls and results of the message being read
	role   string  // of the message being read
	item   int     // its index
	hosted bool    // its last block is of a tool that runs at the provider
	before string  // role of the message before; "hosted" for an assistant's that ends in such a tool

	turn     string         // role of the turn being read
	calls    []noted        // of the last assistant turn
	place    map[string]int // of a call's id in calls
	answered []bool
	problems []llm.Problem
}

func (o *order) note(n *wire.Note) {
	if n.Item != o.item {
		o.endMessage()
		o.item = n.Item
	}
	if n.Kind == wire.NoteRole {
		switch string(n.Value) {
		case "user":
			o.role = "user"
		case roleSystem:
			o.role = roleSystem
		default:
			o.role = "assistant"
		}
		return
	}
	if n.Inner != o.block.inner {
		o.endBlock()
		o.block.item, o.block.inner = n.Item, n.Inner
	}
	switch n.Kind {
	case wire.NoteType:
		switch string(n.Value) { // assigning constants, so that a text block costs no memory
		case "tool_use":
			o.block.kind = "tool_use"
		case "tool_result":
			o.block.kind = "tool_result"
		}
		o.hosted = hosted(n.Value)
	case wire.NoteCall, wire.NoteResult:
		o.block.id = n.Value
	}
}

func (o *order) endBlock() {
	if o.block.kind != "" && o.block.id != nil {
		o.blocks = append(o.blocks, o.block)
	}
	o.block = noted{inner: -1}
}

// endMessage applies the rules to the message just read: only now is its role known, as JSON has no order.
func (o *order) endMessage() {
	o.endBlock()
	if o.role == "" {
		return
	}
	if o.turn == "" && o.role != "user" {
		o.problem(fmt.Sprintf("/messages/%d/role", o.item), `must be "user" in the first message`)
	}
	o.placed()
	if o.turn == "user" && o.role == "assistant" {
		o.endUser()
	}
	if o.role != roleSystem {
		o.turn = o.role
	}
	for _, b := range o.blocks {
		switch {
		case b.kind == "tool_use" && o.role == "assistant":
			o.call(b)
		case b.kind == "tool_use":
			o.problem(b.at("type"), "tool_use belongs in a message of the assistant")
		case o.role == "user":
			o.result(b)
		default:
			o.problem(b.at("type"), "tool_result belongs in a message of the user")
		}
	}
	o.before = o.role
	if o.hosted && o.role == "assistant" {
		o.before = "hosted"
	}
	o.blocks, o.role, o.hosted = o.blocks[:0], "", false
}

// placed holds instructions within the conversation to their place. First of all messages they have been reported.
func (o *order) placed() {
	switch {
	case o.before == roleSystem && o.role != "assistant" && o.turn != "":
		o.problem(fmt.Sprintf("/messages/%d/role", o.item), `must be "assistant" behind a message of role "system"`)
	case o.role == roleSystem && o.before == "assistant":
		o.problem(fmt.Sprintf("/messages/%d/role", o.item), `must not be "system" behind a message of the assistant, unless that ends in a tool run by the provider`)
	}
}

// hosted says that a block of this type is of a tool that runs at the provider.
func hosted(kind []byte) bool {
	return bytes.HasSuffix(kind, []byte("_tool_result")) || bytes.HasSuffix(kind, []byte("_tool_use")) && string(kind) != "tool_use"
}

func (o *order) call(b noted) {
	if o.place == nil {
		o.place = make(map[string]int)
	}
	if _, ok := o.place[string(b.id)]; ok {
		o.problem(b.at("id"), "is the id of another tool_use of this turn")
		return
	}
	o.place[string(b.id)] = len(o.calls)
	o.calls, o.answered = append(o.calls, b), append(o.answered, false)
}

func (o *order) result(b noted) {
	i, ok := o.place[string(b.id)]
	switch {
	case !ok:
		o.problem(b.at("tool_use_id"), "answers no tool_use of the assistant's turn right before")
	case o.answered[i]:
		o.problem(b.at("tool_use_id"), "answers a tool_use that has a tool_result already")
	default:
		o.answered[i] = true
	}
}

// endUser ends a user's turn: the calls before it must have got their results.
func (o *order) endUser() {
	for i, c := range o.calls {
		if !o.answered[i] {
			o.problem(c.at("id"), "has no tool_result with this tool_use_id in the next turn")
		}
	}
	o.calls, o.answered = o.calls[:0], o.answered[:0]
	clear(o.place)
}

// maxProblems is how many are reported of one request, as the scan has it.
const maxProblems = 32

func (o *order) problem(at, msg string) {
	if len(o.problems) < maxProblems {
		o.problems = append(o.problems, llm.Problem{At: at, Msg: msg})
	}
}
