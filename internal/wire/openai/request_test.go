package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/wiretest"
)

// Each file of testdata/request is a request, what its meaning is when written for an upstream of this
// format by a client of another, and what is lost on that way.
func TestRequests(t *testing.T) {
	wiretest.Golden(t, "testdata/request/*.txtar", func(t *testing.T, _ string, a *txtar.Archive) []txtar.File {
		in := a.Files[0].Data
		s := scan(t, Chat, in)
		call := &llm.Call{}
		if err := Chat.Open(call, nil, s); err != nil {
			t.Fatalf("open: %v %+v", err, llm.AsError(err).Problems)
		}
		identity(t, Chat, in)
		checkRetarget(t, Chat, in, s, call.Stream)
		encoded, lost := foreign(t, Chat, in)
		return []txtar.File{{Name: "encoded.json", Data: []byte(encoded)}, {Name: "lost.txt", Data: []byte(lost)}}
	})
}

// foreign encodes a chat as if it had come from another format.
func foreign(t testing.TB, f llm.Codec, in []byte) (encoded, lost string) {
	t.Helper()
	p, err := Chat.Decode(in)
	if err != nil {
		t.Fatal(err)
	}
	chat := p.(*llm.Chat)
	chat.Format = "another.format"
	e := llm.Encoding{Model: "up", Stream: true}
	out, err := f.Encode(chat, &e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Scan(Chat.Shape(), out); err != nil {
		t.Errorf("the encoded request is not one of this format: %v %+v\n%s", err, llm.AsError(err).Problems, out)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", " "); err != nil {
		t.Fatal(err)
	}
	for _, l := range e.Lost {
		lost += fmt.Sprintf("%s %s\n", l.At, l.Msg)
	}
	return pretty.String() + "\n", lost
}

func TestDialects(t *testing.T) {
	ask := func(members string) string {
		return `{"model":"m","messages":[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},` +
			`{"role":"user","name":"ann","content":"hi"},` +
			`{"role":"assistant","content":"","reasoning_content":"think","tool_calls":[{"id":"toolu_01ABC","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"c2ln"}}}]},` +
			`{"role":"tool","tool_call_id":"toolu_01ABC","content":"r"}]` + members + `}`
	}
	for name, tc := range map[string]struct {
		d       Dialect
		members string
		want    []string // in the encoded body
		not     []string
		lost    string
	}{
		"openai": {
			Dialect{},
			`,"max_tokens":5,"seed":1,"top_k":3`,
			[]string{`"max_completion_tokens":5`, `"seed":1`, `"role":"developer"`, `"stream_options":{"include_usage":true}`, `"name":"ann"`, `"id":"toolu_01ABC"`},
			[]string{"reasoning", "extra_content", "top_k"},
			"top_k",
		},
		"strict vendor": {
			Dialect{NoStreamOptions: true, MaxTokens: true, NoDeveloper: true, FlatText: true, Seed: "random_seed", ShortIDs: true, Lacks: []string{"messages.name", "n", "user", "logit_bias", "metadata", "verbosity"}},
			`,"max_completion_tokens":5,"seed":1,"n":2,"user":"u","metadata":{"a":"b"},"verbosity":"low","logit_bias":{"1":1}`,
			[]string{`"max_tokens":5`, `"random_seed":1`, `"role":"system","content":"a\nb"`},
			[]string{"stream_options", `"seed"`, "ann", "toolu_01ABC", "developer", `"user":"u"`, "metadata"},
			"/messages/1/name logit_bias n verbosity",
		},
		"deepseek": {
			Dialect{Reasoning: ReasoningContent, ThinkingSwitch: true, Lacks: []string{"json_schema"}},
			`,"reasoning_effort":"none","response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}`,
			[]string{`"reasoning_content":"think"`, `"thinking":{"type":"disabled"}`},
			[]string{"reasoning_effort", "response_format"},
			"response_format",
		},
		"openrouter": {
			Dialect{Reasoning: ReasoningDetails, Takes: []string{"top_k"}},
			`,"top_k":3,"reasoning":{"max_tokens":9}`,
			[]string{`"top_k":3`, `"reasoning":{"max_tokens":9}`, `"reasoning_content":"think"`},
			nil, "",
		},
		"google":     {Dialect{GeminiSignatures: true}, ``, []string{`"extra_content":{"google":{"thought_signature":"c2ln"}}`}, nil, ""},
		"flex tier":  {Dialect{Lacks: []string{"service_tier"}}, `,"service_tier":"flex"`, nil, []string{"service_tier"}, "service_tier"},
		"store":      {Dialect{Lacks: []string{"store"}}, `,"store":true`, nil, []string{`"store"`}, "store"},
		"store not":  {Dialect{Lacks: []string{"store"}}, `,"store":false`, nil, []string{`"store"`}, ""},
		"many stops": {Dialect{}, `,"stop":["a","b","c","d","e"]`, nil, []string{`"stop"`}, "stop"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Chat.Decode([]byte(ask(tc.members)))
			if err != nil {
				t.Fatal(err)
			}
			p.(*llm.Chat).Format = "another.format"
			e := llm.Encoding{Model: "up", Stream: true}
			out, err := ChatIn(tc.d).Encode(p, &e)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range tc.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("lacks %s: %s", w, out)
				}
			}
			for _, w := range tc.not {
				if strings.Contains(string(out), w) {
					t.Errorf("has %s: %s", w, out)
				}
			}
			var lost []string
			for _, l := range e.Lost {
				lost = append(lost, l.At)
			}
			if got := strings.Join(lost, " "); !sameWords(got, tc.lost) {
				t.Errorf("lost %q, want %q", got, tc.lost)
			}
		})
	}
}

