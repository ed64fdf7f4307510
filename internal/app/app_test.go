package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/mock"
	"sluice/internal/pgtest"
	"sluice/internal/vault"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's client complains there of the upstreams that lie
	goleak.VerifyTestMain(servers{m})
}

// servers ends what tests share before it is looked whether anything still runs.
type servers struct{ *testing.M }

func (s servers) Run() int { return pgtest.Run(s.M) }

const testKey = "sk-test-Zq8vR2mXw7LkT4nYb9HcJ5dGpS3fVeA6uB1x"

// A rig is a whole gateway in front of a scripted upstream, with the truth of what that upstream saw.
type rig struct {
	app  *App
	url  string
	mock *mock.Server
	up   *httptest.Server
	log  *lines
	got  chan struct{} // filled when a request reaches the upstream
}

// lines is where the log goes.
type lines struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{} // closed by the next write
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
	return l.b.Write(p)
}

// has waits until the log holds text n times, and tells whether it ever did.
func (l *lines) has(text string, n int) bool {
	late := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		if strings.Count(l.b.String(), text) >= n {
			l.mu.Unlock()
			return true
		}
		if l.grown == nil {
			l.grown = make(chan struct{})
		}
		grown := l.grown
		l.mu.Unlock()
		select {
		case <-grown:
		case <-late:
			return false
		}
	}
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// document is the test's configuration: the mock as each of the three vendors; extra is appended.
func document(up, data, extra string) string {
	return fmt.Sprintf(`
listen: 127.0.0.1:0
admin: {listen: "off"}
data: %s
keys:
  - {name: test, key: %s}
providers:
  - {name: o, kind: openai, base_url: %[3]s/v1, api_key: upstream-secret-o, allow_private: [127.0.0.1/32]}
  - {name: a, kind: anthropic, base_url: %[3]s, api_key: upstream-secret-a, allow_private: [127.0.0.1/32]}
  - {name: g, kind: gemini, base_url: %[3]s, api_key: upstream-secret-g, allow_private: [127.0.0.1/32]}
%s`, data, testKey, up, extra)
}

// forget makes the gateway forget all that speaks against its upstreams.
func (r *rig) forget(t testing.TB) {
	t.Helper()
	for _, v := range r.app.fleet.Views() {
		if err := r.app.fleet.Reset(v.Deployment); err != nil {
			t.Fatal(err)
		}
	}
}

func newRig(t testing.TB, extra string, opts ...func(*httptest.Server)) *rig {
	t.Helper()
	m, err := mock.New(mock.Options{Capture: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{mock: m, log: &lines{}, got: make(chan struct{}, 1)}
	r.up = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case r.got <- struct{}{}:
		default:
		}
		m.ServeHTTP(w, req)
	}))
	dir := t.TempDir()
	path := filepath.Join(dir, "sluice.yaml")
	if err := os.WriteFile(path, []byte(document(r.up.URL, filepath.Join(dir, "data"), extra)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{ConfigPath: path, Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: r.log}
	src, cfg, err := readSource(o, vault.New(o.Getenv, nil))
	if err != nil {
		t.Fatal(err)
	}
	if r.app, err = start(src, cfg); err != nil {
		t.Fatal(err)
	}
	server, err := r.app.dataServer(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(server.Handler)
	s.Config = server
	for _, opt := range opts {
		opt(s)
	}
	s.Start()
	r.app.gateway.SetReady(true)
	r.url = s.URL
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
		r.app.close()
		m.Close()
		r.up.Close()
	})
	return r
}

// A vendor is how a client of each format asks and what it gets.
type vendor struct {
	name string
	path func(model string, stream bool) string
	body func(model, text string, stream bool) string
	text func(line []byte) string // what a frame's data adds
	end  func(body string) bool   // the answer says that it is complete
	fail func(body string) bool   // the answer says that it broke
}

