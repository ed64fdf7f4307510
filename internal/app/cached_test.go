package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/control"
)

// asks are a request to each endpoint, with a model and a question to be put in.
var asks = []struct{ path, body string }{
	{"/v1/chat/completions", `{"model":"%s","messages":[{"role":"user","content":"%s"}]}`},
	{"/v1/chat/completions", `{"model":"%s","stream":true,"messages":[{"role":"user","content":"%s"}]}`},
	{"/v1/completions", `{"model":"%s","prompt":"%s"}`},
	{"/v1/responses", `{"model":"%s","input":"%s"}`},
	{"/v1/messages", `{"model":"%s","max_tokens":100,"messages":[{"role":"user","content":"%s"}]}`},
	{"/v1beta/models/%s:generateContent", `{"contents":[{"role":"user","parts":[{"text":"%s"}]}]}`},
	{"/v1beta/models/%s:streamGenerateContent?alt=sse", `{"contents":[{"role":"user","parts":[{"text":"%s"}]}]}`},
	{"/v1/embeddings", `{"model":"%s","input":"%s"}`},
	{"/v1beta/models/%s:embedContent", `{"content":{"parts":[{"text":"%s"}]}}`},
}

// S10: tenants share no answer, at no endpoint, by words or by meaning, not even where everything is near everything; each has its
// own, again and again; and what is deleted by tenant leaves nothing.
func TestTenantsShareNoAnswer(t *testing.T) {
	embedder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"data":[{"index":0,"embedding":[1,0]}]}`)
	}))
	defer embedder.Close()
	r := newRig(t, fmt.Sprintf(`
models:
  - {name: exact, provider: o, model: echo, cache: exact}
  - {name: near, provider: o, model: echo, cache: semantic}
cache:
  semantic: {embedder: api, url: %q, model: m, dimensions: 2, allow_private: [127.0.0.1/32], deadline: 10s, check: "off"}
`, embedder.URL))
	c := r.app.people.control
	root := control.Owner("tests")
	org := control.NewOrganisation{}
	org.Name = control.Some("acme")
	acme, err := c.Organisations().Create(t.Context(), root, org)
	if err != nil {
		t.Fatal(err)
	}
	in := newKey("theirs")
	in.Organisation = acme.ID
	in.Models = control.Some([]string{"*"})
	theirs, err := c.Keys().Create(t.Context(), root, in)
	if err != nil {
		t.Fatal(err)
	}
	var kept, indexed int64
	ask := func(path, body, model, question, key string) string {
		t.Helper()
		if strings.Contains(path, "%s") {
			path, body = fmt.Sprintf(path, model), fmt.Sprintf(body, question)
		} else {
			body = fmt.Sprintf(body, model, question)
		}
		resp, text := r.post(t, path, body, "Authorization", "Bearer "+key)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", path, resp.StatusCode, text)
		}
		got := resp.Header.Get("X-Sluice-Cache")
		if got == "miss" { // what is being kept must be kept
			if kept++; model == "near" && !strings.Contains(path, "mbed") {
				indexed++
			}
			late := time.After(20 * time.Second)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for s := r.app.cache.Stats(); s.Stored < kept || s.Indexed["added"] < indexed; s = r.app.cache.Stats() {
				select {
				case <-tick.C:
				case <-late:
					t.Fatalf("%s of %s is not kept: %+v", path, model, s)
				}
			}
		}
		return got
	}
	const question, other = "What is the capital of France?", "what's the capital of france"
	similar := 0
	for _, a := range asks {
		for _, model := range []string{"exact", "near"} {
			if got := ask(a.path, a.body, model, question, testKey); got != "miss" {
				t.Errorf("%s of %s: a %s at first", a.path, model, got)
			}
			for _, q := range []string{question, other} {
				if got := ask(a.path, a.body, model, q, theirs.Secret); got != "miss" && (q == question || model == "exact") {
					t.Errorf("%s of %s: another tenant has a %s", a.path, model, got)
				}
			}
			if got := ask(a.path, a.body, model, question, testKey); got != "hit" {
				t.Errorf("%s of %s: a %s the second time", a.path, model, got)
			}
			if got := ask(a.path, a.body, model, other, testKey); got == "semantic" {
				similar++
			} else if model == "near" && !strings.Contains(a.path, "mbed") {
				t.Errorf("%s: the same in other words is a %s", a.path, got)
			}
		}
	}
	if similar != 7 {
		t.Errorf("%d were found by their meaning: %v", similar, r.app.cache.Stats().Found)
	}
	before := r.app.cache.Stats().Entries
	n, err := r.app.cache.Purge(t.Context(), r.app.cache.Select(acme.ID, "", "", ""))
	if err != nil || n == 0 || r.app.cache.Stats().Entries != before-int64(n) {
		t.Errorf("%d of %d answers were purged: %v", n, before, err)
	}
	if again, _ := r.app.cache.Purge(t.Context(), r.app.cache.Select(acme.ID, "", "", "")); again != 0 {
		t.Errorf("%d are left of the tenant", again)
	}
	if got := ask(asks[0].path, asks[0].body, "exact", question, testKey); got != "hit" {
		t.Errorf("the other tenant's went, too: a %s", got)
	}
	if _, err := r.app.cache.Purge(t.Context(), cache.Filter{}); err != nil || r.app.cache.Stats().Entries != 0 {
		t.Errorf("%d are left of all: %v", r.app.cache.Stats().Entries, err)
	}
}
