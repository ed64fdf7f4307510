package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

func decode(t *testing.T, f *Format, body []byte) *llm.Chat {
	t.Helper()
	p, err := f.Decode(body)
	if err != nil {
		t.Fatalf("decode: %v", explain(err))
	}
	return p.(*llm.Chat)
}

// explain shows an error with its problems.
func explain(err error) string {
	var e *llm.Error
	if errors.As(err, &e) {
		return wire.NewProblem(e, "").Detail
	}
	return err.Error()
}

func TestRecordedRequests(t *testing.T) {
	for _, r := range recordings(t, "recordings.jsonl") {
		t.Run(r.ID, func(t *testing.T) {
			body := r.Request.Body.bytes(t)
			call, err := wire.ReadCall(Messages, httptest.NewRequest("POST", "/v1/messages", nil), body, "id")
			if err != nil {
				t.Fatalf("a request that Anthropic took is refused: %s", explain(err))
			}
			if call.Stream != r.Stream || call.Model == "" || call.MaxOutput == 0 || !call.WantUsage || call.Op != llm.OpChat {
				t.Errorf("call = %+v", call)
			}
			first := decode(t, Messages, body)
			e := &llm.Encoding{Model: "m", Stream: r.Stream}
			again, err := Messages.Encode(first, e)
			if err != nil || e.Err() != nil {
				t.Fatalf("encode: %v, %v", err, e.Lost)
			}
			if _, err := wire.Scan(Messages.Shape(), again); err != nil {
				t.Errorf("what was encoded is refused: %s", explain(err))
			}
			if diff := cmp.Diff(first, decode(t, Messages, again), sameMeaning); diff != "" {
				t.Errorf("decode, encode, decode (-first +again):\n%s", diff)
			}
		})
	}
}

// A body with one of everything; each member must survive.
const everything = `{
 "model": "claude-opus-4-6", "max_tokens": 4096.0, "stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
 "stop_sequences": ["END"], "metadata": {"user_id": "u1"}, "service_tier": "auto",
 "thinking": {"type": "enabled", "budget_tokens": 2048, "display": "summarized"},
 "output_config": {"effort": "high", "task_budget": {"total": 9}, "format": {"type": "json_schema", "schema": {"type": "object"}}},
 "container": "c_1", "context_management": {"edits": []}, "mcp_servers": [{"type": "url", "url": "https://x"}], "future": 1,
 "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
 "tools": [
  {"name": "get", "description": "gets", "input_schema": {"type": "object"}, "strict": true, "cache_control": {"type": "ephemeral"}, "defer_loading": true},
  {"type": "web_search_20260318", "name": "web_search", "max_uses": 3}],
 "tool_choice": {"type": "tool", "name": "get", "disable_parallel_tool_use": true},
 "messages": [
  {"role": "user", "content": "hi"},
  {"role": "user", "content": [
   {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
   {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "cache_control": {"type": "ephemeral"}},
   {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
   {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, "title": "T", "context": "C", "citations": {"enabled": true}},
   {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
   {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
   {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "chunk"}]}},
   {"type": "search_result", "source": "https://x", "title": "X", "content": [{"type": "text", "text": "found"}]},
   {"type": "text", "text": "look", "citations": null}]},
  {"role": "assistant", "content": [
   {"type": "thinking", "thinking": "hm", "signature": "sig=="},
   {"type": "redacted_thinking", "data": "enc=="},
   {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
   {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result", "url": "https://x", "title": "t", "encrypted_content": "e"}]},
   {"type": "text", "text": "so", "citations": [{"type": "char_location", "cited_text": "c", "document_index": 0, "document_title": "T", "start_char_index": 0, "end_char_index": 1}]},
   {"type": "tool_use", "id": "t1", "name": "get", "input": {"a": [1, "é"]}, "caller": {"type": "direct"}},
   {"type": "tool_use", "id": "t2", "name": "get", "input": {}, "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}}]},
  {"role": "user", "content": [
   {"type": "tool_result", "tool_use_id": "t1", "content": "fine"},
   {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [{"type": "text", "text": "bad"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}, {"type": "tool_reference", "tool_name": "x"}]},
   {"type": "text", "text": "go on"}]},
  {"role": "assistant", "content": "I"}]}`

