package cache

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"sync"

	"sluice/internal/auth"
)

// A Level says who may be given whose answers.
type Level string

// The levels, the narrowest first.
const (
	ByKey  Level = "key"          // each key has its own answers
	ByTeam Level = "team"         // the keys of a team share theirs; a key without one shares with nobody
	ByOrg  Level = "organisation" // all keys of an organisation share theirs
)

// A Scope is whose answers a call may be given. It comes from who calls and from nothing that a request says; its zero value is
// nobody's, and nobody has a cache.
type Scope struct{ org, team, key string }

// NewScope is the scope of a caller. False: there is none, so there is no cache for it.
func NewScope(who *auth.Who, level Level) (Scope, bool) {
	if who == nil || who.Org == "" || who.Public() == "" {
		return Scope{}, false
	}
	switch {
	case level == ByOrg:
		return Scope{org: who.Org}, true
	case level == ByTeam && who.Team != "":
		return Scope{org: who.Org, team: who.Team}, true
	}
	return Scope{org: who.Org, team: who.Team, key: who.Public()}, true
}

// A Tag stands for a name in the names of keys: it tells two apart, and nothing of either.
type Tag [8]byte

// String is the tag in hex.
func (t Tag) String() string { return hex.EncodeToString(t[:]) }

// A Key is the name of an answer. Sum alone tells answers apart; the rest is for purging. The tag of what a scope leaves open is
// zero.
type Key struct {
	Org, Team, Key Tag // of the scope
	Model          Tag // as the client named it
	Sum            [sha256.Size]byte
}

// A sealer makes keys: under one secret for all replicas, so that nobody outside can tell whether a question was asked.
type sealer struct{ macs sync.Pool }

func newSealer(secret []byte) *sealer {
	s := &sealer{}
	s.macs.New = func() any { return hmac.New(sha256.New, secret) }
	return s
}

// sum is a MAC over parts, each with its length before it: no two lists of parts are one text.
func (s *sealer) sum(label string, parts ...string) (out [sha256.Size]byte) {
	m := s.macs.Get().(hash.Hash) //nolint:forcetypeassert // nothing else is in the pool
	m.Reset()
	var n [8]byte
	add := func(p string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		_, _ = m.Write(n[:])
		_, _ = m.Write([]byte(p))
	}
	add(label)
	for _, p := range parts {
		add(p)
	}
	m.Sum(out[:0])
	s.macs.Put(m)
	return out
}

// tag is that of a name of a kind; of no name it is zero.
func (s *sealer) tag(kind, name string) (t Tag) {
	if name == "" {
		return t
	}
	sum := s.sum("tag", kind, name)
	copy(t[:], sum[:])
	return t
}

// tagOf is that of something that belongs to an organisation.
func (s *sealer) tagOf(kind, org, name string) Tag {
	if name == "" {
		return Tag{}
	}
	return s.tag(kind, org+"\x00"+name)
}

// keyOf is a scope's part of a key.
func (s *sealer) keyOf(c Scope, model string) Key {
	return Key{Org: s.tag("org", c.org), Team: s.tagOf("team", c.org, c.team), Key: s.tagOf("key", c.org, c.key), Model: s.tag("model", model)}
}
