package account

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"sluice/internal/llm"
)

// ReadLink tells whose password a one-time link sets, "" for an account that has no address yet, and whether it replaces one. It does not
// use it up.
func (d *Door) ReadLink(ctx context.Context, token string) (email string, reset bool, err error) {
	l, a, err := d.findLink(ctx, token)
	if err != nil {
		return "", false, err
	}
	return a.Email, l.Reset, nil
}

func (d *Door) findLink(ctx context.Context, token string) (*Link, *Account, error) {
	h, ok := d.mint.linkHash(token)
	if !ok {
		return nil, nil, errLink
	}
	done, err := d.look(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	l, err := d.o.Store.Link(ctx, h)
	var a *Account
	if err == nil {
		a, err = d.o.Store.Account(ctx, l.Account)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil, errLink
	case err != nil:
		return nil, nil, failed(err)
	case a.Disabled || !d.now().Before(l.Expires):
		return nil, nil, errLink
	}
	return l, a, nil
}

// Redeem uses a one-time link up: the account has this password, and all its sessions end. They sign in with it then.
func (d *Door) Redeem(ctx context.Context, r Redemption, from Client) error {
	l, a, err := d.findLink(ctx, r.Token)
	if err != nil {
		return err
	}
	if a.Email == "" {
		if a.Email = NormalEmail(r.Email); a.Email == "" {
			return &llm.Error{Kind: llm.KindInvalid, Msg: "what was sent cannot be taken", Problems: []llm.Problem{{At: "/email", Msg: "give the e-mail address that you will sign in with"}}}
		}
		a.Name = a.Email
	}
	a.Name = cmp.Or(strings.TrimSpace(clip(r.Name, 128)), a.Name)
	if why := Weak(r.Password, a.Email, a.Name); why != "" {
		return weakError(why)
	}
	h, err := d.passwords.hash(ctx, r.Password)
	if err != nil {
		return failed(err)
	}
	e := event(actPassword, a, "", from)
	e.Why = "by a one-time link"
	err = d.do(ctx, e, func(ctx context.Context) error {
		if _, err := d.o.Store.TakeLink(ctx, l.Hash); err != nil {
			return err
		}
		next := *a
		if err := d.o.Store.Update(ctx, &next); err != nil {
			return err
		}
		if l.Reset {
			if err := d.o.Store.SetTOTP(ctx, a.ID, nil, 0, nil); err != nil {
				return err
			}
		}
		return d.setPassword(ctx, a, h)
	})
	switch {
	case errors.Is(err, ErrNotFound) || errors.Is(err, ErrVersion): // somebody was faster
		return errLink
	case errors.Is(err, ErrExists):
		return &llm.Error{Kind: llm.KindConflict, Msg: "another account has this e-mail address"}
	}
	return failedOr(err)
}

// setPassword gives an account another password, and ends its sessions and its lock.
func (d *Door) setPassword(ctx context.Context, a *Account, h string) error {
	if err := d.o.Store.SetPassword(ctx, a.ID, a.Password, h); err != nil {
		return err
	}
	err := d.o.Store.Try(ctx, d.mint.triesOf(a.Email, Client{}.Address)[:1], func(tries []Tries) { tries[0] = Tries{} })
	if err != nil {
		return err
	}
	_, err = d.o.Store.EndSessions(ctx, a.ID, "")
	return err
}

// ChangePassword gives an account another password, whose owner must know the old one. All other sessions end; this one goes on under
// another cookie.
func (d *Door) ChangePassword(ctx context.Context, cookie, was, is string, from Client) (*Entered, error) {
	s, a, err := d.find(ctx, cookie)
	if err != nil {
		return nil, err
	}
	if why := Weak(is, a.Email, a.Name); why != "" {
		return nil, weakError(why)
	}
	onlyPassword := *a
	onlyPassword.TOTP = nil
	if err := d.proven(ctx, &onlyPassword, actPassword, Proof{Password: was}, from); err != nil {
		return nil, err
	}
	h, err := d.passwords.hash(ctx, is)
	if err != nil {
		return nil, failed(err)
	}
	next, cookie, err := d.draw(a, s.Method, d.now(), from)
	if err != nil {
		return nil, err
	}
	next.Created, next.Ends = s.Created, s.Ends
	err = d.do(ctx, event(actPassword, a, "", from), func(ctx context.Context) error {
		if err := d.setPassword(ctx, a, h); err != nil {
			return err
		}
		return d.o.Store.CreateSession(ctx, next)
	})
	if errors.Is(err, ErrVersion) || errors.Is(err, ErrNotFound) {
		return nil, errOver
	}
	if err != nil {
		return nil, failed(err)
	}
	return d.entered(cookie, next, a), nil
}

// ticketLives is for how long an enrolment may be under way.
const ticketLives = 10 * time.Minute

// fresh gives the session of a cookie whose owner has just shown that it is them.
func (d *Door) fresh(ctx context.Context, cookie string) (*Session, *Account, error) {
	s, a, err := d.find(ctx, cookie)
	if err != nil {
		return nil, nil, err
	}
	if signed := d.signed(s, a); !signed.Fresh(d.now()) {
		return nil, nil, errLate
	}
	return s, a, nil
}

// Enrol draws a secret for an authenticator. It is in force once Confirm saw a code of it. It needs a fresh proof.
func (d *Door) Enrol(ctx context.Context, cookie string) (*Enrolment, error) {
	_, a, err := d.fresh(ctx, cookie)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, 8+totpSecretLen)
	binary.BigEndian.PutUint64(plain, uint64(d.now().Add(ticketLives).Unix()))
	if _, err := io.ReadFull(d.mint.random, plain[8:]); err != nil {
		return nil, err
	}
	text, link := otpauth(plain[8:], a.Email)
	return &Enrolment{Secret: text, URL: link, Ticket: encode(seal(d.mint.ticket, plain, a.ID))}, nil
}

