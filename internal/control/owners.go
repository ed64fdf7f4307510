package control

import (
	"cmp"
	"context"
	"fmt"

	"sluice/internal/directory"
)

// Organisations are the acts on organisations.
type Organisations struct{ c *Control }

// Teams are the acts on teams.
type Teams struct{ c *Control }

// Users are the acts on users.
type Users struct{ c *Control }

// Organisations gives the acts on organisations.
func (c *Control) Organisations() Organisations { return Organisations{c} }

// Teams gives the acts on teams.
func (c *Control) Teams() Teams { return Teams{c} }

// Users gives the acts on users.
func (c *Control) Users() Users { return Users{c} }

func (c *Control) orgs() *table[directory.Organisation, *directory.Organisation] {
	return &table[directory.Organisation, *directory.Organisation]{
		c: c, kind: directory.KindOrganisation, rows: c.o.Store.Organisations(),
		place: func(o *directory.Organisation) place {
			return place{kind: directory.KindOrganisation, id: o.ID, org: o.ID}
		},
		view:    func(o *directory.Organisation) any { return viewOrganisation(o) },
		parents: func(context.Context, *directory.Organisation) ([]parent, error) { return nil, nil },
	}
}

func (c *Control) teams() *table[directory.Team, *directory.Team] {
	return &table[directory.Team, *directory.Team]{
		c: c, kind: directory.KindTeam, rows: c.o.Store.Teams(),
		place: func(t *directory.Team) place {
			return place{kind: directory.KindTeam, id: t.ID, org: t.Org, team: t.ID}
		},
		view: func(t *directory.Team) any { return viewTeam(t) },
		parents: func(ctx context.Context, t *directory.Team) ([]parent, error) {
			return c.parents(ctx, t.Org, "", "")
		},
	}
}

func (c *Control) users() *table[directory.User, *directory.User] {
	return &table[directory.User, *directory.User]{
		c: c, kind: directory.KindUser, rows: c.o.Store.Users(),
		place: func(u *directory.User) place {
			return place{kind: directory.KindUser, id: u.ID, org: u.Org, user: u.ID}
		},
		view: func(u *directory.User) any { return viewUser(u) },
		parents: func(ctx context.Context, u *directory.User) ([]parent, error) {
			return c.parents(ctx, u.Org, "", "")
		},
	}
}

// parents are owners, the nearest first.
func (c *Control) parents(ctx context.Context, org, team, user string) (list []parent, err error) {
	add := func(kind directory.Kind, b *directory.Record) {
		list = append(list, parent{fmt.Sprintf("the %s %s", kind, b.Name), &b.Spec})
	}
	if user != "" {
		u, err := c.users().get(ctx, user)
		if err != nil {
			return nil, c.users().fault(err, user)
		}
		add(directory.KindUser, &u.Record)
	}
	if team != "" {
		t, err := c.teams().get(ctx, team)
		if err != nil {
			return nil, c.teams().fault(err, team)
		}
		add(directory.KindTeam, &t.Record)
	}
	o, err := c.orgs().get(ctx, org)
	if err != nil {
		return nil, c.orgs().fault(err, org)
	}
	add(directory.KindOrganisation, &o.Record)
	return list, nil
}

// fresh draws an id and fills a new record with what was said of it.
func (c *Control) fresh(ch *Change) (b directory.Record, err error) {
	if b.ID, err = directory.NewID(c.o.Random); err != nil {
		return b, err
	}
	ch.Name.Given = true // it must be
	return b, ch.apply(&b)
}

// NewOrganisation is what an organisation is made of.
type NewOrganisation struct {
	Change
}

// Create makes an organisation.
func (s Organisations) Create(ctx context.Context, a Actor, in NewOrganisation) (*OrganisationView, error) {
	return shown(viewOrganisation)(s.c.orgs().create(ctx, a, func(context.Context) (*directory.Organisation, error) {
		b, err := s.c.fresh(&in.Change)
		return &directory.Organisation{Record: b}, err
	}))
}

