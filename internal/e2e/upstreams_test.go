package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestUpstreams is what clients see of upstreams that fail. Each check has a gateway and mocks of its own, whose logs are the truth.
func TestUpstreams(t *testing.T) {
	seed := seedOf(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, seed uint64)
	}{
		{"R1 not reached", notReached},
		{"R2 silent", silentUpstreams},
		{"R7 statuses", statuses},
		{"R7 fault mix", faultMix},
		{"R14 half bad", halfBad},
		{"R15 outage", outage},
		{"R16 chain", chain},
		{"R17 deadline", deadlines},
		{"latency", latencyFindsTheSlow},
		{"overrides", overrides},
		{"max in flight", maxInFlight},
		{"R43 chaos", chaos},
	} {
		t.Run(c.name, func(t *testing.T) {
			say("%s", c.name)
			c.run(t, seed)
		})
	}
}

// A vendor is a `sluice mock` that a test scripts, stops, and starts again at the same address.
type vendor struct {
	name, kind string
	addr       string
	dir        string
	args       []string
	p          *process
}

// startVendor starts one. Its script file is empty: every model of the mock is what it always is.
func startVendor(t *testing.T, name, kind string, args ...string) *vendor {
	t.Helper()
	v := &vendor{name: name, kind: kind, dir: t.TempDir(), addr: "127.0.0.1:0", args: append(args, "--log", "1000000")}
	v.start(t)
	t.Cleanup(func() { v.p.stop() })
	return v
}

func (v *vendor) start(t *testing.T) {
	t.Helper()
	p, addr, err := startMock(v.dir, append([]string{"--listen", v.addr}, v.args...)...) // the later of two --listen counts
	if err != nil {
		t.Fatal(err)
	}
	v.p, v.addr = p, addr
}

// provider is its line in a configuration, with more members.
func (v *vendor) provider(more string) string {
	base := "http://" + v.addr
	if v.kind == "openai" {
		base += "/v1"
	}
	return fmt.Sprintf("  - {name: %s, kind: %s, base_url: %q, api_key: secret-of-%[1]s, allow_private: [127.0.0.1/32], models: []%[4]s}\n", v.name, v.kind, base, more)
}

// script changes what it does.
func (v *vendor) script(t *testing.T, text string) {
	t.Helper()
	if status := v.control(t, http.MethodPut, "/script", text); status != http.StatusNoContent {
		t.Fatalf("script %q: %d", text, status)
	}
}

