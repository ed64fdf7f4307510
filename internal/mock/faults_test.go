package mock

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fetch calls a real server by HTTP/1.1, and reads to the end or to the error.
func fetch(t *testing.T, c *http.Client, url, body string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	res, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return res, string(got), err
}

func serve(t *testing.T, o Options) (*Server, *httptest.Server) {
	t.Helper()
	s := newServer(t, o)
	h := httptest.NewServer(s)
	h.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(h.Close)
	return s, h
}

// settle waits until the log has n entries: a handler ends after its client has read the answer.
func settle(t *testing.T, s *Server, n int64) []Entry {
	t.Helper()
	l, err := s.Await(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return l.Entries
}

func TestFaults(t *testing.T) {
	tests := []struct {
		script string
		stream bool
		status int
		err    error  // while the body is read, or before
		has    string // in the body
		not    string
		out    outcome
		fault  string
	}{
		{script: "cut=50%", stream: true, status: 200, has: `" two"`, not: "[DONE]", out: cutShort, fault: "cut"},
		{script: "cut=0.5", status: 200, has: `"id"`, not: "total_tokens", out: cutShort, fault: "cut"},
		{script: "cut=end", stream: true, status: 200, has: `"finish_reason":"stop"`, not: "[DONE]", out: cutShort, fault: "cut"},
		{script: "cut=start", stream: true, status: 200, not: "data", out: cutShort, fault: "cut"},
		{script: "cut=2", stream: true, status: 200, has: `"one"`, not: `" two"`, out: cutShort, fault: "cut"},
		{script: "cut=10", status: 200, has: "{\n", not: "chatcmpl-", out: cutShort, fault: "cut"},
		{script: "drop=head", err: io.EOF, out: cutShort, fault: "drop"},
		{script: "drop=50%", stream: true, status: 200, err: io.ErrUnexpectedEOF, has: `" two"`, not: "[DONE]", out: cutShort, fault: "drop"},
		{script: "drop=50%", status: 200, err: io.ErrUnexpectedEOF, has: `"id"`, not: "total_tokens", out: cutShort, fault: "drop"},
		{script: "rst=head", err: syscall.ECONNRESET, out: cutShort, fault: "rst"},
		{script: "rst=3", stream: true, status: 200, err: syscall.ECONNRESET, not: "[DONE]", out: cutShort, fault: "rst"},
		{script: "garbage=3", stream: true, status: 200, has: "data: {\"garbage\":\"not clos\n\n", out: completed, fault: "garbage"},
		{script: "garbage=50%", status: 200, has: "\x00", out: completed, fault: "garbage"},
		{script: "dup=3", stream: true, status: 200, has: `" two"},"logprobs":null,"finish_reason":null}],"obfuscation":"x`, out: completed, fault: "dup"},
		{script: "error=3:529", stream: true, status: 200, has: "data: {\"error\":{\"message\":", not: "[DONE]", out: cutShort, fault: "error"},
		{script: "error=start", status: 200, has: `{"error":{"message":`, out: cutShort, fault: "error"},
		{script: "status=503", status: 503, has: `"type":"server_error"`, out: refused, fault: "status"},
		{script: "status=204", status: 204, out: refused, fault: "status"},
		{script: "status=202", status: 202, has: "chat.completion", out: completed, fault: "status"},
		{script: "status=502&body=html", status: 502, has: "<html>", out: refused, fault: "status"},
		{script: "status=500&body=empty", status: 500, out: refused, fault: "status"},
		{script: "body=empty", status: 200, out: completed, fault: "body"},
		{script: "body=html", status: 200, has: "<html>", out: completed, fault: "body"},
		{script: "body=text:not%20json", status: 200, has: "not json", out: completed, fault: "body"},
		{script: "redirect=http://127.0.0.1:1/x", status: 307, out: refused, fault: "redirect"},
		{script: "length=%2B10", status: 200, err: io.ErrUnexpectedEOF, has: "chat.completion", out: cutShort, fault: "length"},
		{script: "length=-10", status: 200, has: "chat.completion", out: cutShort, fault: "length"},
		{script: "pad=100kB", status: 200, has: strings.Repeat(" ", 100_000) + "{\n", out: completed},
		{script: "pad=100kB", stream: true, status: 200, has: "data: " + strings.Repeat(" ", 100_000) + "{", out: completed},
		{script: "drip=1/0s", stream: true, status: 200, has: "data: [DONE]\n\n", out: completed},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s stream=%v", tt.script, tt.stream), func(t *testing.T) {
			s, h := serve(t, Options{})
			res, got, err := fetch(t, h.Client(), h.URL+"/v1/chat/completions", chat("echo?"+strings.ReplaceAll(tt.script, "&", ";"), tt.stream))
			if !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if res != nil && res.StatusCode != tt.status || res == nil && tt.status != 0 {
				t.Errorf("response %v, want status %d", res, tt.status)
			}
			if !strings.Contains(got, tt.has) {
				t.Errorf("no %.80q in %.1000q", tt.has, got)
			}
			if tt.not != "" && strings.Contains(got, tt.not) {
				t.Errorf("%q in %q", tt.not, got)
			}
			e := settle(t, s, 1)[0]
			if e.Outcome != string(tt.out) || e.Fault != tt.fault || e.Status != tt.status {
				t.Errorf("logged %s %q %d, want %s %q %d", e.Outcome, e.Fault, e.Status, tt.out, tt.fault, tt.status)
			}
			if e.Outcome == string(cutShort) && tt.stream && e.Tokens.Output >= e.Tokens.Whole && tt.script != "cut=end" {
				t.Errorf("tokens %+v of an answer that was cut", e.Tokens)
			}
		})
	}
}

