package control

import (
	"slices"
	"testing"

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
