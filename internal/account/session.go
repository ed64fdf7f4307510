package account

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"sluice/internal/llm"
)

func (d *Door) entered(cookie string, s *Session, a *Account) *Entered {
	return &Entered{Cookie: llm.Secret(cookie), CSRF: d.mint.csrfOf(cookie), Signed: d.signed(s, a)}
}

// Session tells who is signed in by a cookie. KindInvalidKey (401), CodeEnded: nobody.
func (d *Door) Session(ctx context.Context, cookie string, from Client) (*Signed, error) {
	s, a, err := d.find(ctx, cookie)
	if err != nil {
		return nil, err
	}
	if now := d.now(); now.Sub(s.Seen) >= touchEvery {
		from.Agent = clip(from.Agent, maxAgent)
		if err := d.o.Store.Touch(ctx, s.Hash, now, from); err != nil {
			d.o.Log.Warn("a session's use is not noted", "event", "touch_failed", "error", err.Error())
		}
	}
	signed := d.signed(s, a)
	return &signed, nil
}

// find gives the session of a cookie that has not ended, and its account.
func (d *Door) find(ctx context.Context, cookie string) (*Session, *Account, error) {
	h, ok := d.mint.cookieHash(cookie)
	if !ok {
		return nil, nil, errOver
	}
	done, err := d.look(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	s, a, err := d.o.Store.Session(ctx, h)
	switch now, set := d.now(), d.settings(); {
	case errors.Is(err, ErrNotFound):
		return nil, nil, errOver
	case err != nil:
		return nil, nil, failed(err)
	case a.Disabled || !now.Before(s.Ends) || now.Sub(s.Created) >= set.Absolute || now.Sub(s.Seen) >= set.Idle:
		return nil, nil, errOver
	}
	return s, a, nil
}

// CSRF is what unsafe requests of a session must carry beside its cookie.
func (d *Door) CSRF(cookie string) string {
	if _, ok := d.mint.cookieHash(cookie); !ok {
		return ""
	}
	return d.mint.csrfOf(cookie)
}

// CheckCSRF tells whether it is that.
func (d *Door) CheckCSRF(cookie, token string) bool {
	want := d.CSRF(cookie)
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(token)) == 1
}

// SignOut ends a session. One that is none is no error.
func (d *Door) SignOut(ctx context.Context, cookie string, from Client) error {
	h, ok := d.mint.cookieHash(cookie)
	if !ok {
		return nil
	}
	s, a, err := d.o.Store.Session(ctx, h)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = d.do(ctx, event(actEnd, a, "", from), func(ctx context.Context) error {
			return d.o.Store.EndSession(ctx, s.Account, s.ID)
		})
	}
	if err == nil || errors.Is(err, ErrNotFound) {
		return nil
	}
	return failed(err)
}

// Prove takes a fresh proof. The session goes on under another cookie; the old one is dead.
func (d *Door) Prove(ctx context.Context, cookie string, p Proof, from Client) (*Entered, error) {
	s, a, err := d.find(ctx, cookie)
	if err != nil {
		return nil, err
	}
	if err := d.proven(ctx, a, actProve, p, from); err != nil {
		return nil, err
	}
	return d.renew(ctx, s, a, actProve, s.Method, d.now(), from, nil)
}

// proven checks a proof: the code where there is a second factor, else the password. It is behind the lock of sign-ins.
func (d *Door) proven(ctx context.Context, a *Account, act string, p Proof, from Client) error {
	keys := d.mint.triesOf(cmp.Or(a.Email, a.ID), from.Address)
	locked, began, err := d.try(ctx, keys)
	if err != nil {
		return failed(err)
	}
	if began {
		d.tellLock(ctx, a, "", from)
	}
	var right bool
	if a.TOTP != nil && !locked {
		var method string
		method, err = d.useCode(ctx, a, p.Code)
		right = method == methodTOTP
	} else {
		right, _, err = d.passwords.check(ctx, a.Password, p.Password)
	}
	switch {
	case err != nil:
		return failed(err)
	case locked:
		return errRefused
	case !right:
		return d.refuse(ctx, event(act, a, "", from), "wrong proof", errRefused)
	}
	return failedOr(d.forgive(ctx, keys))
}

func failedOr(err error) error {
	if err == nil {
		return nil
	}
	return failed(err)
}

// ProveForeign is Prove by a provider of identities, who has just asked them.
func (d *Door) ProveForeign(ctx context.Context, cookie string, f Foreign, from Client) (*Entered, error) {
	s, a, err := d.find(ctx, cookie)
	if err != nil {
		return nil, err
	}
	if a.Issuer == "" || a.Issuer != f.Issuer || a.Subject != f.Subject || f.AuthTime.IsZero() {
		return nil, d.refuse(ctx, event(actProve, a, "", from), "the provider of identities vouched for somebody else, or did not ask them", errRefused)
	}
	return d.renew(ctx, s, a, actProve, s.Method, f.AuthTime.UTC().Truncate(time.Microsecond), from, nil)
}

// renew lets a session go on under another cookie, after also was done in the same transaction. Its absolute end stays.
func (d *Door) renew(ctx context.Context, s *Session, a *Account, act, method string, proved time.Time, from Client, also func(context.Context) error) (*Entered, error) {
	next, cookie, err := d.draw(a, method, proved, from)
	if err != nil {
		return nil, err
	}
	next.Created, next.Ends = s.Created, s.Ends
	err = d.do(ctx, event(act, a, "", from), func(ctx context.Context) error {
		if also != nil {
			if err := also(ctx); err != nil {
				return err
			}
		}
		return d.o.Store.ReplaceSession(ctx, s.Hash, next)
	})
	if errors.Is(err, ErrNotFound) { // ended, or proved, meanwhile
		return nil, errOver
	}
	if err != nil {
		return nil, failed(err)
	}
	return d.entered(cookie, next, a), nil
}
