package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/config"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// Guards of a key and of its owners add up. Whoever is no more than a member may add to them.
func TestGuardsAddUp(t *testing.T) {
	r := newRig()
	ctx := t.Context()
	team := NewTeam{}
	team.Name, team.Guards = Some("research"), Some([]string{"above"})
	if _, err := r.Teams().Create(ctx, r.root, team); err != nil {
		t.Fatal(err)
	}
	in := NewKey{}
	in.Name, in.Models, in.Team, in.Guards = Some("ci"), Some([]string{"*"}), Some("research"), Some([]string{"own"})
	key, err := r.Keys().Create(ctx, r.root, in)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.who(t, key.Secret).Guards; !slices.Equal(got, []string{"above", "own"}) {
		t.Errorf("guards %v", got)
	}
	up := KeyUpdate{}
	up.Guards = Maybe[[]string]{Given: true}
	if _, err := r.Keys().Update(ctx, r.root, "ci", up); err != nil {
		t.Fatal(err)
	}
	if got := r.who(t, key.Secret).Guards; !slices.Equal(got, []string{"above"}) {
		t.Errorf("after the key's own were taken away: %v", got)
	}
	up.Guards = Some([]string{"No Name"})
	_, err = r.Keys().Update(ctx, r.root, "ci", up)
	refused(t, "a guard that cannot be", err, llm.KindInvalid, "/guards/0")

	member := Actor{Role: RoleMember}
	if err := keeps(member, []string{"a"}, []string{"b", "a"}); err != nil {
		t.Errorf("one more: %v", err)
	}
	refused(t, "one less", keeps(member, []string{"a", "b"}, []string{"b"}), llm.KindForbidden)
	if err := keeps(Actor{Role: RoleAdmin}, []string{"a"}, nil); err != nil {
		t.Errorf("an admin: %v", err)
	}
}

// Nothing is given a guard that is not there; one that went does not stand in the way of other changes.
func TestGuardsAreThere(t *testing.T) {
	r, ctx := newSettingsRig(t), t.Context()
	r.create(t, config.KindGuard, "", `{"name":"people","mode":"mask"}`)
	in := key("ci", "*")
	in.Guards = Some([]string{"people", "peolpe", "house"})
	_, err := r.c.Keys().Create(ctx, r.root, in)
	refused(t, "a key with guards that are not there", err, llm.KindInvalid, "/guards/1")
	in.Guards = Some([]string{"people", "house"})
	if _, err := r.c.Keys().Create(ctx, r.root, in); err != nil {
		t.Fatal(err, llm.AsError(err).Problems)
	}
	// A file may lose a guard whatever names it, so keys may have names of none.
	stored, _, err := r.c.o.Store.Keys().List(ctx, directory.Filter{Guard: "people"})
	if err != nil || len(stored) != 1 {
		t.Fatalf("%d keys, %v", len(stored), err)
	}
	stored[0].Spec.Guards = []string{"people", "gone"}
	if err := r.c.o.Store.Keys().Update(ctx, &stored[0]); err != nil {
		t.Fatal(err)
	}
	up := KeyUpdate{}
	up.Project = Some("web")
	if _, err := r.c.Keys().Update(ctx, r.root, "ci", up); err != nil {
		t.Errorf("another member: %v", err)
	}
	up.Guards = Some([]string{"people", "gone", "none"})
	_, err = r.c.Keys().Update(ctx, r.root, "ci", up)
	refused(t, "one more", err, llm.KindInvalid, "/guards/2")
	team := NewTeam{}
	team.Name, team.Guards = Some("research"), Some([]string{"gone"})
	_, err = r.c.Teams().Create(ctx, r.root, team)
	refused(t, "a team", err, llm.KindInvalid, "/guards/0")
}

// A guard that keys or owners name is not taken away: their calls would all be refused.
func TestGuardsStayWhileNamed(t *testing.T) {
	r, ctx := newSettingsRig(t), t.Context()
	at := config.Place{Kind: config.KindGuard, Name: "people"}
	r.create(t, config.KindGuard, "", `{"name":"people","mode":"mask"}`)
	r.create(t, config.KindGuard, "", `{"name":"others","mode":"mask"}`)
	guards := Some([]string{"people"})
	for i := range 5 {
		in := key(fmt.Sprint("ci-", i), "*")
		in.Guards = guards
		if _, err := r.c.Keys().Create(ctx, r.root, in); err != nil {
			t.Fatal(err)
		}
	}
	team, user := NewTeam{}, NewUser{}
	team.Name, team.Guards, user.Name, user.Guards = Some("research"), guards, Some("ada"), guards
	if _, err := r.c.Teams().Create(ctx, r.root, team); err != nil {
		t.Fatal(err)
	}
	if _, err := r.c.Users().Create(ctx, r.root, user); err != nil {
		t.Fatal(err)
	}
	var org, ofTeam Update
	org.Guards = guards
	if _, err := r.c.Organisations().Update(ctx, r.root, directory.DefaultOrganisation, org); err != nil {
		t.Fatal(err)
	}
	before, _, err := r.newest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Delete(ctx, r.root, at, ObjectRemoval{})
	refused(t, "a guard that is named", err, llm.KindConflict)
	for _, name := range []string{"organisation default", "team research", "user ada", ", more keys, "} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
	if n := strings.Count(err.Error(), "key ci-"); n != 3 {
		t.Errorf("%q names %d keys, want 3", err, n)
	}
	_, err = r.Apply(ctx, r.root, Application{Base: &before, Document: `guards: [{name: others, mode: mask}]`})
	refused(t, "a document without it", err, llm.KindConflict)
	_, err = r.Plan(ctx, r.root, Proposal{Document: `guards: [{name: others, mode: mask}]`})
	refused(t, "its plan", err, llm.KindConflict)
	if now, _, err := r.newest(ctx); err != nil || now != before {
		t.Errorf("revision %d, want %d: %v", now, before, err)
	}
	if _, err := r.Delete(ctx, r.root, config.Place{Kind: config.KindGuard, Name: "others"}, ObjectRemoval{}); err != nil {
		t.Errorf("a guard that nothing names: %v", err)
	}

	// A file that came to have it too clashes with the store's until that is gone, and guards the keys.
	file := r.file
	if r.file, err = config.Parse("sluice.yaml", []byte("mock: {enabled: true}\nguards: [{name: people}]\n"), config.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Delete(ctx, r.root, at, ObjectRemoval{}); err != nil {
		t.Errorf("a guard that the file has, too: %v", err)
	}
	r.file = file
	r.create(t, config.KindGuard, "", `{"name":"people","mode":"mask"}`)

	none := Maybe[[]string]{Given: true}
	org.Guards = none
	if _, err := r.c.Organisations().Update(ctx, r.root, directory.DefaultOrganisation, org); err != nil {
		t.Fatal(err)
	}
	var ofUser UserUpdate
	ofTeam.Guards, ofUser.Guards = none, none
	if _, err := r.c.Teams().Update(ctx, r.root, "research", ofTeam); err != nil {
		t.Fatal(err)
	}
	if _, err := r.c.Users().Update(ctx, r.root, "ada", ofUser); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := r.c.Keys().Delete(ctx, r.root, fmt.Sprint("ci-", i), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Delete(ctx, r.root, at, ObjectRemoval{}); err != nil {
		t.Errorf("a guard that nothing names any more: %v", err)
	}
}
