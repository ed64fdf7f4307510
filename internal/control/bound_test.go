package control

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/rules"
)

// The world of the property test: small, so that bounds meet.
var (
	someGlobs  = []string{"*", "gpt-*", "gpt-4*", "gpt-4o", "*-4o", "claude-*", "o3"}
	someModels = []string{"gpt-4o", "gpt-4", "gpt-5", "claude-4o", "claude", "o3", ""}
	someOps    = []string{"chat", "count_tokens", "embeddings"}
	someAsks   = []string{auth.AskStrategy, auth.AskTags}
	someRanges = []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32"}
	somePeers  = []string{"10.1.2.3", "10.1.9.9", "10.9.9.9", "11.0.0.1", "2001:db8::1", "2001:db9::1"}
	someTimes  = []string{"", "2027-01-01", "2028-01-01"}
)

func drawSome[T any](t *rapid.T, name string, from []T) Maybe[[]T] {
	switch rapid.IntRange(0, 3).Draw(t, name+" kind") {
	case 0:
		return Maybe[[]T]{}
	case 1:
		return Maybe[[]T]{Given: true} // null: not restricted
	}
	list := rapid.SliceOfN(rapid.SampledFrom(from), 0, 3).Draw(t, name)
	if list == nil {
		list = []T{}
	}
	return Some(list)
}

func set(m Maybe[[]string]) Maybe[[]string] {
	if m.Value != nil {
		slices.Sort(m.Value)
		m.Value = slices.Compact(m.Value)
	}
	return m
}

func drawChange(t *rapid.T) (ch Change) {
	ch.Models = drawSome(t, "models", someGlobs)
	ch.Endpoints = set(drawSome(t, "endpoints", someOps))
	ch.Overrides = set(drawSome(t, "overrides", someAsks))
	ch.AllowFrom = drawSome(t, "allow_from", someRanges)
	if rapid.Bool().Draw(t, "with expires") {
		ch.Expires = Some(rapid.SampledFrom(someTimes).Draw(t, "expires"))
	}
	if rapid.Bool().Draw(t, "with cache") {
		ch.Cache = Some(rapid.SampledFrom([]string{"", "off", "exact", "semantic"}).Draw(t, "cache"))
	}
	if rapid.Bool().Draw(t, "with project") {
		ch.Project = Some(rapid.SampledFrom([]string{"", "p1", "p2"}).Draw(t, "project"))
	}
	if rapid.Bool().Draw(t, "with rules") {
		ch.Rules = Some([]rules.Rule{{
			Name: "r", Parallel: rapid.Int64Range(0, 5).Draw(t, "parallel"),
			Requests: []string{fmt.Sprintf("%d/minute", rapid.Int64Range(1, 5).Draw(t, "requests"))},
			Budgets:  []rules.Budget{{Dollars: fmt.Sprint(rapid.Int64Range(1, 5).Draw(t, "dollars")), Every: "month"}},
		}})
	}
	return ch
}

// lets tells whether a caller gets through in every respect.
func lets(w *auth.Who, model string, op llm.Op, ask, peer string, at time.Time) bool {
	addr := netip.MustParseAddr(peer)
	return !w.Disabled && w.Allows(model) && w.Permits(op) == nil && w.MayAsk(ask) == nil && (w.Expires.IsZero() || at.Before(w.Expires)) &&
		(w.AllowFrom == nil || slices.ContainsFunc(w.AllowFrom, func(p netip.Prefix) bool { return p.Contains(addr) }))
}

// has tells whether an owner has what a caller wants, from its spec alone.
func has(s *directory.Spec, model string, op llm.Op, ask, peer string, at time.Time) bool {
	addr := netip.MustParseAddr(peer)
	return (s.Models == nil || slices.ContainsFunc(s.Models, func(g string) bool { return llm.Match(g, model) })) &&
		(s.Endpoints == nil || slices.Contains(s.Endpoints, op)) && (s.Asks == nil || slices.Contains(s.Asks, ask)) &&
		(s.AllowFrom == nil || slices.ContainsFunc(s.AllowFrom, func(p netip.Prefix) bool { return p.Contains(addr) })) &&
		(s.Expires.IsZero() || at.Before(s.Expires)) && !s.Disabled
}

