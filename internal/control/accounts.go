package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// Accounts are the acts on accounts.
type Accounts struct{ c *Control }

// Accounts gives the acts on accounts.
func (c *Control) Accounts() Accounts { return Accounts{c} }

// linkLives is for how long an invitation or a reset is good.
const linkLives = 3 * 24 * time.Hour

// realm is what bounds the actor.
func (a Actor) realm() account.Realm { return account.Realm{Kind: a.Kind, ID: a.Realm, Org: a.Org} }

// above tells whether the actor may take a role away: owners every one, admins those below their own.
func (a Actor) above(role Role) error {
	if !a.Role.Covers(role) || a.Role != RoleOwner && a.Role == role {
		return llm.Errorf(llm.KindForbidden, "your role, %s, may neither give the role %s nor change an account that has it", a.Role, role)
	}
	return nil
}

// gives tells whether the actor may give a role, or do what lets somebody else use it: whoever makes an account, opens it again, says
// who signs in to it or how can get in themselves. The role is below their own and has nothing that they may not do now, so
// that a token gives nobody what its scopes have not.
func (a Actor) gives(role Role) error {
	if err := a.above(role); err != nil {
		return err
	}
	given := Actor{Role: role, Kind: a.Kind, Realm: a.Realm, Org: a.Org, Fresh: true}
	for _, act := range Acts() {
		if given.May(act) == nil && a.May(act) != nil {
			return llm.Errorf(llm.KindForbidden, "the role %s may do %s, which your token's scopes do not allow: it gives nobody more than it has", role, act)
		}
	}
	return nil
}

// isSelf tells whether the account is the actor's own, or that of the one who made the token.
func (a Actor) isSelf(id string) bool { return a.Account != "" && a.Account == id }

// own tells whether the actor is the account's owner, who is signed in: a token is not, whoever made it.
func (a Actor) own(id string) bool { return a.isSelf(id) && a.Session != "" }

// pick gives an account by its id or e-mail address.
func (s Accounts) pick(ctx context.Context, a Actor, ref string) (*account.Account, error) {
	if !isText(ref) {
		return nil, noAccount(ref)
	}
	v, err := s.c.o.Accounts.Account(ctx, ref)
	if errors.Is(err, account.ErrNotFound) {
		v, err = s.c.o.Accounts.ByEmail(ctx, account.NormalEmail(ref))
	}
	return v, a.seen(v, err, ref)
}

// seen judges what the store found for an actor. What is outside their realm is not there, but for their own.
func (a Actor) seen(v *account.Account, err error, ref string) error {
	switch {
	case errors.Is(err, account.ErrNotFound):
		return noAccount(ref)
	case err != nil:
		return fmt.Errorf("accounts: %w", err)
	case !a.realm().Covers(v.Realm) && !a.own(v.ID):
		return noAccount(ref)
	}
	return nil
}

func noAccount(ref string) error {
	return llm.Errorf(llm.KindNotFound, "account: there is none with the id or e-mail address %q", clip(ref))
}

// touch finds an account that the actor may change in a way that may judges by its role.
func (s Accounts) touch(a Actor, ref string, may func(Role) error) func(context.Context) (*account.Account, error) {
	return func(ctx context.Context) (*account.Account, error) {
		v, err := s.pick(ctx, a, ref)
		if err == nil {
			err = may(v.Role)
		}
		return v, err
	}
}

// fault gives a store's answer its meaning.
func (s Accounts) fault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, account.ErrExists):
		return &llm.Error{Kind: llm.KindConflict, Msg: "the account cannot be stored", Err: err, Problems: []llm.Problem{{At: "/email", Msg: "another account has it"}}}
	case errors.Is(err, account.ErrVersion), errors.Is(err, account.ErrNotFound):
		return &llm.Error{Kind: llm.KindConflict, Msg: "the account was changed since you read it; read it again", Err: err}
	case errors.Is(err, account.ErrLastOwner):
		return &llm.Error{Kind: llm.KindConflict, Msg: "it is the last owner who can sign in: make another first", Err: err}
	}
	if _, ok := errors.AsType[*llm.Error](err); ok {
		return err
	}
	return fmt.Errorf("accounts: %w", err)
}

