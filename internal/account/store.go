package account

import (
	"context"
	"errors"
	"time"

	"sluice/internal/directory"
)

// What a Store answers beside values. Every other error means that the store could not do its work.
var (
	ErrNotFound  = errors.New("there is no such account, session, token or link")
	ErrExists    = errors.New("the id, e-mail address or identity is taken")
	ErrVersion   = errors.New("it was changed since it was read")
	ErrLastOwner = errors.New("it is the last owner who can sign in")
)

// A Store keeps accounts and what belongs to them. It may be shared by many replicas.
//
// Every method is one transaction, or joins the one that its context is in. What was stored is seen by every later call, from any
// replica: a session that was ended is ended everywhere at once. Values given and returned belong to the caller. All strings may
// hold any Unicode text without NUL; none may ever become a part of a statement.
//
// Writers of accounts are serialised. Once there is a usable owner of the whole gateway (Account.Usable, RoleOwner, no realm) no
// Update and no Delete leaves none: ErrLastOwner.
type Store interface {
	// Account, ByEmail and ByIdentity read one account. ErrNotFound.
	Account(ctx context.Context, id string) (*Account, error)
	ByEmail(ctx context.Context, email string) (*Account, error)
	ByIdentity(ctx context.Context, issuer, subject string) (*Account, error)

	// Accounts reads accounts in the order of their ids. next is "" at the end, else what After must be for more.
	Accounts(ctx context.Context, f Filter) (list []Account, next string, err error)

	// Create stores a new account and sets its Version to 1. ErrExists.
	Create(ctx context.Context, a *Account) error

	// Update replaces name, e-mail, role, realm, whether it is disabled and its identity in an account whose Version is still a's,
	// and adds one to both. ErrNotFound, ErrVersion, ErrExists, ErrLastOwner.
	Update(ctx context.Context, a *Account) error

	// Delete removes an account whose version is still this one, with its sessions, links, recovery codes and the tokens it made.
	// ErrNotFound, ErrVersion, ErrLastOwner.
	Delete(ctx context.Context, id string, version int64) error

	// SetPassword replaces a password's hash that is still the one given. ErrNotFound, ErrVersion.
	SetPassword(ctx context.Context, id, was, is string) error

	// SetTOTP replaces the sealed secret of one-time codes and the recovery codes; nil: it has none any more. Steps up
	// to step count as used, beside those that did before. ErrNotFound.
	SetTOTP(ctx context.Context, id string, sealed []byte, step int64, codes []Hash) error

	// UseStep takes a time step for used. Of all who ask for a step, or one before it, one is told true, once.
	UseStep(ctx context.Context, id string, step int64) (bool, error)

	// UseCode takes a recovery code away. Of all who ask, one is told true, once.
	UseCode(ctx context.Context, id string, code Hash) (bool, error)

	// Codes counts the recovery codes that are left.
	Codes(ctx context.Context, id string) (int, error)

	Sessions
	Tokens
	Links

	// Try changes what is known of failures, under lock of these keys: next is given each key's, in the keys' order, and gives the new.
	// It may run again. A zero Tries is forgotten.
	Try(ctx context.Context, keys []Hash, next func(tries []Tries)) error

	// Sweep removes what is over: sessions, links and tokens that ended before now, and failures older than until; of failures
	// at most a number are kept, the newest.
	Sweep(ctx context.Context, now, until time.Time, most int) error
}

// Sessions are the part of a Store that keeps sessions.
type Sessions interface {
	// CreateSession stores a session. ErrNotFound: there is no such account.
	CreateSession(ctx context.Context, s *Session) error

	// Session finds a session by its hash, and its account, in one look-up that costs the same for known and unknown ones. ErrNotFound.
	// Whether it has ended is not the store's business.
	Session(ctx context.Context, h Hash) (*Session, *Account, error)

	// ReplaceSession stores a session in place of the one with a hash. Of all who ask, one succeeds; the others: ErrNotFound.
	ReplaceSession(ctx context.Context, old Hash, s *Session) error

	// Touch notes when and from where a session was used.
	Touch(ctx context.Context, h Hash, at time.Time, c Client) error

	// SessionsOf reads an account, by its id or its e-mail address, and its sessions, the newest first, at most 1,000. ErrNotFound.
	SessionsOf(ctx context.Context, id, email string) (*Account, []Session, error)

	// EndSession ends one session of an account by its id. ErrNotFound.
	EndSession(ctx context.Context, account, id string) error

	// EndSessions ends all sessions of an account but the one with the id (""), and tells how many these were.
	EndSessions(ctx context.Context, account, but string) (int64, error)
}

// Tokens are the part of a Store that keeps tokens.
type Tokens interface {
	// CreateToken stores a token. ErrExists; ErrNotFound: there is no such maker.
	CreateToken(ctx context.Context, t *Token) error

	// TokenByHash finds a token and its maker (nil: it has none) in one look-up that costs the same for known and unknown ones. ErrNotFound.
	TokenByHash(ctx context.Context, h Hash) (*Token, *Account, error)

	// Token reads one token, ListTokens many in the order of their ids. ErrNotFound.
	Token(ctx context.Context, id string) (*Token, error)
	ListTokens(ctx context.Context, f Filter) (list []Token, next string, err error)

	// UseToken notes when a token was used.
	UseToken(ctx context.Context, id string, at time.Time) error

	// DeleteToken removes one. ErrNotFound.
	DeleteToken(ctx context.Context, id string) error
}

// Links are the part of a Store that keeps one-time links.
type Links interface {
	// CreateLink stores a link in place of all others of its account. ErrNotFound: there is no such account.
	CreateLink(ctx context.Context, l *Link) error

	// Link reads a link. ErrNotFound.
	Link(ctx context.Context, h Hash) (*Link, error)

	// TakeLink removes a link and gives it. Of all who ask, one gets it; the others: ErrNotFound.
	TakeLink(ctx context.Context, h Hash) (*Link, error)
}

// MaxList is how many records one list has at most.
const MaxList = 500

// A Filter says which accounts or tokens to list.
type Filter struct {
	Org   string         // of realms in this organisation; "": of all
	Kind  directory.Kind // with ID: of this realm exactly
	ID    string
	Maker string // tokens of this account
	Role  Role   // "": all
	After string // only ids after it, by bytes
	Limit int    // 0 or more than MaxList: MaxList
}