// notMore fails where a key gets through in a way in which its owner does not.
func notMore(t *rapid.T, what string, key *auth.Who, up *directory.Spec) {
	t.Helper()
	for _, model := range someModels {
		for _, op := range someOps {
			for _, ask := range someAsks {
				for _, peer := range somePeers {
					for _, year := range []int{2026, 2027, 2028} {
						at := time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
						if lets(key, model, llm.Op(op), ask, peer, at) && !has(up, model, llm.Op(op), ask, peer, at) {
							t.Fatalf("%s gets more than its owner: %q %s %s %s %d\nkey %+v\nowner %+v", what, model, op, ask, peer, year, key, up)
						}
					}
				}
			}
		}
	}
}

// S7: nothing is given more than its owners and its maker have: not when it is made, not when it is changed, and
// not after they were given less.
func TestNothingGetsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"an owner changes": w.changeOwner,
			"a key is made":    w.makeKey,
			"a key changes":    w.changeKey,
			"":                 w.check,
		})
	})
}

// A world is an organisation, a team and a user in it, and keys of all of them.
type world struct {
	*rig
	team, user string
	keys       int
}

func newWorld(t *rapid.T) *world {
	w := &world{rig: newRig()}
	ctx := t.Context()
	team, err := w.Teams().Create(ctx, w.root, NewTeam{Change: named("t")})
	if err != nil {
		t.Fatal(err)
	}
	in := NewUser{}
	in.Name, in.Teams = Some("u"), Some([]string{team.ID})
	user, err := w.Users().Create(ctx, w.root, in)
	if err != nil {
		t.Fatal(err)
	}
	w.team, w.user = team.ID, user.ID
	return w
}

func (w *world) changeOwner(t *rapid.T) {
	up := Update{Change: drawChange(t)}
	switch rapid.IntRange(0, 2).Draw(t, "which") {
	case 0:
		_, _ = w.Organisations().Update(t.Context(), w.root, directory.DefaultOrganisation, up)
	case 1:
		_, _ = w.Teams().Update(t.Context(), w.root, w.team, up)
	case 2:
		_, _ = w.Users().Update(t.Context(), w.root, w.user, UserUpdate{UserChange: UserChange{Change: up.Change}})
	}
}

func (w *world) actor(t *rapid.T) Actor {
	return rapid.SampledFrom([]Actor{
		w.root,
		{Name: "o", Kind: directory.KindOrganisation, Realm: directory.DefaultOrganisation, Org: directory.DefaultOrganisation},
		{Name: "t", Kind: directory.KindTeam, Realm: w.team, Org: directory.DefaultOrganisation},
		{Name: "u", Kind: directory.KindUser, Realm: w.user, Org: directory.DefaultOrganisation},
	}).Draw(t, "actor")
}

func (w *world) owners(t *rapid.T) (in KeyChange) {
	in.Change = drawChange(t)
	if rapid.Bool().Draw(t, "of the team") {
		in.Team = Some(w.team)
	}
	if rapid.Bool().Draw(t, "of the user") {
		in.User = Some(w.user)
	}
	return in
}

func (w *world) makeKey(t *rapid.T) {
	a, in := w.actor(t), NewKey{KeyChange: w.owners(t)}
	w.keys++
	in.Name = Some(fmt.Sprint("k", w.keys))
	if k, err := w.Keys().Create(t.Context(), a, in); err == nil {
		w.granted(t, a, k.ID)
	}
}

func (w *world) changeKey(t *rapid.T) {
	page, err := w.Keys().List(t.Context(), w.root, List{})
	if err != nil || len(page.Data) == 0 {
		t.Skip("there is none")
	}
	a, id := w.actor(t), rapid.SampledFrom(page.Data).Draw(t, "key").ID
	if _, err := w.Keys().Update(t.Context(), a, id, KeyUpdate{KeyChange: w.owners(t)}); err == nil {
		w.granted(t, a, id)
	}
}

