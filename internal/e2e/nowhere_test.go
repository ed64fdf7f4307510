package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/internal/pgtest"
	"sluice/internal/redistest"
)

// S15, S6, S18, S33: what is planted, secrets of every kind, prompts and answers, appears nowhere at log level debug: not on success, not on any
// error path, not in the log, files, store, Redis, metrics, profiles, error bodies, the admin API's answers, a crash's dump or the doctor's findings.
func TestPlantedAppearNowhere(t *testing.T) {
	for _, store := range []string{"SQLite", "PostgreSQL"} {
		t.Run(store, func(t *testing.T) {
			dsn := ""
			if store == "PostgreSQL" {
				dsn = pgtest.Database(t)
			}
			plot(t, dsn).verdict(t)
		})
	}
}

// A garden is a gateway full of planted secrets.
type garden struct {
	*plants
	t      *testing.T
	g      *gateway
	token  string   // admin.token
	key    string   // of the file
	env    []string // of commands
	hooked atomic.Int64
}

func runBinary(ctx context.Context, t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir, cmd.Env = dir, append([]string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}, env...)
	out, _ := cmd.CombinedOutput() // a refusal is an answer
	if len(out) == 0 {
		t.Errorf("sluice %s prints nothing", strings.Join(args, " "))
	}
	return string(out)
}

// plot plants, lives, and looks everywhere.
func plot(t *testing.T, dsn string) *plants {
	s := &garden{plants: newPlants(), t: t}
	redis := redistest.Own(t).Start(t)
	redis.Do(t, "ACL", "SETUSER", "sluice", "on", ">"+s.core("password of Redis"), "~*", "&*", "+@all")
	commands := monitor(t, redis)
	document := s.document(redis.Addr, dsn)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if s.g, err = serveWhole(bin, t.TempDir(), document, "VAULT_TOKEN="+s.core("token of Vault")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.g.stop)
	s.env = []string{"SLUICE_ADMIN_TOKEN=" + s.token}

	s.objects()
	s.calls()
	s.wrongKeys()
	s.wrongOperators()
	s.people()
	s.reload(document)
	s.readAll()
	s.commands(dsn)
	s.badStarts(document, dsn)
	eventually(t, "a webhook is told, or fails", func() bool { return s.hooked.Load() > 0 })

	s.lookInRedis(t, redis)
	s.look("commands to Redis", commands())
	if dsn != "" {
		s.lookInPostgres(t, dsn)
	} else {
		s.lookInSQLite(t, filepath.Join(s.g.dir, "data", "sluice.db"))
	}
	s.lookInFiles(t, filepath.Join(s.g.dir, "data")) // as a crash leaves them: the write-ahead logs are whole
	_ = s.g.cmd.Process.Signal(syscall.SIGQUIT)      // a crash's dump
	<-s.g.done
	s.look("standard error", []byte(s.g.log()))
	s.look("standard output", []byte(s.g.stdout()))
	for _, want := range []string{`"msg":"call"`, "directory changed", "sign-in refused", "SIGQUIT: quit"} {
		if !strings.Contains(s.g.log(), want) {
			t.Errorf("nothing in the log is about %s: the test shows less than it says", want)
		}
	}
	s.lookInFiles(t, filepath.Join(s.g.dir, "data"))
	return s.plants
}

