package admin

import (
	"context"
	"slices"

	"sluice/internal/control"
	"sluice/internal/directory"
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
		standing(h, directory.KindKey, "Show what a key's limits are, its own and those of its owners, and what is spent, held and left of the budgets.", k.Show),
		update("/admin/keys/{ref}", "keys.update", "Change a key. What is left out stays; null takes a restriction away.", k.Update),
		remove("/admin/keys/{ref}", "keys.delete", "Remove a key for ever. What it has spent stays in the books.", k.Delete),
		act("/admin/keys/{ref}/rotate", "keys.rotate", "Give a key another secret, which is in the answer, once. The old one works until the grace has passed.", k.Rotate),
		act("/admin/keys/{ref}/override", "keys.override", "Give a budget of a key another amount for some periods.", k.Override),
		set("/admin/keys/{ref}/disable", "keys.disable", "Refuse a key from now on.", k.SetDisabled),
		set("/admin/keys/{ref}/enable", "keys.enable", "Take a key back into service.", k.SetDisabled),
	}
}

func (h *Handler) teams() []Route {
	return owners(h, directory.KindTeam, "a team", "that nothing belongs to", slices.Concat(byOrg, byName, page), h.o.Control.Teams())
}

func (h *Handler) users() []Route {
	return owners(h, directory.KindUser, "a user", "who has no keys", slices.Concat(byOrg, byTeam, byName, page), h.o.Control.Users())
}

func (h *Handler) organisations() []Route {
	return append(owners(h, directory.KindOrganisation, "an organisation", "that nothing belongs to", slices.Concat(byName, page), h.o.Control.Organisations()), projectStanding(h))
}

// ownerActs are what can be done with what keys belong to. In makes one and Change changes it; View is what is told of it.
type ownerActs[In, Change any, View object] interface {
	List(ctx context.Context, a control.Actor, l control.List) (*control.Page[View], error)
	Create(ctx context.Context, a control.Actor, in In) (*View, error)
	Show(ctx context.Context, a control.Actor, ref string) (*View, error)
	Update(ctx context.Context, a control.Actor, ref string, in Change) (*View, error)
	Delete(ctx context.Context, a control.Actor, ref string, version int64) (*View, error)
	Override(ctx context.Context, a control.Actor, ref string, in control.Override) (*View, error)
	SetDisabled(ctx context.Context, a control.Actor, ref string, disabled bool) (*View, error)
}

// owners are the routes of one kind of what keys belong to. one is what people call it, with its article; those that can be removed are
// the ones that idle says.
func owners[In, Change any, View object, P bounded[Change]](h *Handler, kind directory.Kind, one, idle string, query []Param, s ownerActs[In, Change, View]) []Route {
	path := "/admin/" + string(kind) + "s"
	ref := path + "/{ref}"
	verb := func(v string) control.Act { return control.Act(string(kind) + "s." + v) }
	return []Route{
		list(path, verb("read"), "List "+string(kind)+"s.", query, s.List),
		create(h, path, verb("create"), "Make "+one+".", s.Create, s.Show),
		show(ref, verb("read"), "Show "+one+".", s.Show),
		standing(h, kind, "Show the limits that hold for "+one+", and what is spent, held and left of the budgets.", s.Show),
		update[Change, P](ref, verb("update"), "Change "+one+".", s.Update),
		remove(ref, verb("delete"), "Remove "+one+" "+idle+".", s.Delete),
		act(ref+"/override", verb("override"), "Give a budget of "+one+" another amount for some periods.", s.Override),
		set(ref+"/disable", verb("disable"), "Refuse "+one+"'s keys from now on.", s.SetDisabled),
		set(ref+"/enable", verb("enable"), "Take "+one+"'s keys back into service.", s.SetDisabled),
	}
}
