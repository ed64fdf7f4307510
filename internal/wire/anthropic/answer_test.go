package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// drain reads a stream to its end: the sum of its events, and their bytes.
func drain(t *testing.T, s llm.Stream) (*llm.Answer, []byte, error) {
	t.Helper()
	defer s.Close()
	var a llm.Answer
	var raw []byte
	for {
		ev, err := s.Next()
		if err == io.EOF {
			return &a, raw, nil
		}
		if err != nil {
			return &a, raw, err
		}
		raw = append(raw, ev.Raw...)
		a.Add(ev)
	}
}

func readStream(t *testing.T, body string) (*llm.Answer, []byte, error) {
	t.Helper()
	return drain(t, Messages.ReadStream(io.NopCloser(strings.NewReader(body)), false))
}

// A plain is what an answer says, told apart from how it is kept.
type plain struct {
	ID, Text, Thinking, Signature, Redacted, Stop string
	Tools                                         []string // name, id and arguments
	Foreign                                       int
	Input, Output, CacheRead, CacheWrite          int64
}

// plainOf reads a recorded answer by its own means: a second opinion on what it says.
func plainOf(t *testing.T, body []byte, streamed bool) plain {
	t.Helper()
	var p plain
	blocks := map[float64]map[string]any{}
	var order []float64
	usage := map[string]any{}
	take := func(m map[string]any) {
		for k, v := range m {
			usage[k] = v
		}
	}
	if !streamed {
		var m map[string]any
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		for i, b := range m["content"].([]any) {
			blocks[float64(i)] = b.(map[string]any)
			order = append(order, float64(i))
		}
		p.ID, p.Stop = m["id"].(string), m["stop_reason"].(string)
		take(m["usage"].(map[string]any))
	}
	for _, line := range bytes.Split(body, []byte("\n")) {
		data, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok || !streamed {
			continue
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		switch m["type"] {
		case "message_start":
			msg := m["message"].(map[string]any)
			p.ID = msg["id"].(string)
			take(msg["usage"].(map[string]any))
		case "content_block_start":
			i := m["index"].(float64)
			blocks[i] = m["content_block"].(map[string]any)
			order = append(order, i)
		case "content_block_delta":
			b := blocks[m["index"].(float64)]
			for k, v := range m["delta"].(map[string]any) {
				if s, ok := v.(string); ok && k != "type" {
					old, _ := b[k].(string)
					b[k] = old + s
				}
			}
		case "message_delta":
			p.Stop, _ = m["delta"].(map[string]any)["stop_reason"].(string)
			take(m["usage"].(map[string]any))
		}
	}
	for _, i := range order {
		b := blocks[i]
		str := func(k string) string { s, _ := b[k].(string); return s }
		switch b["type"] {
		case "text":
			p.Text += str("text")
		case "thinking":
			p.Thinking += str("thinking")
			p.Signature += str("signature")
		case "redacted_thinking":
			p.Redacted += str("data")
		case "tool_use":
			args, _ := json.Marshal(b["input"])
			if s := str("partial_json"); s != "" {
				var v any
				_ = json.Unmarshal([]byte(s), &v)
				args, _ = json.Marshal(v)
			}
			p.Tools = append(p.Tools, str("name"), str("id"), string(args))
		default:
			p.Foreign++
		}
	}
	n := func(k string) int64 { f, _ := usage[k].(float64); return int64(f) }
	p.CacheRead, p.CacheWrite, p.Output = n("cache_read_input_tokens"), n("cache_creation_input_tokens"), n("output_tokens")
	p.Input = n("input_tokens") + p.CacheRead + p.CacheWrite
	return p
}

// plainFrom says the same of an answer that was read.
func plainFrom(a *llm.Answer) plain {
	p := plain{ID: a.Head.ID}
	for _, c := range a.Choices {
		p.Stop = c.Native
		for _, part := range c.Parts {
			p.Text += part.Text
			switch {
			case part.Reasoning != nil:
				p.Thinking += part.Reasoning.Text
				p.Redacted += string(part.Reasoning.Redacted)
				if part.Signature != nil {
					p.Signature += part.Signature.Value
				}
			case part.Call != nil:
				var v any
				_ = json.Unmarshal(part.Call.Args, &v)
				args, _ := json.Marshal(v)
				p.Tools = append(p.Tools, part.Call.Name, part.Call.ID, string(args))
			case part.Foreign != nil:
				p.Foreign++
			}
		}
	}
	if u := a.Usage; u != nil {
		p.Input, p.Output, p.CacheRead, p.CacheWrite = u.Input.N, u.Output.N, u.CacheRead.N, u.CacheWrite.N
	}
	return p
}

func TestRecordedAnswers(t *testing.T) {
	for _, r := range recordings(t, "recordings.jsonl", "response_only.jsonl") {
		if r.Response.Status >= 400 {
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			body := r.Response.Body.bytes(t)
			want := plainOf(t, body, r.Stream)
			var a *llm.Answer
			if r.Stream {
				var raw []byte
				var err error
				if a, raw, err = readStream(t, string(body)); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(bytes.TrimRight(raw, "\n"), bytes.TrimRight(body, "\n")) {
					t.Error("the events do not hold the bytes that came")
				}
			} else {
				ev, err := Messages.ReadAnswer(body, false)
				if err != nil {
					t.Fatal(err)
				}
				a = new(llm.Answer)
				a.Add(ev)
			}
			if diff := cmp.Diff(want, plainFrom(a)); diff != "" {
				t.Errorf("(-recorded +read):\n%s", diff)
			}
			rewritten(t, a)
		})
	}
}

