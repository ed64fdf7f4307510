package control

import (
	"slices"
	"time"

	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/rules"
)

// View is what is told of any subject. It has no member for anything secret.
type View struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Disabled  bool              `json:"disabled"`
	Models    []string          `json:"models,omitzero"`
	Endpoints []string          `json:"endpoints,omitzero"`
	Rules     []rules.Rule      `json:"rules,omitzero"`
	AllowFrom []string          `json:"allow_from,omitzero"`
	Tags      []string          `json:"tags,omitzero"`
	Guards    []string          `json:"guards,omitzero"`
	Overrides []string          `json:"overrides,omitzero"`
	Cache     string            `json:"cache,omitzero"`
	Project   string            `json:"project,omitzero"`
	Metadata  map[string]string `json:"metadata,omitzero"`
	Expires   time.Time         `json:"expires,omitzero"`
	Created   time.Time         `json:"created"`
	Updated   time.Time         `json:"updated"`
	Maker     string            `json:"maker,omitzero"`
	Version   int64             `json:"version"`
}

// Tag is what names the object, and the state that was seen.
func (v View) Tag() (id string, version int64) { return v.ID, v.Version }

// OrganisationView is what is told of an organisation.
type OrganisationView struct {
	View
}

// TeamView is what is told of a team.
type TeamView struct {
	Organisation string `json:"organisation"` // ids here and below
	View
}

// UserView is what is told of a user.
type UserView struct {
	Organisation string   `json:"organisation"`
	Email        string   `json:"email,omitzero"`
	Teams        []string `json:"teams,omitzero"`
	View
}

// KeyView is what is told of a key. Its id is the public part, where it is a key of our own form.
type KeyView struct {
	Organisation string    `json:"organisation"`
	Team         string    `json:"team,omitzero"`
	User         string    `json:"user,omitzero"`
	Rotated      time.Time `json:"rotated,omitzero"`
	OldEnds      time.Time `json:"old_key_ends,omitzero"` // until when the key before the last rotation works, too
	View
}

// KeyDetails is a key, and what it may do in the end.
type KeyDetails struct {
	KeyView
	Effective Effective `json:"effective"`
}

// Effective is what a key's own limits and those of all its owners allow together.
type Effective struct {
	Disabled  bool       `json:"disabled"` // by itself, or since an owner is disabled or no longer its owner
	Expires   time.Time  `json:"expires,omitzero"`
	Models    [][]string `json:"models"` // of each of these lists a glob must fit
	Endpoints []string   `json:"endpoints,omitzero"`
	AllowFrom []string   `json:"allow_from,omitzero"`
	Tags      []string   `json:"tags,omitzero"`
	Guards    []string   `json:"guards,omitzero"` // beside those of models
	Overrides []string   `json:"overrides,omitzero"`
	Cache     string     `json:"cache,omitzero"`
	Project   string     `json:"project,omitzero"`
	Rules     []Bound    `json:"rules,omitzero"`
}

// Bound is a rule and whom it counts for.
type Bound struct {
	Subject string `json:"subject"` // key:ID, user:ID, team:ID or org:ID
	rules.Rule
}

func viewEffective(w *auth.Who) Effective {
	e := Effective{
		Disabled: w.Disabled, Expires: w.Expires, Models: append([][]string{append([]string{}, w.Models...)}, w.Within...), Endpoints: texts(w.Endpoints),
		AllowFrom: written(w.AllowFrom), Tags: w.Tags, Guards: w.Guards, Overrides: w.Asks, Cache: w.Cache, Project: w.Project,
	}
	for _, b := range w.Rules {
		e.Rules = append(e.Rules, Bound{b.Subject, rules.Write(b.Rule)})
	}
	return e
}

// Page is a part of a list. Next is what After must be for more; "" at the end.
type Page[V any] struct {
	Data []V    `json:"data"`
	Next string `json:"next,omitzero"`
}

func view(b *directory.Record) View {
	s := &b.Spec
	return View{
		ID: b.ID, Name: b.Name, Disabled: s.Disabled, Models: s.Models, Endpoints: texts(s.Endpoints), Rules: rules.WriteAll(s.Rules),
		AllowFrom: written(s.AllowFrom), Tags: s.Tags, Guards: s.Guards, Overrides: s.Asks, Cache: s.Cache, Project: s.Project, Metadata: s.Metadata, Expires: s.Expires,
		Created: b.Created, Updated: b.Updated, Maker: b.Maker, Version: b.Version,
	}
}

func viewOrganisation(o *directory.Organisation) *OrganisationView {
	return &OrganisationView{view(&o.Record)}
}

func viewTeam(t *directory.Team) *TeamView { return &TeamView{t.Org, view(&t.Record)} }

func viewUser(u *directory.User) *UserView {
	return &UserView{u.Org, u.Email, u.Teams, view(&u.Record)}
}

func viewKey(k *directory.Key) *KeyView {
	return &KeyView{k.Org, k.Team, k.User, k.Rotated, k.OldEnds, view(&k.Record)}
}

// shown makes the view of what an act gives.
func shown[T, V any](view func(*T) *V) func(*T, error) (*V, error) {
	return func(v *T, err error) (*V, error) {
		if err != nil {
			return nil, err
		}
		return view(v), nil
	}
}

// paged makes a page of what a list gives.
func paged[T, V any](view func(*T) *V) func([]T, string, error) (*Page[V], error) {
	return func(list []T, next string, err error) (*Page[V], error) {
		if err != nil {
			return nil, err
		}
		p := &Page[V]{Data: make([]V, len(list)), Next: next}
		for i := range list {
			p.Data[i] = *view(&list[i])
		}
		return p, nil
	}
}

// texts gives words as plain texts; nil stays nil.
func texts[T ~string](list []T) (out []string) {
	if list != nil {
		out = []string{}
	}
	for _, w := range list {
		out = append(out, string(w))
	}
	return out
}

func written[T interface{ String() string }](list []T) (out []string) {
	if list != nil {
		out = []string{}
	}
	for _, v := range list {
		out = append(out, v.String())
	}
	return out
}

func sortedSet(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
