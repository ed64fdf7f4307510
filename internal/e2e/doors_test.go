package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// knownDefaults are what products and tutorials of this kind come with, and what people who are in a hurry type.
var knownDefaults = strings.Fields(`sk-1234 sk-12345 sk-123456 sk-test sk-master-key sk-default sk-admin sk-proj-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
	sk-0000000000000000000000000000000000000000000000000000000000000000 sk-slc-000000000000-0000000000000000000000000000000000000000000XXXX
	changeme change-me ChangeMe123! change_this_password admin administrator root toor password Password1 P@ssw0rd passw0rd secret s3cr3t supersecret
	letmein welcome welcome1 qwerty qwerty123 123456 12345678 1234567890 000000 111111 abc123 default guest demo test tester user sluice
	sluice123 litellm LITELLM_MASTER_KEY your-secret-key your_api_key_here my-secret-token master-key openai minioadmin postgres redis
	0123456789abcdef0123456789abcdef deadbeefdeadbeefdeadbeefdeadbeef aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`)

// sent sends one request to either listener.
func sent(t *testing.T, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(out)
}

// S23: nobody gets in by what everybody knows, on either listener, in any of the ways in which something can be shown.
func TestKnownDefaults(t *testing.T) {
	if len(knownDefaults) < 50 {
		t.Fatalf("%d defaults, want 50 and more", len(knownDefaults))
	}
	g := gatewayForAll(t)
	admin, tries := "http://"+g.admin, 0
	in := func(what string, status int, body string) {
		tries++
		if status < 400 {
			t.Errorf("%s: %d %.200s", what, status, body)
		}
	}
	for i, word := range knownDefaults {
		basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+word))
		for _, h := range []string{"Authorization: Bearer " + word, "x-api-key: " + word, "x-goog-api-key: " + word, "api-key: " + word, basic} {
			status, _, body := sent(t, http.MethodGet, g.url+"/v1/models", "", h)
			in("data plane, "+h, status, body)
		}
		for _, h := range []string{"Authorization: Bearer " + word, basic, "Cookie: sluice=" + word, "Cookie: __Host-sluice=" + word} {
			status, _, body := sent(t, http.MethodGet, admin+"/admin/keys", "", h)
			in("admin, "+h, status, body)
		}
		name := []string{"admin@example.com", "root@localhost", "admin"}[i%3]
		status, head, body := sent(t, http.MethodPost, admin+"/admin/session", fmt.Sprintf(`{"email":%q,"password":%q}`, name, word), "Content-Type: application/json")
		in("sign-in as "+name, status, body)
		if head.Get("Set-Cookie") != "" {
			t.Errorf("%s and %s: a cookie is set", name, word)
		}
	}
	t.Logf("%d tries, 0 of them got in", tries)
}

// check runs `sluice config check` on a document.
func check(t *testing.T, document string, env ...string) (out string, ok bool) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "config", "check", file)
	cmd.Env = append([]string{"HOME=" + t.TempDir()}, env...)
	text, err := cmd.CombinedOutput()
	return string(text), err == nil
}

// secretsOfOurs are the places of a configuration that hold a secret which opens something of ours, or signs something. %s is the secret.
var secretsOfOurs = map[string]string{
	"keys[0].key":               `keys: [{name: a, key: "%s", models: ["*"]}]`,
	"admin.token":               `admin: {token: "%s"}`,
	"pepper":                    `pepper: "%s"`,
	"secrets.key":               `secrets: {key: "%s"}`,
	"audit.key":                 `audit: {key: "%s"}`,
	"alerts.webhooks[0].secret": `alerts: {webhooks: [{url: "https://hooks.example.com/x", secret: "%s"}]}`,
}

// S23, S14: the gateway does not start with a secret that can be guessed, and one that is said but empty is no secret that is left out: an
// environment variable that nobody set must not turn a lock off.
func TestWeakSecretsAreRefused(t *testing.T) {
	for place, line := range secretsOfOurs {
		document := "mock: {enabled: true}\n" + line + "\n"
		strong := "f3a9c1d27b604e8895ab01c6d7e2430f5b8e9a7716cd42039fe1b06a8d35c7e4"
		if out, ok := check(t, fmt.Sprintf(document, strong)); !ok {
			t.Errorf("%s: a strong secret is refused: %s", place, out)
		}
		for _, weak := range append(knownDefaults, "f3a9c1d27b604e88", strings.Repeat("ab", 32)) {
			if out, ok := check(t, fmt.Sprintf(document, weak)); ok || !strings.Contains(out, place) {
				t.Errorf("%s: %s is taken, or its place is not told: %s", place, weak, out)
			}
		}
		empty := filepath.Join(t.TempDir(), "empty")
		if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, ref := range []string{"${NOBODY_SET_IT}", "${IT_IS_EMPTY}", "${file:" + empty + "}", "${file:" + empty + ".none}"} {
			if out, ok := check(t, fmt.Sprintf(document, ref), "IT_IS_EMPTY="); ok || !strings.Contains(out, place) {
				t.Errorf("%s: %s is taken, or its place is not told: %s", place, ref, out)
			}
		}
	}
	// What signs is nothing that can be left empty; what only opens is then shut, which is said by leaving it out.
	if out, ok := check(t, "mock: {enabled: true}\n"+fmt.Sprintf(secretsOfOurs["alerts.webhooks[0].secret"], "")+"\n"); ok {
		t.Errorf("a webhook without a secret is taken: %s", out)
	}
}

// S28: what is for operators is not on the clients' listener, whatever is shown there.
func TestOperatorsPathsAreNotPublic(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	g, err := serveWhole(bin, t.TempDir(), "listen: 127.0.0.1:0\nadmin: {listen: \"127.0.0.1:0\", pprof: true}\ndata: data\nmock: {enabled: true}\nkeys: [{name: e2e, key: "+key+", models: [\"*\"]}]\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	paths := strings.Fields(`/metrics /build /debug/pprof/ /debug/pprof/heap /debug/pprof/cmdline /debug/pprof/goroutine?debug=2 /debug/vars /admin /admin/ /admin/keys
		/admin/session /admin/openapi.json /admin/upstreams /admin/config /admin/audit /v1/metrics /v1/admin/keys //metrics /%6detrics`)
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			status, _, body := call(t, g, method, path, "{}")
			if status != http.StatusNotFound && status != http.StatusMethodNotAllowed && status != http.StatusBadRequest {
				t.Errorf("%s %s on the public port: %d %.100s", method, path, status, body)
			}
			if text := string(body); strings.Contains(text, "goroutine ") || strings.Contains(text, "sluice_") {
				t.Errorf("%s %s tells %.100s", method, path, body)
			}
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/build"} { // they are there, on the other
		if status, _, _ := sent(t, http.MethodGet, "http://"+g.admin+path, ""); status != http.StatusOK {
			t.Errorf("GET %s of admin: %d", path, status)
		}
	}
}
