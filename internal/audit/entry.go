package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Version is that of the encodings that hashes cover. Another one is another label, so that no bytes mean two things.
const Version = 1

// A Hash is one of SHA-256.
type Hash [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler: lower hex.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(h) {
		return fmt.Errorf("a hash has %d digits", 2*len(h))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// A Time is a time in whole microseconds of UTC, which has one form only.
type Time struct{ time.Time }

const timeForm = "2006-01-02T15:04:05.000000Z"

// At is a time as the log keeps it.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Microsecond)} }

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return t.AppendFormat(nil, timeForm), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Time) UnmarshalText(b []byte) (err error) {
	t.Time, err = time.Parse(timeForm, string(b))
	return err
}

func (t Time) String() string { return t.Format(timeForm) }

// A Ref names somebody or something without saying anything personal.
type Ref struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitzero"`
}

// An Entry is an event as its chain keeps it. Everything but Hash, and what of a Sealed is only in exports, is what the hash covers.
type Entry struct {
	Version int    `json:"v"`
	Org     string `json:"org"`                // the chain
	Seq     uint64 `json:"seq"`                // from 1, without gaps
	At      Time   `json:"at"`                 // never before that of the entry before it
	Behind  int64  `json:"behind_us,omitzero"` // by how many microseconds the clock was behind At
	Actor   Ref    `json:"actor"`
	Act     string `json:"act"`
	Object  Ref    `json:"object,omitzero"`
	Result  Result `json:"result"`
	Request string `json:"request,omitzero"`
	Said    Sealed `json:"said"`             // an Account, under the key of whoever acted
	Changed Sealed `json:"changed,omitzero"` // a Change, under the key of whose it is
	Prev    Hash   `json:"prev"`             // of the entry before it; zeros for the first
	Hash    Hash   `json:"hash"`
}

// An Account is what is personal about the actor of an act.
type Account struct {
	Name   string `json:"name,omitzero"`
	From   string `json:"from,omitzero"`
	Why    string `json:"why,omitzero"`
	Detail string `json:"detail,omitzero"`
}

// A Change is what may be personal about the object of an act.
type Change struct {
	Name   string         `json:"name,omitzero"`
	Before jsontext.Value `json:"before,omitzero"`
	After  jsontext.Value `json:"after,omitzero"`
}

// sum is the hash that an entry must have.
func (e *Entry) sum() Hash {
	c := begin("sluice audit entry v1")
	c.text(e.Org).number(e.Seq).text(e.At.String()).number(uint64(e.Behind))
	c.text(e.Actor.Kind).text(e.Actor.ID).text(e.Act).text(e.Object.Kind).text(e.Object.ID).text(string(e.Result)).text(e.Request)
	for _, s := range []*Sealed{&e.Said, &e.Changed} {
		c.text(s.Key).bytes(s.Data)
	}
	return c.bytes(e.Prev[:]).sum()
}

// A covering puts values under a hash, so that no two lists of them give the same bytes: each begins with its length.
type covering struct{ hash.Hash }

func begin(label string) covering { return covering{sha256.New()}.text(label) }

func (c covering) bytes(b []byte) covering {
	c.number(uint64(len(b)))
	_, _ = c.Write(b) // a hash takes everything
	return c
}

func (c covering) text(s string) covering { return c.bytes([]byte(s)) }

func (c covering) number(n uint64) covering {
	_, _ = c.Write(binary.BigEndian.AppendUint64(nil, n)) // a hash takes everything
	return c
}

func (c covering) sum() (h Hash) {
	c.Sum(h[:0])
	return h
}

// Bounds of texts, in bytes. Names and reasons come from people, and some from people who could not sign in.
const (
	mostName = 256
	mostText = 4096
)

// tidy makes a text one that every store and JSON can keep.
func tidy(s string, most int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	for len(s) > most {
		_, n := utf8.DecodeLastRuneInString(s[:most+1])
		s = s[:most+1-n]
	}
	return s
}