func TestEverythingSurvives(t *testing.T) {
	if _, err := wire.ReadCall(Messages, httptest.NewRequest("POST", "/v1/messages", nil), []byte(everything), "id"); err != nil {
		t.Fatal(explain(err))
	}
	chat := decode(t, Messages, []byte(everything))
	e := &llm.Encoding{Model: "claude-opus-4-6", Stream: true}
	body, err := Messages.Encode(chat, e)
	if err != nil || len(e.Lost) > 0 {
		t.Fatal(err, e.Lost)
	}
	if diff := cmp.Diff(chat, decode(t, Messages, body), sameMeaning); diff != "" {
		t.Errorf("decode, encode, decode (-first +again):\n%s", diff)
	}
	// Beyond the hub: the same JSON, but for the spellings that mean the same.
	var got, want any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	same := strings.NewReplacer(
		`"max_tokens": 4096.0`, `"max_tokens": 4096`,
		`, "citations": null`, ``,
		`"content": "hi"`, `"content": [{"type": "text", "text": "hi"}]`,
		`"content": "fine"`, `"content": [{"type": "text", "text": "fine"}]`,
		`"content": "I"`, `"content": [{"type": "text", "text": "I"}]`,
	).Replace(everything)
	if err := json.Unmarshal([]byte(same), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON (-sent +encoded):\n%s", diff)
	}
}

