package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/seal"
	"sluice/internal/settings"
)

// A settingsRig is a control whose configuration file has a provider and a model.
type settingsRig struct {
	Settings
	root   Actor
	store  *settings.Memory
	sealed *seal.Memory
	log    *tape
	file   *config.Config
	told   int
}

const settingsFile = `
mock: {enabled: true}
secrets: {references: ["EU_*"]}
providers: [{name: openai, api_key: file-planted}]
models: [{name: fast, provider: openai, model: m}]
guards: [{name: house}]
`

func newSettingsRig(t *testing.T) *settingsRig {
	t.Helper()
	r := &settingsRig{root: Owner("tests"), store: settings.NewMemory(), sealed: seal.NewMemory(), log: new(tape)}
	kek, err := seal.FromText("a key-encryption key for tests")
	if err != nil {
		t.Fatal(err)
	}
	vault, err := seal.Open(t.Context(), seal.Options{Store: r.sealed, KEK: kek})
	if err != nil {
		t.Fatal(err)
	}
	options := config.Options{Getenv: func(string) string { return "from the environment" }}
	if r.file, err = config.Parse("sluice.yaml", []byte(settingsFile), options); err != nil {
		t.Fatal(err)
	}
	base := newRig()
	base.o.Audit = r.log
	base.o.Settings = SettingsOptions{
		Store: r.store, Vault: vault, Changed: func() { r.told++ },
		Effective: func() *config.Config { return r.file },
		Check: func(_ context.Context, doc *config.Settings, open func(place, id string) (string, error)) error {
			o := options
			o.Settings, o.Sealed = doc, open
			_, err := config.Parse("sluice.yaml", []byte(settingsFile), o)
			return err
		},
	}
	r.Settings = base.Settings()
	return r
}

func (r *settingsRig) create(t *testing.T, kind, of, value string) *Object {
	t.Helper()
	o, err := r.Create(t.Context(), r.root, kind, of, NewObject{Value: jsontext.Value(value)})
	if err != nil {
		t.Fatalf("create %s: %v %v", value, err, llm.AsError(err).Problems)
	}
	return o
}

