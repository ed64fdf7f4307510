package responses_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

// upstreams read the streams of testdata/write by the name of the file they stand in.
var upstreams = map[string]wire.Upstream{
	"chat.sse": openai.Chat, "messages.sse": anthropic.Messages, "responses.sse": responses.Responses,
}

// testdata/write: a client's request, a stream of some upstream, and the stream that the client gets.
func TestWrite(t *testing.T) {
	wiretest.Golden(t, "testdata/write/*.txtar", func(t *testing.T, _ string, a *txtar.Archive) []txtar.File {
		call := newCall(string(a.Files[0].Data))
		u := upstreams[a.Files[1].Name]
		f := responses.At(func() time.Time { return testTime })
		out, _ := wiretest.Rewrite(call, u.ReadStream(io.NopCloser(bytes.NewReader(a.Files[1].Data)), false), f.Writer(call), -1, false)
		checkSequence(t, out)
		return []txtar.File{{Name: "out.sse", Data: out}}
	})
}

// checkSequence holds a stream to the rules that clients rely on: numbers without gaps, an item is added
// before anything is said of it and done once, a part likewise within its item, deltas add up to what done
// events say, and the final response holds the items as they were done.
func checkSequence(t *testing.T, out []byte) {
	t.Helper()
	type event struct {
		Type         string
		Sequence     int    `json:"sequence_number"`
		OutputIndex  int    `json:"output_index"`
		ContentIndex int    `json:"content_index"`
		SummaryIndex int    `json:"summary_index"`
		ItemID       string `json:"item_id"`
		Delta        string
		Text         *string
		Refusal      *string
		Arguments    *string
		Input        *string
		Item         json.RawMessage
		Response     struct{ Output []json.RawMessage }
	}
	type place struct{ item, part int }
	ids, texts := map[int]string{}, map[place]string{}
	done := map[int]string{}
	for i, block := range strings.Split(strings.TrimSuffix(string(out), "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(block, "\ndata: ")
		var e event
		if err := json.Unmarshal([]byte(data), &e); err != nil || !ok {
			t.Fatalf("frame %d: %v: %s", i, err, block)
		}
		if "event: "+e.Type != name || e.Sequence != i {
			t.Errorf("frame %d: %s with number %d: %s", i, name, e.Sequence, data)
		}
		at := place{e.OutputIndex, e.ContentIndex + 1000*e.SummaryIndex}
		if e.ItemID != "" && (ids[e.OutputIndex] != e.ItemID || done[e.OutputIndex] != "") {
			t.Errorf("frame %d: of item %q, which is not open: %s", i, e.ItemID, data)
		}
		switch {
		case e.Type == "response.output_item.added":
			var it struct{ ID string }
			if err := json.Unmarshal(e.Item, &it); err != nil || it.ID == "" || e.OutputIndex != len(ids) {
				t.Errorf("frame %d: added: %s", i, data)
			}
			ids[e.OutputIndex] = it.ID
		case e.Type == "response.output_item.done":
			done[e.OutputIndex] = string(e.Item)
		case strings.HasSuffix(e.Type, ".delta"):
			texts[at] += e.Delta
		case strings.HasSuffix(e.Type, "_part.added"):
			texts[at] = ""
		}
		for _, full := range []*string{e.Text, e.Refusal, e.Arguments, e.Input} {
			if full != nil && *full != texts[at] && *full != "{}" {
				t.Errorf("frame %d: done with %q after deltas %q", i, *full, texts[at])
			}
		}
		if e.Type == "response.completed" || e.Type == "response.incomplete" {
			if len(done) != len(ids) || len(e.Response.Output) != len(ids) {
				t.Errorf("%d items added, %d done, %d in the final response", len(ids), len(done), len(e.Response.Output))
				continue
			}
			for k, it := range e.Response.Output {
				if string(it) != done[k] {
					t.Errorf("item %d: done as %s, in the final response %s", k, done[k], it)
				}
			}
		}
	}
}

// events writes events and gives the client's stream.
func events(call *llm.Call, evs ...*llm.Event) []byte {
	w := responses.Responses.Writer(call)
	var out []byte
	for _, ev := range evs {
		out, _ = w.Event(out, ev)
	}
	return w.End(out)
}

func delta(index int, p llm.Part) *llm.Event {
	return &llm.Event{Format: llm.OpenAIChat, Delta: []llm.Delta{{Index: index, Part: &p}}}
}

func piece(s string) llm.Part { return llm.Part{Call: &llm.ToolCall{Args: []byte(s)}} }

func gather(t *testing.T, out []byte) []llm.Part {
	t.Helper()
	checkSequence(t, out)
	a, _, err := wiretest.Gather(responses.Responses.ReadStream(io.NopCloser(bytes.NewReader(out)), false))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return a.Choices[0].Parts
}

// Pieces of parallel calls may come in turns.
func TestWriteInterleavedCalls(t *testing.T) {
	got := gather(t, events(newCall(`{"model":"m","input":"x"}`),
		delta(0, llm.Part{Text: "Both."}),
		delta(1, llm.Part{Call: &llm.ToolCall{ID: "c1", Name: "f"}}),
		delta(2, llm.Part{Call: &llm.ToolCall{ID: "c2", Name: "g"}}),
		delta(1, piece(`{"a"`)), delta(2, piece(`{"b"`)), delta(1, piece(`:1}`)), delta(2, piece(`:2}`)),
		delta(3, llm.Part{Call: &llm.ToolCall{ID: "c3", Name: "none"}}),
	))
	want := []llm.Part{
		{Text: "Both."},
		{Call: &llm.ToolCall{ID: "c1", Name: "f", Args: []byte(`{"a":1}`)}},
		{Call: &llm.ToolCall{ID: "c2", Name: "g", Args: []byte(`{"b":2}`)}},
		{Call: &llm.ToolCall{ID: "c3", Name: "none", Args: []byte(`{}`)}},
	}
	if diff := cmp.Diff(want, got, sameSaid); diff != "" {
		t.Error(diff)
	}
}

// Gemini's signature of a text may come at its end, and alone.
func TestWriteLateSignatures(t *testing.T) {
	sig := &llm.Signature{By: "gemini", Value: "c2ln"}
	for name, evs := range map[string][]*llm.Event{
		"with the last piece": {delta(0, llm.Part{Text: "a"}), delta(0, llm.Part{Text: "b", Signature: sig})},
		"in an empty part":    {delta(0, llm.Part{Text: "ab"}), delta(1, llm.Part{Signature: sig})},
	} {
		got := gather(t, events(newCall(`{"model":"m","input":"x"}`), evs...))
		if diff := cmp.Diff([]llm.Part{{Text: "ab", Signature: sig}}, got, sameSaid); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What a client sends back of an answer holds every foreign signature, where it was.
func TestSignaturesComeBack(t *testing.T) {
	parts := []llm.Part{
		{Reasoning: &llm.Reasoning{Text: "hm", Summary: true}, Signature: &llm.Signature{By: "anthropic", Value: "sig=="}},
		{Reasoning: &llm.Reasoning{Redacted: []byte("cmVk")}, Signature: &llm.Signature{By: "anthropic"}},
		{Text: "t", Signature: &llm.Signature{By: "gemini", Value: "dDE="}},
		{Call: &llm.ToolCall{ID: "c1", Name: "f", Args: []byte(`{}`)}, Signature: &llm.Signature{By: "gemini", Value: "dDI="}},
	}
	body, err := responses.Responses.Answer(newCall(`{"model":"m","input":"x"}`), &llm.Answer{Choices: []llm.Choice{{Parts: parts, Stop: llm.StopTools}}})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Output []json.RawMessage }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	input := append(answer.Output, json.RawMessage(`{"type":"function_call_output","call_id":"c1","output":"ok"}`))
	back, err := json.Marshal(map[string]any{"model": "m", "input": input})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(string(back)); err != nil {
		t.Fatalf("the answer's items are no valid input: %v\n%s", err, back)
	}
	p, err := responses.Responses.Decode(back)
	if err != nil {
		t.Fatal(err)
	}
	got := p.(*llm.Chat).Messages[0].Parts
	for i := range got {
		got[i].At = ""
	}
	if diff := cmp.Diff(parts, got, sameSaid); diff != "" {
		t.Errorf("(-sent +came back):\n%s", diff)
	}
}

func TestWriteImage(t *testing.T) {
	out := events(newCall(`{"model":"m","input":"x"}`), delta(0, llm.Part{Media: &llm.Media{Kind: llm.MediaImage, Type: "image/png", Data: "AAAA"}}))
	got := gather(t, out)
	if len(got) != 1 || !bytes.Contains(got[0].Foreign, []byte(`"result":"AAAA"`)) {
		t.Errorf("%s", out)
	}
}

// The members that the official SDKs require are always there.
func TestAnswerHoldsWhatSDKsRequire(t *testing.T) {
	body, err := responses.Responses.Answer(newCall(`{"model":"m","input":"x","temperature":0.5,"tools":[{"type":"function","name":"f"}],"tool_choice":"required","metadata":{"a":"b"},"instructions":"i"}`), &llm.Answer{})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"id", "object", "created_at", "status", "model", "output", "error", "incomplete_details", "instructions", "metadata",
		"parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p", "text", "truncation", "usage", "reasoning", "max_output_tokens", "previous_response_id",
	} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if got["temperature"] != 0.5 || got["tool_choice"] != "required" || got["instructions"] != "i" || len(got["tools"].([]any)) != 1 || got["store"] != false {
		t.Errorf("the request's settings are not repeated: %s", body)
	}
	if got["id"] != "resp_req_1" || got["model"] != "m" {
		t.Errorf("no head: %s", body)
	}
}

// What only this format knows is written again as it was: items, and parts of messages.
func TestWriteForeign(t *testing.T) {
	body := `{"id":"resp_1","object":"response","created_at":1767225600,"status":"completed","error":null,"incomplete_details":null,"model":"m","output":[` + hostedItem +
		`,{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"new_kind","x":1},{"type":"output_text","annotations":[],"logprobs":[],"text":"t","y":2}],"phase":"final_answer"}` +
		`,{"id":"msg_2","type":"message","status":"completed","role":"assistant","content":[{"type":"new_kind","x":2}]}` +
		`],"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0,"new_tokens":4},"output_tokens":1,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":2,"cost":0.1},"billing":{"payer":"x"},"tools":[]}`
	ev, err := responses.Responses.ReadAnswer([]byte(body), false)
	if err != nil {
		t.Fatal(err)
	}
	var a llm.Answer
	a.Add(ev)
	whole, err := responses.Responses.Answer(newCall(`{"model":"m","input":"x"}`), &a)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, []byte(body)), tree(t, whole)); diff != "" {
		t.Errorf("whole (-read +written):\n%s", diff)
	}
	out := events(newCall(`{"model":"m","input":"x"}`), ev)
	checkSequence(t, out)
	streamed, raw, err := wiretest.Gather(responses.Responses.ReadStream(io.NopCloser(bytes.NewReader(out)), false))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	if diff := cmp.Diff(&a, streamed, sameSaid); diff != "" {
		t.Errorf("streamed (-read +written):\n%s", diff)
	}
}

func tree(t *testing.T, raw []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}
