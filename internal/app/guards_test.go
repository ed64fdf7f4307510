package app

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/mock"
)

// planted are values that must not reach an upstream, each in the ways that people and machines write it.
var planted = []string{
	"planted.one@example.com", "ＰＬＡＮＴＥＤ.two＠example.com", "planted.three@exa\u200bmple.com", "4111 1111 1111 1111", "4111-1111\u200b-1111-1111",
	"DE89 3704 0044 0532 0130 00", "536-90-4399", "+49 30 90182098", "ghp_" + "x7KqLw92ZbTn4RsVd81MfYc5HgJp3AeUo6Bi", "postgres://joe:hunter22hunter@db.internal/x", "E-123456", "Blue Heron",
}

const guarded = `
guards:
  - {name: g, mode: %s, enforce: true, rules: [{name: e, type: EMPLOYEE, pattern: '\bE-[0-9]{6}\b'}], deny: [{name: p, type: PROJECT, words: [blue heron]}]}
models:
  - {name: om, provider: o, model: echo, guards: [g]}
  - {name: am, provider: a, model: echo, guards: [g]}
  - {name: gm, provider: g, model: echo, guards: [g]}
  - {name: em, provider: o, model: echo, guards: [g]}
  - {name: ge, provider: g, model: echo, guards: [g]}
  - {name: over, provider: o, model: "echo?status=500", fallback: [am]}
`

// A place is a request with something planted in each field that may be text.
type planting struct {
	name, path string
	body       string // %s: planted, as JSON text without quotes; %q in a string that is JSON itself
	models     []string
	echo       bool // the answer repeats what was said last
	streams    bool
	refused    bool // the fake upstream cannot answer it
}

var plantings = []planting{
	{
		name: "chat", path: "/v1/chat/completions", models: []string{"om", "am", "gm", "over"}, echo: true, streams: true,
		body: `{"model":"MODEL","stream":STREAM,"user":"u PLANT","tools":[{"type":"function","function":{"name":"f","description":"d PLANT","parameters":{"type":"object","properties":{"a":{"type":"string","description":"p PLANT"}}}}}],"tool_choice":"none",
"messages":[{"role":"system","content":"s PLANT"},{"role":"user","content":[{"type":"text","text":"t PLANT"}]},
{"role":"assistant","content":"c PLANT","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":\"ARG\"}"}}]},
{"role":"tool","tool_call_id":"call_1","content":"r PLANT"},{"role":"user","content":"last PLANT"}]}`,
	},
	{
		name: "responses", path: "/v1/responses", models: []string{"om", "am", "gm"}, echo: true, streams: true,
		body: `{"model":"MODEL","stream":STREAM,"store":false,"instructions":"i PLANT","input":[{"role":"user","content":[{"type":"input_text","text":"t PLANT"}]},
{"type":"function_call","call_id":"call_1","name":"f","arguments":"{\"a\":\"ARG\"}"},{"type":"function_call_output","call_id":"call_1","output":"o PLANT"},
{"role":"user","content":"last PLANT"}]}`,
	},
	{
		name: "messages", path: "/v1/messages", models: []string{"om", "am", "gm"}, echo: true, streams: true,
		body: `{"model":"MODEL","stream":STREAM,"max_tokens":4000,"system":[{"type":"text","text":"s PLANT"}],
"tools":[{"name":"f","description":"d PLANT","input_schema":{"type":"object","properties":{"a":{"type":"string","description":"p PLANT"}}}}],
"messages":[{"role":"user","content":"u PLANT"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{"a":"PLANT"}}]},
{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"r PLANT"},{"type":"text","text":"last PLANT"}]}]}`,
	},
	{
		name: "count_tokens", path: "/v1/messages/count_tokens", models: []string{"am"},
		body: `{"model":"MODEL","system":"s PLANT","messages":[{"role":"user","content":"u PLANT"}]}`,
	},
	{
		name: "generate", path: "/v1beta/models/MODEL:METHOD", models: []string{"om", "am", "gm"}, echo: true, streams: true,
		body: `{"systemInstruction":{"parts":[{"text":"s PLANT"}]},"contents":[{"role":"user","parts":[{"text":"u PLANT"}]},
{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":"PLANT"}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"r":"PLANT"}}}]},
{"role":"model","parts":[{"text":"m PLANT"}]},{"role":"user","parts":[{"text":"last PLANT"}]}],
"tools":[{"functionDeclarations":[{"name":"f","description":"d PLANT","parameters":{"type":"OBJECT","properties":{"a":{"type":"STRING","description":"p PLANT"}}}}]}]}`,
	},
	{name: "countTokens", path: "/v1beta/models/MODEL:countTokens", models: []string{"gm"}, body: `{"contents":[{"role":"user","parts":[{"text":"u PLANT"}]}]}`},
	{name: "completions", path: "/v1/completions", models: []string{"om"}, echo: true, streams: true, body: `{"model":"MODEL","stream":STREAM,"max_tokens":4000,"prompt":"last PLANT","user":"PLANT"}`},
	{name: "prompts", path: "/v1/completions", models: []string{"om"}, refused: true, body: `{"model":"MODEL","prompt":["a PLANT","b PLANT"],"suffix":"PLANT"}`},
	{name: "embeddings", path: "/v1/embeddings", models: []string{"em", "ge"}, body: `{"model":"MODEL","input":["a PLANT","b PLANT"]}`},
	{name: "embedContent", path: "/v1beta/models/MODEL:embedContent", models: []string{"ge"}, body: `{"content":{"parts":[{"text":"a PLANT"}]}}`},
	{name: "batchEmbed", path: "/v1beta/models/MODEL:batchEmbedContents", models: []string{"ge"}, body: `{"requests":[{"model":"models/MODEL","content":{"parts":[{"text":"a PLANT"}]}}]}`},
}

