// Package redis keeps what replicas share in Redis or in what speaks its protocol: upstream.Shared. It knows nothing
// that could not be lost: what a reply costs, whom a key belongs to and where calls go are others' business. No call
// waits longer than its time, and while Redis is gone nobody waits at all (docs/high-availability.md).
package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"sluice/internal/circuit"
	"sluice/internal/upstream"
)

var (
	// ErrResting is the error of a call that was not tried, because those before it failed.
	ErrResting = errors.New("redis: not tried: it failed a moment ago")
	// ErrClosed is the error of every call after Close.
	ErrClosed = errors.New("redis: the store is closed")
)

var (
	errSlow = errors.New("no answer in time")
	errBusy = errors.New("too many calls wait for it")
)

const (
	maxRunning = 64                     // calls under way, those that nobody waits for any more included
	minRest    = 100 * time.Millisecond // between tries of a server that does not answer
	maxRest    = time.Second
)

// A Store is one replica's access to what all share. Its methods may be called at any time from anywhere.
type Store struct {
	opts  Options
	db    int
	names names
	work  sync.WaitGroup
	stop  chan struct{} // closed by Close
	ready chan struct{} // closed when client is there
	slots chan struct{} // one for each call under way

	dial   rueidis.ClientOption
	client rueidis.Client  // once ready is closed
	rest   circuit.Breaker // leaves a server alone that does not answer

	mu     sync.Mutex // guards what follows
	closed bool
	begun  bool // it connects, or has
	state  State
	said   bool // whether it is up has been told the log
	mind   mind
}

var _ upstream.Shared = (*Store)(nil)

// A State is how the store fares, for operators.
type State struct {
	Kind    string    // single, sentinel or cluster
	Up      bool      // the last call succeeded
	Since   time.Time // that it is so
	Error   string    // of the last call that failed, if it is not up
	Failed  int64     // calls tried in vain
	Skipped int64     // calls not tried, because those before had failed
	Listens int       // subscriptions that stand
}

// Open makes a store. It connects by itself, in the background: a Redis that is down is no error, but options that
// cannot be right are. Close ends it.
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	s := &Store{
		opts: o, dial: c, db: c.SelectDB, names: newNames(o.Prefix, c.SelectDB), stop: make(chan struct{}), ready: make(chan struct{}),
		slots: make(chan struct{}, maxRunning), state: State{Kind: o.kind(), Since: time.Now(), Error: "not connected yet"}, mind: newMind(),
		rest: circuit.Breaker{After: 3, Rest: minRest, MaxRest: maxRest},
	}
	if !o.Lazy {
		s.begin()
	}
	return s, nil
}

// begin begins to connect, unless that was done before.
func (s *Store) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun && !s.closed {
		s.begun = true
		s.work.Go(s.connect)
	}
}

// connect tries until there is a client, which from then on connects again by itself.
func (s *Store) connect() {
	for wait := minRest; ; wait = min(2*wait, maxRest) {
		c, err := rueidis.NewClient(s.dial)
		if err == nil {
			s.client = c
			close(s.ready)
			return
		}
		if c != nil {
			c.Close()
		}
		s.note(err)
		select {
		case <-s.stop:
			return
		case <-time.After(wait):
		}
	}
}

// Close ends all that is under way and waits for it.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.work.Wait()
	select {
	case <-s.ready:
		s.client.Close()
	default:
	}
	return nil
}

// State tells how it fares.
func (s *Store) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// note keeps how a call ended, and says so in the log when that has changed.
func (s *Store) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	up := err == nil
	if up {
		s.state.Error = ""
	} else {
		s.state.Failed++
		s.state.Error = err.Error()
	}
	if up == s.state.Up && s.said {
		return
	}
	if up != s.state.Up {
		s.state.Up, s.state.Since = up, time.Now()
	}
	s.said = true
	if up {
		s.opts.Log.Info("redis.up", "kind", s.state.Kind)
	} else {
		s.opts.Log.Warn("redis.down", "kind", s.state.Kind, "error", s.state.Error)
	}
}