// document is a configuration with a secret wherever one can stand.
func (s *garden) document(redis, dsn string) string {
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hooked.Add(1)
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusInternalServerError) // and repeats it
		_, _ = fmt.Fprint(w, r.URL, r.Header, string(body))
	}))
	s.t.Cleanup(hook.Close)
	vendor := startVendor(s.t, "plain", "openai")
	vendor.script(s.t, "said = story?text="+s.core("answer"))
	parrot := aParrot(s.t)
	s.key, s.token = "sk-"+s.core("key of the file"), s.core("admin.token")
	var b strings.Builder
	fmt.Fprintf(&b, "listen: 127.0.0.1:0\nadmin: {listen: \"127.0.0.1:0\", pprof: true, token: %s}\ndata: data\npepper: %s\nlog: {level: debug}\n", s.token, s.core("pepper"))
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	audit := base64.StdEncoding.EncodeToString(seed[:])
	s.add("seed of audit.key", audit[:40])
	fmt.Fprintf(&b, "secrets: {key: %s}\naudit: {key: %q}\n", s.core("key-encryption key"), audit)
	fmt.Fprintf(&b, "redis: {url: \"redis://sluice:%s@%s\"}\n", s.cores["password of Redis"], redis)
	if dsn != "" {
		at, err := url.Parse(dsn)
		password, ok := at.User.Password()
		if err != nil || !ok || len(password) < 16 {
			s.t.Fatalf("the store has no password to look for: %v", err)
		}
		s.add("password of PostgreSQL", password)
		fmt.Fprintf(&b, "store: {url: %q}\n", dsn)
	}
	fmt.Fprintf(&b, "keys:\n  - {name: file, key: %s, models: [\"*\"]}\n", s.key)
	fmt.Fprintf(&b, "  - {name: tight, key: sk-%s, models: [\"*\"], rules: [{name: r, requests: [4/hour], budgets: [{dollars: 10, every: month, alerts: [1]}]}]}\n", s.core("key with a limit"))
	fmt.Fprintf(&b, "  - {name: expired, key: sk-%s, models: [\"*\"], expires: 2020-01-01}\n", s.core("key that has expired"))
	fmt.Fprintf(&b, "alerts: {webhooks: [{url: \"%s/%s?t=%s\", secret: %s, allow_private: [127.0.0.1/32]}]}\n", hook.URL, s.core("path of the webhook"), s.core("query of the webhook"), s.core("secret of the webhook"))
	fmt.Fprintf(&b, "sign_in: {oidc: {issuer: \"http://127.0.0.1:1\", client_id: sluice, client_secret: %s, redirect_url: \"http://127.0.0.1:3002/admin/session/oidc/return\", roles: [{group: x, role: auditor}]}}\n", s.core("client_secret of OpenID Connect"))
	b.WriteString("retries: {attempts: 2}\nbreaker: {requests: 10000, connect_errors: 1000, open: 1ms, open_max: 1ms, probe: 1ms, successes: 1}\nproviders:\n")
	for _, u := range upstreams {
		fmt.Fprintf(&b, "  - {name: %s, kind: %s, base_url: \"http://%s%s\", api_key: %s, allow_private: [127.0.0.1/32], models: []}\n", u.name, u.kind, vendor.addr, u.path, s.core("api_key of "+u.name))
		fmt.Fprintf(&b, "  - {name: p%s, kind: %s, base_url: \"%s%s\", allow_private: [127.0.0.1/32], models: [], headers: {X-Gateway-Secret: \"v %s\"}, credentials: [", u.name, u.kind, parrot, u.path, s.core("header for "+u.name))
		for i := range 3 { // a refused one is not asked again
			fmt.Fprintf(&b, "{name: c%d, api_key: %s}, ", i, s.core(fmt.Sprintf("credential %d of p%s", i, u.name)))
		}
		b.WriteString("]}\n")
	}
	fmt.Fprintf(&b, "  - {name: proxied, kind: openai, base_url: \"http://127.0.0.1:1/v1\", api_key: %s, proxy: \"%s\", allow_private: [127.0.0.1/32], models: []}\n", s.core("api_key behind a proxy"),
		strings.Replace(parrot, "http://", "http://user:"+s.core("password of the proxy")+"@", 1))
	b.WriteString("models:\n")
	for _, u := range upstreams {
		for name, model := range map[string]string{"echo": "echo", "tools": "tools", "reason": "reason", "said": "said", "cut": "echo?cut=50%", "rst": "echo?rst=50%", "error": "echo?error=50%", "s500": "echo?status=500&body=html", "costly": "echo?input=50000"} {
			fmt.Fprintf(&b, "  - {name: %s-%s, deployments: [{provider: %[1]s, model: %[3]q, price: {input: 10, output: 10}}]}\n", u.name, name, model)
		}
		for _, way := range parrotWays {
			fmt.Fprintf(&b, "  - {name: %s-%s, provider: p%[1]s, model: parrot-%[2]s.}\n", u.name, way)
		}
	}
	b.WriteString("  - {name: proxied, provider: proxied, model: x}\n")
	for _, way := range guardWays { // the service repeats all that it was sent
		fmt.Fprintf(&b, "  - {name: guard-%s, provider: oai, model: echo, guards: [open-%[1]s]}\n  - {name: closed-%[1]s, provider: oai, model: echo, guards: [closed-%[1]s]}\n", way)
	}
	b.WriteString("guards:\n")
	for _, way := range guardWays {
		hook := fmt.Sprintf("webhook: {url: \"%s/parrot-%s./%s\", secret: %s, allow_private: [127.0.0.1/32]}", parrot, way, s.core("path of a guard's webhook, "+way), s.core("secret of a guard's webhook, "+way))
		fmt.Fprintf(&b, "  - {name: open-%s, mode: mask, %s}\n  - {name: closed-%[1]s, mode: mask, enforce: true, %[2]s}\n", way, hook)
	}
	return b.String()
}

