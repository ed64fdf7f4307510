package control

import (
	"net/netip"
	"time"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/directory"
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
	Token   string      `json:"token"` // what Door.Redeem takes
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

func viewAccount(a *account.Account) *AccountView {
	return &AccountView{
		ID: a.ID, Name: a.Name, Email: a.Email, Role: a.Role, Realm: viewRealm(a.Realm), Disabled: a.Disabled, Password: a.Password != "", TOTP: a.TOTP != nil,
		Identity: a.Issuer, Created: a.Created, Updated: a.Updated, Maker: a.Maker, Version: a.Version,
	}
}

func viewRealm(r account.Realm) RealmView { return RealmView{r.Kind, r.ID, r.Org} }

func viewToken(t *account.Token) *TokenView {
	return &TokenView{
		ID: t.ID, Name: t.Name, Role: t.Role, Realm: viewRealm(t.Realm), Scopes: t.Scopes, Account: t.Maker, Maker: t.MakerName,
		Created: t.Created, Expires: t.Expires, Used: t.Used,
	}
}

func viewSession(s *account.Session, current string) *SessionView {
	return &SessionView{
		ID: s.ID, Account: s.Account, Method: s.Method, Created: s.Created, Seen: s.Seen, Ends: s.Ends, Address: s.Address, Agent: s.Agent,
		Current: s.ID == current,
	}
}
