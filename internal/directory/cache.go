package directory

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// A Source is what a Cache needs of a Store.
type Source interface {
	ByHash(ctx context.Context, h auth.Hash) (*Entry, error)
	Changes(ctx context.Context, seq int64) ([]Change, error)
	Newest(ctx context.Context) (int64, error)
}

// CacheOptions say what a Cache keeps. Zero means the default.
type CacheOptions struct {
	Source  Source
	Known   int           // keys that are kept; 100,000
	Unknown int           // hashes that are remembered to be nobody's; 100,000
	Poll    time.Duration // how often the source is asked what has changed; 500 ms
	Refresh time.Duration // after which a key in use is read anew in the background; 5 min
	Age     time.Duration // for how long a known key goes on while the source cannot be reached; 15 min
	Loads   int           // look-ups at the source at a time; 32
	Log     *slog.Logger  // nil: none
	Now     func() time.Time

	// Bind adds to each caller what others than its owners say of it, before anybody sees it. When that changes,
	// call Forget.
	Bind func(*auth.Who)
}

const (
	loadTimeout = 2 * time.Second
	loadPause   = 500 * time.Millisecond // after a failed look-up, in which others fail at once
	unknownAge  = time.Minute            // a key may be stored after it was tried, without our hearing of it
)

// A Cache is auth.Keys in front of a Source, for a whole replica.
//
// What it has found stays until the source says that it changed (Run asks), until somebody calls Invalidate, or
// until others are used more. While the source cannot be reached, keys found before go on for Age since the last
// time that it was known that nothing had changed; a key not found before is then refused with 503, never 401.
// Unknown keys are remembered apart from known ones: no flood of them takes the place of a key in use.
type Cache struct {
	o       CacheOptions
	known   *recent[*known]
	unknown *recent[time.Time] // when it was looked up
	room    chan struct{}      // a place for each look-up at the source
	stale   chan auth.Hash     // keys to be read anew
	synced  atomic.Int64       // until when all changes have been heard, in nanoseconds
	paused  atomic.Int64       // until when look-ups fail at once, in nanoseconds
	changed atomic.Int64       // when a key changed last: what was unknown before may be known, in nanoseconds

	mu      sync.Mutex // guards the rest, and what is written to known against Invalidate
	flights map[auth.Hash]*flight
	hashes  map[string][]auth.Hash // of known, by the key's id: there are two during a rotation
}

// A known is a key that was found. It is immutable but for asked.
type known struct {
	who   *auth.Who
	at    time.Time   // the source was asked no earlier
	asked atomic.Bool // to be read anew
}

// A flight is a look-up at the source that is under way.
type flight struct {
	done chan struct{} // closed when who and err are set
	who  *auth.Who
	err  error
	old  bool // something was changed since it began: its result must not be kept
}

// NewCache makes a cache; Run keeps it true.
func NewCache(o CacheOptions) *Cache {
	def := func(v *int, n int) {
		if *v <= 0 {
			*v = n
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.Known, 100_000)
	def(&o.Unknown, 100_000)
	def(&o.Loads, 32)
	wait(&o.Poll, 500*time.Millisecond)
	wait(&o.Refresh, 5*time.Minute)
	wait(&o.Age, 15*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Bind == nil {
		o.Bind = func(*auth.Who) {}
	}
	return &Cache{
		o: o, known: newRecent[*known](o.Known), unknown: newRecent[time.Time](o.Unknown), flights: make(map[auth.Hash]*flight),
		hashes: make(map[string][]auth.Hash), room: make(chan struct{}, o.Loads), stale: make(chan auth.Hash, 256),
	}
}

// Key implements auth.Keys.
func (c *Cache) Key(ctx context.Context, h auth.Hash) (*auth.Who, error) {
	now := c.o.Now()
	if k, ok := c.known.get(h, now); ok && now.Sub(c.good(k.at)) < c.o.Age {
		if now.Sub(k.at) > c.o.Refresh && k.asked.CompareAndSwap(false, true) {
			select {
			case c.stale <- h:
			default: // many are: this one's turn comes with a later call
				k.asked.Store(false)
			}
		}
		return k.who, nil
	}
	if at, ok := c.unknown.get(h, now); ok && now.Sub(at) < unknownAge && at.UnixNano() > c.changed.Load() {
		return nil, nil //nolint:nilnil // the interface asks for it
	}
	return c.load(ctx, h)
}

// good is the last moment at which what was read at a time was known to be true.
func (c *Cache) good(at time.Time) time.Time {
	if synced := time.Unix(0, c.synced.Load()); synced.After(at) {
		return synced
	}
	return at
}

// load looks a key up at the source. Callers that want the same key at a time share one look-up.
func (c *Cache) load(ctx context.Context, h auth.Hash) (*auth.Who, error) {
	c.mu.Lock()
	f := c.flights[h]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flights[h] = f
		c.mu.Unlock()
		// It outlives the caller who began it: others may wait for it.
		c.fly(context.WithoutCancel(ctx), h, f)
		return f.who, f.err
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.who, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Cache) fly(ctx context.Context, h auth.Hash, f *flight) {
	ctx, stop := context.WithTimeout(ctx, loadTimeout)
	defer stop()
	at := c.o.Now()
	entry, err := c.ask(ctx, h, at)
	var who *auth.Who
	if entry != nil {
		who = entry.Who(h)
		c.o.Bind(who)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		f.err = &llm.Error{Kind: llm.KindOverloaded, Msg: "API keys cannot be looked up just now; try again", RetryAfter: 2 * time.Second, Err: err}
	case who == nil:
		if k, ok := c.known.get(h, at); ok {
			c.drop(h, k)
		}
		if !f.old {
			c.unknown.put(h, at, at)
		}
	default:
		if f.who = who; !f.old {
			c.keep(h, &known{who: who, at: at})
		}
	}
	if c.flights[h] == f {
		delete(c.flights, h)
	}
	close(f.done)
}

var errPaused = errors.New("the key store failed a moment ago")

// ask waits for a place and asks the source. After a failure nobody does for a moment: a store that is in
// trouble is not helped by being asked for every call.
func (c *Cache) ask(ctx context.Context, h auth.Hash, now time.Time) (*Entry, error) {
	if now.UnixNano() < c.paused.Load() {
		return nil, errPaused
	}
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.room }()
	entry, err := c.o.Source.ByHash(ctx, h)
	if err != nil {
		c.paused.Store(c.o.Now().Add(loadPause).UnixNano())
	}
	return entry, err
}

// Stats are what a cache holds.
type Stats struct {
	Known, Unknown int
	Synced         time.Time // until when all changes have been heard
}

// Stats counts what the cache holds.
func (c *Cache) Stats() Stats {
	return Stats{c.known.len(), c.unknown.len(), time.Unix(0, c.synced.Load())}
}

// Invalidate makes the cache forget all that the changes touch. When it returns, no later call of Key sees what
// was true before.
func (c *Cache) Invalidate(changes ...Change) {
	if len(changes) == 0 {
		return
	}
	owners := make(map[Kind]map[string]bool)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outdate()
	for _, ch := range changes {
		if ch.Kind != KindKey {
			if owners[ch.Kind] == nil {
				owners[ch.Kind] = make(map[string]bool)
			}
			owners[ch.Kind][ch.ID] = true
			continue
		}
		c.changed.Store(c.o.Now().UnixNano())
		for _, h := range c.hashes[ch.ID] {
			c.known.remove(h)
		}
		delete(c.hashes, ch.ID)
	}
	if len(owners) > 0 { // this is rare, and looks at every key
		users, teams, orgs := owners[KindUser], owners[KindTeam], owners[KindOrganisation]
		c.dropAll(func(w *auth.Who) bool { return users[w.User] || teams[w.Team] || orgs[w.Org] })
	}
}

// Forget makes the cache forget everything.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outdate()
	c.changed.Store(c.o.Now().UnixNano())
	c.dropAll(func(*auth.Who) bool { return true })
}

