package e2e

import (
	"context"
	"encoding/json"
	"html"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	zoidc "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"sluice/internal/freeport"
)

// An identityProvider is a whole OpenID provider, of another author than our client.
type identityProvider struct {
	*storage.Storage
	server *httptest.Server

	mu     sync.Mutex // guards groups
	groups map[string][]string
}

func (p *identityProvider) SetUserinfoFromRequest(ctx context.Context, info *zoidc.UserInfo, token op.IDTokenRequest, scopes []string) error {
	return p.Storage.SetUserinfoFromRequest(ctx, info, token, scopes)
}

func (p *identityProvider) SetUserinfoFromToken(ctx context.Context, info *zoidc.UserInfo, id, subject, origin string) error {
	err := p.Storage.SetUserinfoFromToken(ctx, info, id, subject, origin)
	p.mu.Lock()
	defer p.mu.Unlock()
	info.AppendClaims("groups", p.groups[subject])
	return err
}

func (p *identityProvider) put(subject string, groups ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups[subject] = groups
}

// staff are the provider's people; each has the password pw.
type staff []*storage.User

func (s staff) GetUserByID(id string) *storage.User {
	return s.find(func(u *storage.User) bool { return u.ID == id })
}

func (s staff) GetUserByUsername(name string) *storage.User {
	return s.find(func(u *storage.User) bool { return u.Username == name })
}

func (s staff) find(is func(*storage.User) bool) *storage.User {
	for _, u := range s {
		if is(u) {
			return u
		}
	}
	return nil
}

func (s staff) ExampleClientID() string { return "service" }

const oidcSecret = "the secret of Sluice at the provider"

func startProvider(t *testing.T, redirect string) *identityProvider {
	t.Helper()
	var h http.Handler
	p := &identityProvider{groups: map[string][]string{}}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	t.Cleanup(p.server.Close)
	storage.RegisterClients(storage.WebClient("sluice", oidcSecret, redirect))
	p.Storage = storage.NewStorage(staff{
		{ID: "id1", Username: "ada", Password: "pw", FirstName: "Ada", LastName: "L", Email: "Ada@example.org", EmailVerified: true},
		{ID: "id2", Username: "bob", Password: "pw", FirstName: "Bob", LastName: "B", Email: "bob@example.org"},
		{ID: "id3", Username: "eve", Password: "pw", FirstName: "Eve", LastName: "E", Email: "eve@example.org", EmailVerified: true},
	})
	h = exampleop.SetupServer(p.server.URL, p, slog.New(slog.DiscardHandler), false)
	return p
}

// browse walks through the provider's pages, and gives where it sends the browser then.
func browse(t *testing.T, at, user string) string {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	step := func(resp *http.Response, err error) *url.URL {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		to, err := resp.Location()
		if err != nil {
			t.Fatalf("%s leads nowhere: %d", resp.Request.URL, resp.StatusCode)
		}
		return to
	}
	login := step(client.Get(at)) //nolint:noctx // a test's own server
	form := url.Values{"username": {user}, "password": {"pw"}, "id": {login.Query().Get("authRequestID")}}
	back := step(client.PostForm(login.Scheme+"://"+login.Host+"/login/username", form)) //nolint:noctx // the same
	return step(client.Get(back.String())).String()                                      //nolint:noctx // the same
}

// unused is an address that nobody listens at.
func unused(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// signInAt signs a browser in at the provider, and gives the answer to what it comes back with.
func (v *visitor) signInAt(query, user string) *reply {
	v.t.Helper()
	sent := v.must(303, http.MethodGet, "/admin/session/oidc"+query, nil)
	return v.comeBack(browse(v.t, sent.header.Get("Location"), user))
}

// comeBack follows the provider's redirect, as browsers say that they do.
func (v *visitor) comeBack(at string) *reply {
	v.t.Helper()
	path, ok := strings.CutPrefix(at, v.base)
	if !ok {
		v.t.Fatalf("the provider sends the browser to %s", at)
	}
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		v.header.Set(name, value)
		defer v.header.Del(name)
	}
	return v.ask(http.MethodGet, path, nil)
}

