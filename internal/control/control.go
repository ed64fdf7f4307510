// Package control has every act of management once: who may do it, whether it makes sense, and the one way in
// which it is done, told and recorded. The admin API and the command line are thin over it. It knows no HTTP and
// no store's technology.
package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// Options say what a Control works with.
type Options struct {
	Store    directory.Store
	Accounts account.Store  // nil: there are no acts on accounts, tokens and sessions, for tests
	Audit    audit.Recorder // nil: nothing is recorded, for tests
	History  *audit.Log     // is what Audit records into, to be read; nil: it cannot be read, for tests
	// Together runs what it is given in one transaction of the Store and of Audit, perhaps more than once; nil: each of their
	// methods is one of its own, for tests.
	Together func(ctx context.Context, do func(context.Context) error) error
	Settings SettingsOptions
	Hasher   *auth.Hasher
	Random   io.Reader                                                                      // cryptographic
	Changed  func(directory.Change)                                                         // is told of every change, after it was stored; nil: nobody
	Period   func(p llm.Period, zone *time.Location, now time.Time) (from, until time.Time) // the period that a time is in
	Log      *slog.Logger                                                                   // nil: none
	Now      func() time.Time                                                               // nil: time.Now
}

// A Control does what managers ask for.
type Control struct{ o Options }

