package account

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sluice/internal/audit"
	"sluice/internal/auth"
	"sluice/internal/llm"
)

// Settings are what a configuration says of signing in. Zero means the default.
type Settings struct {
	Idle        time.Duration // after which an unused session ends; 30 min
	Absolute    time.Duration // after which any session ends; 12 h
	RequireTOTP []Role        // roles that must have one-time codes
}

const (
	defaultIdle     = 30 * time.Minute
	defaultAbsolute = 12 * time.Hour
	touchEvery      = time.Minute // at most is it written that a session or token was used
	looksAtOnce     = 16          // look-ups of sessions and tokens: whoever floods us with false ones does not take every connection
	maxEmail        = 254
	maxAgent        = 256
)

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

	cost cost // of a password's hash; zero: usualCost
}

// A Door is where people and tools show who they are. All its methods may be called at any time from anywhere.
//
// It caches nothing: each look-up of a session or token is one read of the store by an indexed hash, so what was ended is ended on
// every replica with the next request.
type Door struct {
	o         Options
	mint      *Mint
	passwords *passwords
	looks     chan struct{}
}

// New makes a door.
func New(o Options) (*Door, error) {
	if o.Together == nil {
		o.Together = func(ctx context.Context, do func(context.Context) error) error { return do(ctx) }
	}
	if o.Settings == nil {
		o.Settings = func() Settings { return Settings{} }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	mint, err := NewMint(o.Hasher, o.Random)
	if err != nil {
		return nil, err
	}
	return &Door{
		o: o, mint: mint, passwords: newPasswords(mint.password, o.Random, cmp.Or(o.cost, usualCost)),
		looks: make(chan struct{}, looksAtOnce),
	}, nil
}

// now is the time as stores keep it.
func (d *Door) now() time.Time { return d.o.Now().UTC().Truncate(time.Microsecond) }

func (d *Door) settings() Settings {
	s := d.o.Settings()
	s.Idle, s.Absolute = cmp.Or(s.Idle, defaultIdle), cmp.Or(s.Absolute, defaultAbsolute)
	return s
}

// NormalEmail is an e-mail address as accounts have it; "" for what is none.
func NormalEmail(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || len(s) > maxEmail || len(local) > 64 || strings.Contains(domain, "@") || !isWord(s) {
		return ""
	}
	return s
}

// isWord tells whether a text has nothing that no address has.
func isWord(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || !unicode.IsGraphic(r) || strings.ContainsRune(`"<>(),;:\`, r)
	})
}

// clip bounds what is kept of what a client sent.
func clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// The acts of people at the door, as the audit log has them.
const (
	actBegin    = "sessions.begin"
	actEnd      = "sessions.end"
	actProve    = "sessions.prove"
	actLock     = "sessions.lock" // too many failures
	actPassword = "accounts.password"
	actTOTP     = "accounts.totp"
	actCodes    = "accounts.codes"
	actJoin     = "accounts.join" // an account was made, bound or changed by what a provider of identities said
)

// event begins the record of an act of somebody; a is nil where nobody knows who it is.
func event(act string, a *Account, typed string, from Client) *audit.Event {
	e := &audit.Event{Act: act, Actor: audit.Actor{Kind: Unknown, Name: typed, From: from.Address, Request: from.Request}}
	e.Object.Kind = "account"
	if a != nil {
		e.Org = a.Realm.Org
		e.Actor.ID, e.Actor.Name, e.Actor.Kind = a.ID, a.Name, Person
		e.Object.ID, e.Object.Name = a.ID, a.Name
	}
	return e
}

// do does an act and records it: all of it happens, or nothing. do may run again.
func (d *Door) do(ctx context.Context, e *audit.Event, do func(context.Context) error) error {
	return d.o.Together(ctx, func(ctx context.Context) error {
		if err := do(ctx); err != nil {
			return err
		}
		e.Result = audit.Done
		if d.o.Audit == nil {
			return nil
		}
		if err := d.o.Audit.Record(ctx, e); err != nil {
			return &llm.Error{Kind: llm.KindOverloaded, Msg: "the audit log cannot be written, so nobody is let in and nothing was changed", Err: err}
		}
		return nil
	})
}

// refuse records a refusal, and gives it.
func (d *Door) refuse(ctx context.Context, e *audit.Event, why string, refusal error) error {
	e.Result, e.Detail = audit.Refused, why
	d.o.Log.Warn("sign-in refused", "event", "sign_in_refused", "act", e.Act, "why", why, "account", e.Object.ID, "from", e.Actor.From.String())
	if d.o.Audit != nil {
		if err := d.o.Audit.Record(context.WithoutCancel(ctx), e); err != nil { // it let nobody in
			d.o.Log.Error("a refused sign-in is not in the audit log", "event", "audit_lost", "act", e.Act, "error", err.Error())
		}
	}
	return refusal
}

// The refusals of the door, each the same for all reasons.
var (
	errRefused = &llm.Error{
		Kind: llm.KindInvalidKey, Code: CodeRefused,
		Msg: "that did not work: the e-mail address, password or code is wrong, the account cannot be used, or there were too many tries; wait a little before the next",
	}
	errCode = &llm.Error{Kind: llm.KindInvalidKey, Code: CodeNeeded, Msg: "the account has one-time codes: send the code of the authenticator, or a recovery code, with e-mail address and password"}
	errOver = &llm.Error{Kind: llm.KindInvalidKey, Code: CodeEnded, Msg: "there is no session, or it has ended: sign in"}
	errLink = &llm.Error{Kind: llm.KindInvalidKey, Code: CodeLink, Msg: "the link is unknown, used or expired: ask for another"}
	errTok  = &llm.Error{Kind: llm.KindInvalidKey, Code: CodeToken, Msg: "the token is not valid: it is unknown or expired, or whoever made it may no longer do what it was for"}
	errLate = &llm.Error{Kind: llm.KindForbidden, Code: "proof_needed", Msg: "this needs a fresh proof that it is you: send your code or password (POST /admin/session/proof)"}
	errBusy = &llm.Error{Kind: llm.KindOverloaded, Msg: "sign-ins cannot be looked up just now; try again", RetryAfter: 2 * time.Second}
)

// failed gives a store's failure its meaning.
func failed(err error) error {
	if _, ok := errors.AsType[*llm.Error](err); ok {
		return err
	}
	return &llm.Error{Kind: errBusy.Kind, Msg: errBusy.Msg, RetryAfter: errBusy.RetryAfter, Err: err}
}

// look waits for a place among those who look something up.
func (d *Door) look(ctx context.Context) (done func(), err error) {
	select {
	case d.looks <- struct{}{}:
		return func() { <-d.looks }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// signed is who has a session.
func (d *Door) signed(s *Session, a *Account) Signed {
	must := a.TOTP == nil && s.Method != methodForeign && slices.Contains(d.settings().RequireTOTP, a.Role)
	return Signed{
		Kind: Person, ID: a.ID, Account: a.ID, Name: a.Name, Email: a.Email, Role: a.Role, Realm: a.Realm,
		Session: s.ID, ProvedAt: s.Proved, Ends: s.Ends, MustEnrol: must, Enrolled: a.TOTP != nil, Password: a.Password != "",
	}
}

// Run removes what is over, now and then, until ctx ends.
func (d *Door) Run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		now := d.now()
		if err := d.o.Store.Sweep(ctx, now, now.Add(-forgetTries), mostFailures); err != nil && ctx.Err() == nil {
			d.o.Log.Warn("old sessions are not removed", "event", "sweep_failed", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