func (v *vendor) control(t *testing.T, method, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, "http://"+v.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// calls is its log, once n calls are in it.
func (v *vendor) calls(t *testing.T, n int) []servedCall {
	t.Helper()
	return mockLog(t, "http://"+v.addr, n)
}

// A dialect is a format that clients speak.
type dialect struct {
	name string
	path func(model string, stream bool) string
	body func(model, text string, stream bool) string
	text *regexp.Regexp // the pieces of an answer's text
	end  [2]string      // what a whole answer has, not streamed and streamed
}

const askTool = `{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`

func same(path string) func(string, bool) string { return func(string, bool) string { return path } }

var dialects = []dialect{
	{
		"openai", same("/v1/chat/completions"), chat,
		regexp.MustCompile(`"content": ?"([^"]*)"`),
		[2]string{`"finish_reason"`, "data: [DONE]"},
	},
	{
		"anthropic", same("/v1/messages"), func(model, text string, stream bool) string {
			return fmt.Sprintf(`{"model":%q,"max_tokens":500,"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, stream, text)
		},
		regexp.MustCompile(`"text": ?"([^"]*)"`),
		[2]string{`"stop_reason"`, `"message_stop"`},
	},
	{
		"gemini", func(model string, stream bool) string {
			if stream {
				return "/v1beta/models/" + model + ":streamGenerateContent?alt=sse"
			}
			return "/v1beta/models/" + model + ":generateContent"
		}, func(_, text string, _ bool) string {
			return fmt.Sprintf(`{"contents":[{"role":"user","parts":[{"text":%q}]}]}`, text)
		},
		regexp.MustCompile(`"text": ?"([^"]*)"`),
		[2]string{`"finishReason"`, `"finishReason"`},
	},
}

// said is the text of an answer, and whether it has its end.
func (d *dialect) said(out string, stream bool) (string, bool) {
	var b strings.Builder
	for _, m := range d.text.FindAllStringSubmatch(out, -1) {
		b.WriteString(m[1])
	}
	end := d.end[0]
	if stream {
		end = d.end[1]
	}
	return b.String(), strings.Contains(out, end) && !strings.Contains(out, `"error"`)
}

// An answered is what a client got.
type answered struct {
	status int
	header http.Header
	body   string
	err    error
	took   time.Duration
}

// clients are the connections of a check's clients.
var clients = &http.Transport{MaxIdleConnsPerHost: 64}

// ask makes one call; each header is NAME: VALUE.
func (d *dialect) ask(ctx context.Context, g *gateway, model, text string, stream bool, header ...string) answered {
	return send(ctx, g, d.path(model, stream), d.body(model, text, stream), header...)
}

func send(ctx context.Context, g *gateway, path, body string, header ...string) (a answered) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	begin := time.Now()
	defer func() { a.took = time.Since(begin) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+path, strings.NewReader(body))
	if err != nil {
		return answered{err: err}
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	resp, err := clients.RoundTrip(req)
	if err != nil {
		return answered{err: err}
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	return answered{status: resp.StatusCode, header: resp.Header, body: string(out), err: err}
}

// good says what is wrong with an answer that should be an echo of text; "" when nothing is.
func (d *dialect) good(a answered, text string, stream bool) string {
	said, whole := d.said(a.body, stream)
	if a.err == nil && a.status == http.StatusOK && whole && said == text {
		return ""
	}
	return fmt.Sprintf("%s stream=%v: %d %v %q %.400s", d.name, stream, a.status, a.err, said, a.body)
}

// A callLine is the log line of a call.
type callLine struct {
	Msg, Model, Provider, Error, Tries, Fallback string
	ID                                           string `json:"request_id"`
	Status, Attempts                             int
	Own                                          int64 `json:"own_us"`
	Total                                        int64 `json:"total_us"`
}

// line waits for the log line of an answer.
func (g *gateway) line(t *testing.T, a answered) (l callLine) {
	t.Helper()
	id := a.header.Get("X-Request-Id")
	eventually(t, "the log line of "+id, func() bool { return id != "" && g.find(id) != "" })
	if err := json.Unmarshal([]byte(g.find(id)), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// callLines are all of them so far.
func (g *gateway) callLines() (all []callLine) {
	for text := range strings.SplitSeq(g.log(), "\n") {
		var l callLine
		if json.Unmarshal([]byte(text), &l) == nil && l.Msg == "call" {
			all = append(all, l)
		}
	}
	return all
}

// eventually looks until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}

// operator reads from the operators' listener.
func (g *gateway) operator(t *testing.T, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + g.admin + path) //nolint:noctx // it answers at once
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v %s", path, resp.StatusCode, err, out)
	}
	return string(out)
}

// metric is the sum of a metric over its labels.
func (g *gateway) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	for line := range strings.SplitSeq(g.operator(t, "/metrics"), "\n") {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

// A place is a deployment as GET /admin/upstreams has it.
type place struct {
	Deployment, State, Breaker string
	Waiting                    int
	InFlight                   int `json:"in_flight"`
	Failing                    float64
	Until                      time.Time
}

// places are the deployments by name.
func (g *gateway) places(t *testing.T) map[string]place {
	t.Helper()
	var u struct{ Deployments []place }
	if err := json.Unmarshal([]byte(g.operator(t, "/admin/upstreams")), &u); err != nil {
		t.Fatal(err)
	}
	all := map[string]place{}
	for _, p := range u.Deployments {
		all[p.Deployment] = p
	}
	return all
}

// outcomes are the tries of a line without their times: "a/m transient, b/m ok".
func (l callLine) outcomes() string {
	return regexp.MustCompile(` \d+ms`).ReplaceAllString(cmp.Or(l.Tries, l.Provider), "")
}
