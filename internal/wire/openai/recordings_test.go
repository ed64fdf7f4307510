package openai

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/wiretest"
)

// Every recorded request passes the shape, opens, survives decode-encode-decode, and is retargeted without
// a change to any other byte.
func TestRecordedRequests(t *testing.T) {
	for f, format := range map[llm.Format]interface {
		wire.Format
		wire.Upstream
	}{llm.OpenAIChat: Chat, llm.OpenAIEmbeddings: Embeddings} {
		for _, r := range recordings(t, f) {
			if len(r.Ask) == 0 {
				continue
			}
			t.Run(r.ID, func(t *testing.T) {
				s := scan(t, format, r.Ask)
				call := &llm.Call{Format: f}
				if err := format.Open(call, r.Request(), s); err != nil {
					t.Fatalf("open: %v", err)
				}
				if call.Model == "" || call.Stream != r.Stream {
					t.Errorf("model %q, stream %v; recorded %v", call.Model, call.Stream, r.Stream)
				}
				identity(t, format, r.Ask)
				checkRetarget(t, format, r.Ask, s, call.Stream)
			})
		}
	}
}

// identity checks that encoding loses nothing of what decoding found.
func identity(t testing.TB, f llm.Codec, body []byte) {
	t.Helper()
	first, err := f.Decode(body)
	if err != nil {
		t.Fatalf("decode: %v %+v", err, llm.AsError(err).Problems)
	}
	e := llm.Encoding{Model: "m"}
	again, err := f.Encode(first, &e)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	if len(e.Lost) > 0 {
		t.Errorf("lost in its own format: %+v", e.Lost)
	}
	second, err := f.Decode(again)
	if err != nil {
		t.Fatalf("decode again: %v\n%s", err, again)
	}
	if d := cmp.Diff(first, second, same); d != "" {
		t.Errorf("decode, encode, decode changed it (-first +second):\n%s\nencoded: %s", d, again)
	}
}

// Every recorded answer is read to what was recorded, whole or streamed, and raw bytes pass unchanged.
func TestRecordedAnswers(t *testing.T) {
	for _, r := range recordings(t, llm.OpenAIChat) {
		t.Run(r.ID, func(t *testing.T) {
			facts := wiretest.FactsOf(llm.OpenAIChat, r.Stream, r.Answer)
			var got told
			switch {
			case r.Refused():
				refusal(t, r)
				return
			case r.Stream:
				got = listen(Chat.ReadStream(body(r.Answer, 0), false))
				checkChunkings(t, r.Answer)
			default:
				ev, err := Chat.ReadAnswer(r.Answer, false)
				if err != nil {
					t.Fatal(err)
				}
				got.Answer.Add(ev)
				raw, err := Chat.ReadAnswer(r.Answer, true)
				if err != nil || !bytes.Equal(raw.Raw, r.Answer) {
					t.Errorf("raw: %v", err)
				}
				if d := cmp.Diff(ev.Usage, raw.Usage, same, cmpopts.IgnoreFields(llm.Usage{}, "Extra")); d != "" { // foreign counts matter to nobody who accounts
					t.Errorf("raw and decoded usage differ: %s", d)
				}
			}
			if facts.Failed != (got.Err != nil) {
				t.Errorf("failed %v, recorded %v", got.Err, facts.Failed)
			}
			checkFacts(t, &facts, &got.Answer)
		})
	}
}

