package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/pgtest"
	"sluice/internal/quota"
	"sluice/internal/route"
	"sluice/internal/seal"
	"sluice/internal/upstream"
	"sluice/internal/usage"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// adminToken is admin.token of the worlds.
const adminToken = "planted-admin-token-0123456789abcdef"

// A world is the operators' listener over a real store, with people of every role in two organisations, and what belongs to them.
type world struct {
	t       testing.TB
	db      *sql.DB
	door    *account.Door
	control *control.Control
	handler *Handler
	signer  *audit.Signer
	mint    *account.Mint
	cfg     *config.Config

	doorSettings *account.Settings // nil: the defaults

	people map[string]*person // by role and realm: "operator team"
	things [3]map[string]string
	planted
}

// planted are secrets that no answer may tell, by what they are.
type planted map[string]string

// Where a thing is, seen from the people of the world that are bounded: theirs, of others in their organisation, of another one.
const (
	own = iota
	sibling
	other
)

var places = [3]string{"own", "sibling", "other"}

// A person can show who they are in two ways.
type person struct {
	name    string
	actor   control.Actor
	account string
	cookie  string
	csrf    string
	stale   *person // the same one, who last proved long ago that it is them
	token   string
	realm   account.Realm
}

const worldFile = `
mock: {enabled: true}
secrets: {references: ["EU_*"]}
providers: [{name: filed, kind: openai, base_url: "https://planted-host.example/v1", api_key: planted-in-the-file, headers: {X-Org: planted-header}, proxy: "http://u:planted-proxy@127.0.0.1:1"}]
models: [{name: fast, provider: filed, model: m}]
rules: [{name: filed-rule, requests: [9/minute]}]
guards: [{name: filed-guard, mode: observe}]
`

// newWorld makes one over SQLite, or over the database of a URL.
func newWorld(t testing.TB, dsn string) *world {
	t.Helper()
	w := &world{t: t, people: map[string]*person{}, planted: planted{
		"admin.token": adminToken, "pepper": "planted-pepper-0123456789abcdef", "api_key of the file": "planted-in-the-file", "header": "planted-header",
		"proxy": "planted-proxy", "kek": "planted-key-encryption-key", "stored credential": "planted-stored-key", "environment": "planted-environment",
		"stored header": "planted-stored-header", "stored proxy": "planted-stored-proxy", "api secret": "planted-listener-secret-0123",
	}}
	db, err := sql.Open(t.Context(), sql.Options{DSN: llm.Secret(dsn), Dir: t.TempDir()})
	w.ok(err)
	w.db = db
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	hasher := auth.NewHasher([]byte(w.planted["pepper"]))
	seed := audit.NewSeed()
	w.planted["audit seed"] = seed
	w.signer, err = audit.NewSigner(seed)
	w.ok(err)
	wrap, err := hasher.Derive("audit data keys")
	w.ok(err)
	history, err := audit.New(audit.Options{Store: db.Trail(), Signer: w.signer, Wrap: wrap})
	w.ok(err)
	w.door, err = account.New(account.Options{Store: db.Accounts(), Audit: history, Together: db.Together, Hasher: hasher, Random: rand.Reader, Settings: func() account.Settings {
		if w.doorSettings != nil {
			return *w.doorSettings
		}
		return account.Settings{}
	}})
	w.ok(err)
	w.mint, err = account.NewMint(hasher, rand.Reader)
	w.ok(err)
	w.control = control.New(control.Options{
		Store: db.Directory(), Accounts: db.Accounts(), Audit: history, History: history, Together: db.Together, Hasher: hasher, Random: rand.Reader,
		Period: quota.Span, Settings: w.settings(),
	})
	_, err = db.Directory().Note(t.Context(), control.NoteAuditKey, w.signer.Public().String())
	w.ok(err)
	w.handler, err = New(Options{
		Control: w.control, Books: db.Ledger(), Gateway: standIn{w}, Twins: db.Twins(), Door: w.door, Identities: idp{}, Listen: "127.0.0.1:3002", Token: adminToken, Pprof: true,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) }),
		Secret:  []byte(w.planted["api secret"]), Recount: func(context.Context, bool) (*Recounted, error) {
			return &Recounted{Sums: SumsReport{List: []WrongSum{{Span: "day", Cause: "c"}}}, Counters: CountersReport{List: []WrongCounter{{Counter: "c", Rows: "1"}}, Anew: []string{}}}, nil
		},
	})
	w.ok(err)
	w.settle()
	w.inhabit()
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err, llm.AsError(err).Problems)
	}
}

