package control

import (
	"context"
	"net/netip"
	"time"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// ActorOf is somebody who is signed in, as an actor. Who must enrol first may do nothing.
func ActorOf(s *account.Signed, now time.Time, from account.Client, why string) Actor {
	a := Actor{
		ID: s.ID, Name: s.Name, Role: s.Role, Scopes: s.Scopes, Fresh: s.Fresh(now),
		Account: s.Account, Session: s.Session, Kind: s.Realm.Kind, Realm: s.Realm.ID, Org: s.Realm.Org, Why: why,
		Audit: audit.Actor{ID: s.ID, Name: s.Name, Kind: s.Kind, From: from.Address, Request: from.Request},
	}
	if s.MustEnrol {
		a.Role = ""
	}
	return a
}

// AccountView is what is told of an account.
type AccountView struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Email    string    `json:"email"`
	Role     Role      `json:"role"`
	Realm    RealmView `json:"realm,omitzero"`
	Disabled bool      `json:"disabled"`
	Password bool      `json:"password"`          // it has one
	TOTP     bool      `json:"totp"`              // it has one-time codes
	Identity string    `json:"identity,omitzero"` // the issuer of the identity that it is bound to
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
	Maker    string    `json:"maker,omitzero"`
	Version  int64     `json:"version"`
}

// RealmView is what bounds a role. Zero: nothing does.
type RealmView struct {
	Kind         directory.Kind `json:"kind,omitzero"` // organisation, team or user
	ID           string         `json:"id,omitzero"`
	Organisation string         `json:"organisation,omitzero"`
}

// RealmChange names a realm by ids or names: a user or team with its organisation (the default one when left out), or an
// organisation alone. All left out: the whole gateway, or the maker's own realm.
type RealmChange struct {
	Organisation string `json:"organisation,omitzero"`
	Team         string `json:"team,omitzero"`
	User         string `json:"user,omitzero"`
}

// NewAccount is what an account is made of. A member's realm must be a user.
type NewAccount struct {
	Name  string      `json:"name,omitzero"` // the e-mail address when left out
	Email string      `json:"email"`
	Role  Role        `json:"role"`
	Realm RealmChange `json:"realm,omitzero"`
}

// Invited is an account and the one-time link by which its owner sets a password. This is the only time that the link is told.
type Invited struct {
	Account AccountView `json:"account"`
	Token   string      `json:"token"` // for PATH of the console, or sluice accounts redeem
	Expires time.Time   `json:"expires"`
}

// AccountUpdate is a change of an account. What is left out stays.
type AccountUpdate struct {
	Version int64              `json:"-"`
	Name    Maybe[string]      `json:"name,omitzero"`
	Email   Maybe[string]      `json:"email,omitzero"`
	Role    Maybe[Role]        `json:"role,omitzero"`
	Realm   Maybe[RealmChange] `json:"realm,omitzero"`
}

// At bounds it to a version.
func (u *AccountUpdate) At(version int64) { u.Version = version }

// Tag is what names the object, and the state that was seen.
func (v AccountView) Tag() (id string, version int64) { return v.ID, v.Version }

// Tag is what names the object, and the state that was seen.
func (v Invited) Tag() (id string, version int64) { return v.Account.Tag() }

// Tag is what names the object, which does not change.
func (v TokenView) Tag() (id string, version int64) { return v.ID, 0 }

// Accounts are the acts on accounts.
type Accounts struct{ c *Control }

// Accounts gives the acts on accounts.
func (c *Control) Accounts() Accounts { return Accounts{c} }

// Create makes an account and invites its owner.
func (s Accounts) Create(ctx context.Context, a Actor, in NewAccount) (*Invited, error) {
	return nil, errTodo
}

// Show gives one, by its id or e-mail address.
func (s Accounts) Show(ctx context.Context, a Actor, ref string) (*AccountView, error) {
	return nil, errTodo
}

// List gives many.
func (s Accounts) List(ctx context.Context, a Actor, l List) (*Page[AccountView], error) {
	return nil, errTodo
}

