package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice/internal/pgtest"
)

// historic is a gateway that has ended, with an audit log of two chains and several checkpoints, and an anchor beside it.
func historic(t *testing.T) (o *office, public string) {
	t.Helper()
	o = newOffice(t, "", 1, sharedKEK+"audit: {anchor: anchor.jsonl}\n")
	o.must(0, "organisations", "create", "acme")
	for i := range 4 {
		o.must(0, "keys", "create", fmt.Sprint("theirs", i), "--organisation", "acme")
		for j := range 3 { // of the organisation default: entries 1 to 12 of its chain, three for each checkpoint
			o.must(0, "keys", "create", fmt.Sprint("ours", i, j))
		}
		o.must(0, "audit", "export", "--output", "part.jsonl") // which makes a checkpoint
	}
	public = strings.TrimSpace(o.must(0, "audit", "keys"))
	o.all[0].stop()
	return o, public
}

// owner takes away what keeps the log from changing, as whoever owns the database's file can.
var owner = func() (all []string) {
	for table, triggers := range map[string]string{"audit_entries": "no_update no_delete no_replace", "audit_checkpoints": "no_update no_delete no_replace", "audit_heads": "no_update no_delete no_replace"} {
		for trigger := range strings.FieldsSeq(triggers) {
			all = append(all, "DROP TRIGGER "+table+"_"+trigger)
		}
	}
	return all
}()

// gone and latest are what a truncation takes first.
const (
	gone   = "(SELECT max(number) FROM audit_checkpoints)"
	latest = "(SELECT max(seq) FROM audit_entries WHERE org = 'default')"
)

// storeTampers are what can be done to the log with plain SQL, and the fault that must be among those that are found.
var storeTampers = []struct{ name, fault, sql string }{
	{"edit", "edited", "UPDATE audit_entries SET act = 'keys.read' WHERE org = 'default' AND seq = 5"},
	{"edit who", "edited", "UPDATE audit_entries SET actor_id = 'somebody' WHERE org = 'default' AND seq = 5"},
	{"edit what is sealed", "edited", "UPDATE audit_entries SET said = x'00' WHERE org = 'default' AND seq = 5"},
	{"delete", "missing", "DELETE FROM audit_entries WHERE org = 'default' AND seq = 5"},
	{"delete the first", "missing", "DELETE FROM audit_entries WHERE org = 'default' AND seq = 1"},
	{"insert at the end", "edited", "INSERT INTO audit_entries SELECT org, seq + 1, version, at, behind, actor_kind, actor_id, act, object_kind, object_id, result, request, said_key, said, changed_key, changed, hash, hash FROM audit_entries WHERE org = 'default' AND seq = " + latest},
	{"insert in a chain of its own", "edited", "INSERT INTO audit_entries SELECT 'ghost', 1, version, at, behind, actor_kind, actor_id, act, object_kind, object_id, result, request, said_key, said, changed_key, changed, prev, hash FROM audit_entries WHERE org = 'default' AND seq = 1"},
	{"reorder", "edited", "UPDATE audit_entries SET seq = CASE seq WHEN 5 THEN 100005 ELSE seq END WHERE org = 'default'; UPDATE audit_entries SET seq = 5 WHERE org = 'default' AND seq = 4; UPDATE audit_entries SET seq = 4 WHERE seq = 100005"},
	{"truncate", "truncated", "DELETE FROM audit_entries WHERE org = 'default' AND seq = " + latest},
	{"truncate a chain", "truncated", "DELETE FROM audit_entries WHERE org NOT IN ('', 'default')"},
	{"truncate all", "truncated", "DELETE FROM audit_entries"},
	{"truncate all, with the checkpoints", "truncated", "DELETE FROM audit_entries; DELETE FROM audit_heads; DELETE FROM audit_checkpoints"},
	{"swap chains", "edited", "UPDATE audit_entries SET org = 'swap' WHERE org = 'default'"},
	{"swap contents", "edited", "UPDATE audit_entries SET said = (SELECT said FROM audit_entries WHERE org = 'default' AND seq = 4) WHERE org = 'default' AND seq = 5"},
	{"clock back", "clock_back", "UPDATE audit_entries SET at = at - 3600000000 WHERE org = 'default' AND seq = " + latest},
	{"clock back of a checkpoint", "clock_back", "UPDATE audit_checkpoints SET at = at - 3600000000 WHERE number = " + gone},
	{"edit a head", "edited", "UPDATE audit_heads SET seq = seq - 1 WHERE number = 2 AND org = 'default'"},
	{"delete a checkpoint", "missing", "DELETE FROM audit_heads WHERE number = 2; DELETE FROM audit_checkpoints WHERE number = 2"},
	{"name another key", "edited", "UPDATE audit_checkpoints SET key_id = '0011223344556677' WHERE number = 2"},
	{"forge", "forged", "UPDATE audit_checkpoints SET signature = x'" + strings.Repeat("00", 64) + "' WHERE number = 2"},
	// Only an anchor knows that there was more.
	{"truncate with the checkpoint that covers it", "anchor: truncated", "DELETE FROM audit_entries WHERE EXISTS (SELECT 1 FROM audit_heads h WHERE h.number = " + gone + " AND h.org = audit_entries.org) AND seq > coalesce((SELECT max(h.seq) FROM audit_heads h WHERE h.org = audit_entries.org AND h.number < " + gone + "), 0); " +
		"DELETE FROM audit_heads WHERE number = " + gone + "; DELETE FROM audit_checkpoints WHERE number = " + gone},
}

