package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/rules"
)

// Tokens are the acts on automation tokens.
type Tokens struct{ c *Control }

// Tokens gives the acts on automation tokens.
func (c *Control) Tokens() Tokens { return Tokens{c} }

// For how long a token is good: usually, and at most.
const (
	tokenLives     = 90 * 24 * time.Hour
	tokenLivesMost = 365 * 24 * time.Hour
)

// coversToken tells whether the actor may do all that a token may.
func (a Actor) coversToken(t *account.Token) bool {
	return a.Role.Covers(t.Role) && a.realm().Covers(t.Realm)
}

// Create makes a token, which may do no more than its maker. A token makes none: what it made would outlive it.
func (s Tokens) Create(ctx context.Context, a Actor, in NewToken) (*MadeToken, error) {
	var t *account.Token
	var secret string
	err := s.c.Perform(ctx, a, "tokens.create", func(ctx context.Context, e *audit.Event) (err error) {
		e.Object.Kind = "token"
		if t, err = s.fresh(ctx, a, &in); err != nil {
			return err
		}
		mint, err := account.NewMint(s.c.o.Hasher, s.c.o.Random)
		if err != nil {
			return err
		}
		if t.ID, secret, t.Hash, err = mint.Token(); err != nil {
			return fmt.Errorf("draw token: %w", err)
		}
		e.Org, e.Object.ID, e.Object.Name = t.Realm.Org, t.ID, t.Name
		if err := s.c.o.Accounts.CreateToken(ctx, t); err != nil {
			return s.fault(err, t.ID)
		}
		e.After, err = json.Marshal(viewToken(t), json.Deterministic(true))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &MadeToken{secret, *viewToken(t)}, nil
}

// fresh makes a token of what was asked for, or says everything that is wrong with it.
func (s Tokens) fresh(ctx context.Context, a Actor, in *NewToken) (*account.Token, error) {
	if a.Audit.Kind == account.ByToken {
		return nil, llm.Errorf(llm.KindForbidden, "a token makes no tokens: sign in to make one")
	}
	var p problems
	if why := nameProblem(in.Name); why != "" {
		p.add("/name", "%s", why)
	}
	now := s.c.now()
	t := &account.Token{
		Name: in.Name, Maker: a.Account, MakerName: a.Name, Role: cmp.Or(in.Role, a.Role), Scopes: in.Scopes,
		Created: now, Expires: now.Add(tokenLives),
	}
	p.scopes("/scopes", in.Scopes)
	if in.Expires != "" {
		var err error
		if t.Expires, err = expiry(in.Expires, now); err != nil {
			p.add("/expires", "%s", err)
		}
	}
	if !account.RoleAny(t.Role) {
		p.add("/role", "must be one of %s", roleNames(Roles))
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	var err error
	if t.Realm, err = s.c.realm(ctx, a, in.Realm); err != nil {
		return nil, err
	}
	if !a.coversToken(t) {
		return nil, llm.Errorf(llm.KindForbidden, "your role, %s, may not make a token whose role is %s", a.Role, t.Role)
	}
	if (t.Role == RoleMember) != (t.Realm.Kind == directory.KindUser) {
		return nil, errMemberRealm
	}
	return t, nil
}

// scopes checks globs of acts: each must fit one that there is.
func (p *problems) scopes(at string, list []string) {
	if len(list) > maxList {
		p.add(at, "has %d entries; %d are allowed", len(list), maxList)
		return
	}
	for i, scope := range list {
		if len(scope) > 64 || !slices.ContainsFunc(Acts(), func(act Act) bool { return llm.Match(scope, string(act)) }) {
			p.add(fmt.Sprintf("%s/%d", at, i), "%q fits no act: write one such as keys.create, or a glob such as keys.*", clip(scope))
		}
	}
}

// expiry reads when a token ends: a span such as 30d, a date or a time.
func expiry(s string, now time.Time) (time.Time, error) {
	at, err := rules.ParseTime(s)
	if span, e := rules.ParseSpan(s); e == nil {
		at, err = now.Add(span), nil
	}
	switch {
	case err != nil:
		return at, fmt.Errorf("must be a span such as 30d, or %w", err)
	case !at.After(now):
		return at, errors.New("is not in the future")
	case at.Sub(now) > tokenLivesMost:
		return at, errors.New("is more than 365 days away: a token that never ends is forgotten")
	}
	return at, nil
}

func (s Tokens) fault(err error, id string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, account.ErrNotFound):
		return llm.Errorf(llm.KindNotFound, "token: there is none with the id %q", clip(id))
	case errors.Is(err, account.ErrExists):
		return &llm.Error{Kind: llm.KindConflict, Msg: "the token cannot be stored; try again", Err: err}
	}
	return fmt.Errorf("tokens: %w", err)
}

// List gives those of the actor's realm.
func (s Tokens) List(ctx context.Context, a Actor, l List) (*Page[TokenView], error) {
	if err := a.May("tokens.read"); err != nil {
		return nil, err
	}
	f, err := s.c.filter(ctx, a, l)
	if err != nil {
		return nil, err
	}
	list, next, err := s.c.o.Accounts.ListTokens(ctx, f)
	return paged(viewToken)(list, next, s.fault(err, ""))
}

// pick gives a token of the actor's realm.
func (s Tokens) pick(ctx context.Context, a Actor, id string) (*account.Token, error) {
	if !isID(id) {
		return nil, s.fault(account.ErrNotFound, id)
	}
	t, err := s.c.o.Accounts.Token(ctx, id)
	if err == nil && !a.realm().Covers(t.Realm) {
		err = account.ErrNotFound
	}
	return t, s.fault(err, id)
}

// Show gives one by its id.
func (s Tokens) Show(ctx context.Context, a Actor, id string) (*TokenView, error) {
	if err := a.May("tokens.read"); err != nil {
		return nil, err
	}
	return shown(viewToken)(s.pick(ctx, a, id))
}

// Delete ends one.
func (s Tokens) Delete(ctx context.Context, a Actor, id string) (*TokenView, error) {
	var t *account.Token
	err := s.c.Perform(ctx, a, "tokens.delete", func(ctx context.Context, e *audit.Event) (err error) {
		e.Object.Kind, e.Object.ID = "token", clip(id)
		if t, err = s.pick(ctx, a, id); err != nil {
			return err
		}
		e.Org, e.Object.Name = t.Realm.Org, t.Name
		if !a.coversToken(t) {
			return llm.Errorf(llm.KindForbidden, "your role, %s, may not end a token whose role is %s", a.Role, t.Role)
		}
		if e.Before, err = json.Marshal(viewToken(t), json.Deterministic(true)); err != nil {
			return err
		}
		return s.fault(s.c.o.Accounts.DeleteToken(ctx, id), id)
	})
	return shown(viewToken)(t, err)
}
