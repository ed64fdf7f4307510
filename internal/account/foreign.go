package account

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"time"

	"sluice/internal/audit"
	"sluice/internal/llm"
)

// SignInForeign begins a session of somebody whom a provider of identities vouches for. Which account that is, issuer and subject say. Where none
// has them, one is made; one that was invited to the address, and that nobody has used yet, is bound to them. Its role and realm are what
// the provider's groups give, each time anew.
func (d *Door) SignInForeign(ctx context.Context, f Foreign, old string, from Client) (*Entered, error) {
	if f.Issuer == "" || f.Subject == "" || !RoleAny(f.Role) {
		return nil, d.refuse(ctx, event(actBegin, nil, clip(f.Email, maxEmail), from), "the identity has no issuer, subject or role", errRefused)
	}
	f.Email, f.Name = NormalEmail(f.Email), clip(f.Name, 128)
	var a *Account
	e := event(actJoin, nil, f.Email, from)
	join := func(ctx context.Context) (changed bool, err error) {
		a, changed, err = d.join(ctx, f)
		return changed, err
	}
	err := d.o.Together(ctx, func(ctx context.Context) error {
		changed, err := join(ctx)
		if err != nil || !changed || d.o.Audit == nil {
			return err
		}
		j := event(actJoin, a, "", from)
		j.Result, j.Why = audit.Done, "as "+f.Issuer+" says: "+string(a.Role)
		return d.o.Audit.Record(ctx, j)
	})
	switch {
	case errors.Is(err, errRefused):
		e.Object.Kind = "account"
		return nil, d.refuse(ctx, e, "an account has the address already, and is not bound to the identity", errRefused)
	case errors.Is(err, ErrLastOwner):
		return nil, d.refuse(ctx, e, "the provider's groups would take the last owner away", errRefused)
	case errors.Is(err, ErrExists), errors.Is(err, ErrVersion): // the same person, twice at a time
		return nil, &llm.Error{Kind: llm.KindConflict, Msg: "the account was changed at the same moment: sign in again", Err: err}
	case err != nil:
		return nil, failed(err)
	case a.Disabled:
		return nil, d.refuse(ctx, unproved(event(actBegin, a, "", from)), "the account is disabled", errRefused)
	}
	proved := f.AuthTime.UTC().Truncate(time.Microsecond)
	if f.AuthTime.IsZero() {
		proved = time.Time{}
	}
	return d.begin(ctx, a, event(actBegin, a, "", from), methodForeign, proved, old, from)
}

// RoleAny tells whether there is such a role.
func RoleAny(r Role) bool { return r.Covers(r) }

// join finds or makes the account of an identity, and gives it the role and realm that it has there. It tells whether anything was changed.
func (d *Door) join(ctx context.Context, f Foreign) (a *Account, changed bool, err error) {
	store := d.o.Store
	a, err = store.ByIdentity(ctx, f.Issuer, f.Subject)
	if err == nil {
		return d.follow(ctx, a, f)
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, false, err
	}
	if f.Email != "" {
		switch a, err = store.ByEmail(ctx, f.Email); {
		case err == nil && (a.Issuer != "" || a.Password != "" || a.Disabled):
			return nil, false, errRefused
		case err == nil: // invited, and never used
			a.Issuer, a.Subject = f.Issuer, f.Subject
			return d.follow(ctx, a, f)
		case !errors.Is(err, ErrNotFound):
			return nil, false, err
		}
	}
	id, err := d.mint.id()
	if err != nil {
		return nil, false, err
	}
	now := d.now()
	a = &Account{
		ID: id, Name: cmp.Or(f.Name, f.Email, f.Subject), Email: f.Email, Role: f.Role, Realm: f.Realm, Issuer: f.Issuer, Subject: f.Subject,
		Created: now, Updated: now, Maker: clip(f.Issuer, 128),
	}
	a.Name = clip(a.Name, 128)
	return a, true, store.Create(ctx, a)
}

// follow gives an account what the provider says. A change of role or realm ends its sessions.
func (d *Door) follow(ctx context.Context, a *Account, f Foreign) (*Account, bool, error) {
	was, err := d.o.Store.Account(ctx, a.ID)
	if err != nil {
		return nil, false, err
	}
	a.Role, a.Realm = f.Role, f.Realm
	if was.Role == a.Role && was.Realm == a.Realm && was.Issuer == a.Issuer || was.Disabled {
		return a, false, nil
	}
	a.Updated = d.now()
	if err := d.o.Store.Update(ctx, a); err != nil {
		return nil, false, err
	}
	_, err = d.o.Store.EndSessions(ctx, a.ID, "")
	return a, true, err
}

// A Started is a sign-in that is under way at a provider of identities.
type Started struct {
	URL    string     // where the browser goes
	Cookie llm.Secret // what it must bring back with the answer: HttpOnly, Secure, SameSite=Lax, for Lives of package oidc
}

// Identities is a provider of identities: package oidc's.
type Identities interface {
	// Start begins a sign-in. prove has the provider ask for the person's credentials even if it knows them (step-up).
	Start(ctx context.Context, prove bool) (*Started, error)

	// Finish takes the answer that a browser brings back, with the cookie that it was sent off with. proved: the person was asked anew, as was
	// wanted.
	Finish(ctx context.Context, query url.Values, cookie string) (f *Foreign, proved bool, err error)
}

// Return takes somebody back who was sent to a provider of identities: query is that of the redirect, cookie the one of that sign-in, current
// the one of the session that the browser has ("": none). They are signed in, or, if they were sent for a proof, have given it.
func (d *Door) Return(ctx context.Context, p Identities, query url.Values, cookie, current string, from Client) (*Entered, error) {
	address := d.mint.triesOf("", from.Address)[1:] // whoever comes back with what was not asked for does not fill the audit log
	locked, began, err := d.try(ctx, address)
	if err != nil {
		return nil, failed(err)
	}
	if began {
		d.tellLock(ctx, nil, "", from)
	}
	if locked {
		return nil, errRefused
	}
	f, proved, err := p.Finish(ctx, query, cookie)
	if err == nil || llm.AsError(err).Kind == llm.KindOverloaded { // the provider's failure is not theirs
		if err := d.forgive(ctx, address); err != nil {
			return nil, failed(err)
		}
	}
	if err != nil {
		return nil, d.refuse(ctx, event(actBegin, nil, "", from), "provider of identities: "+err.Error(), err)
	}
	if proved {
		return d.ProveForeign(ctx, current, *f, from)
	}
	return d.SignInForeign(ctx, *f, current, from)
}
