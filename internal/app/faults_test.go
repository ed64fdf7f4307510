package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"sluice/internal/gateway"
	"sluice/internal/wire/openai"
)

// A stream that breaks ends as a failure in the client's own format, never as if it were complete: cut
// cleanly, closed, reset, an error event, garbage; at random places, for every pair of formats.
func TestBrokenStreamsEndAsFailures(t *testing.T) {
	r := newRig(t, "")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, v := range vendors {
		for _, up := range upstreams {
			for _, fault := range []string{"cut", "drop", "rst", "error", "garbage"} {
				for range 3 {
					place := 30 + rnd.IntN(60) // behind what a format says before its first output
					model := fmt.Sprintf("%s/story?chunks=40&%s=0.%d", up, fault, place)
					resp, body := do(t, r.request(t, v, model, "x", true))
					if resp.StatusCode != 200 {
						t.Errorf("%s %s: %d before any output? %s", v.name, model, resp.StatusCode, body)
						continue
					}
					if !v.fail(body) {
						t.Errorf("%s %s: no failure at the end: …%s", v.name, model, body[max(0, len(body)-300):])
					}
					if v.name != "gemini" && v.end(body) {
						t.Errorf("%s %s: ends as if well: …%s", v.name, model, body[max(0, len(body)-300):])
					}
				}
			}
		}
	}
}

// What fails before the first output has a status of its own.
func TestFaultsBeforeTheFirstOutput(t *testing.T) {
	const once = "retries: {attempts: 1}\n"
	patient, hasty := newRig(t, once), newRig(t, once+"timeouts: {first_token: 1s, total: 1s}\n")
	for _, c := range []struct {
		script string
		status int
		code   string
		retry  string
	}{
		{"status=400", 400, "invalid_request", ""},
		{"status=401", 502, "upstream_credentials_exhausted", ""},
		{"status=403", 502, "upstream_credentials_exhausted", ""},
		{"status=404", 404, "model_not_found", ""},
		{"status=429&retry=7s", 429, "rate_limited", "7"},
		{"status=429", 429, "rate_limited", "1"},
		{"status=500", 502, "upstream_error", ""},
		{"status=500&body=html", 502, "upstream_error", ""},
		{"status=500&body=empty", 502, "upstream_error", ""},
		{"status=502&body=text:oops", 502, "upstream_error", ""},
		{"status=503&retry=3s", 503, "overloaded", "3"},
		{"status=504", 504, "upstream_timeout", ""},
		{"status=529", 503, "overloaded", "1"},
		{"redirect=/elsewhere", 502, "upstream_error", ""},
		{"hang=head", 504, "upstream_timeout", ""},
		{"head=1MB", 502, "upstream_error", ""},
		{"heads=10000", 502, "upstream_error", ""},
		{"rst=head", 502, "upstream_error", ""},
		{"drop=head", 502, "upstream_error", ""},
		{"status=204&body=empty", 502, "upstream_error", ""},
	} {
		for _, up := range upstreams {
			for _, stream := range []bool{false, true} {
				model, r := up+"/echo?"+c.script, patient
				if c.script == "hang=head" {
					r = hasty
				}
				r.forget(t) // a refused credential, an open breaker
				resp, body := do(t, r.request(t, vendors[0], model, "x", stream))
				var p struct {
					Code  string
					Error struct{ Code string }
				}
				_ = json.Unmarshal([]byte(body), &p)
				if resp.StatusCode != c.status || p.Code != c.code || p.Error.Code == "" {
					t.Errorf("%s stream=%v: %d %s, want %d %s: %s", model, stream, resp.StatusCode, p.Code, c.status, c.code, body)
				}
				if got := resp.Header.Get("Retry-After"); got != c.retry {
					t.Errorf("%s: Retry-After %q, want %q", model, got, c.retry)
				}
				if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
					t.Errorf("%s: Content-Type %q", model, ct)
				}
				for _, leak := range []string{"upstream-secret", "127.0.0.1", r.up.URL} {
					if strings.Contains(body, leak) {
						t.Errorf("%s: the answer tells %q: %s", model, leak, body)
					}
				}
			}
		}
	}
}

