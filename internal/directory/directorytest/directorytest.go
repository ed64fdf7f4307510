// Package directorytest is the suite that every directory.Store must pass.
package directorytest

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// A Harness makes stores.
type Harness struct {
	// Open gives a store with the default organisation and nothing else.
	Open func(t *testing.T) directory.Store
}

// Run holds a store to its interface.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, *rig){
		"default organisation":  testDefault,
		"organisations":         func(t *testing.T, r *rig) { testTable(t, r, r.Organisations(), r.org) },
		"teams":                 func(t *testing.T, r *rig) { testTable(t, r, r.Teams(), r.team) },
		"users":                 func(t *testing.T, r *rig) { testTable(t, r, r.Users(), r.user) },
		"keys":                  func(t *testing.T, r *rig) { testTable(t, r, r.Keys(), r.key) },
		"names":                 testNames,
		"owners":                testOwners,
		"in use":                testInUse,
		"what stays":            testWhatStays,
		"filters":               testFilters,
		"by hash":               testByHash,
		"hashes are unique":     testHashes,
		"changes":               testChanges,
		"changes of many":       testChangesOfMany,
		"one of two updates":    testRace,
		"notes":                 testNotes,
		"values belong to you":  testCopies,
		"injections stay texts": testInjections,
	} {
		t.Run(name, func(t *testing.T) { test(t, &rig{h.Open(t), t}) })
	}
}

// A rig makes records that do not stand in each other's way.
type rig struct {
	directory.Store
	t *testing.T
}

func (r *rig) id() string {
	r.t.Helper()
	return must(directory.NewID(rand.Reader))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of a test, which it ends
	}
	return v
}

// Moment is a time that every store can keep.
func Moment() time.Time { return time.Date(2026, 3, 29, 1, 59, 58, 123456000, time.UTC) }

// Rich is a spec that says something in every field.
func Rich() directory.Spec {
	berlin := must(time.LoadLocation("Europe/Berlin"))
	return directory.Spec{
		Models: []string{"gpt-*", "claude-sonnet-4", "日本*"}, Endpoints: []llm.Op{llm.OpChat, llm.OpEmbed},
		AllowFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		Tags:      []string{"eu"}, Guards: []string{"pii"}, Asks: []string{auth.AskDeadline}, Cache: "exact", Project: "research", Metadata: map[string]string{"cost centre": "4711", "": "ü"},
		Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Disabled: true,
		Rules: []llm.Rule{
			{
				Name: "pace", Models: []string{"gpt-*"}, Per: []llm.Dim{llm.DimKey, llm.DimModel}, Parallel: 20,
				Requests: []llm.Pace{{N: 10, Per: time.Second}, {N: 600, Per: time.Minute}}, Tokens: []llm.Pace{{N: 100000, Per: time.Minute}},
			},
			{Name: "money", Budgets: []llm.Budget{
				{
					Money: 500 * llm.Dollar, Every: llm.Monthly, Zone: berlin, Mode: llm.HardAfterGrace, Grace: 36 * time.Hour, Alerts: []int{50, 80, 100},
					Overrides: []llm.Override{{From: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC), Money: 1}},
				},
				{Tokens: 5_000_000, Every: llm.RollDay, Mode: llm.Soft},
			}},
		},
	}
}

func (r *rig) record(name string) directory.Record {
	return directory.Record{ID: r.id(), Name: name, Created: Moment(), Updated: Moment().Add(time.Second), Maker: "the tests", Spec: Rich()}
}

func (r *rig) org(name string) *directory.Organisation {
	return &directory.Organisation{Record: r.record(name)}
}

func (r *rig) team(name string) *directory.Team {
	return &directory.Team{Record: r.record(name), Org: directory.DefaultOrganisation}
}

func (r *rig) user(name string) *directory.User {
	return &directory.User{Record: r.record(name), Org: directory.DefaultOrganisation, Email: name + "@example.com"}
}

func (r *rig) key(name string) *directory.Key {
	k := &directory.Key{Record: r.record(name), Org: directory.DefaultOrganisation}
	_, _ = rand.Read(k.Hash[:])
	_, _ = rand.Read(k.OldHash[:])
	k.OldEnds, k.Rotated = Moment().Add(time.Hour), Moment()
	return k
}

