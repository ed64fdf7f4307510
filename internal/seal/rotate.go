package seal

import (
	"context"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// batch is how many values are sealed anew at a time.
const batch = 100

// A Rotation is what came of one.
type Rotation struct {
	Key      uint32 `json:"key"`      // the id of the key that is in use now
	Resealed int    `json:"resealed"` // values that were sealed anew
	Retired  int    `json:"retired"`  // keys that are gone
}

// errTwice is that of two rotations at a time.
var errTwice = errors.New("another rotation is under way: try again when it has ended")

// Rotate seals all values under a new key and destroys the old ones. Replicas go on meanwhile: one that meets a value under a key
// that it does not know reads the keyset anew, and none can seal under an old key once there is a new one. A rotation that is broken
// off leaves everything readable, and the next ends it.
func (v *Vault) Rotate(ctx context.Context) (*Rotation, error) {
	k, err := v.readOrMake(ctx)
	if err != nil {
		return nil, err
	}
	m := keyset.NewManagerFromHandle(k.handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		return nil, fmt.Errorf("rotate: %w", err)
	}
	if k, err = v.replace(ctx, m, k.version); err != nil {
		return nil, err
	}
	r := &Rotation{Key: id}
	for {
		list, err := v.o.Store.Stale(ctx, id, batch)
		if err != nil {
			return nil, fmt.Errorf("rotate: %w", err)
		}
		if len(list) == 0 {
			break
		}
		for i := range list {
			if err := v.reseal(ctx, k, &list[i]); err != nil {
				return nil, err
			}
			r.Resealed++
		}
	}
	old, err := k.others(id)
	if err != nil {
		return nil, err
	}
	for _, other := range old {
		if err := m.Delete(other); err != nil {
			return nil, fmt.Errorf("rotate: %w", err)
		}
	}
	if r.Retired = len(old); r.Retired > 0 {
		_, err = v.replace(ctx, m, k.version)
	}
	return r, err
}

// replace makes the manager's keyset the one that is used instead of that of the version was.
func (v *Vault) replace(ctx context.Context, m *keyset.Manager, was int64) (*keys, error) {
	h, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("rotate: %w", err)
	}
	version, err := v.put(ctx, h, was, v.kek())
	if err != nil {
		if errors.Is(err, ErrVersion) {
			err = errTwice
		}
		return nil, err
	}
	return v.keep(h, version)
}

func (v *Vault) reseal(ctx context.Context, k *keys, val *Value) error {
	plain, err := k.open(val)
	if err != nil {
		return fmt.Errorf("rotate: the sealed value of %s cannot be opened, so nothing more is changed; give it anew or remove it: %w", val.Object, err)
	}
	bound, err := val.bound()
	if err != nil {
		return err
	}
	was := val.Key
	if val.Sealed, err = k.aead.Encrypt(plain, bound); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	val.Key = keyOf(val.Sealed)
	if err := v.o.Store.Reseal(ctx, val, was, k.version); err != nil {
		if errors.Is(err, ErrVersion) {
			return errTwice
		}
		return fmt.Errorf("rotate: %w", err)
	}
	return nil
}

// others are the ids of the keys beside one.
func (k *keys) others(id uint32) (ids []uint32, err error) {
	for i := range k.handle.Len() {
		e, err := k.handle.Entry(i)
		if err != nil {
			return nil, err
		}
		if e.KeyID() != id {
			ids = append(ids, e.KeyID())
		}
	}
	return ids, nil
}

// Rewrap wraps the keyset by another KEK. Replicas that have the old one go on, but cannot start and cannot follow a rotation.
func (v *Vault) Rewrap(ctx context.Context, to KEK) error {
	k, err := v.readOrMake(ctx)
	if err != nil {
		return err
	}
	if _, err := v.put(ctx, k.handle, k.version, to); err != nil {
		if errors.Is(err, ErrVersion) {
			return errTwice
		}
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.o.KEK, v.keys = to, nil
	return nil
}
