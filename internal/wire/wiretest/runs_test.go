package wiretest_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/gemini"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

// runsOf reads an answer, or a part of its stream, and gives the runs of paid tools that were told of.
func runsOf(t *testing.T, u wire.Upstream, stream, raw bool, body []byte) llm.Runs {
	t.Helper()
	var sum llm.Usage
	if !stream {
		ev, err := u.ReadAnswer(body, raw)
		if err != nil {
			t.Fatal(err)
		}
		sum.Merge(ev.Usage)
		return sum.Runs
	}
	for ev, err := range llm.All(u.ReadStream(io.NopCloser(bytes.NewReader(body)), raw)) {
		if err != nil {
			break // it was cut
		}
		sum.Merge(ev.Usage)
	}
	return sum.Runs
}

// Tools that run at the vendor and are paid by the call are counted, whether an answer is decoded or passes.
func TestRuns(t *testing.T) {
	const (
		search   = `{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"q"}}`
		open     = `{"id":"ws_2","type":"web_search_call","status":"completed","action":{"type":"open_page","url":"u"}}`
		files    = `{"id":"fs_1","type":"file_search_call","status":"completed","queries":["a","b"]}`
		code     = `{"id":"ci_1","type":"code_interpreter_call","container_id":"cntr_1","status":"completed"}`
		code2    = `{"id":"ci_2","type":"code_interpreter_call","container_id":"cntr_1","status":"completed"}`
		text     = `{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"web_search_call","annotations":[]}]}`
		told     = `"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}`
		geminiOK = `"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"`
	)
	response := func(more string, items ...string) string {
		return `{"id":"r","object":"response","status":"completed","model":"m","output":[` + strings.Join(items, ",") + `],` + more + `}`
	}
	done := func(item string) string {
		return fmt.Sprintf("event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":%s}\n\n", item)
	}
	for _, c := range []struct {
		name   string
		from   wire.Upstream
		stream bool
		body   string
		want   llm.Runs
	}{
		{"none", responses.Responses, false, response(told, text), nil},
		{"items", responses.Responses, false, response(told, search, open, files, code, code2, text), llm.Runs{"web_search": 1, "file_search": 1, "code_interpreter": 1}},
		{"the vendor's own count", responses.Responses, false, response(told+`,"tool_usage":{"web_search":{"num_requests":3}}`, search, text), llm.Runs{"web_search": 3}},
		{"and none by it", responses.Responses, false, response(told+`,"tool_usage":{"web_search":{"num_requests":0}}`, text), nil},
		{"xAI's", responses.Responses, false, response(`"usage":{"input_tokens":1,"output_tokens":1,"server_side_tool_usage_details":{"x_search_calls":5,"web_search_calls":0}}`, text), llm.Runs{"x_search": 5}},
		{"no usage", responses.Responses, false, response(`"usage":null`, search, text), llm.Runs{"web_search": 1}},
		{"a stream", responses.Responses, true, done(search) + done(open) + done(files) + "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":" + response(told, search, open, files, text) + "}\n\n", llm.Runs{"web_search": 1, "file_search": 1}},
		{"a stream that is cut", responses.Responses, true, done(search) + done(code) + done(code2), llm.Runs{"web_search": 1, "code_interpreter": 1}},
		{"grounded", gemini.Generate, false, `{"candidates":[{` + geminiOK + `,"groundingMetadata":{"webSearchQueries":["a","b"],"groundingChunks":[]}}]}`, llm.Runs{"web_search": 2, "grounded_prompt": 1}},
		{"not grounded", gemini.Generate, false, `{"candidates":[{` + geminiOK + `,"groundingMetadata":{}}]}`, nil},
		{
			"a stream that tells it twice", gemini.Generate, true, "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"groundingMetadata\":{\"webSearchQueries\":[\"a\"]}}]}\r\n\r\n" +
				"data: {\"candidates\":[{" + geminiOK + ",\"groundingMetadata\":{\"webSearchQueries\":[\"a\",\"b\"]}}],\"usageMetadata\":{\"promptTokenCount\":1}}\r\n\r\n",
			llm.Runs{"web_search": 2, "grounded_prompt": 1},
		},
		{"Anthropic, none", anthropic.Messages, false, `{"type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":1,"server_tool_use":null}}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, raw := range []bool{false, true} {
				if diff := cmp.Diff(c.want, runsOf(t, c.from, c.stream, raw, []byte(c.body))); diff != "" {
					t.Errorf("raw %v (-want +got):\n%s", raw, diff)
				}
			}
		})
	}
}

// What was recorded of tools at the vendors, and of that what a client has seen that leaves before the end.
func TestRunsOfRecordings(t *testing.T) {
	want := map[string]llm.Runs{"db7db9ab0a5b": {"web_search": 1}, "1a868d174a3f": {"web_search": 1}}
	for _, r := range wiretest.All(t) {
		arm, ok := armOf(r.Format())
		if !ok || r.Refused() || r.Format() == llm.OpenAIEmbeddings {
			continue
		}
		for _, raw := range []bool{false, true} {
			if ev, err := arm.up.ReadAnswer(r.Answer, raw); !r.Stream && (err != nil || ev == nil) {
				continue // an error within a 200
			}
			runs := want[r.ID]
			if strings.Contains(r.String(), "server_tool") {
				runs = llm.Runs{"web_search": 1}
			}
			if got := runsOf(t, arm.up, r.Stream, raw, r.Answer); !cmp.Equal(got, runs) {
				t.Errorf("%s, raw %v: %v, want %v", r, raw, got, runs)
			}
			if cut := r.Answer[:2*len(r.Answer)/3]; r.Stream && len(runs) > 0 && !cmp.Equal(runsOf(t, arm.up, true, raw, cut), runs) {
				t.Errorf("%s, raw %v, cut: %v, want %v", r, raw, runsOf(t, arm.up, true, raw, cut), runs)
			}
		}
	}
}
