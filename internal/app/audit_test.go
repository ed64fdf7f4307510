package app

import (
	"bytes"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"sluice/internal/audit"
	store "sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/pgtest"
)

// A books is the acts of management over a real store, and a connection of somebody else to its database.
type books struct {
	*people
	cfg  *config.Config
	raw  *sql.DB
	root control.Actor
}

// onEngines runs a test over both engines.
func onEngines(t *testing.T, test func(t *testing.T, b *books)) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			cfg := &config.Config{Data: t.TempDir()}
			driver, dsn := "sqlite", "file:"+filepath.Join(cfg.Data, "sluice.db")+"?_busy_timeout=10000"
			if engine == "postgres" {
				cfg.Store.URL = llm.Secret(pgtest.Database(t))
				driver, dsn = "pgx", string(cfg.Store.URL)
			}
			db, err := OpenStore(t.Context(), cfg, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			p, err := openPeople(t.Context(), cfg, db, nil, nil, nil, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := sql.Open(driver, dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = raw.Close() })
			test(t, &books{p, cfg, raw, control.Owner("tests")})
		})
	}
}

func (b *books) do(t *testing.T, statement string) {
	t.Helper()
	if _, err := b.raw.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// break makes every insertion into a table fail, as a full disk or a role without the right would.
func (b *books) breakTable(t *testing.T, table string) {
	t.Helper()
	if b.cfg.Store.URL == "" {
		b.do(t, "CREATE TRIGGER broken_"+table+" BEFORE INSERT ON "+table+" BEGIN SELECT RAISE(ABORT, 'broken by the test'); END")
		return
	}
	b.do(t, "CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken by the test'; END $$")
	b.do(t, "CREATE TRIGGER broken BEFORE INSERT ON "+table+" FOR EACH ROW EXECUTE FUNCTION broken()")
}

func newKey(name string) control.NewKey {
	in := control.NewKey{}
	in.Name, in.Models = control.Some(name), control.Some([]string{"*"})
	return in
}

// What cannot be recorded does not happen: no key is made, changed or deleted, and the answer says why.
func TestUnrecordedDoesNotHappen(t *testing.T) {
	onEngines(t, func(t *testing.T, b *books) {
		ctx, keys := t.Context(), b.control.Keys()
		before, err := keys.Create(ctx, b.root, newKey("before"))
		if err != nil {
			t.Fatal(err)
		}
		b.breakTable(t, "audit_entries")
		unrecorded := func(what string, err error) {
			t.Helper()
			if e := llm.AsError(err); err == nil || e.Kind != llm.KindOverloaded || e.Msg != "the audit log cannot be written, so nothing was changed" {
				t.Errorf("%s: %v, want that it cannot be recorded", what, err)
			}
		}
		made, err := keys.Create(ctx, b.root, newKey("after"))
		unrecorded("create", err)
		if made != nil {
			t.Error("the secret of a key was told that does not exist")
		}
		_, err = keys.Rotate(ctx, b.root, before.ID, control.Rotation{})
		unrecorded("rotate", err)
		_, err = keys.Delete(ctx, b.root, before.ID, 0)
		unrecorded("delete", err)
		_, err = b.control.Audit().Redact(ctx, control.Actor{Role: control.RoleOwner, Fresh: true, Why: "x", Audit: audit.Actor{Kind: "operator"}}, "operator")
		unrecorded("redact", err)
		if err := b.control.Audit().Export(ctx, b.root, control.AuditExport{}, failing{t}); err == nil {
			t.Error("an export that cannot be recorded was made")
		}
		list, err := keys.List(ctx, b.root, control.List{})
		if err != nil || len(list.Data) != 1 || list.Data[0].ID != before.ID || list.Data[0].Version != 1 {
			t.Errorf("the keys are now %+v, %v", list, err)
		}
		if who, err := b.cache.Key(ctx, b.hasher.Key(before.Secret)); err != nil || who == nil {
			t.Errorf("the key of before: %v, %v", who, err)
		}
	})
}

// failing is where nothing may be written.
type failing struct{ t *testing.T }

func (f failing) Write(p []byte) (int, error) {
	f.t.Errorf("written: %.80q", p)
	return len(p), nil
}

// Secrets are nowhere in the log, neither in what is sealed nor around it: not those of new keys, nor of keys that were taken over,
// nor of those in what was refused.
func TestNoSecretIsRecorded(t *testing.T) {
	onEngines(t, func(t *testing.T, b *books) {
		ctx, keys := t.Context(), b.control.Keys()
		var planted []string
		made, err := keys.Create(ctx, b.root, newKey("made"))
		if err != nil {
			t.Fatal(err)
		}
		second, err := keys.Rotate(ctx, b.root, made.ID, control.Rotation{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{made.Secret, second.Secret} {
			planted = append(planted, s, s[strings.LastIndex(s, "-")+1:])
			h := b.hasher.Key(s)
			planted = append(planted, string(h[:]))
		}
		for i := range 20 {
			in := newKey("taken over")
			in.Key = "planted-Zq8vR2mXw7LkT4nYb9HcJ5dGpS3fVeA6uB1x" + string(rune('a'+i))
			planted = append(planted, in.Key)
			if i%2 == 0 {
				in.Models = control.Some([]string{"\x00"}) // refused
			} else {
				in.Name = control.Some("taken over " + string(rune('a'+i)))
			}
			_, err := keys.Create(ctx, b.root, in)
			if (err != nil) != (i%2 == 0) {
				t.Fatalf("key %d: %v", i, err)
			}
		}
		var export bytes.Buffer
		if err := b.control.Audit().Export(ctx, b.root, control.AuditExport{}, &export); err != nil {
			t.Fatal(err)
		}
		report, err := audit.VerifyFile(bytes.NewReader(export.Bytes()), audit.VerifyOptions{Keys: []audit.PublicKey{b.audit.Public()}})
		if err != nil || !report.OK() || report.Readable < 30 || report.Sealed > 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		for _, s := range planted {
			if bytes.Contains(export.Bytes(), []byte(s)) {
				t.Errorf("the log holds a secret of %d characters", len(s))
			}
		}
	})
}

// What people of one organisation do and see is in its chain, and they see no other.
func TestAuditRealms(t *testing.T) {
	onEngines(t, func(t *testing.T, b *books) {
		ctx, log := t.Context(), b.control.Audit()
		in := control.NewOrganisation{}
		in.Name = control.Some("acme")
		acme, err := b.control.Organisations().Create(ctx, b.root, in)
		if err != nil {
			t.Fatal(err)
		}
		theirs := newKey("theirs")
		theirs.Organisation = "acme"
		ours := newKey("ours")
		for _, k := range []control.NewKey{theirs, ours} {
			if _, err := b.control.Keys().Create(ctx, b.root, k); err != nil {
				t.Fatal(err)
			}
		}
		auditor := control.Actor{ID: "aud", Name: "Eve", Role: control.RoleAuditor, Kind: directory.KindOrganisation, Realm: acme.ID, Org: acme.ID, Audit: audit.Actor{ID: "aud", Name: "Eve", Kind: "person"}}
		acts := func(a control.Actor, l control.AuditList) string {
			t.Helper()
			p, err := log.List(ctx, a, l)
			if err != nil {
				return string(llm.AsError(err).Kind)
			}
			var got []string
			for i := range p.Data {
				got = append(got, p.Data[i].Act+" "+p.Data[i].Object.Name)
			}
			return strings.Join(got, ", ")
		}
		for what, test := range map[string]struct {
			who  control.Actor
			l    control.AuditList
			want string
		}{
			"all":                {b.root, control.AuditList{}, "keys.create ours, keys.create theirs, organisations.create acme"},
			"one organisation":   {b.root, control.AuditList{Organisation: "default"}, "keys.create ours"},
			"the gateway":        {b.root, control.AuditList{Organisation: "-"}, ""},
			"one that is gone":   {b.root, control.AuditList{Organisation: "zzzzzzzzzzzz"}, ""},
			"one that never was": {b.root, control.AuditList{Organisation: "nobody"}, string(llm.KindNotFound)},
			"filters":            {b.root, control.AuditList{Act: "keys.*", Limit: 1}, "keys.create ours"},
			"by result":          {b.root, control.AuditList{Result: "maybe"}, string(llm.KindInvalid)},
			"a place":            {b.root, control.AuditList{After: "x"}, string(llm.KindInvalid)},
			"their own":          {auditor, control.AuditList{}, "keys.create theirs, organisations.create acme"},
			"their own, named":   {auditor, control.AuditList{Organisation: "acme"}, "keys.create theirs, organisations.create acme"},
			"another's":          {auditor, control.AuditList{Organisation: "default"}, string(llm.KindNotFound)},
			"another's by id":    {auditor, control.AuditList{Organisation: directory.DefaultOrganisation}, string(llm.KindNotFound)},
			"the gateway's":      {auditor, control.AuditList{Organisation: "-"}, string(llm.KindNotFound)},
			"of a team":          {control.Actor{Role: control.RoleAuditor, Kind: directory.KindTeam, Realm: "t", Org: acme.ID}, control.AuditList{}, string(llm.KindForbidden)},
			"a role without it":  {control.Actor{Role: control.RoleOperator}, control.AuditList{}, string(llm.KindForbidden)},
			"a member":           {control.Actor{Role: control.RoleMember}, control.AuditList{}, string(llm.KindForbidden)},
			"a token without it": {control.Actor{Role: control.RoleOwner, Scopes: []string{"keys.*"}}, control.AuditList{}, string(llm.KindForbidden)},
		} {
			if got := acts(test.who, test.l); got != test.want {
				t.Errorf("%s: %q, want %q", what, got, test.want)
			}
		}
		var export bytes.Buffer
		if err := log.Export(ctx, auditor, control.AuditExport{}, &export); err != nil {
			t.Fatal(err)
		}
		if s := export.String(); !strings.Contains(s, `"audit.export"`) || strings.Contains(s, `"org":"default"`) || strings.Contains(s, "ours") {
			t.Errorf("their export:\n%s", s)
		}
		if got := acts(auditor, control.AuditList{Limit: 1}); got != "audit.export " {
			t.Errorf("the newest act is %q", got)
		}
		refusedRedaction(t, b)
	})
}

// refusedRedaction tries redactions that must not be, and one that must.
func refusedRedaction(t *testing.T, b *books) {
	t.Helper()
	ctx, log := t.Context(), b.control.Audit()
	why := b.root
	why.Why = "they asked"
	stale := why
	stale.Fresh = false
	for what, test := range map[string]struct {
		who     control.Actor
		subject string
		want    llm.Kind
	}{
		"without a reason": {b.root, "aud", llm.KindInvalid},
		"of nobody":        {why, "", llm.KindInvalid},
		"of a stranger":    {why, "nobody", llm.KindNotFound},
		"without a proof":  {stale, "aud", llm.KindForbidden},
		"by an admin":      {control.Actor{Role: control.RoleAdmin, Fresh: true, Why: "x"}, "aud", llm.KindForbidden},
	} {
		if _, err := log.Redact(ctx, test.who, test.subject); err == nil || llm.AsError(err).Kind != test.want {
			t.Errorf("redaction %s: %v, want %s", what, err, test.want)
		}
	}
	if r, err := log.Redact(ctx, why, "aud"); err != nil || r.Keys != 1 {
		t.Errorf("redaction: %+v, %v", r, err)
	}
	p, err := log.List(ctx, b.root, control.AuditList{Act: "audit.redact", Result: "done"})
	if err != nil || len(p.Data) != 1 || p.Data[0].Object.ID != "aud" || p.Data[0].Why != "they asked" {
		t.Errorf("it is recorded as %+v, %v", p, err)
	}
	p, err = log.List(ctx, b.root, control.AuditList{Actor: "aud"})
	if err != nil || len(p.Data) != 1 || !p.Data[0].Redacted || p.Data[0].Actor.Name != "" {
		t.Errorf("what she did is told as %+v, %v", p, err)
	}
}

// The private key is a file for its owner only, made once; another is one that verifiers are told of.
func TestAuditKey(t *testing.T) {
	cfg := &config.Config{Data: t.TempDir()}
	if _, err := OpenAuditKey(cfg, false); err == nil {
		t.Error("a key that nobody made")
	}
	first, err := OpenAuditKey(cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenAuditKey(cfg, true)
	if err != nil || again.Public().ID() != first.Public().ID() {
		t.Errorf("the second time it is %v, %v", again, err)
	}
	if info, err := os.Stat(filepath.Join(cfg.Data, auditKey)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its file: %v, %v", info, err)
	}
	cfg.Audit.Key = llm.Secret(audit.NewSeed())
	given, err := OpenAuditKey(cfg, true)
	if err != nil || given.Public().ID() == first.Public().ID() {
		t.Errorf("a key that was given: %v, %v", given, err)
	}
	cfg.Audit.Key = "changeme"
	if _, err := OpenAuditKey(cfg, true); err == nil || strings.Contains(err.Error(), "changeme") {
		t.Errorf("a bad key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, auditKey), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Audit.Key = ""
	if _, err := OpenAuditKey(cfg, true); err == nil {
		t.Error("a damaged key was replaced")
	}
}

// Two replicas with keys of their own: the second says so, and the log verifies with both.
func TestAuditKeysOfReplicas(t *testing.T) {
	onEngines(t, func(t *testing.T, b *books) {
		ctx := t.Context()
		var said bytes.Buffer
		cfg := *b.cfg
		cfg.Audit = config.Audit{Key: llm.Secret(audit.NewSeed()), Anchor: filepath.Join(t.TempDir(), "anchor")}
		db, err := OpenStore(ctx, b.cfg, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		other, err := openPeople(ctx, &cfg, db, nil, slog.New(slog.NewJSONHandler(&said, nil)), nil, "ann", nil)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said.String(), "audit_key_differs") {
			t.Errorf("it says %s", &said)
		}
		for i, p := range []*people{b.people, other, b.people} {
			if _, err := p.control.Keys().Create(ctx, b.root, newKey(string(rune('a'+i)))); err != nil {
				t.Fatal(err)
			}
			if err := p.closeLocal(ctx); err != nil && i == 1 { // makes a checkpoint
				t.Fatal(err)
			}
		}
		keys := []audit.PublicKey{b.audit.Public(), other.audit.Public()}
		text, err := os.ReadFile(cfg.Audit.Anchor)
		if err != nil {
			t.Fatal(err)
		}
		anchors, err := audit.ReadAnchors(bytes.NewReader(text))
		if err != nil || len(anchors) != 1 || anchors[0].Number != 2 {
			t.Errorf("anchors: %+v, %v", anchors, err)
		}
		inLog, err := audit.ReadAnchors(bytes.NewReader(said.Bytes()))
		if err != nil || len(inLog) != 1 || inLog[0].Hash != anchors[0].Hash {
			t.Errorf("anchors in the log: %+v, %v", inLog, err)
		}
		r, err := audit.VerifyStore(ctx, db.Trail(), audit.VerifyOptions{Keys: keys, Anchors: append(anchors, inLog...)})
		if err != nil || !r.OK() || r.Checkpoints != 3 || r.Anchored != 2 {
			t.Errorf("with both: %+v, %v", r, err)
		}
		r, err = audit.VerifyStore(ctx, db.Trail(), audit.VerifyOptions{Keys: keys[:1]})
		if err != nil || !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return f.Fault == audit.WrongKey && f.Checkpoint == 2 }) {
			t.Errorf("with one: %+v, %v", r, err)
		}
		// Who works on the store itself is told by their name on this machine.
		p, err := b.control.Audit().List(ctx, b.root, control.AuditList{Act: "keys.create"})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := range p.Data {
			names = append(names, p.Data[i].Actor.Name)
		}
		if want := []string{"tests", "ann", "tests"}; !slices.Equal(names, want) {
			t.Errorf("the actors are %q, want %q", names, want)
		}
	})
}

// The gateway makes a checkpoint when it ends, and its metrics tell of the log.
func TestGatewayAudits(t *testing.T) {
	r := newRig(t, "")
	p := r.app.people
	if _, err := p.control.Keys().Create(t.Context(), control.Owner("tests"), newKey("k")); err != nil {
		t.Fatal(err)
	}
	if s := r.app.auditState(); s.Entries["done"] < 1 {
		t.Errorf("metrics: %+v", s)
	}
	p.close() // as the end of the gateway does; a second time is none
	report, err := audit.VerifyStore(t.Context(), r.app.db.Trail(), audit.VerifyOptions{Keys: []audit.PublicKey{p.audit.Public()}})
	if err != nil || !report.OK() || report.Waiting != 0 || report.Checkpoints == 0 {
		t.Errorf("after its end: %+v, %v", report, err)
	}
	if s := r.app.auditState(); s.Age <= 0 {
		t.Errorf("metrics: %+v", s)
	}
}