// The client's own deadline holds for whatever is under way, and for nothing after it.
func TestClientDeadline(t *testing.T) {
	r := newRig(t, "")
	var calls sync.WaitGroup
	for _, c := range []struct {
		model  string
		stream bool
	}{{"o/echo?latency=1h", false}, {"a/echo?ttft=1h", true}, {"g/story?chunks=10&hang=0.5", true}} {
		req := r.request(t, vendors[0], c.model, "x", c.stream)
		req.Header.Set("X-Request-Timeout-Ms", "3000")
		calls.Go(func() {
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			body := string(text)
			if begun := strings.Contains(c.model, "hang"); err != nil || begun && !vendors[0].fail(body) || !begun && (resp.StatusCode != 504 || !strings.Contains(body, `"code":"upstream_timeout"`)) {
				t.Errorf("%s: %v, %d …%s", c.model, err, resp.StatusCode, body[max(0, len(body)-300):])
			}
		})
	}
	calls.Wait()
	r.seen(t, 3)
	for _, e := range r.mock.Log().Entries {
		if e.Outcome != "cancelled" {
			t.Errorf("the upstream's work went on: %+v", e)
		}
	}
	for _, v := range []string{"0", "-1", "soon", "1e3", "99999999999"} {
		req := r.request(t, vendors[0], "o/echo", "x", false)
		req.Header.Set("X-Request-Timeout-Ms", v)
		if resp, _ := do(t, req); resp.StatusCode != 400 {
			t.Errorf("%q: %d, want 400", v, resp.StatusCode)
		}
	}
}

// An upstream that falls silent in the middle is cut off and told of; one that is only slow is not.
func TestSilenceAndDrip(t *testing.T) {
	r := newRig(t, "timeouts: {idle: 2s, keep_alive_comment: 150ms}\n")
	for _, v := range vendors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			_, body := do(t, r.request(t, v, "o/story?chunks=10&hang=0.5", "x", true))
			if !v.fail(body) {
				t.Errorf("a silent upstream ends without a failure: %s", body)
			}
			_, body = do(t, r.request(t, v, "o/echo?chunks=4&pace=300ms", "one two three four", true))
			if !v.end(body) || streamed(v, body) != "one two three four" {
				t.Errorf("a slow upstream was cut: %s", body)
			}
			ping := map[string]string{"openai": "\n: ", "responses": "\n: ", "anthropic": "event: ping", "gemini": "\n\r\n\r\n"}[v.name]
			if !strings.Contains(body, ping) {
				t.Errorf("nothing keeps a silent stream alive: %s", body)
			}
		})
	}
}

// The client's leaving reaches the upstream, streamed or not, before or after the first output.
func TestClientGone(t *testing.T) {
	r := newRig(t, "")
	n := 0
	for _, v := range vendors {
		for _, up := range upstreams {
			for _, c := range []struct {
				name, model string
				stream      bool
				reads       int
			}{
				{"before the head", up + "/echo?latency=1h", true, 0},
				{"before the first token", up + "/echo?ttft=1h", true, 0},
				{"mid-stream", up + "/story?chunks=10&hang=0.5", true, 1},
				{"not streamed", up + "/echo?latency=1h", false, 0},
			} {
				n++
				ctx, cancel := context.WithCancel(t.Context())
				req := r.request(t, v, c.model, "x", c.stream).WithContext(ctx)
				select {
				case <-r.got: // of the request before
				default:
				}
				if c.reads == 0 {
					go func() { <-r.got; cancel() }()
				}
				resp, err := http.DefaultClient.Do(req)
				if err == nil {
					line := bufio.NewReader(resp.Body)
					for range c.reads {
						_, _ = line.ReadString('\n')
					}
					if c.reads > 0 {
						cancel()
					}
					_, err = io.ReadAll(line)
					_ = resp.Body.Close()
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s %s %s: %v", v.name, up, c.name, err)
				}
				if e := r.seen(t, n); e.Outcome != "cancelled" {
					t.Errorf("%s %s %s: the upstream's log says %s", v.name, up, c.name, e.Outcome)
				}
				cancel()
			}
		}
	}
	if !r.log.has(`"error":"client_closed_request"`, n) {
		got := strings.Count(r.log.String(), `"error":"client_closed_request"`)
		t.Errorf("%d calls are logged as left by the client, want %d", got, n)
	}
}

