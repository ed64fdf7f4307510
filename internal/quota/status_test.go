package quota_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/quota"
)

// spent300 is a database that has spent so much of every budget.
func spent300(ctx context.Context, qs []quota.Query) ([]quota.Level, error) {
	levels, err := spentNothing(ctx, qs)
	for i := range levels {
		levels[i].Parts = []quota.Part{{Amount: 300}}
	}
	return levels, err
}

// TestStatus tells how a caller stands before its first call (from the database) and during one (from the store).
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, func(o *quota.Options) { o.Spent = spent300 })
		who := caller(
			llm.Rule{Name: "pace", Requests: []llm.Pace{{N: 5, Per: time.Minute}}, Parallel: 3, Models: []string{"other*"}},
			llm.Rule{Name: "day", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard}}},
		)
		want := []quota.Status{
			{Kind: quota.Requests, Rule: "pace", Subject: "key:k1", Models: []string{"other*"}, Limit: 5, Per: time.Minute},
			{Kind: quota.Parallel, Rule: "pace", Subject: "key:k1", Models: []string{"other*"}, Limit: 3},
			{
				Kind: quota.Money, Rule: "day", Subject: "key:k1", Limit: 1000, Period: llm.Daily, Mode: llm.Hard,
				From: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), Known: true, Spent: 300,
			},
		}
		status := func() []quota.Status {
			t.Helper()
			got, err := l.Status(t.Context(), who)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if diff := cmp.Diff(want, status()); diff != "" {
			t.Errorf("before the first call (-want +got):\n%s", diff)
		}
		g, err := l.Reserve(t.Context(), who, call(1))
		if err != nil {
			t.Fatal(err)
		}
		want[2].Held = 110
		if diff := cmp.Diff(want, status()); diff != "" {
			t.Errorf("during a call (-want +got):\n%s", diff)
		}
		settle(t, l, 1, g, 1, 50)
		want[2].Held, want[2].Spent = 0, 350
		if diff := cmp.Diff(want, status()); diff != "" {
			t.Errorf("after it (-want +got):\n%s", diff)
		}
	})
}

// A team, a user, an organisation or a project is no key: what is counted apart by what it has one value of stands, and of the rest the limits.
func TestStatusOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, func(o *quota.Options) { o.Spent = spent300 })
		budget := []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard}}
		rule := func(name string, per ...llm.Dim) llm.Rule { return llm.Rule{Name: name, Per: per, Budgets: budget} }
		who := caller(rule("all"), rule("teams", llm.DimTeam), rule("keys", llm.DimKey), rule("users", llm.DimTeam, llm.DimUser), rule("models", llm.DimModel), rule("projects", llm.DimProject))
		standing := func() (known []string) {
			t.Helper()
			list, err := l.Status(t.Context(), who)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				if s.Known != (s.Spent == 300) {
					t.Errorf("%s: spent %d, known %v", s.Rule, s.Spent, s.Known)
				}
				if s.Known {
					known = append(known, s.Rule)
				}
			}
			return known
		}
		who.Team, who.User, who.Project = "t", "", ""
		if diff := cmp.Diff([]string{"all", "teams", "keys", "users", "projects"}, standing()); diff != "" { // a service key's user is nobody, which is a value
			t.Errorf("a key (-want +got):\n%s", diff)
		}
		who.Name, who.ID = "", ""
		if diff := cmp.Diff([]string{"all", "teams"}, standing()); diff != "" {
			t.Errorf("a team (-want +got):\n%s", diff)
		}
		list, err := l.Status(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		told := quota.Tell(list)
		if b := told.Budgets[2]; b.Spent != "" || b.Held != "" || b.Remaining != "" || b.Limit == "" || !cmp.Equal(b.Apart, []string{"key"}) {
			t.Errorf("a budget of each key is told of a team as %+v", b)
		}
	})
}

func TestParseName(t *testing.T) {
	who := caller(llm.Rule{Name: "a|b@c", Per: []llm.Dim{llm.DimUser}, Budgets: []llm.Budget{{Tokens: 1000, Every: llm.Daily}, {Money: 5, Every: llm.RollDay}}})
	who.User = "x|y=z,"
	synctest.Test(t, func(t *testing.T) {
		l := start(t, nil)
		g, err := l.Reserve(t.Context(), who, quota.Request{ID: "1", Model: "m"})
		if err != nil {
			t.Fatal(err)
		}
		refs := g.Counters()
		g.Cancel(t.Context())
		day := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		if diff := cmp.Diff(quota.Name{Org: "acme", Subject: "key:k1", Rule: "a|b@c", From: day, Tokens: true}, quota.ParseName(refs[0])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", refs[0], diff)
		}
		if diff := cmp.Diff(quota.Name{Org: "acme", Subject: "key:k1", Rule: "a|b@c"}, quota.ParseName(refs[1])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", refs[1], diff)
		}
	})
	if n := quota.ParseName(""); n != (quota.Name{}) {
		t.Errorf("nothing is read as %+v", n)
	}
}

func TestStatusUnknown(t *testing.T) {
	l := start(t, func(o *quota.Options) {
		o.Spent = func(context.Context, []quota.Query) ([]quota.Level, error) { return nil, errors.New("down") }
	})
	who := caller(llm.Rule{Name: "day", Budgets: []llm.Budget{{Money: 1000, Every: llm.Daily, Mode: llm.Hard}}})
	if _, err := l.Status(t.Context(), who); llm.AsError(err).Kind != llm.KindBudgetUnknown {
		t.Errorf("got %v", err)
	}
}