// settings are those of the store beside a file.
func (w *world) settings() control.SettingsOptions {
	kek, err := seal.FromText(llm.Secret(w.planted["kek"]))
	w.ok(err)
	vault, err := seal.Open(w.t.Context(), seal.Options{Store: w.db.Secrets(), KEK: kek})
	w.ok(err)
	o := config.Options{Getenv: func(string) string { return w.planted["environment"] }}
	w.cfg, err = config.Parse("sluice.yaml", []byte(worldFile), o)
	w.ok(err)
	return control.SettingsOptions{
		Store: w.db.Settings(), Vault: vault, Effective: func() *config.Config { return w.cfg },
		Check: func(_ context.Context, doc *config.Settings, open func(place, id string) (string, error)) error {
			o := o
			o.Settings, o.Sealed = doc, open
			_, err := config.Parse("sluice.yaml", []byte(worldFile), o)
			return err
		},
	}
}

// settle makes what people own.
func (w *world) settle() {
	ctx, root := w.t.Context(), control.Owner("tests")
	for i, name := range places {
		org := "acme"
		if i == other {
			org = "rivals"
		}
		things := map[string]string{"org_name": org}
		w.things[i] = things
		if i != sibling {
			o, err := w.control.Organisations().Create(ctx, root, control.NewOrganisation{Change: w.limited(org)})
			w.ok(err)
			things["org"] = o.ID
		} else {
			things["org"] = w.things[own]["org"]
		}
		team, err := w.control.Teams().Create(ctx, root, control.NewTeam{Organisation: org, Change: w.limited(name + " team")})
		w.ok(err)
		user, err := w.control.Users().Create(ctx, root, control.NewUser{Organisation: org, UserChange: control.UserChange{
			Email: control.Some(name + "@example.org"), Teams: control.Some([]string{team.ID}), Change: w.limited(name + " user"),
		}})
		w.ok(err)
		key, err := w.control.Keys().Create(ctx, root, control.NewKey{Organisation: org, KeyChange: control.KeyChange{
			Team: control.Some(team.ID), User: control.Some(user.ID), Change: w.limited(name + " key"),
		}})
		w.ok(err)
		w.planted["key of "+name] = key.Secret
		things["team"], things["user"], things["key"] = team.ID, user.ID, key.ID
		things["key_name"], things["team_name"], things["user_name"] = name+"%20key", name+"%20team", name+"%20user"
		p := w.enter(name+" person", control.RoleOperator, account.Realm{Kind: directory.KindTeam, ID: team.ID, Org: things["org"]})
		made, err := w.control.Accounts().Create(ctx, root, control.NewAccount{Email: name + ".account@people.example", Role: control.RoleOperator, Realm: control.RealmChange{Organisation: org, Team: team.ID}})
		w.ok(err)
		w.planted["link of "+name] = made.Token
		things["account"], things["email"] = made.Account.ID, made.Account.Email
		things["person"], things["session"], things["token"] = p.account, p.actor.Session, strings.Split(p.token, "-")[1]
		w.ship("req-"+places[i], team.ID, user.ID, key.ID, things["org"])
	}
	empty := control.Change{Name: control.Some("empty")}
	_, err := w.control.Organisations().Create(ctx, root, control.NewOrganisation{Change: empty})
	w.ok(err)
	_, err = w.control.Teams().Create(ctx, root, control.NewTeam{Organisation: "acme", Change: empty})
	w.ok(err)
	_, err = w.control.Users().Create(ctx, root, control.NewUser{Organisation: "acme", UserChange: control.UserChange{Change: empty}})
	w.ok(err)
	s := w.control.Settings()
	make := func(kind, of, value string) {
		_, err := s.Create(ctx, root, kind, of, control.NewObject{Value: jsontext.Value(value)})
		w.ok(err)
	}
	make("provider", "", `{"name":"eu","kind":"openai","base_url":"https://planted-stored-host.example/v1","credentials":[{"name":"a","api_key":"planted-stored-key"},{"name":"b","api_key":"${EU_KEY}"},{"name":"spare","api_key":"planted-stored-key"}],"proxy":"http://u:planted-stored-proxy@127.0.0.1:1","headers":{"X-Org":"planted-stored-header"}}`)
	make("provider", "", `{"name":"spare","kind":"openai","base_url":"https://planted-stored-host.example/v1","api_key":"planted-stored-key"}`)
	make("model", "", `{"name":"group","deployments":[{"name":"one","provider":"eu","model":"x","credential":"a"},{"name":"two","provider":"eu","model":"y","credential":"b"}]}`)
	make("rule", "", `{"name":"month","per":["team"],"budgets":[{"dollars":500,"every":"month"}]}`)
	make("guard", "", `{"name":"people","mode":"mask","webhook":{"url":"https://planted-stored-host.example/find","secret":"planted-stored-key-of-a-webhook-0123456789"}}`)
	make("model_price", "", `{"name":"contract","provider":"eu","models":["x"],"input":1,"output":2}`)
}

