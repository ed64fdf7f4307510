package cache

import (
	"context"
	"time"
)

// A Store keeps answers under keys, or forgets them: it is bounded, and a miss means nothing. Its methods may be called from
// anywhere at any time.
type Store interface {
	// Get gives what was kept under a key; nil: nothing. It takes no longer than a caller can wait (20 ms), whatever becomes of a
	// server behind it, and next to nothing once that server has failed a few times. The value must not be changed.
	Get(ctx context.Context, k Key) ([]byte, error)
	// Set keeps a value until its time has passed. It keeps value itself.
	Set(ctx context.Context, k Key, value []byte, ttl time.Duration) error
	// Purge forgets all that matches, on all replicas that share the store, and tells how many that were. What is set after it
	// began may stay.
	Purge(ctx context.Context, f Filter) (int, error)
	// Size tells how many answers there are and what they take, in bytes, as far as that is known at no cost; -1: it is not.
	Size() (entries, bytes int64)
}

// A Filter selects answers. Each member that is set must match; none set selects all. Answers that a wider scope than the named
// one owns match, too: what may be a team's or a key's is forgotten with it.
type Filter struct {
	Org, Team, Key Tag
	Model          Tag
	Before         time.Time // kept before it; zero: whenever
}

// Matches tells whether an answer is selected.
func (f *Filter) Matches(k *Key, at time.Time) bool {
	is := func(want, have Tag) bool { return want == Tag{} || want == have || have == Tag{} }
	return (f.Org == Tag{} || f.Org == k.Org) && is(f.Team, k.Team) && is(f.Key, k.Key) && (f.Model == Tag{} || f.Model == k.Model) &&
		(f.Before.IsZero() || at.Before(f.Before))
}