// guardWays are ways in which the service of a guard fails.
var guardWays = strings.Fields("401 500 body nothttp")

// admin makes one request of an operator's and searches the answer, but for what it is to tell.
func (s *garden) admin(method, path, body string, but ...string) string {
	s.t.Helper()
	status, _, out := sent(s.t, method, "http://"+s.g.admin+path, body, "Authorization: Bearer "+s.token, "Content-Type: application/json", "X-Sluice-Why: a test")
	s.look(fmt.Sprintf("admin: %s %s: %d", method, strings.SplitN(path, "?", 2)[0], status), []byte(out), but...)
	return out
}

// objects makes what the store keeps: keys, and settings with secrets of their own.
func (s *garden) objects() {
	s.admin("POST", "/admin/teams", `{"name":"planted"}`)
	for _, name := range []string{"first", "second"} {
		var made struct{ ID, Secret string }
		out := s.admin("POST", "/admin/keys", fmt.Sprintf(`{"name":%q,"models":["*"],"team":"planted"}`, name))
		if err := json.Unmarshal([]byte(out), &made); err != nil || len(made.Secret) < 60 {
			s.t.Fatalf("no key was made: %s", out)
		}
		s.add("key of the store, "+name, made.Secret[20:])
		s.use(made.Secret)
	}
	var next struct{ Secret string }
	if err := json.Unmarshal([]byte(s.admin("POST", "/admin/keys/second/rotate", `{"grace":"1h"}`)), &next); err != nil || next.Secret == "" {
		s.t.Fatalf("the key is not rotated: %v", err)
	}
	s.add("key of the store, rotated", next.Secret[20:])
	s.use(next.Secret)
	taken := "sk-" + s.core("key that is taken over")
	s.admin("POST", "/admin/keys", `{"name":"taken","models":["*"],"key":"`+taken+`"}`)
	s.admin("POST", "/admin/keys", `{"name":"taken again","models":["*"],"key":"`+taken+`"}`)               // a conflict
	s.admin("POST", "/admin/keys", `{"name":"weak","models":["*"],"key":"sk-1234-`+s.core("weak key")+`"}`) // refused

	provider := fmt.Sprintf(`{"value":{"name":"stored","kind":"openai","base_url":"http://127.0.0.1:1/v1","allow_private":["127.0.0.1/32"],"models":[],"credentials":[{"name":"a","api_key":%q}],"proxy":"http://u:%s@127.0.0.1:1","headers":{"X-Org":%q}}}`,
		s.core("credential of the store"), s.core("proxy of the store"), s.core("header of the store"))
	if out := s.admin("POST", "/admin/providers", provider); !strings.Contains(out, "***") {
		s.t.Fatalf("no provider was made: %s", out)
	}
	s.admin("POST", "/admin/providers", provider)                                                                      // a conflict
	s.admin("POST", "/admin/providers", strings.Replace(provider, `"kind":"openai"`, `"kind":"nothing"`, 1))           // refused
	s.admin("POST", "/admin/providers", strings.Replace(provider, `"api_key"`, `"api_kee"`, 1))                        // unknown member
	s.admin("POST", "/admin/providers", strings.TrimSuffix(provider, "}"))                                             // broken
	s.admin("POST", "/admin/providers", strings.Replace(provider, "http://127.0.0.1:1/v1", "http://user:pw@host/", 1)) // refused
	s.admin("POST", "/admin/providers/stored/credentials", `{"value":{"name":"b","api_key":"`+s.core("second credential of the store")+`"}}`)
	s.admin("PATCH", "/admin/providers/stored/credentials/b", `{"value":{"api_key":"`+s.core("changed credential of the store")+`"}}`)
	s.admin("PATCH", "/admin/providers/stored/credentials/b", `{"value":{"api_key":["`+s.core("credential of a wrong type")+`"]}}`)
	s.admin("POST", "/admin/models", `{"value":{"name":"stored-model","provider":"stored","model":"x"}}`)
	s.admin("POST", "/admin/config/plan", `{"document":"providers: [{name: other, api_key: `+s.core("credential in a plan")+`}]"}`)
	s.admin("POST", "/admin/config/apply", `{"document":"providers: [{name: other, api_key: `+s.core("credential in a document")+`, nonsense: 1}]"}`)
	stored := `{"value":{"name":"stored-guard","mode":"mask","webhook":{"url":"https://guards.example/` + s.core("path of a stored guard's webhook") + `","secret":"` + s.core("secret of a stored guard's webhook") + `"}}}`
	if out := s.admin("POST", "/admin/guards", stored); !strings.Contains(out, "***") {
		s.t.Fatalf("no guard was made: %s", out)
	}
	s.admin("GET", "/admin/guards/stored-guard", "")
	s.admin("POST", "/admin/secrets/rotate", `{}`)
	eventually(s.t, "the store's model is served", func() bool {
		status, _, _ := sent(s.t, "POST", s.g.url+"/v1/chat/completions", chat("stored-model", "x", false), "Authorization: Bearer "+s.key)
		return status != http.StatusNotFound
	})
}

