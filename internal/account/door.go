package account

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"sluice/internal/audit"
	"sluice/internal/auth"
)

// Settings are what a configuration says of signing in. Zero means the default.
type Settings struct {
	Idle        time.Duration // after which an unused session ends; 30 min
	Absolute    time.Duration // after which any session ends; 12 h
	RequireTOTP []Role        // roles that must have one-time codes
}

// Options say what a Door works with.
type Options struct {
	Store    Store
	Audit    audit.Recorder                                                  // nil: nothing is recorded, for tests
	Together func(ctx context.Context, do func(context.Context) error) error // as control.Options has it
	Hasher   *auth.Hasher                                                    // whose pepper all keys here are derived from
	Random   io.Reader                                                       // cryptographic
	Settings func() Settings                                                 // of the configuration in force; nil: the defaults
	Log      *slog.Logger                                                    // nil: none
	Now      func() time.Time                                                // nil: time.Now
}

// A Door is where people and tools show who they are. All its methods may be called at any time from anywhere.
type Door struct{ o Options }

var errTodo = errors.New("not built yet")

// New makes a door.
func New(o Options) (*Door, error) { return &Door{o}, nil }

// SignIn begins a session. The same refusal (CodeRefused) is given for an unknown, disabled or locked account, a wrong password and
// a wrong code, after the same work. CodeNeeded: the password is right; ask for the code and send all again.
func (d *Door) SignIn(ctx context.Context, c Credentials, from Client) (*Entered, error) {
	return nil, errTodo
}

// SignInForeign begins a session of somebody whom a provider of identities vouches for, making the account if there is none.
func (d *Door) SignInForeign(ctx context.Context, f Foreign, old string, from Client) (*Entered, error) {
	return nil, errTodo
}

// Session tells who is signed in by a cookie. KindInvalidKey (401), CodeEnded: nobody.
func (d *Door) Session(ctx context.Context, cookie string, from Client) (*Signed, error) {
	return nil, errTodo
}

// Token tells whose tool shows a token. KindInvalidKey (401), CodeToken: nobody's.
func (d *Door) Token(ctx context.Context, token string, from Client) (*Signed, error) {
	return nil, errTodo
}

// CSRF is what unsafe requests of a session must carry beside its cookie.
func (d *Door) CSRF(cookie string) string { return "" }

// CheckCSRF tells whether it is that.
func (d *Door) CheckCSRF(cookie, token string) bool { return false }

// SignOut ends a session. One that is none is no error.
func (d *Door) SignOut(ctx context.Context, cookie string, from Client) error { return errTodo }

// Prove takes a fresh proof. The session goes on under another cookie; the old one is dead.
func (d *Door) Prove(ctx context.Context, cookie string, p Proof, from Client) (*Entered, error) {
	return nil, errTodo
}

// ProveForeign is Prove by a provider of identities, who has just asked them.
func (d *Door) ProveForeign(ctx context.Context, cookie string, f Foreign, from Client) (*Entered, error) {
	return nil, errTodo
}

// ReadLink tells whose password a one-time link sets. It does not use it up.
func (d *Door) ReadLink(ctx context.Context, token string) (email string, reset bool, err error) {
	return "", false, errTodo
}

// Redeem uses a one-time link up: the account has this password, and all its sessions end.
func (d *Door) Redeem(ctx context.Context, token, password string, from Client) error { return errTodo }

// ChangePassword gives an account another password, who must prove to have the old one. All other sessions end; this goes on under another
// cookie.
func (d *Door) ChangePassword(ctx context.Context, cookie, was, is string, from Client) (*Entered, error) {
	return nil, errTodo
}

// Enrol draws a secret for an authenticator. It is in force once Confirm saw a code of it. It needs a fresh proof.
func (d *Door) Enrol(ctx context.Context, cookie string) (*Enrolment, error) { return nil, errTodo }

// Confirm puts the secret of a ticket in force, if this is a code of it, and gives recovery codes, each of which works once in place of a code. The session
// goes on under another cookie.
func (d *Door) Confirm(ctx context.Context, cookie, ticket, code string, from Client) (*Entered, []string, error) {
	return nil, nil, errTodo
}

// NewCodes gives other recovery codes. It needs a fresh proof.
func (d *Door) NewCodes(ctx context.Context, cookie string, from Client) ([]string, error) {
	return nil, errTodo
}

// DropTOTP takes one-time codes off the account. It needs a fresh proof, and a role that need not have them.
func (d *Door) DropTOTP(ctx context.Context, cookie string, from Client) error { return errTodo }

// Run removes what is over, now and then, until ctx ends.
func (d *Door) Run(ctx context.Context) {}
