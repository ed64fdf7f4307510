package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestGuardProblems(t *testing.T) {
	o := Options{Guard: func(g *Guard) error {
		if g.Name == "odd" {
			return errors.New("no entity built in")
		}
		return nil
	}}
	for _, tt := range []struct{ name, doc, want string }{
		{"mode", "guards: [{name: g, mode: hide}]", "guards[0].mode"},
		{"answers cannot be restored", "guards: [{name: g, answers: restore}]", "guards[0].answers"},
		{"twice", "guards: [{name: g}, {name: g}]", "guards[1].name"},
		{"pattern", "guards: [{name: g, rules: [{name: r, type: A, pattern: '('}]}]", "guards[0].rules[0].pattern: is no RE2"},
		{"look-ahead", "guards: [{name: g, rules: [{name: r, type: A, pattern: 'a(?=b)'}]}]", "guards[0].rules[0].pattern: is no RE2"},
		{"type", "guards: [{name: g, rules: [{name: r, type: 'a b', pattern: a}]}]", "guards[0].rules[0].type"},
		{"no words", "guards: [{name: g, deny: [{name: d, type: A}]}]", "guards[0].deny[0].words"},
		{"nothing to look for", "guards: [{name: g, entities: []}]", "guards[0].entities: is empty"},
		{"half a webhook", "guards: [{name: g, webhook: {form: presidio}}]", "guards[0].webhook.url: is missing"},
		{"a weak secret", "guards: [{name: g, webhook: {url: 'https://x.example', secret: changeme}}]", "guards[0].webhook.secret"},
		{"a password in the url", "guards: [{name: g, webhook: {url: 'https://u:p@x.example'}}]", "guards[0].webhook.url"},
		{"waits", "guards: [{name: g, webhook: {url: 'https://x.example', timeout: 2m}}]", "guards[0].webhook.timeout"},
		{"a model's", "providers: [{name: openai, api_key: k}]\nmodels: [{name: m, provider: openai, model: x, guards: [gone]}]", `models[0].guards[0]: is "gone"`},
		{"a key's", "keys: [{name: k, key: sk-e2e-0f92d53449c4f4c5739be37df09d1f0f701634616cfe12ea87e9782642132f7b, guards: [gone]}]", `keys[0].guards[0]: is "gone"`},
		{"what only the detectors know", "guards: [{name: odd}]", "guards[0]: no entity built in"},
	} {
		_, err := Parse("c", []byte(tt.doc), o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// The guards of all that a model may lead to hold for it.
func TestGuardsOf(t *testing.T) {
	c, err := Parse("c", []byte(`
providers: [{name: openai, api_key: k}]
guards: [{name: a}, {name: b}, {name: c}, {name: d}]
models:
  - {name: alias, model: real, guards: [a]}
  - {name: real, provider: openai, model: x, guards: [b], fallback: [spare], fallback_context: [long]}
  - {name: spare, provider: openai, model: y, guards: [c], fallback_content: [alias]}
  - {name: long, provider: openai, model: z, guards: [d, b]}
  - {name: free, provider: openai, model: z}
`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"alias": {"a", "b", "c", "d"}, "real": {"a", "b", "c", "d"}, "spare": {"a", "b", "c", "d"}, "long": {"b", "d"}, "free": nil, "nothing": nil,
	} {
		if got := c.GuardsOf(name); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
