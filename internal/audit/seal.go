package audit

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A Sealed is a part of an entry that only its key can read. The chain covers Key and Data, so that the key can be destroyed and
// nothing else changes. Open and Plain are in exports only.
type Sealed struct {
	Key   string         `json:"key,omitzero"`  // which DataKey
	Data  []byte         `json:"data,omitzero"` // a commitment to the part's key, 32 bytes, then AES-256-GCM with a random nonce
	Open  []byte         `json:"open,omitzero"` // the part's key, which opens no other part
	Plain jsontext.Value `json:"plain,omitzero"`
}

// A DataKey is a key of a subject: of a person, or of what belongs to nobody in an organisation. Once it is gone nobody reads what
// was sealed with it.
type DataKey struct {
	ID      string
	Subject string
	Wrapped []byte // sealed by the gateway's own key
	Made    time.Time
}

// keySize is that of every key here, in bytes.
const keySize = 32

// errOpen tells nothing about why: it may be another key, or other bytes.
var errOpen = errors.New("the key does not open what is sealed")

// partKey is the key of one part of one entry. Whoever is given it can read that, and nothing else.
func partKey(subject []byte, org string, seq uint64, part string) ([]byte, error) {
	info := bytes.Join([][]byte{[]byte("sluice audit part v1"), []byte(part), []byte(org), binary.BigEndian.AppendUint64(nil, seq)}, []byte{0})
	return hkdf.Key(sha256.New, subject, nil, string(info), keySize)
}

// split makes of a part's key what seals it, and the commitment to it. AES-GCM alone would let whoever writes the log prepare two
// keys that open one text to two meanings.
func split(part []byte) (aead cipher.AEAD, commitment []byte, err error) {
	both, err := hkdf.Expand(sha256.New, part, "sluice audit seal v1", 2*keySize)
	if err != nil {
		return nil, nil, err
	}
	aead, err = newAEAD(both[:keySize])
	return aead, both[keySize:], err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func seal(part []byte, v any) ([]byte, error) {
	plain, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	aead, commitment, err := split(part)
	if err != nil {
		return nil, err
	}
	return aead.Seal(commitment, nil, plain, nil), nil //nolint:gosec // the AEAD draws a nonce itself and takes none
}

// open gives what was sealed, for which the key must be the very one.
func open(part, data []byte) ([]byte, error) {
	if len(part) != keySize || len(data) < keySize {
		return nil, errOpen
	}
	aead, commitment, err := split(part)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, data[keySize:], nil)
	if err != nil || subtle.ConstantTimeCompare(commitment, data[:keySize]) != 1 {
		return nil, errOpen
	}
	return plain, nil
}

// A keyring makes and opens data keys. What a store has of them is sealed with the key that it was made of.
type keyring struct{ aead cipher.AEAD }

func newKeyring(key []byte) (*keyring, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("key of the data keys: %w", err)
	}
	return &keyring{aead}, nil
}

// draw makes a new key of a subject.
func (k *keyring) draw(subject string, now time.Time) (*DataKey, []byte) {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	d := &DataKey{ID: rand.Text(), Subject: subject, Made: now}
	d.Wrapped = k.aead.Seal(nil, nil, key, d.bound()) //nolint:gosec // the AEAD draws a nonce itself and takes none
	return d, key
}

// bound is what a wrapped key is bound to, so that none can be put in another's place.
func (d *DataKey) bound() []byte {
	return []byte("sluice audit key v1\x00" + d.ID + "\x00" + d.Subject)
}

// unwrap gives the key itself.
func (k *keyring) unwrap(d *DataKey) ([]byte, error) {
	key, err := k.aead.Open(nil, nil, d.Wrapped, d.bound())
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("data key %s cannot be opened: it was made under another pepper, or changed", d.ID)
	}
	return key, nil
}