// People sign in at a provider of identities; what its groups give is theirs, and no more (S34, S35).
func TestOpenIDConnect(t *testing.T) {
	at := unused(t)
	p := startProvider(t, "http://"+at+"/admin/session/oidc/return")
	dir := t.TempDir()
	file := filepath.Join(dir, "sluice.yaml")
	doc := "listen: 127.0.0.1:0\nadmin: {listen: \"" + at + "\"}\ndata: data\nmock: {enabled: true}\nkeys: [{name: e2e, key: " + key + ", models: [\"*\"]}]\n" +
		"sign_in:\n  require_totp: [owner, admin]\n  oidc:\n    issuer: " + p.server.URL + "\n    client_id: sluice\n    client_secret: " + oidcSecret +
		"\n    redirect_url: http://" + at + "/admin/session/oidc/return\n    allow_private: [127.0.0.1/32]\n" +
		"    roles: [{group: gateway-admins, role: admin}, {group: operations, role: operator, organisation: default}, {group: staff, role: member}, {group: lost, role: auditor, organisation: nowhere}]\n"
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	proc, err := launch(dir, nil, func(line string) bool { return strings.Contains(line, `"listening"`) }, "serve", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proc.stop)
	g := &gateway{process: proc, dir: dir, admin: at}

	t.Run("sign in", func(t *testing.T) { oidcSignIn(t, g, p) })
	t.Run("groups", func(t *testing.T) { oidcGroups(t, g, p) })
	t.Run("addresses", func(t *testing.T) { oidcAddresses(t, g, p) })
	t.Run("redirects", func(t *testing.T) { oidcRedirects(t, g) })
	t.Run("other browsers", func(t *testing.T) { oidcBound(t, g, p) })
	t.Run("the provider is down", func(t *testing.T) { oidcDown(t, g, p) })
	if log := g.log() + g.stdout(); strings.Contains(log, oidcSecret) || strings.Contains(log, "eyJ") {
		t.Error("the log has the client's secret, or a token")
	}
}

func oidcSignIn(t *testing.T, g *gateway, p *identityProvider) {
	p.put("id1", "staff", "gateway-admins")
	v := visit(t, g.admin)
	r := v.signInAt("?next="+url.QueryEscape("/admin/keys?limit=5"), "ada")
	if r.status != 200 || !strings.Contains(html.UnescapeString(r.text), `url=/admin/keys?limit=5"`) {
		t.Fatalf("coming back: %d %s", r.status, r.text)
	}
	s := v.must(200, http.MethodGet, "/admin/session", nil)
	if s.word("role") != "admin" || s.word("email") != "ada@example.org" || s.json["must_enrol"] != false || s.json["password"] != false {
		t.Errorf("who is signed in: %s", s.text)
	}
	v.must(200, http.MethodGet, "/admin/keys", nil)

	// A proof: the provider asks anew, and the session goes on under another cookie.
	before := v.cookie()
	if r := v.signInAt("?prove=true", "ada"); r.status != 200 || v.cookie() == before {
		t.Fatalf("a proof: %d %s", r.status, r.text)
	}
	v.isOver("the cookie of before the proof", before)
	v.must(200, http.MethodGet, "/admin/session", nil)
	v.must(201, http.MethodPost, "/admin/accounts", map[string]any{"email": "carl@example.org", "role": "operator"})
	p.put("id3", "gateway-admins")
	if r := v.signInAt("?prove=true", "eve"); r.status != 401 {
		t.Errorf("a proof by somebody else: %d %s", r.status, r.text)
	}
	if r := v.must(200, http.MethodGet, "/admin/session", nil); r.word("email") != "ada@example.org" {
		t.Errorf("after it: %s", r.text)
	}
	// The role is the provider's to give, and there is no password to guess or to reset.
	_, out := g.shell(t, "", "", "accounts", "update", "ada@example.org", "--role", "owner", "--local", "--config", filepath.Join(g.dir, "sluice.yaml"))
	if !strings.Contains(out, "role and realm come from") {
		t.Errorf("another role by command: %s", out)
	}
	if r := visit(t, g.admin).signIn("ada@example.org", "", ""); r.status != 401 {
		t.Errorf("without a password: %d %s", r.status, r.text)
	}
}

