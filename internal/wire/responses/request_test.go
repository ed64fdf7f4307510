package responses_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

// read opens a request as the gateway does.
func read(body string) (*llm.Call, error) {
	r := &http.Request{Method: http.MethodPost, Header: http.Header{}}
	r.URL = mustURL("https://gateway.invalid/v1/responses")
	return wire.ReadCall(responses.Responses, r, []byte(body), "req_1")
}

// pointers are where an error says that problems are.
func pointers(err error) []string {
	var e *llm.Error
	if !errors.As(err, &e) {
		return nil
	}
	out := []string{}
	for _, p := range e.Problems {
		out = append(out, p.At)
	}
	slices.Sort(out)
	return out
}

func TestOpen(t *testing.T) {
	call, err := read(`{"model":"gpt-5","input":"hi","stream":true,"max_output_tokens":1e2}`)
	if err != nil {
		t.Fatal(err)
	}
	if call.Model != "gpt-5" || !call.Stream || call.MaxOutput != 100 || !call.WantUsage || call.Op != llm.OpChat || call.Choices != 1 {
		t.Errorf("%+v", call)
	}
}

func TestRefusedRequests(t *testing.T) {
	const ask = `{"role":"user","content":"x"}`
	const callA = `{"type":"function_call","call_id":"a","name":"f","arguments":"{}"}`
	const outA = `{"type":"function_call_output","call_id":"a","output":"1"}`
	in := func(items ...string) string { return `{"model":"m","input":[` + strings.Join(items, ",") + `]}` }
	tests := map[string]struct {
		body string
		want []string // nil: taken
	}{
		"string":                   {`{"model":"m","input":"x"}`, nil},
		"items":                    {in(ask, callA, outA), nil},
		"result before a message":  {in(ask, callA, outA, ask), nil},
		"nothing asked":            {`{"model":"m"}`, []string{"/input"}},
		"stored prompt":            {`{"model":"m","prompt":{"id":"pmpt_1"}}`, nil},
		"previous response":        {`{"model":"m","previous_response_id":"resp_0","input":[` + outA + `]}`, nil},
		"conversation":             {`{"model":"m","conversation":{"id":"conv_0"},"input":[` + outA + `]}`, nil},
		"conversation, by name":    {`{"model":"m","conversation":"conv_0","input":[` + outA + `]}`, nil},
		"previous response null":   {`{"model":"m","previous_response_id":null,"input":[` + outA + `]}`, []string{"/input/0/call_id"}},
		"after a reference":        {in(`{"type":"item_reference","id":"fc_1"}`, outA), nil},
		"model missing":            {`{"input":"x"}`, []string{"/model"}},
		"output without call":      {in(ask, outA), []string{"/input/1/call_id"}},
		"output before call":       {in(ask, outA, callA), []string{"/input/1/call_id", "/input/2/call_id"}},
		"call without output":      {in(ask, callA), []string{"/input/1/call_id"}},
		"call without output, but": {in(ask, `{"type":"function_call","call_id":"a","name":"f","arguments":"{}","async":true}`), nil},
		"two outputs":              {in(ask, callA, outA, outA), []string{"/input/3/call_id"}},
		"two calls, one id":        {in(ask, callA, callA, outA), []string{"/input/2/call_id"}},
		"call without id":          {in(ask, `{"type":"function_call","name":"f","arguments":"{}"}`), []string{"/input/1/call_id"}},
		"output of no call":        {in(ask, `{"type":"function_call_output","name":"f","output":"1"}`), nil},
		"item of no kind":          {in(ask, `{"call_id":"x"}`), []string{"/input/1/content", "/input/1/role"}},
		"null type, no content":    {in(ask, `{"type":null,"role":"user"}`), []string{"/input/1/content"}},
		"call without all":         {in(`{"type":"function_call"}`), []string{"/input/0/arguments", "/input/0/call_id", "/input/0/name"}},
		"custom call without all":  {in(`{"type":"custom_tool_call","call_id":"c"}`), []string{"/input/0/input", "/input/0/name"}},
		"output without output":    {in(ask, `{"type":"function_call_output"}`), []string{"/input/1/output"}},
		"reference to nothing":     {in(`{"type":"item_reference"}`), []string{"/input/0/id"}},
		"message without role":     {in(`{"type":"message","content":"x"}`), []string{"/input/0/role"}},
		"role":                     {in(`{"role":"tool","content":"x"}`), []string{"/input/0/role"}},
		"text missing":             {in(`{"role":"user","content":[{"type":"input_text"}]}`), []string{"/input/0/content/0/text"}},
		"unknown content passes":   {in(`{"role":"user","content":[{"type":"input_smell","smell":"x"}]}`), nil},
		"unknown item passes":      {in(ask, `{"type":"new_call","id":"x","arguments":{}}`), nil},
		"temperature":              {`{"model":"m","input":"x","temperature":2.5}`, []string{"/temperature"}},
		"top_p":                    {`{"model":"m","input":"x","top_p":-1}`, []string{"/top_p"}},
		"top_logprobs":             {`{"model":"m","input":"x","top_logprobs":21}`, []string{"/top_logprobs"}},
		"max_output_tokens":        {`{"model":"m","input":"x","max_output_tokens":0}`, []string{"/max_output_tokens"}},
		"effort":                   {`{"model":"m","input":"x","reasoning":{"effort":"huge"}}`, []string{"/reasoning/effort"}},
		"format":                   {`{"model":"m","input":"x","text":{"format":{"type":"json_schema","name":"n"}}}`, []string{"/text/format/schema"}},
		"tool choice":              {`{"model":"m","input":"x","tool_choice":"maybe"}`, []string{"/tool_choice"}},
		"named tool choice":        {`{"model":"m","input":"x","tool_choice":{"type":"function"}}`, []string{"/tool_choice/name"}},
		"tool without name":        {`{"model":"m","input":"x","tools":[{"type":"function"}]}`, []string{"/tools/0/name"}},
		"hosted tool":              {`{"model":"m","input":"x","tools":[{"type":"web_search"}]}`, nil},
		"several":                  {`{"model":"m","input":[{"role":"x","content":1}],"stream":"yes"}`, []string{"/input/0/content", "/input/0/role", "/stream"}},
		"case":                     {`{"model":"m","input":"x","Store":true}`, []string{"/Store"}},
		"nulls": {`{"model":"m","input":"x","stream":null,"temperature":null,"tools":null,"tool_choice":null,"text":null,"reasoning":null,"metadata":null,
			"instructions":null,"include":null,"truncation":null,"store":null,"max_output_tokens":null,"parallel_tool_calls":null,"user":null,"background":null,"prompt":null,"conversation":null}`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(tt.body)
			if diff := cmp.Diff(tt.want, pointers(err)); diff != "" {
				t.Errorf("(-want +got):\n%s%v", diff, err)
			}
		})
	}
}

