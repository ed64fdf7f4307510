package responses_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

func open(s string, raw bool) llm.Stream {
	return responses.Responses.ReadStream(io.NopCloser(strings.NewReader(s)), raw)
}

// sse writes events, one JSON object a line, as frames. Lines without an object go in as they are.
func sse(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString("data: " + line + "\n\n")
		}
	}
	return b.String()
}

const created = `{"type":"response.created","response":{"id":"resp_1","object":"response","created_at":1767225600,"model":"m-1","status":"in_progress","output":[]}}`

func completed(output string) string {
	return `{"type":"response.completed","response":{"id":"resp_1","object":"response","created_at":1767225600,"model":"m-1","status":"completed","output":[` +
		output + `],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}}`
}

const (
	textItem   = `{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hello","annotations":[]}]}`
	callItem   = `{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"f","arguments":"{\"a\":1}"}`
	customItem = `{"id":"ctc_1","type":"custom_tool_call","call_id":"call_2","name":"sql","input":"SELECT 1"}`
	reasonItem = `{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"First."},{"type":"summary_text","text":"Second."}],"encrypted_content":"gAAA"}`
	hostedItem = `{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search"}}`
)

// What is told only by done events, only by items, or only by the final response, is read all the same, and
// what is told four times is read once.
func TestReadEveryWayOfTelling(t *testing.T) {
	everything := strings.Join([]string{reasonItem, textItem, hostedItem, callItem, customItem}, ",")
	items := func(item string, at int) string {
		return fmt.Sprintf(`{"type":"response.output_item.done","output_index":%d,"item":%s}`+"\n", at, item)
	}
	allItems := items(reasonItem, 0) + items(textItem, 1) + items(hostedItem, 2) + items(callItem, 3) + items(customItem, 4)
	added := `{"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}
		{"type":"response.reasoning_summary_part.added","item_id":"rs_1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}
		{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"summary_index":0,"delta":"Fir"}
		{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"summary_index":0,"delta":"st."}
		{"type":"response.reasoning_summary_text.done","item_id":"rs_1","output_index":0,"summary_index":0,"text":"First."}
		{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"summary_index":1,"delta":"Second."}
		` + items(reasonItem, 0) + `
		{"type":"response.output_item.added","output_index":1,"item":{"id":"msg_1","type":"message","role":"assistant","status":"in_progress","content":[]}}
		{"type":"response.content_part.added","item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}
		{"type":"response.output_text.delta","item_id":"msg_1","output_index":1,"content_index":0,"delta":"Hel","logprobs":[]}
		{"type":"response.output_text.delta","item_id":"msg_1","output_index":1,"content_index":0,"delta":"lo","logprobs":[]}
		{"type":"response.output_text.done","item_id":"msg_1","output_index":1,"content_index":0,"text":"Hello","logprobs":[]}
		{"type":"response.content_part.done","item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"Hello","annotations":[]}}
		` + items(textItem, 1) + `
		{"type":"response.output_item.added","output_index":2,"item":{"id":"ws_1","type":"web_search_call","status":"in_progress"}}
		{"type":"response.web_search_call.searching","item_id":"ws_1","output_index":2}
		` + items(hostedItem, 2) + `
		{"type":"response.output_item.added","output_index":3,"item":{"id":"fc_1","type":"function_call","call_id":"call_1","name":"f","arguments":""}}
		{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":3,"delta":"{\"a\""}
		{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":3,"delta":":1}"}
		{"type":"response.function_call_arguments.done","item_id":"fc_1","output_index":3,"arguments":"{\"a\":1}"}
		` + items(callItem, 3) + `
		{"type":"response.output_item.added","output_index":4,"item":{"id":"ctc_1","type":"custom_tool_call","call_id":"call_2","name":"sql","input":""}}
		{"type":"response.custom_tool_call_input.delta","item_id":"ctc_1","output_index":4,"delta":"SELECT 1"}
		{"type":"response.custom_tool_call_input.done","item_id":"ctc_1","output_index":4,"input":"SELECT 1"}
		` + items(customItem, 4)

	ev, err := responses.Responses.ReadAnswer([]byte(`{"id":"resp_1","object":"response","created_at":1767225600,"model":"m-1","status":"completed","output":[`+everything+
		`],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}`), false)
	if err != nil {
		t.Fatal(err)
	}
	var want llm.Answer
	want.Add(ev)
	if got := len(want.Choices[0].Parts); got != 6 {
		t.Fatalf("the whole answer has %d parts, want 6", got)
	}
	forms := map[string]string{
		"deltas and all":        created + "\n" + added + "\n" + completed(everything),
		"deltas, empty output":  created + "\n" + added + "\n" + completed(""),
		"nothing added":         created + "\n" + without(added, "output_item.added") + "\n" + completed(""),
		"nothing named":         created + "\n" + without(without(added, "output_item.added"), "output_item.done") + "\n" + completed(everything),
		"items only":            created + "\n" + allItems + completed(""),
		"items and output":      created + "\n" + allItems + completed(everything),
		"output only":           created + "\n" + completed(everything),
		"no output_index":       created + "\n" + noIndex(added) + completed(everything),
		"no output_index added": created + "\n" + noIndex(allItems) + completed(""),
	}
	for name, lines := range forms {
		t.Run(name, func(t *testing.T) {
			got, _, err := wiretest.Gather(open(sse(lines), false))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got, sameSaid); diff != "" {
				t.Errorf("(-whole +streamed):\n%s", diff)
			}
		})
	}
}

