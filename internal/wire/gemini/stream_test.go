package gemini

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/wiretest"
)

var sameAnswer = cmp.Options{cmpopts.IgnoreUnexported(llm.Choice{}), cmpopts.EquateEmpty()}

func body(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// gather reads a stream to its end; the error is nil for io.EOF.
// Choices come in the order in which they first say something; here they are put by index.
func gather(s llm.Stream) (*llm.Answer, []byte, error) {
	a, raw, err := wiretest.Gather(s)
	slices.SortFunc(a.Choices, func(x, y llm.Choice) int { return x.Index - y.Index })
	return a, raw, err
}

func sseCall() *llm.Call {
	return &llm.Call{ID: "req_1", Format: llm.GeminiGenerate, Op: llm.OpChat, Model: "m", Stream: true, Query: url.Values{"alt": {"sse"}}}
}

func arrayCall() *llm.Call {
	c := sseCall()
	c.Query = nil
	return c
}

func sseOf(chunks ...string) string {
	var b strings.Builder
	for _, c := range chunks {
		b.WriteString("data: " + c + "\r\n\r\n")
	}
	return b.String()
}

func arrayOf(chunks ...string) string { return "[" + strings.Join(chunks, "\r\n,\r\n") + "\r\n]" }

func textChunk(s, more string) string {
	return `{"candidates": [{"content": {"parts": [{"text": "` + s + `"}],"role": "model"}` + more + `,"index": 0}],` +
		`"usageMetadata": {"promptTokenCount": 5,"candidatesTokenCount": 7,"thoughtsTokenCount": 3,"totalTokenCount": 15},"modelVersion": "gemini-x","responseId": "r1"}`
}

func TestReadStreamEnds(t *testing.T) {
	done := `,"finishReason": "STOP"`
	two := `{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP","index":1}]}`
	for _, test := range []struct {
		name   string
		chunks []string
		kind   llm.Kind // "": complete
	}{
		{"finish", []string{textChunk("a", ""), textChunk("b", done)}, ""},
		{"a chunk behind the finish", []string{textChunk("a", done), `{"usageMetadata":{"promptTokenCount":5}}`}, ""},
		{"numbered finish", []string{textChunk("a", `,"finishReason": 1`)}, ""},
		{"two candidates", []string{textChunk("a", done), two}, ""},
		{"blocked prompt", []string{`{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":5}}`}, ""},
		{"no finish", []string{textChunk("a", "")}, llm.KindUpstream},
		{"unspecified finish", []string{textChunk("a", `,"finishReason": "FINISH_REASON_UNSPECIFIED"`)}, llm.KindUpstream},
		{"one of two candidates", []string{textChunk("a", ""), two}, llm.KindUpstream},
		{"no candidates", []string{`{"usageMetadata":{"promptTokenCount":5}}`}, llm.KindUpstream},
		{"feedback without a block", []string{`{"promptFeedback":{"safetyRatings":[]}}`}, llm.KindUpstream},
		{"nothing", nil, llm.KindUpstream},
		{"overloaded", []string{textChunk("a", ""), `{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}`}, llm.KindOverloaded},
		{"error without a code", []string{textChunk("a", ""), `{"error":{"status":"RESOURCE_EXHAUSTED","message":"x"}}`}, llm.KindRateLimited},
		{"error behind the finish", []string{textChunk("a", done), `{"error":{"code":500}}`}, llm.KindUpstream},
		{"error of an odd shape", []string{`{"error":"no"}`}, llm.KindUpstream},
	} {
		for form, text := range map[string]string{"sse": sseOf(test.chunks...), "array": arrayOf(test.chunks...)} {
			for _, raw := range []bool{false, true} {
				_, _, err := gather(Generate.ReadStream(body(text), raw))
				var e *llm.Error
				errors.As(err, &e)
				switch {
				case test.kind == "" && err != nil, test.kind != "" && (e == nil || e.Kind != test.kind):
					t.Errorf("%s, %s, raw %t: got %v, want kind %q", test.name, form, raw, err, test.kind)
				}
			}
		}
	}
}

func TestReadStreamGarbage(t *testing.T) {
	whole := sseOf(textChunk("a", ""), textChunk("b", `,"finishReason": "STOP"`))
	for _, text := range []string{
		"data: {\"candidates\": [\r\n\r\n" + whole,
		"data: nonsense\r\n\r\n" + whole,
		"data: [1,2]\r\n\r\n" + whole,
		"data: {}}\r\n\r\n" + whole,
		"[1,2]", "[{}]]", "[{}", "[{},nonsense]", "[[{}]]", "{\"a\":1", "[\"a\"]",
		"[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"finishReason\":\"STOP\"}]} {",
	} {
		for _, raw := range []bool{false, true} {
			_, _, err := gather(Generate.ReadStream(body(text), raw))
			if e := (*llm.Error)(nil); !errors.As(err, &e) || e.Kind != llm.KindUpstream {
				t.Errorf("raw %t, %.60q: got %v, want an upstream error", raw, text, err)
			}
		}
	}
}

// Events of any chunking are the same, and both forms say the same.
func TestReadStreamChunking(t *testing.T) {
	chunks := []string{
		`{"candidates": [{"content": {"parts": [{"text": "tho\"}ught]","thought": true}],"role": "model"}}],"modelVersion":"m","responseId":"r"}`,
		textChunk(`a \\`, ""), textChunk("é😀", ""),
		`{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f","args": {"k": "}]\\"}},"thoughtSignature": "c2ln"},{"functionCall": {"name": "g"}}],"role": "model"}}]}`,
		textChunk("", `,"finishReason": "STOP"`),
	}
	want, _, err := gather(Generate.ReadStream(body(sseOf(chunks...)), false))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(want.Choices[0].Parts); got != 4 || want.Choices[0].Stop != llm.StopTools {
		t.Fatalf("parts: %d, stop %s", got, want.Choices[0].Stop)
	}
	pretty := strings.ReplaceAll(arrayOf(chunks...), `: [`, ":\r\n  [\t")
	for name, text := range map[string]string{
		"sse": sseOf(chunks...), "lf": strings.ReplaceAll(sseOf(chunks...), "\r\n", "\n"),
		"no last blank line": strings.TrimRight(sseOf(chunks...), "\r\n"), "DONE": sseOf(append(chunks, "[DONE]")...),
		"array": arrayOf(chunks...), "pretty": pretty, "bom": "\ufeff" + arrayOf(chunks...), "no closing bracket": strings.TrimRight(arrayOf(chunks...), "]"),
	} {
		for cut, r := range map[string]io.Reader{
			"whole": strings.NewReader(text), "bytes": iotest.OneByteReader(strings.NewReader(text)),
			"halves": iotest.HalfReader(strings.NewReader(text)), "eof with data": iotest.DataErrReader(strings.NewReader(text)),
		} {
			for _, raw := range []bool{false, true} {
				got, bytes, err := gather(Generate.ReadStream(io.NopCloser(r), raw))
				if seek, ok := r.(*strings.Reader); ok {
					_, _ = seek.Seek(0, io.SeekStart)
				} else if raw {
					continue // was read by the turn before
				}
				if err != nil {
					t.Errorf("%s, %s, raw %t: %v", name, cut, raw, err)
					continue
				}
				if diff := cmp.Diff(want.Usage, got.Usage); diff != "" {
					t.Errorf("%s, %s, raw %t: usage:\n%s", name, cut, raw, diff)
				}
				if diff := cmp.Diff(want, got, sameAnswer); diff != "" && !raw {
					t.Errorf("%s, %s:\n%s", name, cut, diff)
				}
				if name != "DONE" && !strings.HasPrefix(name, "no") && string(bytes) != text {
					t.Errorf("%s, %s, raw %t: the bytes differ:\n%q\n%q", name, cut, raw, bytes, text)
				}
			}
		}
	}
}

// A frame that waits in the buffer is announced; half a one is not.
func TestReadStreamMore(t *testing.T) {
	for _, text := range []string{sseOf(textChunk("a", ""), textChunk("b", `,"finishReason":"STOP"`)), arrayOf(textChunk("a", ""), textChunk("b", `,"finishReason":"STOP"`))} {
		half := len(text)/2 + 20
		s := Generate.ReadStream(io.NopCloser(io.MultiReader(strings.NewReader(text[:half]), strings.NewReader(text[half:]))), true)
		ev, err := s.Next()
		if err != nil || ev.More {
			t.Errorf("first event of two reads: more %t, %v", ev.More, err)
		}
		s = Generate.ReadStream(body(text), true)
		if ev, err = s.Next(); err != nil || !ev.More {
			t.Errorf("first event of one read: more is false, %v", err)
		}
	}
}

func TestRawAllocs(t *testing.T) {
	const frames = 5000
	var b bytes.Buffer
	for i := range frames {
		b.WriteString(sseOf(textChunk(fmt.Sprintf("piece %d with some \\\"text\\\" in it", i), "")))
	}
	s := Generate.ReadStream(io.NopCloser(&b), true)
	for range 10 {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	got := testing.AllocsPerRun(frames-100, func() {
		ev, err := s.Next()
		if err != nil || !ev.Output || ev.Usage == nil || ev.Usage.Output.N != 10 {
			t.Fatalf("%+v, %v", ev, err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations a frame, want 0", got)
	}
}

func BenchmarkRawStream(b *testing.B) {
	text := []byte(strings.Repeat(sseOf(textChunk("some words of an answer", "")), 100))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s := Generate.ReadStream(io.NopCloser(bytes.NewReader(text)), true)
		for {
			if _, err := s.Next(); err != nil {
				break
			}
		}
		_ = s.Close()
	}
}

// Output is exact until the first real output: retries depend on it.
func TestOutput(t *testing.T) {
	for _, test := range []struct {
		parts string
		want  bool
	}{
		{`[]`, false},
		{`[{"text":""}]`, false},
		{`[{"thoughtSignature":"c2ln"}]`, false},
		{`[{"text":"","thought":true}]`, false},
		{`[{"text":"a"}]`, true},
		{`[{"text":"a","thought":true}]`, true},
		{`[{"functionCall":{"name":"f"}}]`, true},
		{`[{"inlineData":{"mimeType":"image/png","data":"AA=="}}]`, true},
		{`[{"executableCode":{"code":"1"}}]`, true},
	} {
		text := sseOf(`{"candidates":[{"content":{"role":"model","parts":` + test.parts + `}}],"modelVersion":"m"}`)
		for _, raw := range []bool{false, true} {
			ev, err := Generate.ReadStream(body(text), raw).Next()
			if err != nil || ev.Output != test.want {
				t.Errorf("%s, raw %t: got %t, %v", test.parts, raw, ev.Output, err)
			}
		}
	}
}

func TestCloseUnblocksNext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	s := Generate.ReadStream(r, true)
	got := make(chan error)
	go func() {
		_, err := s.Next()
		got <- err
	}()
	if _, err := w.Write([]byte("data: {")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err == nil || err == io.EOF {
		t.Errorf("Next after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestElementTooLong(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`[{"a":"`), neverEnding('x'))
	_, err := Generate.ReadStream(io.NopCloser(endless), true).Next()
	if e := (*llm.Error)(nil); !errors.As(err, &e) || e.Kind != llm.KindUpstream {
		t.Errorf("got %v", err)
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// Arguments in pieces become one object.
func TestPartialArguments(t *testing.T) {
	piece := func(call string) string {
		return `{"candidates":[{"content":{"parts":[{"functionCall":` + call + `}]}}]}`
	}
	text := sseOf(
		piece(`{"name":"f","willContinue":true}`),
		piece(`{"partialArgs":[{"jsonPath":"$.list[0].name","stringValue":"he","willContinue":true}],"willContinue":true}`),
		piece(`{"partialArgs":[{"jsonPath":"$.list[0].name","stringValue":"llo\""}],"willContinue":true}`),
		piece(`{"partialArgs":[{"jsonPath":"$.list[1]['odd.name']","numberValue":0.50},{"jsonPath":"$.ok","boolValue":false}],"willContinue":true}`),
		piece(`{"partialArgs":[{"jsonPath":"$.none","nullValue":"NULL_VALUE"},{"jsonPath":"$.list[99999999]","numberValue":1},{"jsonPath":"nonsense[","numberValue":1}]}`),
		piece(`{"name":"g"}`),
		`{"candidates":[{"finishReason":"STOP"}],"responseId":"x"}`)
	a, _, err := gather(Generate.ReadStream(body(text), false))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range a.Choices[0].Parts {
		got = append(got, p.Call.Name+string(p.Call.Args))
	}
	want := []string{`f{"list":[{"name":"hello\""},{"odd.name":0.50}],"ok":false,"none":null}`, `g{}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if a.Choices[0].Stop != llm.StopTools || a.Choices[0].Parts[0].Call.ID == a.Choices[0].Parts[1].Call.ID {
		t.Errorf("stop %s, ids %s %s", a.Choices[0].Stop, a.Choices[0].Parts[0].Call.ID, a.Choices[0].Parts[1].Call.ID)
	}
}

// The recorded call whose arguments came in pieces.
func TestRecordedPartialArguments(t *testing.T) {
	for _, r := range wiretest.Recordings(t) {
		if r.ID != "ac385f26ec63" {
			continue
		}
		a, _, err := gather(Generate.ReadStream(io.NopCloser(bytes.NewReader(r.Answer)), false))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"operations":[{"action":"add","description":"Fresh red apple","itemid":"apple_001","price":0.5},` +
			`{"action":"add","description":"Ripe yellow banana","itemid":"banana_001","price":0.3}]}`
		if p := a.Choices[0].Parts; len(p) != 1 || p[0].Call == nil || string(p[0].Call.Args) != want || p[0].Signature == nil {
			t.Errorf("got %+v", p)
		}
	}
}

// An array client of an upstream that sends events gets every member of every chunk, and the other way round.
func TestRawAcrossForms(t *testing.T) {
	chunks := []string{textChunk("a", `,"newMember": {"x": 1}`), textChunk("b", `,"finishReason": "STOP"`)}
	for _, from := range []string{sseOf(chunks...), ": hello\r\n\r\n" + sseOf(chunks...), arrayOf(chunks...), strings.ReplaceAll(arrayOf(chunks...), ",", ",\r\n  ")} {
		for _, call := range []*llm.Call{sseCall(), arrayCall()} {
			out, err := rewrite(Generate.Writer(call), Generate.ReadStream(body(from), true))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(out, []byte(`newMember`)); n != 1 {
				t.Errorf("%v: %d of the unknown member:\n%s", call.Query, n, out)
			}
			if call.Query != nil && bytes.Count(out, []byte("data:")) != 2 {
				t.Errorf("frames:\n%s", out)
			}
			got, _, err := gather(Generate.ReadStream(io.NopCloser(bytes.NewReader(out)), false))
			if err != nil || got.Choices[0].Parts[0].Text != "ab" {
				t.Errorf("%v: %v, %v\n%s", call.Query, got, err, out)
			}
		}
	}
}

func rewrite(w wire.Writer, s llm.Stream) ([]byte, error) {
	var out []byte
	for {
		ev, err := s.Next()
		if err == io.EOF {
			return w.End(out), nil
		}
		if err != nil {
			return out, err
		}
		if out, err = w.Event(out, ev); err != nil {
			return out, err
		}
	}
}

// A frame of an array that is no clean JSON still becomes one line for a client of events.
func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{"{\r\n \"a\" : [1, 2] }": `{"a":[1,2]}`, "{\"a\":\r\n01}": `{"a":  01}`} {
		if got := string(oneLine([]byte(in))); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if w := Generate.Writer(sseCall()); !w.Verbatim() || w.ContentType() != "text/event-stream" {
		t.Error("events are not passed as they come")
	}
	if w := Generate.Writer(arrayCall()); w.Verbatim() || w.ContentType() != "application/json" {
		t.Error("an array takes events as they come")
	}
}