// Confirm puts the secret of a ticket in force, if this is a code of it, and gives recovery codes, each of which works once in place
// of a code. All other sessions end; this one goes on under another cookie.
func (d *Door) Confirm(ctx context.Context, cookie, ticket, code string, from Client) (*Entered, []string, error) {
	s, a, err := d.fresh(ctx, cookie)
	if err != nil {
		return nil, nil, err
	}
	now := d.now()
	sealed, err := decode(ticket)
	var plain []byte
	if err == nil {
		plain, err = unseal(d.mint.ticket, sealed, a.ID)
	}
	if err != nil || len(plain) != 8+totpSecretLen || now.Unix() >= int64(binary.BigEndian.Uint64(plain)) {
		return nil, nil, llm.Errorf(llm.KindInvalid, "the enrolment is not yours, or is older than ten minutes: begin again")
	}
	secret := plain[8:]
	step, ok := matchCode(secret, code, now)
	if !ok {
		return nil, nil, llm.Errorf(llm.KindInvalid, "this is not the code that the authenticator shows now: look at its clock, and try the next")
	}
	codes, hashes, err := d.codes(a.ID)
	if err != nil {
		return nil, nil, err
	}
	next := *a
	next.TOTP = seal(d.mint.totp, secret, a.ID)
	in, err := d.renew(ctx, s, &next, actTOTP, methodOf(s), now, from, func(ctx context.Context) error {
		if err := d.o.Store.SetTOTP(ctx, a.ID, next.TOTP, step, hashes); err != nil {
			return err
		}
		_, err := d.o.Store.EndSessions(ctx, a.ID, s.ID)
		return err
	})
	return in, codes, err
}

// methodOf is how a session counts as begun whose owner has just shown a code.
func methodOf(s *Session) string {
	if s.Method == methodPassword {
		return methodTOTP
	}
	return s.Method
}

const recoveryCodes = 10

func (d *Door) codes(account string) (codes []string, hashes []Hash, err error) {
	for range recoveryCodes {
		code, h, err := d.mint.recovery(account)
		if err != nil {
			return nil, nil, err
		}
		codes, hashes = append(codes, code), append(hashes, h)
	}
	return codes, hashes, nil
}

// CodesLeft counts the recovery codes of whoever is signed in.
func (d *Door) CodesLeft(ctx context.Context, s *Signed) (int, error) {
	n, err := d.o.Store.Codes(ctx, s.Account)
	return n, failedOr(err)
}

// NewCodes gives other recovery codes; the old ones are worth nothing. It needs a fresh proof.
func (d *Door) NewCodes(ctx context.Context, cookie string, from Client) ([]string, error) {
	_, a, err := d.fresh(ctx, cookie)
	if err != nil {
		return nil, err
	}
	if a.TOTP == nil {
		return nil, llm.Errorf(llm.KindConflict, "the account has no one-time codes, so it needs no recovery codes")
	}
	codes, hashes, err := d.codes(a.ID)
	if err != nil {
		return nil, err
	}
	return codes, failedOr(d.do(ctx, event(actCodes, a, "", from), func(ctx context.Context) error {
		return d.o.Store.SetTOTP(ctx, a.ID, a.TOTP, 0, hashes)
	}))
}

// DropTOTP takes one-time codes off the account. It needs a fresh proof, and a role that need not have them.
func (d *Door) DropTOTP(ctx context.Context, cookie string, from Client) error {
	s, a, err := d.fresh(ctx, cookie)
	if err != nil {
		return err
	}
	without := *a
	if without.TOTP = nil; d.signed(s, &without).MustEnrol {
		return llm.Errorf(llm.KindForbidden, "the role %s must have one-time codes (sign_in.require_totp); you can only replace yours", a.Role)
	}
	e := event(actTOTP, a, "", from)
	e.Why = "one-time codes taken off"
	return failedOr(d.do(ctx, e, func(ctx context.Context) error {
		return d.o.Store.SetTOTP(ctx, a.ID, nil, 0, nil)
	}))
}