// create stores a record that nothing stands in the way of.
func create[T directory.Organisation | directory.Team | directory.User | directory.Key](t *testing.T, table directory.Table[T], v *T) *T {
	t.Helper()
	if err := table.Create(t.Context(), v); err != nil {
		t.Fatalf("create: %v", err)
	}
	return v
}

type base[T any] interface {
	*T
	Base() *directory.Record
}

// Same compares records; a time zone is its name.
func Same(got, want any) string {
	return gocmp.Diff(want, got, gocmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
		gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
}

func testDefault(t *testing.T, r *rig) {
	o, err := r.Organisations().Get(t.Context(), directory.DefaultOrganisation)
	if err != nil || o.ID != directory.DefaultOrganisation || o.Version < 1 {
		t.Fatalf("got %+v, %v", o, err)
	}
	if diff := Same(o.Spec, directory.Spec{}); diff != "" {
		t.Errorf("it restricts something (-want +got):\n%s", diff)
	}
}

// testTable is the life of a record of any kind.
func testTable[T directory.Organisation | directory.Team | directory.User | directory.Key, P base[T]](t *testing.T, _ *rig, table directory.Table[T], fresh func(string) *T) {
	ctx := t.Context()
	if _, err := table.Get(ctx, "nobody"); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("get what is not there: %v", err)
	}
	v := create(t, table, fresh("Ärger & \"Söhne\" 🙂"))
	b := P(v).Base()
	if b.Version != 1 {
		t.Errorf("version %d after Create, want 1", b.Version)
	}
	got, err := table.Get(ctx, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := Same(got, v); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if err := table.Create(ctx, v); !errors.Is(err, directory.ErrExists) {
		t.Errorf("create twice: %v", err)
	}
	b.Version = 1 // a failed call may have changed it
	b.Name, b.Updated, b.Spec = "plain", Moment().Add(time.Hour), directory.Spec{Models: []string{}, Endpoints: []llm.Op{}, AllowFrom: []netip.Prefix{}, Asks: []string{}}
	if err := table.Update(ctx, v); err != nil || b.Version != 2 {
		t.Fatalf("update: %v, version %d, want 2", err, b.Version)
	}
	got, err = table.Get(ctx, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := Same(got, v); diff != "" {
		t.Errorf("read back after an update: empty is not nil (-want +got):\n%s", diff)
	}
	old := *v
	P(&old).Base().Version = 1
	if err := table.Update(ctx, &old); !errors.Is(err, directory.ErrVersion) {
		t.Errorf("update of an old version: %v", err)
	}
	if err := table.Delete(ctx, b.ID, 1); !errors.Is(err, directory.ErrVersion) {
		t.Errorf("delete of an old version: %v", err)
	}
	if err := table.Delete(ctx, b.ID, 2); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if err := cmp.Or(table.Delete(ctx, b.ID, 2), errors.New("none")); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("delete twice: %v", err)
	}
	b.Version = 2
	if err := table.Update(ctx, v); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("update what is gone: %v", err)
	}
	if _, err := table.Get(ctx, b.ID); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("get what is gone: %v", err)
	}
	again := fresh("plain") // the name is free again
	create(t, table, again)
}

