package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/wire/wiretest"
)

// replayKinds are the providers of the recordings as the configuration knows them.
var replayKinds = map[string]string{
	"openai": "openai", "azure": "azure", "mistral": "mistral", "groq": "groq", "deepseek": "deepseek", "openrouter": "openrouter", "xai": "xai",
	"anthropic": "anthropic", "gemini": "gemini", "vertex": "gemini", "fixture": "",
}

// fixtureKinds are the providers that speak the fixtures' formats.
var fixtureKinds = map[llm.Format]string{
	llm.OpenAIChat: "openai", llm.OpenAIResponses: "openai", llm.OpenAIEmbeddings: "openai", llm.AnthropicMessages: "anthropic", llm.GeminiGenerate: "gemini",
}

// A replayer is an upstream that answers each recorded request as it was answered, in small pieces, and keeps
// what it was asked.
type replayer struct {
	recordings map[string]*wiretest.Recording // by the model they are asked for as
	asked      map[string]chan []byte         // likewise; each is asked for once
}

func modelOf(r *wiretest.Recording) string {
	return "rec-" + strings.NewReplacer("/", "-", ".", "-").Replace(r.ID)
}

func (p *replayer) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		http.Error(w, "unreadable", http.StatusTeapot)
		return
	}
	var named struct{ Model string }
	_ = json.Unmarshal(body, &named)
	if _, rest, ok := strings.Cut(q.URL.Path, "/models/"); ok {
		named.Model, _, _ = strings.Cut(rest, ":")
	}
	r, ok := p.recordings[named.Model]
	if !ok {
		http.Error(w, "no recording of "+named.Model, http.StatusTeapot)
		return
	}
	p.asked[named.Model] <- body
	for name, values := range r.Header {
		switch name {
		case "Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection", "Date":
		default:
			w.Header()[name] = values
		}
	}
	w.WriteHeader(r.Status)
	for rest := r.Answer; len(rest) > 0; {
		n := min(len(rest), 700)
		_, _ = w.Write(rest[:n])
		_ = http.NewResponseController(w).Flush()
		rest = rest[n:]
	}
}

// replay is a gateway in front of a replayer, with a model for every recording.
func replay(t *testing.T) (*gateway, *replayer) {
	t.Helper()
	p := &replayer{recordings: make(map[string]*wiretest.Recording), asked: make(map[string]chan []byte)}
	up := httptest.NewServer(p)
	t.Cleanup(up.Close)
	var providers, models strings.Builder
	made := make(map[string]bool)
	for _, r := range wiretest.All(t) {
		kind := replayKinds[r.Provider]
		if kind == "" {
			kind = fixtureKinds[r.Format()]
		}
		if r.Format() == "" || kind == "" || len(r.Ask) == 0 {
			continue
		}
		name := "up-" + kind
		if r.Status >= 400 { // it may be the end of a credential for all its models
			name += refusedTwin + strconv.Itoa(len(p.asked))
		}
		if !made[name] {
			made[name] = true
			fmt.Fprintf(&providers, "  - {name: %s, kind: %s, base_url: %q, api_key: upstream-secret-%[2]s, allow_private: [127.0.0.1/32], models: []}\n", name, kind, up.URL)
		}
		fmt.Fprintf(&models, "  - {name: c%s, provider: %s, model: %[1]s}\n", modelOf(r), name)
		p.recordings[modelOf(r)], p.asked[modelOf(r)] = r, make(chan []byte, 9)
	}
	return started(t, unforgiving+"providers:\n"+providers.String()+"models:\n"+models.String()), p
}

// asClient is a recorded request as a client of the gateway sends it: another model, else the same bytes.
func asClient(r *wiretest.Recording, model string) (path string, body []byte) {
	path, body = r.URL.Path, r.Ask
	switch r.Format() {
	case llm.OpenAIChat:
		path = "/v1/chat/completions"
	case llm.OpenAIResponses:
		path = "/v1/responses"
	case llm.OpenAIEmbeddings:
		path = "/v1/embeddings"
	case llm.AnthropicMessages:
		path = "/v1/messages"
	case llm.GeminiGenerate:
		_, action, _ := strings.Cut(path, "/models/")
		_, action, _ = strings.Cut(action, ":")
		path = "/v1beta/models/" + model + ":" + action
		if q := r.URL.Query(); q.Get("alt") == "sse" {
			path += "?alt=sse"
		}
	}
	return path, withModel(r, body, model)
}

var modelMember = regexp.MustCompile(`"model"\s*:`)

// withModel changes the value of a body's model member, where it has one.
func withModel(r *wiretest.Recording, body []byte, model string) []byte {
	var old struct{ Model string }
	if json.Unmarshal(body, &old) != nil || old.Model == "" {
		return body
	}
	i := modelMember.FindIndex(body)[0]
	was, _ := json.Marshal(old.Model)
	now, _ := json.Marshal(model)
	if r.Format() == llm.GeminiGenerate {
		now, _ = json.Marshal("models/" + model)
	}
	j := i + bytes.Index(body[i:], was)
	return bytes.Join([][]byte{body[:j], now, body[j+len(was):]}, nil)
}