func oidcGroups(t *testing.T, g *gateway, p *identityProvider) {
	p.put("id1", "gateway-admins")
	v := visit(t, g.admin)
	v.signInAt("", "ada")
	before := v.cookie()
	p.put("id1", "operations")
	w := visit(t, g.admin)
	w.signInAt("", "ada")
	s := w.must(200, http.MethodGet, "/admin/session", nil)
	if realm, _ := s.json["realm"].(map[string]any); s.word("role") != "operator" || realm["organisation"] != "default" {
		t.Errorf("after another group: %s", s.text)
	}
	v.isOver("a session of before another group", before)

	p.put("id1", "staff")
	w = visit(t, g.admin)
	w.signInAt("", "ada")
	if s := w.must(200, http.MethodGet, "/admin/session", nil); s.word("role") != "member" {
		t.Errorf("a member: %s", s.text)
	}
	w.must(201, http.MethodPost, "/admin/keys", map[string]any{"name": "of ada", "user": "ada@example.org", "models": []string{"mock/*"}})
	w.must(200, http.MethodGet, "/admin/keys", nil)
	w.must(403, http.MethodGet, "/admin/users", nil)

	p.put("id1")
	if r := visit(t, g.admin).signInAt("", "ada"); r.status != 403 || !strings.Contains(r.text, "none of your groups") {
		t.Errorf("without a group: %d %s", r.status, r.text)
	}
	p.put("id1", "lost")
	if r := visit(t, g.admin).signInAt("", "ada"); r.status != 403 || strings.Contains(r.text, "nowhere") {
		t.Errorf("a group whose organisation there is not: %d %s", r.status, r.text)
	}
}

func oidcAddresses(t *testing.T, g *gateway, p *identityProvider) {
	// bob's address is not verified: it makes him no member, and links him to nobody.
	p.put("id2", "staff")
	if r := visit(t, g.admin).signInAt("", "bob"); r.status != 403 || !strings.Contains(r.text, "verified") {
		t.Errorf("an address that is not verified: %d %s", r.status, r.text)
	}
	file := filepath.Join(g.dir, "sluice.yaml")
	_, out := g.shell(t, "", "", "accounts", "create", "bob@example.org", "--role", "owner", "--local", "--json", "--config", file)
	invited := shownLink.FindString(out)
	p.put("id2", "operations")
	v := visit(t, g.admin)
	v.signInAt("", "bob")
	if s := v.must(200, http.MethodGet, "/admin/session", nil); s.word("role") != "operator" || s.word("email") != "" {
		t.Errorf("bob is %s", s.text)
	}
	// eve's is: an account that has a password is hers only if it was invited for her, and never used.
	v.must(200, http.MethodPost, "/admin/links", map[string]string{"token": invited, "password": ownersPassword})
	_, out = g.shell(t, "", "", "accounts", "create", "eve@example.org", "--role", "auditor", "--local", "--json", "--config", file)
	v.must(200, http.MethodPost, "/admin/links", map[string]string{"token": shownLink.FindString(out), "password": ownersPassword})
	p.put("id3", "gateway-admins")
	if r := visit(t, g.admin).signInAt("", "eve"); r.status != 401 {
		t.Errorf("an address that an account with a password has: %d %s", r.status, r.text)
	}
}