func TestErrorEventsOfEachVendor(t *testing.T) {
	s := newServer(t, Options{})
	want := map[string]string{
		"chat stream": `data: {"error":{`, "completion stream": `data: {"error":{`, "responses stream": "event: error\ndata: {\"type\":\"error\"",
		"messages stream": "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"",
		"gemini stream":   "data: {\"error\":{\"code\":529", "gemini array": ",\r\n{\"error\":{\"code\":529",
	}
	for _, p := range paths {
		if want[p.name] == "" {
			continue
		}
		got := post(s, with("echo", p.path), with("echo", p.body), "X-Mock-Script", "error=2:529").Body.String()
		if _, after, ok := strings.Cut(got, want[p.name]); !ok || strings.Contains(after, "data:") {
			t.Errorf("%s: %q", p.name, got)
		}
	}
}

func TestRetryForms(t *testing.T) {
	s := newServer(t, Options{})
	tests := []struct{ form, header, want string }{
		{"", "Retry-After", "3"},
		{":ms", "Retry-After-Ms", "2500"},
		{":openai", "X-Ratelimit-Reset-Requests", "2.5s"},
		{":openai", "X-Ratelimit-Remaining-Requests", "0"},
		{":azure", "Retry-After-Ms", "0"},
		{":azure", "Retry-After", "3"},
	}
	for _, tt := range tests {
		w := post(s, "/v1/chat/completions", chat("echo", false), "X-Mock-Script", "status=429 retry=2.5s"+tt.form)
		if got := w.Header().Get(tt.header); w.Code != 429 || got != tt.want {
			t.Errorf("%q: %d, %s %q, want %q", tt.form, w.Code, tt.header, got, tt.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		then := time.Now().Add(3 * time.Second)
		w := post(s, "/v1/chat/completions", chat("echo", false), "X-Mock-Script", "status=429 retry=3s:date")
		if got, err := http.ParseTime(w.Header().Get("Retry-After")); err != nil || !got.Equal(then.Truncate(time.Second)) {
			t.Errorf("date %v %v, want %v", got, err, then)
		}
		w = post(s, "/v1/chat/completions", chat("echo", false), "X-Mock-Script", "status=429 retry=3s:openrouter")
		if got := w.Header().Get("X-Ratelimit-Reset"); got != strconv.FormatInt(then.UnixMilli(), 10) {
			t.Errorf("openrouter reset %s, want %d", got, then.UnixMilli())
		}
		w = post(s, "/v1/messages", with("echo", paths[7].body), "X-Mock-Script", "status=429 retry=3s:anthropic")
		if got := w.Header().Get("Anthropic-Ratelimit-Requests-Reset"); got != then.UTC().Format(time.RFC3339) {
			t.Errorf("anthropic reset %s, want %v", got, then)
		}
		w = post(s, "/v1beta/models/echo:generateContent", paths[10].body, "X-Mock-Script", "status=429 retry=48s:gemini")
		if !strings.Contains(w.Body.String(), `"retryDelay":"48s"`) || w.Header().Get("Retry-After") != "" {
			t.Errorf("gemini: %v %s", w.Header(), w.Body)
		}
	})
}

func TestHeaders(t *testing.T) {
	_, h := serve(t, Options{})
	h.Client().Transport.(*http.Transport).MaxResponseHeaderBytes = 16 << 20
	call := func(script string) *http.Response {
		res, _, err := fetch(t, h.Client(), h.URL+"/v1/chat/completions", chat("echo?"+script, false))
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if n := len(call("head=1MB").Header.Get("X-Mock-Long")); n != 1_000_000 {
		t.Errorf("head=1MB: %d bytes", n)
	}
	if n := len(call("heads=10000").Header); n < 10_000 {
		t.Errorf("heads=10000: %d", n)
	}
	if got := call("header=X-One:a%20b").Header.Get("X-One"); got != "a b" {
		t.Errorf("header= gave %q", got)
	}
}

func TestGzip(t *testing.T) {
	_, h := serve(t, Options{})
	for _, stream := range []bool{false, true} {
		res, got, err := fetch(t, h.Client(), h.URL+"/v1/chat/completions", chat("echo?gzip=10MB", stream))
		if err != nil || res.Header.Get("Content-Encoding") != "gzip" {
			t.Fatal(res, err)
		}
		z, err := gzip.NewReader(strings.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, z)
		if err != nil || n < 10_000_000 || len(got) > 200_000 {
			t.Errorf("stream=%v: %d bytes opened to %d: %v", stream, len(got), n, err)
		}
	}
}

// pace is measured with a fake clock: the recorder notes when each event was flushed.
func TestTiming(t *testing.T) {
	tests := []struct {
		script string
		stream bool
		first  time.Duration // of the first byte
		output time.Duration // of the first output
		end    time.Duration
	}{
		{"latency=1s", true, time.Second, time.Second, time.Second},
		{"latency=1s", false, time.Second, time.Second, time.Second},
		{"ttft=2s;pace=1s", true, 0, 2 * time.Second, 9 * time.Second},
		{"ttft=2s;pace=1s", false, 9 * time.Second, 9 * time.Second, 9 * time.Second},
		{"stall=5s@end", true, 0, 0, 5 * time.Second},
		{"stall=5s@50%", false, 0, 0, 5 * time.Second},
		{"drip=100/1s", false, 0, 0, 9 * time.Second},
		{"latency=1s;rate=0;status=500", false, time.Second, time.Second, time.Second},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s stream=%v", tt.script, tt.stream), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				start := time.Now()
				w := &stopwatch{ResponseRecorder: httptest.NewRecorder()}
				r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(chat("echo?"+tt.script, tt.stream)))
				s.ServeHTTP(w, r)
				if got := time.Since(start); got/time.Second != tt.end/time.Second {
					t.Errorf("ended after %v, want %v", got, tt.end)
				}
				if got := w.first.Sub(start); got != tt.first {
					t.Errorf("first byte after %v, want %v", got, tt.first)
				}
				e := s.Log().Entries[0]
				if got := time.Duration(e.First * 1e6); got/time.Second != tt.output/time.Second {
					t.Errorf("logged first output %v, want %v", got, tt.output)
				}
			})
		})
	}
}

