// Package cache answers a call with an answer that was given before. It knows neither stores' technology nor models
// of embeddings: both come to it behind the interfaces that it declares.
package cache

import (
	"context"
	"errors"
	"time"
)

// Errors of an Index that say that asking again would not help. What was asked is a miss all the same.
var (
	// ErrVector is a vector that has no direction, holds what is no number, or is not as long as its space's others.
	ErrVector = errors.New("the vector does not fit its space")
	// ErrNoIndex is an index whose server cannot hold vectors.
	ErrNoIndex = errors.New("no vectors can be held here")
	// ErrFull is an entry that was not taken, because too many wait already.
	ErrFull = errors.New("too many entries wait to be added")
)

// An Embedder turns a text into a vector: texts that mean the same have a small angle between them. How small depends on the
// embedder, so a threshold belongs to its ID, and vectors of two IDs are never compared: the ID is part of a space's name.
// Its methods may be called from anywhere at any time.
type Embedder interface {
	// ID names the model, its revision, its quantisation and its dimension, in letters, digits and "-._/:". It changes whenever
	// the same text may get another vector, and only then.
	ID() string
	// Dim is how many numbers each vector has.
	Dim() int
	// Embed gives a vector of length one that is the caller's to keep. It ends with ctx. A text of which the embedder would not see
	// the whole is an error (llm.KindInvalid), never the vector of its beginning.
	Embed(ctx context.Context, text string) ([]float32, error)
}

// An Entry is a vector and what it stands for.
type Entry struct {
	ID      string    // of the answer, unique within its space: an entry of the same ID is replaced
	Vector  []float32 // of any length but zero; not kept, and not changed
	Expires time.Time // it is found until then at the latest
}

// A Neighbour is an entry that was found.
type Neighbour struct {
	ID         string
	Similarity float32 // the cosine of the angle, from -1 to 1
}

// An Index finds the entries that are nearest to a vector. A space is one partition: everything that two callers must have in
// common to share an answer, who pays and the embedder's ID among it. Nothing that was added to one space is ever found in another, and
// no filter stands between them: an index keeps spaces apart by construction.
//
// An index may forget any entry at any time (it is bounded), so a miss means nothing. It may still tell an entry whose
// answer is gone: whoever notices removes it. Methods may be called from anywhere at any time, each ends with its ctx, and none has
// an effect that is wrong if it is done twice.
type Index interface {
	// Add makes an entry known, soon: it may return before the entry is found, and never waits for a server. An error says that the
	// entry is lost.
	Add(ctx context.Context, space string, e Entry) error
	// Nearest tells up to k entries of the space, the most similar first. A space that nobody added to has none.
	Nearest(ctx context.Context, space string, vector []float32, k int) ([]Neighbour, error)
	// Remove forgets entries. Those that are not there are no error. An Add before it in the same process is not done after it.
	Remove(ctx context.Context, space string, ids ...string) error
	// Drop forgets a whole space.
	Drop(ctx context.Context, space string) error
}
