package control

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sluice/internal/audit"
	"sluice/internal/llm"
)

// A tape is an audit log in memory.
type tape struct {
	events []audit.Event
	err    error
}

func (t *tape) Record(_ context.Context, e *audit.Event) error {
	if t.err == nil {
		t.events = append(t.events, *e)
	}
	return t.err
}

// Every act is on the tape with what it changed, what was refused, too; secrets are not.
func TestActsAreRecorded(t *testing.T) {
	r, ctx, log := newRig(), t.Context(), new(tape)
	r.o.Audit = log
	made, err := r.Keys().Create(ctx, r.root, key("ci", "gpt-*"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Keys().Rotate(ctx, r.root, "ci", Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	auditor := Actor{Name: "eve", Role: RoleAuditor}
	_, err = r.Keys().Delete(ctx, auditor, "ci", 0)
	refused(t, "an auditor deletes", err, llm.KindForbidden)
	_, err = r.Keys().Delete(ctx, r.root, "nobody", 0)
	refused(t, "delete what is not there", err, llm.KindNotFound)
	if _, err := r.Keys().Delete(ctx, r.root, "ci", 0); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range log.events {
		got = append(got, e.Act+" "+string(e.Result)+" "+e.Object.Name)
		for _, text := range []string{string(e.Before), string(e.After), e.Detail} {
			if strings.Contains(text, made.Secret[20:]) || strings.Contains(text, second.Secret[20:]) {
				t.Errorf("%s holds the secret", e.Act)
			}
		}
	}
	want := []string{"keys.create done ci", "keys.rotate done ci", "keys.delete refused ", "keys.delete refused ", "keys.delete done ci"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("recorded %q, want %q", got, want)
	}
	if e := log.events[1]; !strings.Contains(string(e.Before), made.ID) || !strings.Contains(string(e.After), "rotated") || strings.Contains(string(e.Before), "rotated") {
		t.Errorf("the rotation: before %s, after %s", e.Before, e.After)
	}
}

func TestUnrecorded(t *testing.T) {
	r, ctx := newRig(), t.Context()
	r.o.Audit = &tape{err: errors.New("the disk is gone")}
	_, err := r.Keys().Create(ctx, r.root, key("ci", "*"))
	refused(t, "without an audit log", err, llm.KindOverloaded)
}

// An act that is missing from the table is nobody's, and tokens can only do less than their role.
func TestMay(t *testing.T) {
	for _, test := range []struct {
		actor Actor
		act   Act
		want  string
	}{
		{Owner("root"), "keys.create", ""},
		{Owner("root"), "keys.conjure", "forbidden"},
		{Actor{Role: RoleMember}, "keys.create", ""},
		{Actor{Role: RoleMember}, "teams.read", "forbidden"},
		{Actor{Role: RoleAdmin}, "accounts.create", CodeProof},
		{Actor{Role: RoleAdmin, Fresh: true}, "accounts.create", ""},
		{Actor{Role: RoleOwner, Scopes: []string{"keys.*"}}, "teams.create", "forbidden"},
		{Actor{Role: RoleOwner, Scopes: []string{"keys.*"}}, "keys.create", ""},
		{Actor{Role: RoleAdmin, Kind: "team", Realm: "t"}, "organisations.create", "forbidden"},
		{Actor{Role: "", Fresh: true}, "keys.read", "forbidden"},
	} {
		got := ""
		if err := test.actor.May(test.act); err != nil {
			got = string(llm.AsError(err).Kind)
			if code := llm.AsError(err).Code; code != "" {
				got = code
			}
		}
		if got != test.want {
			t.Errorf("%s %v: %s: %q, want %q", test.actor.Role, test.actor.Scopes, test.act, got, test.want)
		}
	}
}
