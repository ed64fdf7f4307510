package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"sluice/internal/cache"
)

// Spaced are Vectors that know the names of their spaces, so that those of one tenant can be dropped: a name beside each set, which lasts
// as long as its last entry.
type Spaced struct{ *Vectors }

var _ cache.Index = Spaced{}

// Spaced makes an index as Vectors does.
func (s *Store) Spaced(most int) Spaced { return Spaced{s.Vectors(most)} }

func (x Spaced) marker() string { return x.store.opts.Prefix + ":1:vecspace:" }

// Add implements cache.Index. The name is written first: a set without a name would outlive a purge.
func (x Spaced) Add(ctx context.Context, space string, e cache.Entry) error {
	left := e.Expires.Sub(x.now())
	if left <= 0 || x.hasNone() {
		return x.Vectors.Add(ctx, space, e)
	}
	select {
	case x.queue <- task{run: func(ctx context.Context) error { return x.mark(ctx, space, left) }}:
	default:
		return cache.ErrFull
	}
	return x.Vectors.Add(ctx, space, e)
}

// mark writes a space's name down. A longer life that it has already is kept.
func (x Spaced) mark(ctx context.Context, space string, d time.Duration) error {
	name := x.marker() + space
	msg, err := x.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Set().Key(name).Value("1").Nx().PxMilliseconds(d.Milliseconds()).Build())
	})
	if err == nil && msg.IsNil() { // it is there
		_, err = x.store.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
			return c.Do(ctx, c.B().Pexpire().Key(name).Milliseconds(d.Milliseconds()).Gt().Build())
		})
	}
	if err != nil {
		return fmt.Errorf("name space of vectors: %w", err)
	}
	return nil
}

// Drop implements cache.Index.
func (x Spaced) Drop(ctx context.Context, space string) error {
	err := x.Vectors.Drop(ctx, space)
	if err != nil {
		return err
	}
	_, err = x.store.patiently(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Unlink().Key(x.marker()+space).Build())
	})
	return err
}

// Spaces are the names of the spaces that have something in them.
func (x Spaced) Spaces(ctx context.Context) (all []string, err error) {
	within, stop := context.WithTimeout(ctx, x.store.opts.Dial+x.store.opts.Timeout)
	defer stop()
	c, err := x.store.connected(within)
	if err != nil {
		return nil, fmt.Errorf("list spaces of vectors: %w", err)
	}
	for _, node := range c.Nodes() {
		err = errors.Join(err, x.store.scan(ctx, node, x.marker()+"*", func(name string) error {
			all = append(all, strings.TrimPrefix(name, x.marker()))
			return nil
		}))
	}
	return all, err
}
