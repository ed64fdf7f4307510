package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	validator "github.com/pb33f/libopenapi-validator"

	"sluice/internal/audit"
)

// strictDocument is the document as it binds us: what it does not have is in no answer. To clients it says that there may be more, one
// day.
func strictDocument(t testing.TB) validator.Validator {
	t.Helper()
	var doc node
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	closeAll(doc["components"].(node)["schemas"])
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return openDocument(t, text)
}

func closeAll(v any) {
	switch v := v.(type) {
	case node:
		if _, has := v["properties"].(node); has {
			v["additionalProperties"] = false
		}
		for _, one := range v {
			closeAll(one)
		}
	case []any:
		for _, one := range v {
			closeAll(one)
		}
	}
}

// A conformer holds requests and answers against the document.
type conformer struct {
	*world
	v    validator.Validator
	seen map[string]map[int]bool // statuses by operation
	stay bool                    // effects do
}

// hold makes a request and holds it, where the document should take it, and its answer against the document.
func (c *conformer) hold(what string, r *http.Request, valid bool) *httptest.ResponseRecorder {
	c.t.Helper()
	body, err := io.ReadAll(r.Body)
	c.ok(err)
	again := func() *http.Request {
		one := r.Clone(r.Context())
		one.Body = io.NopCloser(bytes.NewReader(body))
		if len(body) == 0 {
			one.Body = http.NoBody
		}
		return one
	}
	do := c.try
	if c.stay {
		do = c.do
	}
	rec := do(again())
	_, pattern := c.handler.mux.Handler(r)
	if c.seen[pattern] == nil {
		c.seen[pattern] = map[int]bool{}
	}
	c.seen[pattern][rec.Code] = true
	if valid {
		if ok, faults := c.v.ValidateHttpRequestSync(again()); !ok {
			c.t.Errorf("%s: the document refuses the request: %s", what, told(faults))
		}
	}
	if pattern == "GET /admin/audit/export" && rec.Code == 200 { // lines, each of them JSON
		report, err := audit.VerifyFile(rec.Body, audit.VerifyOptions{Keys: []audit.PublicKey{c.signer.Public()}})
		if err != nil || !report.OK() || len(report.Chains) == 0 {
			c.t.Errorf("%s: %+v, %v", what, report, err)
		}
		return rec
	}
	answer := rec.Result()
	defer func() { _ = answer.Body.Close() }()
	if ok, faults := c.v.ValidateHttpResponse(again(), answer); !ok {
		c.t.Errorf("%s: %d %.500s is not as documented: %s", what, rec.Code, rec.Body, told(faults))
	}
	return rec
}

// A fault of the validator says more than its Error does.
func told[T interface{ Error() string }](faults []T) string {
	var out strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&out, "%+v; ", f)
	}
	return out.String()
}

// Every route is what the document says: what it takes, what it answers and how it refuses. A member that is not documented fails.
func TestConforms(t *testing.T) {
	w := newWorld(t, "")
	c := &conformer{w, strictDocument(t), map[string]map[int]bool{}, false}
	for _, one := range readPolicy(t) {
		method, pattern, _ := strings.Cut(one.route, " ")
		if strings.HasPrefix(pattern, "/debug/") {
			continue // not of the API, and only where admin.pprof says so
		}
		path, body := w.fill(one.path, own), w.fill(one.body, own)
		what := one.text()
		for _, p := range []*person{w.people["owner gateway"], w.people["admin organisation"], w.people["auditor team"], w.people["member user"], {name: "nobody"}} {
			how := byCookie
			if p.name == "nobody" {
				how = byNothing
			}
			c.hold(what+" by "+p.name, w.request(p, how, method, path, body), p.name != "nobody")
		}
		c.wrong(what, method, path, body)
	}
	c.states()
	for i := range w.handler.table {
		r := &w.handler.table[i]
		if strings.HasPrefix(r.Path, "/debug/") || c.seen[r.pattern()][r.Status] || unreached[r.pattern()] {
			continue
		}
		t.Errorf("%s was never seen to answer %d: %v", r.pattern(), r.Status, c.seen[r.pattern()])
	}
}

// unreached are routes whose success needs a password, which the people of the world have none of, or a sign-in that is under way; TestSignIn makes them.
var unreached = map[string]bool{
	"POST /admin/session": true, "POST /admin/session/proof": true, "POST /admin/session/password": true, "POST /admin/session/totp/confirm": true,
	"POST /admin/session/totp/codes": true, "POST /admin/links": true, "DELETE /admin/sessions/{ref}": true, "GET " + returnPath: true,
}

