package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// post sends a body to a path as the test's key, unless a header says otherwise.
func (r *rig) post(t testing.TB, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return do(t, req)
}

// trap is the URL of a server that nobody may ask.
func trap(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a request went where it was told to: %s %s", r.Method, r.URL)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// Nothing in a request chooses the host, the path or the credential of the upstream, and nothing that
// belongs to the client's side of us travels on.
func TestRequestsCannotChooseTheUpstream(t *testing.T) {
	r := newRig(t, "")
	trap := trap(t)
	members := []string{"api_base", "base_url", "api_key", "custom_llm_provider", "custom_host", "organization", "extra_headers", "extra_body", "api_version", "azure_endpoint", "proxy", "provider"}
	headers := []string{
		"X-Portkey-Custom-Host", "X-Portkey-Config", "X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Original-URL", "X-Rewrite-URL",
		"X-HTTP-Method-Override", "X-Base-Url", "Openai-Organization", "Openai-Project", "Cookie", "Proxy-Authorization", "X-Real-Ip", "X-Amz-Security-Token", "Connection-Secret",
	}
	n := 0
	for _, up := range upstreams {
		for _, m := range members {
			body := fmt.Sprintf(`{"model":"%s/echo","messages":[{"role":"user","content":"x"}],%q:%q}`, up, m, trap)
			resp, got := r.post(t, "/v1/chat/completions?api_base="+trap+"&target="+trap, body)
			if up == "o" {
				n++
				if resp.StatusCode != 200 {
					t.Errorf("%s %s: %d %s", up, m, resp.StatusCode, got)
				}
			} else if resp.StatusCode != 400 || !strings.Contains(got, "/"+m) {
				t.Errorf("%s %s: %d %s, want a refusal that names it", up, m, resp.StatusCode, got)
			}
		}
		for _, h := range headers {
			_, _ = r.post(t, "/v1/chat/completions", `{"model":"`+up+`/echo","messages":[{"role":"user","content":"x"}]}`, h, trap, "Connection", "Connection-Secret", "Api-Key", testKey)
			n++
			e := r.seen(t, n)
			if got := e.RequestHead.Get(h); got != "" {
				t.Errorf("%s: %s travelled on: %q", up, h, got)
			}
			sent := fmt.Sprint(e.RequestHead, e.RequestQuery)
			if strings.Contains(sent, testKey) || strings.Contains(sent, trap) {
				t.Errorf("%s: the client's key or address travelled on: %s", up, sent)
			}
			if want := "upstream-secret-" + up; strings.Count(sent, "upstream-secret") != 1 || !strings.Contains(sent, want) {
				t.Errorf("%s: credentials sent: %s, want only %s", up, sent, want)
			}
			allowed := []string{"Content-Type", "Content-Length", "Accept", "User-Agent", "Authorization", "X-Api-Key", "X-Goog-Api-Key", "Anthropic-Version", "Accept-Encoding", "X-Request-Id"}
			if id := e.RequestHead.Get("X-Request-Id"); !strings.HasPrefix(id, "req_") {
				t.Errorf("%s: the request id is not ours: %q", up, id)
			}
			for name := range e.RequestHead {
				if !slices.Contains(allowed, name) {
					t.Errorf("%s: header %s is not on the list", up, name)
				}
			}
		}
	}
}

// One spelling of each path, and no way around the key.
func TestPathTricks(t *testing.T) {
	r := newRig(t, "")
	addr := strings.TrimPrefix(r.url, "http://")
	body := `{"model":"o/echo","messages":[{"role":"user","content":"x"}]}`
	for _, target := range []string{
		"//v1/chat/completions", "/v1//chat/completions", "/v1/./chat/completions", "/v1/x/../chat/completions", "/v1/%2e%2e/v1/chat/completions", "/v1%2fchat/completions",
		"/v1/chat%2Fcompletions", "/V1/chat/completions", "/v1/chat/completions;x", "/v1/chat/completions/", "/v1/chat/completions.", "/v1/chat/completions%00", "/v1/chat/completions%20",
		"/health/../v1/chat/completions", "/health;/v1/chat/completions", "/%76%31/chat/completions", "http://evil.example/v1/chat/completions", "/v1/chat/completions?x=/health", "/v1beta/models/..%2f..%2fv1:generateContent",
		"/v1beta/models/o/echo:generateContent%3Fkey=x", "/v1beta/models/:generateContent", "/v1beta/models/o/echo:deleteEverything", "/.well-known/x", "/metrics", "/debug/pprof/", "*",
	} {
		for _, host := range []string{addr, "a/?", "a#", "localhost:3002", "[::1]"} {
			for _, extra := range []string{"", "X-Original-URL: /health\r\n", "X-HTTP-Method-Override: GET\r\n"} {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", target, host, extra, len(body), body)
				answer, _ := io.ReadAll(c)
				_ = c.Close()
				if s := string(answer); !strings.HasPrefix(s, "HTTP/1.1 4") {
					t.Errorf("%s with Host %s %s: %.100q, want a refusal", target, host, extra, s)
				}
			}
		}
	}
	w := httptest.NewRecorder()
	r.mock.ServeHTTP(w, httptest.NewRequest("GET", "/log", nil))
	if !strings.Contains(w.Body.String(), `"served":0`) && !strings.Contains(compact(w.Body.String()), `"served":0`) {
		t.Errorf("a request without a key reached the upstream: %s", w.Body)
	}
}

// What is checked is what is sent: the upstream's own parser sees the model that was allowed.
func TestCheckedBytesAreSentBytes(t *testing.T) {
	r := newRig(t, "")
	const tail = `,"messages":[{"role":"user","content":"x"}]}`
	for _, body := range []string{
		`{"model":"o/echo","model":"o/story"` + tail, `{"model":"o/echo","MODEL":"o/story"` + tail, `{"Model":"o/story","model":"o/echo"` + tail, `{"model":"o/echo","mod\u0065l":"o/story"` + tail,
		`{"model":"o/echo","\u006dodel":"x"` + tail, `{"model":"o/echo","ſtream":true` + tail, `{"model":"o/echo","stream":true,"STREAM":false` + tail, `{"model":"o/echo","n":1,"N":100` + tail,
		`{"model":"o/echo","max_tokens":1,"Max_Tokens":99999` + tail, `{"model":"o/echo"` + tail + `{"model":"o/story"}`, `{"model":"o/echo"` + tail + ` trailing`, `{"model":["o/echo"]` + tail, `{"model":{"a":1}` + tail,
		`{"model":null` + tail, `{"model":"o/echo ` + `"` + tail, `{"model":" o/echo"` + tail, `{"model":"o/../o/echo"` + tail, `{"model":"o//echo"` + tail, `{"model":"O/echo"` + tail, `{"model":"o/echo\u0000"` + tail,
		`{"model":"o/echo\ud800"` + tail, "{\"model\":\"o/echo\xff\"" + tail, `{"model":"o/echo","temperature":1e400` + tail, `{"model":"o/echo","stream":"true"` + tail, `{"model":"o/echo","stream":1` + tail,
		`{"model":"o/echo","stream_options":{"include_usage":true,"include_usage":false}` + tail, `[{"model":"o/echo"` + tail + `]`, `{"messages":[{"role":"user","content":"x","role":"system"}],"model":"o/echo"}`,
		`{"model":"o/echo","messages":[{"role":"user","Role":"system","content":"x"}]}`, `{"model":"o/echo","messages":[{"role":"User","content":"x"}]}`, `{"model":"nobody/echo"` + tail, `{"model":"echo"` + tail, `{"model":""` + tail,
		`{"model":"o/echo","n":0` + tail, `{"model":"o/echo","n":-1` + tail, `{"model":"o/echo","n":1.5` + tail, `{"model":"o/echo","max_tokens":-5` + tail, `{"model":"o/echo","max_tokens":"100"` + tail, `{"model":"o/echo","tools":{}` + tail, "\xef\xbb\xbf" + `{"model":"o/echo"` + tail,
	} {
		if resp, got := r.post(t, "/v1/chat/completions", body); resp.StatusCode < 400 || resp.StatusCode > 404 {
			t.Errorf("%q: %d %s", body, resp.StatusCode, got)
		}
	}
	// Spellings of the same model that are fine reach the upstream as its own name for it, and nothing else changes.
	for i, body := range []string{`{ "model" : "o/echo" , "messages":[{"role":"user","content":"x"}], "temperature":1.0 , "unknown": {"a":[1,2.50]}}`, `{"model":"o\/echo","messages":[{"role":"user","content":"x"}]}`} {
		if resp, got := r.post(t, "/v1/chat/completions", body); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, got)
		}
		want := strings.NewReplacer(`"o/echo"`, `"echo"`, `"o\/echo"`, `"echo"`).Replace(body)
		if e := r.seen(t, i+1); e.RequestBody != want {
			t.Errorf("the upstream got %q, want %q", e.RequestBody, want)
		}
	}
}

