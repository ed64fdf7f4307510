package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// A browser keeps its cookie and its CSRF token, as a page of ours would.
type browser struct {
	*conformer
	cookie, csrf string
}

// ask makes a request, and must get the status.
func (b *browser) ask(method, path, body string, want int) map[string]any {
	b.t.Helper()
	r := b.request(&person{cookie: b.cookie, csrf: b.csrf}, byCookie, method, path, body)
	r.Host = "admin.example" // not on this machine: the cookie needs TLS
	if b.cookie == "" {
		r.Header.Del("Cookie")
		r.Header.Del(csrfHeader)
	}
	rec := b.hold(method+" "+path, r, b.cookie != "" || want < 300)
	var out map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || rec.Code != want {
		b.t.Fatalf("%s %s: %d %s, want %d", method, path, rec.Code, rec.Body, want)
	}
	b.keep(rec)
	if csrf, ok := out["csrf"].(string); ok {
		b.csrf = csrf
	}
	return out
}

func (b *browser) keep(rec *httptest.ResponseRecorder) {
	for _, c := range rec.Result().Cookies() {
		if c.Name != cookieName || c.Path != "/" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" {
			b.t.Errorf("the cookie is %+v", c)
		}
		b.cookie = c.Value
	}
}

const firstPassword, secondPassword = "a long walk by the sea 7", "another walk in the hills 8"