// document is the newest revision as the store has it.
func (r *settingsRig) document(t *testing.T) string {
	t.Helper()
	n, _ := r.store.Newest(t.Context())
	rev, err := r.store.Get(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return string(rev.Document)
}

const euProvider = `{"name":"eu","kind":"openai","base_url":"https://eu.example/v1","credentials":[{"name":"a","api_key":"sk-planted-1"},{"name":"b","api_key":"${EU_KEY}"}],"proxy":"http://u:planted@p:1","headers":{"X-Org":"planted"}}`

// An object's life; what is secret of it is nowhere but in the vault.
func TestObjects(t *testing.T) {
	ctx, r := t.Context(), newSettingsRig(t)
	o := r.create(t, "provider", "", euProvider)
	if want := `{"name":"eu","kind":"openai","base_url":"https://eu.example/v1","credentials":[{"name":"a","api_key":"***"},{"name":"b","api_key":"${EU_KEY}"}],"proxy":"***","headers":{"X-Org":"***"}}`; string(o.Value) != want || o.Revision != 1 || o.ReadOnly || r.told != 1 {
		t.Errorf("made %s, revision %d, told %d", o.Value, o.Revision, r.told)
	}
	r.create(t, "credential", "eu", `{"name":"c","api_key":"sk-planted-2"}`)
	r.create(t, "model", "", `{"name":"group","deployments":[{"provider":"eu","model":"x","credential":"a"},{"name":"file","provider":"openai","model":"y"}]}`)
	r.create(t, "deployment", "group", `{"provider":"eu","model":"z","price":{"input":0.15,"output":0.6}}`)
	r.create(t, "rule", "", `{"name":"month","per":["team"],"budgets":[{"dollars":500,"every":"month"}]}`)
	r.create(t, "model", "", `{"name":"alias","model":"fast"}`)
	r.create(t, "model_price", "", `{"name":"contract","provider":"eu","models":["x"],"input":0.1,"output":0.4}`)
	if price, err := r.Update(ctx, Actor{Name: "ann", Role: RoleAdmin}, config.Place{Kind: "model_price", Name: "contract"}, ObjectUpdate{Value: jsontext.Value(`{"output":0.5,"cache_read":0.05}`)}); err != nil || string(price.Value) != `{"name":"contract","provider":"eu","models":["x"],"input":0.1,"output":0.5,"cache_read":0.05}` {
		t.Errorf("a price is %+v, %v", price, err)
	}
	list, err := r.List(ctx, r.root, "provider", "")
	if err != nil || len(list.Data) != 2 || list.Data[0].Source != "file" || !list.Data[0].ReadOnly || list.Data[1].Name != "eu" {
		t.Fatalf("%+v, %v", list, err)
	}
	at := config.Place{Kind: "credential", Of: "eu", Name: "c"}
	was, err := r.Show(ctx, r.root, at)
	if err != nil {
		t.Fatal(err)
	}
	next, err := r.Update(ctx, r.root, at, ObjectUpdate{ETag: was.ETag, Value: jsontext.Value(`{"api_key":"sk-planted-3"}`)})
	if err != nil || next.ETag == was.ETag {
		t.Errorf("another secret has the same tag, %v", err)
	}
	_, err = r.Update(ctx, r.root, at, ObjectUpdate{ETag: was.ETag, Value: jsontext.Value(`{"api_key":"x"}`)})
	refused(t, "an old tag", err, llm.KindConflict)
	before := r.document(t)
	same, err := r.Update(ctx, r.root, at, ObjectUpdate{Value: jsontext.Value(`{"api_key":"***"}`)})
	if err != nil || same.ETag != next.ETag || r.document(t) != before || same.Revision != next.Revision {
		t.Errorf("*** changes a secret: %v", err)
	}
	for place, want := range map[string]llm.Secret{"providers/eu/credentials/a/api_key": "sk-planted-1", "providers/eu/credentials/c/api_key": "sk-planted-3", "providers/eu/headers/X-Org": "planted"} {
		doc, _ := config.ParseSettings("", []byte(r.document(t)))
		if got, err := OpenSealed(ctx, r.c.o.Settings.Vault)(place, config.SealedID(doc.Secrets()[place])); err != nil || llm.Secret(got) != want {
			t.Errorf("%s: %v", place, err)
		}
	}
	if _, err := r.Delete(ctx, r.root, at, ObjectRemoval{ETag: same.ETag}); err != nil {
		t.Error(err)
	}
	_, err = r.Show(ctx, r.root, at)
	refused(t, "show what is gone", err, llm.KindNotFound)
	_, err = r.Delete(ctx, r.root, config.Place{Kind: "provider", Name: "eu"}, ObjectRemoval{})
	refused(t, "delete what is named", err, llm.KindInvalid)
	r.leaks(t)
}

// leaks fails where something that was planted stands in the store or in the audit log.
func (r *settingsRig) leaks(t *testing.T) {
	t.Helper()
	n, _ := r.store.Newest(t.Context())
	for i := range n {
		d, err := r.Revision(t.Context(), r.root, i+1)
		if err != nil {
			t.Fatal(err)
		}
		rev, _ := r.store.Get(t.Context(), i+1)
		if text := fmt.Sprint(d, string(rev.Document)); strings.Contains(text, "planted") {
			t.Errorf("revision %d: %s", i+1, text)
		}
	}
	for _, e := range r.log.events {
		if text := string(e.Before) + string(e.After) + e.Detail; strings.Contains(text, "planted") || strings.Contains(text, "sealed:") {
			t.Errorf("the audit log has %s: %s", e.Act, text)
		}
	}
	list, _ := r.sealed.Stale(t.Context(), 0, 1000)
	for _, v := range list {
		if strings.Contains(string(v.Sealed), "planted") {
			t.Errorf("%s is not sealed", v.Object)
		}
	}
	status, err := r.Status(t.Context(), r.root)
	if err != nil || strings.Contains(fmt.Sprint(status), "planted") {
		t.Errorf("the view of the configuration: %v, %v", status, err)
	}
}

func TestObjectsRefused(t *testing.T) {
	ctx, r := t.Context(), newSettingsRig(t)
	r.create(t, "provider", "", euProvider)
	doc, _ := config.ParseSettings("", []byte(r.document(t)))
	ref := doc.Secrets()["providers/eu/credentials/a/api_key"]
	for _, c := range []struct {
		kind, of, value string
		want            llm.Kind
		at              string
	}{
		{"provider", "", `{"name":"openai","api_key":"x"}`, llm.KindInvalid, "/providers/openai/name"},
		{"provider", "", `{"name":"eu"}`, llm.KindConflict, ""},
		{"provider", "", `{"kind":"openai"}`, llm.KindInvalid, "/value/name"},
		{"provider", "", `[]`, llm.KindInvalid, "/value/name"},
		{"provider", "", `{"name":"p","kind":"openai","listen":":1"}`, llm.KindInvalid, "/providers/p/listen"},
		{"provider", "", `{"name":"p","kind":"openai","api_key":"***"}`, llm.KindInvalid, "/providers/p/api_key"},
		{"provider", "", `{"name":"p","kind":"openai","api_key":"${PEPPER}"}`, llm.KindInvalid, "/providers/p/api_key"},
		{"provider", "", `{"name":"p","kind":"openai","api_key":"x ${EU_KEY}"}`, llm.KindInvalid, "/providers/p/api_key"},
		{"provider", "", `{"name":"p","kind":"openai","api_key":"` + ref + `"}`, llm.KindInvalid, "/providers/p/api_key"},
		{"provider", "", `{"name":"p","kind":"openai","base_url":"https://evil/${EU_KEY}"}`, llm.KindInvalid, "/providers/p/base_url"},
		{"provider", "", `{"name":"p","kind":"openai","credentials":[{"name":"a","api_key":"x"},{"name":"a","api_key":"y"}]}`, llm.KindInvalid, "/providers/p/credentials/1/name"},
		{"credential", "openai", `{"name":"p","api_key":"x"}`, llm.KindConflict, ""},
		{"credential", "nobody", `{"name":"p","api_key":"x"}`, llm.KindNotFound, ""},
		{"model", "", `{"name":"fast","provider":"openai","model":"x"}`, llm.KindInvalid, "/models/fast/name"},
		{"model", "", `{"name":"m","provider":"nobody","model":"x"}`, llm.KindInvalid, "/models/m/provider"},
		{"key", "", `{"name":"m"}`, llm.KindNotFound, ""},
		{"rule", "x", `{"name":"m"}`, llm.KindNotFound, ""},
	} {
		_, err := r.Create(ctx, r.root, c.kind, c.of, NewObject{Value: jsontext.Value(c.value)})
		if c.at == "" {
			refused(t, c.value, err, c.want)
		} else {
			refused(t, c.value, err, c.want, c.at)
		}
	}
	_, err := r.Update(ctx, r.root, config.Place{Kind: "provider", Name: "openai"}, ObjectUpdate{Value: jsontext.Value(`{}`)})
	refused(t, "the file's", err, llm.KindConflict)
	if !strings.Contains(err.Error(), "configuration file") {
		t.Errorf("the file's: %v", err)
	}
	if n, _ := r.store.Newest(ctx); n != 1 {
		t.Errorf("there are %d revisions", n)
	}
	r.leaks(t)
}

// Who may set a provider but has not shown that it is them may neither move it nor give it another secret: a secret would follow.
func TestSettingsRights(t *testing.T) {
	ctx, r := t.Context(), newSettingsRig(t)
	r.create(t, "provider", "", euProvider)
	stale := Actor{Name: "ann", Role: RoleAdmin}
	fresh := Actor{Name: "ann", Role: RoleAdmin, Fresh: true}
	eu := config.Place{Kind: "provider", Name: "eu"}
	update := func(a Actor, value string) error {
		_, err := r.Update(ctx, a, eu, ObjectUpdate{Value: jsontext.Value(value)})
		return err
	}
	for _, value := range []string{
		`{"base_url":"https://evil.example"}`, `{"proxy":"http://evil:1"}`, `{"headers":{"X-Org":"x"}}`, `{"credentials":null,"api_key":"x"}`, `{"allow_private":["10.0.0.0/8"]}`, `{"kind":"anthropic"}`, `{"ca":"/etc/shadow"}`,
	} {
		if err := update(stale, value); err == nil || llm.AsError(err).Code != CodeProof {
			t.Errorf("%s without a proof: %v", value, err)
		}
	}
	if err := update(stale, `{"models":["eu-*"],"timeouts":{"total":"5m"}}`); err != nil {
		t.Errorf("what moves no secret: %v", err)
	}
	if err := update(fresh, `{"base_url":"https://new.example"}`); err != nil {
		t.Errorf("with a proof: %v", err)
	}
	whole := "providers: [{name: eu, kind: openai, base_url: \"https://evil.example\", credentials: [{name: a, api_key: \"***\"}]}]"
	if _, err := r.Apply(ctx, stale, Application{Document: whole}); err == nil || llm.AsError(err).Code != CodeProof {
		t.Errorf("a document without a proof: %v", err)
	}
	if _, err := r.Rollback(ctx, stale, Rollback{Revision: 1}); err == nil || llm.AsError(err).Code != CodeProof {
		t.Errorf("a roll back without a proof: %v", err)
	}
	if _, err := r.Create(ctx, stale, "credential", "eu", NewObject{Value: jsontext.Value(`{"name":"z","api_key":"x"}`)}); err == nil || llm.AsError(err).Code != CodeProof {
		t.Errorf("a credential without a proof: %v", err)
	}
	for _, role := range []Role{RoleOperator, RoleAuditor, RoleMember} {
		a := Actor{Role: role, Fresh: true}
		_, err := r.Apply(ctx, a, Application{Document: ""})
		refused(t, string(role)+" applies", err, llm.KindForbidden)
		_, err = r.RotateSecrets(ctx, a)
		refused(t, string(role)+" rotates", err, llm.KindForbidden)
		_, err = r.Plan(ctx, a, Proposal{})
		if (err == nil) != (role != RoleMember) {
			t.Errorf("%s plans: %v", role, err)
		}
	}
	bounded := Actor{Role: RoleAdmin, Fresh: true, Kind: "organisation", Realm: "o"}
	_, err := r.List(ctx, bounded, "provider", "")
	refused(t, "a realm", err, llm.KindForbidden)
	r.leaks(t)
}

func TestPlanApplyRollback(t *testing.T) {
	ctx, r := t.Context(), newSettingsRig(t)
	doc := "providers:\n- {name: eu, kind: openai, api_key: planted-one}\nmodels:\n- {name: a, provider: eu, model: x}\n"
	plan, err := r.Plan(ctx, r.root, Proposal{Document: doc})
	if err != nil || plan.Base != 0 || len(plan.Changes) != 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if n, _ := r.store.Newest(ctx); n != 0 {
		t.Error("a plan changed something")
	}
	applied, err := r.Apply(ctx, r.root, Application{Document: doc, Base: &plan.Base, Why: "a new region"})
	if err != nil || applied.Revision != 1 || len(applied.Changes) != 2 {
		t.Fatalf("%+v, %v", applied, err)
	}
	shown, err := r.Revision(ctx, r.root, 0)
	if err != nil {
		t.Fatal(err)
	}
	// What is shown can be applied: it changes nothing.
	again, err := r.Plan(ctx, r.root, Proposal{Document: shown.Document})
	if err != nil || len(again.Changes) != 0 || again.Base != 1 {
		t.Errorf("what was shown would change %+v, %v", again, err)
	}
	next := strings.NewReplacer("model: x", "model: y", "api_key: '***'", "api_key: (unchanged)").Replace(shown.Document)
	plan, err = r.Plan(ctx, r.root, Proposal{Document: next})
	want := []config.ObjectChange{{Place: config.Place{Kind: "model", Name: "a"}, What: "changed", Fields: []config.FieldChange{{Field: "model", Before: `"x"`, After: `"y"`}}}}
	if err != nil || cmp.Diff(want, plan.Changes) != "" {
		t.Errorf("%v: %s", err, cmp.Diff(want, plan.Changes))
	}
	_, err = r.Apply(ctx, r.root, Application{Document: next, Base: new(int64(7))})
	refused(t, "another base", err, llm.KindConflict)
	_, err = r.Apply(ctx, r.root, Application{Document: next, Base: new(int64(0))})
	refused(t, "a base before the first", err, llm.KindConflict)
	if _, err = r.Apply(ctx, r.root, Application{Document: next, Base: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	if _, err = r.Apply(ctx, r.root, Application{Document: "{}"}); err != nil {
		t.Fatal(err)
	}
	if plan, err = r.Plan(ctx, r.root, Proposal{Revision: 1}); err != nil || plan.Base != 3 || len(plan.Changes) != 2 {
		t.Errorf("a roll back would change %+v, %v", plan, err)
	}
	_, err = r.Plan(ctx, r.root, Proposal{Revision: 1, Document: "{}"})
	refused(t, "two proposals", err, llm.KindInvalid)
	_, err = r.Plan(ctx, r.root, Proposal{Revision: -1})
	refused(t, "no revision", err, llm.KindInvalid)
	back, err := r.Rollback(ctx, r.root, Rollback{Revision: 1, Why: "it was better"})
	if err != nil || back.Revision != 4 || len(back.Changes) != 2 {
		t.Fatalf("%+v, %v", back, err)
	}
	one, _ := r.store.Get(ctx, 1)
	if r.document(t) != string(one.Document) {
		t.Error("it is not what it was")
	}
	page, err := r.History(ctx, r.root, "", 3)
	if err != nil || page.Next != "2" || len(page.Data) != 3 || page.Data[0].Why != "it was better" || page.Data[0].Based != 1 || page.Data[2].Based != 1 {
		t.Errorf("%+v, %v", page, err)
	}
	if page, err = r.History(ctx, r.root, page.Next, 3); err != nil || page.Next != "" || len(page.Data) != 1 || page.Data[0].Why != "a new region" {
		t.Errorf("%+v, %v", page, err)
	}
	// Long after nothing used it, a secret is gone, and a roll back to it says so.
	if _, err = r.Apply(ctx, r.root, Application{Document: "{}"}); err != nil {
		t.Fatal(err)
	}
	list, _ := r.sealed.Stale(ctx, 0, 10)
	for _, v := range list {
		if err := r.sealed.Delete(ctx, v.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.Rollback(ctx, r.root, Rollback{Revision: 1})
	refused(t, "a secret is gone", err, llm.KindConflict)
	if !strings.Contains(err.Error(), "providers/eu/api_key") {
		t.Errorf("it does not say which: %v", err)
	}
	for _, n := range []int64{0, -1, 99} {
		_, err := r.Rollback(ctx, r.root, Rollback{Revision: n})
		if err == nil {
			t.Errorf("rolled back to %d", n)
		}
	}
	r.leaks(t)
}

// Of many who edit at once, all get their turn, and nothing of what they did is lost.
func TestSettingsRace(t *testing.T) {
	ctx, r := t.Context(), newSettingsRig(t)
	r.c.o.Audit, r.c.o.Settings.Changed = nil, func() {}
	var work sync.WaitGroup
	var mu sync.Mutex // guards made
	made := 0
	for i := range 8 {
		work.Go(func() {
			_, err := r.Create(ctx, r.root, "model", "", NewObject{Value: jsontext.Value(fmt.Sprintf(`{"name":"m%d","model":"fast"}`, i))})
			if err != nil && llm.AsError(err).Kind != llm.KindConflict {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				made++
				mu.Unlock()
			}
		})
	}
	work.Wait()
	list, err := r.List(ctx, r.root, "model", "")
	if n, _ := r.store.Newest(ctx); err != nil || len(list.Data) != made+1 || int(n) != made || made == 0 {
		t.Errorf("%d made, %d there, revision %d, %v", made, len(list.Data)-1, n, err)
	}
}

func TestRotateSecrets(t *testing.T) {
	ctx, r := t.Context(), newSettingsRig(t)
	r.create(t, "provider", "", euProvider)
	got, err := r.RotateSecrets(ctx, r.root)
	if err != nil || got.Resealed != 3 || got.Retired != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	kek, err := seal.FromText("another key-encryption key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.RewrapSecrets(ctx, r.root, kek); err != nil {
		t.Error(err)
	}
	doc, _ := config.ParseSettings("", []byte(r.document(t)))
	place := "providers/eu/credentials/a/api_key"
	if plain, err := OpenSealed(ctx, r.c.o.Settings.Vault)(place, config.SealedID(doc.Secrets()[place])); err != nil || plain != "sk-planted-1" {
		t.Errorf("after rotations: %v", err)
	}
	r.log.err = errors.New("the disk is gone")
	before, _ := r.sealed.Keyset(ctx)
	_, err = r.RotateSecrets(ctx, r.root)
	refused(t, "without an audit log", err, llm.KindOverloaded)
	if after, _ := r.sealed.Keyset(ctx); after.Version != before.Version {
		t.Error("it was rotated all the same")
	}
}