// use makes a call with a key.
func (s *garden) use(key string) {
	s.t.Helper()
	status, _, out := sent(s.t, "POST", s.g.url+"/v1/chat/completions", chat("oai-echo", "ping", false), "Authorization: Bearer "+key)
	if status != http.StatusOK {
		s.t.Errorf("a key that was made does not work: %d %s", status, out)
	}
}

// call makes a call, and searches its answer for everything but prompts and answers: who is told of them sent them, also where an upstream
// says in its own words what is wrong with a request.
func (s *garden) call(path, body string, header ...string) answered {
	s.t.Helper()
	if strings.Contains(path, "%[1]s") {
		path = fmt.Sprintf(path, "oai-echo")
	}
	a := send(s.t.Context(), s.g, path, body, append([]string{"Authorization: Bearer " + s.key}, header...)...)
	s.look(fmt.Sprintf("client: %s: %d", strings.SplitN(path, "?", 2)[0], a.status), fmt.Append(nil, a.header, a.body, a.err), "prompt", "answer")
	return a
}

// shapes are calls with a prompt in each place that one can stand in.
var shapes = []struct{ name, path, stream, body string }{
	{"openai", "/v1/chat/completions", "/v1/chat/completions", `{"model":%[1]q,"stream":%[2]v,"messages":[{"role":"system","content":"%[3]s"},{"role":"user","content":[{"type":"text","text":"%[4]s"},{"type":"image_url","image_url":{"url":"https://images.example/%[5]s.png"}}]}],"tools":[{"type":"function","function":{"name":"f","description":"%[6]s","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]}`},
	{"responses", "/v1/responses", "/v1/responses", `{"model":%[1]q,"stream":%[2]v,"instructions":"%[3]s","input":[{"role":"user","content":[{"type":"input_text","text":"%[4]s"}]}],"metadata":{"a":"%[5]s"},"tools":[{"type":"function","name":"f","description":"%[6]s","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}]}`},
	{"anthropic", "/v1/messages", "/v1/messages", `{"model":%[1]q,"stream":%[2]v,"max_tokens":50,"system":"%[3]s","messages":[{"role":"user","content":[{"type":"text","text":"%[4]s"}]},{"role":"assistant","content":"%[5]s"},{"role":"user","content":"x"}],"tools":[{"name":"f","description":"%[6]s","input_schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}]}`},
	{"gemini", "/v1beta/models/%[1]s:generateContent", "/v1beta/models/%[1]s:streamGenerateContent?alt=sse", `{"systemInstruction":{"parts":[{"text":"%[3]s"}]},"contents":[{"role":"user","parts":[{"text":"%[4]s"},{"inlineData":{"mimeType":"text/plain","data":"%[5]s"}}]}],"tools":[{"functionDeclarations":[{"name":"f","description":"%[6]s","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}]}]}`},
}

