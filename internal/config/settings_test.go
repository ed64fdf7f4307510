package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

func settingsOf(t testing.TB, doc string) *Settings {
	t.Helper()
	s, err := ParseSettings("settings", []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const fileDoc = `
mock: {enabled: true}
secrets: {references: ["EU_*", "vault:kv/*"]}
providers: [{name: openai, api_key: file-secret}]
models: [{name: fast, provider: eu, model: m}, {name: slow, provider: openai, model: n}]
rules: [{name: all, parallel: 9}]
`

const storeDoc = `
providers:
- {name: eu, kind: openai, base_url: "https://eu.example/v1", credentials: [{name: a, api_key: "${sealed:abc}"}, {name: b, api_key: "${EU_KEY}"}], headers: {X-Org: "${vault:kv/eu#org}"}}
models:
- {name: group, deployments: [{provider: openai, model: o}, {name: two, provider: eu, model: e, credential: a}], fallback: [slow]}
- {name: alias, model: fast}
rules:
- {name: mine, parallel: 3}
`

func storeOptions(s *Settings, m map[string]string) Options {
	return Options{
		Getenv: func(name string) string { return m[name] }, Settings: s, Kinds: kinds,
		Sealed: func(place, id string) (string, error) { return "opened " + place + " " + id, nil },
		Vault:  func(ref string) (string, error) { return "of " + ref, nil },
	}
}

// What the store has stands beside what the file has; each may name the other's.
func TestSettingsBesideTheFile(t *testing.T) {
	env := map[string]string{"EU_KEY": "from the environment"}
	c, err := Parse("sluice.yaml", []byte(fileDoc), storeOptions(settingsOf(t, storeDoc), env))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Providers {
		got = append(got, fmt.Sprint(p.Name, " ", p.Stored))
	}
	for _, m := range c.Models {
		got = append(got, fmt.Sprint(m.Name, " ", m.Stored))
	}
	for _, r := range c.Rules {
		got = append(got, fmt.Sprint(r.Name, " ", r.Stored))
	}
	if want := "openai false, eu true, fast false, slow false, group true, alias true, all false, mine true"; strings.Join(got, ", ") != want {
		t.Errorf("got %s", strings.Join(got, ", "))
	}
	eu := c.provider("eu")
	if a, b, h := string(eu.Credentials[0].APIKey), string(eu.Credentials[1].APIKey), string(eu.Headers["X-Org"]); a != "opened providers/eu/credentials/a/api_key abc" || b != "from the environment" || h != "of kv/eu#org" {
		t.Errorf("secrets are %q, %q, %q", a, b, h)
	}
	if len(c.Limit) != 2 {
		t.Errorf("%d rules count", len(c.Limit))
	}
	if _, err := Parse("sluice.yaml", []byte(fileDoc), Options{Kinds: kinds}); err == nil || !strings.Contains(err.Error(), `"eu"`) {
		t.Errorf("without the store: %v", err)
	}
	if _, err := Parse("sluice.yaml", []byte(fileDoc), Options{Kinds: kinds, Open: true}); err != nil {
		t.Errorf("before the store is known: %v", err)
	}
	if _, err := Parse("sluice.yaml", nil, storeOptions(settingsOf(t, `providers: [{name: openai}]`), nil)); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

// Problems of the store's objects are told with their place, and nobody learns this machine's secrets by them.
func TestSettingsProblems(t *testing.T) {
	for doc, want := range map[string]string{
		`providers: [{name: openai, api_key: x}]`:                                                                                                      `providers/openai: name: "openai" is the name of one in the configuration file, which wins`,
		`models: [{name: slow, model: fast}]`:                                                                                                          `models/slow: name: "slow" is the name of one in the configuration file, which wins`,
		`providers: [{name: p, kind: openai, base_url: "ftp://x"}]`:                                                                                    `providers/p: base_url: must be an address`,
		`providers: [{name: p, kind: openai, nonsense: 1}]`:                                                                                            `providers/p: nonsense: unknown field`,
		`providers: [{name: p, kind: openai, base_url: "https://x/${HOME}"}]`:                                                                          `providers/p: base_url: holds a reference`,
		`providers: [{name: p, kind: openai, api_key: "${PEPPER}"}]`:                                                                                   `providers/p: api_key: refers to PEPPER, which secrets.references`,
		`providers: [{name: p, kind: openai, api_key: "${file:/etc/shadow}"}]`:                                                                         `providers/p: api_key: refers to file:/etc/shadow, which secrets.references`,
		`providers: [{name: p, kind: openai, api_key: "Bearer ${EU_KEY}"}]`:                                                                            `providers/p: api_key: must be a secret itself or one whole reference`,
		`providers: [{name: p, kind: openai, api_key: "${EU_KEY:-x}"}]`:                                                                                `providers/p: api_key: must be a secret itself or one whole reference`,
		`providers: [{name: p, kind: openai, models: ["${sealed:abc}"]}]`:                                                                              `providers/p: models[0]: holds a reference`,
		`models: [{name: m, provider: nobody, model: x}]`:                                                                                              `models/m: provider: is "nobody", which providers does not have`,
		`rules: [{name: r, requests: [5/year]}]`:                                                                                                       `rules/r: requests[0]: `,
		`rules: [{name: all, parallel: 1}]`:                                                                                                            `rules/all: name: `,
		`model_prices: [{name: p, provider: openai, models: [x], input: 1}]`:                                                                           `model_prices/p: output: is missing`,
		`model_prices: [{name: p, provider: x, models: [x], input: 0, output: 0}]`:                                                                     `model_prices/p: provider: is "x", which providers does not have`,
		`model_prices: [{name: p, provider: openai, input: 0, output: 0}]`:                                                                             `model_prices/p: models: is missing`,
		`model_prices: [{name: p, provider: openai, models: [x, x], input: 0, output: -1}]`:                                                            `model_prices/p: output: `,
		`model_prices: [{name: p, provider: openai, models: [x], input: 0, output: 0}, {name: q, provider: openai, models: [x], input: 1, output: 0}]`: `model_prices/q: models[0]: has a price already, in model_prices[0]`,
	} {
		_, err := Parse("sluice.yaml", []byte(strings.Replace(fileDoc, "provider: eu", "provider: openai", 1)), storeOptions(settingsOf(t, doc), map[string]string{"PEPPER": "planted", "EU_KEY": "planted"}))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s:\n got %v\nwant %s", doc, err, want)
		}
	}
	if _, err := Parse("sluice.yaml", []byte(`providers: [{name: openai, api_key: "${sealed:abc}"}]`), storeOptions(nil, nil)); err == nil {
		t.Error("the file refers to a sealed value")
	}
}

func TestParseSettings(t *testing.T) {
	for doc, want := range map[string]string{
		"listen: x":                           "listen: cannot be set here",
		"providers: {name: x}":                "must be a list",
		"providers: [x]":                      "must be a mapping with a name",
		"providers: [{kind: openai}]":         "must be a mapping with a name",
		"models: [{name: a}, {name: a}]":      `"a" is the name of another`,
		"[1]":                                 "must be a mapping",
		"{":                                   "not YAML",
		"models: []\nmodels: []":              "said twice",
		"a: &a [*a]":                          "nested too deeply",
		"models: [{name: x, <<: {model: y}}]": "merge keys",
		strings.Repeat("[", 200) + "1":        "",
		`{"models": [{"name": "a", "name": "b"}]}`: "said twice",
	} {
		_, err := ParseSettings("settings", []byte(doc))
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%.60s: %v, want %s", doc, err, want)
		}
	}
	for _, doc := range []string{"", "{}", "# nothing", "providers:\n", `{"providers": null}`} {
		if s, err := ParseSettings("settings", []byte(doc)); err != nil || len(s.Secrets()) != 0 {
			t.Errorf("%q: %v", doc, err)
		}
	}
}

func TestSettingsEdits(t *testing.T) {
	s := settingsOf(t, storeDoc)
	value := func(s *Settings, p Place, want string) {
		t.Helper()
		if got := string(s.Value(p, true)); got != want {
			t.Errorf("%s is %s, want %s", p, got, want)
		}
	}
	credential, deployment := Place{KindCredential, "eu", "a"}, Place{KindDeployment, "group", "openai/o"}
	value(s, credential, `{"name":"a","api_key":"***"}`)
	value(s, Place{KindCredential, "eu", "b"}, `{"name":"b","api_key":"${EU_KEY}"}`)
	value(s, deployment, `{"provider":"openai","model":"o"}`)
	next, err := s.With(Place{KindCredential, "eu", "c"}, jsontext.Value(`{"api_key":"new"}`))
	if err != nil {
		t.Fatal(err)
	}
	value(next, Place{KindCredential, "eu", "c"}, `{"name":"c","api_key":"***"}`)
	if s.Has(Place{KindCredential, "eu", "c"}) {
		t.Error("an edit changed the document that it was made of")
	}
	if next.Tag(credential) != s.Tag(credential) || next.Tag(Place{Kind: KindProvider, Name: "eu"}) == s.Tag(Place{Kind: KindProvider, Name: "eu"}) {
		t.Error("tags do not go with what changed")
	}
	merged, err := s.Merge(deployment, jsontext.Value(`{"price":{"input":0.15,"output":1e1},"weight":2,"tags":["eu"]}`))
	if err != nil || string(merged) != `{"provider":"openai","model":"o","price":{"input":0.15,"output":1e1},"weight":2,"tags":["eu"]}` {
		t.Errorf("merged %s, %v", merged, err)
	}
	if next, err = next.With(deployment, merged); err != nil {
		t.Fatal(err)
	}
	merged, err = next.Merge(deployment, jsontext.Value(`{"price":{"output":null},"tags":null,"weight":"3"}`))
	if err != nil || string(merged) != `{"provider":"openai","model":"o","price":{"input":0.15},"weight":"3"}` {
		t.Errorf("merged %s, %v", merged, err)
	}
	if next, err = next.Without(deployment); err != nil || next.Has(deployment) || len(next.Places(KindDeployment, "group")) != 1 {
		t.Errorf("removed: %v", err)
	}
	for what, err := range map[string]error{
		"a part of nothing":     second(s.With(Place{KindDeployment, "none", "x"}, jsontext.Value(`{}`))),
		"remove what is not":    second(s.Without(Place{Kind: KindModel, Name: "none"})),
		"change what is not":    second(s.Merge(Place{Kind: KindModel, Name: "none"}, jsontext.Value(`{}`))),
		"another name":          second(s.With(credential, jsontext.Value(`{"name":"z"}`))),
		"no object":             second(s.With(credential, jsontext.Value(`[]`))),
		"no object, merged":     second(s.Merge(credential, jsontext.Value(`[]`))),
		"no JSON":               second(s.With(credential, jsontext.Value(`{`))),
		"two values":            second(s.With(credential, jsontext.Value(`{}{}`))),
		"a name twice":          second(s.With(credential, jsontext.Value(`{"api_key":"a","api_key":"b"}`))),
		"nested without an end": second(s.With(credential, jsontext.Value(strings.Repeat(`[`, 100)))),
	} {
		if err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestDiffSettings(t *testing.T) {
	a := settingsOf(t, storeDoc)
	b := settingsOf(t, strings.NewReplacer("${sealed:abc}", "planted", "https://eu.example/v1", "https://new.example/v1", "model: o}", "model: o, weight: 2}", "- {name: alias, model: fast}\n", "").Replace(storeDoc)+"- {name: more, parallel: 1}\n")
	got := DiffSettings(a, b)
	want := []ObjectChange{
		{Place{KindProvider, "", "eu"}, "changed", []FieldChange{{"base_url", `"https://eu.example/v1"`, `"https://new.example/v1"`}, {"credentials/a/api_key", "***", "***"}}},
		{Place{KindModel, "", "alias"}, "removed", nil},
		{Place{KindModel, "", "group"}, "changed", []FieldChange{{"deployments/openai/o/weight", "", "2"}}},
		{Place{KindRule, "", "more"}, "added", []FieldChange{{"name", "", `"more"`}, {"parallel", "", "1"}}},
	}
	sortChanges(got)
	sortChanges(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := DiffSettings(a, settingsOf(t, string(a.Text()))); got != nil {
		t.Errorf("the same document differs: %v", got)
	}
	moved := DiffSettings(settingsOf(t, "models: [{name: a, model: x}, {name: b, model: x}]"), settingsOf(t, "models: [{name: b, model: x}, {name: a, model: x}]"))
	if len(moved) != 2 || moved[0].What != "moved" {
		t.Errorf("another order: %v", moved)
	}
}

func sortChanges(all []ObjectChange) {
	for i := range all {
		for j := i; j > 0 && all[j].Kind+all[j].Name < all[j-1].Kind+all[j-1].Name; j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
}

// FuzzSettings: whatever is taken is written so that it is read as the same, and no secret stands in what is shown.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(storeDoc))
	f.Add([]byte(`{"providers": [{"name": "a", "api_key": "x: y # z", "headers": {"A: B": "null"}}]}`))
	f.Add([]byte("models: [{name: 1, model: 0x10, hedge: yes, x: !!str 5, y: 1_000, z: .inf}]"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := ParseSettings("settings", doc)
		if err != nil {
			return
		}
		again, err := ParseSettings("settings", s.Text())
		if err != nil {
			t.Fatalf("%v\n%s", err, s.Text())
		}
		if diff := DiffSettings(s, again); diff != nil {
			t.Errorf("%v\n%s", diff, s.Text())
		}
		for place, text := range s.Masked().Secrets() {
			if text != "***" && text != "" && !IsReference(text) {
				t.Errorf("%s is shown as %q", place, text)
			}
		}
		_, _ = Parse("sluice.yaml", []byte(fileDoc), storeOptions(s, nil))
		for _, kind := range settingsKinds {
			for _, p := range s.Places(kind, "") {
				if v := s.Value(p, false); !v.IsValid() {
					t.Errorf("%s: %s", p, v)
				}
			}
		}
	})
}

// An object is the same however often it is written and read, by people or by the API.
func FuzzObjectText(f *testing.F) {
	f.Add([]byte("name: eu\nkind: openai\nheaders: {a: 'null', b: \"no\", c: 0x10, d: 1e400, e: !!str 5}\n"))
	f.Add([]byte(`{"name": "a", "weight": 3, "on": true, "list": [1, {"x": null}], "s": "- a\n#b"}`))
	f.Add([]byte("[1]"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		v, err := ObjectJSON("eu.yaml", doc)
		if err != nil {
			return
		}
		if !v.IsValid() || v.Kind() != '{' {
			t.Fatalf("%q is read as %s", doc, v)
		}
		text, err := ObjectText(v)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ObjectJSON("eu.yaml", text); err != nil || string(again) != string(v) {
			t.Errorf("%s is written as %q, and read as %s, %v", v, text, again, err)
		}
	})
}

// FuzzObject: whatever the API is sent as an object or as a change of one, what is taken is a document that is read as the same.
func FuzzObject(f *testing.F) {
	f.Add("a", []byte(`{"name":"a","api_key":"x","headers":{"A":"b"}}`), []byte(`{"headers":null,"api_key":"***","weight":1e3}`))
	f.Add("a", []byte(`{"name":"a","name":"b"}`), []byte(`[]`))
	f.Add("\u2028", []byte(`{"x":[{"y":"\ud800"}]}`), []byte(`{"x":{"y":null}} 1`))
	f.Fuzz(func(t *testing.T, name string, value, patch []byte) {
		_ = NameIn(value)
		p := Place{Kind: KindProvider, Name: name}
		s, err := (&Settings{&yaml.Node{Kind: yaml.MappingNode}}).With(p, value)
		if err != nil || !p.Known() || !utf8.ValidString(name) { // control sees to names
			return
		}
		if merged, err := s.Merge(p, patch); err == nil {
			if s, err = s.With(p, merged); err != nil {
				return
			}
		}
		again, err := ParseSettings("settings", s.Text())
		if err != nil { // such as a name that YAML has no form for
			return
		}
		if diff := DiffSettings(s, again); diff != nil {
			t.Errorf("%v\n%s", diff, s.Text())
		}
	})
}