// New makes a control.
func New(o Options) *Control {
	if o.Changed == nil {
		o.Changed = func(directory.Change) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Together == nil {
		o.Together = func(ctx context.Context, do func(context.Context) error) error { return do(ctx) }
	}
	if o.Settings.Changed == nil {
		o.Settings.Changed = func() {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Control{o}
}

// now is the time as stores keep it.
func (c *Control) now() time.Time { return c.o.Now().UTC().Truncate(time.Microsecond) }

// A place is where a record is, for the question of who may touch it.
type place struct {
	kind            directory.Kind
	id              string
	org, team, user string
}

// covers tells whether a place is in the actor's realm.
func (a Actor) covers(p place) bool {
	switch a.Kind {
	case "":
		return true
	case directory.KindOrganisation:
		return p.kind != directory.KindOrganisation && p.org == a.Realm
	case directory.KindTeam:
		return p.kind == directory.KindKey && p.team == a.Realm
	case directory.KindUser:
		return p.kind == directory.KindKey && p.user == a.Realm
	}
	return false
}

// sees tells whether the actor may look at what is at a place: at its realm, too.
func (a Actor) sees(p place) bool {
	return a.covers(p) || p.kind == a.Kind && p.id == a.Realm
}

// record is a pointer to a record of any kind.
type record[T any] interface {
	*T
	Base() *directory.Record
}

// A table is the acts that all kinds have in common.
type table[T directory.Organisation | directory.Team | directory.User | directory.Key, P record[T]] struct {
	c       *Control
	kind    directory.Kind
	rows    directory.Table[T]
	place   func(P) place
	view    func(P) any
	parents func(context.Context, P) ([]parent, error) // whose bounds hold for it
}

// show gives a record to look at.
func (t *table[T, P]) show(ctx context.Context, a Actor, ref string) (*T, error) {
	if err := a.May(Act(string(t.kind) + "s.read")); err != nil {
		return nil, err
	}
	return t.pick(ctx, a.sees, ref)
}

// begin finds a record that is to change, and puts it into the event as it was.
func (t *table[T, P]) begin(ctx context.Context, a Actor, e *audit.Event, ref string) (*T, error) {
	v, err := t.find(ctx, a, ref)
	if err != nil {
		return nil, err
	}
	t.tell(e, v)
	e.Before, err = t.shown(v)
	return v, err
}

// seen is the key under which the context of an act carries the records that it has read: none is asked for twice. An act changes one
// record, and that at its end.
type seen struct{}

// get reads a record by its id.
func (t *table[T, P]) get(ctx context.Context, id string) (*T, error) {
	all, _ := ctx.Value(seen{}).(map[string]any)
	if v, has := all[string(t.kind)+" "+id].(T); has {
		return &v, nil
	}
	v, err := t.rows.Get(ctx, id)
	if err == nil {
		t.saw(ctx, v)
	}
	return v, err
}

func (t *table[T, P]) saw(ctx context.Context, v *T) {
	if all, is := ctx.Value(seen{}).(map[string]any); is {
		all[string(t.kind)+" "+P(v).Base().ID] = *v
	}
}

// find gives a record to change.
func (t *table[T, P]) find(ctx context.Context, a Actor, ref string) (*T, error) {
	return t.pick(ctx, a.covers, ref)
}

// pick gives a record by its id, or by its name where only one has it. What is outside the actor's realm is not there.
func (t *table[T, P]) pick(ctx context.Context, within func(place) bool, ref string) (*T, error) {
	if isID(ref) {
		if v, err := t.get(ctx, ref); err == nil && within(t.place(P(v))) {
			return v, nil
		} else if err != nil && !errors.Is(err, directory.ErrNotFound) {
			return nil, t.fault(err, ref)
		}
	}
	none := llm.Errorf(llm.KindNotFound, "%s: there is none with the id or name %q", t.kind, clip(ref))
	if nameProblem(ref) != "" {
		return nil, none
	}
	var found []T
	for f := (directory.Filter{Name: ref}); ; {
		list, next, err := t.rows.List(ctx, f)
		if err != nil {
			return nil, t.fault(err, ref)
		}
		for i := range list {
			if within(t.place(P(&list[i]))) {
				t.saw(ctx, &list[i])
				found = append(found, list[i])
			}
		}
		if f.After = next; next == "" || len(found) > 1 {
			break
		}
	}
	switch len(found) {
	case 0:
		return nil, none
	case 1:
		return &found[0], nil
	}
	return nil, llm.Errorf(llm.KindConflict, "%s: several have the name %q, among them %s and %s; give the id",
		t.kind, clip(ref), P(&found[0]).Base().ID, P(&found[1]).Base().ID)
}

// List bounds which records a list has.
type List struct {
	Organisation, Team, User string // ids or names; "": all
	Name                     string
	After                    string
	Limit                    int
}

func (t *table[T, P]) list(ctx context.Context, a Actor, l List) (list []T, next string, err error) {
	if err := a.May(Act(string(t.kind) + "s.read")); err != nil {
		return nil, "", err
	}
	f := directory.Filter{Name: l.Name, After: l.After, Limit: l.Limit}
	if f.Org, f.Team, f.User, err = t.c.resolve(ctx, a, l.Organisation, l.Team, l.User); err != nil {
		return nil, "", err
	}
	if !isText(l.Name) || !isText(l.After) || len(l.After) > 64 {
		return nil, "", llm.Errorf(llm.KindInvalid, "name and after must be texts as the lists have them")
	}
	switch a.Kind { // the realm, whatever was asked for
	case directory.KindOrganisation:
		f.Org = a.Realm
	case directory.KindTeam:
		f.Team = a.Realm
	case directory.KindUser:
		f.User = a.Realm
	}
	if list, next, err = t.rows.List(ctx, f); err != nil {
		return nil, "", t.fault(err, "")
	}
	kept := list[:0]
	for i := range list {
		if a.sees(t.place(P(&list[i]))) {
			kept = append(kept, list[i])
		}
	}
	return kept, next, nil
}

// create stores a new record. make checks what was asked for and makes it.
func (t *table[T, P]) create(ctx context.Context, a Actor, make func(context.Context) (*T, error)) (*T, error) {
	return t.perform(ctx, a, "create", func(ctx context.Context, e *audit.Event) (*T, error) {
		v, err := make(ctx)
		if err != nil {
			return nil, err
		}
		b := P(v).Base()
		t.tell(e, v)
		if !a.covers(t.place(P(v))) {
			return nil, llm.Errorf(llm.KindForbidden, "%s: you may not make one here", t.kind)
		}
		if err := t.c.guarded(ctx, nil, b.Spec.Guards); err != nil {
			return nil, err
		}
		if err := t.bounded(ctx, v); err != nil {
			return nil, err
		}
		b.Created, b.Maker = t.c.now(), a.Name
		b.Updated = b.Created
		if err := t.rows.Create(ctx, v); err != nil {
			return nil, t.fault(err, b.Name)
		}
		e.After, err = t.shown(v)
		return v, err
	})
}

// bounded refuses a record that would have more than its owners.
func (t *table[T, P]) bounded(ctx context.Context, v *T) error {
	parents, err := t.parents(ctx, P(v))
	if err != nil {
		return err
	}
	if problems := exceeds(t.kind, &P(v).Base().Spec, parents); len(problems) > 0 {
		return &llm.Error{Kind: llm.KindForbidden, Msg: "nothing can be given more than its owners have", Problems: problems}
	}
	return nil
}

// update changes a record. With a version, only what was not changed since then; without one, whatever is there.
// widens tells that the change may give something, so that the bounds of the owners are looked at.
func (t *table[T, P]) update(ctx context.Context, a Actor, act, ref string, version int64, widens bool, change func(context.Context, *T) error) (*T, error) {
	for tries := 0; ; tries++ {
		v, err := t.updateOnce(ctx, a, act, ref, version, widens, change)
		if !errors.Is(err, directory.ErrVersion) || version != 0 || tries >= 5 {
			return v, err
		}
	}
}

func (t *table[T, P]) updateOnce(ctx context.Context, a Actor, act, ref string, version int64, widens bool, change func(context.Context, *T) error) (*T, error) {
	return t.perform(ctx, a, act, func(ctx context.Context, e *audit.Event) (*T, error) {
		v, err := t.begin(ctx, a, e, ref)
		if err != nil {
			return nil, err
		}
		b := P(v).Base()
		if version != 0 && b.Version != version {
			return nil, t.fault(directory.ErrVersion, ref)
		}
		had := b.Spec.Guards
		if err := change(ctx, v); err != nil {
			return nil, err
		}
		if err := t.c.guarded(ctx, had, b.Spec.Guards); err != nil {
			return nil, err
		}
		if !a.covers(t.place(P(v))) {
			return nil, llm.Errorf(llm.KindForbidden, "%s: you may not move it there", t.kind)
		}
		if widens {
			if err := t.bounded(ctx, v); err != nil {
				return nil, err
			}
		}
		b.Updated = t.c.now()
		if err := t.rows.Update(ctx, v); err != nil {
			return nil, t.fault(err, ref)
		}
		e.After, err = t.shown(v)
		return v, err
	})
}

func (t *table[T, P]) delete(ctx context.Context, a Actor, ref string, version int64) (*T, error) {
	return t.perform(ctx, a, "delete", func(ctx context.Context, e *audit.Event) (*T, error) {
		v, err := t.begin(ctx, a, e, ref)
		if err != nil {
			return nil, err
		}
		b := P(v).Base()
		if err := t.rows.Delete(ctx, b.ID, cmp.Or(version, b.Version)); err != nil {
			return nil, t.fault(err, ref)
		}
		return v, nil
	})
}

// perform does one act on a record, and tells the rest of the program once it is certain.
func (t *table[T, P]) perform(ctx context.Context, a Actor, verb string, do func(context.Context, *audit.Event) (*T, error)) (v *T, err error) {
	err = t.c.Perform(ctx, a, Act(string(t.kind)+"s."+verb), func(ctx context.Context, e *audit.Event) (err error) {
		e.Object.Kind = string(t.kind)
		v, err = do(ctx, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	t.done(a, verb, P(v).Base())
	return v, nil
}

// tell names a record in an event.
func (t *table[T, P]) tell(e *audit.Event, v *T) {
	b, at := P(v).Base(), t.place(P(v))
	e.Org = at.org
	e.Object.ID, e.Object.Name, e.Object.Person = b.ID, b.Name, at.user
}

// shown is a record as the audit log keeps it: as people are told of it, so without anything secret, and without its maker, who
// may be somebody else: what the log says of a person is under that person's key.
func (t *table[T, P]) shown(v *T) (jsontext.Value, error) {
	c := *v
	P(&c).Base().Maker = ""
	return json.Marshal(t.view(P(&c)), json.Deterministic(true))
}

// done tells of an act that was done.
func (t *table[T, P]) done(a Actor, verb string, b *directory.Record) {
	t.c.o.Changed(directory.Change{Kind: t.kind, ID: b.ID})
	t.c.o.Log.Info("directory changed", "event", "directory_changed", "actor", a.Name, "act", verb, "kind", string(t.kind), "id", b.ID, "version", b.Version)
}

// fault gives a store's answer its meaning.
func (t *table[T, P]) fault(err error, ref string) error {
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return llm.Errorf(llm.KindNotFound, "%s: there is none with the id or name %q", t.kind, clip(ref))
	case errors.Is(err, directory.ErrExists):
		return &llm.Error{Kind: llm.KindConflict, Msg: fmt.Sprintf("the %s cannot be stored", t.kind), Err: err, Problems: []llm.Problem{{At: "/name", Msg: "the name, or the key itself, is taken: choose another"}}}
	case errors.Is(err, directory.ErrVersion):
		return &llm.Error{Kind: llm.KindConflict, Msg: fmt.Sprintf("the %s was changed since you read it; read it again", t.kind), Err: err}
	case errors.Is(err, directory.ErrInUse):
		return llm.Errorf(llm.KindConflict, "something still belongs to the %s; delete or move its keys, users and teams first, or disable it", t.kind)
	case errors.Is(err, directory.ErrNoOwner):
		return llm.Errorf(llm.KindConflict, "an owner of the %s was removed meanwhile", t.kind)
	}
	return fmt.Errorf("directory: %w", err)
}

// resolve finds owners by their ids or names. Those of other organisations than the actor's are not there, and
// where an organisation is given, those outside it are not.
func (c *Control) resolve(ctx context.Context, a Actor, org, team, user string) (orgID, teamID, userID string, err error) {
	if a.Kind != "" {
		org = cmp.Or(org, a.Org)
	}
	within := Actor{Name: a.Name}
	if org != "" {
		o, err := c.orgs().find(ctx, within, org)
		if err != nil || a.Kind != "" && o.ID != a.Org {
			return "", "", "", cmp.Or(err, error(llm.Errorf(llm.KindNotFound, "organisation: there is none with the id or name %q", clip(org))))
		}
		orgID = o.ID
		within = Actor{Name: a.Name, Kind: directory.KindOrganisation, Realm: o.ID}
	}
	if team != "" {
		t, err := c.teams().find(ctx, within, team)
		if err != nil {
			return "", "", "", err
		}
		teamID = t.ID
	}
	if user != "" {
		u, err := c.users().find(ctx, within, user)
		if err != nil {
			return "", "", "", err
		}
		userID = u.ID
	}
	return orgID, teamID, userID, nil
}