// wrong makes a call in the ways in which it is refused.
func (c *conformer) wrong(what, method, path, body string) {
	as := func(path, body string, change func(*http.Request)) {
		c.t.Helper()
		r := c.request(root, byToken, method, path, body)
		if change != nil {
			change(r)
		}
		c.hold(what+", wrongly", r, false)
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	as(path+sep+"colour=red", body, nil)
	as(path, body, func(r *http.Request) { r.Header.Set("If-Match", `"1`) })
	as(path, body, func(r *http.Request) { r.Header.Set("Idempotency-Key", "\x01") })
	if method == http.MethodPost || method == http.MethodPatch {
		as(path, `{"role_of_mine":"owner"}`, nil)
		as(path, `{`, nil)
		as(path, body, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
		as(path, strings.Repeat(" ", maxBody+1), nil)
	}
}

// states are answers that depend on what was before: versions and twins.
func (c *conformer) states() {
	key := c.things[own]["key"]
	shown := c.hold("show", c.request(root, byToken, "GET", "/admin/keys/"+key, ""), true)
	for tag, want := range map[string]int{shown.Header().Get("ETag"): 200, `"77"`: 412, "*": 200} {
		r := c.request(root, byToken, "PATCH", "/admin/keys/"+key, `{"project":"p"}`)
		r.Header.Set("If-Match", tag)
		if rec := c.hold("update of "+tag, r, true); rec.Code != want {
			c.t.Errorf("If-Match %s: %d %s, want %d", tag, rec.Code, rec.Body, want)
		}
	}
	object := c.hold("show", c.request(root, byToken, "GET", "/admin/rules/month", ""), true)
	for tag, want := range map[string]int{object.Header().Get("ETag"): 200, `"other"`: 412} {
		r := c.request(root, byToken, "PATCH", "/admin/rules/month", `{"value":{"parallel":4}}`)
		r.Header.Set("If-Match", tag)
		if rec := c.hold("update of "+tag, r, true); rec.Code != want {
			c.t.Errorf("If-Match %s: %d %s, want %d", tag, rec.Code, rec.Body, want)
		}
	}
}

// A create that is named is done once: its twin is told of what the first made, without the secret, and another body under its name
// is refused.
func TestTwins(t *testing.T) {
	w := newWorld(t, "")
	v := strictDocument(t)
	c := &conformer{w, v, map[string]map[int]bool{}, false}
	for _, tt := range []struct{ path, body, other, secret string }{
		{"/admin/keys", `{"name":"twin"}`, `{"name":"another"}`, "secret"},
		{"/admin/teams", `{"name":"twin"}`, `{"name":"another"}`, ""},
		{"/admin/accounts", `{"email":"twin@people.example","role":"operator"}`, `{"email":"another@people.example","role":"operator"}`, "token"},
		{"/admin/tokens", `{"name":"twin"}`, `{"name":"another"}`, "secret"},
	} {
		named := func(body string) *http.Request {
			r := w.request(w.people["owner gateway"], byCookie, "POST", tt.path, body)
			r.Header.Set("Idempotency-Key", "name of "+tt.path)
			return r
		}
		var first, second map[string]any
		made := w.do(named(tt.body))
		again := c.hold("twin of "+tt.path, named(tt.body), true)
		if err := json.Unmarshal(made.Body.Bytes(), &first); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again.Body.Bytes(), &second); err != nil {
			t.Fatal(err)
		}
		if made.Code != 201 || again.Code != 200 || first["id"] != second["id"] || tt.secret != "" && (first[tt.secret] == "" || (second[tt.secret] != nil && second[tt.secret] != "")) {
			t.Errorf("%s: %d %s, then %d %s", tt.path, made.Code, made.Body, again.Code, again.Body)
		}
		if rec := c.hold("no twin of "+tt.path, named(tt.other), true); rec.Code != 422 {
			t.Errorf("%s: another body: %d %s", tt.path, rec.Code, rec.Body)
		}
		mine := named(tt.other)
		mine.Header.Del("Cookie")
		mine.Header.Set("Authorization", "Bearer "+adminToken)
		if rec := w.try(mine); rec.Code != 201 && rec.Code != 403 {
			t.Errorf("%s: somebody else's of the same name: %d %s", tt.path, rec.Code, rec.Body)
		}
	}
}
