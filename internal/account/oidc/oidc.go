// Package oidc lets people sign in at a provider of identities, by OpenID Connect: code flow with PKCE, state and nonce bound to the browser.
// It says who they are there and which role their groups give them; which account that is, package account knows. It keeps nothing: what a
// sign-in under way needs travels sealed in a cookie.
package oidc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

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

	// Realm gives the realm of a grant's role for somebody with a verified address.
	Realm func(ctx context.Context, role account.Role, home Home, email, name string) (account.Realm, error)

	Transport http.RoundTripper // towards the provider; must refuse private addresses that are not allowed
	Hasher    *auth.Hasher
	Random    io.Reader
	Now       func() time.Time // nil: time.Now
}

// A Provider is a provider of identities that people may sign in at.
type Provider struct{ o Options }

// New makes a provider. It is asked for its document when first somebody signs in.
func New(o Options) (*Provider, error) { return &Provider{o}, nil }

// A Started is a sign-in that is under way at the provider.
type Started struct {
	URL    string     // where the browser goes
	Cookie llm.Secret // what it must bring back with the answer: HttpOnly, Secure, SameSite=Lax, for Lives
}

// Lives is for how long a sign-in may be under way.
const Lives = 10 * time.Minute

// Start begins a sign-in. prove has the provider ask for the person's credentials even if it knows them (step-up).
func (p *Provider) Start(ctx context.Context, prove bool) (*Started, error) { return nil, errTodo }

// Finish takes the provider's answer: the query of the redirect, and the cookie of Start. Proved tells that Start was told to prove. The caller
// removes the cookie, whatever comes of it, and hands the Foreign to account.Door: SignInForeign, or ProveForeign where proved.
func (p *Provider) Finish(ctx context.Context, query url.Values, cookie string) (f *account.Foreign, proved bool, err error) {
	return nil, false, errTodo
}

var errTodo = errors.New("not built yet")
