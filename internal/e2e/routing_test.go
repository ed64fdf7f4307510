package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tooled is a call of a dialect that offers a tool.
func tooled(d *dialect, model string, stream bool) string {
	switch d.name {
	case "openai":
		return fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":"weather"}],"tools":[{"type":"function","function":{"name":"weather","parameters":%s}}]}`, model, stream, askTool)
	case "anthropic":
		return fmt.Sprintf(`{"model":%q,"max_tokens":500,"stream":%v,"messages":[{"role":"user","content":"weather"}],"tools":[{"name":"weather","input_schema":%s}]}`, model, stream, askTool)
	}
	return fmt.Sprintf(`{"contents":[{"role":"user","parts":[{"text":"weather"}]}],"tools":[{"functionDeclarations":[{"name":"weather","parameters":%s}]}]}`, askTool)
}

// toolWords are what a call of a tool looks like in each dialect.
var toolWords = map[string][]string{
	"openai": {`"tool_calls"`, `"weather"`, `city`}, "anthropic": {`"tool_use"`, `"weather"`, `city`}, "gemini": {`"functionCall"`, `"weather"`, `city`},
}

// chain is R16: from OpenAI over Anthropic to Gemini, with a call of a tool. Every client gets its own format, and is told whose answer it is.
func chain(t *testing.T, _ uint64) {
	oai, ant, gem := startVendor(t, "oai", "openai"), startVendor(t, "ant", "anthropic"), startVendor(t, "gem", "gemini")
	oai.script(t, "m* = tools?status=500")
	ant.script(t, "m* = tools?cut=1")
	var models strings.Builder
	for i := range 2 * len(dialects) { // a name of its own for each call, so that no breaker shortens the next one's way
		fmt.Fprintf(&models, "  - {name: m%d, provider: oai, model: m%[1]d, fallback: [n%[1]d, last]}\n  - {name: n%[1]d, provider: ant, model: m%[1]d}\n", i)
	}
	g := started(t, "providers:\n"+oai.provider("")+ant.provider("")+gem.provider("")+"models:\n"+models.String()+"  - {name: last, provider: gem, model: tools}\n")
	right := 0
	for i := range 2 * len(dialects) {
		d, stream, name := &dialects[i/2], i%2 == 0, fmt.Sprintf("m%d", i)
		a := send(t.Context(), g, d.path(name, stream), tooled(d, name, stream))
		l := g.line(t, a)
		_, whole := d.said(a.body, stream)
		for _, word := range toolWords[d.name] {
			whole = whole && strings.Contains(a.body, word)
		}
		want := fmt.Sprintf("oai/%s transient, oai/%[1]s transient, ant/%[1]s transient, gem/tools ok", name)
		if h := a.header.Get("X-Sluice-Fallback"); a.status != http.StatusOK || !whole || h != "general; model=last" || l.outcomes() != want || l.Fallback == "" {
			t.Errorf("%s stream=%v: %d, X-Sluice-Fallback %q, fallback %q, tries %q\n%s", d.name, stream, a.status, h, l.Fallback, l.Tries, a.body)
			continue
		}
		right++
	}
	billed := 0
	for _, c := range gem.calls(t, 6) {
		if c.Outcome == "complete" {
			billed++
		}
	}
	holds(t, right == 6 && billed == 6, "each client its own format", "%d of 6 calls answered by the third vendor in the client's format, %d answers made by it", right, billed)
}

