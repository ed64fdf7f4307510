package app

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// What broke other gateways, put to our own routes: nothing is served, nothing reaches the upstream, and no
// request goes where an attacker says. The numbers are those of the advisories.
func TestKnownExploits(t *testing.T) {
	r := newRig(t, "")
	trap := trap(t)
	for _, c := range []struct {
		name, method, path, body string
		header                   map[string]string
	}{
		{"CVE-2026-42208: SQL in the key, on the error path", "POST", "/v1/chat/completions", "{}", map[string]string{"Authorization": "Bearer sk-1' UNION SELECT token FROM keys; --"}},
		{"CVE-2026-49468: the check sees another path than the router", "POST", "/v1/chat/completions", "{}", map[string]string{"Host": "x/health?", "X-Original-Url": "/health", "X-Forwarded-Prefix": "/health"}},
		{"CVE-2026-42271, 30623, 90898: a command by way of the API", "POST", "/mcp-rest/test/tools/list", `{"transport":"stdio","command":"sh","args":["-c","id"]}`, nil},
		{"the same, as a new client", "POST", "/api/mcp/client", `{"connection_type":"stdio","stdio_config":{"command":"sh"}}`, nil},
		{"CVE-2026-40217: code run in process", "POST", "/guardrails/test_custom_code", `{"custom_code":"import os; os.system('id')"}`, nil},
		{"CVE-2026-86242: a plug-in by URL", "POST", "/api/plugins", fmt.Sprintf(`{"name":"x","path":%q}`, trap), nil},
		{"CVE-2026-42203: a template run in process", "POST", "/prompts/test", `{"dotprompt_content":"{{ ''.__class__ }}"}`, nil},
		{"CVE-2026-41432: a webhook signed with nothing", "POST", "/api/stripe/webhook", "{}", map[string]string{"Stripe-Signature": "t=1,v1=0"}},
		{"CVE-2024-6587: the caller picks the upstream", "POST", "/v1/chat/completions", fmt.Sprintf(`{"model":"o/echo","api_base":%q,"messages":[{"role":"user","content":"x"}]}`, trap), nil},
		{"35029: configuration without a check", "POST", "/config/update", `{"environment_variables":{"UI_LOGO_PATH":"/etc/passwd"}}`, nil},
		{"file by logo path", "GET", "/get_image", "", nil},
		{"keys by way of a list", "GET", "/api/user?p=0", "", nil},
		{"default credentials", "POST", "/v1/chat/completions", "{}", map[string]string{"Authorization": "Bearer sk-1234"}},
		{"no credentials", "POST", "/v1/chat/completions", "{}", map[string]string{}},
		{"metrics on the data listener", "GET", "/metrics", "", nil},
		{"profiles on the data listener", "GET", "/debug/pprof/heap", "", nil},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, r.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range c.header {
			if name == "Host" {
				req.Host = v
			}
			req.Header.Set(name, v)
		}
		resp, body := do(t, req)
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s: %d %.200s", c.name, resp.StatusCode, body)
		}
	}
	if n := r.mock.Log().Served; n != 0 {
		t.Errorf("%d requests without a key reached the upstream", n)
	}
}

// What a target cannot carry is refused by name or, where the model is lenient, left out and listed.
func TestLenient(t *testing.T) {
	r := newRig(t, "models:\n  - {name: strict, provider: a, model: echo}\n  - {name: easy, provider: a, model: echo, lenient: true}\n")
	const body = `{"model":%q,"seed":7,"logit_bias":{"1":5},"messages":[{"role":"user","content":"x"}]}`
	resp, got := r.post(t, "/v1/chat/completions", fmt.Sprintf(body, "strict"))
	if resp.StatusCode != 400 || !strings.Contains(got, `"code":"unsupported"`) || !strings.Contains(got, "seed") || !strings.Contains(got, "logit_bias") {
		t.Errorf("strict: %d %s", resp.StatusCode, got)
	}
	resp, got = r.post(t, "/v1/chat/completions", fmt.Sprintf(body, "easy"))
	if dropped := resp.Header.Get("X-Sluice-Dropped"); resp.StatusCode != 200 || !strings.Contains(dropped, "seed") || !strings.Contains(dropped, "logit_bias") {
		t.Errorf("lenient: %d, dropped %q: %s", resp.StatusCode, dropped, got)
	}
}
