package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/internal/auth"
	"sluice/internal/config"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/rules"
)

// Keys are the acts on keys.
type Keys struct{ c *Control }

// Keys gives the acts on keys.
func (c *Control) Keys() Keys { return Keys{c} }

func (c *Control) keys() *table[directory.Key, *directory.Key] {
	return &table[directory.Key, *directory.Key]{
		c: c, kind: directory.KindKey, rows: c.o.Store.Keys(),
		place: func(k *directory.Key) place { return place{directory.KindKey, k.ID, k.Org, k.Team, k.User} },
		view:  func(k *directory.Key) any { return viewKey(k) },
		parents: func(ctx context.Context, k *directory.Key) ([]parent, error) {
			return c.parents(ctx, k.Org, k.Team, k.User)
		},
	}
}

// NewKey is what a key is made of.
type NewKey struct {
	Organisation string `json:"organisation,omitzero"` // id or name; the default one when left out
	Key          string `json:"key,omitzero"`          // a whole key that was made elsewhere, to be taken over; left out: one is made
	KeyChange
}

// KeyChange is what people may say about a key. Its owners are given by id or name; null: none.
type KeyChange struct {
	Team Maybe[string] `json:"team,omitzero"`
	User Maybe[string] `json:"user,omitzero"`
	Change
}

// KeyUpdate is a change of a key.
type KeyUpdate struct {
	Version int64 `json:"-"`
	KeyChange
}

// At bounds it to a version.
func (u *KeyUpdate) At(version int64) { u.Version = version }

// A Secret is a key and what to send to be it. This is the only time that it is told: it is stored nowhere. It is
// "" for a key that was made elsewhere.
type Secret struct {
	Secret string `json:"secret,omitzero"`
	KeyView
}

// Create makes a key, or takes one over.
func (s Keys) Create(ctx context.Context, a Actor, in NewKey) (*Secret, error) {
	secret := ""
	k, err := s.c.keys().create(ctx, a, func(ctx context.Context) (*directory.Key, error) {
		b, err := s.c.fresh(&in.Change)
		if err != nil {
			return nil, err
		}
		k := directory.Key{Record: b}
		if k.Org, _, _, err = s.c.resolve(ctx, a, s.c.homeOf(a, in.Organisation), "", ""); err != nil {
			return nil, err
		}
		if err := s.place(ctx, a, &k, &in.KeyChange); err != nil {
			return nil, err
		}
		if in.Key != "" {
			return &k, s.takeOver(&k, in.Key)
		}
		if secret, err = auth.NewSecret(k.ID, s.c.o.Random); err != nil {
			return nil, fmt.Errorf("draw key: %w", err)
		}
		k.Hash = s.c.o.Hasher.Key(secret)
		return &k, nil
	})
	if err != nil {
		return nil, err
	}
	return &Secret{secret, *viewKey(k)}, nil
}

// takeOver gives a record the hash of a key that was made elsewhere.
func (s Keys) takeOver(k *directory.Key, key string) error {
	var p problems
	public, ours := auth.Public(key)
	switch why := config.Weak(key); {
	case why != "":
		p.add("/key", "%s: take over keys of at least 256 random bits only, or leave it out to have one made", why)
	case ours:
		k.ID = public
	case strings.HasPrefix(key, "sk-slc-"):
		p.add("/key", "is cut or mistyped: its checksum is wrong")
	}
	k.Hash = s.c.o.Hasher.Key(key)
	return p.err()
}

// place puts a key where it was asked to be.
func (s Keys) place(ctx context.Context, a Actor, k *directory.Key, in *KeyChange) error {
	if !in.Team.Given && !in.User.Given {
		return nil
	}
	_, team, user, err := s.c.resolve(ctx, a, k.Org, in.Team.Value, in.User.Value)
	if err != nil {
		return err
	}
	if in.Team.Given {
		k.Team = team
	}
	if in.User.Given {
		k.User = user
	}
	if k.Team == "" || k.User == "" {
		return nil
	}
	u, err := s.c.users().get(ctx, k.User)
	if err != nil {
		return s.c.users().fault(err, k.User)
	}
	if !slices.Contains(u.Teams, k.Team) {
		return &llm.Error{Kind: llm.KindInvalid, Msg: "what was sent cannot be taken", Problems: []llm.Problem{{At: "/team", Msg: "the user is not in it: a key of a user and a team needs both"}}}
	}
	return nil
}