func (w *world) limited(name string) control.Change {
	var ch control.Change
	w.ok(json.Unmarshal([]byte(`{"name":`+quoted(name)+`,"models":["gpt-*"],"rules":[{"name":"month","budgets":[{"dollars":"500","every":"month"}]}],"metadata":{"a":"b"},"tags":["t"]}`), &ch))
	return ch
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// ship puts a call in the books.
func (w *world) ship(id, team, user, key, org string) {
	at := time.Now().UTC().Truncate(time.Microsecond)
	row := usage.Row{
		Replica: "replica", Status: 200,
		Call: usage.Call{RequestID: id, Payer: usage.Payer{Org: org, Team: team, User: user, Key: key, Tags: []string{"t"}}, Charged: at, Start: at, Format: "openai", Op: llm.OpChat, Model: "fast", BytesIn: 1},
		Mark: usage.Mark{Provider: "filed", Upmodel: "m", Credential: "main", Attempts: 1, Usage: llm.Usage{Input: llm.Tokens(3), Output: llm.Tokens(4)}, Costs: usage.Costs{Input: 5}, Total: time.Second},
	}
	books := w.db.Ledger()
	now, err := books.Join(w.t.Context(), "replica")
	w.ok(err)
	shipped := now.Shipped
	row.Position = shipped + 1
	w.ok(books.Ship(w.t.Context(), &usage.Batch{Replica: "replica", After: shipped, Position: shipped + 2, Rows: []usage.Row{row}, Ended: []string{row.RequestID}}))
}

func (w *world) address(name string) string {
	return strings.ReplaceAll(name, " ", ".") + "@people.example"
}

// enter makes an account, signs its owner in, and gives them a token that may do all that they may.
func (w *world) enter(name string, role control.Role, realm account.Realm, scopes ...string) *person {
	from := account.Client{}
	who := account.Foreign{Issuer: "https://idp.example", Subject: name, Email: w.address(name), Name: name, Role: role, Realm: realm}
	old, err := w.door.SignInForeign(w.t.Context(), who, "", from)
	w.ok(err)
	who.AuthTime = time.Now()
	e, err := w.door.SignInForeign(w.t.Context(), who, "", from)
	w.ok(err)
	id, token, hash, err := w.mint.Token()
	w.ok(err)
	now := time.Now().UTC().Truncate(time.Microsecond)
	w.ok(w.db.Accounts().CreateToken(w.t.Context(), &account.Token{
		ID: id, Name: name, Hash: hash, Maker: e.Signed.Account, MakerName: name, Role: role, Realm: realm, Scopes: scopes, Created: now, Expires: now.Add(time.Hour), Used: now,
	}))
	w.planted["cookie of "+name], w.planted["token of "+name] = string(e.Cookie), token
	return &person{name: name, actor: control.ActorOf(&e.Signed, now, from, ""), account: e.Signed.Account, cookie: string(e.Cookie), csrf: e.CSRF, token: token, realm: realm, stale: &person{cookie: string(old.Cookie), csrf: old.CSRF}}
}

// realms are those that the people of the world have, in the order of the policy.
var realms = []string{"gateway", "organisation", "team", "user"}

// inhabit makes a person of each role and realm.
func (w *world) inhabit() {
	mine := w.things[own]
	for _, realm := range realms[:3] {
		for _, role := range control.Roles[:4] {
			name := string(role) + " " + realm
			w.people[name] = w.enter(name, role, map[string]account.Realm{
				"organisation": {Kind: directory.KindOrganisation, ID: mine["org"], Org: mine["org"]},
				"team":         {Kind: directory.KindTeam, ID: mine["team"], Org: mine["org"]},
			}[realm])
		}
	}
	w.people["member user"] = w.enter("member user", control.RoleMember, account.Realm{Kind: directory.KindUser, ID: mine["user"], Org: mine["org"]})
	w.people["scoped gateway"] = w.enter("scoped gateway", control.RoleOwner, account.Realm{}, "keys.read", "credentials.create")
}

// A standIn is a gateway that says what one could say.
type standIn struct{ *world }

func (s standIn) Upstreams() *Upstreams {
	return &Upstreams{
		Replicas: 1, Shared: "ok", Redis: &Redis{Kind: "single", Up: true},
		Deployments: []upstream.View{{Deployment: "eu/x", Provider: "eu", Model: "x", State: "free", Breaker: "closed", LastTried: time.Now(), LastError: &upstream.Mishap{Class: "c"}}},
	}
}

func (s standIn) Operate(deployment, _ string) error {
	if deployment != "eu/x" {
		return upstream.ErrNoDeployment
	}
	return nil
}

func (s standIn) Explain(_ context.Context, q *Question, _ bool) (*route.Explanation, error) {
	if len(q.Body) == 0 {
		return nil, llm.Errorf(llm.KindInvalid, "body: is missing")
	}
	return &route.Explanation{Model: "fast", Strategy: "s", Choices: []route.Choice{{Model: "fast"}}}, nil
}

func (s standIn) Configured(key string) (string, bool) { return "filedkey", key == "filed-key" }
func (s standIn) Revoke(string) error                  { return nil }
func (s standIn) MaxBody() int64                       { return 1 << 20 }
func (s standIn) Prices() *Prices {
	return &Prices{At: time.Now(), Data: []Price{{Model: "fast", Deployment: "filed/m", Provider: "filed", Upstream: "m", From: "table", Rates: map[string]string{"input": "1"}, Above: []PriceAbove{{Over: 1, Rates: map[string]string{}}}}}}
}

func (s standIn) Cache() *Cache { return &Cache{Store: "memory"} }

func (s standIn) Purge(context.Context, *Selection) (int, error) { return 0, nil }

func (s standIn) Owner(string) (org, public string, ok bool) { return "", "", false }

func (s standIn) Standing(context.Context, directory.Kind, string, string) (*quota.Standing, error) {
	return &quota.Standing{Limits: []quota.LimitStanding{{Rule: "r", Apart: []string{"key"}}}, Budgets: []quota.BudgetStanding{{Rule: "b", Apart: []string{"key"}}}}, nil
}

// idp is a provider of identities where everybody is the same person.
type idp struct{}

func (idp) Start(context.Context, bool) (*account.Started, error) {
	return &account.Started{URL: "https://idp.example/authorize", Cookie: "planted-sign-in"}, nil
}

func (idp) Finish(_ context.Context, query url.Values, cookie string) (*account.Foreign, bool, error) {
	if cookie != "planted-sign-in" || query.Get("code") != "good" {
		return nil, false, &llm.Error{Kind: llm.KindInvalidKey, Code: account.CodeRefused, Msg: "that did not work"}
	}
	return &account.Foreign{Issuer: "https://idp.example", Subject: "somebody", Name: "Somebody", Role: control.RoleAuditor, AuthTime: time.Now()}, false, nil
}

// A way is how somebody shows who they are.
type way string

const (
	byCookie  way = "cookie"
	byToken   way = "token"
	byNothing way = ""
)

// request makes the request of a person.
func (w *world) request(p *person, how way, method, path, body string) *http.Request {
	r := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "127.0.0.1:3002", "127.0.0.1:5"
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	if method == http.MethodPost || method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/json")
	}
	switch how {
	case byCookie:
		r.AddCookie(&http.Cookie{Name: cookieName, Value: p.cookie})
		r.Header.Set(csrfHeader, p.csrf)
	case byToken:
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	return r
}

// root is whoever has admin.token.
var root = &person{name: "root", token: adminToken}

// do makes a request and gives the answer.
func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

var errUndone = errors.New("it is undone")

// try makes a request whose effects are undone.
func (w *world) try(r *http.Request) *httptest.ResponseRecorder {
	w.t.Helper()
	var rec *httptest.ResponseRecorder
	err := w.db.Together(w.t.Context(), func(ctx context.Context) error {
		rec = w.do(r.WithContext(ctx))
		return errUndone
	})
	if !errors.Is(err, errUndone) {
		w.t.Fatal(err)
	}
	return rec
}

// fill puts the things of a place into a text.
func (w *world) fill(text string, place int) string {
	for name, v := range w.things[place] {
		text = strings.ReplaceAll(text, "{"+name+"}", v)
	}
	return text
}

// code is the code of a refusal; "": it is none.
func code(rec *httptest.ResponseRecorder) string {
	var p Problem
	if rec.Code/100 == 2 {
		return ""
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
		return "no problem: " + rec.Body.String()
	}
	return p.Code
}
