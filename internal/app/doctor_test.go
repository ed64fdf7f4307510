package app

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sluice/internal/backend/redis"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/pgtest"
	"sluice/internal/redistest"
)

// ill is a patient with a configuration in a directory of its own, which is the data directory's parent.
func ill(t *testing.T, text string) *patient {
	t.Helper()
	dir := t.TempDir()
	p := newPatient(DoctorOptions{Options: Options{ConfigPath: filepath.Join(dir, "sluice.yaml"), Getenv: func(string) string { return "" }}})
	if !strings.Contains(text, "listen:") {
		text = "listen: 127.0.0.1:0\nadmin: {listen: \"off\"}\n" + text
	}
	if !strings.Contains(text, "providers:") {
		text += "mock: {enabled: true}\n"
	}
	text = "data: " + filepath.Join(dir, "data") + "\n" + text
	write(t, p.o.ConfigPath, text, 0o600)
	if err := p.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(name, []byte(text), mode), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
}

// expect holds that among findings is one with a state and a text in it, and that what is not fine has a cure.
func expect(t *testing.T, findings []Finding, state State, text string) {
	t.Helper()
	found := slices.ContainsFunc(findings, func(f Finding) bool { return f.State == state && strings.Contains(f.Check+": "+f.Seen, text) })
	if !found {
		t.Errorf("no %s with %q in %+v", state, text, findings)
	}
	for _, f := range findings {
		if bad := f.State == Problem || f.State == Warning; bad != (f.Cure != "") {
			t.Errorf("%+v: a cure for what is wrong, and for nothing else", f)
		}
	}
}

func TestDoctorOfAConfiguration(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sluice.yaml")
	write(t, name, "lissen: 1\nproviders: [{name: openai, api_key: of-a-provider, kind: nobody}]\n", 0o600)
	d := Doctor(t.Context(), DoctorOptions{Options: Options{ConfigPath: name, Getenv: os.Getenv}})
	expect(t, d.Findings, Problem, "lissen")
	expect(t, d.Findings, Problem, "nobody")
	expect(t, d.Findings, Skipped, "all else")
	if d.Problems != 2 {
		t.Errorf("%d problems", d.Problems)
	}
	d = Doctor(t.Context(), DoctorOptions{Options: Options{ConfigPath: name + "x", Getenv: os.Getenv}})
	expect(t, d.Findings, Problem, "sluice.yamlx")
}

// TestDoctorOfAll: a sound set-up has no problem, every check tells something, and no secret is told however it fails.
func TestDoctorOfAll(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"data":[]}`)) }))
	defer up.Close()
	p := ill(t, "providers: [{name: openai, api_key: of-a-provider, base_url: \""+up.URL+"\", allow_private: [127.0.0.1/32]}]\n"+
		"redis: {url: \"redis://u:hid-den@127.0.0.1:1\"}\nstore: {url: \"postgres://u:hid-den@127.0.0.1:1/d\"}\n")
	told := 0
	p.o.Offline, p.o.Progress = true, func(_, all int) {
		if told++; all != len(checks) {
			t.Errorf("%d checks", all)
		}
	}
	d := Doctor(t.Context(), p.o)
	if d.Problems > 0 || told != len(checks) {
		t.Errorf("told %d; %+v", told, d)
	}
	expect(t, d.Findings, Skipped, "redis: --offline")
	expect(t, d.Findings, Skipped, "store: --offline")
	expect(t, d.Findings, Skipped, "providers: --offline")
	p.o.Offline, p.o.Progress = false, nil
	d = Doctor(t.Context(), p.o)
	expect(t, d.Findings, Problem, "redis: ")
	expect(t, d.Findings, Problem, "store: ")
	expect(t, d.Findings, Fine, "provider openai: "+strings.TrimPrefix(up.URL, "http://")+" answers and takes the credential")
	for _, c := range checks {
		if c.name != "listeners" && c.name != "providers" && !slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Check == c.name }) {
			t.Errorf("nothing of %s", c.name)
		}
	}
	for _, f := range d.Findings {
		if strings.Contains(f.Seen+f.Cure, "hid-den") || strings.Contains(f.Seen+f.Cure, "of-a-provider") {
			t.Errorf("a secret: %+v", f)
		}
	}
	if got := without("dial http://u:hid-den@h: of-a-provider", []string{"http://u:hid-den@h", "of-a-provider"}); strings.Contains(got, "hid") || strings.Contains(got, "of-") {
		t.Errorf("left: %s", got)
	}
}

func TestDoctorOfListeners(t *testing.T) {
	health, ready, known, build := `{"status":"healthy"}`, http.StatusOK, http.StatusOK, `{"version":"v0","go":"go1"}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			_, _ = w.Write([]byte(health))
		case "/ready":
			w.WriteHeader(ready)
		case "/build":
			w.WriteHeader(known)
			_, _ = w.Write([]byte(build))
		}
	}))
	defer s.Close()
	admin := httptest.NewServer(s.Config.Handler)
	defer admin.Close()
	at := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	p := ill(t, "listen: \""+at(s)+"\"\nadmin: {listen: \""+at(admin)+"\"}\n")
	look := func() []Finding { return lookListeners(t.Context(), p) }
	expect(t, look(), Fine, "listen: "+at(s)+" is held by a gateway that runs")
	expect(t, look(), Fine, "it is ready")
	expect(t, look(), Warning, "running gateway: it is v0, this program")
	ready = http.StatusServiceUnavailable
	expect(t, look(), Problem, "running gateway: it is not ready")
	known = http.StatusUnauthorized // there is an owner
	expect(t, look(), Skipped, "running gateway: its version")
	known, build = http.StatusOK, "{}"
	expect(t, look(), Problem, "running gateway: it does not say what it is")
	health = "hello"
	expect(t, look(), Problem, "listen: "+at(s)+" is held by another program")
	expect(t, look(), Problem, "admin.listen: ")
	expect(t, look(), Skipped, "running gateway")

	expect(t, lookListeners(t.Context(), ill(t, "")), Fine, "listen: 127.0.0.1:0 is free")
	expect(t, lookListeners(t.Context(), ill(t, "listen: 203.0.113.1:3001\n")), Problem, "cannot be listened on")
}