// granted checks a key that somebody has just made or changed: what is stored is no more than its owners have, and it
// is in the maker's realm.
func (w *world) granted(t *rapid.T, a Actor, id string) {
	k, err := w.store.Keys().Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if a.Kind == directory.KindTeam && k.Team != a.Realm || a.Kind == directory.KindUser && k.User != a.Realm {
		t.Fatalf("%+v made a key outside their realm: %+v", a, k)
	}
	own := directory.Entry{Key: *k, Org: &directory.Organisation{}}
	own.Key.Team, own.Key.User = "", ""
	for what, up := range w.specs(t, k) {
		// A list that the key leaves out is its owner's; the rest it must say no more than.
		s := own.Key.Spec
		if s.Endpoints == nil {
			own.Key.Spec.Endpoints = up.Endpoints
		}
		if s.Asks == nil {
			own.Key.Spec.Asks = up.Asks
		}
		if s.AllowFrom == nil {
			own.Key.Spec.AllowFrom = up.AllowFrom
		}
		if s.Expires.IsZero() {
			own.Key.Spec.Expires = up.Expires
		}
		who := own.Who(k.Hash)
		own.Key.Spec = s
		notMore(t, "the stored key, of "+what+",", who, up)
		if s.Cache != "" && auth.LeastCache(up.Cache, s.Cache) != s.Cache {
			t.Fatalf("answers are kept for the key %q, where its owner says %q", s.Cache, up.Cache)
		}
		if up.Project != "" && s.Project != "" && s.Project != up.Project {
			t.Fatalf("the key goes on the account of %q, not of its owner's %q", s.Project, up.Project)
		}
		if len(s.Rules) > 0 && len(up.Rules) > 0 {
			in, out := s.Rules[0], up.Rules[0]
			if in.Requests[0].N > out.Requests[0].N || out.Parallel > 0 && in.Parallel > out.Parallel || in.Budgets[0].Money > out.Budgets[0].Money {
				t.Fatalf("the key's limits %+v are above those of %s, %+v", in, what, out)
			}
		}
	}
}

// specs are those of a key's owners.
func (w *world) specs(t *rapid.T, k *directory.Key) map[string]*directory.Spec {
	o, err := w.store.Organisations().Get(t.Context(), directory.DefaultOrganisation)
	if err != nil {
		t.Fatal(err)
	}
	specs := map[string]*directory.Spec{"org:default": &o.Spec}
	if k.Team != "" {
		team, err := w.store.Teams().Get(t.Context(), w.team)
		if err != nil {
			t.Fatal(err)
		}
		specs["team:"+w.team] = &team.Spec
	}
	if k.User != "" {
		user, err := w.store.Users().Get(t.Context(), w.user)
		if err != nil {
			t.Fatal(err)
		}
		specs["user:"+w.user] = &user.Spec
	}
	return specs
}

// check looks at every key as callers find it, whatever has happened to its owners.
func (w *world) check(t *rapid.T) {
	list, _, err := w.store.Keys().List(t.Context(), directory.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		k := &list[i]
		e, err := w.store.ByHash(t.Context(), k.Hash)
		if err != nil {
			t.Fatal(err)
		}
		who := e.Who(k.Hash)
		for subject, up := range w.specs(t, k) {
			notMore(t, "a key of "+subject, who, up)
			for j := range up.Rules {
				if !slices.ContainsFunc(who.Rules, func(b llm.Bound) bool { return b.Subject == subject && b.Rule.Name == up.Rules[j].Name }) {
					t.Fatalf("the rule %s of %s does not hold for the key", up.Rules[j].Name, subject)
				}
			}
		}
	}
}

