package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/config"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/seal"
	"sluice/internal/settings"
)

// SettingsOptions say what the acts on settings work with.
type SettingsOptions struct {
	Store settings.Store
	Vault *seal.Vault

	// Effective is the configuration that this replica runs on, of the file and the store.
	Effective func() *config.Config
	// Check tells whether a gateway could run on the file with this document. open gives the sealed values. It changes nothing.
	Check func(ctx context.Context, doc *config.Settings, open func(place, id string) (string, error)) error
	// Changed is told of a new revision, after it was stored.
	Changed func()
}

// Settings are the acts on the objects of the configuration that are kept in the store (providers, their credentials, models, their
// deployments, rules) and on their document as a whole.
type Settings struct{ c *Control }

// Settings gives the acts on settings.
func (c *Control) Settings() Settings { return Settings{c} }

// An Object is one object of the configuration, of the file or of the store.
type Object struct {
	config.Place
	Source   string         `json:"source"`            // file or store
	ReadOnly bool           `json:"read_only"`         // those of the file are
	ETag     string         `json:"etag,omitzero"`     // of one of the store: of its present form
	Value    jsontext.Value `json:"value"`             // as sluice.yaml has it; *** stands for secrets
	Revision int64          `json:"revision,omitzero"` // that an act made
}

// NewObject is what an object is made of, its name included: as in sluice.yaml.
type NewObject struct {
	Value jsontext.Value `json:"value"`
}

// ObjectUpdate is a change of an object, as a JSON merge patch (RFC 7396): what is left out stays, null takes away. A secret that is
// *** stays what it is.
type ObjectUpdate struct {
	ETag  string         `json:"etag,omitzero"` // of what was read; "": whatever is there
	Value jsontext.Value `json:"value"`
}

// ObjectRemoval is what a deletion may say.
type ObjectRemoval struct {
	ETag string `json:"etag,omitzero"` // of what was read; "": whatever is there
}

// purposes are those of the secrets that settings have.
var purposes = []seal.Purpose{seal.Credential, seal.Header, seal.Proxy}

// purposeOf is what the secret of a place is for.
func purposeOf(place string) seal.Purpose {
	switch parts := strings.Split(place, "/"); {
	case len(parts) > 2 && parts[2] == "headers":
		return seal.Header
	case len(parts) > 2 && parts[2] == "proxy":
		return seal.Proxy
	}
	return seal.Credential
}

// OpenSealed gives the sealed values of settings by their place, for config.Options.
func OpenSealed(ctx context.Context, v *seal.Vault) func(place, id string) (string, error) {
	return func(place, id string) (string, error) {
		plain, err := v.Get(ctx, purposeOf(place), place, id)
		if errors.Is(err, seal.ErrNotFound) {
			return "", errors.New("its value was destroyed: give it anew")
		}
		return string(plain), err
	}
}

// unusedFor is for how long a secret is kept that the newest revision does not use: so long it can be rolled back to.
const unusedFor = 30 * 24 * time.Hour

// newest is the newest revision's number and document, in one question.
func (s Settings) newest(ctx context.Context) (int64, *config.Settings, error) {
	r, err := s.c.o.Settings.Store.Get(ctx, 0)
	if errors.Is(err, settings.ErrNotFound) {
		_, doc, err := s.revision(ctx, 0)
		return 0, doc, err
	}
	if err != nil {
		return 0, nil, fmt.Errorf("settings: %w", err)
	}
	doc, err := config.ParseSettings(fmt.Sprintf("revision %d", r.Number), r.Document)
	return r.Number, doc, err
}

// revision is one revision and its document. 0 is that of the time before there were any.
func (s Settings) revision(ctx context.Context, n int64) (*settings.Revision, *config.Settings, error) {
	if n == 0 {
		doc, err := config.ParseSettings("settings", nil)
		return &settings.Revision{}, doc, err
	}
	r, err := s.c.o.Settings.Store.Get(ctx, n)
	if errors.Is(err, settings.ErrNotFound) {
		return nil, nil, llm.Errorf(llm.KindNotFound, "settings: there is no revision %d", n)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("settings: %w", err)
	}
	doc, err := config.ParseSettings(fmt.Sprintf("revision %d", n), r.Document)
	return r, doc, err
}

// List gives all objects of a kind; of names the provider or model whose parts they are. The file's are first.
func (s Settings) List(ctx context.Context, a Actor, kind, of string) (*Page[Object], error) {
	if err := a.May("config.read"); err != nil {
		return nil, err
	}
	if at := (config.Place{Kind: kind, Of: of, Name: "x"}); !at.Known() {
		return nil, llm.Errorf(llm.KindNotFound, "there are no objects of this kind here")
	}
	_, doc, err := s.newest(ctx)
	if err != nil {
		return nil, err
	}
	p := &Page[Object]{Data: []Object{}}
	for _, o := range s.c.o.Settings.Effective().FileObjects(kind, of) {
		p.Data = append(p.Data, Object{Place: o.Place, Source: "file", ReadOnly: true, Value: o.Value})
	}
	for _, at := range doc.Places(kind, of) {
		p.Data = append(p.Data, *objectOf(doc, at, 0))
	}
	return p, nil
}

func objectOf(doc *config.Settings, at config.Place, revision int64) *Object {
	return &Object{Place: at, Source: "store", ETag: doc.Tag(at), Value: doc.Value(at, true), Revision: revision}
}