func oidcRedirects(t *testing.T, g *gateway) {
	v := visit(t, g.admin)
	for _, next := range []string{
		"https://evil.example.org", "//evil.example.org", "///evil.example.org", "/\\evil.example.org", "\\\\evil.example.org", "javascript:alert(1)", "evil", "http:/evil",
		"/\t/evil.example.org", " //evil.example.org", "/\n/evil.example.org", "data:text/html,x", "@evil.example.org", "/x\\..\\..//evil", "%2f%2fevil.example.org",
	} {
		if r := v.ask(http.MethodGet, "/admin/session/oidc?next="+url.QueryEscape(next), nil); r.status != 400 || r.header.Get("Location") != "" {
			t.Errorf("next %q: %d to %s", next, r.status, r.header.Get("Location"))
		}
	}
	// The page that goes on quotes what it is given.
	r := v.signInAt("?next="+url.QueryEscape(`/"><script>alert(1)</script>`), "ada")
	if strings.Contains(r.text, "<script") {
		t.Errorf("the page: %s", r.text)
	}
}

func oidcBound(t *testing.T, g *gateway, p *identityProvider) {
	p.put("id1", "gateway-admins")
	v := visit(t, g.admin)
	back := browse(t, v.must(303, http.MethodGet, "/admin/session/oidc", nil).header.Get("Location"), "ada")
	thief := visit(t, g.admin)
	if r := thief.comeBack(back); r.status != 401 || thief.cookie() != "" {
		t.Errorf("in a browser that did not begin it: %d %s", r.status, r.text)
	}
	thief.must(303, http.MethodGet, "/admin/session/oidc", nil)
	if r := thief.comeBack(back); r.status != 401 || thief.cookie() != "" {
		t.Errorf("in one that began another: %d %s", r.status, r.text)
	}
	path := strings.TrimPrefix(back, v.base)
	for _, mode := range []string{"no-cors", "cors", "websocket"} {
		v.header.Set("Sec-Fetch-Site", "cross-site")
		v.header.Set("Sec-Fetch-Mode", mode)
		if r := v.ask(http.MethodGet, path, nil); r.status != 403 {
			t.Errorf("as a part of another site's page (%s): %d %s", mode, r.status, r.text)
		}
	}
	v.header = http.Header{}
	if r := v.comeBack(back + "&iss=" + url.QueryEscape("https://evil.example.org")); r.status != 401 {
		t.Errorf("another issuer: %d %s", r.status, r.text)
	}
	if r := v.comeBack(back); r.status != 401 {
		t.Errorf("after a failure the sign-in is over: %d %s", r.status, r.text)
	}
	r := v.signInAt("", "ada")
	if r.status != 200 || !regexp.MustCompile(`sluice-oidc=; .*Max-Age=0`).MatchString(strings.Join(r.header.Values("Set-Cookie"), "\n")) {
		t.Errorf("the cookie of the sign-in stays: %d %q", r.status, r.header.Values("Set-Cookie"))
	}
}

func oidcDown(t *testing.T, g *gateway, p *identityProvider) {
	v := visit(t, g.admin)
	v.signInAt("", "ada")
	sent := v.must(303, http.MethodGet, "/admin/session/oidc", nil)
	back := browse(t, sent.header.Get("Location"), "ada")
	p.server.CloseClientConnections()
	p.server.Close()
	if r := v.comeBack(back); r.status != 503 && r.status != 401 {
		t.Errorf("coming back from a provider that is down: %d %s", r.status, r.text)
	}
	v.must(200, http.MethodGet, "/admin/session", nil) // who is signed in stays so
	w := visit(t, g.admin)
	if r := w.signIn("bob@example.org", ownersPassword, ""); r.status != 201 { // and passwords work
		t.Errorf("by password meanwhile: %d %s", r.status, r.text)
	}
	var found struct{ Data []struct{ Act string } }
	w = visit(t, g.admin)
	w.signIn("bob@example.org", ownersPassword, "")
	enrol(t, w)
	if err := json.Unmarshal([]byte(w.must(200, http.MethodGet, "/admin/audit?limit=200", nil).text), &found); err != nil {
		t.Fatal(err)
	}
	joined := 0
	for _, e := range found.Data {
		if e.Act == "accounts.join" {
			joined++
		}
	}
	if joined < 4 {
		t.Errorf("the audit log has %d changes that the provider's groups made", joined)
	}
}
