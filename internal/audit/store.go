package audit

import (
	"context"
	"errors"
	"time"
)

// MaxList is how many entries or checkpoints a store gives at once.
const MaxList = 1000

// ErrUnwritten tells that a transaction did not happen because what the log was to have of it could not be stored.
var ErrUnwritten = errors.New("the audit log cannot be written")

// A Store keeps chains, checkpoints and data keys. What it has of the first two it never changes and never deletes; it refuses
// whoever tries. It works for several processes at once.
type Store interface {
	// Together runs do in one transaction: that of ctx where there is one, so that an event is stored with the act that it tells of.
	// do may run again.
	Together(ctx context.Context, do func(context.Context) error) error

	// Head gives the newest entry of a chain, and within a transaction keeps the chain from growing otherwise until that ends. Of an
	// empty chain Seq is 0. With it come the data keys of subjects, by id: whoever appends needs both, and waits once.
	Head(ctx context.Context, org string, subjects []string) (Head, []DataKey, error)
	// Append adds an entry. There must be none with its number. Within a transaction that it cannot be stored may be told at the end of
	// that, then as ErrUnwritten.
	Append(ctx context.Context, e *Entry) error
	// Entries gives entries of one chain with numbers in (after, until], in their order, at most MaxList.
	Entries(ctx context.Context, org string, after, until uint64) ([]Entry, error)
	// Find gives entries that a query fits, the newest first, and by id the data keys of what they seal. Those that are gone are not there.
	Find(ctx context.Context, q *Query) ([]Entry, map[string]DataKey, error)
	// Chains gives the heads of all chains, by name.
	Chains(ctx context.Context) ([]Head, error)

	// Moved gives the heads that no checkpoint states yet, by name.
	Moved(ctx context.Context) ([]Head, error)
	// LastCheckpoint gives the newest, without its heads, and within a transaction keeps others from adding one until that ends. nil:
	// there is none.
	LastCheckpoint(ctx context.Context) (*Checkpoint, error)
	// AddCheckpoint adds one. There must be none with its number.
	AddCheckpoint(ctx context.Context, c *Checkpoint) error
	// Checkpoints gives checkpoints with numbers in (after, until], in their order, at most MaxList.
	Checkpoints(ctx context.Context, after, until uint64) ([]Checkpoint, error)

	// Keys gives the data keys with these ids, by id. Those that are gone are not there.
	Keys(ctx context.Context, ids []string) ([]DataKey, error)
	// AddKey adds a data key. When its failure is told is as with Append.
	AddKey(ctx context.Context, k *DataKey) error
	// DropKeys destroys all data keys of a subject and tells how many there were.
	DropKeys(ctx context.Context, subject string) (int, error)
}

// A Query says which entries are looked for. Zero members do not restrict.
type Query struct {
	Orgs        []string // chains
	Actor       string   // its id, or its kind for those without one
	Act         string   // a glob: keys.*
	Object      string   // its id
	Result      Result
	From, Until time.Time // in [From, Until)
	Before      *Cursor   // older ones than this
	Limit       int
}

// A Cursor is a place in the order of a list: by time, then chain and number.
type Cursor struct {
	At  Time
	Org string
	Seq uint64
}

// less tells whether an entry is older than a place.
func (c *Cursor) after(e *Entry) bool {
	if !e.At.Equal(c.At.Time) {
		return e.At.Before(c.At.Time)
	}
	if e.Org != c.Org {
		return e.Org < c.Org
	}
	return e.Seq < c.Seq
}