// Show gives one, by its id or name.
func (s Organisations) Show(ctx context.Context, a Actor, ref string) (*OrganisationView, error) {
	return shown(viewOrganisation)(s.c.orgs().show(ctx, a, ref))
}

// List gives many. next is "" at the end, else what After must be for more.
func (s Organisations) List(ctx context.Context, a Actor, l List) (*Page[OrganisationView], error) {
	return paged(viewOrganisation)(s.c.orgs().list(ctx, a, l))
}

// Update changes one.
func (s Organisations) Update(ctx context.Context, a Actor, ref string, in Update) (*OrganisationView, error) {
	return shown(viewOrganisation)(s.c.orgs().update(ctx, a, "update", ref, in.Version, true, func(_ context.Context, o *directory.Organisation) error { return in.apply(&o.Record) }))
}

// SetDisabled disables or enables one, and so all that belongs to it.
func (s Organisations) SetDisabled(ctx context.Context, a Actor, ref string, disabled bool) (*OrganisationView, error) {
	return shown(viewOrganisation)(s.c.orgs().setDisabled(ctx, a, ref, disabled))
}

// Override gives a budget of one another amount for some periods.
func (s Organisations) Override(ctx context.Context, a Actor, ref string, in Override) (*OrganisationView, error) {
	return shown(viewOrganisation)(s.c.orgs().override(ctx, a, ref, in))
}

// Delete removes one that nothing belongs to.
func (s Organisations) Delete(ctx context.Context, a Actor, ref string, version int64) (*OrganisationView, error) {
	return shown(viewOrganisation)(s.c.orgs().delete(ctx, a, ref, version))
}

// NewTeam is what a team is made of.
type NewTeam struct {
	Organisation string `json:"organisation,omitzero"` // id or name; the default one when left out
	Change
}

// Create makes a team.
func (s Teams) Create(ctx context.Context, a Actor, in NewTeam) (*TeamView, error) {
	return shown(viewTeam)(s.c.teams().create(ctx, a, func(ctx context.Context) (*directory.Team, error) {
		b, err := s.c.fresh(&in.Change)
		if err != nil {
			return nil, err
		}
		t := directory.Team{Record: b}
		t.Org, _, _, err = s.c.resolve(ctx, a, s.c.homeOf(a, in.Organisation), "", "")
		return &t, err
	}))
}

// homeOf is the organisation of what an actor makes where none is named.
func (c *Control) homeOf(a Actor, named string) string {
	return cmp.Or(named, a.Org, directory.DefaultOrganisation)
}

// Show gives one, by its id or name.
func (s Teams) Show(ctx context.Context, a Actor, ref string) (*TeamView, error) {
	return shown(viewTeam)(s.c.teams().show(ctx, a, ref))
}

// List gives many.
func (s Teams) List(ctx context.Context, a Actor, l List) (*Page[TeamView], error) {
	return paged(viewTeam)(s.c.teams().list(ctx, a, l))
}

// Update changes one.
func (s Teams) Update(ctx context.Context, a Actor, ref string, in Update) (*TeamView, error) {
	return shown(viewTeam)(s.c.teams().update(ctx, a, "update", ref, in.Version, true, func(_ context.Context, t *directory.Team) error { return in.apply(&t.Record) }))
}

// SetDisabled disables or enables one, and so all that belongs to it.
func (s Teams) SetDisabled(ctx context.Context, a Actor, ref string, disabled bool) (*TeamView, error) {
	return shown(viewTeam)(s.c.teams().setDisabled(ctx, a, ref, disabled))
}

// Override gives a budget of one another amount for some periods.
func (s Teams) Override(ctx context.Context, a Actor, ref string, in Override) (*TeamView, error) {
	return shown(viewTeam)(s.c.teams().override(ctx, a, ref, in))
}

