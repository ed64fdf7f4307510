package control

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"sluice/internal/audit"
	"sluice/internal/config"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/seal"
	"sluice/internal/settings"
)

// A change makes a new revision of the newest.
type change struct {
	act  Act
	what string       // for the history: create providers/openai
	at   config.Place // zero: the whole document
	base *int64       // that it must be made of; nil: whatever is the newest
	from int64        // of a roll back: the revision whose content it is
	edit func(*config.Settings) (*config.Settings, error)
}

// A draft is a revision that is to be stored.
type draft struct {
	number  int64 // of the newest, of which it was made
	old     *config.Settings
	doc     *config.Settings
	secrets []secret // that are to be sealed
	changes []config.ObjectChange
}

// A secret is a plain value that came with a change.
type secret struct {
	id, place string
	plain     llm.Secret
}

// next is the revision that holds after the draft was stored. One that changes nothing is not.
func (d *draft) next() int64 {
	if len(d.changes) == 0 {
		return d.number
	}
	return d.number + 1
}

// errFaster says that another revision was stored first. Nothing was changed, so it is not recorded.
var errFaster = fmt.Errorf("settings: %w", directory.ErrVersion)

const changeTries = 6

// change does it. It is made and checked before the transaction, in which it is stored if the newest revision still is the one that
// it was made of; else it is made again of the new one.
func (s Settings) change(ctx context.Context, a Actor, c *change) (int64, *config.Settings, error) {
	for try := 1; ; try++ {
		d, err := s.try(ctx, a, c)
		switch {
		case err == nil:
			if len(d.changes) > 0 {
				s.c.o.Settings.Changed()
				s.c.o.Log.Info("settings changed", "event", "settings_changed", "actor", a.Name, "act", string(c.act), "what", c.what, "revision", d.next())
			}
			return d.next(), d.doc, nil
		case !errors.Is(err, errFaster):
			return 0, nil, err
		case try == changeTries || c.base != nil:
			return 0, nil, llm.Errorf(llm.KindConflict, "the settings were changed by somebody else meanwhile: look at them and try again")
		}
	}
}

func (s Settings) try(ctx context.Context, a Actor, c *change) (*draft, error) {
	var d *draft
	err := a.May(c.act)
	if err == nil {
		d, err = s.draft(ctx, c)
	}
	if err == nil {
		if act, more := needs(d.changes); more {
			err = a.May(act)
		}
	}
	if err == nil {
		err = s.check(ctx, d)
	}
	if err == nil && len(d.secrets) > 0 {
		err = s.c.o.Settings.Vault.Ready(ctx)
	}
	return d, s.c.Perform(ctx, a, c.act, func(ctx context.Context, e *audit.Event) error {
		c.tell(e)
		if err != nil {
			return err
		}
		if err := d.tell(e, c); err != nil {
			return err
		}
		return s.keep(ctx, a, c, d)
	})
}

// tell says in an event what is changed.
func (c *change) tell(e *audit.Event) {
	e.Object = audit.Object{Kind: c.at.Kind, ID: c.at.String(), Name: c.at.Name}
	if c.at == (config.Place{}) {
		e.Object = audit.Object{Kind: "settings"}
	}
}

// tell says in an event what is changed, and how. No secret is in it.
func (d *draft) tell(e *audit.Event, c *change) (err error) {
	if c.at != (config.Place{}) {
		e.Before, e.After = d.old.Value(c.at, true), d.doc.Value(c.at, true)
		return nil
	}
	e.Object.ID = fmt.Sprint(d.next())
	e.After, err = json.Marshal(d.changes, json.Deterministic(true))
	return err
}

// keep stores a draft, within a transaction.
func (s Settings) keep(ctx context.Context, a Actor, c *change, d *draft) error {
	if len(d.changes) == 0 {
		return nil
	}
	o := &s.c.o.Settings
	for _, sec := range d.secrets {
		if err := o.Vault.PutAs(ctx, sec.id, purposeOf(sec.place), sec.place, sec.plain); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
	}
	r := settings.Revision{Number: d.next(), Based: d.number, At: s.c.now(), By: a.Name, Act: c.what, Why: a.Why, Document: d.doc.Text()}
	if c.from != 0 {
		r.Based = c.from
	}
	if err := o.Store.Append(ctx, &r); err != nil {
		if errors.Is(err, settings.ErrTaken) {
			return errFaster
		}
		return fmt.Errorf("settings: %w", err)
	}
	if err := o.Vault.Use(ctx, purposes, sealedIDs(d.doc), unusedFor); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return nil
}

