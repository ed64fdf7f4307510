package directory_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/directory/directorytest"
	"sluice/internal/llm"
)

var (
	current, previous = auth.Hash{1}, auth.Hash{2}
	today             = directorytest.Moment()
)

func entry() *directory.Entry {
	return &directory.Entry{
		Key: directory.Key{
			Record: directory.Record{ID: "k", Name: "key", Spec: directory.Spec{Models: []string{"gpt-*", "o3"}}},
			Org:    "o", Team: "t", User: "u", Hash: current, OldHash: previous, OldEnds: today.Add(time.Hour),
		},
		User: &directory.User{Record: directory.Record{ID: "u"}, Org: "o", Teams: []string{"t"}},
		Team: &directory.Team{Record: directory.Record{ID: "t"}, Org: "o"},
		Org:  &directory.Organisation{Record: directory.Record{ID: "o"}},
	}
}

func TestWho(t *testing.T) {
	e := entry()
	pace := func(name string) []llm.Rule { return []llm.Rule{{Name: name, Parallel: 1}} }
	prefix := func(s ...string) (list []netip.Prefix) {
		for _, p := range s {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	e.Key.Spec.Rules, e.User.Spec.Rules, e.Team.Spec.Rules, e.Org.Spec.Rules = pace("a"), pace("b"), pace("a"), pace("d")
	e.User.Spec.Models, e.Team.Spec.Models = []string{"*"}, []string{"gpt-4*"}
	e.Key.Spec.Endpoints, e.Org.Spec.Endpoints = []llm.Op{llm.OpChat, llm.OpEmbed}, []llm.Op{llm.OpEmbed, llm.OpCount}
	e.Key.Spec.AllowFrom, e.Team.Spec.AllowFrom = prefix("10.0.0.0/8", "2001:db8::/32"), prefix("10.1.0.0/16", "192.168.0.0/16")
	e.Key.Spec.Tags, e.Org.Spec.Tags = []string{"fast", "eu"}, []string{"eu"}
	e.Key.Spec.Guards, e.Team.Spec.Guards, e.Org.Spec.Guards = []string{"own", "all"}, []string{"team"}, []string{"all"}
	e.Team.Spec.Project, e.Org.Spec.Project = "team's", "all"
	e.Team.Spec.Expires, e.User.Spec.Expires = today.Add(time.Hour), today.Add(time.Minute)
	e.Org.Spec.Asks, e.Key.Spec.Asks = []string{auth.AskTags}, []string{auth.AskDeadline}
	want := &auth.Who{
		Name: "key", ID: "k", Org: "o", Team: "t", User: "u", Project: "team's", Models: []string{"gpt-*", "o3"}, Within: [][]string{{"gpt-4*"}},
		Endpoints: []llm.Op{llm.OpEmbed}, AllowFrom: prefix("10.1.0.0/16"), Tags: []string{"eu", "fast"}, Guards: []string{"all", "own", "team"}, Asks: []string{}, Expires: today.Add(time.Minute),
		Rules: []llm.Bound{
			{Subject: "key:k", Rule: &e.Key.Spec.Rules[0]},
			{Subject: "user:u", Rule: &e.User.Spec.Rules[0]},
			{Subject: "team:t", Rule: &e.Team.Spec.Rules[0]},
			{Subject: "org:o", Rule: &e.Org.Spec.Rules[0]},
		},
	}
	if diff := cmp.Diff(want, e.Who(current), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhoIsRefused(t *testing.T) {
	for name, change := range map[string]func(e *directory.Entry){
		"the key is disabled":          func(e *directory.Entry) { e.Key.Spec.Disabled = true },
		"the user is disabled":         func(e *directory.Entry) { e.User.Spec.Disabled = true },
		"the team is disabled":         func(e *directory.Entry) { e.Team.Spec.Disabled = true },
		"the organisation is disabled": func(e *directory.Entry) { e.Org.Spec.Disabled = true },
		"the user has left the team":   func(e *directory.Entry) { e.User.Teams = []string{"x"} },
		"the user is gone":             func(e *directory.Entry) { e.User = nil },
		"the team is gone":             func(e *directory.Entry) { e.Team = nil },
		"the organisation is gone":     func(e *directory.Entry) { e.Org = nil },
		"the hash is another key's":    func(e *directory.Entry) { e.Key.Hash = auth.Hash{9} },
		"the old key has no end, so none": func(e *directory.Entry) {
			e.Key.Hash, e.Key.OldHash, e.Key.OldEnds = auth.Hash{9}, current, time.Time{}
		},
	} {
		e := entry()
		if e.Who(current).Disabled {
			t.Fatal("it is refused from the beginning")
		}
		if change(e); !e.Who(current).Disabled {
			t.Errorf("%s: the key still works", name)
		}
	}
}

func TestWhoAfterRotation(t *testing.T) {
	e := entry()
	if w := e.Who(previous); w.Disabled || !w.Expires.Equal(e.Key.OldEnds) {
		t.Errorf("the old key: %+v", w)
	}
	if w := e.Who(current); w.Disabled || !w.Expires.IsZero() {
		t.Errorf("the new key: %+v", w)
	}
	e.Key.Spec.Expires = today // the key's own end is nearer
	if w := e.Who(previous); !w.Expires.Equal(today) {
		t.Errorf("the old key outlives the new one: %s", w.Expires)
	}
}

// Deny by default: a key that was given no model may use none; an owner that says nothing does not restrict, one
// that allows nothing does.
func TestWhoModels(t *testing.T) {
	e := entry()
	if w := e.Who(current); !w.Allows("gpt-4o") || w.Allows("claude") || w.Within != nil {
		t.Errorf("%v within %v", w.Models, w.Within)
	}
	e.Key.Spec.Models = nil
	if e.Who(current).Allows("gpt-4o") {
		t.Error("a key without models may use one")
	}
	e.Key.Spec.Models = []string{"*"}
	e.Team.Spec.Models = []string{}
	if e.Who(current).Allows("gpt-4o") {
		t.Error("a key of a team without any model may use one")
	}
	e.Team.Spec.Models = nil
	e.Org.Spec.Endpoints, e.Key.Spec.Endpoints = []llm.Op{llm.OpChat}, []llm.Op{llm.OpEmbed}
	if w := e.Who(current); w.Permits(llm.OpChat) == nil || w.Permits(llm.OpEmbed) == nil {
		t.Error("kinds of call that have nothing in common leave one")
	}
}

// A spec that a newer release wrote with a restriction unknown here is not taken for less than it says.
func TestSpecIsStrict(t *testing.T) {
	var s directory.Spec
	for _, text := range []string{`{"models":["*"],"only_on_mondays":true}`, `{"Disabled":true}`, `{"rules":[{"name":"a"}]}`, `{"allow_from":["10.0.0.0"]}`, `[]`, ``} {
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func FuzzSpec(f *testing.F) {
	rich := directorytest.Rich()
	text, err := rich.MarshalText()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"models":[],"expires":"2030-01-01T00:00:00Z","metadata":{"":""}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var s, again directory.Spec
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		out, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText(out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if diff := directorytest.Same(again, s); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}