// without takes out the events of a type.
func without(lines, typ string) string {
	var kept strings.Builder
	for line := range strings.Lines(lines) {
		if !strings.Contains(line, `"response.`+typ+`"`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// noIndex takes output_index out of events: some servers do not send it.
func noIndex(lines string) string {
	for i := range 10 {
		lines = strings.ReplaceAll(lines, fmt.Sprintf(`"output_index":%d,`, i), "")
		lines = strings.ReplaceAll(lines, fmt.Sprintf(`,"output_index":%d`, i), "")
	}
	return lines
}

// GitHub's server gives an item another id in every event.
func TestReadItemsWithoutSteadyIDs(t *testing.T) {
	got, _, err := wiretest.Gather(open(sse(created+`
		{"type":"response.output_item.added","output_index":0,"item":{"id":"a","type":"function_call","call_id":"call_1","name":"f","arguments":""}}
		{"type":"response.function_call_arguments.delta","item_id":"b","output_index":0,"delta":"{}"}
		{"type":"response.function_call_arguments.done","item_id":"c","output_index":0,"arguments":"{}"}
		{"type":"response.output_item.done","output_index":0,"item":{"id":"d","type":"function_call","call_id":"call_1","name":"f","arguments":"{}"}}
		`+completed(`{"id":"e","type":"function_call","call_id":"call_1","name":"f","arguments":"{}"}`)), false))
	if err != nil {
		t.Fatal(err)
	}
	want := []llm.Part{{Call: &llm.ToolCall{ID: "call_1", Name: "f", ItemID: "a", Args: []byte("{}")}}}
	if diff := cmp.Diff(want, got.Choices[0].Parts); diff != "" {
		t.Error(diff)
	}
}

// A done event that says less than the deltas did takes nothing back; a call without arguments has {}.
func TestReadDoneOddities(t *testing.T) {
	got, _, err := wiretest.Gather(open(sse(created+`
		{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"Hello"}
		{"type":"response.output_text.done","item_id":"m","output_index":0,"content_index":0,"text":"Hel"}
		{"type":"response.output_item.done","output_index":1,"item":{"id":"f","type":"function_call","call_id":"c","name":"g","arguments":""}}
		`+completed("")), false))
	if err != nil {
		t.Fatal(err)
	}
	want := []llm.Part{{Text: "Hello"}, {Call: &llm.ToolCall{ID: "c", Name: "g", Args: []byte("{}")}}}
	if diff := cmp.Diff(want, got.Choices[0].Parts, sameSaid); diff != "" {
		t.Error(diff)
	}
}

func TestReadLogprobsOnce(t *testing.T) {
	probs := `[{"token":"Hi","logprob":-0.1,"top_logprobs":[]}]`
	got, _, err := wiretest.Gather(open(sse(created+`
		{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"Hi","logprobs":`+probs+`}
		{"type":"response.output_text.done","item_id":"m","output_index":0,"content_index":0,"text":"Hi","logprobs":`+probs+`}
		`+completed(`{"id":"m","type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi","annotations":[],"logprobs":`+probs+`}]}`)), false))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(got.Choices[0].Logprobs), `{"content":`+probs+`}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReadFailures(t *testing.T) {
	tests := map[string]struct {
		lines string
		kind  llm.Kind
	}{
		"error event, flat":      {created + "\n" + `{"type":"error","code":"rate_limit_exceeded","message":"slow down","param":null,"sequence_number":1}`, llm.KindRateLimited},
		"error event, nested":    {created + "\n" + `{"type":"error","error":{"type":"server_error","message":"oops","param":null,"code":null}}`, llm.KindUpstream},
		"error without a type":   {created + "\n" + `{"error":{"message":"Tool choice is none","code":"tool_use_failed"}}`, llm.KindUpstream},
		"failed":                 {created + "\n" + `{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"The server had an error"},"output":[]}}`, llm.KindUpstream},
		"failed, no reason":      {created + "\n" + `{"type":"response.failed","response":{"status":"failed","error":null}}`, llm.KindUpstream},
		"failed, told completed": {created + "\n" + `{"type":"response.failed","response":{"status":"completed","error":null}}`, llm.KindUpstream},
		"context length":         {created + "\n" + `{"type":"response.failed","response":{"status":"failed","error":{"code":"context_length_exceeded","message":"Your input exceeds the context window"}}}`, llm.KindContextLength},
		"policy":                 {created + "\n" + `{"type":"response.failed","response":{"status":"failed","error":{"code":"invalid_prompt","message":"Invalid prompt: flagged as potentially violating our usage policy."}}}`, llm.KindContentFiltered},
		"cancelled":              {created + "\n" + `{"type":"response.cancelled","response":{"status":"cancelled","output":[]}}`, llm.KindUpstream},
		"cut":                    {created, llm.KindUpstream},
		"nothing":                {"", llm.KindUpstream},
		"garbage":                {created + "\n" + `{"type":"response.output_text.delta","delta":`, llm.KindUpstream},
		"garbage, unknown type":  {created + "\n" + `{"type":"response.new_thing","x":`, llm.KindUpstream},
		"not JSON":               {created + "\nhello", llm.KindUpstream},
		"chat's end":             {created + "\n[DONE]", llm.KindUpstream},
	}
	for name, tt := range tests {
		for _, raw := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/raw=%t", name, raw), func(t *testing.T) {
				_, _, err := wiretest.Gather(open(sse(tt.lines), raw))
				var e *llm.Error
				if !errors.As(err, &e) || e.Kind != tt.kind {
					t.Errorf("got %v, want kind %s", err, tt.kind)
				}
			})
		}
	}
}

func TestReadCallWithoutName(t *testing.T) {
	_, _, err := wiretest.Gather(open(sse(created+"\n"+`{"type":"response.function_call_arguments.delta","item_id":"a","output_index":0,"delta":"{}"}`+"\n"+completed("")), false))
	var e *llm.Error
	if !errors.As(err, &e) || e.Kind != llm.KindUpstream {
		t.Errorf("got %v", err)
	}
}

func TestReadIncomplete(t *testing.T) {
	for reason, want := range map[string]llm.Stop{
		"max_output_tokens": llm.StopLength, "content_filter": llm.StopFilter, "other_thing": llm.StopOther,
	} {
		got, _, err := wiretest.Gather(open(sse(created+"\n"+`{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"`+reason+`"},"output":[`+textItem+`]}}`), false))
		if err != nil {
			t.Fatal(err)
		}
		if c := got.Choices[0]; c.Stop != want || c.Native != reason {
			t.Errorf("%s: got %s, %s", reason, c.Stop, c.Native)
		}
	}
}

// rawStream is a long stream with known output frames.
func rawStream(n int) string {
	var b strings.Builder
	frame := func(typ, rest string) {
		b.WriteString("event: " + typ + "\ndata: {\"type\":\"" + typ + "\"," + rest + "}\n\n")
	}
	frame("response.created", `"sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1,"model":"m","status":"in_progress","output":[]}`)
	frame("response.output_item.added", `"sequence_number":1,"output_index":0,"item":{"id":"msg_1","type":"message","role":"assistant","content":[]}`)
	for range n {
		frame("response.output_text.delta", `"sequence_number":2,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"tok \"usage\" error ","logprobs":[]`)
	}
	frame("response.completed", `"sequence_number":3,"response":{"status":"completed","output":[{"type":"function_call"}],"usage":{"input_tokens":7,"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4},"total_tokens":16}}`)
	return b.String()
}

func TestRaw(t *testing.T) {
	src := rawStream(50)
	s := responses.Responses.ReadStream(io.NopCloser(iotest.HalfReader(strings.NewReader(src))), true)
	defer s.Close()
	var out bytes.Buffer
	outputs, usages, decoded := 0, 0, 0
	var stop llm.Stop
	for {
		ev, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		out.Write(ev.Raw)
		if ev.Output {
			outputs++
		}
		if len(ev.Delta) > 0 {
			decoded++
			stop = ev.Delta[len(ev.Delta)-1].Stop
		}
		if ev.Usage != nil {
			usages++
			want := &llm.Usage{Input: llm.Tokens(7), Output: llm.Tokens(9), Reasoning: llm.Tokens(4), Total: llm.Tokens(16)}
			if diff := cmp.Diff(want, ev.Usage); diff != "" {
				t.Error(diff)
			}
		}
	}
	if out.String() != src {
		t.Error("the bytes are not those that came")
	}
	if outputs != 51 || usages != 1 || decoded != 2 { // 50 deltas and the final response; the first delta and the final response
		t.Errorf("%d outputs, %d usages, %d decoded", outputs, usages, decoded)
	}
	if stop != llm.StopTools {
		t.Errorf("stop: %s", stop)
	}
}

func TestRawFramesAllocateNothing(t *testing.T) {
	s := open(rawStream(3000), true)
	defer s.Close()
	for range 10 {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(2000, func() {
		if ev, err := s.Next(); err != nil || !ev.Output {
			t.Fatal(ev, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkRawFrame(b *testing.B) {
	src := rawStream(1000)
	b.SetBytes(int64(len(src)) / 1000)
	for n := 0; n < b.N; {
		s := open(src, true)
		for {
			if _, err := s.Next(); err != nil {
				break
			}
			n++
		}
		s.Close()
	}
}

// A reader that is closed from elsewhere ends with an error and keeps no bytes busy.
func TestCloseUnblocks(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	s := responses.Responses.ReadStream(r, false)
	done := make(chan error)
	go func() {
		_, err := s.Next()
		done <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || err == io.EOF {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