func checkFacts(t *testing.T, want *wiretest.Facts, got *llm.Answer) {
	t.Helper()
	for i, w := range want.Choices {
		if i >= len(got.Choices) {
			t.Fatalf("choice %d is missing", i)
		}
		c := &got.Choices[i]
		var text, reasoning, refusal strings.Builder
		var calls []wiretest.Called
		for _, p := range c.Parts {
			text.WriteString(p.Text)
			switch {
			case p.Reasoning != nil:
				reasoning.WriteString(p.Reasoning.Text)
			case p.Refusal != nil:
				refusal.WriteString(*p.Refusal)
			case p.Call != nil:
				calls = append(calls, wiretest.Called{ID: p.Call.ID, Name: p.Call.Name, Args: string(p.Call.Args)})
			}
		}
		for i := range w.Calls {
			if w.Calls[i].Args == "" {
				w.Calls[i].Args = "{}"
			}
		}
		if text.String() != w.Text || refusal.String() != w.Refusal || reasoning.String() != w.Reasoning {
			t.Errorf("text %q\nwant %q\nrefusal %q want %q\nreasoning %q\nwant %q", text.String(), w.Text, refusal.String(), w.Refusal, reasoning.String(), w.Reasoning)
		}
		if d := cmp.Diff(w.Calls, calls, same); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		stops := map[llm.Stop]string{llm.StopEnd: "end", llm.StopLength: "length", llm.StopTools: "tools", llm.StopFilter: "filter", llm.StopRefusal: "refusal", "": ""}
		if stops[c.Stop] != w.Stop {
			t.Errorf("stop %q, want %q", c.Stop, w.Stop)
		}
	}
	counts := wiretest.Counts{}
	if u := got.Usage; u != nil {
		for name, c := range map[string]llm.Count{"input": u.Input, "output": u.Output, "cache_read": u.CacheRead, "cache_write": u.CacheWrite, "reasoning": u.Reasoning} {
			if c.Known {
				counts[name] = c.N
			}
		}
	}
	if d := cmp.Diff(want.Usage, counts, same); d != "" {
		t.Errorf("usage (-want +got):\n%s", d)
	}
}

// checkChunkings: however the bytes arrive, the events are the same, and in raw mode so are the bytes.
func checkChunkings(t testing.TB, data []byte) {
	t.Helper()
	want := listen(Chat.ReadStream(body(data, 0), false))
	raw := listen(Chat.ReadStream(body(data, 0), true))
	if want.Err == nil && !isDocument(data) && !bytes.Equal(bytes.TrimRight(raw.Raw, "\r\n"), bytes.TrimRight(data, "\r\n")) {
		t.Errorf("raw bytes changed:\n%q\nwant\n%q", raw.Raw, data)
	}
	if d := cmp.Diff(want.Answer.Usage, raw.Answer.Usage, same); d != "" {
		t.Errorf("raw and decoded usage differ (-decoded +raw): %s", d)
	}
	if (want.Err == nil) != (raw.Err == nil) {
		t.Errorf("decoded ends with %v, raw with %v", want.Err, raw.Err)
	}
	for _, n := range []int{1, 2, 7, 64, 1000} {
		for _, isRaw := range []bool{false, true} {
			w := want
			if isRaw {
				w = raw
			}
			got := listen(Chat.ReadStream(body(data, n), isRaw))
			if d := cmp.Diff(w.Answer, got.Answer, same); d != "" {
				t.Fatalf("pieces of %d bytes give another answer:\n%s", n, d)
			}
			// The last LF of a CRLF may be left unread behind [DONE].
			if d := cmp.Diff(trimEmpty(w.Events), trimEmpty(got.Events)); d != "" || !bytes.Equal(bytes.TrimRight(w.Raw, "\r\n"), bytes.TrimRight(got.Raw, "\r\n")) || kindOf(w.Err) != kindOf(got.Err) {
				t.Fatalf("pieces of %d bytes give other events: %v\n%s", n, got.Err, d)
			}
		}
	}
}

// trimEmpty drops events at the end that hold nothing: the LF of a CRLF that came late.
func trimEmpty(events []string) []string {
	for len(events) > 0 && events[len(events)-1] == "" {
		events = events[:len(events)-1]
	}
	return events
}

func refusal(t *testing.T, r *wiretest.Recording) {
	t.Helper()
	e := Chat.ReadError(r.Status, r.Header, r.Answer)
	want := map[int]llm.Kind{400: llm.KindInvalid, 401: llm.KindUpstreamCreds, 404: llm.KindModelNotFound, 429: llm.KindRateLimited}[r.Status]
	if strings.Contains(string(r.Answer), "context length") {
		want = llm.KindContextLength
	}
	if e.Kind != want {
		t.Errorf("status %d is %s (%s), want %s", r.Status, e.Kind, e.Msg, want)
	}
	if strings.Contains(e.Msg, "sk-") || strings.Contains(e.Msg, "http") {
		t.Errorf("the message is not clean: %s", e.Msg)
	}
	t.Logf("%d %s: %s (code %q, param %q, wait %s)", r.Status, e.Kind, e.Msg, e.Code, e.Param, e.RetryAfter)
}
