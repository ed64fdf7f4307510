package directorytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/directory"
)

func testByHash(t *testing.T, r *rig) {
	ctx := t.Context()
	team := create(t, r.Teams(), r.team("t"))
	user := r.user("u")
	user.Teams = []string{team.ID}
	create(t, r.Users(), user)
	k := r.key("k")
	k.Team, k.User = team.ID, user.ID
	create(t, r.Keys(), k)
	org := must(r.Organisations().Get(ctx, directory.DefaultOrganisation))
	want := &directory.Entry{Key: *k, User: user, Team: team, Org: org}
	for name, h := range map[string]auth.Hash{"the hash": k.Hash, "the old hash": k.OldHash} {
		got, err := r.ByHash(ctx, h)
		if err != nil || got == nil {
			t.Fatalf("by %s: %v, %v", name, got, err)
		}
		if diff := Same(got, want); diff != "" {
			t.Errorf("by %s (-want +got):\n%s", name, diff)
		}
	}
	none := func(what string, h auth.Hash) {
		t.Helper()
		if got, err := r.ByHash(ctx, h); got != nil || err != nil {
			t.Errorf("%s: got %v, %v", what, got, err)
		}
	}
	none("an unknown hash", auth.Hash{1})
	alone := r.key("alone")
	alone.OldHash, alone.OldEnds, alone.Rotated = auth.Hash{}, time.Time{}, time.Time{}
	create(t, r.Keys(), alone)
	none("no hash", auth.Hash{})
	got, err := r.ByHash(ctx, alone.Hash)
	if err != nil {
		t.Fatal(err)
	}
	if diff := Same(got, &directory.Entry{Key: *alone, Org: org}); diff != "" {
		t.Errorf("a key of the organisation (-want +got):\n%s", diff)
	}

	old := *k
	k.OldHash, k.Hash = k.Hash, auth.Hash{2}
	if err := r.Keys().Update(ctx, k); err != nil {
		t.Fatal(err)
	}
	none("the hash before the last", old.OldHash)
	for _, h := range []auth.Hash{k.Hash, k.OldHash} {
		if got, err := r.ByHash(ctx, h); err != nil || got == nil || got.Key.Version != 2 {
			t.Errorf("after a rotation: %v, %v", got, err)
		}
	}
	if err := r.Keys().Delete(ctx, k.ID, 2); err != nil {
		t.Fatal(err)
	}
	none("a key that is gone", k.Hash)
	none("a key that is gone, by its old hash", k.OldHash)
}

func testHashes(t *testing.T, r *rig) {
	a := create(t, r.Keys(), r.key("a"))
	for i, h := range []auth.Hash{a.Hash, a.OldHash} {
		for j := range 2 {
			k := r.key(fmt.Sprint(i, j))
			if j == 0 {
				k.Hash = h
			} else {
				k.OldHash = h
			}
			if err := r.Keys().Create(t.Context(), k); !errors.Is(err, directory.ErrExists) {
				t.Errorf("a key with another's hash, old %d and new %d: %v", i, j, err)
			}
		}
	}
}

func testChanges(t *testing.T, r *rig) {
	ctx := t.Context()
	start := must(r.Newest(ctx))
	team := create(t, r.Teams(), r.team("t"))
	k := create(t, r.Keys(), r.key("k"))
	if err := r.Keys().Update(ctx, k); err != nil {
		t.Fatal(err)
	}
	_ = r.Keys().Create(ctx, k)      // is refused, and no change
	_ = r.Keys().Delete(ctx, "x", 1) // neither
	if err := r.Keys().Delete(ctx, k.ID, 2); err != nil {
		t.Fatal(err)
	}
	got, err := r.Changes(ctx, start)
	if err != nil || len(got) != 4 {
		t.Fatalf("%v, %v", got, err)
	}
	last := start
	for i, want := range []directory.Change{{Kind: directory.KindTeam, ID: team.ID}, {Kind: directory.KindKey, ID: k.ID}, {Kind: directory.KindKey, ID: k.ID}, {Kind: directory.KindKey, ID: k.ID}} {
		if got[i].Seq <= last || got[i].Kind != want.Kind || got[i].ID != want.ID {
			t.Errorf("change %d is %v after %d, want %v", i, got[i], last, want)
		}
		last = got[i].Seq
	}
	if newest := must(r.Newest(ctx)); newest != last {
		t.Errorf("the newest is %d, want %d", newest, last)
	}
	if got, err := r.Changes(ctx, last); len(got) > 0 || err != nil {
		t.Errorf("after the newest: %v, %v", got, err)
	}
	if got, err := r.Changes(ctx, got[1].Seq); len(got) != 2 || err != nil {
		t.Errorf("after the second: %v, %v", got, err)
	}
}

