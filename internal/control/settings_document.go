package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/audit"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/seal"
	"sluice/internal/settings"
)

// Proposal is what the settings could be: a whole document, as YAML or JSON, or the content of an earlier revision. A secret in a
// document is plain, a reference, or *** for what is there.
type Proposal struct {
	Document string `json:"document,omitzero"`
	Revision int64  `json:"revision,omitzero"` // instead of a document: what a roll back to it would change
}

// Plan is what a document would change.
type Plan struct {
	Base    int64                 `json:"base"` // the revision that it was compared with
	Changes []config.ObjectChange `json:"changes"`
}

// Application is a document that is to be the settings from now on.
type Application struct {
	Document string `json:"document"`
	Base     *int64 `json:"base,omitzero"` // of the plan: with another revision it is refused; left out: whatever is there
	Why      string `json:"why,omitzero"`
}

// Applied is what came of a change of the whole document.
type Applied struct {
	Revision int64                 `json:"revision"`
	Changes  []config.ObjectChange `json:"changes"`
}

// RevisionView is a revision in a list.
type RevisionView struct {
	Number int64     `json:"number"`
	Based  int64     `json:"based"` // the revision that it was made of; of a roll back, the one whose content it has
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Act    string    `json:"act"`
	Why    string    `json:"why,omitzero"`
}

// RevisionDetails is a revision with its document, in which *** stands for secrets, and how it differs from the one before it.
type RevisionDetails struct {
	RevisionView
	Document string                `json:"document"`
	Changes  []config.ObjectChange `json:"changes"`
}

// ConfigView is the configuration that holds.
type ConfigView struct {
	Newest   int64         `json:"newest"`   // revision of the settings; 0: there is none
	Document string        `json:"document"` // all of it, of the file and the store, with defaults; *** stands for secrets
	Replicas []ReplicaView `json:"replicas"`
}

// ReplicaView is what a replica runs on.
type ReplicaView struct {
	ID       string    `json:"id"`
	Revision int64     `json:"revision"`
	Refused  int64     `json:"refused,omitzero"` // a newer one that it could not take up
	Problem  string    `json:"problem,omitzero"`
	Seen     time.Time `json:"seen"`
}

