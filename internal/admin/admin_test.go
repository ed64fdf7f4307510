package admin

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"sluice/internal/auth"
	"sluice/internal/control"
	"sluice/internal/directory"
)

// A rig is the operators' listener over a store in memory.
type rig struct {
	t       *testing.T
	store   *directory.Memory
	handler http.Handler
	answers strings.Builder // all that was ever answered
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, store: directory.NewMemory()}
	c := control.New(control.Options{Store: r.store, Hasher: auth.NewHasher([]byte("pepper")), Random: rand.Reader})
	h, err := New(Options{Control: c, Listen: "127.0.0.1:3002"})
	if err != nil {
		t.Fatal(err)
	}
	r.handler = h
	return r
}

// call makes a request and reads the JSON of its answer.
func (r *rig) call(method, path, body string) (status int, answer map[string]any) {
	r.t.Helper()
	req := httptest.NewRequest(method, "http://localhost:3002"+path, strings.NewReader(body))
	req.RemoteAddr = "127.0.0.1:5"
	if method == http.MethodPost || method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	r.answers.WriteString(w.Body.String())
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		r.t.Errorf("%s %s: %d %s: %v", method, path, w.Code, w.Body, err)
	}
	return w.Code, answer
}

// good makes a request that must be done.
func (r *rig) good(method, path, body string) map[string]any {
	r.t.Helper()
	status, answer := r.call(method, path, body)
	if status/100 != 2 {
		r.t.Fatalf("%s %s %s: %d %v", method, path, body, status, answer)
	}
	return answer
}

func TestKeys(t *testing.T) {
	r := newRig(t)
	r.good("POST", "/admin/teams", `{"name":"research","models":["gpt-*"],"rules":[{"name":"month","budgets":[{"dollars":"500","every":"month"}]}]}`)
	r.good("POST", "/admin/users", `{"name":"ada","email":"ada@example.com","teams":["research"]}`)
	made := r.good("POST", "/admin/keys", `{"name":"my laptop/1","team":"research","user":"ada","models":["gpt-4*"],"expires":"2030-01-01"}`)
	secret := made["secret"].(string)
	ref := "/admin/keys/" + url.PathEscape("my laptop/1")
	shown := r.good("GET", ref, "")
	if shown["id"] != made["id"] || shown["secret"] != nil {
		t.Errorf("shown %v", shown)
	}
	effective, _ := json.Marshal(shown["effective"])
	for _, part := range []string{`"models":[["gpt-4*"],["gpt-*"]]`, `"name":"month"`, `"subject":"team:`} {
		if !strings.Contains(string(effective), part) {
			t.Errorf("effective is %s, want %s in it", effective, part)
		}
	}
	rotated := r.good("POST", ref+"/rotate", `{"grace":"1h"}`)
	if rotated["secret"] == secret || rotated["old_key_ends"] == nil {
		t.Errorf("rotated %v", rotated)
	}
	if v := r.good("POST", ref+"/disable", ""); v["disabled"] != true {
		t.Errorf("disabled %v", v)
	}
	if v := r.good("POST", ref+"/enable", "{}"); v["disabled"] != false {
		t.Errorf("enabled %v", v)
	}
	if v := r.good("PATCH", ref, `{"name":"laptop","expires":null}`); v["expires"] != nil || v["name"] != "laptop" {
		t.Errorf("updated %v", v)
	}
	if v := r.good("GET", "/admin/keys?team=research&limit=1", ""); len(v["data"].([]any)) != 1 || v["next"] != nil {
		t.Errorf("listed %v", v)
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		pointer            string
	}{
		{"GET", "/admin/keys/nobody", "", 404, ""},
		{"GET", "/admin/keys/laptop?x=1", "", 400, ""},
		{"GET", "/admin/keys?tema=research", "", 400, ""},
		{"GET", "/admin/keys?team=research&team=x", "", 400, ""},
		{"GET", "/admin/keys?limit=0", "", 400, ""},
		{"GET", "/admin/keys?team=nobody", "", 404, ""},
		{"POST", "/admin/keys", `{"name":"x","team":"research","models":["claude-*"]}`, 403, "/models/0"},
		{"POST", "/admin/keys", `{"name":"x","spend":0}`, 400, "/spend"},
		{"POST", "/admin/keys", `{"name":"x","name":"y"}`, 400, "/name"},
		{"POST", "/admin/keys", `[]`, 400, ""},
		{"POST", "/admin/keys", `{"name":"laptop","team":"research","user":"ada"}`, 409, "/name"},
		{"POST", "/admin/keys", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, ""},
		{"PATCH", "/admin/keys/laptop", `{"version":1,"name":"x"}`, 400, "/version"},
		{"POST", "/admin/keys/laptop/disable", `{"disabled":false}`, 400, "/disabled"},
		{"DELETE", "/admin/teams/research", ``, 409, ""},
		{"PUT", "/admin/keys/laptop", ``, 405, ""},
	} {
		status, answer := r.call(tt.method, tt.path, tt.body)
		pointer := ""
		if items, ok := answer["errors"].([]any); ok {
			pointer = items[0].(map[string]any)["pointer"].(string)
		}
		if status != tt.status || pointer != tt.pointer || answer["detail"] == "" {
			t.Errorf("%s %s %.80s: %d %v, want %d at %q", tt.method, tt.path, tt.body, status, answer, tt.status, tt.pointer)
		}
	}
	r.good("DELETE", "/admin/keys/laptop", ``)
	r.good("DELETE", "/admin/users/ada", ``)
	r.good("DELETE", "/admin/teams/research", ``)
	if n := strings.Count(r.answers.String(), secret[20:]); n != 1 {
		t.Errorf("the secret was told %d times, want once", n)
	}
	if strings.Contains(r.answers.String(), "hash") {
		t.Error("an answer tells a hash")
	}
}
