package wire

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
)

func TestEveryKindHasAStatus(t *testing.T) {
	for _, k := range []llm.Kind{
		llm.KindInvalid, llm.KindUnknownField, llm.KindUnsupported, llm.KindInvalidKey, llm.KindModelNotAllowed, llm.KindModelNotFound,
		llm.KindNotFound, llm.KindForbidden, llm.KindConflict, llm.KindMethodNotAllowed, llm.KindTooLarge, llm.KindMediaType, llm.KindRequestTimeout, llm.KindRateLimited, llm.KindConcurrency,
		llm.KindBudget, llm.KindContextLength, llm.KindContentFiltered, llm.KindGuardrail, llm.KindUpstream, llm.KindUpstreamTimeout, llm.KindUpstreamCreds,
		llm.KindNoUpstream, llm.KindOverloaded, llm.KindClientGone, llm.KindInternal,
	} {
		if p := NewProblem(&llm.Error{Kind: k}, "id"); p.Status < 400 || p.Title == "" || p.Detail == "" {
			t.Errorf("%s: %+v", k, p)
		}
	}
	if s := Status(&llm.Error{Kind: llm.KindInvalid, Status: 422}); s != 422 {
		t.Errorf("status %d, want the override", s)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		h    map[string]string
		want time.Duration
	}{
		{"nothing", nil, 0},
		{"seconds", map[string]string{"Retry-After": "7"}, 7 * time.Second},
		{"fraction", map[string]string{"Retry-After": "0.5"}, 500 * time.Millisecond},
		{"date", map[string]string{"Retry-After": "Thu, 01 Jan 2026 00:01:00 GMT"}, time.Minute},
		{"date in the past", map[string]string{"Retry-After": "Thu, 01 Jan 2015 00:01:00 GMT"}, 0},
		{"garbage", map[string]string{"Retry-After": "soon"}, 0},
		{"negative", map[string]string{"Retry-After": "-5"}, 0},
		{"absurd", map[string]string{"Retry-After": "99999999999"}, 24 * time.Hour},
		{"milliseconds", map[string]string{"Retry-After-Ms": "250", "Retry-After": "1"}, 250 * time.Millisecond},
		{"Azure: both, the finer one zero", map[string]string{"Retry-After-Ms": "0", "Retry-After": "1"}, time.Second},
		{"OpenAI", map[string]string{"X-Ratelimit-Reset-Tokens": "17ms", "X-Ratelimit-Remaining-Tokens": "0", "X-Ratelimit-Reset-Requests": "6m0s", "X-Ratelimit-Remaining-Requests": "99"}, 17 * time.Millisecond},
		{"OpenRouter: epoch in ms", map[string]string{"X-Ratelimit-Reset": "1767225630000"}, 30 * time.Second},
		{"epoch in s", map[string]string{"X-Ratelimit-Reset": "1767225630"}, 30 * time.Second},
		{"Anthropic", map[string]string{"Anthropic-Ratelimit-Requests-Reset": "2026-01-01T00:00:10Z", "Anthropic-Ratelimit-Requests-Remaining": "0"}, 10 * time.Second},
	} {
		h := http.Header{}
		for k, v := range c.h {
			h.Set(k, v)
		}
		if got := RetryAfter(h, now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestScrub(t *testing.T) {
	for _, secret := range []string{
		"sk-proj-abcdefGHIJ", "sk-ant-api03-xyz_123", "sk-...f3Qx", "sk-****abcd", "gsk_abcdefgh1234", "xai-abcdefgh", "AIzaSyD-abcdefghijklmnop", "org-AbCdEf123456", "proj_abcDEF123",
		"req_011CSabcdef", "https://internal.example/v1?key=1", "http://10.0.0.7:8080", "10.1.2.3:443", "llm.prod.svc", "*****wxyz",
	} {
		if got := Scrub("Incorrect API key provided: " + secret + ". Try again."); strings.Contains(got, secret) || !strings.HasPrefix(got, "Incorrect API key provided: ") || !strings.HasSuffix(got, "Try again.") {
			t.Errorf("%s: %q", secret, got)
		}
	}
	for _, text := range []string{
		"This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
		"Invalid value: 'foo'. Supported values are: 'low', 'medium' and 'high'.", "max_tokens: 100000 > 8192, which is the maximum for claude-3-5-haiku-20241022",
		"messages.1.content.0.image.source.base64.media_type: Input should be 'image/jpeg'", "Tool choice is required, but model did not call a tool",
	} {
		if got := Scrub(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := Scrub(strings.Repeat("x", 10_000)); len(got) > 2100 {
		t.Errorf("%d bytes are shown", len(got))
	}
}
