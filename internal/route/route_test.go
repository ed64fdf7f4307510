package route

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
)

func router() *Router {
	return New(catalog.New(
		[]catalog.Model{{Name: "fast", Target: llm.Target{Provider: "groq", Model: "llama"}}},
		[]catalog.Provider{{Name: "openai", Owns: []string{"gpt-*"}}, {Name: "groq"}},
	))
}

func TestPlan(t *testing.T) {
	who := &auth.Who{Models: []string{"fast", "openai/*", "ghost"}}
	for model, want := range map[string]llm.Kind{"fast": "", "openai/gpt-4o": "", "gpt-4o": llm.KindModelNotAllowed, "groq/llama": llm.KindModelNotAllowed, "ghost": llm.KindModelNotFound} {
		plan, err := router().Plan(who, &llm.Call{Model: model})
		if want == "" {
			if err != nil || len(plan) != 1 || plan[0].Provider == "" {
				t.Errorf("%s: %v %v", model, plan, err)
			}
		} else if llm.AsError(err).Kind != want {
			t.Errorf("%s: %v, want %s", model, err, want)
		}
	}
}

func TestModels(t *testing.T) {
	offered := map[string][]string{"openai": {"gpt-4o", "whisper"}, "groq": {"llama", "gpt-oss"}}
	all := &auth.Who{Models: []string{"*"}}
	want := []string{"fast", "gpt-4o", "groq/gpt-oss", "groq/llama", "openai/whisper"}
	if diff := cmp.Diff(want, router().Models(all, offered)); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"groq/gpt-oss", "groq/llama"}, router().Models(&auth.Who{Models: []string{"groq/*"}}, offered)); diff != "" {
		t.Errorf("models of a key (-want +got):\n%s", diff)
	}
	if router().Known(&auth.Who{Models: []string{"fast"}}, "gpt-4o") || !router().Known(all, "gpt-4o") {
		t.Error("known is not what may be used")
	}
}
