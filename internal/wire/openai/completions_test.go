package openai

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

func TestCompletionRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		text string   // the one user message, "" when there is none
		lost []string // on the way to chat
	}{
		"plain":   {`{"model":"m","prompt":"Once","max_tokens":5,"logprobs":2,"stop":"x","n":2,"seed":1,"user":"u"}`, "Once", nil},
		"list":    {`{"model":"m","prompt":["Once"]}`, "Once", nil},
		"nothing": {`{"model":"m","prompt":"Once","echo":false,"suffix":null,"best_of":1,"stream":true}`, "Once", nil},
		"own":     {`{"model":"m","prompt":"Once","echo":true,"suffix":"end","best_of":3}`, "Once", []string{"/best_of", "/echo", "/suffix"}},
		"several": {`{"model":"m","prompt":["a","b"]}`, "", []string{"/prompt"}},
		"tokens":  {`{"model":"m","prompt":[1,2]}`, "", []string{"/prompt"}},
		"lists":   {`{"model":"m","prompt":[[1,2],[3]]}`, "", []string{"/prompt"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := scan(t, Completions, []byte(tc.in))
			call := &llm.Call{}
			if err := Completions.Open(call, nil, s); err != nil || call.Op != llm.OpChat || call.Model != "m" {
				t.Fatalf("%+v %v", call, err)
			}
			identity(t, Completions, []byte(tc.in))
			checkRetarget(t, Completions, []byte(tc.in), s, call.Stream)
			p, err := Completions.Decode([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			chat := p.(*llm.Chat)
			if got := len(chat.Messages); (tc.text == "") != (got == 0) || got > 0 && chat.Messages[0].Parts[0].Text != tc.text || !chat.Completion {
				t.Errorf("messages %+v", chat.Messages)
			}
			e := llm.Encoding{Model: "up"}
			if _, err := Chat.Encode(chat, &e); err != nil {
				t.Fatal(err)
			}
			var lost []string
			for _, l := range e.Lost {
				lost = append(lost, l.At)
			}
			if d := cmp.Diff(tc.lost, lost); d != "" {
				t.Errorf("lost (-want +got): %s", d)
			}
		})
	}
}

func TestCompletionShapeRefuses(t *testing.T) {
	for in, at := range map[string]string{
		`{"prompt":"x"}`:                           "/model",
		`{"model":"m"}`:                            "/prompt",
		`{"model":"m","prompt":[]}`:                "/prompt",
		`{"model":"m","prompt":[1.5]}`:             "/prompt/0",
		`{"model":"m","prompt":"x","logprobs":21}`: "/logprobs",
	} {
		_, err := wire.Scan(Completions.Shape(), []byte(in))
		if err == nil || llm.AsError(err).Problems[0].At != at {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestConversationIsNoCompletion(t *testing.T) {
	if _, err := Completions.Encode(&llm.Chat{}, &llm.Encoding{}); kindOf(err) != llm.KindUnsupported {
		t.Error(err)
	}
}

// A chat upstream's answer as a completions client gets it, and a completions upstream's own.
func TestCompletionAnswers(t *testing.T) {
	call := &llm.Call{ID: "r", Model: "asked", WantUsage: true}
	a := &llm.Answer{
		Head: llm.Head{ID: "x", Created: time.Unix(5, 0)}, Choices: []llm.Choice{{
			Stop: llm.StopLength, Native: "max_tokens",
			Parts:    []llm.Part{{Reasoning: &llm.Reasoning{Text: "hm"}}, {Text: "upon"}, {Text: " a"}},
			Logprobs: llm.Raw(`{"content":[{"token":"upon","logprob":-0.5,"top_logprobs":[{"token":"in","logprob":-1}]},{"token":" a","logprob":-0.25,"top_logprobs":[]}],"refusal":null}`),
		}},
		Usage: &llm.Usage{Input: llm.Tokens(1), Output: llm.Tokens(2)},
	}
	got, err := Completions.Answer(call, a)
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, got, `{"id":"x","object":"text_completion","created":5,"model":"asked","choices":[{"index":0,"text":"upon a","finish_reason":"length",
	"logprobs":{"tokens":["upon"," a"],"token_logprobs":[-0.5,-0.25],"text_offset":[0,4],"top_logprobs":[{"in":-1},{}]}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`)

	const own = `{"id":"cmpl-1","object":"text_completion","created":5,"model":"m","system_fingerprint":"fp","choices":[{"text":"upon","index":0,"logprobs":{"tokens":["upon"],"token_logprobs":[-0.5],"top_logprobs":null,"text_offset":[4]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`
	ev, err := Completions.ReadAnswer([]byte(own), false)
	if err != nil || ev.Format != llm.OpenAICompletions {
		t.Fatal(ev, err)
	}
	var read llm.Answer
	read.Add(ev)
	if got, err = Completions.Answer(call, &read); err != nil {
		t.Fatal(err)
	}
	equalJSON(t, got, own)
}

func TestCompletionStreams(t *testing.T) {
	const own = `data: {"id":"cmpl-1","object":"text_completion","created":5,"model":"m","choices":[{"text":"upon","index":0,"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"cmpl-1","object":"text_completion","created":5,"model":"m","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"cmpl-1","object":"text_completion","created":5,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}

data: [DONE]

`
	raw := listen(Completions.ReadStream(body([]byte(own), 3), true))
	if raw.Err != nil || string(raw.Raw) != own || raw.Answer.Usage.Total.N != 2 {
		t.Errorf("raw: %v %q", raw.Err, raw.Raw)
	}
	s := Completions.ReadStream(body([]byte(own), 0), false)
	w := Completions.Writer(&llm.Call{ID: "r", WantUsage: true})
	var out []byte
	for ev, err := range llm.All(s) {
		if err != nil {
			t.Fatal(err)
		}
		if out, err = w.Event(out, ev); err != nil {
			t.Fatal(err)
		}
	}
	out = w.End(out)
	frames := strings.Split(strings.TrimSuffix(string(out), "\n\n"), "\n\n")
	want := strings.Split(strings.TrimSuffix(strings.ReplaceAll(own, `"logprobs":null,`, ""), "\n\n"), "\n\n")
	if len(frames) != len(want) {
		t.Fatalf("%d frames, want %d: %s", len(frames), len(want), out)
	}
	for i := range want[:len(want)-1] {
		equalJSON(t, []byte(strings.TrimPrefix(frames[i], "data: ")), strings.TrimPrefix(want[i], "data: "))
	}
}

func FuzzCompletions(f *testing.F) {
	f.Add([]byte(`{"model":"m","prompt":[[1,2],[3]],"logprobs":2,"best_of":3,"stream":true}`))
	f.Add([]byte(`{"model":"m","prompt":"x","suffix":"y","echo":true,"stop":["a"]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := wire.Scan(Completions.Shape(), in)
		if err != nil {
			return
		}
		identity(t, Completions, in)
		checkRetarget(t, Completions, in, s, string(s.Member(llm.MarkStream)) == "true")
	})
}
