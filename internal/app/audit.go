package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"sluice/internal/atomicfile"
	"sluice/internal/audit"
	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/telemetry"
)

// auditKey is the file of the data directory with the private key that signs checkpoints.
const auditKey = "audit.key"

// OpenAuditKey reads the private key of the audit log that a configuration means. One in the data directory is made where it is
// missing, if create says so.
func OpenAuditKey(cfg *config.Config, create bool) (*audit.Signer, error) {
	if cfg.Audit.Key != "" {
		s, err := audit.NewSigner(string(cfg.Audit.Key))
		if err != nil {
			return nil, fmt.Errorf("audit.key: %w", err)
		}
		return s, nil
	}
	path := filepath.Join(cfg.Data, auditKey)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := atomicfile.Create(path, []byte(audit.NewSeed()+"\n")); err != nil && !errors.Is(err, fs.ErrExist) { // another process may be first
			return nil, fmt.Errorf("make the key of the audit log: %w", err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of the audit log: %w", err)
	}
	s, err := audit.NewSigner(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// openAudit opens the audit log in a store. The file of anchors is nil where there is none; whoever opens the log closes it.
func openAudit(cfg *config.Config, db *sql.DB, hasher *auth.Hasher, log *slog.Logger) (l *audit.Log, anchors *os.File, err error) {
	o := audit.Options{Store: db.Trail(), Log: log}
	if o.Signer, err = OpenAuditKey(cfg, true); err != nil {
		return nil, nil, err
	}
	if o.Wrap, err = hasher.Derive("audit data keys"); err != nil {
		return nil, nil, err
	}
	if cfg.Audit.Anchor != "" {
		anchors, err = os.OpenFile(cfg.Audit.Anchor, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("audit.anchor: %w", err)
		}
		o.Anchor = synced{anchors}
	}
	l, err = audit.New(o)
	return l, anchors, err
}

// noteAudit keeps in the store which public key the first gateway had, and says so when this one has another.
func noteAudit(ctx context.Context, store directory.Store, mine audit.PublicKey, log *slog.Logger) error {
	first, err := store.Note(ctx, control.NoteAuditKey, mine.String())
	if err == nil && first != mine.String() {
		_, err = store.Note(ctx, control.NoteAuditKey+" "+mine.ID(), mine.String())
		if log != nil {
			log.Warn("this gateway signs the audit log with another key than the first one did: whoever verifies it needs both; audit.key gives replicas the same one",
				"event", "audit_key_differs", "first", first, "mine", mine.String())
		}
	}
	if err != nil {
		return fmt.Errorf("note the key of the audit log: %w", err)
	}
	return nil
}

// synced writes to a file so that it outlives a crash of the machine.
type synced struct{ *os.File }

func (s synced) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	if err == nil {
		err = s.Sync()
	}
	return n, err
}

// auditState is what metrics tell of the audit log.
func (a *App) auditState() telemetry.AuditState {
	s := a.people.audit.Stats()
	out := telemetry.AuditState{Entries: map[string]int64{}}
	for r, n := range s.Recorded {
		out.Entries[string(r)] = n
	}
	if !s.Newest.IsZero() {
		out.Age = time.Since(s.Newest)
	}
	return out
}

// byUser records who works on the store itself as who they are on this machine.
type byUser struct {
	audit.Recorder
	name string
}

// Record implements audit.Recorder.
func (b byUser) Record(ctx context.Context, e *audit.Event) error {
	if e.Actor.Kind != "operator" {
		return b.Recorder.Record(ctx, e)
	}
	mine := *e
	mine.Actor.Name = b.name
	return b.Recorder.Record(ctx, &mine)
}

// systemUser is whom the operating system says we are.
func systemUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "user " + strconv.Itoa(os.Getuid())
}

// VerifyStore verifies the audit log in the store that a configuration names, and changes nothing. Without keys it takes the one
// of the configuration.
func VerifyStore(ctx context.Context, o Options, v audit.VerifyOptions) (*audit.Report, error) {
	_, cfg, db, err := openLocal(ctx, o, false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // it was only read
	if len(v.Keys) == 0 {
		s, err := OpenAuditKey(cfg, false)
		if err != nil {
			return nil, fmt.Errorf("no public key was given: %w", err)
		}
		v.Keys = []audit.PublicKey{s.Public()}
	}
	v.Now = time.Now()
	return audit.VerifyStore(ctx, db.Trail(), v)
}