// Delete removes one that nothing belongs to.
func (s Teams) Delete(ctx context.Context, a Actor, ref string, version int64) (*TeamView, error) {
	return shown(viewTeam)(s.c.teams().delete(ctx, a, ref, version))
}

// NewUser is what a user is made of.
type NewUser struct {
	Organisation string `json:"organisation,omitzero"` // id or name; the default one when left out
	UserChange
}

// UserChange is what people may say about a user.
type UserChange struct {
	Email Maybe[string]   `json:"email,omitzero"`
	Teams Maybe[[]string] `json:"teams,omitzero"` // ids or names; all of them
	Change
}

// UserUpdate is a change of a user.
type UserUpdate struct {
	Version int64 `json:"-"`
	UserChange
}

// At bounds it to a version.
func (u *UserUpdate) At(version int64) { u.Version = version }

// Create makes a user.
func (s Users) Create(ctx context.Context, a Actor, in NewUser) (*UserView, error) {
	return shown(viewUser)(s.c.users().create(ctx, a, func(ctx context.Context) (*directory.User, error) {
		b, err := s.c.fresh(&in.Change)
		if err != nil {
			return nil, err
		}
		u := directory.User{Record: b}
		if u.Org, _, _, err = s.c.resolve(ctx, a, s.c.homeOf(a, in.Organisation), "", ""); err != nil {
			return nil, err
		}
		return &u, s.apply(ctx, a, &u, &in.UserChange)
	}))
}

// apply changes what only users have.
func (s Users) apply(ctx context.Context, a Actor, u *directory.User, in *UserChange) error {
	var p problems
	if in.Email.Given {
		if u.Email = in.Email.Value; u.Email != "" && !(emailForm.MatchString(u.Email) && isText(u.Email)) {
			p.add("/email", "is no e-mail address")
		}
	}
	if in.Teams.Given {
		if len(in.Teams.Value) > maxList {
			p.add("/teams", "has %d entries; %d are allowed", len(in.Teams.Value), maxList)
			return p.err()
		}
		u.Teams = nil
		for _, ref := range in.Teams.Value {
			_, id, _, err := s.c.resolve(ctx, a, u.Org, ref, "")
			if err != nil {
				return err
			}
			u.Teams = append(u.Teams, id)
		}
		u.Teams = sortedSet(u.Teams)
	}
	return p.err()
}

// Show gives one, by its id or name.
func (s Users) Show(ctx context.Context, a Actor, ref string) (*UserView, error) {
	return shown(viewUser)(s.c.users().show(ctx, a, ref))
}

// List gives many.
func (s Users) List(ctx context.Context, a Actor, l List) (*Page[UserView], error) {
	return paged(viewUser)(s.c.users().list(ctx, a, l))
}

// Update changes one.
func (s Users) Update(ctx context.Context, a Actor, ref string, in UserUpdate) (*UserView, error) {
	return shown(viewUser)(s.c.users().update(ctx, a, "update", ref, in.Version, true, func(ctx context.Context, u *directory.User) error {
		if err := in.apply(&u.Record); err != nil {
			return err
		}
		return s.apply(ctx, a, u, &in.UserChange)
	}))
}

// SetDisabled disables or enables one, and so all their keys.
func (s Users) SetDisabled(ctx context.Context, a Actor, ref string, disabled bool) (*UserView, error) {
	return shown(viewUser)(s.c.users().setDisabled(ctx, a, ref, disabled))
}

// Override gives a budget of one another amount for some periods.
func (s Users) Override(ctx context.Context, a Actor, ref string, in Override) (*UserView, error) {
	return shown(viewUser)(s.c.users().override(ctx, a, ref, in))
}

// Delete removes one who has no keys.
func (s Users) Delete(ctx context.Context, a Actor, ref string, version int64) (*UserView, error) {
	return shown(viewUser)(s.c.users().delete(ctx, a, ref, version))
}
