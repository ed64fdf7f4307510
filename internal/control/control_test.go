package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/directory/directorytest"
	"sluice/internal/llm"
	"sluice/internal/rules"
)

// A rig is a control over a store in memory, with a clock of its own.
type rig struct {
	*Control
	store  *directory.Memory
	hasher *auth.Hasher
	now    time.Time
	told   []directory.Change
	root   Actor
}

func newRig() *rig {
	r := &rig{store: directory.NewMemory(), hasher: auth.NewHasher([]byte("pepper")), now: directorytest.Moment(), root: Owner("tests")}
	r.Control = New(Options{
		Store: r.store, Hasher: r.hasher, Random: rand.Reader, Now: func() time.Time { return r.now },
		Changed: func(c directory.Change) { r.told = append(r.told, c) },
		Period: func(p llm.Period, zone *time.Location, now time.Time) (time.Time, time.Time) { // months and days are enough here
			if p == llm.Monthly {
				from := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
				return from, from.AddDate(0, 1, 0)
			}
			from := now.UTC().Truncate(24 * time.Hour)
			return from, from.AddDate(0, 0, 1)
		},
	})
	return r
}

// who is what a presented key may do; nil for an unknown one.
func (r *rig) who(t testing.TB, key string) *auth.Who {
	t.Helper()
	h := r.hasher.Key(key)
	entry, err := r.store.ByHash(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if entry == nil {
		return nil
	}
	return entry.Who(h)
}

// refused checks an error's kind, and where the first problem is.
func refused(t *testing.T, what string, err error, kind llm.Kind, at ...string) {
	t.Helper()
	e := llm.AsError(err)
	if err == nil || e.Kind != kind {
		t.Errorf("%s: %v, want %s", what, err, kind)
		return
	}
	var got []string
	for _, p := range e.Problems {
		got = append(got, p.At)
	}
	if len(at) > 0 && !slices.Equal(got, at) {
		t.Errorf("%s: problems at %q, want %q: %v", what, got, at, e.Problems)
	}
}

func named(name string) Change { return Change{Name: Some(name)} }

func key(name string, models ...string) NewKey {
	in := NewKey{}
	in.Name, in.Models = Some(name), Some(models)
	return in
}

func TestKeyLife(t *testing.T) {
	r, ctx := newRig(), t.Context()
	in := key("ci", "gpt-*")
	in.Expires, in.AllowFrom = Some("2030-01-01"), Some([]string{"10.1.2.3", "10.20.1.1/16"})
	first, err := r.Keys().Create(ctx, r.root, in)
	if err != nil {
		t.Fatal(err)
	}
	if public, ok := auth.Public(first.Secret); !ok || public != first.ID || first.Maker != "tests" || first.Version != 1 {
		t.Errorf("made %+v", first)
	}
	if got := first.AllowFrom; !slices.Equal(got, []string{"10.1.2.3/32", "10.20.0.0/16"}) {
		t.Errorf("allow_from %v", got)
	}
	if w := r.who(t, first.Secret); w == nil || !w.Allows("gpt-4o") || w.Allows("o3") || w.Org != directory.DefaultOrganisation {
		t.Errorf("the key gives %+v", w)
	}
	if text, _ := json.Marshal(first.KeyView); strings.Contains(string(text), first.Secret[20:]) {
		t.Error("a view holds the secret")
	}

	second, err := r.Keys().Rotate(ctx, r.root, "ci", Rotation{Grace: "1h"})
	if err != nil || second.ID != first.ID || second.Secret == first.Secret {
		t.Fatalf("rotated %+v, %v", second, err)
	}
	if old, now := r.who(t, first.Secret), r.who(t, second.Secret); !old.Expires.Equal(r.now.Truncate(time.Microsecond).Add(time.Hour)) || now.Disabled || now.Expires.Year() != 2030 {
		t.Errorf("old %+v, new %+v", old, now)
	}
	third, err := r.Keys().Rotate(ctx, r.root, first.ID, Rotation{Grace: "0"})
	if err != nil || r.who(t, first.Secret) != nil || r.who(t, second.Secret) != nil || r.who(t, third.Secret) == nil {
		t.Errorf("rotated at once: %v", err)
	}
	_, err = r.Keys().Rotate(ctx, r.root, "ci", Rotation{Grace: "soon"})
	refused(t, "a grace that is none", err, llm.KindInvalid, "/grace")

	if v, err := r.Keys().SetDisabled(ctx, r.root, "ci", true); err != nil || !v.Disabled || !r.who(t, third.Secret).Disabled {
		t.Errorf("disabled: %+v, %v", v, err)
	}
	if v, err := r.Keys().SetDisabled(ctx, r.root, "ci", false); err != nil || v.Disabled || r.who(t, third.Secret).Disabled {
		t.Errorf("enabled: %+v, %v", v, err)
	}
	up := KeyUpdate{Version: 5}
	up.Models, up.Expires, up.Name = Some([]string{"o3"}), Maybe[string]{Given: true}, Some("renamed")
	v, err := r.Keys().Update(ctx, r.root, "ci", up)
	if err != nil || v.Name != "renamed" || !v.Expires.IsZero() || len(v.AllowFrom) != 2 {
		t.Errorf("updated: %+v, %v", v, err)
	}
	_, err = r.Keys().Update(ctx, r.root, "renamed", up)
	refused(t, "an update of an old version", err, llm.KindConflict)
	_, err = r.Keys().Show(ctx, r.root, "ci")
	refused(t, "the old name", err, llm.KindNotFound)
	if _, err := r.Keys().Delete(ctx, r.root, "renamed", 0); err != nil || r.who(t, third.Secret) != nil {
		t.Errorf("deleted: %v", err)
	}
	if len(r.told) != 7 || r.told[0] != (directory.Change{Kind: directory.KindKey, ID: first.ID}) {
		t.Errorf("told %v", r.told)
	}
}

// All that is wrong is told at once, and nothing is stored.
func TestProblems(t *testing.T) {
	r, ctx := newRig(), t.Context()
	in := NewKey{Key: "changeme"}
	in.Name, in.Models, in.Endpoints, in.Overrides = Some(" x"), Some([]string{""}), Some([]string{"chat", "fly"}), Some([]string{"price"})
	in.Rules = Some([]rules.Rule{{Name: "a", Requests: []string{"1/year"}}})
	in.AllowFrom, in.Tags, in.Project = Some([]string{"10.0.0.0/33", "::ffff:10.0.0.0/104"}), Some([]string{"a b"}), Some("a b")
	in.Metadata, in.Expires = Some(map[string]string{"a\x00": ""}), Some("soon")
	_, err := r.Keys().Create(ctx, r.root, in)
	refused(t, "all", err, llm.KindInvalid, "/name", "/models/0", "/rules/0/requests/0", "/endpoints/1", "/overrides/0", "/allow_from/0", "/allow_from/1", "/tags/0", "/project", "/metadata", "/expires")
	_, err = r.Keys().Create(ctx, r.root, NewKey{})
	refused(t, "nothing", err, llm.KindInvalid, "/name")
	for _, k := range []string{"sk-1234", "changeme", strings.Repeat("ab", 20), "sk-slc-aaaaaaaaaaaa-" + strings.Repeat("dF3k", 11)} {
		weak := key("weak", "*")
		weak.Key = k
		_, err = r.Keys().Create(ctx, r.root, weak)
		refused(t, "a weak key "+k, err, llm.KindInvalid, "/key")
		if err != nil && strings.Contains(err.Error(), k) {
			t.Errorf("the answer repeats the key: %v", err)
		}
	}
	for _, ref := range []string{"team", "user"} {
		in := key("x", "*")
		if ref == "team" {
			in.Team = Some("nobody")
		} else {
			in.User = Some("nobody")
		}
		_, err = r.Keys().Create(ctx, r.root, in)
		refused(t, "no such "+ref, err, llm.KindNotFound)
	}
	if list, _, _ := r.store.Keys().List(ctx, directory.Filter{}); len(list) != 0 || len(r.told) != 0 {
		t.Errorf("%d keys were stored, %d changes told", len(list), len(r.told))
	}
}

// S6: what is not for people to say has no member; each is refused by name, whatever the kind.
func TestPrivilegedMembers(t *testing.T) {
	for _, member := range []string{
		`"id":"x"`, `"version":1`, `"hash":"x"`, `"old_hash":"x"`, `"maker":"x"`, `"created":"2026-01-01T00:00:00Z"`, `"disabled":false`, `"spend":0`, `"role":"owner"`,
		`"tenant_id":"x"`, `"is_admin":true`, `"Name":"x"`, `"MODELS":["*"]`, `"spec":{}`, `"name":"y"`, `"expires":5`, `"models":"*"`, `"rules":[{"name":"a","spent":1}]`,
	} {
		for kind, into := range map[string]any{"key": new(NewKey), "team": new(NewTeam), "user": new(NewUser), "organisation": new(NewOrganisation)} {
			err := rules.Decode([]byte(`{"name":"x",`+member+`}`), into)
			if e := llm.AsError(err); err == nil || e.Kind == llm.KindInternal || len(e.Problems) != 1 || e.Problems[0].At == "" {
				t.Errorf("%s with %s: %v", kind, member, err)
			}
		}
	}
	for _, in := range []any{new(KeyUpdate), new(UserUpdate), new(Update)} {
		if err := rules.Decode([]byte(`{"models":null,"name":"x"}`), in); err != nil {
			t.Error(err)
		}
		if err := rules.Decode([]byte(`{"organisation":"other"}`), in); err == nil {
			t.Errorf("%T moves a record to another organisation", in)
		}
	}
	// What the command line writes is what is read here.
	var again KeyUpdate
	up := KeyUpdate{Version: 3}
	up.Models, up.Expires = Maybe[[]string]{Given: true}, Some("2030-01-01")
	text, err := json.Marshal(up)
	if err != nil || string(text) != `{"models":[],"expires":"2030-01-01"}` {
		t.Errorf("written as %s, %v", text, err)
	}
	if err := rules.Decode(text, &again); err != nil || !again.Models.Given || again.Team.Given {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestOwners(t *testing.T) {
	r, ctx := newRig(), t.Context()
	other, err := r.Organisations().Create(ctx, r.root, NewOrganisation{named("other")})
	if err != nil {
		t.Fatal(err)
	}
	team, err := r.Teams().Create(ctx, r.root, NewTeam{Change: named("research")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Teams().Create(ctx, r.root, NewTeam{Organisation: "other", Change: named("research")}); err != nil {
		t.Fatal(err)
	}
	_, err = r.Teams().Show(ctx, r.root, "research")
	refused(t, "a name that two have", err, llm.KindConflict)
	in := NewUser{}
	in.Name, in.Email, in.Teams = Some("ada"), Some("ada@example.com"), Some([]string{"research"})
	user, err := r.Users().Create(ctx, r.root, in) // in its organisation, there is one
	if err != nil || !slices.Equal(user.Teams, []string{team.ID}) {
		t.Fatalf("%+v, %v", user, err)
	}
	k := key("laptop", "*")
	k.Team, k.User = Some("research"), Some("ada")
	made, err := r.Keys().Create(ctx, r.root, k)
	if err != nil || made.Team != team.ID || made.User != user.ID {
		t.Fatalf("%+v, %v", made, err)
	}
	_, err = r.Teams().Delete(ctx, r.root, team.ID, 0)
	refused(t, "a team in use", err, llm.KindConflict)

	if _, err := r.Users().Update(ctx, r.root, "ada", UserUpdate{UserChange: UserChange{Teams: Maybe[[]string]{Given: true}}}); err != nil {
		t.Fatal(err)
	}
	if !r.who(t, made.Secret).Disabled {
		t.Error("a key for a team works after its user has left it")
	}
	k.Name = Some("laptop 2")
	_, err = r.Keys().Create(ctx, r.root, k)
	refused(t, "a key for a team that the user is not in", err, llm.KindInvalid, "/team")
	k.Team, k.Organisation = Maybe[string]{}, other.ID
	_, err = r.Keys().Create(ctx, r.root, k)
	refused(t, "a key of another organisation's user", err, llm.KindNotFound)

	page, err := r.Keys().List(ctx, r.root, List{Team: "research", Organisation: "default"})
	if err != nil || len(page.Data) != 1 || page.Next != "" {
		t.Errorf("%+v, %v", page, err)
	}
}

// An actor sees and changes what is in their realm, which they are not in themselves.
func TestRealms(t *testing.T) {
	r, ctx := newRig(), t.Context()
	var orgs, teams, users, keys []string
	for i := range 2 {
		o, err := r.Organisations().Create(ctx, r.root, NewOrganisation{named(fmt.Sprint("o", i))})
		if err != nil {
			t.Fatal(err)
		}
		tm, err := r.Teams().Create(ctx, r.root, NewTeam{Organisation: o.ID, Change: named("team")})
		if err != nil {
			t.Fatal(err)
		}
		in := NewUser{Organisation: o.ID}
		in.Name, in.Teams = Some("user"), Some([]string{tm.ID})
		u, err := r.Users().Create(ctx, r.root, in)
		if err != nil {
			t.Fatal(err)
		}
		k := key("key", "*")
		k.Organisation, k.Team, k.User = o.ID, Some(tm.ID), Some(u.ID)
		made, err := r.Keys().Create(ctx, r.root, k)
		if err != nil {
			t.Fatal(err)
		}
		orgs, teams, users, keys = append(orgs, o.ID), append(teams, tm.ID), append(users, u.ID), append(keys, made.ID)
	}
	for _, a := range []Actor{
		{Name: "org", Role: RoleAdmin, Kind: directory.KindOrganisation, Realm: orgs[0], Org: orgs[0]},
		{Name: "team", Role: RoleAdmin, Kind: directory.KindTeam, Realm: teams[0], Org: orgs[0]},
		{Name: "user", Role: RoleAdmin, Kind: directory.KindUser, Realm: users[0], Org: orgs[0]},
	} {
		t.Run(a.Name, func(t *testing.T) {
			if _, err := r.Keys().SetDisabled(ctx, a, keys[0], false); err != nil {
				t.Errorf("a key of their own: %v", err)
			}
			if page, err := r.Keys().List(ctx, a, List{}); err != nil || len(page.Data) != 1 {
				t.Errorf("their keys: %+v, %v", page, err)
			}
			_, err := r.Keys().Show(ctx, a, keys[1])
			refused(t, "a key of others", err, llm.KindNotFound)
			_, err = r.Keys().Delete(ctx, a, keys[1], 0)
			refused(t, "delete a key of others", err, llm.KindNotFound)
			_, err = r.Organisations().Update(ctx, a, orgs[0], Update{Change: Change{Models: Some([]string{"*"})}})
			refused(t, "widen the organisation", err, llm.KindForbidden)
			_, err = r.Organisations().Create(ctx, a, NewOrganisation{named("mine")})
			refused(t, "make an organisation", err, llm.KindForbidden)
			k := key("elsewhere", "*")
			k.Organisation = orgs[1]
			_, err = r.Keys().Create(ctx, a, k)
			refused(t, "a key elsewhere", err, llm.KindNotFound)
			k = key("elsewhere", "*")
			k.Team = Some(teams[1])
			_, err = r.Keys().Create(ctx, a, k)
			refused(t, "a key of another's team", err, llm.KindNotFound)
			_, err = r.Keys().List(ctx, a, List{Organisation: orgs[1]})
			refused(t, "the keys of another organisation", err, llm.KindNotFound)
			if a.Kind == directory.KindOrganisation {
				return
			}
			_, err = r.Keys().Create(ctx, a, key("nobody's", "*"))
			refused(t, "a key outside the realm", err, llm.KindForbidden)
			_, err = r.Keys().Update(ctx, a, keys[0], KeyUpdate{KeyChange: KeyChange{Team: Maybe[string]{Given: true}, User: Maybe[string]{Given: true}}})
			refused(t, "move a key out of the realm", err, llm.KindForbidden)
			_, err = r.Teams().Update(ctx, a, teams[0], Update{Change: Change{Models: Some([]string{"*"})}})
			refused(t, "widen the team", err, llm.KindNotFound)
			_, err = r.Users().Update(ctx, a, users[0], UserUpdate{UserChange: UserChange{Change: Change{Models: Some([]string{"*"})}}})
			refused(t, "widen the user", err, llm.KindNotFound)
		})
	}
}

func TestOverride(t *testing.T) {
	r, ctx := newRig(), t.Context()
	in := NewTeam{Change: named("research")}
	in.Rules = Some([]rules.Rule{{Name: "month", Budgets: []rules.Budget{{Dollars: "100", Every: "month"}, {Tokens: 5, Every: "rolling-day"}}}})
	if _, err := r.Teams().Create(ctx, r.root, in); err != nil {
		t.Fatal(err)
	}
	v, err := r.Teams().Override(ctx, r.root, "research", Override{Rule: "month", Dollars: "250", Periods: 3})
	if err != nil {
		t.Fatal(err)
	}
	want := rules.Override{From: "2026-03-01T00:00:00Z", Until: "2026-06-01T00:00:00Z", Dollars: "250"}
	if got := v.Rules[0].Budgets[0].Overrides; len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if v, err = r.Teams().Override(ctx, r.root, "research", Override{Rule: "month", Budget: 1, Tokens: 7, Periods: 2}); err != nil {
		t.Fatal(err)
	}
	if got := v.Rules[0].Budgets[1].Overrides; len(got) != 1 || got[0].From != "2026-03-29T00:00:00Z" || got[0].Until != "2026-03-31T00:00:00Z" {
		t.Errorf("rolling: %+v", got)
	}
	r.now = r.now.AddDate(1, 0, 0) // what has ended is forgotten
	if v, err = r.Teams().Override(ctx, r.root, "research", Override{Rule: "month", Dollars: "50", Periods: 1}); err != nil || len(v.Rules[0].Budgets[0].Overrides) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	for name, tt := range map[string]struct {
		in Override
		at string
	}{
		"no such rule": {Override{Rule: "x", Dollars: "1", Periods: 1}, "/rule"}, "no such budget": {Override{Rule: "month", Budget: 2, Dollars: "1", Periods: 1}, "/budget"},
		"no period": {Override{Rule: "month", Dollars: "1"}, "/periods"}, "no amount": {Override{Rule: "month", Periods: 1}, "/tokens"},
		"other unit": {Override{Rule: "month", Tokens: 5, Periods: 1}, ""}, "no dollars": {Override{Rule: "month", Dollars: "x", Periods: 1}, "/dollars"},
	} {
		_, err := r.Teams().Override(ctx, r.root, "research", tt.in)
		if e := llm.AsError(err); e.Kind != llm.KindInvalid || len(e.Problems) == 0 || e.Problems[0].At != tt.at {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two who change a record at once: the second is done on top of the first, unless they said what they had read.
func TestUpdateRace(t *testing.T) {
	r, ctx := newRig(), t.Context()
	if _, err := r.Keys().Create(ctx, r.root, key("a", "*")); err != nil {
		t.Fatal(err)
	}
	racy := New(Options{Store: &racing{Memory: r.store, t: t}, Hasher: r.hasher, Random: rand.Reader})
	v, err := racy.Keys().SetDisabled(ctx, r.root, "a", true)
	if err != nil || v.Version != 3 {
		t.Errorf("%+v, %v", v, err)
	}
}

// racing is a store in which somebody else is quicker, once.
type racing struct {
	*directory.Memory
	t    *testing.T
	done bool
}

func (r *racing) Keys() directory.Table[directory.Key] { return &racingKeys{r.Memory.Keys(), r} }

type racingKeys struct {
	directory.Table[directory.Key]
	r *racing
}

func (k *racingKeys) Update(ctx context.Context, v *directory.Key) error {
	if !k.r.done {
		k.r.done = true
		other := *v
		if err := k.Table.Update(ctx, &other); err != nil {
			k.r.t.Error(err)
		}
	}
	return k.Table.Update(ctx, v)
}

// S2: 200 texts that mean something to databases and shells, in every place of every act: each is stored as the text
// that it is or refused as the caller's mistake, and never an internal error.
func TestInjections(t *testing.T) {
	r, ctx := newRig(), t.Context()
	check := func(text string, err error) {
		t.Helper()
		if e := llm.AsError(err); err != nil && (e.Kind == llm.KindInternal || len(e.Msg) > 1000) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range append(directorytest.Injections(), "\x00", "a\x00b", "\xff\xfe", strings.Repeat("x", 1<<16)) {
		in := key(text, text)
		made, err := r.Keys().Create(ctx, r.root, in)
		check(text, err)
		if err == nil && (made.Name != text || made.Models[0] != text) {
			t.Errorf("%q is stored as %q, %q", text, made.Name, made.Models)
		}
		in = key(text+"2", "*")
		in.Organisation, in.Team, in.User, in.Key = text, Some(text), Some(text), text
		in.Tags, in.Project, in.Expires, in.AllowFrom, in.Metadata = Some([]string{text}), Some(text), Some(text), Some([]string{text}), Some(map[string]string{text: text})
		_, err = r.Keys().Create(ctx, r.root, in)
		check(text, err)
		_, err = r.Keys().Show(ctx, r.root, text)
		check(text, err)
		_, err = r.Keys().List(ctx, r.root, List{Name: text})
		check(text, err)
		_, err = r.Keys().List(ctx, r.root, List{Team: text})
		check(text, err)
		_, err = r.Keys().List(ctx, r.root, List{After: text})
		check(text, err)
		_, err = r.Keys().Rotate(ctx, r.root, text, Rotation{Grace: text})
		check(text, err)
		_, err = r.Keys().Override(ctx, r.root, text, Override{Rule: text, Dollars: text, Periods: 1})
		check(text, err)
		u := NewUser{}
		u.Name, u.Email = Some(text), Some(text)
		_, err = r.Users().Create(ctx, r.root, u)
		check(text, err)
		if who := r.who(t, text); who != nil {
			t.Errorf("%q is a key", text)
		}
	}
	if o, err := r.store.Organisations().Get(ctx, directory.DefaultOrganisation); err != nil || o.Version != 1 {
		t.Errorf("the organisation: %+v, %v", o, err)
	}
}

func TestStart(t *testing.T) {
	ctx := t.Context()
	r := newRig()
	if err := r.CheckPepper(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.CheckPepper(ctx); err != nil {
		t.Errorf("the same pepper again: %v", err)
	}
	stranger := New(Options{Store: r.store, Hasher: auth.NewHasher([]byte("another")), Random: rand.Reader})
	if err := stranger.CheckPepper(ctx); err == nil {
		t.Error("another pepper is taken")
	}

	secret, err := r.First(ctx)
	if err != nil || r.who(t, secret) == nil || !r.who(t, secret).Allows("anything") {
		t.Fatalf("first key: %v", err)
	}
	if again, err := r.First(ctx); again != "" || err != nil {
		t.Errorf("a second first key: %v", err)
	}
	if _, err := r.Keys().Delete(ctx, r.root, "first", 0); err != nil {
		t.Fatal(err)
	}
	if again, err := r.First(ctx); again != "" || err != nil {
		t.Errorf("whoever removed the first key gets another at the next start: %v", err)
	}
}

// The files of earlier releases are taken over, also when that is broken off anywhere and begun again.
func TestTakeOver(t *testing.T) {
	ctx := t.Context()
	for broken := range 3 {
		r, dir := newRig(), t.TempDir()
		var keys, file, ids []string
		for range 2 {
			k, err := auth.NewKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
			id, _ := auth.Public(k)
			ids = append(ids, id)
			file = append(file, fmt.Sprintf(`{"name":"first","id":%q,"hash":%q,"models":["gpt-*"],"created":"2026-01-02T03:04:05Z"}`, id, r.hasher.Key(k)))
		}
		write := func(name, text string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("keys.json", "["+strings.Join(file, ",")+"]")
		write("revoked.json", fmt.Sprintf(`["configured",%q]`, ids[1]))
		revoked, err := auth.OpenRevoked(dir)
		if err != nil {
			t.Fatal(err)
		}
		if broken > 0 { // the disk or the power fails after so many records
			failing := New(Options{Store: &limited{Memory: r.store, left: broken}, Hasher: r.hasher, Random: rand.Reader})
			if _, err := failing.TakeOver(ctx, dir, revoked); (err == nil) == (broken < 2) {
				t.Fatalf("broken off after %d: %v", broken, err)
			}
			if revoked, err = auth.OpenRevoked(dir); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.TakeOver(ctx, dir, revoked); err != nil {
			t.Fatal(err)
		}
		if n, err := r.TakeOver(ctx, dir, revoked); n != 0 || err != nil {
			t.Errorf("a second time: %d, %v", n, err)
		}
		if w := r.who(t, keys[0]); w == nil || w.Disabled || !w.Allows("gpt-4o") || w.Allows("o3") || w.ID != ids[0] {
			t.Errorf("the first key gives %+v", w)
		}
		if w := r.who(t, keys[1]); w == nil || !w.Disabled {
			t.Errorf("the revoked key gives %+v", w)
		}
		if revoked.Has(&auth.Who{ID: ids[1]}) || !revoked.Has(&auth.Who{Name: "configured"}) {
			t.Error("what is left to refuse is not what the store does not know")
		}
		if _, err := os.Stat(filepath.Join(dir, "keys.json")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("keys.json is still there: %v", err)
		}
	}
}

// limited is a store that fails after it made some keys.
type limited struct {
	*directory.Memory
	left int
}

func (l *limited) Keys() directory.Table[directory.Key] { return &limitedKeys{l.Memory.Keys(), l} }

type limitedKeys struct {
	directory.Table[directory.Key]
	l *limited
}

func (k *limitedKeys) Create(ctx context.Context, v *directory.Key) error {
	if k.l.left == 0 {
		return errors.New("the disk is gone")
	}
	err := k.Table.Create(ctx, v)
	if err == nil {
		k.l.left--
	}
	return err
}
