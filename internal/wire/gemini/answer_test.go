package gemini

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func readWhole(t *testing.T, f *Format, body string) *llm.Answer {
	t.Helper()
	ev, err := f.ReadAnswer([]byte(body), false)
	if err != nil {
		t.Fatal(err)
	}
	var a llm.Answer
	a.Add(ev)
	return &a
}

func TestReadAnswerStops(t *testing.T) {
	for _, test := range []struct {
		body   string
		stop   llm.Stop
		native string
	}{
		{`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}`, llm.StopEnd, "STOP"},
		{`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}`, llm.StopTools, "STOP"},
		{`{"candidates":[{"finishReason":"MAX_TOKENS"}]}`, llm.StopLength, "MAX_TOKENS"},
		{`{"candidates":[{"finishReason":2}]}`, llm.StopLength, "MAX_TOKENS"},
		{`{"candidates":[{"finishReason":"RECITATION"}]}`, llm.StopFilter, "RECITATION"},
		{`{"candidates":[{"finishReason":"IMAGE_SAFETY"}]}`, llm.StopFilter, "IMAGE_SAFETY"},
		{`{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"x"}]}`, llm.StopOther, "MALFORMED_FUNCTION_CALL"},
		{`{"candidates":[{"finishReason":"A_NEW_ONE"}]}`, llm.StopOther, "A_NEW_ONE"},
		{`{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}`, llm.StopOther, "OTHER"},
		{`{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":5}}`, llm.StopFilter, "PROHIBITED_CONTENT"},
		{`{"usageMetadata":{"promptTokenCount":5}}`, llm.StopOther, "OTHER"},
	} {
		a := readWhole(t, Generate, test.body)
		if c := a.Choices[0]; c.Stop != test.stop || c.Native != test.native {
			t.Errorf("%s: %s %s", test.body, c.Stop, c.Native)
		}
		out, err := Generate.Answer(sseCall(), a)
		if err != nil {
			t.Fatal(err)
		}
		if again := readWhole(t, Generate, string(out)); again.Choices[0].Stop != test.stop || again.Choices[0].Native != test.native {
			t.Errorf("%s\nwritten as %s", test.body, out)
		}
	}
}

// A prompt that was refused stays an answer without candidates for a Gemini client.
func TestBlockedPrompt(t *testing.T) {
	const blocked = `{"promptFeedback":{"blockReason":"SAFETY","safetyRatings":[]},"usageMetadata":{"promptTokenCount":5,"totalTokenCount":5},"modelVersion":"m","responseId":"r"}`
	out, err := Generate.Answer(sseCall(), readWhole(t, Generate, blocked))
	if err != nil || string(out) != blocked {
		t.Errorf("%v\ngot  %s\nwant %s", err, out, blocked)
	}
	ev, err := Generate.ReadStream(body("data: "+blocked+"\r\n\r\n"), false).Next()
	if err != nil {
		t.Fatal(err)
	}
	w := Generate.Writer(sseCall())
	ev.Raw = nil
	got, _ := w.Event(nil, ev)
	if got = w.End(got); string(got) != "data: "+blocked+"\r\n\r\n" {
		t.Errorf("streamed: %s", got)
	}
}

// Other vendors' stops in Gemini's words.
func TestFinishReasons(t *testing.T) {
	for _, test := range []struct {
		stop   llm.Stop
		native string
		same   bool
		want   string
	}{
		{llm.StopEnd, "end_turn", false, "STOP"},
		{llm.StopSequence, "stop_sequence", false, "STOP"},
		{llm.StopTools, "tool_calls", false, "STOP"},
		{llm.StopLength, "length", false, "MAX_TOKENS"},
		{llm.StopFilter, "content_filter", false, "SAFETY"},
		{llm.StopRefusal, "refusal", false, "SAFETY"},
		{llm.StopPause, "pause_turn", false, "OTHER"},
		{llm.StopOther, "", false, "OTHER"},
		{llm.StopFilter, "SPII", true, "SPII"},
	} {
		if got := finishReason(test.stop, test.native, test.same); got != test.want {
			t.Errorf("%s (%s): %s, want %s", test.stop, test.native, got, test.want)
		}
	}
}

