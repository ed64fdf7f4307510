package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"sluice/internal/llm"
)

// Options say what a Vault works with.
type Options struct {
	Store Store
	KEK   KEK
	Now   func() time.Time // nil: time.Now
}

// A Vault seals and opens values. It may be used from anywhere at any time, and many replicas have one on the same store.
type Vault struct {
	o Options

	mu   sync.Mutex // guards keys and o.KEK
	keys *keys      // nil: not read yet, or there are none
}

// keys is the keyset as it is used. It is immutable.
type keys struct {
	version int64
	handle  *keyset.Handle
	aead    tink.AEAD
}

// Open makes a vault. Where the store has a keyset already, the KEK must be the one that wrapped it. The first value that is put
// makes the first keyset.
func Open(ctx context.Context, o Options) (*Vault, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Vault{o: o}
	if _, err := v.read(ctx); err != nil {
		return nil, err
	}
	return v, nil
}

// NewID draws the id of a value.
func NewID() string { return strings.ToLower(rand.Text()) }

// Ready makes the first keyset where there is none. Whoever is about to put values within a transaction may call it before: the
// key-encryption key may take its time.
func (v *Vault) Ready(ctx context.Context) error {
	if v.current() != nil {
		return nil
	}
	_, err := v.readOrMake(ctx)
	return err
}

// Put seals a value and keeps it. Within a transaction of the store it is kept if the rest of that is.
func (v *Vault) Put(ctx context.Context, p Purpose, object string, plain llm.Secret) (id string, err error) {
	id = NewID()
	return id, v.PutAs(ctx, id, p, object, plain)
}

// PutAs is Put under an id that was drawn before.
func (v *Vault) PutAs(ctx context.Context, id string, p Purpose, object string, plain llm.Secret) error {
	val := Value{ID: id, Purpose: p, Object: object, Created: v.o.Now().UTC().Truncate(time.Microsecond)}
	bound, err := val.bound()
	if err != nil {
		return err
	}
	k := v.current()
	for tries := 0; ; tries++ {
		if k == nil {
			if k, err = v.readOrMake(ctx); err != nil {
				return err
			}
		}
		if val.Sealed, err = k.aead.Encrypt([]byte(plain), bound); err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		val.Key = keyOf(val.Sealed)
		err = v.o.Store.Put(ctx, &val, k.version)
		if !errors.Is(err, ErrVersion) || tries == 3 {
			return err
		}
		k = nil // rotated by another replica
	}
}

// Get opens a value, which must be of this purpose and object. ErrNotFound where it was destroyed.
func (v *Vault) Get(ctx context.Context, p Purpose, object, id string) (llm.Secret, error) {
	k := v.current()
	for tries := 0; ; tries++ {
		val, err := v.o.Store.Get(ctx, id)
		if err != nil {
			return "", err
		}
		if val.Purpose != p || val.Object != object {
			return "", fmt.Errorf("the sealed value is for the %s of %s, not for the %s of %s", val.Purpose, val.Object, p, object)
		}
		plain, err := k.open(val)
		if err == nil {
			return llm.Secret(plain), nil
		}
		if tries == 2 || k.has(val.Key) {
			return "", fmt.Errorf("open sealed value: %w", err)
		}
		// Another replica has rotated the keys, perhaps just since the value was read.
		if k, err = v.read(ctx); err != nil {
			return "", err
		}
	}
}

