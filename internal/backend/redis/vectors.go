package redis

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed" // the script
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"sluice/internal/cache"
)

var (
	//go:embed vectors_keep.lua
	keepVectorsSource string
	keepVectorsScript = rueidis.NewLuaScript(keepVectorsSource)
)

const (
	defaultVectors = 10_000
	maxWaiting     = 256         // entries to be added
	probeAgain     = time.Minute // after which a server without vectors is asked whether it has some now
	maxID          = 512         // bytes
)

// Vectors is an index of vectors that all replicas share: the vector sets of Redis 8. Each space is a set of its own, so that no filter stands
// between two, and a cluster may spread them. Redis 7 and Valkey have none: there every method says cache.ErrNoIndex, after one question a
// minute, and nothing else happens.
//
// Redis takes milliseconds to add a vector, so additions wait in a queue that nobody waits for; a full one loses them. Removals go through the
// same queue, and are waited for. Numbers are kept with 8 bits each: similarities are off by up to some thousandths.
type Vectors struct {
	store  *Store
	prefix string
	most   int
	now    func() time.Time
	queue  chan task

	mu    sync.Mutex // guards what follows
	has   bool       // the server has vectors
	asked time.Time  // when it had none
}

// A task is a change that is to be made.
type task struct {
	run  func(context.Context) error
	done chan error // nil: nobody waits
}

var _ cache.Index = (*Vectors)(nil)

// Vectors makes an index of up to most entries in each space; 0: 10,000. It ends with the store.
func (s *Store) Vectors(most int) *Vectors {
	if most <= 0 {
		most = defaultVectors
	}
	x := &Vectors{store: s, prefix: s.opts.Prefix + ":1:vec:", most: most, now: time.Now, queue: make(chan task, maxWaiting)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Go(x.work)
	}
	return x
}

// work makes the changes, one after the other.
func (x *Vectors) work() {
	ctx := context.Background() // the index's own life: the store bounds every command, and ends this by its stop
	for {
		select {
		case <-x.store.stop:
			return
		case t := <-x.queue:
			err := x.Check(ctx)
			if err == nil {
				err = t.run(ctx)
			}
			if t.done != nil {
				t.done <- err
			} else if err != nil {
				x.store.opts.Log.Debug("redis.vector_lost", "error", err.Error())
			}
		}
	}
}

// Check says whether the server has vectors: nil, cache.ErrNoIndex, or why that is not known.
func (x *Vectors) Check(ctx context.Context) error {
	x.mu.Lock()
	has, asked := x.has, x.asked
	x.mu.Unlock()
	if has {
		return nil
	}
	if !asked.IsZero() && x.now().Sub(asked) < probeAgain {
		return cache.ErrNoIndex
	}
	msg, err := x.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().CommandInfo().CommandName("VADD", "VSIM").Build())
	})
	if err != nil {
		return fmt.Errorf("ask for vectors: %w", err)
	}
	rows, err := msg.ToArray()
	if err != nil {
		return fmt.Errorf("ask for vectors: %w", err)
	}
	has = len(rows) == 2 && !slices.ContainsFunc(rows, func(m rueidis.RedisMessage) bool { return m.IsNil() })
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.has = has; !has {
		if x.asked.IsZero() {
			x.store.opts.Log.Warn("redis.no_vectors", "help", "vector sets came with Redis 8; the semantic cache finds nothing here")
		}
		x.asked = x.now()
		return cache.ErrNoIndex
	}
	return nil
}

// name is the key of a space's set. Whatever a space is called, it has no hash tag and a fixed length.
func (x *Vectors) name(space string) string {
	h := sha256.Sum256([]byte(space))
	return x.prefix + base64.RawURLEncoding.EncodeToString(h[:])
}

// Add implements cache.Index.
func (x *Vectors) Add(_ context.Context, space string, e cache.Entry) error {
	v, ok := cache.Unit(e.Vector)
	if !ok || len(e.ID) > maxID {
		return cache.ErrVector
	}
	if x.hasNone() {
		return cache.ErrNoIndex
	}
	key, vector, id, expires := x.name(space), rueidis.VectorString32(v), e.ID, e.Expires
	select {
	case x.queue <- task{run: func(ctx context.Context) error { return x.put(ctx, key, vector, id, expires) }}:
		return nil
	default:
		return cache.ErrFull
	}
}

// hasNone says whether the server was found to have no vectors a moment ago.
func (x *Vectors) hasNone() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.has && !x.asked.IsZero() && x.now().Sub(x.asked) < probeAgain
}

