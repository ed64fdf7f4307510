package admin

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"sluice/internal/audit"
	"sluice/internal/directory/directorytest"
	"sluice/internal/pgtest"
)

// injections are texts that mean something to a database, to Redis and its scripts, to readers of lines, headers and logs, to paths, to JSON,
// to templates, to directories of people, and to browsers.
func injections() []string {
	return append(
		directorytest.Injections(),
		"\x00", "a\x00b", "a\r\nX-Injected: yes", "a\nb", "\r", "%0d%0aSet-Cookie: a=b", "\u2028", "\u2029", "\u0085", "a\tb", "\x1b[31m", "\x7f", "\ud7ff\ue000", "\ufffd", "\U0010ffff",
		"..", ".", "/", "//", "../admin/keys", `*)(uid=*))(|(uid=*`, `admin*)((|userPassword=*)`, `)(cn=*`, `*`, `<%= 7*7 %>`, `#{7*7}`, `{{constructor.constructor('return 1')()}}`, `{% import os %}`, `${jndi:ldap://127.0.0.1/a}`,
		`redis.call('FLUSHALL')`, `]] redis.call("DEL", KEYS[1]) --`, `os.execute("id")`, `"} , "admin": true, "x": {"`, `\u0000`, `\"`, `]}`, "'; ATTACH DATABASE '/tmp/x' AS x; --", `$$; DROP TABLE keys; $$`, `E'\\x00'`, strings.Repeat("x", 5000),
	)
}

// A spot is a place of a call where a text of somebody's may stand.
type spot struct {
	name string
	make func(text string) *http.Request
	at   []string // of a body: the path of the member
}

// spots are those of a call: parts of its path, members of its query, and texts in its body, of what it has and of what the document says it may have.
func (w *world) spots(c *call, r *Route) (all []spot) {
	path, body := w.fill(c.path, own), w.fill(c.body, own)
	if c.route == "POST /admin/config/apply" || c.route == "POST /admin/config/rollback" { // they would put aside what others need
		body = strings.Replace(body, "{", `{"base":999999,`, 1)
	}
	for _, m := range pathNames.FindAllString(r.Path, -1) {
		all = append(all, spot{name: "path " + m, make: func(text string) *http.Request {
			at := strings.Replace(r.Path, m, url.PathEscape(text), 1)
			for _, rest := range pathNames.FindAllString(at, -1) {
				at = strings.Replace(at, rest, "eu", 1)
			}
			return w.injected(r.Method, at, body)
		}})
	}
	for _, p := range r.Query {
		all = append(all, spot{name: "query " + p.Name, make: func(text string) *http.Request {
			at, _, _ := strings.Cut(path, "?")
			return w.injected(r.Method, at+"?"+p.Name+"="+url.QueryEscape(text), body)
		}})
	}
	for _, at := range w.texts(r, body) {
		all = append(all, spot{name: "body " + strings.Join(at, "/"), at: at, make: func(text string) *http.Request {
			var v any
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				v = map[string]any{}
			}
			whole, err := json.Marshal(put(v, at, text))
			w.ok(err)
			return w.injected(r.Method, path, string(whole))
		}})
	}
	return all
}

// injected makes a request; a path that no client could send is nil.
func (w *world) injected(method, path, body string) *http.Request {
	if _, err := url.ParseRequestURI(path); err != nil {
		return nil
	}
	return w.request(root, byToken, method, path, body)
}

// texts are the members of a body that are texts, by the document and by the call itself.
func (w *world) texts(r *Route, body string) (all [][]string) {
	if r.In == nil {
		return nil
	}
	var doc node
	w.ok(json.Unmarshal(document, &doc))
	var walk func(schema node, at []string)
	walk = func(schema node, at []string) {
		if len(at) > 5 {
			return
		}
		at = slices.Clone(at)
		schema = resolve(doc, schema)
		for _, one := range anyOf(schema) {
			walk(one, at)
		}
		switch schema["type"] {
		case "string":
			all = append(all, at)
		case "array":
			walk(schema["items"].(node), append(at, "0"))
		case "object":
			properties, _ := schema["properties"].(node)
			for name, one := range properties {
				if s, ok := one.(node); ok {
					walk(s, append(at, name))
				}
			}
			if more, ok := schema["additionalProperties"].(node); ok {
				walk(more, append(at, "x"))
			}
		}
	}
	walk(inputOf(w.t, r), nil)
	var v any
	if json.Unmarshal([]byte(body), &v) == nil {
		leaves(v, nil, func(at []string) { all = append(all, at) })
	}
	slices.SortFunc(all, slices.Compare)
	return slices.CompactFunc(all, slices.Equal)
}