// What the scan cannot know before the kind of an item is known, decoding checks.
func TestDecodeRefuses(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"arguments not a string": {`{"model":"m","input":[{"type":"function_call","call_id":"a","name":"f","arguments":{}}]}`, "/input/0/arguments"},
		"arguments missing":      {`{"model":"m","input":[{"type":"function_call","call_id":"a","name":"f"}]}`, "/input/0/arguments"},
		"name missing":           {`{"model":"m","input":[{"type":"function_call","call_id":"a","arguments":"{}"}]}`, "/input/0/name"},
		"input missing":          {`{"model":"m","input":[{"type":"custom_tool_call","call_id":"a","name":"f"}]}`, "/input/0/input"},
		"output missing":         {`{"model":"m","input":[{"type":"function_call_output","call_id":"a"}]}`, "/input/0/output"},
		"image without image":    {`{"model":"m","input":[{"role":"user","content":[{"type":"input_image"}]}]}`, "/input/0/content/0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := responses.Responses.Decode([]byte(tt.body))
			if got := pointers(err); len(got) != 1 || got[0] != tt.want {
				t.Errorf("got %v (%v), want %s", got, err, tt.want)
			}
		})
	}
}

// codecs read the requests of testdata/encode by the name of the file they stand in.
var codecs = map[string]llm.Codec{
	"chat.json": openai.Chat, "messages.json": anthropic.Messages, "responses.json": responses.Responses,
}

