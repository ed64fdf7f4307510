package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// inputOf is the schema of what a route takes, of the document; nil: it takes nothing.
func inputOf(t testing.TB, r *Route) node {
	t.Helper()
	if r.In == nil {
		return nil
	}
	var doc node
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	op := doc["paths"].(node)[r.Path].(node)[strings.ToLower(r.Method)].(node)
	return resolve(doc, op["requestBody"].(node)["content"].(node)["application/json"].(node)["schema"].(node))
}

func resolve(doc, schema node) node {
	if name, ok := schema["$ref"].(string); ok {
		return resolve(doc, doc["components"].(node)["schemas"].(node)[strings.TrimPrefix(name, "#/components/schemas/")].(node))
	}
	return schema
}

// privileged are members that nobody may give.
var privileged = []string{
	"id", "version", "role", "is_admin", "admin", "owner", "org", "tenant_id", "organisation", "spend", "spent", "budget", "disabled", "hash", "secret", "maker", "created", "updated",
	"scopes", "realm", "account", "source", "read_only", "verified", "must_enrol", "fresh", "rotated", "old_key_ends", "Name", "NAME", "__proto__", "constructor", "$set", "",
}

// S6: what a body does not have is refused, also if the store has a member of the name; nothing is done then.
func TestPrivilegedMembers(t *testing.T) {
	w := newWorld(t, "")
	tried := 0
	for _, one := range readPolicy(t) {
		r := routeOf(w.handler, one.route)
		schema := inputOf(t, r)
		if schema == nil {
			continue
		}
		known, _ := schema["properties"].(node)
		path, body := w.fill(one.path, own), w.fill(one.body, own)
		for i, member := range privileged {
			if known[member] != nil {
				continue
			}
			v := []string{`"owner"`, `true`, `0`, `null`, `{"x":1}`}[(i+tried)%5]
			text := `{` + quoted(member) + `:` + v + strings.Replace(`,`+strings.TrimPrefix(body, "{"), ",}", "}", 1)
			if body == "" {
				text = `{` + quoted(member) + `:` + v + `}`
			}
			tried++
			if rec := w.try(w.request(root, byToken, r.Method, path, text)); rec.Code != 400 || !strings.Contains(rec.Body.String(), "/"+member) {
				t.Errorf("%s with %q: %d %s", one.text(), text, rec.Code, rec.Body)
			}
		}
		for member := range known { // twice, in other words, or in other letters
			for _, text := range []string{
				`{` + quoted(member) + `:null,` + quoted(member) + `:null}`,
				`{` + quoted(strings.ToUpper(member)) + `:null}`,
				`{` + quoted(member) + `:null} {}`,
			} {
				if rec := w.try(w.request(root, byToken, r.Method, path, text)); rec.Code != 400 {
					t.Errorf("%s with %q: %d %s", one.text(), text, rec.Code, rec.Body)
				}
			}
		}
	}
	if tried < 1000 {
		t.Errorf("only %d bodies were tried", tried)
	}
	if len(w.planted) < 20 { // the walk looks for them in all answers
		t.Errorf("only %d secrets are planted", len(w.planted))
	}
}

// S22: a key, token, session or link in an address is refused on every route, and not told again.
func TestSecretsInAddresses(t *testing.T) {
	w := newWorld(t, "")
	p := w.people["owner gateway"]
	for _, one := range readPolicy(t) {
		r := routeOf(w.handler, one.route)
		if r.Foreign { // a provider's own words
			continue
		}
		path, body := w.fill(one.path, own), w.fill(one.body, own)
		for _, secret := range []string{w.planted["key of own"], p.token, p.cookie, w.planted["link of own"]} {
			var tries []string
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			for _, name := range []string{"key", "token", "access_token", "api_key", "after", "name", secret} {
				tries = append(tries, path+sep+name+"="+secret)
			}
			for _, m := range pathNames.FindAllString(r.Path, -1) {
				tries = append(tries, strings.ReplaceAll(r.Path, m, secret))
			}
			for _, at := range tries {
				at = pathNames.ReplaceAllString(at, "x")
				if strings.Contains(at, "{$}") {
					continue
				}
				rec := w.try(w.request(root, byToken, r.Method, at, body))
				if rec.Code != 400 || strings.Contains(rec.Body.String(), secret[8:]) {
					t.Errorf("%s %s: %d %s", r.Method, at, rec.Code, rec.Body)
				}
			}
		}
	}
}

