// Package directory knows who is who: organisations, their teams and users, and the keys that these hold. It
// says what a key may do (its own limits and those of all its owners), and finds keys fast and without the
// store where it can. It decides nothing about who may change what: that is package control.
package directory

import (
	"net/netip"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// DefaultOrganisation is the id of the organisation that every store has from its beginning.
const DefaultOrganisation = "default"

// A Spec is what one subject may do. A field that is left out does not restrict, with one exception: a key
// without models may use none. What a key may do in the end is what its own spec and those of all its owners
// allow together ([Entry.Who]).
type Spec struct {
	Models    []string          // globs of model names, as clients say them; nil: not restricted here (a key: none); empty: none
	Endpoints []llm.Op          // kinds of call; nil: all; empty: none
	Rules     []llm.Rule        // what it may consume; names are unique within a spec
	AllowFrom []netip.Prefix    // where its callers may be; nil: anywhere; empty: nowhere
	Tags      []string          // that a deployment must have to serve it, beside those its owners ask for
	Guards    []string          // that its calls must pass, beside those of its owners and of the model
	Asks      []string          // what its requests may ask for by header (auth.AskStrategy ...); nil: everything
	Cache     string            // how far answers may be kept for it (auth.LeastCache); "": not said here
	Project   string            // on whose account its calls go; the nearest one that is set counts; "": not said here
	Metadata  map[string]string // for people and their tools; nothing here reads it
	Expires   time.Time         // zero: not restricted here
	Disabled  bool              // it, and all that belongs to it, is refused
}

// A Record is what every subject has. Times are in UTC and whole microseconds, which every store keeps.
type Record struct {
	ID      string // never changes and is never used again; see NewID
	Name    string // what people call it
	Created time.Time
	Updated time.Time
	Maker   string // who made it, for people
	Version int64  // 1 at first; each change adds one
	Spec    Spec
}

// Base gives the record of a subject of any kind.
func (r *Record) Base() *Record { return r }

// An Organisation owns teams, users and keys. Nothing of one is ever seen by another.
type Organisation struct {
	Record
}

// A Team is a group of users, and the owner of keys that are nobody's own.
type Team struct {
	Record
	Org string
}

// A User is a person.
type User struct {
	Record
	Org   string
	Email string
	Teams []string // ids, sorted
}

// A Key is what a caller shows. The key itself is nowhere: a store has its hash.
type Key struct {
	Record            // the ID is the key's public part where the key is of our own form
	Org     string    // never ""
	Team    string    // "": none
	User    string    // "": a service key; one with a team must be in that team for the key to work
	Hash    auth.Hash //
	OldHash auth.Hash // of the key before the last rotation; zero: none
	OldEnds time.Time // until when the old one works too
	Rotated time.Time // zero: never
}

// A Kind is a kind of subject.
type Kind string

// The kinds.
const (
	KindOrganisation Kind = "organisation"
	KindTeam         Kind = "team"
	KindUser         Kind = "user"
	KindKey          Kind = "key"
)

// An Entry is a key and all its owners, as they were at one moment.
type Entry struct {
	Key  Key
	User *User // nil: it has none
	Team *Team // nil: it has none
	Org  *Organisation
}

// A Change says that something about a subject is not what it was: it was made, changed or removed.
type Change struct {
	Seq  int64
	Kind Kind
	ID   string
}