// The life of an account over HTTP, each step as documented; a session has another id after each change of what it is (S34).
func TestSignIn(t *testing.T) {
	w := newWorld(t, "")
	v, statuses := strictDocument(t), map[string]map[int]bool{}
	r := w.request(root, byToken, "POST", "/admin/accounts", `{"email":"ada@people.example","name":"Ada","role":"owner"}`)
	w.handler.o.Hosts = []string{"admin.example"}
	var invited struct{ Token string }
	if rec := w.do(r); json.Unmarshal(rec.Body.Bytes(), &invited) != nil || invited.Token == "" {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	b := &browser{conformer: &conformer{w, v, statuses, true}}
	if v := b.ask("POST", "/admin/links", `{"token":`+quoted(invited.Token)+`}`, 200); v["email"] != "ada@people.example" || v["done"] != false {
		t.Errorf("the link is of %v", v)
	}
	b.ask("POST", "/admin/links", `{"token":`+quoted(invited.Token)+`,"password":"short"}`, 400)
	b.ask("POST", "/admin/links", `{"token":`+quoted(invited.Token)+`,"password":"`+firstPassword+`"}`, 200)
	b.ask("POST", "/admin/links", `{"token":`+quoted(invited.Token)+`,"password":"`+firstPassword+`"}`, 401)
	b.ask("POST", "/admin/session", `{"email":"ada@people.example","password":"`+secondPassword+`"}`, 401)

	planted := "cookie-of-an-attacker"
	b.cookie, b.csrf = planted, "x"
	b.ask("GET", "/admin/session", "", 401)
	b.cookie = ""
	in := b.ask("POST", "/admin/session", `{"email":"ADA@people.example","password":"`+firstPassword+`"}`, 201)
	if in["name"] != "Ada" || in["fresh"] != true || b.cookie == planted {
		t.Errorf("signed in as %v", in)
	}
	seen := map[string]bool{b.cookie: true}
	other := func(what string) {
		t.Helper()
		if seen[b.cookie] {
			t.Errorf("%s left the session's id as it was", what)
		}
		seen[b.cookie] = true
	}
	b.ask("POST", "/admin/session/proof", `{"password":"`+firstPassword+`"}`, 200)
	other("a proof")
	e := b.ask("POST", "/admin/session/totp", "", 200)
	secret, _ := e["secret"].(string)
	code, err := totp.GenerateCode(secret, time.Now())
	w.ok(err)
	codes := b.ask("POST", "/admin/session/totp/confirm", `{"ticket":`+quoted(e["ticket"].(string))+`,"code":"`+code+`"}`, 200)
	other("a second factor")
	if list, _ := codes["recovery_codes"].([]any); len(list) < 8 {
		t.Errorf("recovery codes %v", codes)
	}
	b.ask("POST", "/admin/session/totp/codes", "{}", 200)
	b.ask("POST", "/admin/session/password", `{"was":"`+firstPassword+`","is":"`+secondPassword+`"}`, 200)
	other("another password")
	away := &browser{conformer: b.conformer}
	away.ask("POST", "/admin/session", `{"email":"ada@people.example","password":"`+secondPassword+`"}`, 401) // without a code
	b.ask("DELETE", "/admin/session/totp", "", 200)
	away.ask("POST", "/admin/session", `{"email":"ada@people.example","password":"`+secondPassword+`"}`, 201)
	list := b.ask("GET", "/admin/sessions", "", 200)["data"].([]any)
	if len(list) != 2 {
		t.Errorf("sessions %v", list)
	}
	for _, one := range list {
		if s := one.(map[string]any); s["current"] == nil {
			b.ask("DELETE", "/admin/sessions/"+s["id"].(string), "", 200)
		}
	}
	away.ask("GET", "/admin/session", "", 401)
	b.elsewhere()
	was := b.cookie
	b.ask("DELETE", "/admin/session", "", 200)
	b.cookie = was
	b.ask("GET", "/admin/session", "", 401)
	for pattern := range unreached {
		if r := routeOf(w.handler, pattern); !statuses[pattern][r.Status] {
			t.Errorf("%s was never seen to answer %d: %v", pattern, r.Status, statuses[pattern])
		}
	}
}

// elsewhere signs somebody in at a provider of identities. The browser goes on to a path of this listener, whatever anybody wrote in its
// place (S35), and nobody's answer is taken but that to this browser's own question.
func (b *browser) elsewhere() {
	b.t.Helper()
	for next, want := range map[string]string{
		"": "/admin/session", "/admin/keys?limit=1": "/admin/keys?limit=1", "/x\"><script>": "/x&#34;&gt;&lt;script&gt;",
		"https://evil.example": "", "//evil.example": "", "/\\evil.example": "", "\\\\evil.example": "", "javascript:alert(1)": "", "///evil.example": "", "http:/evil.example": "", "evil": "", "/\t/evil.example": "", "@evil": "",
	} {
		away := b.hold("depart", b.at(departPath+"?next="+url.QueryEscape(next)), want != "")
		if want == "" {
			if away.Code != 400 || away.Header().Get("Location") != "" {
				b.t.Errorf("next=%q: %d to %q", next, away.Code, away.Header().Get("Location"))
			}
			continue
		}
		if away.Code != 303 || away.Header().Get("Location") != "https://idp.example/authorize" {
			b.t.Fatalf("next=%q: %d %v", next, away.Code, away.Header())
		}
		back := func(cookies []*http.Cookie, query string) *httptest.ResponseRecorder {
			r := b.at(returnPath + query)
			for _, c := range cookies {
				r.AddCookie(c)
			}
			return b.hold("return "+query, r, false)
		}
		own := away.Result().Cookies()
		if rec := back(own, "?code=good&state=x"); rec.Code != 200 || !strings.Contains(rec.Body.String(), `url=`+want+`"`) || len(rec.Result().Cookies()) != 2 {
			b.t.Errorf("next=%q: %d %v %s", next, rec.Code, rec.Header(), rec.Body)
		}
		for _, rec := range []*httptest.ResponseRecorder{back(nil, "?code=good"), back(own, "?code=bad"), back([]*http.Cookie{{Name: awayName, Value: "another"}}, "?code=good")} {
			if rec.Code != 401 || strings.Contains(strings.Join(rec.Header().Values("Set-Cookie"), " "), cookieName+"=") {
				b.t.Errorf("an answer to nothing that was asked: %d %v", rec.Code, rec.Header())
			}
		}
	}
}

// at makes a request that shows nothing.
func (b *browser) at(path string) *http.Request {
	r := b.request(root, byNothing, http.MethodGet, path, "")
	r.Host = "admin.example"
	return r
}

func routeOf(h *Handler, pattern string) *Route {
	for i := range h.table {
		if h.table[i].pattern() == pattern {
			return &h.table[i]
		}
	}
	return nil
}

// S34: every unsafe route, sign-in and sign-out with them, refuses what another site's page could send, before anything is read.
func TestCrossSite(t *testing.T) {
	w := newWorld(t, "")
	owner := w.people["owner gateway"]
	for _, one := range readPolicy(t) {
		method, _, _ := strings.Cut(one.route, " ")
		path, body := w.fill(one.path, own), w.fill(one.body, own)
		for name, forge := range map[string]func(*http.Request){
			"another origin":       func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
			"an origin of null":    func(r *http.Request) { r.Header.Set("Origin", "null") },
			"another port":         func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") },
			"a cross-site fetch":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
			"a same-site fetch":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
			"no CSRF token":        func(r *http.Request) { r.Header.Del(csrfHeader) },
			"another's CSRF token": func(r *http.Request) { r.Header.Set(csrfHeader, w.people["admin gateway"].csrf) },
			"a form":               func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
			"plain text":           func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
			"two media types":      func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") },
		} {
			r := w.request(owner, byCookie, method, path, body)
			forge(r)
			rec := w.try(r)
			route := routeOf(w.handler, one.route)
			token, media := strings.Contains(name, "CSRF"), strings.HasPrefix(name, "a form") || strings.HasPrefix(name, "plain") || strings.HasPrefix(name, "two")
			switch {
			case !route.changes() && !strings.Contains(name, "fetch"): // it changes nothing, and its answer cannot be read by another site
			case token && route.For == ForAnybody: // there is no session yet
			case media && route.In == nil:
			case media && rec.Code == 415, !media && rec.Code == 403:
			default:
				t.Errorf("%s with %s: %d %s", one.text(), name, rec.Code, rec.Body)
			}
		}
	}
	for _, header := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods"} {
		r := w.request(owner, byCookie, http.MethodOptions, "/admin/keys", "")
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		if rec := w.do(r); rec.Header().Get(header) != "" || rec.Code/100 == 2 {
			t.Errorf("a preflight gets %d and %v", rec.Code, rec.Header())
		}
	}
}
