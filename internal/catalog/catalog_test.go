package catalog

import (
	"testing"

	"sluice/internal/llm"
)

func TestResolve(t *testing.T) {
	c := New(
		[]Model{{"fast", llm.Target{Provider: "groq", Model: "llama"}}, {"openai/pinned", llm.Target{Provider: "azure", Model: "p"}}},
		[]Provider{
			{Name: "openai", Owns: []string{"gpt-*", "o3-mini"}},
			{Name: "other", Owns: []string{"gpt-oss*", "claude-*"}, Target: llm.Target{Lenient: true}},
		},
	)
	for name, want := range map[string]string{
		"fast": "groq llama", "openai/pinned": "azure p", "openai/anything": "openai anything",
		"other/a/b": "other a/b", "gpt-4o": "openai gpt-4o", "gpt-oss-20b": "openai gpt-oss-20b", "o3-mini": "openai o3-mini",
		"claude-x": "other claude-x", "": "", "nobody": "", "nobody/x": "", "OPENAI/x": "", "GPT-4o": "", "gpt-4/x": "openai gpt-4/x",
	} {
		target, ok := c.Resolve(name)
		got := ""
		if ok {
			got = target.Provider + " " + target.Model
		}
		if got != want {
			t.Errorf("%q resolves to %q, want %q", name, got, want)
		}
	}
	if target, _ := c.Resolve("claude-x"); !target.Lenient {
		t.Error("what a provider's targets have in common is lost")
	}
	if names := c.Names(); len(names) != 2 || names[0] != "fast" {
		t.Errorf("names %v, want those with an entry, sorted", names)
	}
}