// testChangesOfMany reads changes while many make them: none may be missed.
func testChangesOfMany(t *testing.T, r *rig) {
	const writers, each = 8, 25
	ctx := t.Context()
	seq := must(r.Newest(ctx))
	var writing sync.WaitGroup
	made := make(chan string, writers*each)
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				k := r.key(fmt.Sprint(w, "-", i))
				if err := r.Keys().Create(context.WithoutCancel(ctx), k); err != nil {
					t.Error(err)
				}
				made <- k.ID
			}
		})
	}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	seen := map[string]bool{}
	for ended := false; ; {
		list, err := r.Changes(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			seen[c.ID], seq = true, c.Seq
		}
		if ended && len(list) == 0 {
			break
		}
		select {
		case <-done:
			ended = true
		default:
		}
	}
	close(made)
	for id := range made {
		if !seen[id] {
			t.Errorf("the change of %s was missed", id)
		}
	}
}

func testRace(t *testing.T, r *rig) {
	ctx := t.Context()
	k := create(t, r.Keys(), r.key("k"))
	var racing sync.WaitGroup
	results := make(chan error, 8)
	for i := range 8 {
		mine := *k
		mine.Name = fmt.Sprint("mine ", i)
		racing.Go(func() { results <- r.Keys().Update(ctx, &mine) })
	}
	racing.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, directory.ErrVersion):
			t.Errorf("a loser got %v", err)
		}
	}
	if got := must(r.Keys().Get(ctx, k.ID)); won != 1 || got.Version != 2 || !strings.HasPrefix(got.Name, "mine ") {
		t.Errorf("%d won, version %d, name %q", won, got.Version, got.Name)
	}
}

func testNotes(t *testing.T, r *rig) {
	note := func(name, value, want string) {
		t.Helper()
		if got, err := r.Note(t.Context(), name, value); err != nil || got != want {
			t.Errorf("note %q %q: got %q, %v, want %q", name, value, got, err, want)
		}
	}
	note("a", "", "")
	note("a", "first", "first")
	note("a", "second", "first")
	note("a", "", "first")
	note("b", "", "")
	var racing sync.WaitGroup
	kept := make(chan string, 8)
	for i := range 8 {
		racing.Go(func() { kept <- must(r.Note(t.Context(), "c", fmt.Sprint(i))) })
	}
	racing.Wait()
	for first := <-kept; len(kept) > 0; {
		if again := <-kept; again != first {
			t.Errorf("both %q and %q were kept", first, again)
		}
	}
}

func testCopies(t *testing.T, r *rig) {
	ctx := t.Context()
	k := create(t, r.Keys(), r.key("k"))
	want := must(r.Keys().Get(ctx, k.ID))
	k.Spec.Models[0], k.Spec.Rules[0].Requests[0].N, k.Spec.Metadata["x"] = "changed", 99, "y"
	got := must(r.Keys().Get(ctx, k.ID))
	if diff := Same(got, want); diff != "" {
		t.Errorf("a store kept what its caller went on to change (-want +got):\n%s", diff)
	}
	got.Spec.Models[0] = "changed"
	if diff := Same(must(r.Keys().Get(ctx, k.ID)), want); diff != "" {
		t.Errorf("a store gave away what it keeps (-want +got):\n%s", diff)
	}
}

// testInjections stores 200 texts that mean something to SQL, Redis, shells and logs, wherever a text can go.
func testInjections(t *testing.T, r *rig) {
	ctx := t.Context()
	for i, text := range Injections() {
		k := r.key(text)
		k.Maker, k.Spec.Project, k.Spec.Metadata = text, text, map[string]string{text: text}
		create(t, r.Keys(), k)
		if diff := Same(must(r.Keys().Get(ctx, k.ID)), k); diff != "" {
			t.Fatalf("%q came back as another (-want +got):\n%s", text, diff)
		}
		u := r.user(text)
		u.Email = text
		create(t, r.Users(), u)
		for _, f := range []directory.Filter{{Org: text}, {Team: text}, {User: text}, {Name: text + "x"}, {After: "zzzzzzzzzzzzz" + text}} {
			if list, _, err := r.Keys().List(ctx, f); err != nil || len(list) > 0 {
				t.Errorf("%d keys for %+v, %v", len(list), f, err)
			}
		}
		if list, _, err := r.Keys().List(ctx, directory.Filter{Name: text}); err != nil || len(list) != 1 {
			t.Errorf("%d keys of the name %q, %v", len(list), text, err)
		}
		if _, err := r.Keys().Get(ctx, text); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("get %q: %v", text, err)
		}
		if err := r.Keys().Delete(ctx, text, 1); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("delete %q: %v", text, err)
		}
		k.Team = text
		if err := r.Keys().Update(ctx, k); !errors.Is(err, directory.ErrNoOwner) {
			t.Errorf("a team called %q: %v", text, err)
		}
		if i%50 == 0 {
			if list, _, err := r.Keys().List(ctx, directory.Filter{}); err != nil || len(list) != i+1 {
				t.Fatalf("%d keys after %d were made, %v", len(list), i+1, err)
			}
		}
	}
	if _, err := r.Organisations().Get(ctx, directory.DefaultOrganisation); err != nil {
		t.Errorf("the default organisation: %v", err)
	}
}