// Requests made to exhaust us are refused early and cheaply.
func TestExhaustion(t *testing.T) {
	r := newRig(t, "")
	big := strings.Repeat("x", 1_000_000)
	tools := strings.Repeat(`{"type":"function","function":{"name":"f","parameters":{}}},`, 100_000)
	for name, body := range map[string]string{
		"nesting":           `{"model":"o/echo","messages":[{"role":"user","content":"x"}],"x":` + strings.Repeat("[", 1_000_000),
		"nested objects":    strings.Repeat(`{"a":`, 1_000_000),
		"model of a MB":     `{"model":"` + big + `","messages":[{"role":"user","content":"x"}]}`,
		"100,000 tools":     `{"model":"o/echo","messages":[{"role":"user","content":"x"}],"tools":[` + tools[:len(tools)-1] + `]}`,
		"100,000 bad roles": `{"model":"o/echo","messages":[` + strings.Repeat(`{"role":1},`, 100_000) + `{}]}`,
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		resp, got := r.post(t, "/v1/chat/completions", body)
		runtime.ReadMemStats(&after)
		if resp.StatusCode < 400 || resp.StatusCode > 499 {
			t.Errorf("%s: %d %.200s", name, resp.StatusCode, got)
		}
		if len(got) > 64<<10 {
			t.Errorf("%s: the refusal has %d bytes", name, len(got))
		}
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 128<<20 { // the client's own copies are in this process
			t.Errorf("%s: the heap grew by %d MiB", name, grown>>20)
		}
	}
	// A body that says it is too large is refused before it is sent.
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 99999999\r\n\r\n", testKey)
	if answer, _ := io.ReadAll(c); !strings.HasPrefix(string(answer), "HTTP/1.1 413") || !strings.Contains(string(answer), `"code":"request_too_large"`) {
		t.Errorf("too large: %.200s", answer)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", r.url+"/v1/chat/completions", strings.NewReader("{}"))
	req.Header.Set("X-Big", big)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != 431 {
			t.Errorf("a header of a MB: %d", resp.StatusCode)
		}
	}
}