// What asks for state, or for a tool that runs at OpenAI, is lost by name in another format; a stateless
// conversation loses nothing, and its hints are left out without a word.
func TestTranslate(t *testing.T) {
	tests := map[string]struct {
		body string
		lost []string
	}{
		"stateless": {`{"model":"m","instructions":"Be brief.","input":[{"role":"user","content":"a"},
			{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s1"}],"encrypted_content":"gAAA","status":"completed"},
			{"type":"message","id":"msg_1","role":"assistant","status":"completed","phase":"commentary","content":[{"type":"output_text","text":"t","annotations":[]}]},
			{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{}","status":"completed"},
			{"type":"function_call","id":"fc_2","call_id":"c2","name":"f","arguments":"","status":"completed"},
			{"type":"function_call_output","call_id":"c1","output":"r1"},
			{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"r2"}]}],
			"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":true}],"tool_choice":"required","parallel_tool_calls":true,
			"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true}},"include":["reasoning.encrypted_content"],
			"store":false,"background":false,"truncation":"disabled","safety_identifier":"s","prompt_cache_key":"k","prompt_cache_retention":"24h","max_tool_calls":3,
			"max_output_tokens":50,"stream_options":{"include_obfuscation":false},"service_tier":"auto","previous_response_id":null}`, nil},
		"stateful": {
			`{"model":"m","input":[{"type":"item_reference","id":"msg_0"},{"type":"web_search_call","id":"ws_1","status":"completed"},{"role":"user","content":"x"}],
			"store":true,"previous_response_id":"resp_0","conversation":{"id":"conv_1"},"background":true,"prompt":{"id":"pmpt_1"},"truncation":"auto","max_tool_calls":2,
			"include":["web_search_call.action.sources"],"tools":[{"type":"web_search"}],"tool_choice":{"type":"web_search"},"brand_new":1}`,
			[]string{"/background", "/brand_new", "/conversation", "/include", "/input/0", "/input/1", "/max_tool_calls", "/previous_response_id", "/prompt", "/store", "/tools/0", "/truncation", "tool_choice"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := responses.Responses.Decode([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			e := &llm.Encoding{Model: "target-1"}
			if _, err := anthropic.Messages.Encode(p, e); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range e.Lost {
				got = append(got, l.At)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.lost, got); diff != "" {
				t.Errorf("lost (-want +got):\n%s", diff)
			}
		})
	}
}

// testdata/encode: a request in some format, what this format makes of it, and what was lost.
func TestEncode(t *testing.T) {
	wiretest.Golden(t, "testdata/encode/*.txtar", func(t *testing.T, _ string, a *txtar.Archive) []txtar.File {
		p, err := codecs[a.Files[0].Name].Decode(a.Files[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		e := &llm.Encoding{Model: "target-1"}
		out, err := responses.Responses.Encode(p, e)
		if err != nil {
			t.Fatal(err)
		}
		var lost strings.Builder
		for _, l := range e.Lost {
			lost.WriteString(l.At + ": " + l.Msg + "\n")
		}
		return []txtar.File{{Name: "out.json", Data: indent(t, out)}, {Name: "lost", Data: []byte(lost.String())}}
	})
}

func indent(t *testing.T, raw []byte) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// Items that the writer made of another vendor's reasoning are not for any upstream of this format; nothing
// else is changed by a retarget.
func TestRetarget(t *testing.T) {
	plain := `{ "input":"x" , "model" : "old"}`
	call, err := read(plain)
	if err != nil {
		t.Fatal(err)
	}
	got, err := call.Body.Bytes(responses.Responses, &llm.Encoding{Model: `n"ew`})
	if err != nil || string(bytes.Join(got, nil)) != `{ "input":"x" , "model" : "n\"ew"}` {
		t.Errorf("%v %s", err, bytes.Join(got, nil))
	}
	sealed := `{"model":"old","input":[{"role":"user","content":"x"},
		{"type":"reasoning","id":"rs_sluice_1_0","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"sluice.anthropic.abc"},
		{"type":"reasoning","id":"rs_sluice_1_1","summary":[{"type":"summary_text","text":"unsigned"}]},
		{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},
		{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"y","annotations":[]}]},
		{"role":"user","content":"z"}]}`
	if call, err = read(sealed); err != nil {
		t.Fatal(err)
	}
	got, err = call.Body.Bytes(responses.Responses, &llm.Encoding{Model: "new"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"model":"new","input":[{"type":"message","role":"user","content":"x"},{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAAA"},` +
		`{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"output_text","text":"y","annotations":[]}],"status":"completed"},{"type":"message","role":"user","content":"z"}]}`
	if got := string(bytes.Join(got, nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	for _, item := range []string{`"id":"rs_sluice_1_0","summary":[]`, `"summary":[],"encrypted_content":"sluice.next.gemini.abc"`} {
		call, err := read(`{"model":"old","input":[{"type":"reasoning",` + item + `},{"role":"user","content":"z"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		got, err := call.Body.Bytes(responses.Responses, &llm.Encoding{Model: "new"})
		if out := string(bytes.Join(got, nil)); err != nil || out != `{"model":"new","input":[{"type":"message","role":"user","content":"z"}]}` {
			t.Errorf("%s: %v %s", item, err, out)
		}
	}
}