// Plan tells what a document or a roll back would change, or what is wrong with it.
func (s Settings) Plan(ctx context.Context, a Actor, in Proposal) (*Plan, error) {
	if err := a.May("config.plan"); err != nil {
		return nil, err
	}
	c := &change{edit: given(in.Document)}
	switch {
	case in.Revision != 0 && in.Document != "":
		return nil, llm.Errorf(llm.KindInvalid, "plan a document or a revision, not both")
	case in.Revision != 0:
		c = s.rollback(ctx, in.Revision)
	}
	d, err := s.draft(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Plan{Base: d.number, Changes: listed(d.changes)}, s.check(ctx, d)
}

// given is an edit that takes a document whole.
func given(text string) func(*config.Settings) (*config.Settings, error) {
	return func(*config.Settings) (*config.Settings, error) {
		doc, err := config.ParseSettings("document", []byte(text))
		return doc, asProblems(err)
	}
}

func listed(changes []config.ObjectChange) []config.ObjectChange {
	if changes == nil {
		return []config.ObjectChange{}
	}
	return changes
}

// Apply makes a document the settings.
func (s Settings) Apply(ctx context.Context, a Actor, in Application) (*Applied, error) {
	if in.Why != "" {
		a.Why = in.Why
	}
	return s.whole(ctx, a, &change{act: "config.apply", what: "apply", base: in.Base, edit: given(in.Document)})
}

func (s Settings) whole(ctx context.Context, a Actor, c *change) (*Applied, error) {
	if !isText(a.Why) || len(a.Why) > maxValue {
		return nil, llm.Errorf(llm.KindInvalid, "why must be a text of up to %d bytes", maxValue)
	}
	var old *config.Settings
	edit := c.edit
	c.edit = func(doc *config.Settings) (*config.Settings, error) {
		old = doc
		return edit(doc)
	}
	n, doc, err := s.change(ctx, a, c)
	if err != nil {
		return nil, err
	}
	return &Applied{Revision: n, Changes: listed(config.DiffSettings(old, doc))}, nil
}

// Rollback is what a roll back is told.
type Rollback struct {
	Revision int64  `json:"revision"` // whose content is to hold again
	Why      string `json:"why,omitzero"`
}

// Rollback makes the content of an earlier revision the settings again, as a new revision.
func (s Settings) Rollback(ctx context.Context, a Actor, in Rollback) (*Applied, error) {
	if in.Why != "" {
		a.Why = in.Why
	}
	return s.whole(ctx, a, s.rollback(ctx, in.Revision))
}

func (s Settings) rollback(ctx context.Context, number int64) *change {
	c := &change{act: "config.rollback", what: fmt.Sprint("rollback ", number), from: number}
	c.edit = func(*config.Settings) (*config.Settings, error) {
		if number < 1 {
			return nil, llm.Errorf(llm.KindInvalid, "revision must be the number of one; to have none of the settings, apply an empty document")
		}
		_, doc, err := s.revision(ctx, number)
		if err != nil {
			return nil, err
		}
		return doc, s.complete(ctx, number, doc)
	}
	return c
}

// complete refuses a revision of which a secret is gone.
func (s Settings) complete(ctx context.Context, number int64, doc *config.Settings) error {
	var gone []string
	for place, text := range doc.Secrets() {
		id := config.SealedID(text)
		if id == "" {
			continue
		}
		there, err := s.c.o.Settings.Vault.Has(ctx, id)
		if err != nil {
			return fmt.Errorf("settings: %w", err)
		}
		if !there {
			gone = append(gone, place)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	slices.Sort(gone)
	return llm.Errorf(llm.KindConflict, "revision %d needs secrets that were destroyed since nothing used them for %d days: %s; apply its document with new ones",
		number, int(unusedFor/(24*time.Hour)), strings.Join(gone, ", "))
}

// History lists revisions, the newest first. after is a page's Next.
func (s Settings) History(ctx context.Context, a Actor, after string, limit int) (*Page[RevisionView], error) {
	if err := a.May("config.read"); err != nil {
		return nil, err
	}
	var below int64
	if after != "" {
		n, err := strconv.ParseInt(after, 10, 64)
		if err != nil || n < 1 {
			return nil, llm.Errorf(llm.KindInvalid, "after must be what next of a page was")
		}
		below = n
	}
	list, err := s.c.o.Settings.Store.List(ctx, below, limit)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	p := &Page[RevisionView]{Data: make([]RevisionView, len(list))}
	for i := range list {
		p.Data[i] = viewRevision(&list[i])
	}
	if n := len(list); n > 0 && list[n-1].Number > 1 {
		p.Next = fmt.Sprint(list[n-1].Number)
	}
	return p, nil
}

func viewRevision(r *settings.Revision) RevisionView {
	return RevisionView{Number: r.Number, Based: r.Based, At: r.At, By: r.By, Act: r.Act, Why: r.Why}
}

// Revision gives one revision; 0: the newest.
func (s Settings) Revision(ctx context.Context, a Actor, number int64) (*RevisionDetails, error) {
	if err := a.May("config.read"); err != nil {
		return nil, err
	}
	if number == 0 {
		var err error
		if number, err = s.c.o.Settings.Store.Newest(ctx); err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
	}
	r, doc, err := s.revision(ctx, number)
	if err != nil {
		return nil, err
	}
	_, before, err := s.revision(ctx, max(number-1, 0))
	if err != nil {
		return nil, err
	}
	return &RevisionDetails{viewRevision(r), string(doc.Masked().Text()), listed(config.DiffSettings(before, doc))}, nil
}

// Status gives the configuration that holds, and what each replica runs on.
func (s Settings) Status(ctx context.Context, a Actor) (*ConfigView, error) {
	if err := a.May("config.read"); err != nil {
		return nil, err
	}
	o := &s.c.o.Settings
	newest, err := o.Store.Newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	list, err := o.Store.Replicas(ctx)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	v := &ConfigView{Newest: newest, Document: string(o.Effective().Masked()), Replicas: make([]ReplicaView, len(list))}
	for i, r := range list {
		v.Replicas[i] = ReplicaView(r)
	}
	return v, nil
}

// Rotated is what came of a rotation of the keys that secrets are sealed under.
type Rotated struct {
	seal.Rotation
}

// RotateSecrets seals everything that is sealed under a new key, while all replicas go on. It is recorded before it begins, since it
// is many small transactions: others can read and write meanwhile. What came of it is recorded, too.
func (s Settings) RotateSecrets(ctx context.Context, a Actor) (*Rotated, error) {
	return s.rotation(ctx, a, "keys", func() (*Rotated, error) {
		r, err := s.c.o.Settings.Vault.Rotate(ctx)
		if err != nil {
			return nil, err
		}
		return &Rotated{*r}, nil
	})
}

// RewrapSecrets wraps the keys that secrets are sealed under by another key-encryption key. Replicas that have the old one go on until
// they start anew.
func (s Settings) RewrapSecrets(ctx context.Context, a Actor, to seal.KEK) (*Rotated, error) {
	return s.rotation(ctx, a, "key-encryption key", func() (*Rotated, error) {
		return new(Rotated), s.c.o.Settings.Vault.Rewrap(ctx, to)
	})
}

func (s Settings) rotation(ctx context.Context, a Actor, of string, do func() (*Rotated, error)) (*Rotated, error) {
	record := func(detail string, after any, failed error) error {
		return s.c.Perform(ctx, a, "secrets.rotate", func(_ context.Context, e *audit.Event) (err error) {
			e.Object = audit.Object{Kind: "secrets", Name: of}
			e.Detail = detail
			if after != nil && failed == nil {
				e.After, err = json.Marshal(after, json.Deterministic(true))
			}
			return errors.Join(failed, err)
		})
	}
	if err := record("begins", nil, nil); err != nil {
		return nil, err
	}
	r, err := do()
	if err != nil {
		err = llm.Errorf(llm.KindConflict, "%w", err)
	}
	if unrecorded := record("has ended", r, err); err == nil && unrecorded != nil {
		s.c.o.Log.Error("the secrets were rotated, but the end of it is not in the audit log", "event", "audit_lost", "error", unrecorded.Error())
	}
	return r, err
}
