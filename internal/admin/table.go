package admin

import (
	"context"
	"slices"

	"sluice/internal/control"
)

// routes is the table: all that this listener serves.
func (h *Handler) routes() []Route {
	return slices.Concat(h.own(), h.sessions(), h.people(), h.keys(), h.teams(), h.users(), h.organisations(), h.running(), h.cached(), h.ledger(), h.settings(), h.audits())
}

var (
	byName = []Param{{Name: "name", Doc: "Only those of this name."}}
	byOrg  = []Param{{Name: "organisation", Doc: "Only those of this organisation, by id or name."}}
	byTeam = []Param{{Name: "team", Doc: "Only those of this team, by id or name."}}
	byUser = []Param{{Name: "user", Doc: "Only those of this user, by id or name."}}
)

func (h *Handler) keys() []Route {
	k := h.o.Control.Keys()
	again := func(ctx context.Context, a control.Actor, id string) (*control.Secret, error) {
		d, err := k.Show(ctx, a, id)
		if err != nil {
			return nil, err
		}
		return &control.Secret{KeyView: d.KeyView}, nil
	}
	return []Route{
		list("/admin/keys", "keys.read", "List keys.", slices.Concat(byOrg, byTeam, byUser, byName, page), k.List),
		create(h, "/admin/keys", "keys.create", "Make a key, or take one over. The answer has its secret, once.", k.Create, again),
		show("/admin/keys/{ref}", "keys.read", "Show a key, and what it may do in the end.", k.Show),
		update("/admin/keys/{ref}", "keys.update", "Change a key. What is left out stays; null takes a restriction away.", k.Update),
		remove("/admin/keys/{ref}", "keys.delete", "Remove a key for ever. What it has spent stays in the books.", k.Delete),
		act("/admin/keys/{ref}/rotate", "keys.rotate", "Give a key another secret, which is in the answer, once. The old one works until the grace has passed.", k.Rotate),
		act("/admin/keys/{ref}/override", "keys.override", "Give a budget of a key another amount for some periods.", k.Override),
		set("/admin/keys/{ref}/disable", "keys.disable", "Refuse a key from now on.", k.SetDisabled),
		set("/admin/keys/{ref}/enable", "keys.enable", "Take a key back into service.", k.SetDisabled),
	}
}

func (h *Handler) teams() []Route {
	t := h.o.Control.Teams()
	return []Route{
		list("/admin/teams", "teams.read", "List teams.", slices.Concat(byOrg, byName, page), t.List),
		create(h, "/admin/teams", "teams.create", "Make a team.", t.Create, t.Show),
		show("/admin/teams/{ref}", "teams.read", "Show a team.", t.Show),
		update("/admin/teams/{ref}", "teams.update", "Change a team.", t.Update),
		remove("/admin/teams/{ref}", "teams.delete", "Remove a team that nothing belongs to.", t.Delete),
		act("/admin/teams/{ref}/override", "teams.override", "Give a budget of a team another amount for some periods.", t.Override),
		set("/admin/teams/{ref}/disable", "teams.disable", "Refuse a team's keys from now on.", t.SetDisabled),
		set("/admin/teams/{ref}/enable", "teams.enable", "Take a team's keys back into service.", t.SetDisabled),
	}
}

func (h *Handler) users() []Route {
	u := h.o.Control.Users()
	return []Route{
		list("/admin/users", "users.read", "List users.", slices.Concat(byOrg, byTeam, byName, page), u.List),
		create(h, "/admin/users", "users.create", "Make a user.", u.Create, u.Show),
		show("/admin/users/{ref}", "users.read", "Show a user.", u.Show),
		update("/admin/users/{ref}", "users.update", "Change a user.", u.Update),
		remove("/admin/users/{ref}", "users.delete", "Remove a user who has no keys.", u.Delete),
		act("/admin/users/{ref}/override", "users.override", "Give a budget of a user another amount for some periods.", u.Override),
		set("/admin/users/{ref}/disable", "users.disable", "Refuse a user's keys from now on.", u.SetDisabled),
		set("/admin/users/{ref}/enable", "users.enable", "Take a user's keys back into service.", u.SetDisabled),
	}
}

func (h *Handler) organisations() []Route {
	o := h.o.Control.Organisations()
	return []Route{
		list("/admin/organisations", "organisations.read", "List organisations.", slices.Concat(byName, page), o.List),
		create(h, "/admin/organisations", "organisations.create", "Make an organisation.", o.Create, o.Show),
		show("/admin/organisations/{ref}", "organisations.read", "Show an organisation.", o.Show),
		update("/admin/organisations/{ref}", "organisations.update", "Change an organisation.", o.Update),
		remove("/admin/organisations/{ref}", "organisations.delete", "Remove an organisation that nothing belongs to.", o.Delete),
		act("/admin/organisations/{ref}/override", "organisations.override", "Give a budget of an organisation another amount for some periods.", o.Override),
		set("/admin/organisations/{ref}/disable", "organisations.disable", "Refuse all keys of an organisation from now on.", o.SetDisabled),
		set("/admin/organisations/{ref}/enable", "organisations.enable", "Take an organisation's keys back into service.", o.SetDisabled),
	}
}