func TestDoctorOfFiles(t *testing.T) {
	p := ill(t, "")
	data := func() []Finding { return lookData(t.Context(), p) }
	expect(t, data(), Fine, "the first start makes it")
	write(t, p.cfg.Data, "", 0o600)
	expect(t, data(), Problem, "is no directory")
	if err := errors.Join(os.Remove(p.cfg.Data), os.Mkdir(p.cfg.Data, 0o700)); err != nil {
		t.Fatal(err)
	}
	expect(t, data(), Fine, "is ours alone")
	write(t, filepath.Join(p.cfg.Data, "pepper"), "x", 0o640)
	expect(t, data(), Problem, "pepper")
	if err := os.Chmod(p.cfg.Data, 0o755); err != nil {
		t.Fatal(err)
	}
	expect(t, data(), Warning, "has mode 0755")
	if os.Geteuid() == 0 {
		if err := os.Chown(p.cfg.Data, 1234, 1234); err != nil {
			t.Fatal(err)
		}
		expect(t, data(), Warning, "belongs to user 1234")
	}

	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	write(t, secret, "of-a-provider-in-a-file", 0o600)
	named := ill(t, "providers: [{name: openai, api_key: \"${file:"+secret+"}\"}]\n")
	files := func(p *patient) []Finding { return lookFiles(t.Context(), p) }
	expect(t, files(named), Fine, "2 files")
	write(t, named.o.ConfigPath, string(named.text), 0o644)
	expect(t, files(named), Fine, "2 files") // it says only where the secret is
	write(t, secret, "of-a-provider-in-a-file", 0o644)
	expect(t, files(named), Warning, "secret holds a secret and has mode 0644")
	write(t, secret, "of-a-provider-in-a-file", 0o622)
	expect(t, files(named), Problem, "others can change it")
	for _, text := range []string{"providers: [{name: openai, api_key: of-a-provider}]\n", "keys: [{name: a, key: " + testKey + "}]\n"} {
		p := ill(t, text)
		expect(t, files(p), Fine, "1 files")
		write(t, p.o.ConfigPath, string(p.text), 0o644)
		expect(t, files(p), Warning, "sluice.yaml holds a secret")
	}
}