func anyOf(schema node) (list []node) {
	for _, word := range []string{"anyOf", "oneOf", "allOf"} {
		some, _ := schema[word].([]any)
		for _, one := range some {
			list = append(list, one.(node))
		}
	}
	return list
}

func leaves(v any, at []string, found func([]string)) {
	switch v := v.(type) {
	case string:
		found(slices.Clone(at))
	case map[string]any:
		for name, one := range v {
			leaves(one, append(slices.Clone(at), name), found)
		}
	case []any:
		for i, one := range v {
			leaves(one, append(slices.Clone(at), fmt.Sprint(i)), found)
		}
	}
}

// each gives all texts of a document, names of members with them.
func each(v any, found func(string)) {
	switch v := v.(type) {
	case string:
		found(v)
	case map[string]any:
		for name, one := range v {
			found(name)
			each(one, found)
		}
	case []any:
		for _, one := range v {
			each(one, found)
		}
	}
}

// put sets a member of a document, and makes what it is in.
func put(v any, at []string, text string) any {
	if len(at) == 0 {
		return text
	}
	if at[0] == "0" {
		list, _ := v.([]any)
		if len(list) == 0 {
			list = []any{nil}
		}
		list[0] = put(list[0], at[1:], text)
		return list
	}
	m, ok := v.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	m[at[0]] = put(m[at[0]], at[1:], text)
	return m
}

// kept are members that an answer tells as they were sent, where they were taken.
var kept = []string{"name", "models", "tags", "metadata", "project", "strategy"}

// S2, S6: 200 texts and more in every part of a path, member of a query and text of a body: never a failure of ours, never another meaning, and
// the stores are whole afterwards. SLUICE_LONG has every text everywhere (make long); without, each is in one place of a hundred.
func TestInjections(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { inject(newWorld(t, ""), t) })
	t.Run("postgres", func(t *testing.T) { inject(newWorld(t, pgtest.Database(t)), t) })
}

func inject(w *world, t *testing.T) {
	list := injections()
	if len(list) < 240 {
		t.Fatalf("only %d texts", len(list))
	}
	before := w.others()
	every := uint32(100)
	if os.Getenv("SLUICE_LONG") != "" {
		every = 1
	}
	spots, tried, done := 0, 0, 0
	for _, c := range readPolicy(t) {
		r := routeOf(w.handler, c.route)
		if strings.HasPrefix(r.Path, "/debug/") || c.route == "POST /admin/session" { // a password's hash takes long; TestInjectedSignIn has it
			continue
		}
		for _, s := range w.spots(c, r) {
			spots++
			for i, text := range list {
				h := fnv.New32()
				fmt.Fprint(h, c.text(), s.name, i)
				if h.Sum32()%every != 0 {
					continue
				}
				req := s.make(text)
				if req == nil {
					continue
				}
				rec := w.do(req)
				tried++
				what := fmt.Sprintf("%s with %.100q as %s: %d %.300s", c.text(), text, s.name, rec.Code, rec.Body)
				if rec.Code >= 500 || rec.Code/100 == 3 || rec.Header().Get("X-Injected") != "" || len(rec.Result().Cookies()) > 0 {
					t.Error(what)
				}
				if rec.Code/100 == 2 && r.changes() {
					done++
					w.means(s, text, rec.Body.Bytes(), what)
				}
			}
		}
	}
	t.Logf("%d texts in %d spots: %d requests, %d done", len(list), spots, tried, done)
	if spots < 300 || tried < 1500 || done < 30 {
		t.Errorf("only %d spots, %d requests, %d done", spots, tried, done)
	}
	for path, was := range before {
		if now := w.do(w.request(root, byToken, "GET", path, "")).Body.String(); now != was {
			t.Errorf("%s was %s, is %s", path, was, now)
		}
	}
	report, err := audit.VerifyStore(t.Context(), w.db.Trail(), audit.VerifyOptions{Keys: []audit.PublicKey{w.signer.Public()}})
	if err != nil || !report.OK() {
		t.Errorf("the audit log: %+v, %v", report, err)
	}
}