// A reply is what a command gave.
type reply struct {
	msg rueidis.RedisMessage
	err error
}

// do runs a command and waits for it for as long as a caller may wait. The command itself may take longer, to connect:
// then its work serves the next one.
func (s *Store) do(ctx context.Context, f func(context.Context, rueidis.Client) rueidis.RedisResult) (rueidis.RedisMessage, error) {
	if !s.enter() {
		return rueidis.RedisMessage{}, ErrResting
	}
	r := s.wait(ctx, f)
	if r.err != nil {
		r.err = fmt.Errorf("redis: %w", r.err)
	}
	s.leave(ctx, r.err)
	if !errors.Is(r.err, ErrClosed) && ctx.Err() == nil {
		s.note(r.err)
	}
	return r.msg, r.err
}

// enter says whether to try now, and counts where not. Each true is followed by one leave.
func (s *Store) enter() bool {
	if s.rest.Allow(time.Now()) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Skipped++
	return false
}

// leave says how a try for a caller ended. One who gave up says nothing about Redis.
func (s *Store) leave(ctx context.Context, err error) {
	switch {
	case err == nil:
		s.rest.Succeed()
	case ctx.Err() != nil:
		s.rest.Cancel()
	default:
		s.rest.Fail(time.Now())
	}
}

// outcome says how a try ended that nobody gave up.
func (s *Store) outcome(err error, now time.Time) {
	switch {
	case errors.Is(err, ErrClosed):
		return
	case err != nil:
		s.rest.Fail(now)
		s.note(fmt.Errorf("redis: %w", err))
		return
	}
	s.rest.Succeed()
	if s.down() {
		s.note(nil)
	}
}

// down says whether the last call failed.
func (s *Store) down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.state.Up
}

// patiently runs a command for somebody who has time: it is tried however those before it fared, and may take a second.
func (s *Store) patiently(ctx context.Context, f func(context.Context, rueidis.Client) rueidis.RedisResult) (rueidis.RedisMessage, error) {
	ctx, stop := context.WithTimeoutCause(ctx, time.Second, errSlow)
	defer stop()
	client, err := s.connected(ctx)
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	return f(ctx, client).ToMessage()
}

func (s *Store) wait(ctx context.Context, f func(context.Context, rueidis.Client) rueidis.RedisResult) reply {
	caller, cancel := context.WithTimeoutCause(ctx, s.opts.Timeout, errSlow)
	defer cancel()
	done := make(chan reply, 1)
	if err := s.start(func() { done <- s.run(context.WithoutCancel(ctx), f) }); err != nil {
		return reply{err: err}
	}
	select {
	case r := <-done:
		return r
	case <-caller.Done():
		return reply{err: context.Cause(caller)}
	}
}

// start runs f, unless too many run already.
func (s *Store) start(f func()) error {
	select {
	case s.slots <- struct{}{}:
	default:
		return errBusy
	}
	err := s.own(func() {
		defer func() { <-s.slots }()
		f()
	})
	if err != nil {
		<-s.slots
	}
	return err
}

// own runs f, which Close waits for.
func (s *Store) own(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.work.Go(f)
	return nil
}

func (s *Store) run(ctx context.Context, f func(context.Context, rueidis.Client) rueidis.RedisResult) reply {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Dial+s.opts.Timeout)
	defer cancel()
	client, err := s.connected(ctx)
	if err != nil {
		return reply{err: err}
	}
	msg, err := f(ctx, client).ToMessage()
	if rueidis.IsRedisNil(err) {
		return reply{msg: msg}
	}
	return reply{msg, err}
}

// connected waits for the first connection.
func (s *Store) connected(ctx context.Context) (rueidis.Client, error) {
	select {
	case <-s.stop:
		return nil, ErrClosed
	default:
	}
	select {
	case <-s.ready:
		return s.client, nil
	default:
		s.begin()
	}
	select {
	case <-s.ready:
		return s.client, nil
	case <-s.stop:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
