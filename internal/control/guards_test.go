package control

import (
	"slices"
	"testing"

	"sluice/internal/config"
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
	if _, err := r.Delete(ctx, r.root, config.Place{Kind: config.KindGuard, Name: "people"}, ObjectRemoval{}); err != nil {
		t.Fatal(err)
	}
	up := KeyUpdate{}
	up.Project = Some("web")
	if _, err := r.c.Keys().Update(ctx, r.root, "ci", up); err != nil {
		t.Errorf("another member: %v", err)
	}
	up.Guards = Some([]string{"people", "house", "none"})
	_, err = r.c.Keys().Update(ctx, r.root, "ci", up)
	refused(t, "one more", err, llm.KindInvalid, "/guards/2")
	team := NewTeam{}
	team.Name, team.Guards = Some("research"), Some([]string{"people"})
	_, err = r.c.Teams().Create(ctx, r.root, team)
	refused(t, "a team", err, llm.KindInvalid, "/guards/0")
}