func testNames(t *testing.T, r *rig) {
	ctx := t.Context()
	other := create(t, r.Organisations(), r.org("other"))
	team, user := create(t, r.Teams(), r.team("a")), create(t, r.Users(), r.user("a"))
	if err := r.Organisations().Create(ctx, r.org("other")); !errors.Is(err, directory.ErrExists) {
		t.Errorf("an organisation's name twice: %v", err)
	}
	if err := r.Teams().Create(ctx, r.team("a")); !errors.Is(err, directory.ErrExists) {
		t.Errorf("a team's name twice: %v", err)
	}
	if err := r.Users().Create(ctx, r.user("a")); !errors.Is(err, directory.ErrExists) {
		t.Errorf("a user's name twice: %v", err)
	}
	elsewhere := r.team("a")
	elsewhere.Org = other.ID
	create(t, r.Teams(), elsewhere)
	create(t, r.Teams(), r.team("A"))

	key := func(team, user string) *directory.Key {
		k := r.key("a")
		k.Team, k.User = team, user
		return k
	}
	for _, of := range [][2]string{{"", ""}, {team.ID, ""}, {"", user.ID}, {team.ID, user.ID}} {
		create(t, r.Keys(), key(of[0], of[1]))
		if err := r.Keys().Create(ctx, key(of[0], of[1])); !errors.Is(err, directory.ErrExists) {
			t.Errorf("a key's name twice with the owners %v: %v", of, err)
		}
	}
	moved := r.key("b")
	create(t, r.Keys(), moved)
	moved.Name = "a"
	if err := r.Keys().Update(ctx, moved); !errors.Is(err, directory.ErrExists) {
		t.Errorf("a key takes another's name: %v", err)
	}
	if got := must(r.Keys().Get(ctx, moved.ID)); got.Name != "b" || got.Version != 1 {
		t.Errorf("a refused update left %q, version %d", got.Name, got.Version)
	}
}

func testOwners(t *testing.T, r *rig) {
	ctx := t.Context()
	other := create(t, r.Organisations(), r.org("other"))
	team := create(t, r.Teams(), r.team("ours"))
	far := r.team("theirs")
	far.Org = other.ID
	create(t, r.Teams(), far)
	farUser := r.user("theirs")
	farUser.Org = other.ID
	create(t, r.Users(), farUser)

	for name, change := range map[string]func(*directory.Key){
		"no organisation":              func(k *directory.Key) { k.Org = "nobody" },
		"no team":                      func(k *directory.Key) { k.Team = "nobody" },
		"no user":                      func(k *directory.Key) { k.User = "nobody" },
		"a team of another's":          func(k *directory.Key) { k.Team = far.ID },
		"a user of another's":          func(k *directory.Key) { k.User = farUser.ID },
		"an organisation's id as team": func(k *directory.Key) { k.Team = other.ID },
	} {
		k := r.key(name)
		change(k)
		if err := r.Keys().Create(ctx, k); !errors.Is(err, directory.ErrNoOwner) {
			t.Errorf("a key with %s: %v", name, err)
		}
		k = create(t, r.Keys(), r.key(name))
		org := k.Org
		if change(k); k.Org == org { // an update keeps the organisation
			if err := r.Keys().Update(ctx, k); !errors.Is(err, directory.ErrNoOwner) {
				t.Errorf("a key moves to %s: %v", name, err)
			}
		}
	}
	for name, teams := range map[string][]string{"no team": {team.ID, "nobody"}, "a team of another's": {far.ID}} {
		u := r.user(name)
		u.Teams = teams
		if err := r.Users().Create(ctx, u); !errors.Is(err, directory.ErrNoOwner) {
			t.Errorf("a user in %s: %v", name, err)
		}
	}
	lost := r.team("lost")
	lost.Org = "nobody"
	if err := r.Teams().Create(ctx, lost); !errors.Is(err, directory.ErrNoOwner) {
		t.Errorf("a team of no organisation: %v", err)
	}
}

func testInUse(t *testing.T, r *rig) {
	ctx := t.Context()
	o := create(t, r.Organisations(), r.org("o"))
	team := r.team("t")
	team.Org = o.ID
	create(t, r.Teams(), team)
	user := r.user("u")
	user.Org, user.Teams = o.ID, []string{team.ID}
	create(t, r.Users(), user)
	key := r.key("k")
	key.Org, key.Team, key.User = o.ID, team.ID, user.ID
	create(t, r.Keys(), key)

	inUse := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, directory.ErrInUse) {
			t.Errorf("delete %s: %v", what, err)
		}
	}
	inUse("an organisation with all", r.Organisations().Delete(ctx, o.ID, 1))
	inUse("a team with a key", r.Teams().Delete(ctx, team.ID, 1))
	inUse("a user with a key", r.Users().Delete(ctx, user.ID, 1))
	fine := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fine(r.Keys().Delete(ctx, key.ID, 1))
	inUse("a team with a user", r.Teams().Delete(ctx, team.ID, 1))
	fine(r.Users().Delete(ctx, user.ID, 1))
	inUse("an organisation with a team", r.Organisations().Delete(ctx, o.ID, 1))
	fine(r.Teams().Delete(ctx, team.ID, 1))
	fine(r.Organisations().Delete(ctx, o.ID, 1))
}

