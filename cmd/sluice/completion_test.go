package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCompletion: what a shell is offered, from the commands themselves and from a gateway.
func TestCompletion(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := map[string]string{
			"/admin/keys":                     `{"data":[{"id":"k1","name":"ci"},{"id":"k2","name":"lap\u001b[2Jtop"}]}`,
			"/admin/accounts":                 `{"data":[{"id":"a1","name":"Ada","email":"ada@example.org"},{"id":"a2","name":"owner","email":""}]}`,
			"/admin/tokens":                   `{"data":[{"id":"t1","name":"ci"}]}`,
			"/admin/teams":                    `{"data":[{"id":"t1","name":"research"}]}`,
			"/admin/providers":                `{"data":[{"kind":"provider","name":"eu"}]}`,
			"/admin/providers/eu/credentials": `{"data":[{"kind":"credential","of":"eu","name":"team-a"}]}`,
			"/admin/upstreams":                `{"deployments":[{"deployment":"openai/gpt-4o"}]}`,
		}[r.URL.Path]
		if !ok || r.Header.Get("Authorization") != "Bearer of-operators" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	t.Setenv("SLUICE_CONFIG", "")
	t.Setenv("SLUICE_ADMIN_TOKEN", "of-operators")
	const files, no = ":0", ":4" // cobra's directives
	const names = "ci\nlap\uFFFD[2Jtop\n"
	for _, tc := range []struct{ line, want string }{
		{"serv_", "serve\tRun the gateway.\n" + no},
		{"keys show _", names + no},
		{"keys show c_", "ci\n" + no},
		{"keys show ci _", no},
		{"keys create _", no},
		{"users show _", no}, // the gateway refuses
		{"accounts show _", "ada@example.org\na2\n" + no},
		{"sessions end a_", "ada@example.org\na2\n" + no},
		{"tokens delete _", "t1\tci\n" + no},
		{"upstreams drain _", "openai/gpt-4o\n" + no},
		{"keys list --team _", "research\n" + no},
		{"usage --team _", "t1\tresearch\n" + no},
		{"usage --key _", "k1\tci\nk2\tlap\uFFFD[2Jtop\n" + no},
		{"explain --key _", names + no},
		{"providers show _", "eu\n" + no},
		{"providers show eu _", no},
		{"providers create --file _", files},
		{"credentials list --provider _", "eu\n" + no},
		{"credentials delete --provider eu _", "team-a\n" + no},
		{"credentials delete _", "--provider\tThe `NAME` of the provider that they are parts of.\n" + no},
		{"explain --request _", files},
		{"serve --config _", files},
		{"config check _", files},
		{"prices diff _", files},
		{"completion z_", "zsh\n" + no},
		{"mock --key _", no},
	} {
		begun, _ := strings.CutSuffix(tc.line, "_")
		args := append([]string{"__complete"}, strings.Split(begun, " ")...)
		t.Setenv("SLUICE_ADMIN_URL", s.URL)
		var out, err bytes.Buffer
		if code := run(args, &out, &err); code != 0 || strings.TrimSpace(out.String()) != tc.want || err.Len() > 0 {
			t.Errorf("%s: code %d, offered %q, want %q; err: %s", tc.line, code, out.String(), tc.want, err.String())
		}
		t.Setenv("SLUICE_ADMIN_URL", "http://127.0.0.1:1") // where nobody listens
		out.Reset()
		if code := run(args, &out, &err); code != 0 || err.Len() > 0 || strings.Contains(out.String(), "ci\n") {
			t.Errorf("%s, without a gateway: code %d, offered %q; err: %s", tc.line, code, out.String(), err.String())
		}
	}
}