func sameWords(a, b string) bool {
	count := map[string]int{}
	for _, w := range strings.Fields(a) {
		count[w]++
	}
	for _, w := range strings.Fields(b) {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// A conversation as Anthropic, Gemini and Responses clients send it becomes one that OpenAI takes.
func TestForeignTurns(t *testing.T) {
	text := func(s string) llm.Part { return llm.Part{Text: s} }
	chat := &llm.Chat{
		Format: llm.AnthropicMessages, Messages: []llm.Message{
			{Role: llm.RoleUser, Parts: []llm.Part{text("go")}},
			{Role: llm.RoleAssistant, Parts: []llm.Part{{Reasoning: &llm.Reasoning{Text: "hm"}, Signature: &llm.Signature{By: "anthropic", Value: "s"}}, text("I will")}},
			{Role: llm.RoleAssistant, Parts: []llm.Part{{Call: &llm.ToolCall{ID: strings.Repeat("x", 50), Name: "a"}}}},
			{Role: llm.RoleAssistant, Parts: []llm.Part{{Call: &llm.ToolCall{ID: "2", Name: "b", Args: []byte(`{"k":1}`)}}}},
			{Role: llm.RoleUser, Parts: []llm.Part{
				text("and then"),
				{Result: &llm.ToolResult{CallID: "2", Failed: true, Parts: []llm.Part{text("no such file")}}},
				{Result: &llm.ToolResult{CallID: strings.Repeat("x", 50), Parts: []llm.Part{{Media: &llm.Media{Kind: llm.MediaImage, Data: "AAAA", Type: "image/png"}, At: "/messages/4/content/2/content/0"}}}},
				{Media: &llm.Media{Kind: llm.MediaDocument, Text: "body", Name: "Title"}},
				{Media: &llm.Media{Kind: llm.MediaDocument, Data: "Ym9keQ==", Type: "text/plain"}},
				{Media: &llm.Media{Kind: llm.MediaDocument, URL: "https://example.com/a.pdf"}, At: "/messages/4/content/5"},
				{Media: &llm.Media{Kind: llm.MediaVideo, URL: "https://example.com/a.mp4"}, At: "/messages/4/content/6"},
			}},
		}, Thinking: &llm.Thinking{Budget: ptr(int64(4096))}, ServiceTier: "standard_only", User: strings.Repeat("u", 80),
		Choice: &llm.ToolChoice{Mode: llm.ChoiceAuto},
	}
	e := llm.Encoding{Model: "up"}
	out, err := Chat.Encode(chat, &e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"model":"up","messages":[{"role":"user","content":"go"},` +
		`{"role":"assistant","content":"I will","tool_calls":[{"id":"call_b7c3f87062dd83cd0f2b1ea15fd1bc2d","type":"function","function":{"name":"a","arguments":"{}"}},{"id":"2","type":"function","function":{"name":"b","arguments":"{\"k\":1}"}}]},` +
		`{"role":"tool","content":"Error: no such file","tool_call_id":"2"},` +
		`{"role":"tool","content":"","tool_call_id":"call_b7c3f87062dd83cd0f2b1ea15fd1bc2d"},` +
		`{"role":"user","content":[{"type":"text","text":"and then"},{"type":"text","text":"Title\n\nbody"},{"type":"text","text":"body"}]}],"reasoning_effort":"medium"}`
	if got := strings.NewReplacer(idOf(out), "call_b7c3f87062dd83cd0f2b1ea15fd1bc2d").Replace(string(out)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s := scan(t, Chat, out); checkTurns(s.Notes) != nil {
		t.Errorf("the turns are not in order: %+v", checkTurns(s.Notes))
	}
	var lost []string
	for _, l := range e.Lost {
		lost = append(lost, l.At)
	}
	if d := cmp.Diff([]string{"/messages/4/content/2/content/0", "/messages/4/content/5", "/messages/4/content/6"}, lost); d != "" {
		t.Errorf("lost (-want +got): %s", d)
	}
}

// idOf finds the id that stands for one too long.
func idOf(out []byte) string {
	i := bytes.Index(out, []byte("call_"))
	return string(out[i : i+37])
}

func TestShortIDs(t *testing.T) {
	x := encoder{d: &Dialect{ShortIDs: true}}
	a, b := x.callID("toolu_01"), x.callID("toolu_02")
	if !isShortID(a) || !isShortID(b) || a == b || a != x.callID("toolu_01") || x.callID("abcDEF123") != "abcDEF123" {
		t.Errorf("%q %q", a, b)
	}
}

func TestShapeRefuses(t *testing.T) {
	const user = `{"role":"user","content":"x"}`
	for name, tc := range map[string]struct{ in, at string }{
		"no model":           {`{"messages":[` + user + `]}`, "/model"},
		"no messages":        {`{"model":"m"}`, "/messages"},
		"empty messages":     {`{"model":"m","messages":[]}`, "/messages"},
		"unknown role":       {`{"model":"m","messages":[{"role":"robot","content":"x"}]}`, "/messages/0/role"},
		"no content":         {`{"model":"m","messages":[{"role":"user"}]}`, "/messages/0/content"},
		"content a number":   {`{"model":"m","messages":[{"role":"user","content":1}]}`, "/messages/0/content"},
		"text part no text":  {`{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}`, "/messages/0/content/0/text"},
		"image no url":       {`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}`, "/messages/0/content/0/image_url/url"},
		"bad detail":         {`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x","detail":"best"}}]}]}`, "/messages/0/content/0/image_url/detail"},
		"call no id":         {`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}}]}]}`, "/messages/0/tool_calls/0/id"},
		"call args object":   {`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":{}}}]}]}`, "/messages/0/tool_calls/0/function/arguments"},
		"result no id":       {`{"model":"m","messages":[{"role":"tool","content":"x"}]}`, "/messages/0/tool_call_id"},
		"temperature":        {`{"model":"m","messages":[` + user + `],"temperature":2.5}`, "/temperature"},
		"temperature string": {`{"model":"m","messages":[` + user + `],"temperature":"1"}`, "/temperature"},
		"n":                  {`{"model":"m","messages":[` + user + `],"n":0}`, "/n"},
		"n fraction":         {`{"model":"m","messages":[` + user + `],"n":1.5}`, "/n"},
		"max tokens":         {`{"model":"m","messages":[` + user + `],"max_tokens":-1}`, "/max_tokens"},
		"top_logprobs":       {`{"model":"m","messages":[` + user + `],"top_logprobs":21}`, "/top_logprobs"},
		"effort":             {`{"model":"m","messages":[` + user + `],"reasoning_effort":"huge"}`, "/reasoning_effort"},
		"stream":             {`{"model":"m","messages":[` + user + `],"stream":"yes"}`, "/stream"},
		"case variant":       {`{"model":"m","messages":[` + user + `],"Stream":true}`, "/Stream"},
		"tool no function":   {`{"model":"m","messages":[` + user + `],"tools":[{"type":"function"}]}`, "/tools/0/function"},
		"tool no name":       {`{"model":"m","messages":[` + user + `],"tools":[{"type":"function","function":{}}]}`, "/tools/0/function/name"},
		"choice word":        {`{"model":"m","messages":[` + user + `],"tool_choice":"maybe"}`, "/tool_choice"},
		"choice no name":     {`{"model":"m","messages":[` + user + `],"tool_choice":{"type":"function","function":{}}}`, "/tool_choice/function/name"},
		"schema no name":     {`{"model":"m","messages":[` + user + `],"response_format":{"type":"json_schema","json_schema":{}}}`, "/response_format/json_schema/name"},
		"stop number":        {`{"model":"m","messages":[` + user + `],"stop":[1]}`, "/stop/0"},
		"usage flag":         {`{"model":"m","messages":[` + user + `],"stream_options":{"include_usage":1}}`, "/stream_options/include_usage"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.Scan(Chat.Shape(), []byte(tc.in))
			if err == nil {
				t.Fatal("taken")
			}
			var at []string
			for _, p := range llm.AsError(err).Problems {
				at = append(at, p.At)
			}
			if len(at) != 1 || at[0] != tc.at {
				t.Errorf("problems at %q, want %q", at, tc.at)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	in := []byte(`{"messages":[{"role":"user","content":"x"}],"n":3,"max_tokens":1e2,"max_completion_tokens":50,"stream":true,"stream_options":{"include_usage":true},"model":"m\u002fx"}`)
	call := &llm.Call{}
	if err := Chat.Open(call, nil, scan(t, Chat, in)); err != nil {
		t.Fatal(err)
	}
	want := &llm.Call{Op: llm.OpChat, Model: "m/x", Stream: true, WantUsage: true, MaxOutput: 100, Choices: 3}
	if d := cmp.Diff(want, call, cmp.AllowUnexported(llm.Body{})); d != "" {
		t.Error(d)
	}
}

func TestTurns(t *testing.T) {
	const (
		user   = `{"role":"user","content":"x"}`
		calls  = `{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}],"role":"assistant"}`
		doneA  = `{"role":"tool","tool_call_id":"a","content":"1"}`
		doneB  = `{"tool_call_id":"b","content":"2","role":"tool"}`
		doneC  = `{"role":"tool","tool_call_id":"c","content":"3"}`
		answer = `{"role":"assistant","content":"ok"}`
	)
	for name, tc := range map[string]struct {
		messages string
		want     string
	}{
		"plain":         {user + `,` + answer + `,` + user, ""},
		"answered":      {user + `,` + calls + `,` + doneB + `,` + doneA + `,` + answer, ""},
		"twice":         {calls + `,` + doneA + `,` + doneB + `,` + calls + `,` + doneA + `,` + doneB, ""},
		"one missing":   {calls + `,` + doneA + `,` + user, "/messages/0/tool_calls"},
		"none at end":   {user + `,` + calls, "/messages/1/tool_calls"},
		"unknown id":    {calls + `,` + doneA + `,` + doneB + `,` + doneC, "/messages/3/tool_call_id"},
		"answered more": {calls + `,` + doneA + `,` + doneA + `,` + doneB, "/messages/2/tool_call_id"},
		"no call":       {user + `,` + doneA, "/messages/1/tool_call_id"},
		"too late":      {calls + `,` + doneA + `,` + user + `,` + doneB, "/messages/0/tool_calls /messages/3/tool_call_id"},
		"calls by user": {`{"role":"user","content":"x","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}`, "/messages/0/tool_calls"},
	} {
		t.Run(name, func(t *testing.T) {
			s := scan(t, Chat, []byte(`{"model":"m","messages":[`+tc.messages+`]}`))
			err := Chat.Open(&llm.Call{}, nil, s)
			var at []string
			if err != nil {
				for _, p := range llm.AsError(err).Problems {
					at = append(at, p.At)
				}
			}
			if got := strings.Join(at, " "); got != tc.want {
				t.Errorf("problems at %q, want %q", got, tc.want)
			}
		})
	}
}

// Whole numbers may be written as OpenAI takes them.
func TestNumbers(t *testing.T) {
	in := []byte(`{"model":"m","messages":[{"role":"user","content":"x"}],"max_completion_tokens":1e2,"seed":7.0,"n":2e0}`)
	scan(t, Chat, in)
	p, err := Chat.Decode(in)
	if err != nil {
		t.Fatal(err)
	}
	if c := p.(*llm.Chat); *c.MaxOutput != 100 || *c.Seed != 7 || *c.N != 2 {
		t.Errorf("%d %d %d", *c.MaxOutput, *c.Seed, *c.N)
	}
}

func TestDecodeProblems(t *testing.T) {
	in := []byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:nothing"}},{"type":"file","file":{}}]}]}`)
	_, err := Chat.Decode(in)
	if kindOf(err) != llm.KindInvalid {
		t.Fatal(err)
	}
	want := []llm.Problem{
		{At: "/messages/0/content/0/image_url/url", Msg: "is a data URL without a comma"},
		{At: "/messages/0/content/1/file", Msg: "needs file_id or file_data"},
	}
	if d := cmp.Diff(want, llm.AsError(err).Problems); d != "" {
		t.Error(d)
	}
}

func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/request/*.txtar")
	for _, name := range files {
		if a, err := txtar.ParseFile(name); err == nil {
			f.Add(a.Files[0].Data)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := wire.Scan(Chat.Shape(), in)
		if err != nil {
			return
		}
		_ = Chat.Open(&llm.Call{}, nil, s)
		p, err := Chat.Decode(in)
		if err != nil {
			if kindOf(err) != llm.KindInvalid {
				t.Errorf("decode: %v", err)
			}
			return
		}
		e := llm.Encoding{Model: "m"}
		out, err := Chat.Encode(p, &e)
		if err != nil || len(e.Lost) > 0 {
			t.Fatalf("encode: %v, lost %v", err, e.Lost)
		}
		again, err := Chat.Decode(out)
		if err != nil {
			t.Fatalf("decode again: %v\n%s", err, out)
		}
		e = llm.Encoding{Model: "m"}
		twice, err := Chat.Encode(again, &e)
		if err != nil || !bytes.Equal(out, twice) {
			t.Errorf("encoded twice it is another (%v):\n%s\n%s", err, out, twice)
		}
	})
}
