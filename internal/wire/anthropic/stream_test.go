package anthropic

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// sseOf makes a stream of frames out of their data.
func sseOf(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + "\n\n")
	}
	return b.String()
}

const (
	startFrame = `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":10,"output_tokens":1}}}`
	textFrame  = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}`
	endFrame   = `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}`
)

func TestStreamsThatFail(t *testing.T) {
	for _, tt := range []struct {
		name, stream string
		want         llm.Kind
	}{
		{"overloaded", sseOf(startFrame, textFrame, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}`), llm.KindOverloaded},
		{"an error without a type of frame", sseOf(startFrame, textFrame, `{"error":{"message":"boom"}}`), llm.KindUpstream},
		{"an error in another frame's clothes", "event: content_block_delta\n" + sseOf(`{"error":{"type":"rate_limit_error","message":"x"},"type":"error"}`), llm.KindRateLimited},
		{"an internal error", sseOf(`{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`), llm.KindUpstream},
		{"garbage", sseOf(startFrame, textFrame, `{"type":"message_delta","delta":{`), llm.KindUpstream},
		{"a garbled piece in the middle", sseOf(startFrame, textFrame, `{"type":"content_block_delta","index":0,"delta":{"type":"text_de`, textFrame, endFrame, `{"type":"message_stop"}`), llm.KindUpstream},
		{"not JSON", sseOf(startFrame, textFrame, `<html>`), llm.KindUpstream},
		{"no end", sseOf(startFrame, textFrame, endFrame), llm.KindUpstream},
		{"nothing", "", llm.KindUpstream},
		{"another format's end", sseOf(startFrame, textFrame, `[DONE]`), llm.KindUpstream},
	} {
		for _, raw := range []bool{false, true} {
			_, _, err := drain(t, Messages.ReadStream(io.NopCloser(strings.NewReader(tt.stream)), raw))
			var e *llm.Error
			if !errors.As(err, &e) || e.Kind != tt.want {
				t.Errorf("%s, raw %v: got %v, want %s", tt.name, raw, err, tt.want)
			}
		}
	}
}

// failing gives some bytes, then an error.
type failing struct {
	io.Reader
	err    error
	closed atomic.Int32
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

func (f *failing) Close() error { f.closed.Add(1); return nil }

func TestBrokenReads(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want llm.Kind
	}{
		{io.ErrUnexpectedEOF, llm.KindUpstream},
		{errors.New("connection reset"), llm.KindUpstream},
		{context.Canceled, llm.KindClientGone},
		{context.DeadlineExceeded, llm.KindUpstreamTimeout},
		{llm.Errorf(llm.KindOverloaded, "x"), llm.KindOverloaded},
	} {
		body := &failing{Reader: strings.NewReader(example[:300]), err: tt.err}
		s := Messages.ReadStream(body, true)
		_, _, err := drain(t, s)
		var e *llm.Error
		if !errors.As(err, &e) || e.Kind != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%v: got %v, want %s", tt.err, err, tt.want)
		}
		if _, again := s.Next(); !errors.Is(again, err) {
			t.Errorf("a failed stream says %v, then %v", err, again)
		}
		_ = s.Close()
		if n := body.closed.Load(); n != 1 {
			t.Errorf("the body was closed %d times", n)
		}
	}
}

func TestCloseUnblocksNext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	s := Messages.ReadStream(r, true)
	got := make(chan error)
	go func() { _, err := s.Next(); got <- err }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err == nil || err == io.EOF {
		t.Errorf("Next of a closed stream: %v", err)
	}
}