// put adds an entry. CAS lets Redis look for its neighbours beside its main thread.
func (x *Vectors) put(ctx context.Context, key, vector, id string, expires time.Time) error {
	now := x.now()
	if !expires.After(now) {
		return nil
	}
	end := strconv.FormatInt(expires.UnixMilli(), 10)
	_, err := x.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Vadd().Key(key).Fp32().Vector(vector).Element(id).Cas().Q8().Setattr(`{"exp":`+end+`}`).Build())
	})
	if err != nil {
		return fmt.Errorf("add vector: %w", x.meaning(err))
	}
	_, err = x.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return keepVectorsScript.Exec(ctx, c, []string{key}, []string{strconv.FormatInt(now.UnixMilli(), 10), end, strconv.Itoa(x.most)})
	})
	if err != nil {
		return fmt.Errorf("keep vectors in bounds: %w", x.meaning(err))
	}
	return nil
}

// meaning finds the errors of the package cache in those of Redis.
func (x *Vectors) meaning(err error) error {
	e, ok := errors.AsType[*rueidis.RedisError](err)
	switch {
	case ok && strings.Contains(strings.ToLower(e.Error()), "dimension"):
		return fmt.Errorf("%w: %w", cache.ErrVector, err)
	case ok && strings.Contains(strings.ToLower(e.Error()), "unknown command"): // another server has taken over
		x.mu.Lock()
		defer x.mu.Unlock()
		x.has = false
		return fmt.Errorf("%w: %w", cache.ErrNoIndex, err)
	}
	return err
}

// Nearest implements cache.Index.
func (x *Vectors) Nearest(ctx context.Context, space string, vector []float32, k int) ([]cache.Neighbour, error) {
	v, ok := cache.Unit(vector)
	if !ok {
		return nil, cache.ErrVector
	}
	if k <= 0 {
		return nil, nil
	}
	if err := x.Check(ctx); err != nil {
		return nil, err
	}
	key, q, live := x.name(space), rueidis.VectorString32(v), ".exp > "+strconv.FormatInt(x.now().UnixMilli(), 10)
	msg, err := x.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Vsim().Key(key).Fp32().Vector(q).Withscores().Count(int64(k)).Filter(live).Build())
	})
	if err != nil {
		return nil, fmt.Errorf("find vectors: %w", x.meaning(err))
	}
	return neighbours(msg)
}

// neighbours reads an answer of VSIM, whose scores are no cosines but (1+cosine)/2.
func neighbours(msg rueidis.RedisMessage) ([]cache.Neighbour, error) {
	scores, err := msg.AsMap()
	if err != nil {
		return nil, fmt.Errorf("read vectors: %w", err)
	}
	all := make([]cache.Neighbour, 0, len(scores))
	for id, m := range scores {
		score, err := m.AsFloat64()
		if err != nil {
			return nil, fmt.Errorf("read vectors: %w", err)
		}
		all = append(all, cache.Neighbour{ID: id, Similarity: float32(2*score - 1)})
	}
	slices.SortFunc(all, func(a, b cache.Neighbour) int {
		return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// Remove implements cache.Index.
func (x *Vectors) Remove(ctx context.Context, space string, ids ...string) error {
	key := x.name(space)
	return x.after(ctx, func(ctx context.Context) error {
		for _, id := range ids {
			_, err := x.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
				return c.Do(ctx, c.B().Vrem().Key(key).Element(id).Build())
			})
			if err != nil {
				return fmt.Errorf("remove vector: %w", x.meaning(err))
			}
		}
		return nil
	})
}

// Drop implements cache.Index.
func (x *Vectors) Drop(ctx context.Context, space string) error {
	key := x.name(space)
	return x.after(ctx, func(ctx context.Context) error {
		_, err := x.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
			return c.Do(ctx, c.B().Unlink().Key(key).Build())
		})
		if err != nil {
			return fmt.Errorf("drop vectors: %w", err)
		}
		return nil
	})
}

// after runs f when all that waits now has been done, and waits for it. Where there are no vectors, there are none to be removed.
func (x *Vectors) after(ctx context.Context, f func(context.Context) error) error {
	t := task{run: f, done: make(chan error, 1)}
	select {
	case x.queue <- t:
	case <-x.store.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-t.done:
		if errors.Is(err, cache.ErrNoIndex) {
			return nil
		}
		return err
	case <-x.store.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