var vendors = []vendor{
	{
		name: "openai",
		path: func(string, bool) string { return "/v1/chat/completions" },
		body: func(model, text string, stream bool) string {
			return fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, stream, text)
		},
		text: func(b []byte) string {
			var c struct {
				Choices []struct{ Delta struct{ Content string } }
			}
			_ = json.Unmarshal(b, &c)
			if len(c.Choices) == 0 {
				return ""
			}
			return c.Choices[0].Delta.Content
		},
		end:  func(s string) bool { return strings.Contains(s, "data: [DONE]") },
		fail: func(s string) bool { return strings.Contains(s, `data: {"error":`) },
	},
	{
		name: "responses",
		path: func(string, bool) string { return "/v1/responses" },
		body: func(model, text string, stream bool) string {
			return fmt.Sprintf(`{"model":%q,"stream":%v,"input":%q}`, model, stream, text)
		},
		text: func(b []byte) string {
			var c struct{ Type, Delta string }
			_ = json.Unmarshal(b, &c)
			if c.Type != "response.output_text.delta" {
				return ""
			}
			return c.Delta
		},
		end:  func(s string) bool { return strings.Contains(s, "event: response.completed") },
		fail: func(s string) bool { return strings.Contains(s, "event: error") },
	},
	{
		name: "anthropic",
		path: func(string, bool) string { return "/v1/messages" },
		body: func(model, text string, stream bool) string {
			return fmt.Sprintf(`{"model":%q,"stream":%v,"max_tokens":1000,"messages":[{"role":"user","content":%q}]}`, model, stream, text)
		},
		text: func(b []byte) string {
			var c struct{ Delta struct{ Text string } }
			_ = json.Unmarshal(b, &c)
			return c.Delta.Text
		},
		end:  func(s string) bool { return strings.Contains(s, "event: message_stop") },
		fail: func(s string) bool { return strings.Contains(s, "event: error") },
	},
	{
		name: "gemini",
		path: func(model string, stream bool) string {
			if stream {
				return "/v1beta/models/" + strings.ReplaceAll(model, "?", "%3F") + ":streamGenerateContent?alt=sse"
			}
			return "/v1beta/models/" + strings.ReplaceAll(model, "?", "%3F") + ":generateContent"
		},
		body: func(_, text string, _ bool) string {
			return fmt.Sprintf(`{"contents":[{"role":"user","parts":[{"text":%q}]}]}`, text)
		},
		text: func(b []byte) string {
			var c struct {
				Candidates []struct {
					Content struct{ Parts []struct{ Text string } }
				}
			}
			_ = json.Unmarshal(b, &c)
			if len(c.Candidates) == 0 || len(c.Candidates[0].Content.Parts) == 0 {
				return ""
			}
			return c.Candidates[0].Content.Parts[0].Text
		},
		end:  func(s string) bool { return strings.Contains(s, `"finishReason":`) },
		fail: func(s string) bool { return strings.Contains(s, `data: {"error":`) },
	},
}

func (r *rig) request(t testing.TB, v vendor, model, text string, stream bool) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+v.path(model, stream), strings.NewReader(v.body(model, text, stream)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	req.Header.Set("Content-Type", "application/json")
	return req
}

func do(t testing.TB, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%v after %q", err, body)
	}
	return resp, string(body)
}

// streamed sums the text of a stream's frames.
func streamed(v vendor, body string) string {
	var b strings.Builder
	scan := bufio.NewScanner(strings.NewReader(body))
	scan.Buffer(nil, 1<<24)
	for scan.Scan() {
		if data, ok := bytes.CutPrefix(scan.Bytes(), []byte("data: ")); ok {
			b.WriteString(v.text(data))
		}
	}
	return b.String()
}

// seen waits for the mock's log to hold n calls in all and returns the last.
func (r *rig) seen(t testing.TB, n int) mock.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	log, err := r.mock.Await(ctx, int64(n))
	if err != nil {
		t.Fatal(err)
	}
	return log.Entries[len(log.Entries)-1]
}

var upstreams = []string{"o", "a", "g"}

// Every client format reaches every provider, streamed and not, with text, usage and an end.
func TestEveryFormatReachesEveryProvider(t *testing.T) {
	r := newRig(t, "")
	const text = "Grüße, \"Sluice\" \\ 世界 🚰"
	for _, v := range vendors {
		for _, up := range upstreams {
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/stream=%v", v.name, up, stream), func(t *testing.T) {
					resp, body := do(t, r.request(t, v, up+"/echo?chunks=5", text, stream))
					if resp.StatusCode != 200 {
						t.Fatalf("%d %s", resp.StatusCode, body)
					}
					if resp.Header.Get("X-Sluice-Upstream") != up || resp.Header.Get("X-Request-Id") == "" {
						t.Errorf("headers %v", resp.Header)
					}
					if !stream {
						quoted, _ := json.Marshal(text)
						if !strings.Contains(body, strings.Trim(string(quoted), `"`)) && !strings.Contains(body, text) && !strings.Contains(compact(body), string(quoted)) {
							t.Errorf("the text is not in the answer: %s", body)
						}
						return
					}
					if got := streamed(v, body); got != text {
						t.Errorf("text %q, want %q in %s", got, text, body)
					}
					if !v.end(body) || v.fail(body) {
						t.Errorf("no proper end: %s", body)
					}
				})
			}
		}
	}
}

func compact(s string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		return s
	}
	return b.String()
}