// inJSON is a text as it stands within a JSON string; twice within one that is within another. Everything that can be is escaped
// where hard is said.
func inJSON(s string, hard bool) string {
	if !hard {
		b, _ := json.Marshal(s)
		return string(b[1 : len(b)-1])
	}
	var b strings.Builder
	for _, r := range s {
		if r > 0xffff {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func (p *planting) request(model, plant string, stream, hard bool) (path, body string) {
	method := "generateContent"
	if stream {
		method = "streamGenerateContent"
	}
	path = strings.NewReplacer("MODEL", model, "METHOD", method).Replace(p.path)
	if stream && strings.Contains(path, ":stream") {
		path += "?alt=sse"
	}
	once := inJSON(plant, hard)
	body = strings.NewReplacer("MODEL", model, "STREAM", fmt.Sprint(stream), "PLANT", once, "ARG", inJSON(once, false)).Replace(p.body)
	return path, body
}

// Nothing that is planted anywhere in a request, at any endpoint, streamed or not, reaches an upstream of any vendor; and in the mode
// restore the client gets its own words back. This is check S11.
func TestNothingPlantedLeaves(t *testing.T) {
	for _, mode := range []string{"restore", "mask"} {
		r, before := newRig(t, fmt.Sprintf(guarded, mode)), int64(0)
		for i := range plantings {
			p := &plantings[i]
			for _, model := range p.models {
				for k, plant := range planted {
					for _, stream := range []bool{false, true} {
						if stream && !p.streams || stream == (mode == "mask") && k%3 != i%3 { // a third of these says enough
							continue
						}
						path, body := p.request(model, plant, stream, k%2 == 0)
						resp, got := r.post(t, path, body)
						if (resp.StatusCode != http.StatusOK) != p.refused {
							t.Fatalf("%s %s %s %q: %d %s", mode, p.name, model, plant, resp.StatusCode, got)
						}
						for _, e := range r.since(t, &before, resp) {
							if hidden := inJSON(plant, false); strings.Contains(e.RequestBody, plant) || strings.Contains(e.RequestBody, hidden) || strings.Contains(plain(e.RequestBody), plant) {
								t.Fatalf("%s %s %s: %q has reached the upstream: %s", mode, p.name, model, plant, e.RequestBody)
							}
							if !strings.Contains(plain(e.RequestBody), "_1>") {
								t.Fatalf("%s %s %s: no placeholder in %s", mode, p.name, model, e.RequestBody)
							}
						}
						if !p.echo {
							continue
						}
						if mode == "restore" && strings.Contains(plain(got), "_1>") {
							t.Fatalf("%s %s, streamed %v: a placeholder is left in %s", p.name, model, stream, got)
						}
						text := got
						if stream {
							text = allText(got)
						}
						if has := strings.Contains(plain(text), plant); has != (mode == "restore") {
							t.Fatalf("%s %s %s, streamed %v: the answer has %q: %v\n%s", mode, p.name, model, stream, plant, has, got)
						}
					}
				}
			}
		}
		_ = r.app.logs.out.Close()
		for _, plant := range planted {
			if strings.Contains(r.log.String(), plant) {
				t.Errorf("%s: the log has %q", mode, plant)
			}
		}
		if !strings.Contains(r.log.String(), `"guards":"g","guard_outcome":"masked"`) {
			t.Error("the log says nothing of guards")
		}
	}
}

// since are the calls that the upstreams have had since the last time, an answer's attempts.
func (r *rig) since(t *testing.T, before *int64, resp *http.Response) (list []mock.Entry) {
	t.Helper()
	n, err := strconv.ParseInt(cmp.Or(resp.Header.Get("X-Sluice-Attempts"), "1"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	log, err := r.mock.Await(t.Context(), *before+n)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range log.Entries {
		if e.Seq > *before {
			list = append(list, e)
		}
	}
	if *before = log.Served; int64(len(list)) != n {
		t.Fatalf("%d calls of %d are known", len(list), n)
	}
	return list
}

// plain undoes JSON's escapes, in strings that stand in strings, too.
func plain(s string) string {
	for range 2 {
		s = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u200b`, "\u200b", `\"`, `"`, `\\`, `\`).Replace(s)
	}
	return s
}

// allText joins all short texts of a stream's frames, whatever they are.
func allText(body string) string {
	var all []string
	for _, v := range vendors {
		all = append(all, streamed(v, body))
	}
	completions := vendor{text: func(b []byte) string {
		var c struct{ Choices []struct{ Text string } }
		_ = json.Unmarshal(b, &c)
		if len(c.Choices) == 0 {
			return ""
		}
		return c.Choices[0].Text
	}}
	return strings.Join(append(all, streamed(completions, body)), "\n")
}

// What is blocked never leaves, and the refusal names types, in each format; what cannot be scanned is refused where that is said.
func TestGuardsRefuse(t *testing.T) {
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	t.Cleanup(down.Close)
	r := newRig(t, fmt.Sprintf(`
guards:
  - {name: block, mode: block}
  - {name: closed, mode: observe, enforce: true, webhook: {url: "%[1]s", allow_private: [127.0.0.1/32]}}
  - {name: open, mode: observe, webhook: {url: "%[1]s", allow_private: [127.0.0.1/32]}}
  - {name: answers, answers: block}
models:
  - {name: block, provider: o, model: echo, guards: [block]}
  - {name: block-too, provider: o, model: block, fallback: [block]}
  - {name: closed, provider: o, model: echo, guards: [closed]}
  - {name: open, provider: o, model: echo, guards: [open]}
  - {name: answers, provider: o, model: echo, guards: [answers]}
`, down.URL))
	left := int64(0)
	for _, v := range vendors {
		for _, stream := range []bool{false, true} {
			for _, model := range []string{"block", "block-too"} {
				resp, body := do(t, r.request(t, v, model, "mail planted.one@example.com", stream))
				if resp.StatusCode != 400 || !strings.Contains(body, "guardrail_blocked") || !strings.Contains(body, "EMAIL_ADDRESS") || strings.Contains(body, "planted") {
					t.Errorf("%s %s: %d %s", v.name, model, resp.StatusCode, body)
				}
			}
			resp, body := do(t, r.request(t, v, "closed", "nothing to see", stream))
			if resp.StatusCode != 400 || !strings.Contains(body, "guardrail_blocked") || strings.Contains(body, down.URL) {
				t.Errorf("%s closed: %d %s", v.name, resp.StatusCode, body)
			}
			if n := r.mock.Log().Served; n != left {
				t.Errorf("%s: %d calls have left", v.name, n-left)
			}
			resp, body = do(t, r.request(t, v, "open", "nothing to see", stream))
			if resp.StatusCode != 200 {
				t.Errorf("%s open: %d %s", v.name, resp.StatusCode, body)
			}
			resp, body = do(t, r.request(t, v, "answers", "some words and then planted.one@example.com and more", stream))
			if stream {
				if resp.StatusCode != 200 && resp.StatusCode != 400 || v.end(body) && v.name != "gemini" || strings.Contains(body, "planted") || !strings.Contains(strings.ToLower(body), "guardrail_blocked") {
					t.Errorf("%s: an answer that holds an address ends with %d %s", v.name, resp.StatusCode, body)
				}
			} else if resp.StatusCode != 400 || strings.Contains(body, "planted") {
				t.Errorf("%s: an answer that holds an address: %d %s", v.name, resp.StatusCode, body)
			}
			left += 2
			r.seen(t, int(left))
		}
	}
}