// Usage is always asked for upstream, metered, and withheld from a client that did not ask.
func TestUsageIsAskedForAndWithheld(t *testing.T) {
	r := newRig(t, "")
	n := 0
	for _, c := range []struct {
		options string
		shown   bool
	}{
		{``, false},
		{`,"stream_options":null`, false},
		{`,"stream_options":{}`, false},
		{`,"stream_options":{"include_usage":false}`, false},
		{`,"stream_options":{"include_usage":true}`, true},
		{`,"stream_options": { "include_obfuscation":false }`, false},
	} {
		body := `{"model":"o/echo","stream":true,"messages":[{"role":"user","content":"hello there"}]` + c.options + `}`
		req, _ := http.NewRequestWithContext(t.Context(), "POST", r.url+"/v1/chat/completions", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+testKey)
		resp, got := do(t, req)
		n++
		if resp.StatusCode != 200 || !strings.Contains(got, "data: [DONE]") {
			t.Fatalf("%s: %d %s", c.options, resp.StatusCode, got)
		}
		if shown := strings.Contains(got, `"prompt_tokens"`); shown != c.shown {
			t.Errorf("%s: usage shown %v, want %v: %s", c.options, shown, c.shown, got)
		}
		e := r.seen(t, n)
		var sent struct {
			StreamOptions map[string]bool `json:"stream_options"`
			Model         string
		}
		if err := json.Unmarshal([]byte(e.RequestBody), &sent); err != nil || !sent.StreamOptions["include_usage"] || sent.Model != "echo" {
			t.Errorf("%s: the upstream got %s (%v)", c.options, e.RequestBody, err)
		}
		if strings.Contains(c.options, "obfuscation") && !strings.Contains(e.RequestBody, "include_obfuscation") {
			t.Errorf("another option was lost: %s", e.RequestBody)
		}
	}
	if !r.log.has(`"input_tokens":`, n) {
		got := strings.Count(r.log.String(), `"input_tokens":`)
		t.Errorf("%d calls metered, want %d:\n%s", got, n, r.log)
	}
}

// Answers beyond the limits cost a 502, not memory.
func TestHugeAnswers(t *testing.T) {
	r := newRig(t, "limits: {answer: 1MiB}\n")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, script := range []string{"pad=100MB", "gzip=100MB", "length=-10", "length=+10"} {
		resp, body := do(t, r.request(t, vendors[0], "o/echo?"+script, "x", false))
		if resp.StatusCode != 502 {
			t.Errorf("%s: %d %.200s", script, resp.StatusCode, body)
		}
	}
	resp, body := do(t, r.request(t, vendors[0], "o/echo?pad=100MB", "x", true))
	if resp.StatusCode != 502 {
		t.Errorf("a frame of 100 MB: %d %.200s", resp.StatusCode, body)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 256<<20 { // the mock's own 100 MB are in this process, too
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// A panic costs its own call and nothing else.
func TestPanic(t *testing.T) {
	r := newRig(t, "")
	bad := gateway.New(gateway.Options{
		Endpoints: []gateway.Endpoint{gateway.At("/v1/chat/completions", openai.Chat)}, Errors: errorFormat, Log: r.app.log,
	})
	state := *r.app.current.state
	state.Auth = panicking{}
	bad.Swap(&state)
	w := httptest.NewRecorder()
	bad.ServeHTTP(w, httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader("{}")))
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !r.log.has(`"msg":"panic"`, 1) || !r.log.has(`"status":500`, 1) {
		t.Errorf("the panic is not in the log:\n%s", r.log)
	}
	if resp, body := do(t, r.request(t, vendors[0], "o/echo", "x", false)); resp.StatusCode != 200 {
		t.Errorf("after it: %d %s", resp.StatusCode, body)
	}
}

type panicking struct{ gateway.Identifier }
