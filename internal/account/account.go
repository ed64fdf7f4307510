// Package account knows the people who manage the gateway, and the tokens of their tools: how they show who they are
// (password, one-time code, a provider of identities), what they then hold (a session, a token), and when that ends. It
// decides nothing about what they may do: that is package control. It knows no HTTP and no store's technology.
package account

import (
	"net/netip"
	"slices"
	"time"

	"sluice/internal/directory"
	"sluice/internal/llm"
)

// A Role is what somebody may do, within their realm; package control has the table.
type Role string

// Roles. Nobody has more than one.
const (
	RoleOwner    Role = "owner"    // everything
	RoleAdmin    Role = "admin"    // everything but owners, roles of admins and the gateway's own secrets
	RoleOperator Role = "operator" // sees all but the audit log, and runs it: upstreams, cache, overrides; gives nobody anything
	RoleAuditor  Role = "auditor"  // sees all, changes nothing
	RoleMember   Role = "member"   // their own keys and what these spent
)

// Roles are all roles, the one with the most rights first.
var Roles = []Role{RoleOwner, RoleAdmin, RoleOperator, RoleAuditor, RoleMember}

// Covers tells whether whoever has the role may do all that the other may. The three below admin do not cover one another.
func (r Role) Covers(other Role) bool {
	switch r {
	case RoleOwner:
		return slices.Contains(Roles, other)
	case RoleAdmin:
		return other != RoleOwner && slices.Contains(Roles, other)
	}
	return r == other && slices.Contains(Roles, r)
}

// A Realm bounds a role to one subject of the directory. The zero Realm is the whole gateway.
type Realm struct {
	Kind directory.Kind // organisation, team or user; "": the whole gateway
	ID   string         // of the subject
	Org  string         // the organisation that the subject is in, or is
}

// Covers tells whether all that is in the other realm is in this one. Who is in a team is not known here: a team's realm
// covers no user's.
func (r Realm) Covers(other Realm) bool {
	switch r.Kind {
	case "":
		return true
	case directory.KindOrganisation:
		return other.Kind != "" && other.Org == r.ID
	}
	return r == other
}

// An Account is a person who may sign in. Times are in UTC and whole microseconds.
type Account struct {
	ID       string // never changes and is never used again
	Name     string // what people call it
	Email    string // in lower case, unique: what its owner signs in with
	Role     Role
	Realm    Realm // of a member: a user of the directory
	Disabled bool

	Password string // the hash as Passwords writes it; "": none, so nobody signs in with one
	TOTP     []byte // the sealed secret of its one-time codes; nil: it has none
	Issuer   string // of the identity that it is bound to; "": to none
	Subject  string // who it is there

	Created time.Time
	Updated time.Time
	Maker   string // who made it, for people
	Version int64  // 1 at first; each change by Update adds one
}

// Usable tells whether its owner can sign in at all.
func (a *Account) Usable() bool { return !a.Disabled && (a.Password != "" || a.Issuer != "") }

// A Session is somebody who is signed in. Whoever has the cookie is that; the store has its hash.
type Session struct {
	ID      string // by which it is listed and ended; worthless to sign in
	Hash    Hash   // of the cookie's value
	Account string
	Method  string // password, totp, recovery or oidc
	Created time.Time
	Seen    time.Time // within a minute
	Proved  time.Time // when they last showed that it is them; zero: long ago
	Ends    time.Time // at the latest
	Address netip.Addr
	Agent   string // what the browser says of itself, bounded
}

// A Token is how a tool shows whose it is.
type Token struct {
	ID        string // its public part
	Name      string
	Hash      Hash
	Maker     string // the account that made it; "": whoever runs the gateway
	MakerName string
	Role      Role
	Realm     Realm
	Scopes    []string // globs of acts; none: all that the role may
	Created   time.Time
	Expires   time.Time
	Used      time.Time // within a minute; zero: never
}

// A Link is a right to set the password of an account, once.
type Link struct {
	Hash    Hash
	Account string
	Reset   bool // it replaces a password and one-time codes, rather than giving the first
	Expires time.Time
}

// A Hash stands in stores for what somebody shows: HMAC-SHA-256 under a key that no other kind of secret has.
type Hash [32]byte

// A Client is where a request comes from.
type Client struct {
	Address netip.Addr // the client's own, as trusted proxies tell it
	Agent   string     // its User-Agent
	Request string     // the id of the request
}

// Kinds of who may be signed in, as the audit log has them.
const (
	Person   = "person"
	ByToken  = "token"
	Operator = "operator" // whoever runs the gateway
	Unknown  = "unknown"  // somebody who failed to sign in
)

// Signed is who makes a request.
type Signed struct {
	Kind    string // Person or ByToken
	ID      string // of the account or token
	Account string // the account; a token's maker ("": whoever runs the gateway)
	Name    string
	Email   string // "" for a token
	Role    Role
	Realm   Realm
	Scopes  []string // of a token; none: all that the role may

	Session  string    // the session's id; "" for a token
	ProvedAt time.Time // when they last showed that it is them; zero for a token
	Ends     time.Time // when the session or token ends at the latest

	// MustEnrol says that the role needs one-time codes and the account has none: until it has, the session is good for
	// nothing but to enrol (Enrol, Confirm), to look at itself and to sign out.
	MustEnrol bool
	Enrolled  bool // it has one-time codes
	Password  bool // it has a password
}

// ProofTime is for how long a proof of who somebody is counts as fresh.
const ProofTime = 5 * time.Minute

// Fresh tells whether they have shown within minutes that it is them. A token never has.
func (s *Signed) Fresh(now time.Time) bool {
	return s.Kind == Person && !s.ProvedAt.IsZero() && now.Sub(s.ProvedAt) < ProofTime && !now.Before(s.ProvedAt.Add(-time.Minute))
}

// Entered is a session that began, or went on under another value. Cookie goes to the browser, once: it is stored nowhere.
type Entered struct {
	Cookie llm.Secret
	CSRF   string // what unsafe requests of the session must carry beside the cookie
	Signed Signed
}

// Credentials are what somebody signs in with.
type Credentials struct {
	Email    string
	Password string
	Code     string // of the authenticator, or a recovery code; "" where none is needed
	Old      string // the cookie that the browser had; its session ends
}

// A Proof is that it is them: the code where the account has one-time codes, else the password.
type Proof struct {
	Password string
	Code     string
}

// An Enrolment is a secret for an authenticator that is not in force until a code of it was shown.
type Enrolment struct {
	Secret string // in base 32, for typing
	URL    string // otpauth://, for a picture
	Ticket string // what Confirm takes: the secret, sealed, for this account and ten minutes
}

// A Foreign is somebody of whom a provider of identities says who they are.
type Foreign struct {
	Issuer, Subject string
	Email           string // "" where it is not verified
	Name            string
	Role            Role
	Realm           Realm
	AuthTime        time.Time // when they signed in there; zero: it was not told
}

// A Redemption uses a one-time link up.
type Redemption struct {
	Token    string
	Password string
	Email    string // of an account that has none yet: the first owner's
	Name     string // "": it stays
}

// Codes of refusals.
const (
	CodeRefused = "sign_in_refused" // the one answer to whoever fails to sign in
	CodeNeeded  = "code_needed"     // the password was right, and a one-time code is needed
	CodeEnded   = "session_ended"   // no session, or one that ended
	CodeToken   = "token_refused"
	CodeLink    = "link_refused"
	CodeWeak    = "password_weak"
)