// perform does an act on an account. do gives it as it is afterwards; nil: it is gone.
func (s Accounts) perform(ctx context.Context, a Actor, verb string, find func(context.Context) (*account.Account, error), do func(context.Context, *account.Account) error) (v *account.Account, err error) {
	err = s.c.Perform(ctx, a, Act("accounts."+verb), func(ctx context.Context, e *audit.Event) (err error) {
		e.Object.Kind = "account"
		v, err = find(ctx)
		if err != nil {
			return err
		}
		e.Org, e.Object.ID, e.Object.Name = v.Realm.Org, v.ID, v.Name
		if v.Version != 0 { // it is stored
			if e.Before, err = json.Marshal(viewAccount(v), json.Deterministic(true)); err != nil {
				return err
			}
		}
		if err := do(ctx, v); err != nil {
			return s.fault(err)
		}
		if verb != "delete" {
			e.After, err = json.Marshal(viewAccount(v), json.Deterministic(true))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.c.o.Log.Info("account changed", "event", "account_changed", "actor", a.Name, "act", verb, "id", v.ID)
	return v, nil
}

// set gives an account a role and a realm, if the actor may; the realm is within their own.
func (a Actor) set(v *account.Account, role Role, realm account.Realm) error {
	switch {
	case !account.RoleAny(role):
		return problems{{At: "/role", Msg: "must be one of " + roleNames(Roles)}}.err()
	case (role == RoleMember) != (realm.Kind == directory.KindUser):
		return errMemberRealm
	}
	if err := a.gives(role); err != nil {
		return err
	}
	v.Role, v.Realm = role, realm
	return nil
}

var errMemberRealm = problems{{At: "/realm", Msg: "a member's realm is a user, and nobody else's is: give realm.user for the role member, and for no other"}}.err()

// realm finds what bounds a role that the actor gives. It is within their own.
func (c *Control) realm(ctx context.Context, a Actor, in RealmChange) (account.Realm, error) {
	if in == (RealmChange{}) {
		return a.realm(), nil
	}
	if in.Team != "" && in.User != "" {
		return account.Realm{}, problems{{At: "/realm", Msg: "give a team or a user, not both"}}.err()
	}
	org, team, user, err := c.resolve(ctx, a, c.homeOf(a, in.Organisation), in.Team, in.User)
	if err != nil {
		return account.Realm{}, err
	}
	r := account.Realm{Kind: directory.KindOrganisation, ID: org, Org: org}
	switch {
	case team != "":
		r.Kind, r.ID = directory.KindTeam, team
	case user != "":
		r.Kind, r.ID = directory.KindUser, user
	}
	if !a.realm().Covers(r) {
		return account.Realm{}, llm.Errorf(llm.KindForbidden, "you may give nobody a realm outside your own, the %s %s", a.Kind, a.Realm)
	}
	return r, nil
}

// invite makes a one-time link.
func (s Accounts) invite(ctx context.Context, v *account.Account, reset bool) (*Invited, error) {
	mint, err := account.NewMint(s.c.o.Hasher, s.c.o.Random)
	if err != nil {
		return nil, err
	}
	token, hash, err := mint.Link()
	if err != nil {
		return nil, fmt.Errorf("draw link: %w", err)
	}
	in := &Invited{Token: token, Expires: s.c.now().Add(linkLives)}
	err = s.c.o.Accounts.CreateLink(ctx, &account.Link{Hash: hash, Account: v.ID, Reset: reset, Expires: in.Expires})
	return in, err
}

// email checks an address.
func email(s string) (string, error) {
	e := account.NormalEmail(s)
	if e == "" {
		return "", problems{{At: "/email", Msg: "is no e-mail address, such as ada@example.org"}}.err()
	}
	return e, nil
}

// Create makes an account and invites its owner.
func (s Accounts) Create(ctx context.Context, a Actor, in NewAccount) (*Invited, error) {
	return s.create(ctx, a, func(ctx context.Context) (*account.Account, error) {
		address, err := email(in.Email)
		if err != nil {
			return nil, err
		}
		return s.fresh(ctx, a, address, cmp.Or(in.Name, address), in.Role, in.Realm)
	})
}

// create stores an account that fresh gives, and invites its owner.
func (s Accounts) create(ctx context.Context, a Actor, fresh func(context.Context) (*account.Account, error)) (out *Invited, err error) {
	v, err := s.perform(ctx, a, "create", fresh, func(ctx context.Context, v *account.Account) (err error) {
		if err := s.c.o.Accounts.Create(ctx, v); err != nil {
			return err
		}
		out, err = s.invite(ctx, v, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.Account = *viewAccount(v)
	return out, nil
}

// fresh makes an account that is not stored yet.
func (s Accounts) fresh(ctx context.Context, a Actor, address, name string, role Role, realm RealmChange) (*account.Account, error) {
	if why := nameProblem(name); why != "" {
		return nil, problems{{At: "/name", Msg: why}}.err()
	}
	id, err := directory.NewID(s.c.o.Random)
	if err != nil {
		return nil, fmt.Errorf("draw id: %w", err)
	}
	within, err := s.c.realm(ctx, a, realm)
	if err != nil {
		return nil, err
	}
	now := s.c.now()
	v := &account.Account{ID: id, Name: name, Email: address, Created: now, Updated: now, Maker: a.Name}
	return v, a.set(v, role, within)
}

// Show gives one, by its id or e-mail address. Everybody may see their own.
func (s Accounts) Show(ctx context.Context, a Actor, ref string) (*AccountView, error) {
	v, err := s.pick(ctx, a, cmp.Or(ref, a.Account))
	if err == nil && a.own(v.ID) {
		return viewAccount(v), nil
	}
	if denied := a.May("accounts.read"); denied != nil {
		return nil, denied
	}
	return shown(viewAccount)(v, err)
}

// filter is what an actor sees of a list.
func (c *Control) filter(ctx context.Context, a Actor, l List) (f account.Filter, err error) {
	if l.Team != "" || l.User != "" || l.Name != "" || !isText(l.After) || len(l.After) > 64 {
		return f, llm.Errorf(llm.KindInvalid, "this list takes organisation, after and limit; after must be as the lists have it")
	}
	f = account.Filter{After: l.After, Limit: l.Limit}
	if l.Organisation != "" {
		if f.Org, _, _, err = c.resolve(ctx, a, l.Organisation, "", ""); err != nil {
			return f, err
		}
	}
	switch a.Kind { // whatever was asked for
	case "":
	case directory.KindOrganisation:
		f.Org = a.Realm
	default:
		f.Kind, f.ID, f.Org = a.Kind, a.Realm, a.Org
	}
	return f, nil
}

// List gives many.
func (s Accounts) List(ctx context.Context, a Actor, l List) (*Page[AccountView], error) {
	if err := a.May("accounts.read"); err != nil {
		return nil, err
	}
	f, err := s.c.filter(ctx, a, l)
	if err != nil {
		return nil, err
	}
	list, next, err := s.c.o.Accounts.Accounts(ctx, f)
	return paged(viewAccount)(list, next, s.fault(err))
}

// Update changes one. Nobody changes their own role or realm. Whoever gets another role, realm or address is signed out everywhere.
func (s Accounts) Update(ctx context.Context, a Actor, ref string, in AccountUpdate) (*AccountView, error) {
	return shown(viewAccount)(s.perform(ctx, a, "update", func(ctx context.Context) (*account.Account, error) {
		v, err := s.pick(ctx, a, ref)
		switch {
		case err != nil:
			return nil, err
		case in.Version != 0 && in.Version != v.Version:
			return nil, s.fault(account.ErrVersion)
		case a.isSelf(v.ID) && (in.Role.Given || in.Realm.Given):
			return nil, llm.Errorf(llm.KindForbidden, "nobody changes their own role or realm: ask another owner")
		case !a.own(v.ID):
			return v, a.gives(v.Role)
		}
		return v, nil
	}, func(ctx context.Context, v *account.Account) error {
		was := *v
		if err := s.apply(ctx, a, v, &in); err != nil {
			return err
		}
		v.Updated = s.c.now()
		if err := s.c.o.Accounts.Update(ctx, v); err != nil {
			return err
		}
		if was.Role == v.Role && was.Realm == v.Realm && was.Email == v.Email {
			return nil
		}
		_, err := s.c.o.Accounts.EndSessions(ctx, v.ID, "")
		return err
	}))
}

func (s Accounts) apply(ctx context.Context, a Actor, v *account.Account, in *AccountUpdate) (err error) {
	if in.Name.Given {
		if why := nameProblem(in.Name.Value); why != "" {
			return problems{{At: "/name", Msg: why}}.err()
		}
		v.Name = in.Name.Value
	}
	if in.Email.Given {
		if v.Email, err = email(in.Email.Value); err != nil {
			return err
		}
	}
	if !in.Role.Given && !in.Realm.Given {
		return nil
	}
	if v.Issuer != "" {
		return llm.Errorf(llm.KindConflict, "role and realm come from %s at each sign-in: change the person's groups there, or sign_in.oidc.roles", v.Issuer)
	}
	role, realm := v.Role, v.Realm
	if in.Role.Given {
		role = in.Role.Value
	}
	if in.Realm.Given {
		if realm, err = s.c.realm(ctx, a, in.Realm.Value); err != nil {
			return err
		}
	}
	return a.set(v, role, realm)
}

// SetDisabled disables one, which ends its sessions, or enables it.
func (s Accounts) SetDisabled(ctx context.Context, a Actor, ref string, disabled bool) (*AccountView, error) {
	verb, may := "enable", a.gives
	if disabled {
		verb, may = "disable", a.above
	}
	return shown(viewAccount)(s.perform(ctx, a, verb, s.touch(a, ref, may),
		func(ctx context.Context, v *account.Account) error {
			v.Disabled, v.Updated = disabled, s.c.now()
			if err := s.c.o.Accounts.Update(ctx, v); err != nil || !disabled {
				return err
			}
			_, err := s.c.o.Accounts.EndSessions(ctx, v.ID, "")
			return err
		}))
}

// Delete removes one, with its sessions and the tokens it made.
func (s Accounts) Delete(ctx context.Context, a Actor, ref string, version int64) (*AccountView, error) {
	return shown(viewAccount)(s.perform(ctx, a, "delete", s.touch(a, ref, a.above),
		func(ctx context.Context, v *account.Account) error {
			return s.c.o.Accounts.Delete(ctx, v.ID, cmp.Or(version, v.Version))
		}))
}

// Reset gives a one-time link by which its owner sets a password. Their one-time codes and sessions go when the link is used, not before.
func (s Accounts) Reset(ctx context.Context, a Actor, ref string) (*Invited, error) {
	var out *Invited
	v, err := s.perform(ctx, a, "reset", s.touch(a, ref, a.gives),
		func(ctx context.Context, v *account.Account) (err error) {
			if v.Issuer != "" {
				return llm.Errorf(llm.KindConflict, "its owner signs in at %s and has no password here", v.Issuer)
			}
			out, err = s.invite(ctx, v, true)
			return err
		})
	if err != nil {
		return nil, err
	}
	out.Account = *viewAccount(v)
	return out, nil
}

// noteOwner is the note of the store that its first owner was invited.
const noteOwner = "first_owner"

// FirstOwner invites the first owner of a store that never had one, who chooses an e-mail address with the password. Of several replicas that start at
// once, one does. nil where there is an owner, or was.
func (s Accounts) FirstOwner(ctx context.Context) (*Invited, error) {
	if made, err := s.c.o.Store.Note(ctx, noteOwner, ""); err != nil || made != "" {
		return nil, err
	}
	mine, err := directory.NewID(s.c.o.Random)
	if err != nil {
		return nil, err
	}
	if made, err := s.c.o.Store.Note(ctx, noteOwner, mine); err != nil || made != mine {
		return nil, err
	}
	owners, _, err := s.c.o.Accounts.Accounts(ctx, account.Filter{Role: RoleOwner, Limit: 1})
	if err != nil || len(owners) > 0 {
		return nil, err
	}
	return s.owner(ctx, Owner("start"), "", "owner")
}

// CreateOwner makes an owner, or gives one a link by which they set another password: for whoever runs the gateway, who has lost every other way in.
func (s Accounts) CreateOwner(ctx context.Context, a Actor, address string) (*Invited, error) {
	address, err := email(address)
	if err != nil {
		return nil, err
	}
	v, err := s.c.o.Accounts.ByEmail(ctx, address)
	switch {
	case errors.Is(err, account.ErrNotFound):
		return s.owner(ctx, a, address, address)
	case err != nil:
		return nil, s.fault(err)
	case v.Role != RoleOwner:
		return nil, llm.Errorf(llm.KindConflict, "%s has an account already, whose role is %s: sluice accounts update %[1]s --role owner", address, v.Role)
	}
	return s.Reset(ctx, a, v.ID)
}

func (s Accounts) owner(ctx context.Context, a Actor, address, name string) (*Invited, error) {
	return s.create(ctx, a, func(ctx context.Context) (*account.Account, error) {
		return s.fresh(ctx, a, address, name, RoleOwner, RealmChange{})
	})
}
