package responses_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"sluice/internal/llm"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

// newCall is a call as a client of this format makes it.
func newCall(body string) *llm.Call {
	return &llm.Call{
		ID: "req_1", Format: llm.OpenAIResponses, Op: llm.OpChat, Model: "m", Stream: true, WantUsage: true, Choices: 1,
		Body: llm.NewBody(responses.Responses, []byte(body), llm.Marks{}),
	}
}

// signers of a part; "" is none.
var signers = []string{"", "anthropic", "gemini", "openai"}

func drawSignature(t *rapid.T) *llm.Signature {
	by := rapid.SampledFrom(signers).Draw(t, "signer")
	if by == "" {
		return nil
	}
	return &llm.Signature{By: by, Value: rapid.StringMatching(`[A-Za-z0-9+/=._-]{1,12}`).Draw(t, "proof")}
}

// drawPart draws a part as a reader of another format gives it.
func drawPart(t *rapid.T, n int) llm.Part {
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0, 1:
		p := llm.Part{Text: rapid.String().Draw(t, "text")}
		if p.Text != "" && rapid.Bool().Draw(t, "signed") {
			p.Signature = &llm.Signature{By: "gemini", Value: "c2ln"}
		}
		if rapid.IntRange(0, 4).Draw(t, "cited") == 0 {
			p.Citations = []llm.Citation{{URL: "https://example.com/a", Title: "A", Start: 1, End: 3}}
		}
		return p
	case 2:
		s := rapid.String().Draw(t, "refusal")
		return llm.Part{Refusal: &s}
	case 3:
		p := llm.Part{Reasoning: &llm.Reasoning{Text: rapid.StringN(1, 30, -1).Draw(t, "thought"), Summary: true}, Signature: drawSignature(t)}
		return p
	case 4:
		return llm.Part{
			Reasoning: &llm.Reasoning{Redacted: []byte(rapid.StringMatching(`[A-Za-z0-9=]{1,9}`).Draw(t, "redacted"))},
			Signature: &llm.Signature{By: "anthropic"},
		}
	case 5:
		return llm.Part{Call: &llm.ToolCall{ID: fmt.Sprintf("call_%d", n), Name: "free", Custom: true, Args: []byte(rapid.String().Draw(t, "input"))}}
	}
	args := rapid.SampledFrom([]string{`{}`, `{"a":1}`, `{"s":"\"}{ žluťoučký \\ \n"}`, `{"deep":{"x":[1,2,{"y":null}]}}`}).Draw(t, "args")
	p := llm.Part{Call: &llm.ToolCall{ID: fmt.Sprintf("call_%d", n), Name: "tool", Args: []byte(args)}}
	if rapid.Bool().Draw(t, "signed") {
		p.Signature = &llm.Signature{By: "gemini", Value: "Z2Vt"}
	}
	return p
}

// stopOf is the stop that a reader would tell of these parts.
func stopOf(parts []llm.Part) llm.Stop {
	stop := llm.StopEnd
	for _, p := range parts {
		switch {
		case p.Call != nil:
			return llm.StopTools
		case p.Refusal != nil:
			stop = llm.StopRefusal
		}
	}
	return stop
}

// pieces cuts a part into what a stream would bring.
func pieces(t *rapid.T, index int, p llm.Part) []llm.Delta {
	cut := func(s string) (string, string) {
		r := []rune(s)
		i := rapid.IntRange(0, len(r)).Draw(t, "cut")
		return string(r[:i]), string(r[i:])
	}
	one, two := p, llm.Part{}
	switch {
	case p.Call != nil:
		a, b := cut(string(p.Call.Args))
		head := *p.Call
		head.Args = []byte(a)
		one.Call, two.Call = &head, &llm.ToolCall{Args: []byte(b)}
	case p.Reasoning != nil && p.Reasoning.Redacted == nil:
		a, b := cut(p.Reasoning.Text)
		one.Reasoning = &llm.Reasoning{Text: a, Summary: true}
		one.Signature = nil
		two = llm.Part{Reasoning: &llm.Reasoning{Text: b, Summary: true}, Signature: p.Signature}
	case p.Refusal != nil:
		a, b := cut(*p.Refusal)
		one.Refusal, two.Refusal = &a, &b
	case p.Reasoning == nil:
		a, b := cut(p.Text)
		one.Text, two.Text = a, b
		one.Citations, two.Citations = nil, p.Citations
		if a == "" {
			return []llm.Delta{{Index: index, Part: &p}}
		}
	default:
		return []llm.Delta{{Index: index, Part: &p}}
	}
	return []llm.Delta{{Index: index, Part: &one}, {Index: index, Part: &two}}
}

// sameSaid compares what was said: ids of items are made up, and citations keep their own form once read.
var sameSaid = cmp.Options{
	cmpopts.IgnoreUnexported(llm.Choice{}), cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(llm.Part{}, "Extra", "Hints"), cmpopts.IgnoreFields(llm.ToolCall{}, "ItemID"),
	cmpopts.IgnoreFields(llm.Reasoning{}, "ID", "Summary"), cmpopts.IgnoreFields(llm.Citation{}, "Native"),
	cmpopts.IgnoreFields(llm.Head{}, "Extra"), cmpopts.IgnoreFields(llm.Answer{}, "Extra", "Format"),
}

// An answer of any format, written to a client of this one, says to a reader of this one what it said.
func TestWriteThenRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want llm.Answer
		want.Head = llm.Head{ID: "resp_9", Model: "m-1", Created: testTime}
		n := rapid.IntRange(0, 6).Draw(t, "parts")
		var parts []llm.Part
		for i := range n {
			parts = append(parts, drawPart(t, i))
		}
		stop, native := stopOf(parts), "completed"
		if rapid.IntRange(0, 4).Draw(t, "cut off") == 0 {
			stop, native = llm.StopLength, "max_output_tokens"
		}
		want.Choices = []llm.Choice{{Parts: parts, Stop: stop, Native: native}}
		want.Usage = &llm.Usage{Input: llm.Tokens(10), CacheRead: llm.Tokens(4), Output: llm.Tokens(7), Reasoning: llm.Tokens(2), Total: llm.Tokens(17), Tier: "default"}

		call := newCall(`{"model":"m","input":"x","stream":true}`)
		body, err := responses.Responses.Answer(call, &want)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := responses.Responses.ReadAnswer(body, false)
		if err != nil {
			t.Fatalf("read: %v\n%s", err, body)
		}
		var whole llm.Answer
		whole.Add(ev)
		if diff := cmp.Diff(&want, &whole, sameSaid); diff != "" {
			t.Fatalf("whole (-want +got):\n%s\n%s", diff, body)
		}

		w := responses.Responses.Writer(call)
		out, _ := w.Event(nil, &llm.Event{Head: &want.Head})
		for i, p := range parts {
			for _, d := range pieces(t, i, p) {
				out, _ = w.Event(out, &llm.Event{Delta: []llm.Delta{d}})
			}
		}
		out, _ = w.Event(out, &llm.Event{Delta: []llm.Delta{{Stop: stop}}})
		out, _ = w.Event(out, &llm.Event{Usage: want.Usage})
		out = w.End(out)
		streamed, _, err := wiretest.Gather(responses.Responses.ReadStream(io.NopCloser(bytes.NewReader(out)), false))
		if err != nil {
			t.Fatalf("read stream: %v\n%s", err, out)
		}
		if diff := cmp.Diff(&want, streamed, sameSaid); diff != "" {
			t.Fatalf("streamed (-want +got):\n%s\n%s", diff, out)
		}
	})
}
