// Package idempotency makes a call that is sent twice happen once: a client names it by an Idempotency-Key,
// and who sends the same again is given the first answer. The rules are those of Stripe's API: one key means
// one request, another body under the same key is refused, a twin of a call under way is refused and may come
// again. Only what succeeded is kept: a retry after a failure is a new try, as the official SDKs, which send a
// key of their own with every call, mean it.
//
// It knows callers by an opaque scope, and answers as bytes.
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"sync"
	"time"

	"sluice/internal/llm"
)

// A Key names one call of one caller.
type Key [sha256.Size]byte

// NewKey makes the key of a caller's own name for a call. Callers never share: the scope is hashed with its length.
func NewKey(scope, name string) Key {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(scope)))
	_, _ = h.Write(n[:])
	_, _ = h.Write([]byte(scope))
	_, _ = h.Write([]byte(name))
	return Key(h.Sum(nil))
}

// A Print tells requests apart.
type Print [sha256.Size]byte

// NewPrint is the print of a request: where it went, and its body as it came.
func NewPrint(path string, body []byte) Print {
	h := sha256.New()
	_, _ = h.Write([]byte(path))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(body)
	return Print(h.Sum(nil))
}

// An Answer is what a call was answered with.
type Answer struct {
	Status int
	Header http.Header // what describes the body, and the call's own request id
	Body   []byte
	Large  bool // it had more than is kept; Body is nil
}

// A State is what is known of a key.
type State int

// The states.
const (
	Ours    State = iota // nobody had it: the call is the caller's to make
	Running              // a twin is under way
	Done                 // a twin was answered
	Large                // a twin was answered, with more than is kept
)

// A Store keeps keys. All methods may be called from anywhere.
type Store interface {
	// Begin claims a key for the claim's owner until lease has passed, or tells what is known of it: the print of
	// the request that has it and, when Done, its answer. It is atomic over all replicas.
	Begin(ctx context.Context, k Key, p Print, owner string, lease time.Duration) (State, Print, *Answer, error)
	// Renew makes a claim last for another lease. False: it is not the owner's any more.
	Renew(ctx context.Context, k Key, p Print, owner string, lease time.Duration) (bool, error)
	// Save keeps the answer for a while and ends the claim. Nil: the answer was too large to be kept.
	Save(ctx context.Context, k Key, p Print, owner string, a *Answer, keep time.Duration) error
	// Drop ends the claim: the call may be made again.
	Drop(ctx context.Context, k Key, p Print, owner string) error
}

// Options say how long things last.
type Options struct {
	Store Store
	Lease time.Duration // of a call under way; renewed while it runs. 0: 30 s
	Keep  time.Duration // of an answer. 0: 24 h
	Most  int           // bytes of an answer that is kept. 0: 1 MiB
}

// Keys are the idempotency keys of all callers.
type Keys struct {
	o    Options
	work sync.WaitGroup
}

// New makes keys.
func New(o Options) *Keys {
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	if o.Keep == 0 {
		o.Keep = 24 * time.Hour
	}
	if o.Most == 0 {
		o.Most = 1 << 20
	}
	return &Keys{o: o}
}

// Most is how many bytes of an answer are kept.
func (k *Keys) Most() int { return k.o.Most }

// Close waits until what runs for claims has ended. All claims must have been finished.
func (k *Keys) Close() { k.work.Wait() }

const maxName = 255 // bytes, as Stripe has it

// Name checks a client's name for its call.
func Name(name string) error {
	if len(name) > maxName {
		return llm.Errorf(llm.KindInvalid, "Idempotency-Key has %d characters; the most is %d", len(name), maxName)
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return llm.Errorf(llm.KindInvalid, "Idempotency-Key may hold visible ASCII characters only")
		}
	}
	return nil
}

// A Claim is the right to make a call. Finish ends it.
type Claim struct {
	keys  *Keys
	key   Key
	print Print
	owner string
	stop  context.CancelFunc
}

// Begin claims a key. Of the claim and the answer one is given, else an error: another request has the key, or
// its twin is under way.
func (k *Keys) Begin(ctx context.Context, key Key, p Print, owner string) (*Claim, *Answer, error) {
	state, had, answer, err := k.o.Store.Begin(ctx, key, p, owner, k.o.Lease)
	switch {
	case err != nil:
		return nil, nil, &llm.Error{
			Kind: llm.KindOverloaded, Msg: "calls with an Idempotency-Key cannot be told apart just now; try again, or leave the header out",
			RetryAfter: time.Second, Err: err,
		}
	case state == Ours:
		c := &Claim{keys: k, key: key, print: p, owner: owner}
		var live context.Context
		live, c.stop = context.WithCancel(context.WithoutCancel(ctx))
		k.work.Go(func() { c.renew(live) })
		return c, nil, nil
	case had != p:
		return nil, nil, llm.Errorf(llm.KindIdempotencyReused, "this Idempotency-Key was used with another request; use a new key for a new request")
	case state == Running:
		return nil, nil, &llm.Error{
			Kind: llm.KindIdempotencyRunning, Msg: "a request with this Idempotency-Key is under way; try again when it has ended", RetryAfter: time.Second,
		}
	case state == Large:
		return nil, nil, llm.Errorf(llm.KindIdempotencyReused, "the request with this Idempotency-Key was answered, but the answer was larger than the %d bytes that are kept", k.o.Most)
	}
	return nil, answer, nil
}

// renew keeps the claim while the call runs, which may take longer than a lease.
func (c *Claim) renew(ctx context.Context) {
	tick := time.NewTicker(c.keys.o.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if ours, err := c.keys.o.Store.Renew(ctx, c.key, c.print, c.owner, c.keys.o.Lease); err == nil && !ours {
				return
			}
		}
	}
}

// Finish ends the claim: with the answer when the call succeeded, nil when it failed or nothing is known of its end.
func (c *Claim) Finish(ctx context.Context, a *Answer) error {
	c.stop()
	if a == nil {
		return c.keys.o.Store.Drop(ctx, c.key, c.print, c.owner)
	}
	if a.Large || len(a.Body) > c.keys.o.Most {
		a = nil
	}
	return c.keys.o.Store.Save(ctx, c.key, c.print, c.owner, a, c.keys.o.Keep)
}
