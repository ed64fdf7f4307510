package control

import (
	"maps"
	"slices"
	"strings"

	"sluice/internal/account"
	"sluice/internal/llm"
)

// A Role is what somebody may do, within their realm.
type Role = account.Role

// Roles. Nobody has more than one.
const (
	RoleOwner    = account.RoleOwner
	RoleAdmin    = account.RoleAdmin
	RoleOperator = account.RoleOperator
	RoleAuditor  = account.RoleAuditor
	RoleMember   = account.RoleMember
)

// Roles are all roles, the one with the most rights first.
var Roles = account.Roles

// An Act is one thing that people can do, named object.verb.
type Act string

// A right is who may do an act.
type right struct {
	roles  []Role
	all    bool // it concerns the whole gateway: only an actor without a realm may
	secret bool // it gives something away for good: whoever does it must have shown anew that it is them
}

// acts is the one table of who may do what. Whatever is not in it nobody may do. What an actor may do it to is the realm's
// business.
var acts = func() map[Act]right {
	owner, admins := []Role{RoleOwner}, []Role{RoleOwner, RoleAdmin}
	running := []Role{RoleOwner, RoleAdmin, RoleOperator}
	seeing := []Role{RoleOwner, RoleAdmin, RoleOperator, RoleAuditor}
	auditing := []Role{RoleOwner, RoleAdmin, RoleAuditor}
	m := map[Act]right{}
	add := func(r right, names ...Act) {
		for _, name := range names {
			m[name] = r
		}
	}
	add(right{roles: Roles}, "keys.read", "usage.read")
	add(right{roles: []Role{RoleOwner, RoleAdmin, RoleMember}}, "keys.create", "keys.update", "keys.rotate", "keys.delete", "keys.disable", "keys.enable")
	add(right{roles: running}, "keys.override", "teams.override", "users.override")
	add(right{roles: running, all: true}, "organisations.override")
	add(right{roles: seeing}, "teams.read", "users.read", "organisations.read")
	add(right{roles: admins}, "teams.create", "teams.update", "teams.disable", "teams.enable", "teams.delete")
	add(right{roles: admins}, "users.create", "users.update", "users.disable", "users.enable", "users.delete")
	add(right{roles: admins, all: true}, "organisations.create", "organisations.update", "organisations.disable", "organisations.enable", "organisations.delete")
	add(right{roles: seeing}, "accounts.read", "tokens.read", "sessions.read")
	add(right{roles: admins, secret: true}, "accounts.create", "accounts.update", "accounts.delete", "accounts.disable", "accounts.enable", "accounts.reset")
	add(right{roles: admins, secret: true}, "tokens.create", "tokens.delete")
	add(right{roles: admins}, "sessions.end")
	add(right{roles: Roles}, "sessions.end_own")
	add(right{roles: seeing, all: true}, "upstreams.read", "metrics.read", "config.read", "config.plan", "prices.read", "cache.read", "explain")
	add(right{roles: running, all: true}, "upstreams.change", "cache.purge", "debug.read")
	add(right{roles: admins, all: true}, "config.apply", "config.rollback", "ledger.recompute")
	for _, kind := range []Act{"providers", "models", "deployments", "rules", "model_prices", "guards"} {
		add(right{roles: admins, all: true}, kind+".create", kind+".update", kind+".delete")
	}
	add(right{roles: admins, all: true, secret: true}, "credentials.change", "credentials.create", "credentials.update", "credentials.delete")
	add(right{roles: auditing}, "audit.read", "audit.export")
	add(right{roles: owner, all: true, secret: true}, "audit.redact", "secrets.rotate")
	return m
}()

// Acts are all that people can do, in the order of their names.
func Acts() []Act { return slices.Sorted(maps.Keys(acts)) }

// Allowed tells who may do an act: which roles, whether only those whose realm is the whole gateway, and whether it needs a fresh
// proof of who they are.
func Allowed(act Act) (roles []Role, whole, proof bool) {
	r := acts[act]
	return slices.Clone(r.roles), r.all, r.secret
}

// May tells whether an actor may do an act at all: nil, or a refusal that says what is lacking.
func (a Actor) May(act Act) error {
	r, known := acts[act]
	switch {
	case !known || !slices.Contains(r.roles, a.Role):
		return llm.Errorf(llm.KindForbidden, "your role, %s, does not allow %s; %s may do it", a.Role, act, roleNames(r.roles))
	case r.all && a.Kind != "":
		return llm.Errorf(llm.KindForbidden, "%s concerns the whole gateway, and your role is bounded to the %s %s", act, a.Kind, a.Realm)
	case len(a.Scopes) > 0 && !slices.ContainsFunc(a.Scopes, func(s string) bool { return llm.Match(s, string(act)) }):
		return llm.Errorf(llm.KindForbidden, "the token's scopes do not allow %s", act)
	case r.secret && a.Audit.Kind == account.ByToken && !slices.Contains(a.Scopes, string(act)): // it must have been made for it, by its own name: no glob gives it
		return &llm.Error{Kind: llm.KindForbidden, Msg: string(act) + " needs a fresh proof, which no token gives: a token does it only if its scopes name it whole", Code: CodeProof}
	case r.secret && a.Audit.Kind != account.ByToken && !a.Fresh:
		return &llm.Error{Kind: llm.KindForbidden, Msg: string(act) + " needs a fresh proof that it is you: sign in again, or send your code (POST /admin/session/proof)", Code: CodeProof}
	}
	return nil
}

// CodeProof is the code of the refusal of an act that needs a fresh proof of who acts.
const CodeProof = "proof_needed"

func roleNames(roles []Role) string {
	list := make([]string, len(roles))
	for i, r := range roles {
		list[i] = string(r)
	}
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, ", ")
}
