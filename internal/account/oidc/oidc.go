// Package oidc lets people sign in at a provider of identities, by OpenID Connect: code flow with PKCE, state and nonce bound to the
// browser. It says who they are there and which role their groups give them; which account that is, package account knows. It keeps
// nothing: what a sign-in under way needs travels sealed in a cookie.
package oidc

import (
	"cmp"
	"context"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sluice/internal/account"
	"sluice/internal/auth"
	"sluice/internal/llm"
)

// A Grant is what being in a group gives: the first that fits counts.
type Grant struct {
	Group string // exactly; "*": everybody
	Role  account.Role
	Home  Home
}

// A Home names the realm of a grant by ids or names. For a member it is the organisation; which user they are there, the address says.
type Home struct{ Organisation, Team string }

// Options say what a Provider works with.
type Options struct {
	Issuer, ClientID string
	ClientSecret     llm.Secret
	RedirectURL      string   // exactly as it is registered at the provider
	Scopes           []string // beside openid, profile and email
	GroupsClaim      string   // "groups" when ""
	Grants           []Grant

	// Realm gives the realm of a grant's role for somebody with a verified address; "" where there is none.
	Realm func(ctx context.Context, role account.Role, home Home, email, name string) (account.Realm, error)

	Transport http.RoundTripper // towards the provider; must refuse private addresses that are not allowed
	Hasher    *auth.Hasher
	Random    io.Reader
	Now       func() time.Time // nil: time.Now
}

const (
	patience  = 10 * time.Second // with the provider, for one request
	maxAnswer = 1 << 20          // bytes of one answer of the provider
	maxSkew   = time.Minute      // by which its clock may be off
	maxGroups = 1000
	prefix    = "slo-"
)

// Lives is for how long a sign-in may be under way.
const Lives = 10 * time.Minute

// algorithms are those a provider may sign with: public keys only, so that nobody signs with what everybody knows.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// A Provider is a provider of identities that people may sign in at.
type Provider struct {
	o      Options
	client *http.Client
	box    cipher.AEAD

	mu    sync.Mutex
	found *oidc.Provider // its document, once it was read
}

// New makes a provider. It is asked for its document when first somebody signs in.
func New(o Options) (*Provider, error) {
	o.GroupsClaim = cmp.Or(o.GroupsClaim, "groups")
	if o.Now == nil {
		o.Now = time.Now
	}
	box, err := account.Box(o.Hasher, "sign-in at a provider of identities")
	if err != nil {
		return nil, err
	}
	return &Provider{o: o, box: box, client: &http.Client{
		Timeout: patience, Transport: bounded{o.Transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the document says where things are
	}}, nil
}

// bounded cuts answers off that no provider gives.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = http.MaxBytesReader(nil, res.Body, maxAnswer)
	}
	return res, err
}

// discover gives the provider's document. What it names must be reached over https, or be where the issuer is.
func (p *Provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	found, err := oidc.NewProvider(ctx, p.o.Issuer)
	if err != nil {
		return nil, unreachable(err)
	}
	var doc struct {
		Keys string `json:"jwks_uri"`
	}
	if err := found.Claims(&doc); err != nil {
		return nil, unreachable(err)
	}
	issuer, err := url.Parse(p.o.Issuer)
	if err != nil {
		return nil, unreachable(err)
	}
	for _, at := range []string{doc.Keys, found.Endpoint().AuthURL, found.Endpoint().TokenURL, found.UserInfoEndpoint()} {
		u, err := url.Parse(at)
		if err != nil || at != "" && u.Scheme != "https" && (u.Scheme != issuer.Scheme || u.Host != issuer.Host) {
			return nil, unreachable(fmt.Errorf("its document names %q, which is neither https nor where the issuer is", at))
		}
	}
	p.found = found
	return found, nil
}

func unreachable(err error) error {
	return &llm.Error{Kind: llm.KindOverloaded, Msg: "the provider of identities cannot be reached or does not answer as it should; try again, or sign in with a password", Err: err}
}

func (p *Provider) config(found *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.o.ClientID, ClientSecret: string(p.o.ClientSecret), Endpoint: found.Endpoint(), RedirectURL: p.o.RedirectURL,
		Scopes: append([]string{oidc.ScopeOpenID, "profile", "email"}, p.o.Scopes...),
	}
}

