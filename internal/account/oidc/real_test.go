package oidc

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	zoidc "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"sluice/internal/account"
	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// groupStore is the provider's store, which knows groups beside what its own does.
type groupStore struct {
	*storage.Storage
	groups map[string][]string
}

func (g *groupStore) SetUserinfoFromRequest(ctx context.Context, info *zoidc.UserInfo, token op.IDTokenRequest, scopes []string) error {
	return g.Storage.SetUserinfoFromRequest(ctx, info, token, scopes)
}

func (g *groupStore) SetUserinfoFromToken(ctx context.Context, info *zoidc.UserInfo, id, subject, origin string) error {
	err := g.Storage.SetUserinfoFromToken(ctx, info, id, subject, origin)
	info.AppendClaims("groups", g.groups[subject])
	return err
}

// users are the provider's.
type users map[string]*storage.User

func (u users) GetUserByID(id string) *storage.User { return u[id] }

func (u users) GetUserByUsername(name string) *storage.User {
	for _, user := range u {
		if user.Username == name {
			return user
		}
	}
	return nil
}

func (u users) ExampleClientID() string { return "service" }

const redirect = "http://localhost:9099/admin/session/oidc/return"

// realProvider starts a whole OpenID provider, of another author than our client.
func realProvider(t *testing.T) (issuer string) {
	t.Helper()
	var h http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	people := users{
		"id1": {ID: "id1", Username: "ada", Password: "pw", FirstName: "Ada", LastName: "L", Email: "Ada@example.org", EmailVerified: true},
		"id2": {ID: "id2", Username: "bob", Password: "pw", FirstName: "Bob", LastName: "B", Email: "bob@example.org", EmailVerified: false},
	}
	storage.RegisterClients(storage.WebClient("sluice-"+s.URL, "the secret", redirect))
	store := &groupStore{storage.NewStorage(people), map[string][]string{"id1": {"staff", "gateway-admins"}, "id2": {"staff"}}}
	h = exampleop.SetupServer(s.URL, store, slog.New(slog.DiscardHandler), false)
	return s.URL
}

func options(issuer string) Options {
	return Options{
		Issuer: issuer, ClientID: "sluice-" + issuer, ClientSecret: "the secret", RedirectURL: redirect,
		Grants: []Grant{{Group: "nobody", Role: account.RoleOwner}, {Group: "gateway-admins", Role: account.RoleAdmin}, {Group: "*", Role: account.RoleMember, Home: Home{Organisation: "o"}}},
		Realm: func(_ context.Context, role account.Role, home Home, email, _ string) (account.Realm, error) {
			if role == account.RoleMember {
				return account.Realm{Kind: directory.KindUser, ID: "user of " + email, Org: home.Organisation}, nil
			}
			return account.Realm{}, nil
		},
		Transport: http.DefaultTransport, Hasher: auth.NewHasher([]byte("a pepper for tests that is long")), Random: rand.Reader,
	}
}

// browse walks through the provider's pages and gives what it sends the browser back with.
func browse(t *testing.T, at, user string) url.Values {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	step := func(res *http.Response, err error) *url.URL {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		to, err := res.Location()
		if err != nil {
			t.Fatalf("%s leads nowhere: %d", res.Request.URL, res.StatusCode)
		}
		return to
	}
	login := step(client.Get(at))
	form := url.Values{"username": {user}, "password": {"pw"}, "id": {login.Query().Get("authRequestID")}}
	back := step(client.PostForm(login.Scheme+"://"+login.Host+"/login/username", form))
	end := step(client.Get(back.String()))
	if !strings.HasPrefix(end.String(), redirect+"?") {
		t.Fatalf("the provider sends the browser to %s", end)
	}
	return end.Query()
}

func begin(t *testing.T, p *Provider, prove bool) *account.Started {
	t.Helper()
	s, err := p.Start(t.Context(), prove)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func refusedBecause(t *testing.T, what string, err error, why string) {
	t.Helper()
	e := llm.AsError(err)
	if err == nil || e.Code != account.CodeRefused || e.Kind != llm.KindInvalidKey || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: got %v, want a refusal because of %q", what, err, why)
	}
}