// TestReplay sends every recorded request through the real gateway to an upstream of the same format that answers as
// recorded: the upstream is asked with the same bytes but for the model, the client gets the same bytes, and
// the log tells the recorded usage.
func TestReplay(t *testing.T) {
	g, p := replay(t)
	if len(p.recordings) < 100 {
		t.Errorf("only %d exchanges", len(p.recordings))
	}
	for model, r := range p.recordings {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			path, body := asClient(r, "c"+model)
			status, h, out := call(t, g, http.MethodPost, path, string(body))
			var asked []byte
			select {
			case asked = <-p.asked[model]:
			default:
				if !r.Refused() {
					t.Fatalf("the upstream was not asked: %d %s", status, out)
				}
				return // our own reading refused what the provider refused
			}
			sameAsk(t, r, withModel(r, r.Ask, model), asked)
			switch facts := factsOf(r); {
			case r.Refused():
				refusedAnswer(t, r, status, out)
			case facts.Failed:
				if !bytes.Contains(out, []byte("error")) || bytes.Contains(out, []byte("[DONE]")) {
					t.Errorf("the client's stream does not end as a failure: %.3000s", out)
				}
			case status != http.StatusOK:
				t.Errorf("status %d: %s", status, out)
			case array(r):
				if got := wiretest.FactsOf(r.Format(), true, out); len(wiretest.Differ(r.Format(), facts, got)) > 0 || !json.Valid(out) {
					t.Errorf("another answer: %v", wiretest.Differ(r.Format(), facts, got))
				}
				sameUsage(t, g, h.Get("X-Request-Id"), facts.Usage)
			default:
				if !bytes.Equal(out, r.Answer) {
					i := 0
					for i < min(len(out), len(r.Answer)) && out[i] == r.Answer[i] {
						i++
					}
					t.Errorf("%d bytes came, %d were recorded; they differ at byte %d:\ngot  %.300q\nwant %.300q", len(out), len(r.Answer), i, out[i:], r.Answer[i:])
				}
				sameUsage(t, g, h.Get("X-Request-Id"), facts.Usage)
			}
		})
	}
}

func array(r *wiretest.Recording) bool {
	return r.Stream && bytes.HasPrefix(bytes.TrimSpace(r.Answer), []byte("["))
}

func factsOf(r *wiretest.Recording) wiretest.Facts {
	switch {
	case r.Refused():
		return wiretest.Facts{}
	case r.Format() == llm.OpenAIEmbeddings:
		var a struct {
			Usage struct {
				Input int64 `json:"prompt_tokens"`
			}
		}
		_ = json.Unmarshal(r.Answer, &a)
		return wiretest.Facts{Usage: wiretest.Counts{"input": a.Usage.Input}}
	}
	return wiretest.FactsOf(r.Format(), r.Stream, r.Answer)
}

// sameAsk allows a wish for usage in a stream to be added, where the provider takes one.
func sameAsk(t *testing.T, r *wiretest.Recording, want, got []byte) {
	t.Helper()
	if r.Stream && r.Format() == llm.OpenAIChat {
		var w, g map[string]json.RawMessage
		if json.Unmarshal(want, &w) != nil || json.Unmarshal(got, &g) != nil {
			t.Fatalf("not JSON: %s", got)
		}
		delete(w, "stream_options")
		delete(g, "stream_options")
		want, _ = json.Marshal(w)
		got, _ = json.Marshal(g)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("the upstream was asked otherwise:\ngot  %.1500s\nwant %.1500s", got, want)
	}
}

// refusedAnswer checks what becomes of a provider's refusal.
func refusedAnswer(t *testing.T, r *wiretest.Recording, status int, out []byte) {
	t.Helper()
	var b struct {
		Status   int
		Instance string
		Detail   string
		Error    struct{ Message string }
	}
	if err := json.Unmarshal(out, &b); err != nil || b.Status != status || b.Instance == "" || b.Error.Message == "" {
		t.Errorf("%v: %d %s", err, status, out)
	}
	switch {
	case r.Status == 401 || r.Status == 402 || r.Status == 403:
		if status != http.StatusBadGateway {
			t.Errorf("the upstream's %d became %d", r.Status, status)
		}
	case status < 400 || r.Status/100 == 5 && status/100 != 5:
		t.Errorf("the upstream's %d became %d", r.Status, status)
	}
	for _, secret := range []string{"sk-fixt", "org-fixture", "proj_fixture", "user_XX", "upstream-secret"} {
		if bytes.Contains(out, []byte(secret)) {
			t.Errorf("the client is shown %q: %s", secret, out)
		}
	}
}

// sameUsage reads the log line of a call.
func sameUsage(t *testing.T, g *gateway, id string, want wiretest.Counts) {
	t.Helper()
	names := map[string]string{
		"input": "input_tokens", "output": "output_tokens", "cache_read": "cache_read_tokens", "cache_write": "cache_write_tokens", "reasoning": "reasoning_tokens",
	}
	line := g.logLine(t, id)
	for name, member := range names {
		got, told := line[member].(float64)
		if n, ok := want[name]; told != ok || int64(got) != n {
			t.Errorf("log: %s is %v (told %t), recorded %d (told %t)", member, got, told, n, ok)
		}
	}
}

// logLine waits for the line of a call.
func (g *gateway) logLine(t *testing.T, id string) map[string]any {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if line := g.find(id); line != "" {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("log line: %v: %s", err, line)
			}
			return m
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("no log line of %s", id)
		}
	}
}