// calls is every format to every upstream, streamed and not, with every end that a call can have.
func (s *garden) calls() {
	for _, shape := range shapes {
		var prompts [4]string
		for i, what := range []string{"system", "user", "more", "tool"} {
			prompts[i] = s.core("prompt, " + what + " of " + shape.name)
		}
		for _, stream := range []bool{false, true} {
			ask := func(model string, header ...string) answered {
				path := shape.path
				if stream {
					path = shape.stream
				}
				if strings.Contains(path, "%") {
					path = fmt.Sprintf(path, model)
				}
				body := fmt.Sprintf(shape.body, model, stream, prompts[0], prompts[1], prompts[2], prompts[3])
				return s.call(path, body, header...)
			}
			var good atomic.Int64
			var all sync.WaitGroup
			room := make(chan struct{}, 16)
			for _, u := range upstreams {
				for _, end := range append([]string{"echo", "tools", "reason", "said", "cut", "rst", "error", "s500"}, parrotWays...) {
					room <- struct{}{}
					all.Go(func() {
						defer func() { <-room }()
						if a := ask(u.name + "-" + end); a.status == http.StatusOK && a.err == nil {
							good.Add(1)
						}
					})
				}
			}
			all.Wait()
			if good.Load() < 10 {
				s.t.Errorf("%s: only %d calls went well: %s", shape.name, good.Load(), ask("oai-echo").body)
			}
			ask("proxied")
			ask("stored-model")
			ask("no-such-model")
			for _, way := range guardWays {
				if a, b := ask("guard-"+way), ask("closed-"+way); a.status != http.StatusOK || b.status == http.StatusOK {
					s.t.Errorf("with a guard whose service fails (%s): %d %s, and where it must not: %d %s", way, a.status, a.body, b.status, b.body)
				}
			}
			ask("oai-echo", "Idempotency-Key: planted-"+shape.name+fmt.Sprint(stream))
			ask("oai-echo", "Idempotency-Key: planted-"+shape.name+fmt.Sprint(stream)) // its twin
			ask("oai-echo", "Authorization: Bearer sk-"+s.cores["key with a limit"])
			a := s.call("/v1/chat/completions", `{"model":"oai-costly","max_tokens":5,"messages":[{"role":"user","content":"`+prompts[0]+`"}]}`, "Authorization: Bearer sk-"+s.cores["key with a limit"])
			if a.status != http.StatusOK && a.status != http.StatusTooManyRequests {
				s.t.Errorf("a call within a budget: %d %s", a.status, a.body)
			}
			ask("oai-echo", "Authorization: Bearer sk-"+s.cores["key that has expired"])
			ask("oai-echo", "Cookie: a="+s.core("cookie of a client"), "X-Custom: "+s.core("header of a client"), "Content-Encoding: nonsense")
		}
		s.call(shape.path, strings.Replace(fmt.Sprintf(shape.body, "oai-echo", false, prompts[0], prompts[1], prompts[2], prompts[3]), `"text"`, `"text":{},"text"`, 1))
		s.call(shape.path, prompts[1])
		s.call(shape.path, `{"model":"oai-echo","`+prompts[0]+`":"`+prompts[1]+`","messages":"`+prompts[2]+`"}`)
	}
	s.call("/v1/embeddings", `{"model":"oai-echo","input":["`+s.core("prompt to be embedded")+`"]}`)
}

