package redis

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	_ "embed" // the scripts
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/rueidis"

	"sluice/internal/idempotency"
)

var (
	//go:embed claim.lua
	claimSource string
	//go:embed swap.lua
	swapSource string

	claimScript = rueidis.NewLuaScript(claimSource)
	swapScript  = rueidis.NewLuaScript(swapSource)
)

// Once keeps idempotency keys for all replicas. Answers are content: they are sealed under a key that Redis never
// sees, bound to the name they are kept by.
type Once struct {
	store  *Store
	prefix string
	seal   cipher.AEAD
}

var _ idempotency.Store = (*Once)(nil)

// Once makes a keeper of idempotency keys. key has 32 bytes and is the same on every replica.
func (s *Store) Once(key []byte) (*Once, error) {
	seal, err := sealer(key)
	if err != nil {
		return nil, err
	}
	// No hash tag: each key stands alone, and a cluster may spread them.
	return &Once{store: s, prefix: s.opts.Prefix + ":1:once:", seal: seal}, nil
}

// sealer seals what Redis must not see under a key of 32 bytes.
func sealer(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// What a value begins with, before the print of the request.
const (
	runs   = 'r' // and then its owner
	done   = 'd' // and then the sealed answer
	large  = 'l'
	printN = len(idempotency.Print{})
)

func value(kind byte, p idempotency.Print, rest string) string {
	return string(kind) + string(p[:]) + rest
}

func (o *Once) name(k idempotency.Key) string { return o.prefix + hex.EncodeToString(k[:]) }

// Begin implements idempotency.Store.
func (o *Once) Begin(ctx context.Context, k idempotency.Key, p idempotency.Print, owner string, lease time.Duration) (idempotency.State, idempotency.Print, *idempotency.Answer, error) {
	msg, err := o.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return claimScript.Exec(ctx, c, []string{o.name(k)}, []string{value(runs, p, owner), ms(lease)})
	})
	if err != nil {
		return 0, p, nil, fmt.Errorf("claim idempotency key: %w", err)
	}
	if msg.IsNil() {
		return idempotency.Ours, p, nil, nil
	}
	had, err := msg.ToString()
	if err != nil || len(had) < 1+printN {
		return 0, p, nil, errors.New("claim idempotency key: it holds what nobody of ours has written")
	}
	print, rest := idempotency.Print([]byte(had[1:1+printN])), had[1+printN:]
	switch had[0] {
	case runs:
		return idempotency.Running, print, nil, nil
	case large:
		return idempotency.Large, print, nil, nil
	}
	text, err := o.seal.Open(nil, nil, []byte(rest), append(k[:], print[:]...))
	if err != nil {
		return 0, p, nil, fmt.Errorf("open kept answer: %w; do all replicas have one pepper?", err)
	}
	a := &idempotency.Answer{}
	if err := json.Unmarshal(text, a); err != nil {
		return 0, p, nil, fmt.Errorf("read kept answer: %w", err)
	}
	return idempotency.Done, print, a, nil
}

// swap replaces the claim. Without its print a claim cannot be named, so the keeper of it says it.
func (o *Once) swap(ctx context.Context, k idempotency.Key, old, now string, d time.Duration) (bool, error) {
	msg, err := o.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return swapScript.Exec(ctx, c, []string{o.name(k)}, []string{old, now, ms(d)})
	})
	if err != nil {
		return false, fmt.Errorf("idempotency key: %w", err)
	}
	return msg.AsBool()
}

// Renew implements idempotency.Store.
func (o *Once) Renew(ctx context.Context, k idempotency.Key, p idempotency.Print, owner string, lease time.Duration) (bool, error) {
	claim := value(runs, p, owner)
	return o.swap(ctx, k, claim, claim, lease)
}

// Save implements idempotency.Store.
func (o *Once) Save(ctx context.Context, k idempotency.Key, p idempotency.Print, owner string, a *idempotency.Answer, keep time.Duration) error {
	now := value(large, p, "")
	if a != nil {
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		now = value(done, p, string(o.seal.Seal(nil, nil, text, append(k[:], p[:]...)))) //nolint:gosec // the nonce is random: it is made within
	}
	_, err := o.swap(ctx, k, value(runs, p, owner), now, keep)
	return err
}

// Drop implements idempotency.Store.
func (o *Once) Drop(ctx context.Context, k idempotency.Key, p idempotency.Print, owner string) error {
	_, err := o.swap(ctx, k, value(runs, p, owner), "", 0)
	return err
}