func TestUsage(t *testing.T) {
	const u = `{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":20,"thoughtsTokenCount":5,"toolUsePromptTokenCount":7,"totalTokenCount":132,` +
		`"promptTokensDetails":[{"modality":"TEXT","tokenCount":60},{"modality":"AUDIO","tokenCount":30},{"modality":2,"tokenCount":10}],"candidatesTokensDetails":[{"modality":4,"tokenCount":8},{"modality":"IMAGE","tokenCount":6}],"trafficType":"ON_DEMAND","serviceTier":"standard"}`
	body := `{"candidates":[{"content":{"role":"model","parts":[{"text":"a"}]},"finishReason":"STOP","index":0}],"usageMetadata":` + u + `}`
	a := readWhole(t, Generate, body)
	want := &llm.Usage{
		Input: llm.Tokens(107), CacheRead: llm.Tokens(40), Output: llm.Tokens(25), Reasoning: llm.Tokens(5), Total: llm.Tokens(132),
		AudioInput: llm.Tokens(30), ImageInput: llm.Tokens(10), AudioOutput: llm.Tokens(8), ImageOutput: llm.Tokens(6), Tier: "standard",
	}
	got := *a.Usage
	got.Extra = nil
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Error(diff)
	}
	out, err := Generate.Answer(sseCall(), a)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(out), `"usageMetadata":`)
	rest, _, _ = strings.Cut(rest, `,"modelVersion"`)
	if diff := cmp.Diff(canonical(t, u), canonical(t, rest)); diff != "" {
		t.Errorf("written again:\n%s", diff)
	}
	for name, body := range map[string]string{
		"absent": `{"candidates":[{"finishReason":"STOP"}]}`, "null": `{"candidates":[{"finishReason":"STOP"}],"usageMetadata":null}`,
	} {
		if a := readWhole(t, Generate, body); a.Usage != nil {
			t.Errorf("%s: %+v", name, a.Usage)
		}
	}
	zero := readWhole(t, Generate, `{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":0}}`)
	if zero.Usage.Input != llm.Tokens(0) || zero.Usage.Output.Known {
		t.Errorf("zero and absent: %+v", zero.Usage)
	}
}

