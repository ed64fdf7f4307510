package openai

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Open fills the call from the scanned body and checks the order of its messages.
func (*ChatFormat) Open(call *llm.Call, _ *http.Request, s *wire.Scanned) error {
	call.Op = llm.OpChat
	openCommon(call, s)
	return invalid(checkTurns(s.Notes))
}

// openCommon reads what chat, completions and embeddings share.
func openCommon(call *llm.Call, s *wire.Scanned) {
	call.Model = unquote(s.Member(llm.MarkModel))
	call.Stream = string(s.Member(llm.MarkStream)) == "true"
	call.WantUsage = string(s.Member(llm.MarkIncludeUsage)) == "true"
	call.MaxOutput = max(number(s.Member(llm.MarkMaxOutput)), number(s.Member(llm.MarkMaxOutputOld)))
	call.Choices = max(1, number(s.Member(llm.MarkN)), number(s.Member(llm.MarkBestOf)))
}

// number reads a whole number that has passed the scan; absent and null are 0.
func number(v []byte) int64 {
	if len(v) == 0 || v[0] == 'n' {
		return 0
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return 0
	}
	return int64(f)
}

func invalid(problems []llm.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not valid", Problems: problems}
}

// turns follows a conversation message by message: every tool call must be answered before anything else
// is said, and every tool message must answer an open call.
type turns struct {
	open     [][]byte // ids of the calls not answered yet
	at       int      // the message that made them
	problems []llm.Problem
}

// checkTurns holds the messages' order against what every chat model expects. Notes of one message stand
// together, but its role may come after its calls.
func checkTurns(notes []wire.Note) []llm.Problem {
	var t turns
	for len(notes) > 0 {
		n := 1
		for n < len(notes) && notes[n].Item == notes[0].Item {
			n++
		}
		t.message(notes[0].Item, notes[:n])
		notes = notes[n:]
	}
	t.settle(-1)
	return t.problems
}

func (t *turns) message(item int, notes []wire.Note) {
	var role []byte
	for i := range notes {
		if notes[i].Kind == wire.NoteRole {
			role = notes[i].Value
		}
	}
	if string(role) == "tool" {
		for i := range notes {
			if notes[i].Kind == wire.NoteResult {
				t.answer(item, notes[i].Value)
			}
		}
		return
	}
	t.settle(item)
	for i := range notes {
		if notes[i].Kind != wire.NoteCall {
			continue
		}
		if string(role) != "assistant" {
			t.problem(fmt.Sprintf("/messages/%d/tool_calls", item), "is only allowed in a message of role assistant")
			return
		}
		t.open, t.at = append(t.open, notes[i].Value), item
	}
}

func (t *turns) answer(item int, id []byte) {
	for i := range t.open {
		if bytes.Equal(t.open[i], id) {
			t.open = append(t.open[:i], t.open[i+1:]...)
			return
		}
	}
	t.problem(fmt.Sprintf("/messages/%d/tool_call_id", item),
		"answers no open tool call: a tool message must follow the assistant message whose tool_calls holds its id")
}

// settle reports the calls that are still open when message next begins, or at the end.
func (t *turns) settle(next int) {
	if len(t.open) == 0 {
		return
	}
	ids := bytes.Join(t.open, []byte(", "))
	if len(ids) > 200 {
		ids = append(bytes.ToValidUTF8(ids[:200:200], nil), "…"...)
	}
	where := "the end"
	if next >= 0 {
		where = fmt.Sprintf("message %d", next)
	}
	t.problem(fmt.Sprintf("/messages/%d/tool_calls", t.at), fmt.Sprintf("must be followed by a tool message for each call; missing before %s: %s", where, ids))
	t.open = t.open[:0]
}

func (t *turns) problem(at, msg string) {
	const most = 32
	if len(t.problems) < most {
		t.problems = append(t.problems, llm.Problem{At: at, Msg: msg})
	}
}