func TestOddStreams(t *testing.T) {
	usage := &llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(3)}
	end := func(parts ...llm.Part) []llm.Choice {
		return []llm.Choice{{Parts: parts, Stop: llm.StopEnd, Native: "end_turn"}}
	}
	for _, tt := range []struct {
		name, stream string
		want         []llm.Choice
	}{
		{"two starts", sseOf(startFrame, startFrame, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, textFrame, endFrame, `{"type":"message_stop"}`), end(txt("a"))},
		{"no block start, unknown events", sseOf(startFrame, `{"type":"surprise","usage":1e3}`, textFrame, textFrame, endFrame, `{"type":"message_stop"}`), end(txt("aa"))},
		{"members in another order", sseOf(startFrame, `{"delta":{"text":"a","type":"text_delta"},"index":0,"type":"content_block_delta"}`, endFrame, `{ "x":1,"type":"message_stop"}`), end(txt("a"))},
		{"comments, and no blank line at the end", ": hi\n\n" + sseOf(startFrame, textFrame, endFrame) + `data: {"type":"message_stop"}`, end(txt("a"))},
		{"something behind the end", sseOf(startFrame, textFrame, endFrame, `{"type":"message_stop"}`, `[DONE]`), end(txt("a"))},
		{"a text that begins in its block", sseOf(startFrame, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"b"}}`, textFrame, endFrame, `{"type":"message_stop"}`), end(txt("ba"))},
		{"a call whose arguments come at once", sseOf(startFrame, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{"a":1}}}`, `{"type":"content_block_stop","index":0}`, endFrame, `{"type":"message_stop"}`), end(tc("t", `{"a":1}`))},
		{
			"a hosted tool", sseOf(startFrame, `{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q\":"}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"1}"}}`, `{"type":"content_block_stop","index":0}`,
				`{"type":"content_block_start","index":1,"content_block":{"type":"compaction","content":"x"}}`, `{"type":"content_block_delta","index":1,"delta":{"type":"compaction_delta","content":"y"}}`, `{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"n":1}}}`,
				endFrame, `{"type":"message_stop"}`),
			end(llm.Part{Foreign: llm.Raw(`{"type":"server_tool_use","id":"s","name":"web_search","input":{"q":1}}`)}, llm.Part{Foreign: llm.Raw(`{"type":"compaction","content":"xy","citations":[{"n":1}]}`)}),
		},
		{
			"thinking that is not shown", sseOf(startFrame, `{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s1"}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s2"}}`, `{"type":"content_block_stop","index":0}`, endFrame, `{"type":"message_stop"}`),
			end(llm.Part{Reasoning: new(llm.Reasoning), Signature: &llm.Signature{By: "anthropic", Value: "s1s2"}}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := readStream(t, tt.stream)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Choices, sameMeaning); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, raw := range []bool{false, true} {
				a, _, err := drain(t, Messages.ReadStream(io.NopCloser(strings.NewReader(tt.stream)), raw))
				if err != nil {
					t.Fatal(err)
				}
				want := *usage
				if tt.name == "a hosted tool" {
					want.Runs = llm.Runs{"web_search": 1}
				}
				if diff := cmp.Diff(&want, a.Usage, sameMeaning); diff != "" {
					t.Errorf("usage, raw %v (-want +got):\n%s", raw, diff)
				}
			}
		})
	}
}

func TestReadUsage(t *testing.T) {
	for _, tt := range []struct {
		name, usage string
		want        *llm.Usage
	}{
		{"absent", `null`, nil},
		{"nothing in it", `{}`, &llm.Usage{}},
		{"zero is not absent", `{"input_tokens":0,"output_tokens":0}`, &llm.Usage{Input: llm.Tokens(0), Output: llm.Tokens(0)}},
		{"null is absent", `{"input_tokens":5,"cache_read_input_tokens":null,"output_tokens":2}`, &llm.Usage{Input: llm.Tokens(5), Output: llm.Tokens(2)}},
		{
			"all", `{"input_tokens":5,"cache_creation_input_tokens":30,"cache_read_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":9,"output_tokens_details":{"thinking_tokens":4},"service_tier":"priority","server_tool_use":{"web_search_requests":1}}`,
			&llm.Usage{
				Input: llm.Tokens(135), CacheWrite: llm.Tokens(30), CacheWrite1h: llm.Tokens(20), CacheRead: llm.Tokens(100), Output: llm.Tokens(9), Reasoning: llm.Tokens(4), Tier: "priority",
				Extra: llm.Members{"server_tool_use": llm.Raw(`{"web_search_requests":1}`)}, Runs: llm.Runs{"web_search": 1},
			},
		},
		{
			"writes by lifetime only", `{"input_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}`,
			&llm.Usage{Input: llm.Tokens(31), CacheWrite: llm.Tokens(30), CacheWrite1h: llm.Tokens(20)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := `{"type":"message","id":"msg_1","model":"m","role":"assistant","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":` + tt.usage + `}`
			for _, raw := range []bool{false, true} {
				ev, err := Messages.ReadAnswer([]byte(body), raw)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, ev.Usage, sameMeaning); diff != "" {
					t.Errorf("raw %v (-want +got):\n%s", raw, diff)
				}
				if !ev.Output || string(ev.Raw) != body || ev.Head.ID != "msg_1" {
					t.Errorf("raw %v: event %+v", raw, ev)
				}
			}
		})
	}
}

