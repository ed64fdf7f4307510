// Package settings keeps the revisions of one document: the objects of the configuration that are set by the API instead of by the
// file, which may change while the gateway runs. Each revision is kept as it was; the newest holds. It also keeps which revision
// each replica runs on. What the document says is package config's business.
package settings

import (
	"context"
	"errors"
	"time"
)

// What a Store answers beside values. Every other error means that the store could not do its work.
var (
	ErrNotFound = errors.New("there is no such revision")
	ErrTaken    = errors.New("another revision has that number")
)

// A Revision is the document at one time, and how it came to be so.
type Revision struct {
	Number   int64 // from 1, without gaps
	Based    int64 // the revision whose content was changed, or for a roll back, taken; 0: none
	At       time.Time
	By       string // who made it
	Act      string // what they did: models.create fast
	Why      string // what they said about it
	Document []byte // YAML; secrets stand in it as references
}

// A Replica is what one gateway says of itself.
type Replica struct {
	ID       string
	Revision int64 // that it runs on; 0: on the file alone
	Refused  int64 // that it could not take up; 0: none
	Problem  string
	Seen     time.Time // by the store's clock
}

// Silence is for how long a replica that says nothing is still listed.
const Silence = 30 * time.Second

// MaxList is how many revisions one List returns at most.
const MaxList = 500

// A Store keeps revisions. Each method is one transaction, or joins the one that its context carries. Values given and returned
// belong to the caller.
type Store interface {
	// Newest is the number of the newest revision; 0: there is none. It costs next to nothing: replicas ask twice a second.
	Newest(ctx context.Context) (int64, error)

	// Get reads a revision; 0: the newest. ErrNotFound.
	Get(ctx context.Context, number int64) (*Revision, error)

	// List reads revisions below a number (0: all), the newest first, without their documents; at most limit of them, or MaxList.
	List(ctx context.Context, below int64, limit int) ([]Revision, error)

	// Append adds the revision whose number is one above the newest. ErrTaken where it is not: somebody has been faster.
	Append(ctx context.Context, r *Revision) error

	// Report keeps what a replica says; Seen is now. What others said long ago is dropped.
	Report(ctx context.Context, r *Replica) error

	// Replicas lists those that were heard of within Silence, by id.
	Replicas(ctx context.Context) ([]Replica, error)
}