func sealedIDs(doc *config.Settings) (ids []string) {
	for _, text := range doc.Secrets() {
		if id := config.SealedID(text); id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// draft makes the next revision of the newest.
func (s Settings) draft(ctx context.Context, c *change) (*draft, error) {
	d := new(draft)
	var err error
	if d.number, d.old, err = s.newest(ctx); err != nil {
		return nil, err
	}
	if c.base != nil && *c.base != d.number {
		return nil, llm.Errorf(llm.KindConflict, "the settings are at revision %d, not at %d any more: plan again", d.number, *c.base)
	}
	next, err := c.edit(d.old)
	if err != nil {
		return nil, err
	}
	if c.from == 0 {
		err = d.take(next)
	} else {
		d.doc = next // it has references only
	}
	if err != nil {
		return nil, err
	}
	if d.changes = config.DiffSettings(d.old, d.doc); len(d.doc.Text()) > maxSettings {
		return nil, llm.Errorf(llm.KindInvalid, "the settings would have more than %d bytes", maxSettings)
	}
	return d, nil
}

const (
	maxSettings = 2 << 20
	maxSecret   = 16 << 10
)

// unchanged are the texts that stand for a secret which is to stay what it is: the one that views have, and one for people.
var unchanged = []string{"***", "(unchanged)"}

// take makes a document that somebody sent the draft's: plain secrets become references to values that are to be sealed.
func (d *draft) take(sent *config.Settings) error {
	var p problems
	was, texts := d.old.Secrets(), map[string]string{}
	for place, text := range sent.Secrets() {
		id := config.SealedID(text)
		switch {
		case text == "" || id == "" && config.IsReference(text) || id != "" && was[place] == text:
		case slices.Contains(unchanged, text):
			if was[place] == "" {
				p.add("/"+place, "is %s, but there is no value that could stay: give one", text)
			}
			texts[place] = was[place]
		case strings.Contains(text, "${"):
			p.add("/"+place, "must be a secret itself or one whole reference: ${NAME}, ${file:/path} or ${vault:MOUNT/PATH#FIELD}")
		case len(text) > maxSecret:
			p.add("/"+place, "has more than %d bytes", maxSecret)
		default:
			sec := secret{seal.NewID(), place, llm.Secret(text)}
			d.secrets, texts[place] = append(d.secrets, sec), config.SealedRef(sec.id)
		}
	}
	d.doc = sent.WithSecrets(texts)
	slices.SortFunc(p, func(a, b llm.Problem) int { return strings.Compare(a.At, b.At) })
	return p.err()
}

// check tells whether a gateway could run on a draft's document, with the keys that there are.
func (s Settings) check(ctx context.Context, d *draft) error {
	open := OpenSealed(ctx, s.c.o.Settings.Vault)
	err := s.c.o.Settings.Check(ctx, d.doc, func(place, id string) (string, error) {
		for _, sec := range d.secrets {
			if sec.id == id && sec.place == place {
				return string(sec.plain), nil
			}
		}
		return open(place, id)
	})
	if err != nil {
		return asProblems(err)
	}
	return s.unguarded(ctx, d)
}

// unguarded refuses to take a guard away that keys or owners name: each of their calls would be refused. All of them are looked through, so it
// is done before the transaction; what is given the guard at that very moment keeps it, and its calls are refused until it is taken from there. One
// that the file has, too, stays.
func (s Settings) unguarded(ctx context.Context, d *draft) error {
	for _, ch := range d.changes {
		if ch.Kind != config.KindGuard || ch.What != "removed" || s.c.o.Settings.Effective().FileHas(ch.Place) {
			continue
		}
		by, err := s.c.guardedBy(ctx, ch.Name)
		if err != nil {
			return err
		}
		if by != "" {
			return llm.Errorf(llm.KindConflict, "the guard %s is named by %s, whose calls would all be refused without it: take it from there first", ch.Name, by)
		}
	}
	return nil
}

var listIndex = regexp.MustCompile(`\[(\d+)\]`)

// asProblems turns what is wrong with a configuration into an answer.
func asProblems(err error) error {
	e, ok := errors.AsType[*config.Error](err)
	if !ok {
		if err != nil && llm.AsError(err).Kind == llm.KindInternal {
			return &llm.Error{Kind: llm.KindInvalid, Msg: "no gateway could run on these settings: " + err.Error()}
		}
		return err
	}
	var p problems
	for _, w := range e.Problems {
		if w.Line == 0 && w.Path != "" {
			p.add("/"+w.File+"/"+strings.ReplaceAll(listIndex.ReplaceAllString(w.Path, "/$1"), ".", "/"), "%s", w.Msg)
		} else {
			p.add("", "%s", w.String())
		}
	}
	return p.err()
}