func TestReadError(t *testing.T) {
	body := func(typ, msg string) string {
		return `{"type":"error","error":{"type":"` + typ + `","message":"` + msg + `"},"request_id":"req_011CeCGmBjaWkq37"}`
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	date := http.Header{"Date": {now.Format(http.TimeFormat)}}
	with := func(name, v string) http.Header { h := date.Clone(); h.Set(name, v); return h }
	limited := with("Anthropic-Ratelimit-Tokens-Reset", now.Add(42*time.Second).Format(time.RFC3339))
	limited.Set("Anthropic-Ratelimit-Tokens-Remaining", "0")
	limited.Set("Anthropic-Ratelimit-Requests-Reset", now.Add(time.Hour).Format(time.RFC3339))
	limited.Set("Anthropic-Ratelimit-Requests-Remaining", "17")
	for _, tt := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   llm.Error
	}{
		{"key", 401, nil, body("authentication_error", "invalid x-api-key"), llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		{"permission", 403, nil, body("permission_error", "no"), llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		{"billing", 402, nil, body("billing_error", "no"), llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		{"credit", 400, nil, body("invalid_request_error", "Your credit balance is too low to access the Anthropic API."), llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		{"own limit", 400, nil, body("invalid_request_error", "You have reached your specified API usage limits."), llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		{"too long", 400, nil, body("invalid_request_error", "prompt is too long: 3 tokens > 2 maximum"), llm.Error{Kind: llm.KindContextLength, Msg: "prompt is too long: 3 tokens > 2 maximum", Code: "invalid_request_error"}},
		{"too long with the answer", 400, nil, body("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 3"), llm.Error{Kind: llm.KindContextLength, Msg: "input length and `max_tokens` exceed context limit: 1 + 2 > 3", Code: "invalid_request_error"}},
		{"filtered", 400, nil, body("invalid_request_error", "Output blocked by content filtering policy"), llm.Error{Kind: llm.KindContentFiltered, Msg: "Output blocked by content filtering policy", Code: "invalid_request_error"}},
		{"invalid", 400, nil, body("invalid_request_error", "messages.0: bad"), llm.Error{Kind: llm.KindInvalid, Msg: "messages.0: bad", Code: "invalid_request_error", Status: 400}},
		{"unprocessable", 422, nil, `{"detail":"nope"}`, llm.Error{Kind: llm.KindInvalid, Msg: "nope", Status: 422}},
		{"no model", 404, nil, body("not_found_error", "model: x"), llm.Error{Kind: llm.KindModelNotFound, Msg: "model: x", Code: "not_found_error"}},
		{"no API", 404, nil, `<html>404</html>`, llm.Error{Kind: llm.KindUpstream, Msg: "there is no Messages API at the upstream's address"}},
		{"too large", 413, nil, body("request_too_large", "Request exceeds the maximum size"), llm.Error{Kind: llm.KindTooLarge, Msg: "Request exceeds the maximum size", Code: "request_too_large"}},
		{"rate, seconds", 429, with("Retry-After", "7"), body("rate_limit_error", "slow"), llm.Error{Kind: llm.KindRateLimited, Msg: "slow", Code: "rate_limit_error", RetryAfter: 7 * time.Second}},
		{"rate, by the limit that is used up", 429, limited, body("rate_limit_error", "slow"), llm.Error{Kind: llm.KindRateLimited, Msg: "slow", Code: "rate_limit_error", RetryAfter: 42 * time.Second}},
		{"overloaded", 529, date, body("overloaded_error", "Overloaded"), llm.Error{Kind: llm.KindOverloaded, Msg: "Overloaded", Code: "overloaded_error"}},
		{"unavailable", 503, nil, ``, llm.Error{Kind: llm.KindOverloaded, Msg: "the upstream is overloaded"}},
		{"timeout", 504, nil, ``, llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "the upstream did not answer in time"}},
		{"internal", 500, nil, body("api_error", "see https://internal.host/x req_011CeCGmBjaWkq37"), llm.Error{Kind: llm.KindUpstream, Msg: "see [removed] [removed]", Code: "api_error"}},
		{"408", 408, nil, ``, llm.Error{Kind: llm.KindUpstream, Msg: "the upstream failed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Messages.ReadError(tt.status, tt.header, []byte(tt.body))
			got.Err = nil
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorIn200(t *testing.T) {
	for body, want := range map[string]llm.Kind{
		`{"type":"error","error":{"type":"overloaded_error","message":"x"}}`: llm.KindOverloaded,
		`{"error":{"message":"x","code":500}}`:                               llm.KindUpstream,
		`{"error":"x"}`:                                                      llm.KindUpstream,
		`{}`:                                                                 llm.KindUpstream,
		`{"type":"message"`:                                                  llm.KindUpstream,
		`[]`:                                                                 llm.KindUpstream,
		`{"input_tokens":"no"}`:                                              llm.KindUpstream,
	} {
		for _, f := range []*Format{Messages, CountTokens} {
			for _, raw := range []bool{false, true} {
				_, err := f.ReadAnswer([]byte(body), raw)
				var e *llm.Error
				if !errors.As(err, &e) || e.Kind != want {
					t.Errorf("%s, %s, raw %v: got %v, want %s", f.Format(), body, raw, err, want)
				}
			}
		}
	}
}

func TestWriteStop(t *testing.T) {
	for _, tt := range []struct {
		stop   llm.Stop
		native string
		same   bool
		want   string
	}{
		{llm.StopEnd, "stop", false, "end_turn"},
		{llm.StopLength, "length", false, "max_tokens"},
		{llm.StopLength, "MAX_TOKENS", false, "max_tokens"},
		{llm.StopLength, "model_context_window_exceeded", true, "model_context_window_exceeded"},
		{llm.StopSequence, "", false, "stop_sequence"},
		{llm.StopTools, "tool_calls", false, "tool_use"},
		{llm.StopFilter, "content_filter", false, "refusal"},
		{llm.StopFilter, "SAFETY", false, "refusal"},
		{llm.StopRefusal, "", false, "refusal"},
		{llm.StopPause, "", false, "pause_turn"},
		{llm.StopOther, "compaction", true, "compaction"},
		{llm.StopOther, "recitation", false, "refusal"},
		{llm.StopOther, "MALFORMED_FUNCTION_CALL", false, "refusal"},
		{llm.StopOther, "", false, "refusal"},
		{"", "", false, "end_turn"},
	} {
		if got := writeStop(tt.stop, tt.native, tt.same); got != tt.want {
			t.Errorf("%q %q: %q, want %q", tt.stop, tt.native, got, tt.want)
		}
	}
}

func TestAnswersWithoutAPlace(t *testing.T) {
	call := &llm.Call{ID: "1", Model: "m"}
	picture := llm.Part{Media: &llm.Media{Kind: llm.MediaImage, Data: "AA=="}}
	if _, err := Messages.Answer(call, &llm.Answer{Choices: []llm.Choice{{Parts: []llm.Part{picture}}}}); err == nil {
		t.Error("an image in a whole answer was dropped in silence")
	}
	if _, err := Messages.Writer(call).Event(nil, &llm.Event{Delta: []llm.Delta{{Part: &picture}}}); err == nil {
		t.Error("an image in a stream was dropped in silence")
	}
	if CountTokens.Writer(call) != nil || CountTokens.ReadStream(nil, false) != nil {
		t.Error("count_tokens has no streams")
	}
	body, err := CountTokens.Answer(call, &llm.Answer{Usage: &llm.Usage{Input: llm.Tokens(7)}})
	if err != nil || string(body) != `{"input_tokens":7}` {
		t.Errorf("count: %s, %v", body, err)
	}
}
