package account

import (
	"context"
	"errors"
	"time"

	"sluice/internal/audit"
)

// How a session began.
const (
	methodPassword = "password"
	methodTOTP     = "totp"
	methodRecovery = "recovery"
	methodForeign  = "oidc"
)

// SignIn begins a session. The same refusal (CodeRefused) is given for an unknown, disabled or locked account, a wrong password and
// a wrong code, after the same work. CodeNeeded: the password is right; ask for the code and send all again.
func (d *Door) SignIn(ctx context.Context, c Credentials, from Client) (*Entered, error) {
	email := NormalEmail(c.Email)
	keys := d.mint.triesOf(email, from.Address)
	locked, began, err := d.try(ctx, keys)
	if err != nil {
		return nil, failed(err)
	}
	a, err := d.o.Store.ByEmail(ctx, email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, failed(err)
	}
	stored := ""
	if a != nil {
		stored = a.Password
	}
	right, stale, err := d.passwords.check(ctx, stored, c.Password)
	if err != nil {
		return nil, failed(err)
	}
	e := event(actBegin, a, email, from)
	if began {
		d.tellLock(ctx, a, email, from)
	}
	switch {
	case locked: // was told when it began: whoever tries on does not fill the audit log
		return nil, errRefused
	case a == nil:
		return nil, d.refuse(ctx, e, "no account has the address", errRefused)
	case a.Disabled:
		return nil, d.refuse(ctx, unproved(e), "the account is disabled", errRefused)
	case !right:
		return nil, d.refuse(ctx, unproved(e), "wrong password", errRefused)
	}
	method := methodPassword
	if a.TOTP != nil {
		if c.Code == "" {
			return nil, errCode // the try stays counted
		}
		if method, err = d.useCode(ctx, a, c.Code); err != nil {
			return nil, failed(err)
		}
		if method == "" {
			return nil, d.refuse(ctx, unproved(e), "wrong code", errRefused)
		}
	}
	if stale {
		d.rehash(ctx, a, c.Password)
	}
	if err := d.forgive(ctx, keys); err != nil {
		return nil, failed(err)
	}
	return d.begin(ctx, a, e, method, d.now(), c.Old, from)
}

// unproved says in a record that whoever acted is not known to be the account's owner.
func unproved(e *audit.Event) *audit.Event {
	e.Actor.ID, e.Actor.Kind = "", Unknown
	return e
}

// try counts a try before it is known what comes of it, so that many at a time are no more than one after another. locked tells that
// it must fail; began, that one of the locks begins with it for the first time in a row of failures. The last key is the address's.
func (d *Door) try(ctx context.Context, keys []Hash) (locked, began bool, err error) {
	now := d.now()
	free := []int{freeAccount, freeAddress}[2-len(keys):]
	err = d.o.Store.Try(ctx, keys, func(tries []Tries) {
		locked, began = false, false
		for _, t := range tries {
			locked = locked || t.Locked(now)
		}
		for i, t := range tries {
			if !locked { // an address that is locked locks nobody's account
				tries[i] = t.Next(now, free[i])
				began = began || tries[i].Count == free[i]
			}
		}
	})
	return locked, began, err
}

// forgive forgets an account's failures, and counts the address's try as none: who has an account of their own must not be able to
// try others' passwords for ever by signing in between.
func (d *Door) forgive(ctx context.Context, keys []Hash) error {
	return d.o.Store.Try(ctx, keys, func(tries []Tries) {
		if len(tries) > 1 {
			tries[0] = Tries{}
		}
		address := &tries[len(tries)-1]
		if address.Count--; address.Count <= 0 {
			*address = Tries{}
		}
	})
}

func (d *Door) tellLock(ctx context.Context, a *Account, email string, from Client) {
	_ = d.refuse(ctx, unproved(event(actLock, a, email, from)), "too many failures: locked for a while, and longer with each more", nil)
}

// useCode takes a one-time code, or a recovery code, and tells which; "" for neither.
func (d *Door) useCode(ctx context.Context, a *Account, code string) (method string, err error) {
	secret, err := unseal(d.mint.totp, a.TOTP, a.ID)
	if err != nil {
		return "", err
	}
	if step, ok := matchCode(secret, code, d.now()); ok {
		fresh, err := d.o.Store.UseStep(ctx, a.ID, step)
		if err != nil || !fresh {
			return "", err
		}
		return methodTOTP, nil
	}
	used, err := d.o.Store.UseCode(ctx, a.ID, d.mint.recoveryHash(a.ID, clip(code, 64)))
	if err != nil || !used {
		return "", err
	}
	return methodRecovery, nil
}

// rehash stores a password under today's cost. It may fail: the next sign-in tries again.
func (d *Door) rehash(ctx context.Context, a *Account, password string) {
	h, err := d.passwords.hash(ctx, password)
	if err == nil {
		err = d.o.Store.SetPassword(ctx, a.ID, a.Password, h)
	}
	if err != nil {
		d.o.Log.Warn("a password keeps its old hash", "event", "rehash_failed", "account", a.ID, "error", err.Error())
	}
}

// draw makes a session that is not stored yet, and its cookie.
func (d *Door) draw(a *Account, method string, proved time.Time, from Client) (s *Session, cookie string, err error) {
	cookie, h, err := d.mint.cookie()
	if err != nil {
		return nil, "", err
	}
	id, err := d.mint.id()
	if err != nil {
		return nil, "", err
	}
	now := d.now()
	return &Session{
		ID: id, Hash: h, Account: a.ID, Method: method, Created: now, Seen: now, Proved: proved, Ends: now.Add(d.settings().Absolute),
		Address: from.Address, Agent: clip(from.Agent, maxAgent),
	}, cookie, nil
}

// begin stores a new session and ends the one that the browser had: whoever knew that one's cookie has nothing.
func (d *Door) begin(ctx context.Context, a *Account, e *audit.Event, method string, proved time.Time, old string, from Client) (*Entered, error) {
	s, cookie, err := d.draw(a, method, proved, from)
	if err != nil {
		return nil, err
	}
	e.Why = "signed in by " + method
	err = d.do(ctx, e, func(ctx context.Context) error {
		if h, ok := d.mint.cookieHash(old); ok {
			if err := d.endByHash(ctx, h); err != nil {
				return err
			}
		}
		return d.o.Store.CreateSession(ctx, s)
	})
	if err != nil {
		return nil, failed(err)
	}
	return d.entered(cookie, s, a), nil
}

func (d *Door) endByHash(ctx context.Context, h Hash) error {
	s, _, err := d.o.Store.Session(ctx, h)
	if err == nil {
		err = d.o.Store.EndSession(ctx, s.Account, s.ID)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