type stopwatch struct {
	*httptest.ResponseRecorder
	first time.Time
}

func (s *stopwatch) Write(b []byte) (int, error) {
	if s.first.IsZero() {
		s.first = time.Now()
	}
	return s.ResponseRecorder.Write(b)
}

// TestCancelled leaves in each phase of an answer; the log must say so, and when.
func TestCancelled(t *testing.T) {
	tests := []struct {
		script string
		stream bool
		status int
	}{
		{"hang=head", false, 0},
		{"hang=head", true, 0},
		{"hang=50%", true, 200},
		{"hang=50%", false, 200},
		{"hang=start", true, 200},
		{"latency=1h", false, 0},
		{"ttft=1h", false, 0},
		{"ttft=1h", true, 200},
		{"pace=1h", true, 200},
		{"stall=1h@3", true, 200},
		{"drip=1/1h", true, 200},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s stream=%v", tt.script, tt.stream), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				ctx, leave := context.WithTimeout(t.Context(), 7*time.Second)
				defer leave()
				r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(chat("echo?"+tt.script, tt.stream)))
				r.Header.Set("X-Request-Id", "abc")
				start := time.Now()
				s.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
				if got := time.Since(start); got != 7*time.Second {
					t.Errorf("the handler ended after %v", got)
				}
				e := s.Log().Entries[0]
				if e.Outcome != "cancelled" || e.Cancelled != 7000 || e.ID != "abc" || e.Status != tt.status {
					t.Errorf("logged %+v", e)
				}
				if e.Tokens.Output >= e.Tokens.Whole {
					t.Errorf("tokens %+v", e.Tokens)
				}
			})
		})
	}
}

// TestCancelledConnection is the same over a real connection, where net/http must notice.
func TestCancelledConnection(t *testing.T) {
	for script, begins := range map[string]bool{"hang=head": false, "hang=50%": true, "pace=1h": true, "latency=1h": false} {
		s, h := serve(t, Options{})
		ctx, leave := context.WithCancel(t.Context())
		h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !begins {
				leave()
			}
			s.ServeHTTP(w, r)
		})
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+"/v1/chat/completions", strings.NewReader(chat("echo?"+script, true)))
		if res, err := h.Client().Do(r); err == nil {
			_, _ = res.Body.Read(make([]byte, 1))
			leave()
			_ = res.Body.Close()
		}
		leave()
		if e := settle(t, s, 1)[0]; e.Outcome != "cancelled" || e.Cancelled <= 0 {
			t.Errorf("%s: logged %+v", script, e)
		}
	}
}

func TestCloseEndsHangs(t *testing.T) {
	s, h := serve(t, Options{})
	time.AfterFunc(20*time.Millisecond, s.Close)
	if _, _, err := fetch(t, h.Client(), h.URL+"/v1/chat/completions", chat("echo?hang=start", true)); err == nil {
		t.Error("a hang ended well")
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