// S35: no page is longer than its bound, and nothing but what is documented sorts, selects or leads elsewhere.
func TestQueriesAreBounded(t *testing.T) {
	w := newWorld(t, "")
	for i := range w.handler.table {
		r := &w.handler.table[i]
		if r.Method != http.MethodGet || r.Foreign {
			continue
		}
		path := pathNames.ReplaceAllString(strings.ReplaceAll(r.Path, "{$}", ""), "x")
		for _, p := range r.Query {
			if !p.Number || strings.HasPrefix(path, "/debug/") {
				continue
			}
			for _, n := range []string{"0", "-1", "10000", "1000000000", "99999999999999999999", "1e3", "0x10", "%201", "+1", "1.0", "%EF%BC%91", "1;2", "NaN", "%00", ""} {
				if rec := w.do(w.request(root, byToken, "GET", path+"?"+p.Name+"="+n, "")); rec.Code != 400 {
					t.Errorf("%s?%s=%s: %d %.200s", path, p.Name, n, rec.Code, rec.Body)
				}
			}
		}
		for _, q := range []string{
			"sort=name", "order=desc", "order_by=id;DROP%20TABLE%20keys", "fields=hash", "filter[hash]=x", "offset=1", "page=2", "expand=secret", "next=https://evil.example",
			"redirect=//evil.example", "callback=x", "_method=DELETE", "$where=1", "limit[]=1", "__proto__[x]=1", "%00=1", "a%0d%0ab=1", "limit=1&limit=2", "%zz=1", "a;b=1",
		} {
			rec := w.do(w.request(root, byToken, "GET", path+"?"+q, ""))
			strict := rec.Code == 400 || r.Foreign && rec.Code == 404 // what a provider of identities adds to its answer is its own business
			if !strict || rec.Header().Get("Location") != "" {
				t.Errorf("%s?%s: %d %.200s", path, q, rec.Code, rec.Body)
			}
		}
	}
}

// open is all that nobody in particular may come to.
var open = []string{"GET /health", "POST /admin/session", "POST /admin/links", "GET " + departPath, "GET " + returnPath}

// What is open to anybody is this, and nothing else.
func TestOpenList(t *testing.T) {
	w := newWorld(t, "")
	var got []string
	for i := range w.handler.table {
		if r := &w.handler.table[i]; r.Act == "" && r.For == ForAnybody {
			got = append(got, r.pattern())
		} else if r.Act == "" && r.For != ForSignedIn {
			t.Errorf("%s is for nobody that there is", r.pattern())
		}
	}
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(open)); !slices.Equal(got, want) {
		t.Errorf("open are %q, want %q", got, want)
	}
}

// The configuration may open the metrics, and nothing else with them.
func TestOpenMetrics(t *testing.T) {
	up := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) })
	for _, opened := range []bool{false, true} {
		h, err := New(Options{Metrics: up, OpenMetrics: opened, Loopback: LoopbackNever, Listen: "127.0.0.1:3002"})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/metrics", "/build", "/admin/openapi.json"} {
			rec, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://127.0.0.1:3002"+path, http.NoBody)
			h.ServeHTTP(rec, req)
			if want := opened && path == "/metrics"; (rec.Code == 200) != want || !want && rec.Code != 401 {
				t.Errorf("open metrics %v: %s: %d %s", opened, path, rec.Code, rec.Body)
			}
			if path == "/metrics" && opened && rec.Body.String() != "up 1\n" {
				t.Errorf("the metrics are %s", rec.Body)
			}
		}
	}
}