// verify runs audit verify, and gives what was found.
func verify(t *testing.T, g *gateway, args ...string) (faults []string, code int) {
	t.Helper()
	out, errs, code := g.command(t, append([]string{"audit", "verify", "--json"}, args...)...)
	var report struct{ Findings []struct{ Fault string } }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("audit verify %v: code %d: %s%s", args, code, out, errs)
	}
	for _, f := range report.Findings {
		faults = append(faults, f.Fault)
	}
	return faults, code
}

// TestTamperedStore: whoever owns the database's file can change the log in it, and each change is found (S36).
func TestTamperedStore(t *testing.T) {
	o, _ := historic(t)
	g := o.all[0]
	database := filepath.Join(g.dir, "data", "sluice.db")
	whole, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	store := []string{"--store", "--config", "sluice.yaml"}
	anchored := append(slices.Clone(store), "--anchor", "anchor.jsonl")
	for _, args := range [][]string{store, anchored} {
		if faults, code := verify(t, g, args...); code != 0 || len(faults) > 0 {
			t.Fatalf("what nobody changed: %d %v", code, faults)
		}
	}
	for _, c := range storeTampers {
		t.Run(c.name, func(t *testing.T) {
			for _, suffix := range []string{"-wal", "-shm"} {
				_ = os.Remove(database + suffix)
			}
			if err := os.WriteFile(database, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			o.t = t
			o.do(append(slices.Clone(owner), c.sql)...)
			args, want := store, c.fault
			if rest, only := strings.CutPrefix(c.fault, "anchor: "); only {
				if faults, code := verify(t, g, store...); code != 0 {
					t.Errorf("without an anchor: %d %v; the documentation says that nobody can tell", code, faults)
				}
				args, want = anchored, rest
			}
			if faults, code := verify(t, g, args...); code != 3 || !slices.Contains(faults, want) {
				t.Errorf("code %d, found %v, want %s", code, faults, want)
			}
		})
	}
}

// TestTamperedExport: a stranger who has an export and the public key finds what was done to the file, with no configuration and no
// network.
func TestTamperedExport(t *testing.T) {
	o, public := historic(t)
	other, foreign := historic(t)
	g := o.all[0]
	export := func(o *office, args ...string) [][]byte {
		t.Helper()
		args = append([]string{"audit", "export", "--local", "--config", "sluice.yaml"}, args...)
		return bytes.SplitAfter([]byte(o.must(0, args...)), []byte("\n"))
	}
	lines := export(o)
	lines = lines[:len(lines)-1]
	theirs := export(o, "--organisation", "acme")
	stranger := &gateway{dir: t.TempDir()}
	file := filepath.Join(stranger.dir, "log.jsonl")
	check := func(t *testing.T, keyText string, lines [][]byte) ([]string, int) {
		t.Helper()
		if err := os.WriteFile(file, bytes.Join(lines, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		return verify(t, stranger, file, "--key", keyText)
	}
	for _, whole := range [][][]byte{lines, theirs, export(o, "--sealed"), export(other, "--organisation", "-")} {
		k := public
		if len(whole) > 0 && bytes.Equal(whole[0], export(other, "--organisation", "-")[0]) {
			k = foreign
		}
		if faults, code := check(t, k, whole); code != 0 {
			t.Fatalf("what nobody changed: %d %v", code, faults)
		}
	}
	at := func(text string) int {
		return slices.IndexFunc(lines, func(l []byte) bool { return bytes.Contains(l, []byte(text)) })
	}
	fifth := at(`"org":"default","seq":5,`)
	edit := func(i int, old, with string) [][]byte {
		next := slices.Clone(lines)
		next[i] = bytes.Replace(next[i], []byte(old), []byte(with), 1)
		if bytes.Equal(next[i], lines[i]) {
			t.Fatalf("line %d has no %s", i, old)
		}
		return next
	}
	for _, c := range []struct {
		name, fault string
		lines       [][]byte
	}{
		{"edit", "edited", edit(fifth, `"act":"`, `"act":"x`)},
		{"edit what is in plain", "content", edit(fifth, `"plain":{"name":"`, `"plain":{"name":"x`)},
		{"edit the form", "malformed", edit(fifth, `{"entry":`, `{ "entry":`)},
		{"delete", "missing", slices.Delete(slices.Clone(lines), fifth, fifth+1)},
		{"delete a checkpoint", "missing", slices.Delete(slices.Clone(lines), at(`"number":2,`), at(`"number":2,`)+1)},
		{"insert", "misplaced", slices.Insert(slices.Clone(lines), fifth, lines[fifth])},
		{"reorder", "misplaced", append(append(slices.Clone(lines[:fifth]), lines[fifth+1], lines[fifth]), lines[fifth+2:]...)},
		{"truncate", "uncovered", lines[:len(lines)-1]},
		{"cut off", "malformed", append(slices.Clone(lines[:len(lines)-1]), lines[len(lines)-1][:20])},
		{"truncate all", "truncated", nil},
		{"swap with another gateway's", "wrong_key", export(other)},
		{"clock back", "clock_back", edit(fifth, `"at":"20`, `"at":"19`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if faults, code := check(t, public, c.lines); code != 3 || !slices.Contains(faults, c.fault) {
				t.Errorf("code %d, found %v, want %s", code, faults, c.fault)
			}
		})
	}
	// It ends at an earlier checkpoint: whole as such, and too short for an anchor.
	short := lines[:at(`"number":3,`)+1]
	if faults, code := check(t, public, short); code != 0 {
		t.Errorf("an earlier export: %d %v", code, faults)
	}
	if faults, code := verify(t, stranger, file, "--key", public, "--anchor", filepath.Join(g.dir, "anchor.jsonl")); code != 3 || !slices.Contains(faults, "truncated") {
		t.Errorf("an earlier export, with an anchor: %d %v", code, faults)
	}
}

// TestAuditOutlivesACrash: killed at any moment between acts and checkpoints, the log has each act that was answered for and nothing of
// one that did not happen, and the next start covers it.
func TestAuditOutlivesACrash(t *testing.T) {
	onStores(t, func(t *testing.T, dsn string, _ int) {
		rnd := rand.New(rand.NewPCG(seedOf(t), 5))
		o := newOffice(t, dsn, 1, sharedKEK)
		made := 0
		for round := range sized(4, 20) {
			kill := 1 + rnd.IntN(12)
			for n := range kill {
				if status, out := operate(t, o.all[0], http.MethodPost, "/admin/keys", fmt.Sprintf(`{"name":"k%d-%d"}`, round, n)); status != http.StatusCreated {
					t.Fatalf("%d %s", status, out)
				}
				made++
			}
			o.all.kill()
			if faults, code := verify(t, o.all[0], "--store", "--config", "sluice.yaml"); code != 0 {
				t.Fatalf("after a crash: %d %v", code, faults)
			}
			o.start(0)
		}
		acts := 0
		for line := range strings.Lines(o.must(0, "audit", "list", "--act", "keys.create", "--result", "done", "--limit", "100000", "--json")) {
			if !strings.Contains(line, `"act":"keys.create"`) {
				t.Fatalf("it lists %s", line)
			}
			acts++
		}
		var keys []struct{ Name string }
		if err := json.Unmarshal([]byte(o.must(0, "keys", "list", "--json", "--limit", "100000")), &keys); err != nil {
			t.Fatal(err)
		}
		if acts != made || len(keys) != made {
			t.Errorf("%d acts were answered for; %d are in the log, and %d keys are there", made, acts, len(keys))
		}
		o.all[0].stop()
		out, errs, code := o.all[0].command(t, "audit", "verify", "--store", "--config", "sluice.yaml")
		if code != 0 || strings.Contains(out, "wait for the next") {
			t.Errorf("after the end: %d %s%s", code, out, errs)
		}
	})
}

// unwritable tries acts of all sorts while the audit log cannot be written: each ends with 503 and nothing has happened, while calls go
// on.
func (o *office) unwritable(what string) {
	o.t.Helper()
	see := func() string {
		o.t.Helper()
		return strings.Join([]string{o.must(0, "keys", "list", "--json"), o.must(0, "config", "history", "--json"), o.must(0, "config", "show"), fmt.Sprint(o.keysets())}, "\n")
	}
	before := see()
	for _, c := range [][3]string{
		{http.MethodPost, "/admin/keys", `{"name":"unheard"}`},
		{http.MethodPost, "/admin/keys/stays/rotate", `{}`},
		{http.MethodDelete, "/admin/keys/stays", ""},
		{http.MethodPost, "/admin/models", `{"value":{"name":"unheard","provider":"stored","model":"x"}}`},
		{http.MethodPatch, "/admin/providers/stored", `{"value":{"api_key":"unheard"}}`},
		{http.MethodPost, "/admin/config/apply", `{"document":"{}"}`},
		{http.MethodPost, "/admin/config/rollback", `{"revision":1}`},
		{http.MethodPost, "/admin/secrets/rotate", `{}`},
		{http.MethodGet, "/admin/audit/export", ""},
		{http.MethodPost, "/admin/audit/redact", `{"subject":"operator","why":"x"}`},
		{http.MethodPost, "/admin/upstreams", `{"deployment":"stored/echo","action":"disable"}`},
	} {
		if status, out := operate(o.t, o.all[0], c[0], c[1], c[2]); status != http.StatusServiceUnavailable {
			o.t.Errorf("%s: %s %s: %d %s", what, c[0], c[1], status, out)
		}
	}
	if after := see(); after != before {
		o.t.Errorf("%s: something changed:\n%s\nwas\n%s", what, after, before)
	}
	o.serves(0, "stored", http.StatusOK)
	o.serves(0, "unheard", http.StatusNotFound)
}

// TestUnwritableAudit: if the audit log cannot be written, the act does not happen.
func TestUnwritableAudit(t *testing.T) {
	onStores(t, func(t *testing.T, dsn string, _ int) {
		o := newOffice(t, dsn, 1, sharedKEK)
		o.stock()
		o.must(0, "keys", "create", "stays")
		breaks, mends := "CREATE TRIGGER broken BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'broken by the test'); END", "DROP TRIGGER broken"
		if dsn != "" {
			o.do("CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken by the test'; END $$")
			breaks, mends = "CREATE TRIGGER broken BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION broken()", "DROP TRIGGER broken ON audit_entries"
		}
		o.do(breaks)
		o.unwritable("a trigger refuses")
		o.do(mends)
		o.must(0, "keys", "create", "heard")
	})
	t.Run("disk full", func(t *testing.T) {
		dir := t.TempDir()
		data := filepath.Join(dir, "data")
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("sluice-e2e", data, "tmpfs", 0, "size=32m"); err != nil {
			t.Skipf("NOT TESTED: a full disk: a small file system cannot be mounted here: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })
		o := newOffice(t, "", 0, sharedKEK)
		o.dirs, o.all = []string{dir}, crew{nil}
		o.start(0)
		o.must(0, "keys", "create", "before")
		ballast := filepath.Join(data, "ballast")
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
		_ = f.Close()
		// The store has some room of its own left; at its end acts are refused, and nothing of them is kept.
		made, refused := 0, 0
		for i := 0; i < 2000 && refused < 5; i++ {
			switch status, out := operate(t, o.all[0], http.MethodPost, "/admin/keys", fmt.Sprintf(`{"name":"full%d"}`, i)); status {
			case http.StatusCreated:
				made++
			case http.StatusServiceUnavailable:
				refused++
			default:
				t.Fatalf("%d %s", status, out)
			}
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if refused == 0 {
			t.Fatal("the disk was never full")
		}
		o.must(0, "keys", "create", "after")
		acts := strings.Count(o.must(0, "audit", "list", "--act", "keys.create", "--result", "done", "--limit", "100000", "--json"), "\n")
		keys := strings.Count(o.must(0, "keys", "list", "--limit", "100000"), "\n") - 1
		if want := made + 2; acts != want || keys != want {
			t.Errorf("%d keys were answered for; %d are in the log, and %d are there", want, acts, keys)
		}
		t.Logf("%d acts until the disk was full, then %d refused", made, refused)
	})
}

// TestGatewayRole: with the role of docs/audit.md, which may only add to the log, a gateway does all its work; what is left for the
// owner is a redaction.
func TestGatewayRole(t *testing.T) {
	dsn := pgtest.Database(t)
	o := newOffice(t, dsn, 1, sharedKEK)
	o.must(0, "keys", "create", "first")
	o.all[0].stop()
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```sql\n")
	script, _, ended := strings.Cut(rest, "```")
	if !ended {
		t.Fatal("docs/audit.md has no script")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	role := "g" + strings.TrimPrefix(u.Path, "/t")
	o.do(strings.NewReplacer("sluice_gateway", role, "'CHANGE ME'", "'not a secret here'").Replace(script))
	t.Cleanup(func() {
		for _, g := range o.all {
			g.stop()
		}
		o.t, o.dsn = t, dsn
		db := o.database()
		defer db.Close()
		for _, q := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
			if _, err := db.ExecContext(context.WithoutCancel(t.Context()), q); err != nil {
				t.Error(err)
			}
		}
	})
	u.User = url.UserPassword(role, "not a secret here")
	ownersFile := filepath.Join(o.dirs[0], "owner.yaml")
	text, err := os.ReadFile(filepath.Join(o.dirs[0], "sluice.yaml"))
	if err == nil {
		err = os.WriteFile(ownersFile, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.config = strings.Replace(o.config, fmt.Sprintf("%q", dsn), fmt.Sprintf("%q", u.String()), 1)
	o.start(0)
	o.stock()
	o.serves(0, "stored", http.StatusOK)
	o.must(0, "keys", "rotate", "first")
	o.must(0, "secrets", "rotate")
	o.must(0, "config", "rollback", "1", "--yes")
	o.must(0, "usage", "--by", "model")
	public := strings.TrimSpace(o.must(0, "audit", "keys"))
	o.must(0, "audit", "export", "--output", "log.jsonl")
	if faults, code := verify(t, o.all[0], filepath.Join(o.all[0].dir, "log.jsonl"), "--key", public); code != 0 {
		t.Errorf("its log: %d %v", code, faults)
	}
	if _, errs, code := o.sluice(0, "audit", "redact", "operator", "--why", "x", "--yes"); code == 0 {
		t.Errorf("it redacts: %s", errs)
	}
	db := (&office{t: t, dsn: u.String()}).database()
	defer db.Close()
	for _, table := range []string{"audit_entries", "audit_checkpoints", "audit_heads", "audit_keys"} {
		for _, q := range []string{"DELETE FROM " + table, "TRUNCATE " + table + " CASCADE", "DROP TABLE " + table + " CASCADE", "ALTER TABLE " + table + " DISABLE TRIGGER ALL"} {
			if _, err := db.ExecContext(t.Context(), q); err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s: %v, want insufficient_privilege", q, err)
			}
		}
	}
	for _, q := range []string{"UPDATE audit_entries SET act = act", "UPDATE audit_checkpoints SET at = at", "UPDATE audit_heads SET seq = seq", "UPDATE audit_keys SET subject = subject"} {
		if _, err := db.ExecContext(t.Context(), q); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v, want insufficient_privilege", q, err)
		}
	}
	// The owner redacts, past the gateway that runs.
	o.must(0, "audit", "redact", "operator", "--why", "a request", "--yes", "--local", "--config", ownersFile)
	if out := o.must(0, "audit", "list", "--limit", "100"); !strings.Contains(out, "(redacted)") || !strings.Contains(out, "a request") {
		t.Errorf("after the redaction it lists %s", out)
	}
	o.all[0].stop()
	if faults, code := verify(t, o.all[0], "--store", "--config", "sluice.yaml"); code != 0 {
		t.Errorf("after all: %d %v", code, faults)
	}
}
