package redis

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"sluice/internal/upstream"
)

var (
	//go:embed sync.lua
	syncSource string
	//go:embed tell.lua
	tellSource string

	syncScript = rueidis.NewLuaScript(syncSource)
	tellScript = rueidis.NewLuaScript(tellSource)
)

const (
	keep        = 24 * time.Hour   // what nobody speaks of any more is gone after it; also the longest time that can be said
	keepBreaker = 10 * time.Minute // past its end
	maxName     = 512              // bytes of a deployment's key, a replica's name or a purpose
	maxRevoked  = 1000
)

// names are the keys and the channel. The first part of a key is a hash tag, so that a script's keys have one slot; the
// second is the version of what they hold. A channel belongs to no database, so its name says which.
type names struct {
	sync, tell     []string
	permit, notice string
}

func newNames(prefix string, db int) names {
	key := func(s string) string { return "{" + prefix + "}:1:" + s }
	latency, breaker, mode, revoked := key("latency"), key("breaker"), key("mode"), key("revoked")
	return names{
		sync:   []string{key("replicas"), key("inflight"), latency, breaker, mode, revoked},
		tell:   []string{latency, breaker, mode, revoked},
		permit: key("permit:"),
		notice: key("notices:" + strconv.Itoa(db)),
	}
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// left says how long it is until a time, in milliseconds, never 0: that means no time at all.
func left(until, now time.Time) int64 {
	if until.IsZero() {
		return 0
	}
	n := min(max(until.Sub(now), -keep), keep).Milliseconds()
	if n == 0 {
		return -1
	}
	return n
}

// after is the time that left came from, on this machine's clock.
func after(now time.Time, left int64) time.Time {
	return now.Add(time.Duration(min(max(left, -keep.Milliseconds()), keep.Milliseconds())) * time.Millisecond)
}

// Sync is as upstream.Shared has it: one round trip. What a server has lost that this store has seen is given back with
// the next report, and is in the picture meanwhile.
func (s *Store) Sync(ctx context.Context, r upstream.Report) (upstream.Picture, error) {
	s.mu.Lock()
	args, err := s.mind.report(r, time.Now())
	s.mu.Unlock()
	if err != nil {
		return upstream.Picture{}, err
	}
	msg, err := s.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return syncScript.Exec(ctx, c, s.names.sync, args)
	})
	if err != nil {
		return upstream.Picture{}, fmt.Errorf("sync: %w", err)
	}
	f, err := readFacts(&msg)
	if err != nil {
		return upstream.Picture{}, fmt.Errorf("sync: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mind.picture(f, r.Replica, time.Now()), nil
}

// Permit is as upstream.Shared has it. A failover may give one permit to two: replication is not waited for.
func (s *Store) Permit(ctx context.Context, purpose string, span time.Duration) (bool, error) {
	if len(purpose) > maxName || span < time.Millisecond || span > keep {
		return false, fmt.Errorf("permit: a purpose of %d bytes for %v", len(purpose), span)
	}
	msg, err := s.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Set().Key(s.names.permit+purpose).Value("1").Nx().PxMilliseconds(span.Milliseconds()).Build())
	})
	if err != nil {
		return false, fmt.Errorf("permit: %w", err)
	}
	return !msg.IsNil(), nil
}

// Tell is as upstream.Shared has it: first kept, then sent. When keeping fails, it is sent all the same.
func (s *Store) Tell(ctx context.Context, n upstream.Notice) error {
	now := time.Now()
	text, err := packNotice(n, now)
	if err != nil {
		return err
	}
	args := []string{
		n.Deployment, n.Mode, strconv.FormatInt(left(n.Until, now), 10), strconv.Itoa(n.Opens), bit(n.Closed), bit(n.Reset), n.RevokedKey,
		strconv.Itoa(upstream.MaxDeployments), strconv.Itoa(maxRevoked), ms(keep),
	}
	kept, err := s.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return tellScript.Exec(ctx, c, s.names.tell, args)
	})
	if err == nil && n.Mode != "" {
		var since int64
		if since, err = kept.AsInt64(); err == nil {
			s.mu.Lock()
			s.mind.learn(n.Deployment, word{since, n.Mode})
			s.mu.Unlock()
		}
	}
	_, sent := s.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Publish().Channel(s.names.notice).Message(text).Build())
	})
	if err := errors.Join(err, sent); err != nil {
		return fmt.Errorf("tell: %w", err)
	}
	return nil
}

// Listen is as upstream.Shared has it. It also ends when the store is closed.
func (s *Store) Listen(ctx context.Context, f func(upstream.Notice)) error {
	wait := minRest
	for {
		client, err := s.connected(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		s.listening(1)
		_ = client.Receive(ctx, client.B().Subscribe().Channel(s.names.notice).Build(), func(m rueidis.PubSubMessage) {
			if n, ok := readNotice(m.Message, time.Now()); ok {
				f(n)
			}
		})
		s.listening(-1)
		if time.Since(began) > maxRest {
			wait = minRest
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stop:
			return ErrClosed
		case <-time.After(wait):
			wait = min(2*wait, maxRest)
		}
	}
}

func (s *Store) listening(n int) {
	s.mu.Lock()
	s.state.Listens += n
	s.mu.Unlock()
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