// Show gives one, by its id or name, with what it may do in the end.
func (s Keys) Show(ctx context.Context, a Actor, ref string) (*KeyDetails, error) {
	k, err := s.c.keys().show(ctx, a, ref)
	if err != nil {
		return nil, err
	}
	e, err := s.c.o.Store.ByHash(ctx, k.Hash)
	if err != nil || e == nil || e.Key.ID != k.ID {
		return nil, s.c.keys().fault(cmp.Or(err, directory.ErrVersion), ref)
	}
	return &KeyDetails{*viewKey(&e.Key), viewEffective(e.Who(e.Key.Hash))}, nil
}

// List gives many.
func (s Keys) List(ctx context.Context, a Actor, l List) (*Page[KeyView], error) {
	return paged(viewKey)(s.c.keys().list(ctx, a, l))
}

// Update changes one.
func (s Keys) Update(ctx context.Context, a Actor, ref string, in KeyUpdate) (*KeyView, error) {
	return shown(viewKey)(s.c.keys().update(ctx, a, "update", ref, in.Version, true, func(ctx context.Context, k *directory.Key) error {
		had := k.Spec.Guards
		if err := in.apply(&k.Record); err != nil {
			return err
		}
		if err := keeps(a, had, k.Spec.Guards); err != nil {
			return err
		}
		return s.place(ctx, a, k, &in.KeyChange)
	}))
}

// keeps tells whether a member leaves the guards of a key that it has: whoever is above may have put them there.
func keeps(a Actor, had, has []string) error {
	if a.Role != RoleMember {
		return nil
	}
	for _, name := range had {
		if !slices.Contains(has, name) {
			return llm.Errorf(llm.KindForbidden, "the guard %s stays: your role, %s, may add guards to a key and take none away", name, a.Role)
		}
	}
	return nil
}

// SetDisabled disables or enables one.
func (s Keys) SetDisabled(ctx context.Context, a Actor, ref string, disabled bool) (*KeyView, error) {
	return shown(viewKey)(s.c.keys().setDisabled(ctx, a, ref, disabled))
}

// Override gives a budget of one another amount for some periods.
func (s Keys) Override(ctx context.Context, a Actor, ref string, in Override) (*KeyView, error) {
	return shown(viewKey)(s.c.keys().override(ctx, a, ref, in))
}

// Delete removes one. What it has spent stays in the books, under its id.
func (s Keys) Delete(ctx context.Context, a Actor, ref string, version int64) (*KeyView, error) {
	return shown(viewKey)(s.c.keys().delete(ctx, a, ref, version))
}

// Rotation says how a key is rotated.
type Rotation struct {
	Grace string `json:"grace,omitzero"` // how long the old key works, too: "24h" when left out; "0": not at all
}

// defaultGrace is how long a rotated key goes on.
const defaultGrace = 24 * time.Hour

// Rotate gives a key another secret. Its id, its owners and its counters stay. The old one works until the grace
// has passed; one that was rotated out earlier ends at once.
func (s Keys) Rotate(ctx context.Context, a Actor, ref string, in Rotation) (*Secret, error) {
	grace := defaultGrace
	switch in.Grace {
	case "":
	case "0":
		grace = 0
	default:
		var err error
		if grace, err = rules.ParseSpan(in.Grace); err != nil {
			return nil, problems{{At: "/grace", Msg: err.Error() + `, or "0" for none`}}.err()
		}
	}
	secret := ""
	k, err := s.c.keys().update(ctx, a, "rotate", ref, 0, false, func(_ context.Context, k *directory.Key) (err error) {
		if secret, err = auth.NewSecret(k.ID, s.c.o.Random); err != nil {
			return fmt.Errorf("draw key: %w", err)
		}
		k.Rotated = s.c.now()
		k.OldHash, k.OldEnds = k.Hash, k.Rotated.Add(grace)
		if grace == 0 {
			k.OldHash, k.OldEnds = auth.Hash{}, time.Time{}
		}
		k.Hash = s.c.o.Hasher.Key(secret)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Secret{secret, *viewKey(k)}, nil
}