func TestDoctorOfLimits(t *testing.T) {
	expect(t, []Finding{openFilesFinding(512)}, Problem, "some 256 calls")
	expect(t, []Finding{openFilesFinding(4096)}, Warning, "4096")
	expect(t, []Finding{openFilesFinding(65536)}, Fine, "65536")
	expect(t, []Finding{memoryFinding(math.MaxInt64, math.MaxInt64)}, Fine, "no limit")
	expect(t, []Finding{memoryFinding(512<<20, math.MaxInt64)}, Warning, "GOMEMLIMIT is not set")
	expect(t, []Finding{memoryFinding(512<<20, 1<<30)}, Problem, "GOMEMLIMIT is 1.0 GiB")
	expect(t, []Finding{memoryFinding(512<<20, 400<<20)}, Fine, "400 MiB")
	if f := memoryFinding(1000<<20, math.MaxInt64); !strings.Contains(f.Cure, "GOMEMLIMIT=900MiB") {
		t.Error(f.Cure)
	}
	expect(t, []Finding{callsFinding(0, 1<<30)}, Fine, "512 MiB of 1.0 GiB")
	expect(t, []Finding{callsFinding(600<<20, 1<<30)}, Fine, "600 MiB of 1.0 GiB")
	expect(t, []Finding{callsFinding(800<<20, 1<<30)}, Problem, "800 MiB (limits.memory)")
	expect(t, []Finding{callsFinding(config.Off, 1<<30)}, Warning, "all memory")
	root := fstest.MapFS{
		"proc/self/cgroup":                 {Data: []byte("1:name=x:/\n0::/a/b\n")},
		"sys/fs/cgroup/a/b/memory.max":     {Data: []byte("max\n")},
		"sys/fs/cgroup/a/memory.max":       {Data: []byte("1073741824\n")},
		"sys/fs/cgroup/memory.max":         {Data: []byte("2147483648\n")},
		"sys/fs/cgroup/another/memory.max": {Data: []byte("1\n")},
	}
	if got := cgroupLimit(root); got != 1<<30 {
		t.Errorf("limit %d", got)
	}
	if got := cgroupLimit(fstest.MapFS{}); got != math.MaxInt64 {
		t.Errorf("no group: %d", got)
	}
	p := ill(t, "ledger: {spool: 1000000GiB}\n")
	expect(t, lookDisk(t.Context(), p), Warning, "ledger.spool")
	expect(t, lookZones(t.Context(), p), Fine, "known")
	expect(t, []Finding{clock("x", -3*time.Second, time.Second/2)}, Warning, "clock: ")
	expect(t, []Finding{clock("x", time.Hour, 0)}, Problem, "1h0m0s")
	expect(t, []Finding{clock("x", 3*time.Second, 2*time.Second)}, Fine, "x is the same")
}