// Show gives one object.
func (s Settings) Show(ctx context.Context, a Actor, at config.Place) (*Object, error) {
	if err := a.May("config.read"); err != nil {
		return nil, err
	}
	_, doc, err := s.newest(ctx)
	if err != nil {
		return nil, err
	}
	if doc.Has(at) {
		return objectOf(doc, at, 0), nil
	}
	for _, o := range s.c.o.Settings.Effective().FileObjects(at.Kind, at.Of) {
		if o.Name == at.Name {
			return &Object{Place: o.Place, Source: "file", ReadOnly: true, Value: o.Value}, nil
		}
	}
	return nil, s.none(at)
}

// none says that an object is not there to be changed.
func (s Settings) none(at config.Place) error {
	if at.Known() && s.c.o.Settings.Effective().FileHas(at) {
		return llm.Errorf(llm.KindConflict, "%s is set by the configuration file, so it is read-only here: change it there", clip(at.String()))
	}
	if owner, ok := at.Owner(); ok && s.c.o.Settings.Effective().FileHas(owner) {
		return llm.Errorf(llm.KindConflict, "%s is set by the configuration file, so its parts are, too: change it there", clip(owner.String()))
	}
	return llm.Errorf(llm.KindNotFound, "there is no %s", clip(at.String()))
}

// Create adds an object of a kind; of names the provider or model that it is to be a part of.
func (s Settings) Create(ctx context.Context, a Actor, kind, of string, in NewObject) (*Object, error) {
	at := config.Place{Kind: kind, Of: of, Name: config.NameIn(in.Value)}
	return s.object(ctx, a, "create", at, func(doc *config.Settings) (*config.Settings, error) {
		if doc.Has(at) {
			return nil, llm.Errorf(llm.KindConflict, "there is a %s already", clip(at.String()))
		}
		return s.with(doc, at, in.Value)
	})
}

// with puts a value in a place.
func (s Settings) with(doc *config.Settings, at config.Place, value jsontext.Value) (*config.Settings, error) {
	next, err := doc.With(at, value)
	switch {
	case errors.Is(err, config.ErrNoPlace):
		owner, _ := at.Owner()
		return nil, s.none(owner)
	case err != nil:
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "value " + err.Error()}
	}
	return next, nil
}

// Update changes an object.
func (s Settings) Update(ctx context.Context, a Actor, at config.Place, in ObjectUpdate) (*Object, error) {
	return s.object(ctx, a, "update", at, func(doc *config.Settings) (*config.Settings, error) {
		if err := s.match(doc, at, in.ETag); err != nil {
			return nil, err
		}
		value, err := doc.Merge(at, in.Value)
		if err != nil {
			return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "value " + err.Error()}
		}
		return s.with(doc, at, value)
	})
}

// match tells whether an object is there, and still what was read.
func (s Settings) match(doc *config.Settings, at config.Place, etag string) error {
	if !doc.Has(at) {
		return s.none(at)
	}
	if etag != "" && etag != doc.Tag(at) {
		return &llm.Error{Kind: llm.KindConflict, Msg: clip(at.String()) + " was changed since it was read: read it again", Err: directory.ErrVersion}
	}
	return nil
}

// Delete removes an object. What names it must not be there any more.
func (s Settings) Delete(ctx context.Context, a Actor, at config.Place, in ObjectRemoval) (*Object, error) {
	var was *Object
	_, err := s.object(ctx, a, "delete", at, func(doc *config.Settings) (*config.Settings, error) {
		if err := s.match(doc, at, in.ETag); err != nil {
			return nil, err
		}
		was = objectOf(doc, at, 0)
		return doc.Without(at)
	})
	if err != nil {
		return nil, err
	}
	return was, nil
}

// object does an act on one object.
func (s Settings) object(ctx context.Context, a Actor, verb string, at config.Place, edit func(*config.Settings) (*config.Settings, error)) (*Object, error) {
	if why := nameProblem(at.Name); why != "" {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "what was sent cannot be taken", Problems: []llm.Problem{{At: "/value/name", Msg: why}}}
	}
	if !at.Known() {
		return nil, llm.Errorf(llm.KindNotFound, "there are no objects of this kind here")
	}
	c := change{act: Act(at.Kind + "s." + verb), what: verb + " " + at.String(), at: at, edit: edit}
	n, doc, err := s.change(ctx, a, &c)
	if err != nil || verb == "delete" {
		return nil, err
	}
	return objectOf(doc, at, n), nil
}

// sensitive are the members of a provider that decide where secrets go, and which.
var sensitive = []string{"kind", "base_url", "api_key", "credentials", "proxy", "headers", "allow_private", "ca"}

// needs is what an actor must be allowed beside the act itself: whoever moves a provider, or gives it secrets, could have them sent to
// a place of their own; and whoever says where a guard asks, what clients send.
func needs(changes []config.ObjectChange) (Act, bool) {
	for _, ch := range changes {
		asks := slices.ContainsFunc(ch.Fields, func(f config.FieldChange) bool { return f.After != "" && strings.HasPrefix(f.Field, "webhook/") })
		touches := slices.ContainsFunc(ch.Fields, func(f config.FieldChange) bool {
			member, _, _ := strings.Cut(f.Field, "/")
			return slices.Contains(sensitive, member)
		})
		if ch.Kind == config.KindProvider && (ch.What == "added" || touches) || ch.Kind == config.KindGuard && asks {
			return "credentials.change", true
		}
	}
	return "", false
}
