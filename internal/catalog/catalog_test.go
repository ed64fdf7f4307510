package catalog

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func one(name, provider, model string) Group {
	return Group{Name: name, Deployments: []Deployment{{Target: llm.Target{Provider: provider, Model: model}, Weight: 1}}}
}

func TestResolve(t *testing.T) {
	c := New(
		[]Group{one("fast", "groq", "llama"), one("openai/pinned", "azure", "p"), one("eu/*", "mistral", "*"), one("eu/big-*-x", "mistral", "b-*"), one("star-*", "groq", "fixed")},
		[]Provider{
			{Name: "openai", Owns: []string{"gpt-*", "o3-mini"}, Targets: []llm.Target{{Provider: "openai", Credential: "a"}, {Provider: "openai", Credential: "b"}}},
			{Name: "other", Owns: []string{"gpt-oss*", "claude-*"}, Targets: []llm.Target{{Provider: "other", Lenient: true}}},
		},
	)
	for name, want := range map[string]string{
		"fast": "groq llama", "openai/pinned": "azure p", "openai/anything": "openai anything",
		"other/a/b": "other a/b", "gpt-4o": "openai gpt-4o", "gpt-oss-20b": "openai gpt-oss-20b", "o3-mini": "openai o3-mini",
		"claude-x": "other claude-x", "": "", "nobody": "", "nobody/x": "", "OPENAI/x": "", "GPT-4o": "", "gpt-4/x": "openai gpt-4/x", "openai/": "",
		"eu/small": "mistral small", "eu/a/b": "mistral a/b", "eu/": "mistral ", "eu/big-1-x": "mistral b-1", "eu/big-x": "mistral big-x", "star-7": "groq fixed",
	} {
		g, ok := c.Resolve(name)
		got := ""
		if ok {
			got = g.Deployments[0].Provider + " " + g.Deployments[0].Model
		}
		if got != want {
			t.Errorf("%q resolves to %q, want %q", name, got, want)
		}
	}
	if g, _ := c.Resolve("claude-x"); !g.Deployments[0].Lenient {
		t.Error("what a provider's targets have in common is lost")
	}
	if g, _ := c.Resolve("gpt-4o"); len(g.Deployments) != 2 || g.Deployments[1].Credential != "b" || g.Deployments[1].Model != "gpt-4o" {
		t.Errorf("%+v, want a deployment for each credential", g.Deployments)
	}
	if names := c.Names(); len(names) != 2 || names[0] != "fast" {
		t.Errorf("names %v, want those with an entry and without a *, sorted", names)
	}
	// What one name filled in must not stand in the entry.
	if g, _ := c.Resolve("eu/again"); g.Deployments[0].Model != "again" {
		t.Errorf("%+v", g)
	}
}

func TestTiersComeInOrder(t *testing.T) {
	g := one("m", "late", "x")
	g.Deployments[0].Tier = 2
	g.Deployments = append(g.Deployments, Deployment{Target: llm.Target{Provider: "a"}}, Deployment{Target: llm.Target{Provider: "b"}, Tier: 1}, Deployment{Target: llm.Target{Provider: "c"}})
	found, _ := New([]Group{g}, nil).Resolve("m")
	var got []string
	for _, d := range found.Deployments {
		got = append(got, d.Provider)
	}
	if diff := cmp.Diff([]string{"a", "c", "b", "late"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The plans of one name are counted together, also where the group is made for each call.
func TestTurns(t *testing.T) {
	c := New([]Group{one("fast", "groq", "llama"), one("eu/*", "groq", "*")}, []Provider{{Name: "p", Targets: make([]llm.Target, 2)}})
	for _, name := range []string{"fast", "eu/x", "p/x"} {
		for want := range uint64(3) {
			g, _ := c.Resolve(name)
			if got := g.Turn.Add(1) - 1; got != want {
				t.Errorf("%s: turn %d, want %d", name, got, want)
			}
		}
	}
}
