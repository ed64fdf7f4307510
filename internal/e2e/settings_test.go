package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
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
)

// planted are secrets that are given to the gateway, and must be nowhere in what it shows or keeps.
const (
	plantedKey    = "planted-upstream-key-0dK3vT7mQ2xW8zL5nB4cJ6hD1f"
	plantedHeader = "planted-header-Zq8vR2mXw7LkT4nYb9HcJ5dGpS3f"
)

// An office is replicas on one store, with settings in it.
type office struct {
	t      *testing.T
	dsn    string // of PostgreSQL; "": SQLite in the data directory of the only replica
	config string
	dirs   []string
	all    crew
	mock   string // address of an upstream that takes plantedKey only
}

// newOffice starts n replicas; config is added to what they share.
func newOffice(t *testing.T, dsn string, n int, config string) *office {
	t.Helper()
	mock, addr, err := startMock(t.TempDir(), "--key", plantedKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mock.stop)
	o := &office{t: t, dsn: dsn, mock: addr, config: "log: {level: debug}\npepper: " + moneyKey("pepper") + "\n" + config +
		"providers: [{name: filed, kind: openai, base_url: \"http://" + addr + "/v1\", api_key: another-key, allow_private: [127.0.0.1/32], models: []}]\n" +
		"models: [{name: filed, provider: filed, model: echo}]\n"}
	if dsn != "" {
		o.config += fmt.Sprintf("store: {url: %q}\n", dsn)
	}
	for range n {
		o.dirs = append(o.dirs, t.TempDir())
		o.all = append(o.all, nil)
	}
	for i := range n {
		o.start(i)
	}
	return o
}

// start starts a replica, for the first time or again; more is added to its configuration.
func (o *office) start(i int, more ...string) {
	o.t.Helper()
	g, err := serve(o.dirs[i], o.config+strings.Join(more, ""))
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(g.stop)
	o.all[i] = g
}

// sluice runs a command, at a replica unless its flags say otherwise.
func (o *office) sluice(i int, args ...string) (stdout, stderr string, code int) {
	o.t.Helper()
	return o.all[i].command(o.t, args...)
}

func (g *gateway) command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir, cmd.Env = g.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir, "SLUICE_ADMIN_URL=http://" + g.admin}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatalf("sluice %v: %v", args, err)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is sluice for what has to go well.
func (o *office) must(i int, args ...string) string {
	o.t.Helper()
	out, errs, code := o.sluice(i, args...)
	if code != 0 {
		o.t.Fatalf("sluice %v: code %d: %s", args, code, errs)
	}
	return out
}

// post does an act of operators that has to end with a status.
func (o *office) post(method, path, body string, want int) string {
	o.t.Helper()
	status, out := operate(o.t, o.all[0], method, path, body)
	if status != want {
		o.t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, out)
	}
	return string(out)
}

// stock puts a provider with secrets into the store, and a model that it serves.
func (o *office) stock() {
	o.t.Helper()
	made := o.post(http.MethodPost, "/admin/providers", fmt.Sprintf(`{"value":{"name":"stored","kind":"openai","base_url":"http://%s/v1","api_key":%q,"headers":{"X-Org":%q},"allow_private":["127.0.0.1/32"],"models":[]}}`, o.mock, plantedKey, plantedHeader), http.StatusCreated)
	if !strings.Contains(made, `"api_key":"***"`) || !strings.Contains(made, `"X-Org":"***"`) {
		o.t.Errorf("the answer has %s", made)
	}
	o.post(http.MethodPost, "/admin/models", `{"value":{"name":"stored","provider":"stored","model":"echo"}}`, http.StatusCreated)
}

// serves waits until a replica answers a model's calls with a status, and gives how long that took.
func (o *office) serves(i int, model string, want int) time.Duration {
	o.t.Helper()
	began, last := time.Now(), 0
	if !comes(func() bool {
		last, _, _ = call(o.t, o.all[i], http.MethodPost, "/v1/chat/completions", chat(model, "ping", false))
		return last == want
	}) {
		o.t.Fatalf("replica %d answers calls for %s with %d, want %d\n%s", i, model, last, want, tail(o.all[i]))
	}
	return time.Since(began)
}

