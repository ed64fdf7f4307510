package redis

import (
	"context"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"sluice/internal/cache"
)

// CacheTimeout is how long a call may wait for a store of answers. The store needs connections of its own for that, so that large
// answers keep no budget waiting: open one with it as Options.Timeout.
const CacheTimeout = 20 * time.Millisecond

// Answers keep answers for all replicas. They are content: they are sealed under a key that Redis never sees, bound to the name they
// are kept by; and names say nothing of whose they are to whoever does not have the pepper.
type Answers struct {
	store  *Store
	prefix string
	seal   cipher.AEAD
	now    func() time.Time
}

var _ cache.Store = (*Answers)(nil)

// Answers makes a keeper of answers. key has 32 bytes and is the same on every replica.
func (s *Store) Answers(key []byte) (*Answers, error) {
	seal, err := sealer(key)
	if err != nil {
		return nil, err
	}
	// No hash tag: each answer stands alone, and a cluster may spread them.
	return &Answers{store: s, prefix: s.opts.Prefix + ":1:cache:", seal: seal, now: time.Now}, nil
}

// name is the prefix, the tags of an answer's owners and model, and its sum.
func (a *Answers) name(k *cache.Key) string {
	return a.prefix + k.Org.String() + ":" + k.Team.String() + ":" + k.Key.String() + ":" + k.Model.String() + ":" + hex.EncodeToString(k.Sum[:])
}

// parse reads what name wrote.
func (a *Answers) parse(name string) (k cache.Key, ok bool) {
	rest, ok := strings.CutPrefix(name, a.prefix)
	parts := strings.Split(rest, ":")
	if !ok || len(parts) != 5 {
		return k, false
	}
	for i, to := range [][]byte{k.Org[:], k.Team[:], k.Key[:], k.Model[:], k.Sum[:]} {
		if len(parts[i]) != 2*len(to) {
			return k, false
		}
		if _, err := hex.Decode(to, []byte(parts[i])); err != nil {
			return k, false
		}
	}
	return k, true
}

// stampN is how long the time is that a value begins with, in the open: a purge by age reads no more than that.
const stampN = 8

// Get implements cache.Store.
func (a *Answers) Get(ctx context.Context, k cache.Key) ([]byte, error) {
	name := a.name(&k)
	msg, err := a.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Get().Key(name).Build())
	})
	if err != nil {
		return nil, fmt.Errorf("look for answer: %w", err)
	}
	if msg.IsNil() {
		return nil, nil
	}
	v, err := msg.AsBytes()
	if err != nil || len(v) < stampN {
		return nil, errors.New("look for answer: it holds what nobody of ours has written")
	}
	out, err := a.seal.Open(nil, nil, v[stampN:], append([]byte(name), v[:stampN]...))
	if err != nil {
		return nil, fmt.Errorf("open answer: %w; do all replicas have one pepper?", err)
	}
	return out, nil
}

// Set implements cache.Store.
func (a *Answers) Set(ctx context.Context, k cache.Key, value []byte, ttl time.Duration) error {
	name := a.name(&k)
	v := binary.BigEndian.AppendUint64(make([]byte, 0, stampN+len(value)+a.seal.Overhead()), uint64(a.now().UnixMilli()))
	v = a.seal.Seal(v, nil, value, append([]byte(name), v[:stampN]...)) //nolint:gosec // the nonce is random: it is made within
	_, err := a.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Set().Key(name).Value(rueidis.BinaryString(v)).PxMilliseconds(max(1, ttl.Milliseconds())).Build())
	})
	if err != nil {
		return fmt.Errorf("keep answer: %w", err)
	}
	return nil
}

// scanned is how many names a server is asked to look at in one step.
const scanned = 500

// Purge implements cache.Store. It goes through all names of the servers, some at a time, so that nobody waits for it.
func (a *Answers) Purge(ctx context.Context, f cache.Filter) (n int, err error) {
	within, stop := context.WithTimeout(ctx, a.store.opts.Dial+a.store.opts.Timeout)
	defer stop()
	c, err := a.store.connected(within)
	if err != nil {
		return 0, fmt.Errorf("purge answers: %w", err)
	}
	pattern := a.prefix + "*"
	if f.Org != (cache.Tag{}) {
		pattern = a.prefix + f.Org.String() + ":*"
	}
	for _, node := range c.Nodes() {
		err := a.store.scan(ctx, node, pattern, func(name string) error {
			gone, err := a.remove(ctx, name, &f)
			n += gone
			return err
		})
		if err != nil {
			return n, fmt.Errorf("purge answers: %w", err)
		}
	}
	return n, nil
}

// scan goes through the names on one server that fit a pattern, each at least once.
func (s *Store) scan(ctx context.Context, node rueidis.Client, pattern string, do func(name string) error) error {
	for cursor := uint64(0); ; {
		msg, err := s.patiently(ctx, func(ctx context.Context, _ rueidis.Client) rueidis.RedisResult {
			return node.Do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(scanned).Build())
		})
		if err != nil {
			return err
		}
		page, err := msg.AsScanEntry()
		if err != nil {
			return err
		}
		for _, name := range page.Elements {
			if err := do(name); err != nil {
				return err
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

// remove removes an answer, if a filter selects it.
func (a *Answers) remove(ctx context.Context, name string, f *cache.Filter) (int, error) {
	k, ok := a.parse(name)
	if !ok {
		return 0, nil
	}
	var at time.Time
	if !f.Before.IsZero() {
		msg, err := a.store.patiently(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
			return c.Do(ctx, c.B().Getrange().Key(name).Start(0).End(stampN-1).Build())
		})
		if err != nil {
			return 0, err
		}
		if v, err := msg.AsBytes(); err == nil && len(v) == stampN {
			at = time.UnixMilli(int64(binary.BigEndian.Uint64(v)))
		}
	}
	if !f.Matches(&k, at) {
		return 0, nil
	}
	msg, err := a.store.patiently(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Unlink().Key(name).Build())
	})
	if err != nil {
		return 0, err
	}
	gone, err := msg.AsInt64()
	return int(gone), err
}

// Size implements cache.Store: to count them would mean to look at all.
func (a *Answers) Size() (entries, bytes int64) { return -1, -1 }