// wrongKeys shows what is no key, in every way.
func (s *garden) wrongKeys() {
	for i, form := range []string{"sk-%s", "sk-slc-AAAAAAAAAAAA-%s", "slt-AAAAAAAAAAAA-%s", "' OR 1=1 -- %s", "%s"} {
		wrong := fmt.Sprintf(form, s.core(fmt.Sprintf("wrong key %d", i)))
		for _, name := range []string{"Authorization: Bearer ", "Authorization: Basic ", "x-api-key: ", "x-goog-api-key: ", "Cookie: sluice="} {
			s.call("/v1/chat/completions", chat("oai-echo", "x", false), name+wrong)
		}
		escaped := strings.NewReplacer(" ", "%20", "'", "%27", "=", "%3D").Replace(wrong)
		s.call("/v1/chat/completions?key="+escaped, chat("oai-echo", "x", false))
		s.call("/v1beta/models/oai-echo:generateContent?key="+escaped, `{"contents":[]}`)
		s.call("/"+escaped, "{}")
	}
	s.call("/v1beta/models/oai-echo:generateContent?key="+s.key, `{"contents":[]}`, "Authorization: ")
}

// wrongOperators shows the admin API what it is to refuse.
func (s *garden) wrongOperators() {
	wrong := s.core("wrong admin token")
	for _, h := range []string{"Authorization: Bearer " + wrong, "Authorization: Bearer slt-AAAAAAAAAAAA-" + wrong, "Cookie: sluice=sls-" + wrong, "Authorization: Bearer " + s.key} {
		for _, path := range []string{"/admin/keys", "/admin/keys/sk-slc-AAAAAAAAAAAA-" + wrong, "/admin/keys?name=" + wrong} {
			status, head, out := sent(s.t, "GET", "http://"+s.g.admin+path, "", h)
			s.look(fmt.Sprintf("admin, refused: %d", status), fmt.Append(nil, head, out))
		}
	}
	s.admin("POST", "/admin/session", `{"email":"ada@example.org","password":"`+s.core("wrong password")+`"}`)
	s.admin("POST", "/admin/session", `{"email":"ada@example.org","pasword":"`+s.core("password in a wrong member")+`"}`)
	s.admin("POST", "/admin/links", `{"token":"sll-`+s.core("wrong link")+`","password":"`+s.core("password with a wrong link")+`"}`)
	s.admin("GET", "/admin/keys/"+"sk-slc-BBBBBBBBBBBB-"+s.core("key as a reference"), "")
}

