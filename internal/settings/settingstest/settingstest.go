// Package settingstest is the suite that every settings.Store must pass.
package settingstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/settings"
)

// A Harness makes stores.
type Harness struct {
	Open func(t *testing.T) settings.Store // an empty one
}

// Run holds a store to its interface.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(context.Context, *testing.T, settings.Store){
		"revisions": testRevisions, "lists": testLists, "race": testRace, "replicas": testReplicas,
	} {
		t.Run(name, func(t *testing.T) { test(t.Context(), t, h.Open(t)) })
	}
}

func revision(n int64) *settings.Revision {
	return &settings.Revision{
		Number: n, Based: n - 1, At: time.Date(2026, 3, 29, 1, 59, 58, 123456000, time.UTC), By: "ann'; --", Act: "models.create fast", Why: "ünder load",
		Document: fmt.Appendf(nil, "models:\n  - {name: fast, model: \"m%d\"}\n", n),
	}
}

func add(ctx context.Context, t *testing.T, s settings.Store, n int) {
	t.Helper()
	for i := range n {
		if err := s.Append(ctx, revision(int64(i)+1)); err != nil {
			t.Fatal(err)
		}
	}
}

func testRevisions(ctx context.Context, t *testing.T, s settings.Store) {
	if n, err := s.Newest(ctx); n != 0 || err != nil {
		t.Errorf("an empty store: %d, %v", n, err)
	}
	if _, err := s.Get(ctx, 0); !errors.Is(err, settings.ErrNotFound) {
		t.Errorf("the newest of an empty store: %v", err)
	}
	for _, n := range []int64{0, 2} {
		if err := s.Append(ctx, revision(n)); !errors.Is(err, settings.ErrTaken) {
			t.Errorf("%d as the first: %v", n, err)
		}
	}
	add(ctx, t, s, 2)
	for _, n := range []int64{1, 2, 4} {
		if err := s.Append(ctx, revision(n)); !errors.Is(err, settings.ErrTaken) {
			t.Errorf("%d after 2: %v", n, err)
		}
	}
	if n, err := s.Newest(ctx); n != 2 || err != nil {
		t.Errorf("the newest is %d, %v", n, err)
	}
	for _, n := range []int64{1, 2} {
		if got, err := s.Get(ctx, n); err != nil || cmp.Diff(revision(n), got) != "" {
			t.Errorf("%v: %s", err, cmp.Diff(revision(n), got))
		}
	}
	if got, err := s.Get(ctx, 0); err != nil || cmp.Diff(revision(2), got) != "" {
		t.Errorf("the newest: %v: %s", err, cmp.Diff(revision(2), got))
	}
	for _, n := range []int64{-1, 3} {
		if _, err := s.Get(ctx, n); !errors.Is(err, settings.ErrNotFound) {
			t.Errorf("revision %d: %v", n, err)
		}
	}
}

func testLists(ctx context.Context, t *testing.T, s settings.Store) {
	add(ctx, t, s, 5)
	for _, c := range []struct {
		below int64
		limit int
		want  string
	}{{0, 0, "[5 4 3 2 1]"}, {0, 2, "[5 4]"}, {4, 2, "[3 2]"}, {1, 2, "[]"}, {9, 1000, "[5 4 3 2 1]"}} {
		list, err := s.List(ctx, c.below, c.limit)
		got := []int64{}
		for i := range list {
			got = append(got, list[i].Number)
			if list[i].Document != nil || list[i].Why != "ünder load" {
				t.Errorf("%+v", list[i])
			}
		}
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%d below %d: %v, %v, want %s", c.limit, c.below, got, err, c.want)
		}
	}
}

// testRace: of those that add the same number at once, one does.
func testRace(ctx context.Context, t *testing.T, s settings.Store) {
	var work sync.WaitGroup
	done := make(chan error, 8)
	for range cap(done) {
		work.Go(func() { done <- s.Append(ctx, revision(1)) })
	}
	work.Wait()
	close(done)
	n := 0
	for err := range done {
		if err == nil {
			n++
		} else if !errors.Is(err, settings.ErrTaken) {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d were first", n)
	}
}

func testReplicas(ctx context.Context, t *testing.T, s settings.Store) {
	for _, r := range []settings.Replica{{ID: "b", Revision: 1}, {ID: "a", Revision: 3}, {ID: "b", Revision: 2, Refused: 3, Problem: "it's wrong"}} {
		if err := s.Report(ctx, &r); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.Replicas(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for i := range list {
		if d := time.Since(list[i].Seen); d < -time.Minute || d > time.Minute {
			t.Errorf("seen %s ago", d)
		}
		list[i].Seen = time.Time{}
	}
	want := []settings.Replica{{ID: "a", Revision: 3}, {ID: "b", Revision: 2, Refused: 3, Problem: "it's wrong"}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
