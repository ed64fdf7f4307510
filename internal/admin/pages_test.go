package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/account"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/pgtest"
)

// A page of a list takes one statement, however many objects it has.
func TestStatements(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { oneStatement(t, newWorld(t, "")) })
	t.Run("postgres", func(t *testing.T) { oneStatement(t, newWorld(t, pgtest.Database(t))) })
}

func oneStatement(t *testing.T, w *world) {
	count := func(path string) (n int64, listed int) {
		ctx, counted := sql.Counted(t.Context())
		rec := w.do(w.request(root, byToken, "GET", path, "").WithContext(ctx))
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
		}
		var v struct {
			Data, Lines []jsontext.Value
		}
		w.ok(json.Unmarshal(rec.Body.Bytes(), &v))
		return counted.Load(), len(v.Data) + len(v.Lines)
	}
	lists := map[string]string{}
	for i := range w.handler.table {
		r := &w.handler.table[i]
		props := answerOf(t, r)
		if r.Method != http.MethodGet || r.Running || r.For != "" || props["data"] == nil && props["lines"] == nil {
			continue
		}
		path := strings.NewReplacer("/admin/accounts/{ref}", "/admin/accounts/"+w.things[own]["person"], "/admin/providers/{of}", "/admin/providers/eu", "/admin/models/{of}", "/admin/models/group").Replace(r.Path)
		lists[r.pattern()] = path
		if r.Path == "/admin/usage" {
			lists[r.pattern()] = path + "?by=key,model,day"
			lists["months of Berlin"] = path + "?by=key,month&from=2024-01-01&zone=Europe/Berlin"
			lists["the first line"] = path + "?by=key&limit=1"
		}
	}
	few, many := map[string][2]int64{}, 8
	for pattern, path := range lists {
		count(path) // what is looked up once and kept
		n, listed := count(path)
		few[pattern] = [2]int64{n, int64(listed)}
	}
	w.crowd(many)
	for pattern, path := range lists {
		count(path)
		n, listed := count(path)
		if n != 1 || few[pattern][0] != 1 {
			t.Errorf("%s took %d statements, and %d with more to list; want 1", pattern, few[pattern][0], n)
		}
		if strings.Contains(path, "limit=1") {
			continue
		}
		if int64(listed) < few[pattern][1]+5 {
			t.Errorf("%s lists %d, where it listed %d: the test makes no more of them", pattern, listed, few[pattern][1])
		}
	}
	if len(lists) < 15 {
		t.Errorf("only %d lists: %v", len(lists), lists)
	}
}

// parsedDocument is the document, for reading.
var parsedDocument = sync.OnceValue(func() (doc node) {
	if err := json.Unmarshal(document, &doc); err != nil {
		panic(err)
	}
	return doc
})

// answerOf are the members of what a route answers, by the document.
func answerOf(t testing.TB, r *Route) node {
	t.Helper()
	doc := parsedDocument()
	at, _ := doc["paths"].(node)[r.Path].(node)
	if at == nil || r.Out == nil {
		return nil
	}
	answers := at[strings.ToLower(r.Method)].(node)["responses"].(node)
	schema := resolve(doc, answers[fmt.Sprint(r.Status)].(node)["content"].(node)["application/json"].(node)["schema"].(node))
	props, _ := schema["properties"].(node)
	return props
}

// crowd makes so many more of everything.
func (w *world) crowd(n int) {
	ctx, owner := w.t.Context(), control.Owner("tests")
	s := w.control.Settings()
	make := func(kind, of, value string) {
		_, err := s.Create(ctx, owner, kind, of, control.NewObject{Value: jsontext.Value(value)})
		w.ok(err)
	}
	for i := range n {
		name := fmt.Sprintf("crowd-%d", i)
		ch := control.Change{Name: control.Some(name)}
		_, err := w.control.Organisations().Create(ctx, owner, control.NewOrganisation{Change: ch})
		w.ok(err)
		_, err = w.control.Teams().Create(ctx, owner, control.NewTeam{Organisation: "acme", Change: ch})
		w.ok(err)
		_, err = w.control.Users().Create(ctx, owner, control.NewUser{Organisation: "acme", UserChange: control.UserChange{Change: ch}})
		w.ok(err)
		_, err = w.control.Keys().Create(ctx, owner, control.NewKey{Organisation: "acme", KeyChange: control.KeyChange{Change: ch}})
		w.ok(err)
		w.enter("own person", control.RoleOperator, account.Realm{Kind: "team", ID: w.things[own]["team"], Org: w.things[own]["org"]})
		w.enter(name, control.RoleAuditor, account.Realm{})
		w.ship(name, w.things[own]["team"], "", name, w.things[own]["org"])
		if i >= 5 {
			continue
		}
		make(config.KindProvider, "", `{"name":"`+name+`","kind":"openai","base_url":"https://x.example/v1","api_key":"planted-stored-key"}`)
		make(config.KindCredential, "eu", `{"name":"`+name+`","api_key":"planted-stored-key"}`)
		make(config.KindModel, "", `{"name":"`+name+`","provider":"filed","model":"m"}`)
		make(config.KindDeployment, "group", `{"name":"`+name+`","provider":"eu","model":"`+name+`"}`)
		make(config.KindRule, "", `{"name":"`+name+`","requests":["5/minute"]}`)
		make(config.KindPrice, "", `{"name":"`+name+`","provider":"eu","models":["`+name+`"],"input":1,"output":2}`)
		make(config.KindGuard, "", `{"name":"`+name+`","mode":"mask"}`)
	}
}
