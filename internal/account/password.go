package account

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"sluice/internal/llm"
)

// A cost is what one hash of a password takes.
type cost struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
}

// usualCost is OWASP's for argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
var usualCost = cost{19 << 10, 2, 1}

// What a stored hash may ask of us, whoever wrote it.
var mostCost = cost{256 << 10, 16, 8}

const (
	saltLen      = 16
	hashLen      = 32
	hashesAtOnce = 4 // 76 MiB
	hashWait     = 3 * time.Second
)

// passwords hashes passwords: argon2id of their HMAC under a key of the pepper, so that a stolen store alone lets nobody guess. A
// few are computed at a time: guesses cannot exhaust the memory.
type passwords struct {
	key      []byte
	cost     cost
	random   io.Reader
	room     chan struct{}
	computed atomic.Int64 // hashes, for the test that all refusals cost one
}

func newPasswords(key []byte, random io.Reader, c cost) *passwords {
	return &passwords{key: key, cost: c, random: random, room: make(chan struct{}, hashesAtOnce)}
}

// compute is one hash. It waits for its place.
func (p *passwords) compute(ctx context.Context, password string, salt []byte, c cost) ([]byte, error) {
	late := time.NewTimer(hashWait)
	defer late.Stop()
	select {
	case p.room <- struct{}{}:
		defer func() { <-p.room }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, &llm.Error{Kind: llm.KindOverloaded, Msg: "too many sign-ins at once; try again", RetryAfter: hashWait}
	}
	p.computed.Add(1)
	keyed := sum(p.key, password)
	return argon2.IDKey(keyed[:], salt, c.passes, c.memory, c.lanes, hashLen), nil
}

// hash is a password's hash in the usual form: $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLen)
	if _, err := io.ReadFull(p.random, salt); err != nil {
		return "", fmt.Errorf("draw salt: %w", err)
	}
	h, err := p.compute(ctx, password, salt, p.cost)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.memory, p.cost.passes, p.cost.lanes, b64.EncodeToString(salt), b64.EncodeToString(h)), nil
}

// check tells whether a password has this hash, and whether the hash is of another cost than we would have now. Where there
// is no hash, or none that can be read, the answer is no and takes the same work.
func (p *passwords) check(ctx context.Context, stored, password string) (ok, stale bool, err error) {
	c, salt, want, good := parseHash(stored)
	if !good {
		c, salt, want = p.cost, make([]byte, saltLen), make([]byte, hashLen)
	}
	got, err := p.compute(ctx, password, salt, c)
	if err != nil {
		return false, false, err
	}
	same := subtle.ConstantTimeCompare(got, want) == 1
	return same && good, c != p.cost, nil
}

// parseHash reads what hash wrote.
func parseHash(s string) (c cost, salt, sum []byte, ok bool) {
	var version int
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return c, nil, nil, false
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &c.memory, &c.passes, &c.lanes); err != nil || version != argon2.Version {
		return c, nil, nil, false
	}
	if c.passes < 1 || c.lanes < 1 || c.memory < 8*uint32(c.lanes) || c.memory > mostCost.memory || c.passes > mostCost.passes || c.lanes > mostCost.lanes {
		return c, nil, nil, false
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(salt) != saltLen {
		return c, nil, nil, false
	}
	sum, err = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || len(sum) != hashLen {
		return c, nil, nil, false
	}
	return c, salt, sum, true
}