func TestRealProvider(t *testing.T) {
	issuer := realProvider(t)
	p, err := New(options(issuer))
	if err != nil {
		t.Fatal(err)
	}
	s := begin(t, p, false)
	u, _ := url.Parse(s.URL)
	for name, want := range map[string]string{"redirect_uri": redirect, "code_challenge_method": "S256", "response_type": "code", "prompt": ""} {
		if got := u.Query().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if v := u.Query().Get(name); len(v) != 43 || strings.Contains(string(s.Cookie), v) {
			t.Errorf("%s is %q", name, v)
		}
	}
	q := browse(t, s.URL, "ada")
	f, proved, err := p.Finish(t.Context(), q, string(s.Cookie))
	if err != nil {
		t.Fatal(err)
	}
	if proved || f.Issuer != issuer || f.Subject != "id1" || f.Email != "ada@example.org" || f.Name != "Ada L" || f.Role != account.RoleAdmin || time.Since(f.AuthTime) > time.Minute {
		t.Errorf("got %+v", f)
	}
	_, _, err = p.Finish(t.Context(), q, string(s.Cookie))
	refusedBecause(t, "the code again", err, "exchange code")

	s = begin(t, p, false)
	f, _, err = p.Finish(t.Context(), browse(t, s.URL, "bob"), string(s.Cookie))
	if err != nil || f.Email != "" || f.Role != account.RoleMember || f.Realm.ID != "user of " {
		t.Errorf("an address that is not verified: %+v %v", f, err)
	}

	s = begin(t, p, true)
	if u, _ := url.Parse(s.URL); u.Query().Get("prompt") != "login" || u.Query().Get("max_age") != "0" {
		t.Errorf("a proof is not asked for: %s", s.URL)
	}
	f, proved, err = p.Finish(t.Context(), browse(t, s.URL, "ada"), string(s.Cookie))
	if err != nil || !proved || f.AuthTime.IsZero() {
		t.Errorf("a proof: %+v %v %v", f, proved, err)
	}
}

// What one browser began another cannot end, and nothing but what was begun can be.
func TestBoundToTheBrowser(t *testing.T) {
	issuer := realProvider(t)
	p, err := New(options(issuer))
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := begin(t, p, false), begin(t, p, false)
	q := browse(t, mine.URL, "ada")
	change := func(name string, values ...string) url.Values {
		c := url.Values{}
		for k, v := range q {
			c[k] = v
		}
		c[name] = values
		return c
	}
	cookie := string(mine.Cookie)
	for _, c := range []struct {
		name, cookie, why string
		q                 url.Values
	}{
		{"no cookie", "", "no sign-in is under way", q},
		{"another's cookie", string(theirs.Cookie), "the state is not", q},
		{"an edited cookie", cookie[:len(cookie)-2] + "AA", "cookie", q},
		{"a session for a cookie", "sls-" + cookie[4:], "no sign-in is under way", q},
		{"no state", cookie, "the state is not", change("state")},
		{"another state", cookie, "the state is not", change("state", "x")},
		{"two states", cookie, "the state is not", change("state", q.Get("state"), q.Get("state"))},
		{"no code", cookie, "there is no code", change("code")},
		{"two codes", cookie, "there is no code", change("code", "a", q.Get("code"))},
		{"another code", cookie, "exchange code", change("code", "x")},
		{"another issuer", cookie, "another issuer", change("iss", "https://evil.example.org")},
		{"refused", cookie, "the provider refused", change("error", "access_denied")},
	} {
		_, _, err := p.Finish(t.Context(), c.q, c.cookie)
		refusedBecause(t, c.name, err, c.why)
	}

	o := options(issuer)
	o.RedirectURL = redirect + "/other" // not registered
	other, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(begin(t, other, false).URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("another redirect URL: %d", res.StatusCode)
	}

	late := options(issuer)
	late.Now = func() time.Time { return time.Now().Add(Lives) }
	slow, err := New(late)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = slow.Finish(t.Context(), q, cookie)
	refusedBecause(t, "after ten minutes", err, "took too long")

	o = options(issuer)
	o.Hasher = auth.NewHasher([]byte("another pepper that is long enough"))
	stranger, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = stranger.Finish(t.Context(), q, cookie)
	refusedBecause(t, "under another pepper", err, "not made here")
}

// Somebody without a group that has a role is told so, and is nobody.
func TestNoRole(t *testing.T) {
	issuer := realProvider(t)
	o := options(issuer)
	o.Grants = o.Grants[:2]
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := begin(t, p, false)
	f, _, err := p.Finish(t.Context(), browse(t, s.URL, "bob"), string(s.Cookie))
	if f != nil || llm.AsError(err).Kind != llm.KindForbidden {
		t.Errorf("%+v %v", f, err)
	}
}