// runsOn waits until all replicas run on a revision, and gives how long that took.
func (o *office) runsOn(revision string) time.Duration {
	o.t.Helper()
	began := time.Now()
	for i, g := range o.all {
		if !comes(func() bool { return g.find(`"event":"settings_taken_up","revision":`+revision) != "" }) {
			o.t.Fatalf("replica %d never ran on revision %s\n%s", i, revision, tail(g))
		}
	}
	return time.Since(began)
}

// do changes the database as somebody who owns it.
func (o *office) do(statements ...string) {
	o.t.Helper()
	db := o.database()
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(o.t.Context(), s); err != nil {
			o.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (o *office) database() *sql.DB {
	o.t.Helper()
	driver, dsn := "pgx", o.dsn
	if dsn == "" {
		driver, dsn = "sqlite", "file:"+filepath.Join(o.dirs[0], "data", "sluice.db")+"?_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		o.t.Fatal(err)
	}
	return db
}

// onStores runs a test over both engines, with as many replicas as each is for.
func onStores(t *testing.T, test func(t *testing.T, dsn string, replicas int)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "", 1) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.Database(t), 2) })
}

const sharedKEK = "secrets: {key: rP3xQ9vT7mK2sW8zL5nB4cJ6hD1fG0yAeU}\n"

// TestStoredProvider: a provider with secrets that is made by the API serves calls on all replicas, and its secrets are nowhere.
func TestStoredProvider(t *testing.T) {
	onStores(t, func(t *testing.T, dsn string, n int) {
		o := newOffice(t, dsn, n, sharedKEK)
		o.stock()
		for i := range o.all {
			took := o.serves(i, "stored", http.StatusOK)
			if t.Logf("replica %d serves it after %v", i, took); long && took > time.Second {
				t.Error("it takes more than a second")
			}
		}
		o.post(http.MethodPatch, "/admin/providers/stored", `{"value":{"api_key":"***","models":["x-*"]}}`, http.StatusOK)
		o.runsOn("3")
		o.serves(0, "stored", http.StatusOK) // *** left the key as it was
		o.prices()
		o.readOnly()
		o.rollsBack()
		shown := []string{o.all[0].operator(t, "/metrics"), o.must(0, "audit", "export"), o.must(0, "audit", "list", "--json"), o.must(0, "config", "show", "--whole")}
		for _, path := range []string{"/admin/providers", "/admin/providers/stored", "/admin/providers/stored/credentials", "/admin/models", "/admin/config", "/admin/config/history", "/admin/config/revisions/1", "/admin/config/revisions/newest", "/admin/audit"} {
			shown = append(shown, o.post(http.MethodGet, path, "", http.StatusOK))
		}
		for _, g := range o.all {
			shown = append(shown, g.log(), g.stdout())
		}
		for i, text := range shown {
			leaks(t, fmt.Sprintf("shown %d", i), []byte(text), plantedKey, plantedHeader)
		}
		for _, g := range o.all {
			g.stop()
		}
		o.leaksNothing()
	})
}

// leaks fails where a text has a secret, in any of the forms that dumps have.
func leaks(t *testing.T, where string, text []byte, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		for _, form := range []string{s, hex.EncodeToString([]byte(s)), strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), "=")[:40]} {
			if bytes.Contains(text, []byte(form)) {
				t.Errorf("%s holds a secret: %.20s", where, s)
			}
		}
	}
}

// leaksNothing looks for the planted secrets in all files of all replicas, and in a dump of PostgreSQL.
func (o *office) leaksNothing() {
	o.t.Helper()
	seen := 0
	for _, dir := range o.dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			leaks(o.t, path, text, plantedKey, plantedHeader)
			seen += len(text)
			return err
		})
		if err != nil {
			o.t.Fatal(err)
		}
	}
	if o.dsn != "" {
		dump := o.dump()
		leaks(o.t, "the dump of PostgreSQL", dump, plantedKey, plantedHeader)
		seen = len(dump)
		if !bytes.Contains(dump, []byte("providers/stored/api_key")) {
			o.t.Error("the dump has no sealed value")
		}
	}
	o.t.Logf("looked through %d bytes", seen)
}