func testWhatStays(t *testing.T, r *rig) {
	other := create(t, r.Organisations(), r.org("other"))
	k := create(t, r.Keys(), r.key("k"))
	k.Org, k.Created, k.Maker, k.Name = other.ID, Moment().Add(time.Hour), "somebody", "renamed"
	if err := r.Keys().Update(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	got := must(r.Keys().Get(t.Context(), k.ID))
	if got.Org != directory.DefaultOrganisation || !got.Created.Equal(Moment()) || got.Maker != "the tests" || got.Name != "renamed" {
		t.Errorf("got %s, %s, %q, %q", got.Org, got.Created, got.Maker, got.Name)
	}
}

func testFilters(t *testing.T, r *rig) {
	ctx := t.Context()
	team, empty := create(t, r.Teams(), r.team("t")), create(t, r.Teams(), r.team("empty"))
	user := r.user("u")
	user.Teams = []string{empty.ID, team.ID}
	create(t, r.Users(), user)
	slices.Sort(user.Teams)
	create(t, r.Users(), r.user("other"))
	var all []string
	for i := range 7 {
		k := r.key(fmt.Sprint("k", i))
		if i%2 == 0 {
			k.Team = team.ID
		}
		if i%3 == 0 {
			k.User = user.ID
		}
		switch i {
		case 1, 4, 6:
			k.Spec.Guards = []string{"other", "p_ople"}
		case 2:
			k.Spec.Guards, k.Spec.Tags = []string{"people"}, []string{"p_ople"}
		}
		create(t, r.Keys(), k)
		all = append(all, k.Name)
	}
	names := func(f directory.Filter) (names []string) {
		t.Helper()
		for {
			list, next, err := r.Keys().List(ctx, f)
			if err != nil || f.Limit > 0 && len(list) > f.Limit {
				t.Fatalf("%d keys, %v", len(list), err)
			}
			for i := range list {
				names = append(names, list[i].Name)
				if list[i].ID <= f.After {
					t.Errorf("%s is not after %s", list[i].ID, f.After)
				}
				f.After = list[i].ID
			}
			if next == "" {
				slices.Sort(names)
				return names
			}
			f.After = next
		}
	}
	for _, tt := range []struct {
		name string
		f    directory.Filter
		want []string
	}{
		{"all", directory.Filter{}, all},
		{"all, one at a time", directory.Filter{Limit: 1}, all},
		{"all, page is full at the end", directory.Filter{Limit: 7}, all},
		{"three at a time", directory.Filter{Limit: 3, Org: directory.DefaultOrganisation}, all},
		{"a team's", directory.Filter{Team: team.ID, Limit: 2}, []string{"k0", "k2", "k4", "k6"}},
		{"a user's", directory.Filter{User: user.ID}, []string{"k0", "k3", "k6"}},
		{"both", directory.Filter{User: user.ID, Team: team.ID}, []string{"k0", "k6"}},
		{"by name", directory.Filter{Name: "k3"}, []string{"k3"}},
		{"by guard, one at a time", directory.Filter{Guard: "p_ople", Limit: 1}, []string{"k1", "k4", "k6"}},
		{"by guard and team", directory.Filter{Guard: "p_ople", Team: team.ID}, []string{"k4", "k6"}},
		{"by a guard that nobody names", directory.Filter{Guard: "none"}, nil},
		{"another organisation's", directory.Filter{Org: "nobody"}, nil},
	} {
		if got := names(tt.f); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	members, _, err := r.Users().List(ctx, directory.Filter{Team: team.ID})
	if err != nil || len(members) != 1 {
		t.Fatalf("%d members, %v", len(members), err)
	}
	if diff := Same(&members[0], user); diff != "" {
		t.Errorf("the member (-want +got):\n%s", diff)
	}
}