// deadlines is R17: a client's deadline holds over all tries, nothing is left running, and nobody upstream is blamed for it.
func deadlines(t *testing.T, _ uint64) {
	v := startVendor(t, "a", "openai")
	v.script(t, "slow = echo?latency=5s\nill = echo?latency=150ms&status=500")
	g := started(t, "providers:\n"+v.provider("")+"models:\n  - {name: slow, provider: a, model: slow}\n  - {name: ill, provider: a, model: ill}\n")
	deadline := sized(400*time.Millisecond, 2*time.Second)
	header := fmt.Sprintf("X-Request-Timeout-Ms: %d", deadline.Milliseconds())
	var latest time.Duration
	answers := make(chan answered)
	for i := range 12 { // more than would open a breaker
		go func() { answers <- dialects[i%len(dialects)].ask(t.Context(), g, "slow", "ping", i%2 == 0, header) }()
	}
	for range 12 {
		a := <-answers
		if latest = max(latest, a.took); a.status != http.StatusGatewayTimeout || !strings.Contains(a.body, "X-Request-Timeout-Ms") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	begin := time.Now()
	a := dialects[0].ask(t.Context(), g, "ill", "ping", true, header)
	ended := time.Now()
	latest = max(latest, a.took)
	calls, left := v.calls(t, 13), 0
	for _, c := range calls {
		if c.Model == "slow" && c.Outcome != "cancelled" || c.Start.After(ended) {
			left++
			t.Logf("%+v", c)
		}
	}
	if n := len(calls); n < 13 || n > 12+1+int(ended.Sub(begin)/(150*time.Millisecond)) {
		t.Errorf("%d upstream calls", n)
	}
	holds(t, left == 0, "nothing left running", "%d of %d upstream calls went on after the deadline", left, len(calls))
	if p := g.places(t)["a/slow"]; p.State != "free" || p.Failing != 0 || p.InFlight != 0 {
		t.Errorf("clients' own deadlines are held against the upstream: %+v", p)
	}
	measured(t, latest <= deadline+50*time.Millisecond, "<= deadline + 50 ms", "%.0f ms for a deadline of %v", ms(latest), deadline)
}

// latencyFindsTheSlow: a deployment three times as slow as the other is left within 50 calls, and gets its share again within 100 after it healed.
func latencyFindsTheSlow(t *testing.T, _ uint64) {
	a, b := startVendor(t, "a", "openai"), startVendor(t, "b", "openai")
	a.script(t, "m = echo?latency=120ms")
	b.script(t, "m = echo?latency=40ms")
	g := started(t, "providers:\n"+a.provider("")+b.provider("")+"models:\n  - {name: m, strategy: latency, deployments: [{provider: a, model: m}, {provider: b, model: m}]}\n")
	shares := func(n int) float64 { // of a, in the next n calls
		var all sync.WaitGroup
		from := make(chan string, n)
		for range 8 {
			all.Go(func() {
				for range n / 8 {
					from <- dialects[0].ask(t.Context(), g, "m", "ping", true).header.Get("X-Sluice-Upstream")
				}
			})
		}
		all.Wait()
		close(from)
		count := 0
		for v := range from {
			if v == "a" {
				count++
			}
		}
		return float64(count) / float64(n)
	}
	shares(48)
	slow := shares(sized(96, 400))
	a.script(t, "m = echo?latency=40ms")
	shares(96)
	healed := shares(sized(160, 400))
	measured(t, slow < 0.20, "< 20 % to one 3x slower after 50 calls", "%.1f %%", 100*slow)
	measured(t, healed > 0.42, "its share within 100 calls after it healed", "%.1f %% (0.85 of its half: 42.5 %%)", 100*healed)
	if slow > 0.4 || healed < 0.15 { // far beyond what a busy machine does to two waits
		t.Errorf("%.0f %% went to the slow one, %.0f %% after it healed", 100*slow, 100*healed)
	}
}

// Keys of these checks, beside the usual one. They come before the rest of a configuration, where its list of keys ends.
const (
	boundKey  = "sk-e2e-1a4f0c7b1dd2440f9a6c5c3be58b2f8c7d6e5a4b3c2d1e0f9a8b7c6d5e4f3a2b"
	secondKey = "sk-e2e-2b5f1d8c2ee3551f0b7d6d4cf69c309d8e7f6b5c4d3e2f10ab9c8d7e6f50413c"
	moreKeys  = "  - {name: bound, key: " + boundKey + ", overrides: [deadline], tags: [eu]}\n  - {name: second, key: " + secondKey + "}\n"
)

// overrides are the headers by which a request has a say, within what its key allows.
func overrides(t *testing.T, _ uint64) {
	a, b := startVendor(t, "a", "openai"), startVendor(t, "b", "openai")
	a.script(t, "ill = echo?status=500")
	g := started(t, moreKeys+"providers:\n"+a.provider("")+b.provider("")+
		"models:\n  - {name: m, strategy: priority, deployments: [{provider: a, model: echo, tags: [us]}, {provider: b, model: echo, tags: [eu, gpu]}]}\n"+
		"  - {name: ill, provider: a, model: ill, fallback: [m]}\n  - {name: us, deployments: [{provider: a, model: echo, tags: [us]}]}\n")
	bound := "Authorization: Bearer " + boundKey
	for _, c := range []struct {
		name, model string
		headers     []string
		status      int
		from        string // who answers
		says        string // in a refusal
	}{
		{"none", "m", nil, 200, "a", ""},
		{"a tag", "m", []string{"X-Sluice-Tags: eu"}, 200, "b", ""},
		{"two tags", "m", []string{"X-Sluice-Tags: eu, gpu"}, 200, "b", ""},
		{"tags that none has", "m", []string{"X-Sluice-Tags: moon"}, 400, "", "tags"},
		{"a strategy", "m", []string{"X-Sluice-Strategy: cost"}, 200, "", ""},
		{"no such strategy", "m", []string{"X-Sluice-Strategy: best"}, 400, "", "X-Sluice-Strategy"},
		{"fallback", "ill", nil, 200, "a", ""},
		{"no fallback", "ill", []string{"X-Sluice-Fallback: off"}, 502, "", ""},
		{"no such word", "ill", []string{"X-Sluice-Fallback: on"}, 400, "", "X-Sluice-Fallback"},
		{"a deadline", "m", []string{"X-Request-Timeout-Ms: 9000"}, 200, "a", ""},
		{"the key's tags", "m", []string{bound}, 200, "b", ""},
		{"the key's tags hold in a fallback", "ill", []string{bound}, 0, "", ""},
		{"none has the key's tags", "us", []string{bound}, 403, "", "tags"},
		{"the key may not choose a strategy", "m", []string{bound, "X-Sluice-Strategy: cost"}, 403, "", "strategy"},
		{"nor tags", "m", []string{bound, "X-Sluice-Tags: eu"}, 403, "", "tags"},
		{"nor switch fallbacks off", "ill", []string{bound, "X-Sluice-Fallback: off"}, 403, "", "fallback"},
		{"but a deadline", "m", []string{bound, "X-Request-Timeout-Ms: 9000"}, 200, "b", ""},
	} {
		for i := range dialects {
			r := dialects[i].ask(t.Context(), g, c.model, "ping", i%2 == 0, c.headers...)
			from := r.header.Get("X-Sluice-Upstream")
			if c.status != 0 && r.status != c.status || c.from != "" && from != c.from || !strings.Contains(r.body, c.says) {
				t.Errorf("%s, %s: %d from %q, want %d from %q: %.300s", c.name, dialects[i].name, r.status, from, c.status, c.from, r.body)
			}
			if c.name == "the key's tags hold in a fallback" && from == "a" {
				t.Errorf("%s, %s: from %q", c.name, dialects[i].name, from)
			}
		}
	}
}

// maxInFlight: an upstream never has more calls than it may, and of those that wait the keys take turns.
func maxInFlight(t *testing.T, _ uint64) {
	const most, many, few = 3, 24, 4
	v := startVendor(t, "a", "openai", "--capture", "1000")
	v.script(t, "m = echo?latency=40ms")
	g := started(t, moreKeys+"queue: {wait: 15s}\nproviders:\n"+v.provider("")+fmt.Sprintf("models:\n  - {name: m, deployments: [{provider: a, model: m, max_in_flight: %d}]}\n", most))
	var all sync.WaitGroup
	begin := func(n int, text string, header ...string) {
		for i := range n {
			all.Go(func() {
				d, stream := &dialects[i%len(dialects)], i%2 == 0
				if why := d.good(d.ask(t.Context(), g, "m", text, stream, header...), text, stream); why != "" {
					t.Error(why)
				}
			})
		}
	}
	begin(many, "from the first key")
	eventually(t, "the line to stand", func() bool { return len(v.calls(t, 0)) > 0 || g.places(t)["a/m"].Waiting >= many-2*most })
	begin(few, "from the second key", "Authorization: Bearer "+secondKey)
	all.Wait()
	calls := v.calls(t, many+few)
	slices.SortFunc(calls, func(a, b servedCall) int { return a.Start.Compare(b.Start) })
	peak, last := 0, 0
	for i, c := range calls {
		under := 0
		for _, o := range calls[:i+1] {
			if o.Start.Add(time.Duration(o.End * float64(time.Millisecond))).After(c.Start) {
				under++
			}
		}
		peak = max(peak, under)
		if strings.Contains(c.Body, "second key") {
			last = i
		}
	}
	holds(t, peak <= most && len(calls) == many+few, "never more than max_in_flight", "at most %d of %d calls at a time, %d allowed", peak, len(calls), most)
	holds(t, last < many, "keys take turns", "the last of the second key's %d calls was number %d of %d, %d of the first key's before it", few, last+1, many+few, last+1-few)
}