// raw sends bytes to a server and reads the first answer; nil: there was none.
func raw(t testing.TB, at, text string) *http.Response {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, text); err != nil {
		return nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

// targets are ways to write a path, of which none may lead past the question who asks. Each has what it might be taken for.
func targets(key string) []string {
	list := []string{
		"/admin/keys", "//admin/keys", "/admin//keys", "///admin/keys", "/admin/./keys", "/./admin/keys", "/admin/../admin/keys", "/health/../admin/keys",
		"/%61dmin/keys", "/admin/key%73", "/admin%2fkeys", "/admin%2Fkeys", "/admin/%2e/keys", "/admin/%2e%2e/admin/keys", "/health/%2e%2e/admin/keys", "/health/%2e%2e%2fadmin%2fkeys",
		"/health/..%2fadmin/keys", "/health/..;/admin/keys", "/metrics/..;/admin/keys", "/admin/keys;x", "/admin/keys;/health", "/admin;x/keys", "/admin/keys/", "/admin/keys/.", "/admin/keys/..",
		"/admin/keys.", "/admin/keys.json", "/ADMIN/keys", "/admin/KEYS", "/Admin/Keys", "/admin/keys%00", "/admin/keys%00/health", "/admin/keys%20", "/admin/keys%09", "/admin/keys%0a", "/admin/keys%0d%0aX:y",
		"/admin/keys%3f", "/admin/keys%23", "/admin/keys?", "/admin/keys?/health", "/admin/keys#/health", "/admin/openapi.json/../keys", "/admin/openapi.json/%2e%2e/keys", "/admin/session/../keys",
		`/admin\keys`, `\admin\keys`, `/health\..\admin\keys`, "/%5cadmin%5ckeys", "/admin/%c0%af/keys", "/admin/%ef%bc%8fkeys", "/%2561dmin/keys", "/admin/keys%252f", "admin/keys", "", "*",
		"http://127.0.0.1/admin/keys", "http://127.0.0.1:3002/admin/keys", "http://evil.example/admin/keys", "http://user@127.0.0.1/admin/keys", "https://127.0.0.1/admin/keys", "http:/admin/keys", "http:///admin/keys",
		"//127.0.0.1/admin/keys", "file:///admin/keys", "/admin/keys/" + key, "/admin/keys//" + key, "/admin/keys/%2e/" + key, "/admin/keys/./" + key, "/admin/teams/../keys/" + key, "/admin/keys/" + key + "/",
		"/health/", "/health/admin/keys", "/debug/pprof/../../admin/keys", "/debug/pprof/%2e%2e/%2e%2e/admin/keys", "/debug/pprof//cmdline", "/debug/pprof/cmdline", "/debug//pprof/cmdline", "/debug/pprof",
	}
	return list
}

// tricks are headers by which somebody might be taken for somebody else, or a path for another.
var tricks = []string{
	"X-Original-URL: /admin/keys", "X-Rewrite-URL: /admin/keys", "X-Original-Uri: /admin/keys", "X-Forwarded-Uri: /admin/keys", "X-Forwarded-Prefix: /admin", "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: PATCH",
	"X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Client-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1", "CF-Connecting-IP: 127.0.0.1", "X-Forwarded-Host: localhost", "X-Host: localhost",
	"X-Forwarded-User: owner", "X-Remote-User: owner", "X-Auth-Request-Email: owner.gateway@people.example", "X-User: owner", "X-Sluice-Role: owner", "X-Sluice-Actor: owner", "Remote-User: owner", "X-Api-Key: " + "x", "Api-Key: x",
	"Authorization: Basic b3duZXI6b3duZXI=", "Authorization: Bearer", "Authorization: Bearer ", "Authorization: bearer null", "Authorization: Bearer undefined", "Proxy-Authorization: Bearer x", "Cookie: sluice=", "Cookie: __Host-sluice=; sluice=x", "Cookie: role=owner; admin=true",
	"Connection: Authorization", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
}

var hosts = []string{
	"127.0.0.1", "localhost", "a/?", "a#", "127.0.0.1/health?", "127.0.0.1#/health", "127.0.0.1/../../health", "evil.example", "127.0.0.1:x", "[::1", "user@127.0.0.1", "127.0.0.1 ", "localhost.evil.example", "", "a\tb", "*", "%31", "127.0.0.1,evil",
}

// S8: whatever the form of a path, of the host and of headers, nothing but what is open answers somebody who has not said who they are.
func TestPathsAndHosts(t *testing.T) {
	w := newWorld(t, "")
	server := httptest.NewServer(w.handler)
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://")
	hidden := slices.Concat(slices.Collect(maps.Values(w.things[own])), []string{"own team", "filed", "goroutine", "sluice.test"})
	check := func(what string, resp *http.Response) {
		t.Helper()
		if resp == nil { // the server closed it: it made no sense at all
			return
		}
		text, _ := io.ReadAll(resp.Body)
		for _, v := range hidden {
			if strings.Contains(string(text), v) && resp.StatusCode/100 == 2 {
				t.Errorf("%s: %d tells %q: %.200s", what, resp.StatusCode, v, text)
			}
		}
		switch s := resp.StatusCode; {
		case s == 400, s == 401, s == 403, s == 404, s == 405, s == 415, s == 421, s == 501, s == 505:
		case s == 200 && strings.Contains(what, `OPTIONS "*"`) && len(text) == 0: // net/http's own
		case s == 200 && string(text) == `{"status":"healthy"}`+"\n":
		default:
			t.Errorf("%s: %d %.200s", what, s, text)
		}
	}
	key := w.things[own]["key"]
	n := 0
	for _, target := range targets(key) {
		for _, method := range []string{"GET", "POST", "DELETE", "HEAD", "get", "OPTIONS", "CONNECT"} {
			text := method + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
			if method == "HEAD" { // whose answer has no body to be read
				text = strings.Replace(text, "HEAD", "TRACE", 1)
			}
			n++
			check(fmt.Sprintf("%s %q", method, target), raw(t, at, text))
		}
	}
	for _, header := range tricks {
		for _, target := range []string{"GET /health", "GET /admin/keys", "POST /admin/session", "GET /admin/keys/" + key, "POST /admin/keys/" + key + "/disable", "GET /"} {
			n++
			check(target+" with "+header, raw(t, at, target+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"+header+"\r\n\r\n"))
		}
	}
	for _, host := range hosts {
		for _, target := range []string{"/admin/keys", "/admin/keys?", "/health"} {
			n++
			check("host "+host, raw(t, at, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"))
			check("two hosts, "+host, raw(t, at, "GET "+target+" HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"))
		}
	}
	check("no host", raw(t, at, "GET /admin/keys HTTP/1.1\r\nConnection: close\r\n\r\n"))
	check("HTTP/1.0", raw(t, at, "GET /admin/keys HTTP/1.0\r\n\r\n"))
	check("HTTP/2 without TLS", raw(t, at, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if n < 500 {
		t.Errorf("only %d forms were tried", n)
	}
}

// With a token, too, a path has one form, and a method is what it says.
func TestOneForm(t *testing.T) {
	w := newWorld(t, "")
	server := httptest.NewServer(w.handler)
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://")
	key := w.things[own]["key"]
	good := map[string]bool{"/admin/keys": true, "/%61dmin/keys": true, "/admin/key%73": true, "/admin/keys?": true, "/admin/keys/" + key: true, "/debug/pprof/cmdline": true, "http://127.0.0.1/admin/keys": true, "http://127.0.0.1:3002/admin/keys": true, "https://127.0.0.1/admin/keys": true}
	for _, target := range targets(key) {
		resp := raw(t, at, "GET "+target+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer "+adminToken+"\r\n\r\n")
		if resp == nil {
			continue
		}
		if (resp.StatusCode == 200) != good[target] || resp.StatusCode/100 == 3 {
			text, _ := io.ReadAll(resp.Body)
			t.Errorf("%q: %d %.200s", target, resp.StatusCode, text)
		}
	}
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method"} {
		resp := raw(t, at, "POST /admin/keys/"+key+"?_method=DELETE HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n"+header+": DELETE\r\nAuthorization: Bearer "+adminToken+"\r\n\r\n")
		if resp == nil || resp.StatusCode != 405 {
			t.Errorf("%s: %+v", header, resp)
		}
	}
	if rec := w.do(w.request(root, byToken, "GET", "/admin/keys/"+url.PathEscape(key), "")); rec.Code != 200 {
		t.Errorf("the key is gone: %d", rec.Code)
	}
}