// A rule that counts each model apart is no bound for what counts all of them together, and one for some models none
// for others.
func TestRuleBounds(t *testing.T) {
	parse := func(r rules.Rule) directory.Spec {
		list, problems := rules.Read([]rules.Rule{r})
		if problems != nil {
			t.Fatal(problems)
		}
		return directory.Spec{Rules: list, Models: []string{"gpt-4o"}}
	}
	pace := func(n int, models, per []string) rules.Rule {
		return rules.Rule{Name: "r", Models: models, Per: per, Requests: []string{fmt.Sprintf("%d/minute", n)}}
	}
	for _, tt := range []struct {
		name         string
		kind         directory.Kind
		inner, outer rules.Rule
		above        bool
	}{
		{"more", directory.KindKey, pace(6, nil, nil), pace(5, nil, nil), true},
		{"as much", directory.KindKey, pace(5, nil, nil), pace(5, nil, nil), false},
		{"another span", directory.KindKey, rules.Rule{Name: "r", Requests: []string{"60/hour"}}, pace(5, nil, nil), false},
		{"the owner counts models apart", directory.KindKey, pace(6, nil, nil), pace(5, nil, []string{"model"}), false},
		{"both do", directory.KindKey, pace(6, nil, []string{"model"}), pace(5, nil, []string{"model"}), true},
		{"the owner counts keys apart", directory.KindKey, pace(6, nil, nil), pace(5, nil, []string{"key"}), true},
		{"the owner counts keys apart, a user has several", directory.KindUser, pace(6, nil, nil), pace(5, nil, []string{"key"}), false},
		{"the owner's is for another model", directory.KindKey, pace(6, nil, nil), pace(5, []string{"o3"}, nil), false},
		{"the owner's is for all of the key's models", directory.KindKey, pace(6, nil, nil), pace(5, []string{"gpt-*"}, nil), true},
		{"the owner's is for some of the rule's models", directory.KindKey, pace(6, []string{"gpt-*"}, nil), pace(5, []string{"gpt-4*"}, nil), false},
		{"budget", directory.KindKey, rules.Rule{Name: "r", Budgets: []rules.Budget{{Dollars: "6", Every: "month"}}}, rules.Rule{Name: "r", Budgets: []rules.Budget{{Dollars: "5", Every: "month"}}}, true},
		{"another period", directory.KindKey, rules.Rule{Name: "r", Budgets: []rules.Budget{{Dollars: "6", Every: "month"}}}, rules.Rule{Name: "r", Budgets: []rules.Budget{{Dollars: "5", Every: "day"}}}, false},
		{
			"an override", directory.KindKey,
			rules.Rule{Name: "r", Budgets: []rules.Budget{{Dollars: "1", Every: "month", Overrides: []rules.Override{{From: "2026-01-01T00:00:00Z", Until: "2026-02-01T00:00:00Z", Dollars: "6"}}}}},
			rules.Rule{Name: "r", Budgets: []rules.Budget{{Dollars: "5", Every: "month"}}},
			true,
		},
	} {
		inner, outer := parse(tt.inner), parse(tt.outer)
		if got := exceeds(tt.kind, &inner, []parent{{"the owner", &outer}}); (len(got) > 0) != tt.above {
			t.Errorf("%s: %v, want above %t", tt.name, got, tt.above)
		}
	}
}

// A glob inside another fits no name that the outer does not.
func TestCovered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab*")), 0, 6, -1)
		inner, outer := text.Draw(t, "inner"), text.Draw(t, "outer")
		name := rapid.StringOfN(rapid.SampledFrom([]rune("abc*")), 0, 8, -1).Draw(t, "name")
		if covered(inner, []string{outer}) && llm.Match(inner, name) && !llm.Match(outer, name) {
			t.Fatalf("%q is said to be inside %q, and fits %q alone", inner, outer, name)
		}
	})
	if !covered("gpt-4*", []string{"o3", "gpt-*"}) || covered("gpt-*", []string{"gpt-4*"}) || !covered("*", []string{"**"}) {
		t.Error("plain cases")
	}
}
