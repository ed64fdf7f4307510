package control

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"sluice/internal/audit"
	"sluice/internal/auth"
	"sluice/internal/directory"
)

// Notes of the store that are this package's.
const (
	notePepper = "pepper"
	noteFirst  = "first_key"
)

// CheckPepper refuses a pepper under which the store's keys were not hashed: with another one nobody could call.
// Replicas that share a store must share the pepper, too.
func (c *Control) CheckPepper(ctx context.Context) error {
	sum := c.o.Hasher.Sum(sha256.Sum256([]byte("sluice: which pepper this is")))
	mine := fmt.Sprintf("%x", sum[:8])
	kept, err := c.o.Store.Note(ctx, notePepper, mine)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	if kept != mine {
		return errors.New("the keys in the store were hashed under another pepper: give this replica the one of the first (the file pepper in its data directory)")
	}
	return nil
}

// TakeOver moves the keys that earlier releases kept in files of the data directory into the store. It may be
// broken off and begun again.
func (c *Control) TakeOver(ctx context.Context, dir string, revoked *auth.Revoked) (n int, err error) {
	keys, err := auth.ReadKeysFile(dir)
	if err != nil {
		return 0, err
	}
	for i := range keys {
		if err := c.takeOver(ctx, &keys[i], revoked); err != nil {
			return n, fmt.Errorf("take over key %s: %w", keys[i].ID, err)
		}
		n++
	}
	return n, auth.RetireKeysFile(dir)
}

func (c *Control) takeOver(ctx context.Context, f *auth.FileKey, revoked *auth.Revoked) error {
	hash, err := auth.ParseHash(f.Hash)
	if err != nil {
		return err
	}
	known, err := c.o.Store.ByHash(ctx, hash)
	if err != nil {
		return err
	}
	if known == nil {
		k := &directory.Key{
			Record: directory.Record{
				ID: f.ID, Name: f.Name, Created: f.Created.UTC().Truncate(time.Microsecond), Updated: c.now(), Maker: "keys.json",
				Spec: directory.Spec{Models: f.Models, Disabled: revoked.Has(&auth.Who{ID: f.ID})},
			},
			Org: directory.DefaultOrganisation, Hash: hash,
		}
		err := c.store(ctx, k)
		if errors.Is(err, directory.ErrExists) { // each replica had one of the name
			k.Name += " " + f.ID
			err = c.store(ctx, k)
		}
		if err != nil {
			return err
		}
	}
	return revoked.Forget(f.ID) // the store knows, and may enable it again
}

// store creates a key of the gateway's own making. It is ErrExists where there is one.
func (c *Control) store(ctx context.Context, k *directory.Key) error {
	t := c.keys()
	_, err := t.perform(ctx, Owner("start"), "create", func(ctx context.Context, e *audit.Event) (*directory.Key, error) {
		t.tell(e, k)
		if err := t.rows.Create(ctx, k); err != nil {
			return nil, fmt.Errorf("directory: %w", err)
		}
		var err error
		e.After, err = t.shown(k)
		return k, err
	})
	return err
}

// First makes a key for all models in a store that never had one, and gives it: the only time that it is seen. Of
// several replicas that start at once, one makes it. "" where there is one, or was.
func (c *Control) First(ctx context.Context) (secret string, err error) {
	made, err := c.o.Store.Note(ctx, noteFirst, "")
	if err != nil || made != "" {
		return "", err
	}
	list, _, err := c.o.Store.Keys().List(ctx, directory.Filter{Limit: 1})
	if err != nil {
		return "", fmt.Errorf("directory: %w", err)
	}
	if len(list) == 0 {
		k := directory.Key{Org: directory.DefaultOrganisation}
		k.Record, err = c.fresh(&Change{Name: Some("first"), Models: Some([]string{"*"})})
		if err == nil {
			secret, err = auth.NewSecret(k.ID, c.o.Random)
		}
		if err != nil {
			return "", fmt.Errorf("draw key: %w", err)
		}
		k.Hash, k.Created, k.Updated, k.Maker = c.o.Hasher.Key(secret), c.now(), c.now(), "start"
		switch err := c.store(ctx, &k); {
		case errors.Is(err, directory.ErrExists): // another replica was first, and shows it
			secret = ""
		case err != nil:
			return "", err
		}
	}
	if _, err := c.o.Store.Note(ctx, noteFirst, "made"); err != nil {
		return "", fmt.Errorf("directory: %w", err)
	}
	return secret, nil
}