// Update changes one. A change of role or realm ends its sessions.
func (s Accounts) Update(ctx context.Context, a Actor, ref string, in AccountUpdate) (*AccountView, error) {
	return nil, errTodo
}

// SetDisabled disables one, which ends its sessions, or enables it.
func (s Accounts) SetDisabled(ctx context.Context, a Actor, ref string, disabled bool) (*AccountView, error) {
	return nil, errTodo
}

// Delete removes one, with its sessions and the tokens it made.
func (s Accounts) Delete(ctx context.Context, a Actor, ref string, version int64) (*AccountView, error) {
	return nil, errTodo
}

// Reset gives a one-time link by which its owner sets another password; its one-time codes go with the old one when the link is used.
func (s Accounts) Reset(ctx context.Context, a Actor, ref string) (*Invited, error) {
	return nil, errTodo
}

// TokenView is what is told of a token. Its id is its public part.
type TokenView struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Realm   RealmView `json:"realm,omitzero"`
	Scopes  []string  `json:"scopes,omitzero"`
	Account string    `json:"account,omitzero"` // whose it is; left out: whoever runs the gateway
	Maker   string    `json:"maker"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero"`
}

// NewToken is what a token is made of.
type NewToken struct {
	Name    string      `json:"name"`
	Role    Role        `json:"role,omitzero"`    // the maker's when left out
	Realm   RealmChange `json:"realm,omitzero"`   // the maker's when left out
	Scopes  []string    `json:"scopes,omitzero"`  // globs of acts, such as keys.*; left out: all that the role may
	Expires string      `json:"expires,omitzero"` // such as 30d, or a day; 90d when left out, 365d at most
}

// MadeToken is a token and what a tool sends to be it. This is the only time that it is told.
type MadeToken struct {
	Secret string `json:"secret"`
	TokenView
}

// Tokens are the acts on automation tokens.
type Tokens struct{ c *Control }

// Tokens gives the acts on automation tokens.
func (c *Control) Tokens() Tokens { return Tokens{c} }

// Create makes a token, which may do no more than its maker. A token makes none.
func (s Tokens) Create(ctx context.Context, a Actor, in NewToken) (*MadeToken, error) {
	return nil, errTodo
}

// List gives many: one's own, and with the right to see accounts those of one's realm.
func (s Tokens) List(ctx context.Context, a Actor, l List) (*Page[TokenView], error) {
	return nil, errTodo
}

// Show gives one by its id.
func (s Tokens) Show(ctx context.Context, a Actor, id string) (*TokenView, error) {
	return nil, errTodo
}

// Delete ends one.
func (s Tokens) Delete(ctx context.Context, a Actor, id string) (*TokenView, error) {
	return nil, errTodo
}

// SessionView is what is told of a session.
type SessionView struct {
	ID      string     `json:"id"` // worthless to sign in
	Account string     `json:"account"`
	Method  string     `json:"method"` // password, totp, recovery or oidc
	Created time.Time  `json:"created"`
	Seen    time.Time  `json:"seen"`
	Ends    time.Time  `json:"ends"`
	Address netip.Addr `json:"address,omitzero"`
	Agent   string     `json:"agent,omitzero"`
	Current bool       `json:"current,omitzero"` // it is the one that asks
}

// Sessions are the acts on sessions.
type Sessions struct{ c *Control }

// Sessions gives the acts on sessions.
func (c *Control) Sessions() Sessions { return Sessions{c} }

// List gives those of an account, by its id or e-mail address; "": the actor's own, which everybody may see.
func (s Sessions) List(ctx context.Context, a Actor, account string) (*Page[SessionView], error) {
	return nil, errTodo
}

// End ends one session of an account; everybody may end their own (account "").
func (s Sessions) End(ctx context.Context, a Actor, account, id string) (*SessionView, error) {
	return nil, errTodo
}

// EndAll ends all sessions of an account, of one's own ("") all but the one that asks.
func (s Sessions) EndAll(ctx context.Context, a Actor, account string) (ended int64, err error) {
	return 0, errTodo
}

var errTodo = llm.Errorf(llm.KindUnsupported, "not built yet")