// Has tells whether a value is there.
func (v *Vault) Has(ctx context.Context, id string) (bool, error) {
	_, err := v.o.Store.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Delete destroys a value.
func (v *Vault) Delete(ctx context.Context, id string) error { return v.o.Store.Delete(ctx, id) }

// Use says which values of the purposes are in use. Others are kept for so long, then destroyed.
func (v *Vault) Use(ctx context.Context, purposes []Purpose, ids []string, keep time.Duration) error {
	now := v.o.Now().UTC().Truncate(time.Microsecond)
	return v.o.Store.Use(ctx, purposes, ids, now, now.Add(-keep))
}

// bound is what a value's ciphertext is bound to: moved to another place, it does not open.
func (val *Value) bound() ([]byte, error) {
	if strings.ContainsRune(string(val.Purpose)+val.Object+val.ID, 0) || val.Purpose == "" || val.ID == "" {
		return nil, errors.New("seal: a purpose, an id and texts without NUL are needed")
	}
	return []byte("sluice sealed value\x00" + string(val.Purpose) + "\x00" + val.Object + "\x00" + val.ID), nil
}

func (k *keys) open(val *Value) ([]byte, error) {
	if k == nil {
		return nil, errors.New("there are no keys")
	}
	bound, err := val.bound()
	if err != nil {
		return nil, err
	}
	return k.aead.Decrypt(val.Sealed, bound)
}

// prefix is the length of what Tink writes before a ciphertext: a one and the key's id.
const prefix = 5

// keyOf is the id of the key that a ciphertext is under.
func keyOf(sealed []byte) uint32 {
	if len(sealed) < prefix {
		return 0
	}
	return binary.BigEndian.Uint32(sealed[1:prefix])
}

func (k *keys) has(id uint32) bool {
	if k == nil {
		return false
	}
	for i := range k.handle.Len() {
		if e, err := k.handle.Entry(i); err == nil && e.KeyID() == id {
			return true
		}
	}
	return false
}

func (v *Vault) current() *keys {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keys
}

// read reads the keyset anew. nil: there is none yet.
func (v *Vault) read(ctx context.Context) (*keys, error) {
	kept, err := v.o.Store.Keyset(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keyset: %w", err)
	}
	if kept == nil {
		return nil, nil //nolint:nilnil // as it says
	}
	kek := v.kek()
	if kept.KEK != kek.Name() {
		return nil, llm.Errorf(llm.KindOverloaded, "the secrets in the store are sealed under another key-encryption key (%s, ours is %s): %s", kept.KEK, kek.Name(), kek.Cure())
	}
	h, err := keyset.ReadWithContext(ctx, keyset.NewBinaryReader(bytes.NewReader(kept.Wrapped)), wrapper{kek}, nil)
	if err != nil {
		return nil, fmt.Errorf("the keyset of the store cannot be unwrapped: %w; %s", err, kek.Cure())
	}
	return v.keep(h, kept.Version)
}

// keep makes a keyset the one that is used. It may turn out that it is not, or no longer, the store's: what is sealed under it is
// then refused by the store, and what is under another key makes for another look.
func (v *Vault) keep(h *keyset.Handle, version int64) (*keys, error) {
	a, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	k := &keys{version: version, handle: h, aead: a}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys = k
	return k, nil
}

// readOrMake reads the keyset, or makes the first.
func (v *Vault) readOrMake(ctx context.Context) (*keys, error) {
	k, err := v.read(ctx)
	if err != nil || k != nil {
		return k, err
	}
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make keyset: %w", err)
	}
	version, err := v.put(ctx, h, 0, v.kek())
	switch {
	case errors.Is(err, ErrVersion): // another replica made one
		return v.read(ctx)
	case err != nil:
		return nil, err
	}
	return v.keep(h, version)
}

// put keeps a keyset instead of the one of the version was, and gives its version.
func (v *Vault) put(ctx context.Context, h *keyset.Handle, was int64, kek KEK) (version int64, err error) {
	var b bytes.Buffer
	if err := h.WriteWithContext(ctx, keyset.NewBinaryWriter(&b), wrapper{kek}, nil); err != nil {
		return 0, fmt.Errorf("wrap keyset: %w", err)
	}
	k := &Keyset{Version: 1 + mathrand.Int64N(math.MaxInt64), KEK: kek.Name(), Wrapped: b.Bytes()} //nolint:gosec // a version must differ, not be hard to guess
	return k.Version, v.o.Store.PutKeyset(ctx, k, was)
}

func (v *Vault) kek() KEK {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.o.KEK
}

// A wrapper is a KEK as Tink wants it. There is nothing to bind a keyset to: there is one.
type wrapper struct{ kek KEK }

func (w wrapper) EncryptWithContext(ctx context.Context, plain, _ []byte) ([]byte, error) {
	return w.kek.Wrap(ctx, plain)
}

func (w wrapper) DecryptWithContext(ctx context.Context, wrapped, _ []byte) ([]byte, error) {
	return w.kek.Unwrap(ctx, wrapped)
}