// Planted secrets and prompts appear nowhere: not in the log at debug, not in an error.
func TestNothingSecretIsLogged(t *testing.T) {
	r := newRig(t, "log: {level: debug}\n")
	const prompt = "PLANTED-PROMPT-7231"
	const wrongKey = "sk-PLANTED-WRONG-KEY-1234567890abcdef"
	scripts := []string{"echo", "story?cut=0.5", "echo?status=400", "echo?status=500", "story?error=0.5", "story?garbage=0.5", "echo?length=-3"}
	for _, v := range vendors {
		for _, up := range upstreams {
			for _, s := range scripts {
				for _, stream := range []bool{false, true} {
					_, body := do(t, r.request(t, v, up+"/"+s, prompt, stream))
					for _, secret := range []string{"upstream-secret", testKey} {
						if strings.Contains(body, secret) {
							t.Errorf("%s %s: the answer tells %s", v.name, s, secret)
						}
					}
				}
			}
		}
		req := r.request(t, v, "o/echo", prompt, false)
		req.Header.Set("Authorization", "Bearer "+wrongKey)
		if _, body := do(t, req); strings.Contains(body, wrongKey) {
			t.Errorf("%s: the refusal repeats the key", v.name)
		}
	}
	_, _ = r.post(t, "/v1/chat/completions?key="+wrongKey, "{}")
	_, _ = r.post(t, "/v1/chat/completions", `{"model":"`+prompt+`","messages":[{"role":"`+prompt+`"}]}`)
	_ = r.app.logs.out.Close()
	log := r.log.String()
	if strings.Count(log, `"msg":"call"`) < 100 {
		t.Fatalf("only %d calls are logged", strings.Count(log, `"msg":"call"`))
	}
	for _, secret := range []string{prompt, wrongKey, testKey, "upstream-secret"} {
		if i := strings.Index(log, secret); i >= 0 {
			t.Errorf("the log has %s: %s", secret, log[max(0, i-300):min(len(log), i+100)])
		}
	}
	for line := range strings.Lines(log) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is not JSON: %q", line)
		}
	}
}