// means finds a text that was taken where it was put, as it is.
func (w *world) means(s spot, text string, answer []byte, what string) {
	w.t.Helper()
	if len(s.at) == 0 || !slices.ContainsFunc(kept, func(name string) bool { return slices.Contains(s.at, name) }) || slices.Contains(s.at, "rules") || slices.Contains(s.at, "value") && s.at[len(s.at)-1] != "name" {
		return
	}
	var v any
	w.ok(json.Unmarshal(answer, &v))
	found := false
	each(v, func(leaf string) { found = found || leaf == text })
	if !found {
		w.t.Errorf("it was taken as something else: %s", what)
	}
}

// others are what nobody was to touch, as it is told.
func (w *world) others() map[string]string {
	all := map[string]string{}
	for _, place := range []int{sibling, other} {
		for _, path := range []string{"/admin/keys?name={key_name}", "/admin/teams/{team}", "/admin/users/{user}", "/admin/accounts/{account}", "/admin/tokens/{token}", "/admin/accounts/{person}/sessions"} {
			path = w.fill(path, place)
			all[path] = w.do(w.request(root, byToken, "GET", path, "")).Body.String()
		}
	}
	for _, path := range []string{"/admin/organisations/" + w.things[other]["org"], "/admin/providers/filed", "/admin/ledger?key=" + w.things[other]["key"]} {
		all[path] = w.do(w.request(root, byToken, "GET", path, "")).Body.String()
	}
	return all
}

// Headers that are read, with everything that a header can have.
func TestInjectedHeaders(t *testing.T) {
	w := newWorld(t, "")
	key := w.things[own]["key"]
	for i, text := range injections() {
		if strings.ContainsAny(text, "\r\n\x00") { // net/http lets none through
			continue
		}
		for h, header := range []string{"If-Match", "Idempotency-Key", "X-Sluice-Why", "Authorization", "Cookie", csrfHeader, "User-Agent", "Origin", "Content-Type", "Content-Encoding", "Accept", "X-Request-Id", "Sec-Fetch-Site", "X-Forwarded-For"} {
			for j, call := range [][3]string{{"PATCH", "/admin/keys/" + key, `{"project":"p"}`}, {"POST", "/admin/teams", `{"name":"n"}`}, {"GET", "/admin/audit", ""}} {
				if (i+j)%3 != 0 || os.Getenv("SLUICE_LONG") == "" && (i+h)%4 != 0 { // each text in every fourth header
					continue
				}
				r := w.request(root, byToken, call[0], call[1], call[2])
				r.Header.Set(header, text)
				if header == "Authorization" {
					r.Header.Set(header, "Bearer "+text)
				}
				rec := w.try(r)
				if rec.Code >= 500 || rec.Code/100 == 3 || (header == "Authorization" || header == "Cookie" && strings.Contains(text, cookieName)) && rec.Code/100 == 2 {
					t.Errorf("%s %s with %s: %.100q: %d %.300s", call[0], call[1], header, text, rec.Code, rec.Body)
				}
			}
		}
	}
}

// The texts at the door: each is somebody unknown, and costs a hash of a password.
func TestInjectedSignIn(t *testing.T) {
	w := newWorld(t, "")
	for i, text := range injections() {
		if os.Getenv("SLUICE_LONG") == "" && i%4 != 0 {
			continue
		}
		body := []string{`{"email":%s,"password":"p"}`, `{"email":"x@people.example","password":%s}`, `{"email":"x@people.example","password":"p","code":%s}`}[i%3]
		r := w.request(root, byNothing, "POST", "/admin/session", fmt.Sprintf(body, quoted(text)))
		if rec := w.try(r); rec.Code != 401 && rec.Code != 400 {
			t.Errorf("%.100q: %d %s", text, rec.Code, rec.Body)
		}
	}
}