func TestRetarget(t *testing.T) {
	for _, tt := range []struct{ name, f, body, want string }{
		{
			"only the model", "messages", `{ "model" : "a", "max_tokens":5 , "messages":[{"role":"user","content":"x"}]}`,
			`{ "model" : "b/\"c", "max_tokens":5 , "messages":[{"role":"user","content":"x"}]}`,
		},
		{
			"max_tokens is added", "messages", `{"messages":[{"role":"user","content":"x"}],"model":"a"}`,
			`{"max_tokens":8192,"messages":[{"role":"user","content":"x"}],"model":"b/\"c"}`,
		},
		{
			"null is replaced", "messages", `{"model":"a","messages":[{"role":"user","content":"x"}],"max_tokens":null}`,
			`{"model":"b/\"c","messages":[{"role":"user","content":"x"}],"max_tokens":8192}`,
		},
		{
			"null before the model", "messages", `{"max_tokens":null,"model":"a","messages":[{"role":"user","content":"x"}]}`,
			`{"max_tokens":8192,"model":"b/\"c","messages":[{"role":"user","content":"x"}]}`,
		},
		{
			"count_tokens needs none", "count", `{"model":"a","messages":[{"role":"user","content":"x"}]}`,
			`{"model":"b/\"c","messages":[{"role":"user","content":"x"}]}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := Messages
			if tt.f == "count" {
				f = CountTokens
			}
			s, err := wire.Scan(f.Shape(), []byte(tt.body))
			if err != nil {
				t.Fatal(explain(err))
			}
			got := string(bytes.Join(f.Retarget([]byte(tt.body), &s.Marks, &llm.Encoding{Model: `b/"c`}), nil))
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestRefusedRequests(t *testing.T) {
	const head = `{"model":"m","max_tokens":9,"messages":`
	for _, tt := range []struct{ name, body, want string }{
		{"first role", head + `[{"role":"assistant","content":"x"}]}`, `/messages/0/role`},
		{"role", head + `[{"role":"tool","content":"x"}]}`, `/messages/0/role`},
		{"system first", head + `[{"role":"system","content":"x"},{"role":"user","content":"x"}]}`, `/messages/0/role`},
		{"system behind the assistant", head + `[{"role":"user","content":"x"},{"role":"assistant","content":"y"},{"role":"system","content":"z"}]}`, `/messages/2/role`},
		{"system before the user", head + `[{"role":"user","content":"x"},{"role":"system","content":"y"},{"role":"user","content":"z"}]}`, `/messages/2/role`},
		{"system twice", head + `[{"role":"user","content":"x"},{"role":"system","content":"y"},{"content":"z","role":"system"}]}`, `/messages/2/role`},
		{"system between a call and its result", head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"system","content":"z"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`, `/messages/2/role /messages/3/role`},
		{"no messages", head + `[]}`, `/messages`},
		{"temperature", `{"model":"m","temperature":1.5,"messages":[{"role":"user","content":"x"}]}`, `/temperature`},
		{"budget", `{"model":"m","thinking":{"type":"enabled","budget_tokens":10},"messages":[{"role":"user","content":"x"}]}`, `/thinking/budget_tokens`},
		{"budget missing", `{"model":"m","thinking":{"type":"enabled"},"messages":[{"role":"user","content":"x"}]}`, `/thinking/budget_tokens`},
		{"choice without a name", `{"model":"m","tool_choice":{"type":"tool"},"messages":[{"role":"user","content":"x"}]}`, `/tool_choice/name`},
		{"unknown choice", `{"model":"m","tool_choice":{"type":"some"},"messages":[{"role":"user","content":"x"}]}`, `/tool_choice/type`},
		{"ttl", `{"model":"m","system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"2h"}}],"messages":[{"role":"user","content":"x"}]}`, `/system/0/cache_control/ttl`},
		{"image in the system prompt", `{"model":"m","system":[{"type":"image","text":"x"}],"messages":[{"role":"user","content":"x"}]}`, `/system/0/type`},
		{"tools that say nothing", `{"model":"m","tools":[{},{"type":null,"name":"a"},{"type":"custom","input_schema":{}},{"type":"bash_20250124"}],"messages":[{"role":"user","content":"x"}]}`, `/tools/0/name /tools/0/input_schema /tools/1/input_schema /tools/2/name`},
		{"text block without text", head + `[{"role":"user","content":[{"type":"text"}]}]}`, `/messages/0/content/0/text`},
		{"base64 without media_type", head + `[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"x"}}]}]}`, `/messages/0/content/0/source/media_type`},
		{"result without a call", head + `[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`, `/messages/0/content/0/tool_use_id`},
		{"call not answered", head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":"y"}]}`, `/messages/1/content/0/id`},
		{
			"answered too late", head + `[{"role":"user","content":"x"},{"content":[{"id":"a","name":"f","input":{},"type":"tool_use"}],"role":"assistant"},{"role":"user","content":"y"},{"role":"assistant","content":"z"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`,
			`/messages/1/content/0/id /messages/4/content/0/tool_use_id`,
		},
		{
			"answered twice", head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"},{"type":"tool_result","tool_use_id":"a"}]}]}`,
			`/messages/2/content/1/tool_use_id`,
		},
		{
			"same id twice", head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}},{"type":"tool_use","id":"a","name":"f","input":{}}]}]}`,
			`/messages/1/content/1/id`,
		},
		{"call by the user", head + `[{"role":"user","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}]}`, `/messages/0/content/0/type`},
		{"result by the assistant", head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`, `/messages/1/content/0/type`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.ReadCall(Messages, httptest.NewRequest("POST", "/v1/messages", nil), []byte(tt.body), "id")
			var e *llm.Error
			if !errors.As(err, &e) || e.Kind != llm.KindInvalid {
				t.Fatalf("got %v, want an invalid request", err)
			}
			var at []string
			for _, p := range e.Problems {
				at = append(at, p.At)
			}
			if got := strings.Join(at, " "); got != tt.want {
				t.Errorf("problems at %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAcceptedOrders(t *testing.T) {
	const head = `{"model":"m","messages":`
	for name, body := range map[string]string{
		"no max_tokens":                head + `[{"role":"user","content":"x"}]}`,
		"turns of several messages":    head + `[{"role":"user","content":"x"},{"role":"user","content":"y"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"assistant","content":[{"type":"tool_use","id":"b","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"b"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`,
		"calls wait for an answer":     head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}]}`,
		"hosted tools":                 head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}},{"type":"web_search_tool_result","tool_use_id":"s","content":[]}]},{"role":"user","content":"y"}]}`,
		"an id used again later":       head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}]}]}`,
		"a block of the future":        head + `[{"role":"user","content":[{"type":"hologram","beam":3}]}]}`,
		"instructions in place":        head + `[{"role":"user","content":"x"},{"role":"system","content":"y"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]},{"role":"system","content":[{"type":"text","text":"z"}]}]}`,
		"instructions behind a search": head + `[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}},{"type":"web_search_tool_result","tool_use_id":"s","content":[]}]},{"role":"system","content":"y"}]}`,
		"nulls":                        `{"model":"m","system":null,"max_tokens":null,"stream":null,"tools":null,"temperature":null,"thinking":null,"messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":null,"citations":null}]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := wire.ReadCall(Messages, httptest.NewRequest("POST", "/v1/messages", nil), []byte(body), "id"); err != nil {
				t.Error(explain(err))
			}
		})
	}
}

// Instructions within the conversation stay where they are, in their own format and in others.
func TestSystemWithinMessages(t *testing.T) {
	body := `{"model":"m","max_tokens":9,"system":"s","messages":[{"role":"user","content":"x"},{"role":"system","content":[{"type":"text","text":"y","cache_control":{"type":"ephemeral"}}],"clear_at":"next_user_message"},{"role":"assistant","content":"z"}]}`
	chat := decode(t, Messages, []byte(body))
	var roles []string
	for _, m := range chat.Messages {
		roles = append(roles, string(m.Role))
	}
	if got := strings.Join(roles, " "); got != "system user system assistant" {
		t.Errorf("roles %q", got)
	}
	out, err := Messages.Encode(chat, &llm.Encoding{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"role":"user","content":[{"type":"text","text":"x"}]},{"role":"system","content":[{"type":"text","text":"y","cache_control":{"type":"ephemeral"}}],"clear_at":"next_user_message"},{"role":"assistant"`
	if !strings.Contains(string(out), want) {
		t.Errorf("got %s\nwant in it %s", out, want)
	}
}
