package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/audit"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// Audits are the acts on the audit log itself. Nobody changes it; and who takes it away, or makes something in it unreadable, is in
// it.
type Audits struct{ c *Control }

// Audit gives the acts on the audit log.
func (c *Control) Audit() Audits { return Audits{c} }

// GatewayChain is what stands for the gateway's own chain where an organisation is asked for.
const GatewayChain = "-"

// AuditList says which entries a list has. What is left out does not restrict.
type AuditList struct {
	Organisation string // id or name; GatewayChain: the gateway's own
	Actor        string // id, or kind for those without one: operator, unknown
	Act          string // a glob: keys.*
	Object       string // id
	Result       string
	From, Until  time.Time
	After        string // where an earlier page ended
	Limit        int
}

// List gives entries, the newest first.
func (s Audits) List(ctx context.Context, a Actor, l AuditList) (*audit.Page, error) {
	if err := a.May("audit.read"); err != nil {
		return nil, err
	}
	var p problems
	for at, text := range map[string]string{"/actor": l.Actor, "/act": l.Act, "/object": l.Object, "/organisation": l.Organisation} {
		if !isText(text) || len(text) > 256 {
			p.add(at, "is no text of at most 256 bytes")
		}
	}
	q := audit.Query{Actor: l.Actor, Act: l.Act, Object: l.Object, Result: audit.Result(l.Result), From: l.From, Until: l.Until, Limit: l.Limit}
	switch q.Result {
	case "", audit.Done, audit.Refused, audit.Failed:
	default:
		p.add("/result", "must be %s, %s or %s", audit.Done, audit.Refused, audit.Failed)
	}
	if l.After != "" {
		var err error
		if q.Before, err = audit.ParseCursor(l.After); err != nil {
			p.add("/after", "is not a place that a list of the audit log gave")
		}
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	log, org, err := s.chain(ctx, a, l.Organisation)
	if err != nil {
		return nil, err
	}
	if org != nil {
		q.Orgs = []string{*org}
	}
	return log.List(ctx, q)
}

// chain finds the chain that an actor asks for; nil: all of them, which are theirs. One that is not theirs is not there.
func (s Audits) chain(ctx context.Context, a Actor, asked string) (log *audit.Log, org *string, err error) {
	if log = s.c.o.History; log == nil {
		return nil, nil, errors.New("control has no audit log to read")
	}
	switch a.Kind {
	case "":
	case directory.KindOrganisation:
		if asked == "" {
			asked = a.Realm
		}
	default:
		return nil, nil, llm.Errorf(llm.KindForbidden, "the audit log is one for a whole organisation, and your role is bounded to the %s %s", a.Kind, a.Realm)
	}
	switch {
	case asked == "":
		return log, nil, nil
	case asked == GatewayChain && a.Kind == "":
		return log, new(string), nil
	}
	o, _, _, err := s.c.resolve(ctx, a, asked, "", "")
	if err != nil && llm.AsError(err).Kind == llm.KindNotFound && a.Kind == "" && isID(asked) {
		return log, &asked, nil // an organisation goes, its chain stays
	}
	return log, &o, err
}

// AuditExport says what an export has: whole chains only, since nobody could verify parts of them.
type AuditExport struct {
	Organisation string `json:"organisation,omitzero"` // id or name; GatewayChain: the gateway's own; left out: all chains that the actor may see
	Sealed       bool   `json:"sealed,omitzero"`       // without what is personal, and without the keys to it
}

// Export writes the log as JSON lines for audit.VerifyFile. That it is done is recorded before the first byte is written, and is in it.
func (s Audits) Export(ctx context.Context, a Actor, x AuditExport, w io.Writer) error {
	var log *audit.Log
	var org *string
	err := s.c.Perform(ctx, a, "audit.export", func(ctx context.Context, e *audit.Event) (err error) {
		e.Object = audit.Object{Kind: "audit"}
		if log, org, err = s.chain(ctx, a, x.Organisation); err != nil {
			return err
		}
		if org != nil {
			e.Org, e.Object.ID = *org, *org
		}
		e.After, err = json.Marshal(x)
		return err
	})
	if err != nil {
		return err
	}
	return log.Export(ctx, audit.ExportFilter{Org: org, Sealed: x.Sealed}, w)
}

// NoteAuditKey is the note of the store with the public key of the first gateway. Another one that signs with a key of its own has
// the note of this name and, after a space, that key's id.
const NoteAuditKey = "audit_key"

// AuditKeys are public keys that gateways said they sign with. They are for comparison only: whoever has the store, or the gateway,
// can tell others.
type AuditKeys struct {
	Signing string   `json:"signing"` // that of the gateway that answers
	Keys    []string `json:"keys"`    // it and that of the first gateway, which comes first
}

// Keys tells the public keys.
func (s Audits) Keys(ctx context.Context, a Actor) (*AuditKeys, error) {
	if err := a.May("audit.read"); err != nil {
		return nil, err
	}
	if s.c.o.History == nil {
		return nil, errors.New("control has no audit log to read")
	}
	first, err := s.c.o.Store.Note(ctx, NoteAuditKey, "")
	if err != nil {
		return nil, fmt.Errorf("audit keys: %w", err)
	}
	out := &AuditKeys{Signing: s.c.o.History.Public().String(), Keys: []string{}}
	if first != "" {
		out.Keys = append(out.Keys, first)
	}
	if first != out.Signing {
		out.Keys = append(out.Keys, out.Signing)
	}
	return out, nil
}

// A Redaction is what came of one.
type Redaction struct {
	Subject string `json:"subject"`
	Keys    int    `json:"keys"` // that were destroyed
}

// Redact makes unreadable what the log has about a subject, for good: the id of an account, user or token, or what docs/audit.md
// names. The actor must say why.
func (s Audits) Redact(ctx context.Context, a Actor, subject string) (*Redaction, error) {
	out := &Redaction{Subject: subject}
	err := s.c.Perform(ctx, a, "audit.redact", func(ctx context.Context, e *audit.Event) (err error) {
		e.Object = audit.Object{Kind: "subject", ID: subject}
		switch {
		case s.c.o.History == nil:
			return errors.New("control has no audit log")
		case a.Why == "":
			return problems{{At: "/why", Msg: "is missing: say why, so that others can tell later"}}.err()
		case subject == "" || !isText(subject):
			return problems{{At: "/subject", Msg: "is missing, or no text"}}.err()
		}
		if out.Keys, err = s.c.o.History.Redact(ctx, subject); err != nil {
			return err
		}
		if out.Keys == 0 {
			return llm.Errorf(llm.KindNotFound, "the audit log has nothing readable about %q: give the id of an account, user or token, as the log has it", clip(subject))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