func TestDoctorOfAStore(t *testing.T) {
	p := ill(t, "")
	look := func() []Finding { return lookStore(t.Context(), p) }
	expect(t, look(), Fine, "not there yet")
	if err := os.Mkdir(p.cfg.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(p.cfg.Data, "sluice.db"), strings.Repeat("no database ", 200), 0o600)
	expect(t, look(), Problem, "not a database")
	if err := os.Remove(filepath.Join(p.cfg.Data, "sluice.db")); err != nil {
		t.Fatal(err)
	}
	db, err := OpenStore(t.Context(), p.cfg, sql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	expect(t, look(), Fine, "all ")
	for _, tc := range []struct {
		in    sql.Inspection
		state State
		text  string
	}{
		{sql.Inspection{Engine: "postgres", Ours: 3}, Problem, "may not make any"},
		{sql.Inspection{Engine: "postgres", Exists: true, Schema: 2, Ours: 3}, Problem, "may not make tables"},
		{sql.Inspection{Exists: true, Schema: 2, Ours: 3}, Fine, "migration 2 of 3"},
		{sql.Inspection{Exists: true, Schema: 9, Least: 2, Ours: 3}, Warning, "newer release"},
		{sql.Inspection{Exists: true, Schema: 9, Least: 9, Ours: 3}, Problem, "needs a release that knows migration 9"},
	} {
		expect(t, []Finding{schemaFinding(&tc.in)}, tc.state, tc.text)
	}
	findings := postgresFindings(&sql.Inspection{Version: "14.2", ReadOnly: true, Used: 95, Most: 97, Latency: 2 * time.Second, Ahead: time.Minute}, 10)
	expect(t, findings, Problem, "takes no writes")
	expect(t, findings, Warning, "older than 15")
	expect(t, findings, Warning, "2 of 97 connections are left")
	expect(t, findings, Warning, "not encrypted")
	expect(t, findings, Problem, "round trip to the store takes 2s")
	expect(t, findings, Problem, "clock: ")
}

func TestDoctorOfPostgres(t *testing.T) {
	s := pgtest.Start(t)
	p := ill(t, "store: {url: \""+s.Database(t)+"\"}\n")
	findings := lookStore(t.Context(), p)
	expect(t, findings, Fine, "the first start makes it")
	expect(t, findings, Fine, "connections are left")
	expect(t, findings, Fine, "clock: that of PostgreSQL")
	s.Kill(t)
	expect(t, lookStore(t.Context(), p), Problem, "PostgreSQL at 127.0.0.1")
	s.Restart(t)
}

func TestDoctorOfRedis(t *testing.T) {
	s := redistest.Own(t).Start(t, "--appendonly", "yes")
	p := ill(t, "redis: {url: \"redis://"+s.Addr+"\"}\n")
	look := func() []Finding { return lookRedis(t.Context(), p) }
	for _, f := range look() {
		if f.State != Fine && !strings.Contains(f.Seen, "round trip") { // the machine may be busy
			t.Errorf("%+v", f)
		}
	}
	s.Do(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	s.Do(t, "CONFIG", "SET", "appendonly", "no")
	expect(t, look(), Problem, "maxmemory-policy is allkeys-lru")
	expect(t, look(), Warning, "appendonly is off")
	s.Do(t, "ACL", "SETUSER", "default", "-@scripting")
	expect(t, look(), Problem, "scripts do not all run")
	s.Kill(t)
	expect(t, look(), Problem, "connect")
	expect(t, lookRedis(t.Context(), ill(t, "")), Skipped, "there is none")

	findings := nodeFindings(&redis.Node{Version: "6.2.1", Role: "slave", MaxMemory: 100 << 20, Used: 95 << 20, Loading: true, Failing: "aof_last_write_status"})
	expect(t, findings, Warning, "95 MiB of 100 MiB")
	expect(t, findings, Warning, "reads its data")
	expect(t, findings, Problem, "aof_last_write_status")
	expect(t, findings, Warning, "tested with Redis 7")
}

func TestDoctorOfProviders(t *testing.T) {
	status, date := http.StatusOK, time.Now()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer of-a-provider" {
			t.Errorf("%s %s with %q: a call that may cost", r.Method, r.URL, r.Header.Get("Authorization"))
		}
		w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"data":[]}`))
	})
	s := httptest.NewServer(h)
	defer s.Close()
	secure := httptest.NewTLSServer(h)
	defer secure.Close()
	look := func(url, more string) []Finding {
		return lookProviders(t.Context(), ill(t, "providers: [{name: up, kind: openai, api_key: of-a-provider, base_url: \""+url+"\""+more+"}]\n"))
	}
	const local = ", allow_private: [127.0.0.1/32]"
	expect(t, look(s.URL, local), Fine, "provider up: ")
	expect(t, look(s.URL, ""), Problem, "127.0.0.1 is in the private range")
	expect(t, look(secure.URL, local), Problem, "is not trusted")
	expect(t, look(strings.Replace(s.URL, "http:", "https:", 1), local), Problem, "does not speak TLS")
	expect(t, look("http://127.0.0.1:1", local), Problem, "cannot be reached")
	expect(t, look(s.URL, local+", proxy: \"http://127.0.0.1:1\""), Problem, "by way of its proxy")
	date = time.Now().Add(-time.Hour)
	expect(t, look(s.URL, local), Problem, "clock: ")
	date = time.Now()
	for code, want := range map[int]Finding{
		401: {State: Problem, Seen: "refuses the credential"}, 429: {State: Warning, Seen: "limits this credential"}, 500: {State: Warning, Seen: "answers with an error"},
		404: {State: Fine, Seen: "answers"},
	} {
		status = code
		expect(t, look(s.URL, local), want.State, want.Seen)
	}
	status = http.StatusInternalServerError
	two := lookProviders(t.Context(), ill(t, "providers: [{name: up, kind: openai, credentials: [{name: a, api_key: of-a-provider}, {name: b, api_key: of-a-provider}], base_url: \""+s.URL+"\""+local+"}]\n"))
	expect(t, two, Warning, "provider up#a")
	expect(t, two, Warning, "provider up#b")
	for text, err := range map[string]error{
		"the name h cannot be resolved": &llm.Error{Kind: llm.KindUpstream, Err: &net.DNSError{Name: "h", Err: "no such host"}},
		"does not answer in time":       &llm.Error{Kind: llm.KindUpstreamTimeout, Err: context.DeadlineExceeded},
	} {
		expect(t, []Finding{answerFinding(err, true, new(watched))}, Problem, text)
	}
}
