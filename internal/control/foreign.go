package control

import (
	"context"
	"fmt"

	"sluice/internal/account"
	"sluice/internal/llm"
)

// ForeignRealm finds the realm of a role that somebody has by what a provider of identities says: the organisation or team that
// the configuration names, by id or name. A member's is the user of the organisation whose name is their e-mail address, which the
// provider must have verified; there is one after the first sign-in.
func (s Accounts) ForeignRealm(ctx context.Context, role Role, org, team, address string) (account.Realm, error) {
	root := Owner("sign-in")
	in := RealmChange{Organisation: org, Team: team}
	if role != RoleMember {
		r, err := s.c.realm(ctx, root, in)
		return r, homeless(err)
	}
	if address == "" {
		return account.Realm{}, llm.Errorf(llm.KindForbidden, "the provider of identities has no verified e-mail address of you, by which a member is known here")
	}
	in = RealmChange{Organisation: org, User: address}
	r, err := s.c.realm(ctx, root, in)
	if err == nil || llm.AsError(err).Kind != llm.KindNotFound {
		return r, homeless(err)
	}
	fresh := NewUser{Organisation: org}
	fresh.Name, fresh.Email = Some(address), Some(address)
	if _, err := s.c.Users().Create(ctx, root, fresh); err != nil && llm.AsError(err).Kind != llm.KindConflict { // made meanwhile
		return account.Realm{}, homeless(err)
	}
	r, err = s.c.realm(ctx, root, in)
	return r, homeless(err)
}

// homeless says of a mistake in the configuration no more than the person needs to know who is kept out by it.
func homeless(err error) error {
	if k := llm.AsError(err).Kind; err == nil || k == llm.KindInternal || k == llm.KindOverloaded {
		return err
	}
	return &llm.Error{Kind: llm.KindForbidden, Msg: "the role that your groups give cannot be given: ask who runs the gateway", Err: fmt.Errorf("sign_in.oidc.roles: %w", err)}
}

// Owned tells whether there is an owner of the whole gateway who can sign in.
func (s Accounts) Owned(ctx context.Context) (bool, error) {
	f := account.Filter{Role: RoleOwner}
	for {
		list, next, err := s.c.o.Accounts.Accounts(ctx, f)
		if err != nil {
			return false, s.fault(err)
		}
		for i := range list {
			if list[i].Usable() && list[i].Realm == (account.Realm{}) {
				return true, nil
			}
		}
		if next == "" {
			return false, nil
		}
		f.After = next
	}
}