// dump is all that PostgreSQL has, as text.
func (o *office) dump() []byte {
	o.t.Helper()
	program, err := exec.LookPath("pg_dump")
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
		if len(found) == 0 {
			lacking(o.t, "there is no pg_dump")
		}
		program = found[len(found)-1]
	}
	out, err := exec.CommandContext(o.t.Context(), program, "--no-owner", "--dbname", o.dsn).CombinedOutput()
	if err != nil {
		o.t.Fatalf("pg_dump: %v: %s", err, out)
	}
	return out
}

// readOnly tries to change what the file has.
func (o *office) readOnly() {
	o.t.Helper()
	for _, c := range []struct{ method, path, body string }{
		{http.MethodPatch, "/admin/providers/filed", `{"value":{"api_key":"x"}}`},
		{http.MethodDelete, "/admin/providers/filed", ""},
		{http.MethodPost, "/admin/providers/filed/credentials", `{"value":{"name":"x","api_key":"x"}}`},
		{http.MethodPatch, "/admin/models/filed", `{"value":{"model":"x"}}`},
	} {
		if out := o.post(c.method, c.path, c.body, http.StatusConflict); !strings.Contains(out, "is set by the configuration file") {
			o.t.Errorf("%s %s: %s", c.method, c.path, out)
		}
	}
	if out := o.post(http.MethodGet, "/admin/providers/filed", "", http.StatusOK); !strings.Contains(out, `"read_only":true`) || strings.Contains(out, "another-key") {
		o.t.Errorf("the file's provider is shown as %s", out)
	}
	if out := o.post(http.MethodPost, "/admin/models", `{"value":{"name":"filed","provider":"stored","model":"x"}}`, http.StatusBadRequest); !strings.Contains(out, "is the name of one in the configuration file, which wins") {
		o.t.Errorf("a name of the file's: %s", out)
	}
}

// prices gives a provider's model a price while calls go on, and takes it back.
func (o *office) prices() {
	o.t.Helper()
	cost := func(i int) string {
		_, header, _ := call(o.t, o.all[i], http.MethodPost, "/v1/chat/completions", chat("stored", "ping", false))
		return header.Get("X-Sluice-Cost")
	}
	if was := cost(0); was != "" {
		o.t.Fatalf("a model without a price costs %s", was)
	}
	o.post(http.MethodPost, "/admin/model_prices", `{"value":{"name":"contract","provider":"stored","models":["ec*"],"input":1000000,"output":0}}`, http.StatusCreated)
	for i := range o.all {
		if last := ""; !comes(func() bool { last = cost(i); return last != "" && last != "0" }) {
			o.t.Errorf("replica %d takes %q for it", i, last)
		}
	}
	o.post(http.MethodDelete, "/admin/model_prices/contract", "", http.StatusOK)
	for i := range o.all {
		if last := ""; !comes(func() bool { last = cost(i); return last == "" }) {
			o.t.Errorf("replica %d still takes %q for it", i, last)
		}
	}
}

// rollsBack removes all settings, and takes them back.
func (o *office) rollsBack() {
	o.t.Helper()
	empty := filepath.Join(o.all[0].dir, "empty.yaml")
	if err := os.WriteFile(empty, []byte("{}\n"), 0o600); err != nil {
		o.t.Fatal(err)
	}
	if out := o.must(0, "config", "plan", empty); !strings.Contains(out, "- providers/stored\n") || !strings.Contains(out, "- models/stored\n") {
		o.t.Errorf("the plan is %s", out)
	}
	if _, errs, code := o.sluice(0, "config", "apply", empty, "--base", "2", "--yes"); code != 5 || !strings.Contains(errs, "plan again") {
		o.t.Errorf("another base: %d %s", code, errs)
	}
	if _, errs, code := o.sluice(0, "config", "apply", empty); code != 1 || !strings.Contains(errs, "nobody said yes") {
		o.t.Errorf("nobody at the terminal: %d %s", code, errs)
	}
	o.must(0, "config", "apply", empty, "--base", "5", "--yes", "--why", "to see it gone")
	o.runsOn("6")
	for i := range o.all {
		o.serves(i, "stored", http.StatusNotFound)
	}
	last := len(o.all) - 1
	if out := o.must(last, "config", "rollback", "5", "--yes"); !strings.Contains(out, "+ providers/stored") || !strings.Contains(out, "revision 7 now") {
		o.t.Errorf("the roll back says %s", out)
	}
	for i := range o.all {
		o.t.Logf("replica %d serves it again after %v", i, o.serves(i, "stored", http.StatusOK))
	}
	if out := o.must(0, "config", "history"); !strings.Contains(out, "rollback 5") || !strings.Contains(out, "to see it gone") {
		o.t.Errorf("the history is %s", out)
	}
	if !comes(func() bool { return strings.Count(o.must(0, "config", "status"), "  7  ") == len(o.all) }) {
		o.t.Errorf("the replicas run on %s", o.must(0, "config", "status"))
	}
}

