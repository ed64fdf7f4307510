package directory

import (
	"context"
	"errors"

	"sluice/internal/auth"
)

// What a Store answers beside values. Every other error means that the store could not do its work.
var (
	ErrNotFound = errors.New("there is no such record")
	ErrExists   = errors.New("the id, name or key is taken")
	ErrVersion  = errors.New("the record was changed since it was read")
	ErrInUse    = errors.New("something still belongs to the record")
	ErrNoOwner  = errors.New("an owner that the record names does not exist")
)

// A Store keeps the directory. It may be shared by many replicas of this release and of the next.
//
// Every method is one transaction: all of it happens, or nothing. What was stored is seen by every later
// call, from any replica. Values given and returned belong to the caller: a store keeps copies. A Spec is kept
// as [Spec.MarshalText] writes it. All strings may hold any Unicode text, without NUL; none may ever become a
// part of a statement.
type Store interface {
	Organisations() Table[Organisation]
	Teams() Table[Team]
	Users() Table[User]
	Keys() Table[Key]

	// ByHash finds the key that has this Hash or OldHash, and its owners, in one snapshot. It returns nil and
	// no error where there is none. It costs the same for known and unknown keys, and does not cost more where
	// there are more of them. Whether an OldHash is still good is not the store's business.
	ByHash(ctx context.Context, h auth.Hash) (*Entry, error)

	// Changes lists what was changed after seq, oldest first, at most 1,000. Every Create, Update and Delete
	// makes one change of its own in its own transaction. A change never appears with a number below one that
	// a reader has already seen: writers are serialised, or numbers given at commit. ErrGap: some changes
	// after seq are no longer known; a store keeps them for an hour at least.
	Changes(ctx context.Context, seq int64) ([]Change, error)

	// Newest is the number of the newest change, 0 where there was none yet.
	Newest(ctx context.Context) (int64, error)

	// Note keeps a value under a name for ever, unless there is one already, and returns the one that is kept.
	// With an empty value it only reads; "": there is none.
	Note(ctx context.Context, name, value string) (kept string, err error)
}

// ErrGap is Changes' answer to a reader who was away for too long.
var ErrGap = errors.New("older changes are no longer kept")

// A Table keeps the records of one kind.
//
// Names are unique: an organisation's in the store, a team's and a user's in their organisation, a key's among
// those with the same organisation, team and user. Upper and lower case differ. Key hashes, old and new, are
// unique in the store. A record's owners (a user's teams among them) must exist in its own organisation when it
// is stored.
type Table[T Organisation | Team | User | Key] interface {
	// Get reads one record. ErrNotFound.
	Get(ctx context.Context, id string) (*T, error)

	// List reads records in the order of their ids. next is "" at the end, else what After must be for more.
	List(ctx context.Context, f Filter) (list []T, next string, err error)

	// Create stores a new record and sets its Version to 1. ErrExists, ErrNoOwner.
	Create(ctx context.Context, t *T) error

	// Update replaces a record whose Version is still t's, and adds one to both. ID, Org, Created and Maker
	// stay what they were. ErrNotFound, ErrVersion, ErrExists, ErrNoOwner.
	Update(ctx context.Context, t *T) error

	// Delete removes a record whose version is still this one. ErrNotFound, ErrVersion; ErrInUse while a team,
	// user or key belongs to it (a team: also while a user is in it).
	Delete(ctx context.Context, id string, version int64) error
}

// MaxList is how many records one List returns at most.
const MaxList = 500

// A Filter says which records to list. Fields that a kind does not have must be "".
type Filter struct {
	Org   string // "": of all
	Team  string // keys of the team, users in the team; "": of all
	User  string // keys of the user; "": of all
	Name  string // exactly this name; "": any
	Guard string // whose own calls must pass it: no index helps; "": any
	After string // only ids after it, by bytes
	Limit int    // 0 or more than MaxList: MaxList
}