// underway is what a sign-in under way needs: it is sealed in a cookie.
type underway struct {
	State, Nonce, Verifier string
	Prove                  bool
	Began                  int64 // seconds since 1970
}

// Start implements account.Identities.
func (p *Provider) Start(ctx context.Context, prove bool) (*account.Started, error) {
	ctx = oidc.ClientContext(ctx, p.client)
	found, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	w := underway{Verifier: oauth2.GenerateVerifier(), Prove: prove, Began: p.o.Now().Unix()}
	if w.State, err = auth.Draw(p.o.Random, 43); err != nil {
		return nil, err
	}
	if w.Nonce, err = auth.Draw(p.o.Random, 43); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	opts := []oauth2.AuthCodeOption{oidc.Nonce(w.Nonce), oauth2.S256ChallengeOption(w.Verifier)}
	if prove {
		opts = append(opts, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	cookie := prefix + base64.RawURLEncoding.EncodeToString(p.box.Seal(nil, nil, plain, p.about())) //nolint:gosec // G407: the box draws a nonce for each
	return &account.Started{URL: p.config(found).AuthCodeURL(w.State, opts...), Cookie: llm.Secret(cookie)}, nil
}

// about binds cookies to the provider.
func (p *Provider) about() []byte { return []byte(p.o.Issuer + "\n" + p.o.ClientID) }

// open reads a cookie of Start.
func (p *Provider) open(cookie string) (w underway, err error) {
	text, ok := strings.CutPrefix(cookie, prefix)
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil {
		return w, errors.New("no sign-in is under way in this browser")
	}
	plain, err := p.box.Open(nil, nil, sealed, p.about())
	if err != nil {
		return w, errors.New("the cookie was not made here")
	}
	if err := json.Unmarshal(plain, &w); err != nil {
		return w, err
	}
	if age := p.o.Now().Sub(time.Unix(w.Began, 0)); age < -maxSkew || age >= Lives {
		return w, errors.New("the sign-in took too long")
	}
	return w, nil
}

// refused is the one answer to whoever comes back with what was not asked for; why is for the log.
func refused(format string, args ...any) error {
	return &llm.Error{
		Kind: llm.KindInvalidKey, Code: account.CodeRefused, Err: fmt.Errorf(format, args...),
		Msg: "the sign-in at the provider of identities did not work out: begin it again in this browser",
	}
}

// Finish implements account.Identities: it takes the provider's answer, the query of the redirect, and the cookie of Start. Proved tells that Start was told to prove, and that the
// person was asked since. The caller removes the cookie, whatever comes of it. See account.Door.Return, which calls it.
func (p *Provider) Finish(ctx context.Context, query url.Values, cookie string) (f *account.Foreign, proved bool, err error) {
	w, err := p.open(cookie)
	if err != nil {
		return nil, false, refused("cookie: %w", err)
	}
	one := func(name string) string {
		if len(query[name]) != 1 {
			return ""
		}
		return query.Get(name)
	}
	switch state, iss := one("state"), query.Get("iss"); {
	case subtle.ConstantTimeCompare([]byte(state), []byte(w.State)) != 1:
		return nil, false, refused("the state is not the one of this browser's sign-in")
	case query.Has("iss") && iss != p.o.Issuer: // RFC 9207
		return nil, false, refused("the answer is another issuer's")
	case query.Has("error"):
		return nil, false, refused("the provider refused: %.80q", query.Get("error"))
	case one("code") == "":
		return nil, false, refused("there is no code")
	}
	ctx = oidc.ClientContext(ctx, p.client)
	found, err := p.discover(ctx)
	if err != nil {
		return nil, false, err
	}
	tok, err := p.config(found).Exchange(ctx, one("code"), oauth2.VerifierOption(w.Verifier))
	if err != nil {
		return nil, false, refused("exchange code: %w", scrubbed(err))
	}
	c, err := p.verify(ctx, found, tok, w.Nonce)
	if err != nil {
		return nil, false, refused("id token: %w", err)
	}
	if w.Prove && c.AuthTime.Before(time.Unix(w.Began, 0).Add(-maxSkew)) {
		return nil, false, refused("the provider did not ask them anew")
	}
	f, err = p.foreign(ctx, c)
	return f, w.Prove, err
}

// scrubbed is an error of the exchange without what the provider wrote: it may repeat the code.
func scrubbed(err error) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Errorf("the provider answered %d %.40q", e.Response.StatusCode, e.ErrorCode)
	}
	return err
}