// rewritten checks that an answer which is written again, whole and streamed, reads the same.
func rewritten(t *testing.T, a *llm.Answer) {
	t.Helper()
	call := &llm.Call{ID: "1", Model: "m"}
	body, err := Messages.Answer(call, a)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := Messages.ReadAnswer(body, false)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	whole := new(llm.Answer)
	whole.Add(ev)
	if diff := cmp.Diff(a, whole, sameMeaning); diff != "" {
		t.Errorf("written whole (-answer +read again):\n%s", diff)
	}
	again, _, err := readStream(t, string(write(t, call, a)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, again, sameMeaning); diff != "" {
		t.Errorf("written as a stream (-answer +read again):\n%s", diff)
	}
}

// write streams an answer, one event a part.
func write(t *testing.T, call *llm.Call, a *llm.Answer) []byte {
	t.Helper()
	w := Messages.Writer(call)
	var out []byte
	emit := func(ev *llm.Event) {
		var err error
		if out, err = w.Event(out, ev); err != nil {
			t.Fatal(err)
		}
	}
	emit(&llm.Event{Format: llm.AnthropicMessages, Head: &a.Head})
	for _, c := range a.Choices {
		for i := range c.Parts {
			emit(&llm.Event{Format: llm.AnthropicMessages, Delta: []llm.Delta{{Choice: c.Index, Index: i, Part: &c.Parts[i]}}})
		}
		emit(&llm.Event{Format: llm.AnthropicMessages, Delta: []llm.Delta{{Choice: c.Index, Stop: c.Stop, Native: c.Native, StopText: c.StopText, Extra: c.Extra}}})
	}
	emit(&llm.Event{Format: llm.AnthropicMessages, Usage: a.Usage, Extra: a.Extra})
	return w.End(out)
}

func TestRecordedErrors(t *testing.T) {
	want := map[string]llm.Kind{"764463a28620": llm.KindUpstreamCreds, "30126fa8e7b6": llm.KindContextLength}
	for _, r := range recordings(t, "recordings.jsonl") {
		if r.Response.Status < 400 {
			continue
		}
		e := Messages.ReadError(r.Response.Status, nil, r.Response.Body.bytes(t))
		if e.Kind != want[r.ID] {
			t.Errorf("%s: got %v, want %s", r.ID, e, want[r.ID])
		}
		if strings.Contains(e.Msg, "req_") || strings.Contains(e.Msg, "x-api-key") {
			t.Errorf("%s: the message tells too much: %s", r.ID, e.Msg)
		}
	}
}

func TestRecordedStreamsRaw(t *testing.T) {
	for _, r := range recordings(t, "recordings.jsonl", "response_only.jsonl") {
		if !r.Stream || r.Response.Status >= 400 {
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			body := r.Response.Body.bytes(t)
			decoded, _, err := readStream(t, string(body))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{string(body), strings.ReplaceAll(string(body), "\n", "\r\n")} {
				a, raw, err := drain(t, Messages.ReadStream(io.NopCloser(iotest.HalfReader(strings.NewReader(text))), true))
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(text, string(raw)) || strings.TrimSpace(text[len(raw):]) != "" {
					t.Error("the bytes changed on their way")
				}
				if diff := cmp.Diff(decoded.Usage, a.Usage, sameMeaning); diff != "" {
					t.Errorf("usage (-decoded +raw):\n%s", diff)
				}
			}
		})
	}
}

func TestCutStreams(t *testing.T) {
	frames := strings.SplitAfter(example, "\n\n")
	for i := range len(example) {
		for _, raw := range []bool{false, true} {
			_, _, err := drain(t, Messages.ReadStream(io.NopCloser(strings.NewReader(example[:i])), raw))
			var e *llm.Error
			complete := i >= len(example)-2 // but for the last blank line
			if complete && err != nil {
				t.Fatalf("cut at %d of %d: %v", i, len(example), err)
			}
			if !complete && (!errors.As(err, &e) || e.Kind != llm.KindUpstream) {
				t.Fatalf("cut at %d of %d frames %d: got %v, want an upstream error", i, len(example), len(frames), err)
			}
		}
	}
}

const example = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}  }

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}       }

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" world"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}

event: message_stop
data: {"type":"message_stop"   }

`

func TestFirstOutput(t *testing.T) {
	for _, raw := range []bool{false, true} {
		s := Messages.ReadStream(io.NopCloser(strings.NewReader(example)), raw)
		var at []bool
		for ev, err := range llm.All(s) {
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, ev.Output)
			if len(at) == 4 {
				break
			}
		}
		if diff := cmp.Diff([]bool{false, false, false, true}, at); diff != "" {
			t.Errorf("raw %v (-want +got):\n%s", raw, diff)
		}
	}
}

// repeating gives head once and then frame for ever.
type repeating struct{ head, frame []byte }

func (r *repeating) Read(p []byte) (int, error) {
	src := r.head
	if len(src) == 0 {
		src = r.frame
	}
	n := copy(p, src)
	if len(r.head) > 0 {
		r.head = r.head[n:]
	} else if n < len(src) {
		r.head = src[n:]
	}
	return n, nil
}

func (r *repeating) Close() error { return nil }

func rawFrames(t testing.TB) llm.Stream {
	const frame = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n"
	s := Messages.ReadStream(&repeating{head: []byte(example[:strings.Index(example, "event: content_block_stop")]), frame: []byte(frame)}, true)
	for range 10 {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestRawFramesCostNoMemory(t *testing.T) {
	s := rawFrames(t)
	if n := testing.AllocsPerRun(2000, func() {
		if ev, err := s.Next(); err != nil || !ev.Output {
			t.Fatal(ev, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame, want none", n)
	}
}

func BenchmarkRawFrame(b *testing.B) {
	s := rawFrames(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