// A foreign answer, whole: what Gemini has no member for is left out, and its usage is summed Gemini's way.
func TestForeignAnswer(t *testing.T) {
	a := &llm.Answer{
		Head: llm.Head{ID: "chatcmpl-1", Model: "gpt-x"},
		Choices: []llm.Choice{{Stop: llm.StopTools, Native: "tool_calls", Parts: []llm.Part{
			{Text: "Búh ok", Citations: []llm.Citation{{URL: "https://a.example", Title: "A", Start: 1, End: 4}, {URL: "https://b.example"}}},
			{Refusal: ptr("no")},
			{Foreign: llm.Raw(`{"type":"web_search_call"}`)},
			{Call: &llm.ToolCall{ID: "call_1", Name: "f", Args: []byte(`{"a":1`)}},
		}, Extra: llm.Members{"native_finish_reason": llm.Raw(`"x"`)}, Logprobs: llm.Raw(`{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1,"bytes":null}]}],"refusal":null}`)}},
		Usage: &llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(5), Reasoning: llm.Tokens(2), Extra: llm.Members{"prompt_tokens_details": llm.Raw(`{}`)}},
		Extra: llm.Members{"system_fingerprint": llm.Raw(`"fp"`)},
	}
	out, err := Generate.Answer(sseCall(), a)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"candidates":[{"content":{"parts":[{"text":"Búh ok"},{"text":"no"},{"functionCall":{"id":"call_1","name":"f","args":{"_raw":"{\"a\":1"}}}],"role":"model"},
		"logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-0.5}],"topCandidates":[{"candidates":[{"token":"b","logProbability":-1}]}]},"finishReason":"STOP",
		"groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://a.example","title":"A"}},{"web":{"uri":"https://b.example"}}],
			"groundingSupports":[{"segment":{"startIndex":1,"endIndex":5},"groundingChunkIndices":[0]}]},"index":0}],
		"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":3,"thoughtsTokenCount":2,"totalTokenCount":15},"modelVersion":"gpt-x","responseId":"chatcmpl-1"}`
	if diff := cmp.Diff(canonical(t, want), canonical(t, string(out))); diff != "" {
		t.Error(diff)
	}
}

// Grounding is told once, in characters, on the part with the text, and goes back to Gemini as it came.
func TestGrounding(t *testing.T) {
	const meta = `{"groundingChunks":[{"web":{"uri":"https://a.example","title":"A"}},{"retrievedContext":{"uri":"gs://b","title":"B","text":"quote"}},{"web":{"uri":"https://c.example"}}],` +
		`"groundingSupports":[{"segment":{"startIndex":3,"endIndex":9,"text":"x"},"groundingChunkIndices":[0,1]},{"segment":{"endIndex":99},"groundingChunkIndices":[9,0]}],"webSearchQueries":["q"]}`
	part := func(s, more string) string {
		return `{"candidates":[{"content":{"parts":[{"text":"` + s + `"}]},"index":0` + more + `}]}`
	}
	text := sseOf(part("é ", ""), part("größer", `,"groundingMetadata":`+meta), part("", `,"finishReason":"STOP","groundingMetadata":`+meta))
	a, _, err := gather(Generate.ReadStream(body(text), false))
	if err != nil {
		t.Fatal(err)
	}
	want := []llm.Part{{Text: "é größer", Citations: []llm.Citation{
		{URL: "https://a.example", Title: "A", Start: 2, End: 6},
		{URL: "gs://b", Title: "B", Quote: "quote", Start: 2, End: 6},
		{URL: "https://a.example", Title: "A"},
		{URL: "https://c.example"},
	}}}
	if diff := cmp.Diff(want, a.Choices[0].Parts); diff != "" {
		t.Error(diff)
	}
	out, err := Generate.Answer(sseCall(), a)
	if err != nil || strings.Count(string(out), meta) != 1 || strings.Count(string(out), "groundingMetadata") != 1 {
		t.Errorf("%v: %s", err, out)
	}
	recited := readWhole(t, Generate, `{"candidates":[{"content":{"parts":[{"text":"abc"}]},"citationMetadata":{"citationSources":[{"startIndex":1,"endIndex":3,"uri":"https://s.example"}]}}]}`)
	if diff := cmp.Diff([]llm.Citation{{URL: "https://s.example", Start: 1, End: 3}}, recited.Choices[0].Parts[0].Citations); diff != "" {
		t.Error(diff)
	}
}

func TestLogprobs(t *testing.T) {
	const result = `{"chosenCandidates":[{"token":"é","logProbability":-0.25}],"topCandidates":[{"candidates":[{"token":"é","logProbability":-0.25},{"token":"b","logProbability":-2}]}]}`
	a := readWhole(t, Generate, `{"candidates":[{"content":{"parts":[{"text":"é"}]},"finishReason":"STOP","avgLogprobs":-0.25,"logprobsResult":`+result+`}]}`)
	want := `{"content":[{"token":"é","logprob":-0.25,"bytes":[195,169],"top_logprobs":[{"token":"é","logprob":-0.25,"bytes":[195,169]},{"token":"b","logprob":-2,"bytes":[98]}]}]}`
	if got := string(a.Choices[0].Logprobs); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	out, err := Generate.Answer(sseCall(), a)
	if err != nil || !strings.Contains(string(out), `"logprobsResult":`+result) || !strings.Contains(string(out), `"avgLogprobs":-0.25`) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestErrorInside200(t *testing.T) {
	for body, kind := range map[string]llm.Kind{
		`{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}`: llm.KindRateLimited,
		`{"error":{}}`: llm.KindUpstream, `{}`: llm.KindUpstream, ``: llm.KindUpstream, `<html>`: llm.KindUpstream, `{"a":`: llm.KindUpstream, `{"hello":1}`: llm.KindUpstream,
	} {
		for _, raw := range []bool{false, true} {
			if _, err := Generate.ReadAnswer([]byte(body), raw); llm.AsError(err).Kind != kind {
				t.Errorf("%q, raw %t: %v, want %s", body, raw, err, kind)
			}
		}
	}
}

func TestEmbeddings(t *testing.T) {
	one := readWhole(t, EmbedContent, `{"embedding":{"values":[0.5,-1e-3]},"usageMetadata":{"promptTokenCount":3}}`)
	if diff := cmp.Diff([]llm.Vector{{Values: []float32{0.5, -1e-3}}}, one.Vectors); diff != "" || one.Usage.Input != llm.Tokens(3) {
		t.Errorf("%s %+v", diff, one.Usage)
	}
	out, err := EmbedContent.Answer(nil, one)
	if want := `{"embedding":{"values":[0.5,-0.001]},"usageMetadata":{"promptTokenCount":3}}`; err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
	many := readWhole(t, BatchEmbed, `{"embeddings":[{"values":[1]},{"values":[2]}]}`)
	many.Vectors[1] = llm.Vector{Index: 1, Base64: "AAAAQAAAgL8="}
	out, err = BatchEmbed.Answer(nil, many)
	if want := `{"embeddings":[{"values":[1]},{"values":[2,-1]}]}`; err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := EmbedContent.Answer(nil, many); err == nil {
		t.Error("two vectors pass for one")
	}
	for _, v := range []llm.Vector{{Base64: "AAA"}, {Base64: "!"}} {
		if _, err := BatchEmbed.Answer(nil, &llm.Answer{Vectors: []llm.Vector{v}}); err == nil {
			t.Errorf("%+v passes", v)
		}
	}
	if _, err := BatchEmbed.ReadAnswer([]byte(`{"embeddings":[]}`), false); err == nil {
		t.Error("no vectors pass")
	}
	nan, err := BatchEmbed.Answer(nil, &llm.Answer{Vectors: []llm.Vector{{Values: []float32{float32(math.NaN())}}}})
	if err != nil || !isObject(nan) {
		t.Errorf("%v: %s", err, nan)
	}
}

func TestCount(t *testing.T) {
	const body = `{"totalTokens":31,"cachedContentTokenCount":5,"promptTokensDetails":[{"modality":"TEXT","tokenCount":31}]}`
	for _, raw := range []bool{false, true} {
		ev, err := CountTokens.ReadAnswer([]byte(body), raw)
		if err != nil || ev.Usage.Input != llm.Tokens(31) || ev.Usage.CacheRead != llm.Tokens(5) {
			t.Errorf("raw %t: %v %+v", raw, err, ev)
		}
	}
	out, err := CountTokens.Answer(nil, readWhole(t, CountTokens, body))
	if err != nil || string(out) != body {
		t.Errorf("%v: %s", err, out)
	}
	out, err = CountTokens.Answer(nil, &llm.Answer{Usage: &llm.Usage{Input: llm.Tokens(7)}})
	if err != nil || string(out) != `{"totalTokens":7}` {
		t.Errorf("%v: %s", err, out)
	}
	if CountTokens.Writer(sseCall()) != nil || BatchEmbed.ReadStream(nil, false) != nil {
		t.Error("formats without streams have one")
	}
}

// Texts side by side in one chunk are parts of their own; the first of the next chunk goes on with the last.
func TestParts(t *testing.T) {
	chunk := func(parts string) string {
		return `{"candidates":[{"content":{"parts":` + parts + `},"finishReason":"STOP"}]}`
	}
	a, _, err := gather(Generate.ReadStream(body(sseOf(chunk(`[{"text":"a"},{"text":"b"}]`), chunk(`[{"text":"c"},{"text":"d","thoughtSignature":"c2ln"}]`), chunk(`[{"text":"e"}]`))), false))
	if err != nil {
		t.Fatal(err)
	}
	want := []llm.Part{{Text: "a"}, {Text: "bc"}, {Text: "d", Signature: &llm.Signature{By: by, Value: "c2ln"}}, {Text: "e"}}
	if diff := cmp.Diff(want, a.Choices[0].Parts); diff != "" {
		t.Error(diff)
	}
}

// Ranges are about the newest text, from its own start.
func TestGroundingOfSecondText(t *testing.T) {
	a := readWhole(t, Generate, `{"candidates":[{"content":{"parts":[{"text":"first"},{"functionCall":{"name":"f"}},{"text":"é second"}]},
		"groundingMetadata":{"groundingChunks":[{"web":{"uri":"u"}}],"groundingSupports":[{"segment":{"startIndex":3,"endIndex":9},"groundingChunkIndices":[0]}]}}]}`)
	if diff := cmp.Diff([]llm.Citation{{URL: "u", Start: 2, End: 8}}, a.Choices[0].Parts[2].Citations); diff != "" {
		t.Error(diff)
	}
}

// Calls that grow in turn come out whole and in order; a piece behind the end of a call is no new one.
func TestInterleavedCalls(t *testing.T) {
	call := func(index int, id, args string) llm.Delta {
		return llm.Delta{Index: index, Part: &llm.Part{Call: &llm.ToolCall{ID: id, Name: id, Args: []byte(args)}}}
	}
	w := Generate.Writer(sseCall())
	var out []byte
	for _, d := range []llm.Delta{
		call(0, "a", `{"x":`), call(1, "b", `{"y":`), call(0, "", `1}`), call(1, "", `2}`), call(2, "c", ""),
		{Index: 3, Part: &llm.Part{Text: "t"}},
		call(1, "", `{}`),
		{Stop: llm.StopTools},
	} {
		out, _ = w.Event(out, &llm.Event{Format: llm.GeminiGenerate, Delta: []llm.Delta{d}})
	}
	a, _, err := gather(Generate.ReadStream(body(string(w.End(out))), false))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range a.Choices[0].Parts {
		if p.Call != nil {
			got = append(got, p.Call.Name+string(p.Call.Args))
		} else {
			got = append(got, p.Text)
		}
	}
	if diff := cmp.Diff([]string{`a{"x":1}`, `b{"y":2}`, `c{}`, "t"}, got); diff != "" {
		t.Errorf("%s\n%s", diff, out)
	}
}

// An upstream may break off in the middle of a blank line; the failure behind it must still be a frame.
func TestFailBehindHalfAFrame(t *testing.T) {
	for _, sent := range []string{"", "\r\n", "\r\n\r", "\r\n\r\n", "\n", "\n\n"} {
		out := Generate.Writer(sseCall()).Fail([]byte("data: {}"+sent), &llm.Error{Kind: llm.KindUpstream}, "req_1", true)
		if i := strings.Index(string(out), "data: {\"error\""); i < 4 || !strings.HasSuffix(string(out[:i]), "\r\n\r\n") {
			t.Errorf("behind %q: %q", sent, out)
		}
	}
}
