package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Head is the newest entry of a chain: in a checkpoint, as it was then.
type Head struct {
	Org  string `json:"org"`
	Seq  uint64 `json:"seq"`
	Hash Hash   `json:"hash"`
	At   Time   `json:"-"`
}

// A Hidden is a head of which an export for somebody else tells only that it is there: the chain's name is hashed, and so are its
// number and hash.
type Hidden struct {
	Chain  Hash `json:"chain"`
	Digest Hash `json:"digest"`
}

// chainName is what a chain is called where its organisation is not told.
func chainName(org string) Hash { return begin("sluice audit chain v1").text(org).sum() }

// hide gives a head as others see it, which is also what a checkpoint's hash covers.
func (h *Head) hide() Hidden {
	return Hidden{chainName(h.Org), begin("sluice audit head v1").text(h.Org).number(h.Seq).bytes(h.Hash[:]).sum()}
}

// A Checkpoint is a signed statement of the heads of all chains: of those that grew since the checkpoint before it. The others are
// as that one, or one before it, says.
type Checkpoint struct {
	Version   int      `json:"v"`
	Number    uint64   `json:"number"` // from 1, without gaps
	At        Time     `json:"at"`     // not before the checkpoint before it, nor before an entry that it covers
	Heads     []Head   `json:"heads,omitzero"`
	Others    []Hidden `json:"others,omitzero"` // chains that an export is not about
	Prev      Hash     `json:"prev"`            // of the checkpoint before it; zeros for the first
	Hash      Hash     `json:"hash"`
	Key       string   `json:"key"` // the id of the public key that Signature is of
	Signature []byte   `json:"signature"`
}

// sum is the hash that a checkpoint must have. It is the same however many of the heads are hidden.
func (c *Checkpoint) sum() Hash {
	all := slices.Clone(c.Others)
	for i := range c.Heads {
		all = append(all, c.Heads[i].hide())
	}
	slices.SortFunc(all, func(a, b Hidden) int { return bytes.Compare(a.Chain[:], b.Chain[:]) })
	to := begin("sluice audit checkpoint v1").number(c.Number).text(c.At.String()).text(c.Key).bytes(c.Prev[:]).number(uint64(len(all)))
	for i := range all {
		to.bytes(all[i].Chain[:]).bytes(all[i].Digest[:])
	}
	return to.sum()
}

// statement is what is signed: that the checkpoint of this number has this hash.
func statement(number uint64, h Hash) []byte {
	sum := begin("sluice audit signature v1").number(number).bytes(h[:]).sum()
	return sum[:]
}

// A Signer signs checkpoints.
type Signer struct{ private ed25519.PrivateKey }

// keyPrefix is what the text of a public key begins with, so that nobody takes it for another.
const keyPrefix = "sluice-audit:"

// NewSigner makes a signer of a text that NewSeed made.
func NewSigner(seed string) (*Signer, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(seed))
	if err != nil || len(b) != ed25519.SeedSize {
		return nil, fmt.Errorf("the private key of the audit log must be %d bytes in base64; sluice audit keys --new draws one", ed25519.SeedSize)
	}
	return &Signer{ed25519.NewKeyFromSeed(b)}, nil
}

// NewSeed draws a private key, as a text.
func NewSeed() string {
	b := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}

// Public is the key that verifies what the signer signed.
func (s *Signer) Public() PublicKey { return PublicKey(s.private.Public().(ed25519.PublicKey)) } //nolint:forcetypeassert // it is one

func (s *Signer) sign(c *Checkpoint) {
	c.Key = s.Public().ID()
	c.Hash = c.sum()
	c.Signature = ed25519.Sign(s.private, statement(c.Number, c.Hash))
}

// A PublicKey verifies checkpoints.
type PublicKey ed25519.PublicKey

// ParsePublicKey reads what String writes.
func ParsePublicKey(text string) (PublicKey, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(strings.TrimSpace(text), keyPrefix))
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, errors.New("not a public key of an audit log, which looks like " + keyPrefix + "BASE64 and is told by: sluice audit keys")
	}
	return b, nil
}

func (k PublicKey) String() string { return keyPrefix + base64.StdEncoding.EncodeToString(k) }

// ID is what checkpoints call the key.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k)
	return hex.EncodeToString(sum[:8])
}

func (k PublicKey) verify(number uint64, h Hash, signature []byte) bool {
	return ed25519.Verify(ed25519.PublicKey(k), statement(number, h), signature)
}

// order brings a checkpoint's lists into their one order.
func (c *Checkpoint) order() {
	slices.SortFunc(c.Heads, func(a, b Head) int { return strings.Compare(a.Org, b.Org) })
	slices.SortFunc(c.Others, func(a, b Hidden) int { return bytes.Compare(a.Chain[:], b.Chain[:]) })
}