// TestBrokenSettings: what cannot be taken up leaves what is there standing, on all replicas, also when they start; and it is told
// which one wins.
func TestBrokenSettings(t *testing.T) {
	onStores(t, func(t *testing.T, dsn string, n int) {
		o := newOffice(t, dsn, n, sharedKEK)
		o.stock()
		for i := range o.all {
			o.serves(i, "stored", http.StatusOK)
		}
		// The API takes no such document, but another release could have written it.
		o.do(`INSERT INTO settings (number, based, at, by, act, why, document) VALUES (3, 2, 0, 'x', 'x', '', 'models: [{name: m, provider: nobody, model: x}]')`)
		for i, g := range o.all {
			if !comes(func() bool { return g.find(`"event":"settings_refused"`) != "" }) {
				t.Fatalf("replica %d has not refused it\n%s", i, tail(g))
			}
			o.serves(i, "stored", http.StatusOK)
		}
		if !comes(func() bool { return strings.Count(o.must(0, "config", "status"), "nobody") == len(o.all) }) {
			t.Errorf("the status does not say what is wrong: %s", o.must(0, "config", "status"))
		}
		o.all[0].stop()
		o.start(0)
		if line := o.all[0].find("settings_refused"); !strings.Contains(line, `"revision":3,"stays":2`) {
			t.Errorf("the log says %s", line)
		}
		o.serves(0, "stored", http.StatusOK)
		o.must(0, "config", "rollback", "2", "--yes")
		o.runsOn("4")

		// The file gets a model of the name of one in the store, while the gateway runs.
		file := filepath.Join(o.all[0].dir, "sluice.yaml")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		clash := strings.Replace(string(text), "\nmodels: [", "\nmodels: [{name: stored, provider: mock, model: echo}, ", 1) + "mock: {enabled: true}\n"
		if err := os.WriteFile(file, []byte(clash), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := o.all[0].cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if !comes(func() bool { return o.all[0].find("configuration not replaced") != "" }) {
			t.Fatalf("the file was taken\n%s", tail(o.all[0]))
		}
		if line := o.all[0].find("configuration not replaced"); !strings.Contains(line, "which wins") || !strings.Contains(line, "models/stored") {
			t.Errorf("the log says %s", line)
		}
		o.serves(0, "stored", http.StatusOK)
		if _, errs, code := o.sluice(0, "config", "check"); code != 0 { // the file alone is right
			t.Errorf("%d %s", code, errs)
		}
		o.all[0].stop()
		old := o.config
		o.config = strings.Replace(o.config, "\nmodels: [", "\nmodels: [{name: stored, provider: mock, model: echo}, ", 1) + "mock: {enabled: true}\n"
		o.start(0)
		if line := o.all[0].find("settings_refused"); !strings.Contains(line, "which wins") {
			t.Errorf("the log says %s", line)
		}
		if _, _, body := call(t, o.all[0], http.MethodPost, "/v1/chat/completions", chat("stored", "ping", false)); !bytes.Contains(body, []byte("ping")) {
			t.Errorf("the file's model does not answer: %s", body)
		}
		o.config = old
	})
}

// TestRotation: secrets are sealed under new keys while calls go on and settings change, and no call fails.
func TestRotation(t *testing.T) {
	onStores(t, func(t *testing.T, dsn string, n int) {
		o := newOffice(t, dsn, n, sharedKEK)
		o.stock()
		for i := range o.all {
			o.serves(i, "stored", http.StatusOK)
		}
		ctx, stop := context.WithCancel(t.Context())
		var load sync.WaitGroup
		var calls, failed atomic.Int64
		for i := range 8 {
			load.Go(func() {
				tr := &http.Transport{}
				defer tr.CloseIdleConnections()
				for ctx.Err() == nil {
					s := shoot(context.WithoutCancel(ctx), tr, o.all[i%n], key, chat("stored", "ping", false))
					calls.Add(1)
					if s.why != "" {
						failed.Add(1)
						t.Errorf("a call failed: %s", s.why)
						return
					}
				}
			})
		}
		before := o.keysets()
		for round := range 5 {
			if out := o.must(round%n, "secrets", "rotate"); !strings.Contains(out, "secrets are sealed under the new key") {
				t.Errorf("it says %s", out)
			}
			o.post(http.MethodPatch, "/admin/models/stored", fmt.Sprintf(`{"value":{"context_window":%d}}`, 1000+round), http.StatusOK)
			o.post(http.MethodPatch, "/admin/providers/stored", fmt.Sprintf(`{"value":{"api_key":%q}}`, plantedKey), http.StatusOK)
		}
		o.runsOn("12")
		stop()
		load.Wait()
		if o.keysets() == before {
			t.Error("the keyset is what it was")
		}
		t.Logf("%d calls during 5 rotations and 10 revisions, %d failed", calls.Load(), failed.Load())
		for _, g := range o.all { // all of it opens for those who start now
			g.stop()
		}
		for i := range o.all {
			o.start(i)
			o.serves(i, "stored", http.StatusOK)
		}
	})
}

func (o *office) keysets() (version int64) {
	o.t.Helper()
	db := o.database()
	defer db.Close()
	if err := db.QueryRowContext(o.t.Context(), "SELECT version FROM secret_keys").Scan(&version); err != nil {
		o.t.Fatal(err)
	}
	return version
}

// kms is a program that holds a key-encryption key: it wraps with one, as a client of a key management service would.
const kms = `#!/bin/sh
exec openssl enc -aes-256-ctr -pbkdf2 -pass pass:only-in-a-test $([ "$1" = unwrap ] && echo -d)
`

// TestKEKChange: the key-encryption key goes from the file of the data directory to a program and on to the configuration, while the
// gateway runs; who has the old one is told what to do.
func TestKEKChange(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		lacking(t, "there is no openssl")
	}
	o := newOffice(t, "", 1, "")
	o.stock()
	o.serves(0, "stored", http.StatusOK)
	dir := o.all[0].dir
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	program := fmt.Sprintf("secrets: {command: [%q]}\n", write("kms", kms, 0o700))
	for _, next := range []string{program, sharedKEK} {
		if out := o.must(0, "secrets", "rotate", "--config", "sluice.yaml", "--kek", write("next.yaml", next, 0o600)); !strings.Contains(out, "Start each gateway anew") {
			t.Errorf("it says %s", out)
		}
		o.serves(0, "stored", http.StatusOK) // the one that runs has its keys
		if status, out := operate(t, o.all[0], http.MethodPatch, "/admin/providers/stored", `{"value":{"api_key":"x"}}`); status != http.StatusServiceUnavailable || !bytes.Contains(out, []byte("another key-encryption key")) {
			t.Errorf("the old key-encryption key sealed something: %d %s", status, out)
		}
		o.all[0].stop()
		if g, err := serve(o.dirs[0], o.config); err == nil {
			g.stop()
			t.Error("it started with the old key-encryption key")
		} else if !strings.Contains(err.Error(), "sealed under another key-encryption key") {
			t.Errorf("it says %v", err)
		}
		o.config = strings.NewReplacer(program, "", sharedKEK, "").Replace(o.config) + next
		o.start(0)
		o.serves(0, "stored", http.StatusOK)
		o.post(http.MethodPatch, "/admin/providers/stored", fmt.Sprintf(`{"value":{"api_key":%q}}`, plantedKey), http.StatusOK)
		o.must(0, "secrets", "rotate")
	}
	o.all[0].stop()
	o.leaksNothing()
}