// reload takes up configurations that are broken around their secrets, and then a good one.
func (s *garden) reload(document string) {
	file := filepath.Join(s.g.dir, "sluice.yaml")
	for _, breaks := range [][2]string{{"api_key: ", "api_kee: "}, {"pepper: ", "pepper: ["}, {"redis: {url: \"redis://", "redis: {url: \"http://"}, {"retries: {", "retries: {nonsense: 1, "}, {" secret: ", " secrit: "}} {
		if err := os.WriteFile(file, []byte(strings.Replace(document, breaks[0], breaks[1], 1)), 0o600); err != nil {
			s.t.Fatal(err)
		}
		s.run(s.t.Context(), s.t, "config check", s.g, nil, "config", "check")
		before := s.g.count("configuration not replaced")
		_ = s.g.cmd.Process.Signal(syscall.SIGHUP)
		eventually(s.t, "the refusal of a file with "+breaks[1], func() bool { return s.g.count("configuration not replaced") > before })
	}
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// readAll asks for everything that can be read.
func (s *garden) readAll() {
	var doc struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal([]byte(s.admin("GET", "/admin/openapi.json", "")), &doc); err != nil || len(doc.Paths) < 30 {
		s.t.Fatalf("%d paths, %v", len(doc.Paths), err)
	}
	refs := map[string]string{"keys": "first", "teams": "planted", "users": "none", "organisations": "default", "providers": "stored", "models": "stored-model", "rules": "none", "revisions": "1", "accounts": "none", "tokens": "none"}
	for path, methods := range doc.Paths {
		if methods["get"] == nil {
			continue
		}
		for kind, ref := range refs {
			path = strings.ReplaceAll(path, "/"+kind+"/{ref}", "/"+kind+"/"+ref)
			path = strings.ReplaceAll(path, "/"+kind+"/{of}", "/"+kind+"/"+ref)
		}
		path = strings.NewReplacer("/credentials/{ref}", "/credentials/a", "/deployments/{ref}", "/deployments/x").Replace(path)
		s.admin("GET", path, "")
	}
	for _, path := range []string{"/admin/config/revisions/2", "/admin/config/revisions/newest", "/debug/pprof/goroutine?debug=2", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline", "/debug/pprof/allocs?debug=1", "/metrics"} {
		s.admin("GET", path, "")
	}
	s.admin("POST", "/admin/explain", `{"key":"file","request":`+chat("oai-echo", s.core("prompt to be explained"), false)+`}`)
	for _, path := range []string{"/health", "/ready", "/v1/models", "/v1/usage/me"} {
		status, head, out := sent(s.t, "GET", s.g.url+path, "", "Authorization: Bearer "+s.key)
		s.look(fmt.Sprintf("client: %s: %d", path, status), fmt.Append(nil, head, out))
	}
}

// commands runs the command line, against the gateway and beside it.
func (s *garden) commands(dsn string) {
	at := "http://" + s.g.admin
	for _, args := range []string{"doctor", "doctor --json", "doctor --offline --json", "config check --json", "explain --key file --request request.json", "ledger verify"} {
		s.run(s.t.Context(), s.t, "sluice "+args, s.g, s.env, strings.Fields(args)...)
	}
	for _, args := range []string{"keys", "keys show first --json", "keys show file", "teams --json", "usage --json", "usage", "ledger list --json", "upstreams --json", "upstreams", "ledger recompute", "prices", "audit list --json", "audit export", "audit verify --store --json", "config show", "config history --json", "config status --json", "accounts --json", "tokens --json", "sessions list ada@example.org --json", "secrets rotate"} {
		s.run(s.t.Context(), s.t, "sluice "+args, s.g, s.env, append(strings.Fields(args), "--admin-url", at)...)
	}
	s.run(s.t.Context(), s.t, "sluice keys, a wrong token", s.g, []string{"SLUICE_ADMIN_TOKEN=" + s.core("wrong token of a command")}, "keys", "--admin-url", at)
	s.run(s.t.Context(), s.t, "sluice keys, no gateway", s.g, s.env, "keys", "--admin-url", "http://127.0.0.1:1")
}

// badStarts starts gateways that cannot: what they say on their way out has no secret.
func (s *garden) badStarts(document, dsn string) {
	for what, change := range map[string][2]string{
		"no Redis":       {"@127.0.0.1:", "@127.0.0.1.nowhere.invalid:"},
		"a broken file":  {"providers:", "providers: {"},
		"a weak key":     {"key: sk-", "key: sk-1234"},
		"no store":       {"store: {url: \"postgres://", "store: {url: \"postgres://nobody"},
		"another store":  {"data: data", "data: /dev/null/data"},
		"another pepper": {"pepper: ", "pepper: " + s.core("pepper of another")[:8]},
	} {
		text := strings.Replace(document, change[0], change[1], 1)
		if text == document {
			continue // PostgreSQL's, with SQLite
		}
		dir := s.t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "sluice.yaml"), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Second)
		s.look("start with "+what, []byte(runBinary(ctx, s.t, dir, nil, "serve")))
		cancel()
	}
}