// outdate makes look-ups under way count for those only who wait for them already. Its caller holds mu, as
// those of the next three do.
func (c *Cache) outdate() {
	for _, f := range c.flights {
		f.old = true
	}
	clear(c.flights)
}

func (c *Cache) keep(h auth.Hash, k *known) {
	if old, ok := c.known.get(h, k.at); ok {
		c.drop(h, old)
	}
	if out, gone, evicted := c.known.put(h, k, k.at); evicted {
		c.drop(out, gone)
	}
	c.hashes[k.who.ID] = append(c.hashes[k.who.ID], h)
}

func (c *Cache) drop(h auth.Hash, k *known) {
	c.known.remove(h)
	list := slices.DeleteFunc(c.hashes[k.who.ID], func(other auth.Hash) bool { return other == h })
	if c.hashes[k.who.ID] = list; len(list) == 0 {
		delete(c.hashes, k.who.ID)
	}
}

func (c *Cache) dropAll(pick func(*auth.Who) bool) {
	var out []auth.Hash
	var gone []*known
	c.known.each(func(h auth.Hash, k *known) {
		if pick(k.who) {
			out, gone = append(out, h), append(gone, k)
		}
	})
	for i, h := range out {
		c.drop(h, gone[i])
	}
}

// Run hears of changes and reads keys in use anew, until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	var refreshing sync.WaitGroup
	refreshing.Go(func() { c.refresh(ctx) })
	defer refreshing.Wait()
	tick := time.NewTicker(c.o.Poll)
	defer tick.Stop()
	seq, lost := int64(-1), false
	for {
		next, err := c.poll(ctx, seq)
		seq = next
		if failed := err != nil && ctx.Err() == nil; failed != lost {
			lost = failed
			if failed {
				c.o.Log.Error("key store lost; known keys go on for a while", "event", "keys_lost", "for", c.o.Age.String(), "error", err.Error())
			} else {
				c.o.Log.Info("key store is back", "event", "keys_back")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// poll hears all changes after seq and returns the newest number. A seq of -1, and changes that are no longer
// known, mean that everything may have changed.
func (c *Cache) poll(ctx context.Context, seq int64) (int64, error) {
	for {
		at := c.o.Now()
		within, stop := context.WithTimeout(ctx, loadTimeout)
		var list []Change
		var err error
		if seq >= 0 {
			list, err = c.o.Source.Changes(within, seq)
		}
		if seq < 0 || errors.Is(err, ErrGap) {
			if seq, err = c.o.Source.Newest(within); err == nil {
				c.Forget()
			} else {
				seq = -1
			}
		}
		stop()
		if err != nil {
			return seq, err
		}
		c.Invalidate(list...)
		if len(list) == 0 {
			c.synced.Store(at.UnixNano())
			return seq, nil
		}
		seq = list[len(list)-1].Seq
	}
}

// refresh reads keys anew that are in use and were read long ago: a change that was made past the directory, in
// the database itself, is seen in the end.
func (c *Cache) refresh(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case h := <-c.stale:
			if _, err := c.load(ctx, h); err != nil {
				if k, ok := c.known.get(h, c.o.Now()); ok {
					k.asked.Store(false)
				}
			}
		}
	}
}
