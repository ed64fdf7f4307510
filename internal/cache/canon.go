package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// canonical is the SHA-256 of a JSON text in which the order of members, white space and the way that characters are escaped do
// not matter. Numbers count as they are written: 1 and 1.0 are two requests, and no digit of a large one is lost.
func canonical(body []byte) (sum [sha256.Size]byte, err error) {
	v := jsontext.Value(bytes.Clone(body))
	if err := v.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		return sum, err
	}
	return sha256.Sum256(v), nil
}

// partition is all that two calls must have in common to share an answer, but for what they say.
func (a *Ask) partition(s Scope) []string {
	c := a.Call
	return []string{
		s.org, s.team, s.key, a.Control.Namespace, string(c.Format), string(c.Op), c.Model, a.Route, strings.Join(a.Tags, "\x00"),
		c.Query.Encode(), headers(c.Header), flag(c.Stream), flag(c.WantUsage),
	}
}

// headers are those that go on to the upstream, in one order.
func headers(h map[string][]string) string {
	if len(h) == 0 {
		return ""
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		b.WriteString(name + "\x00" + strings.Join(h[name], "\x00") + "\x01")
	}
	return b.String()
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// key names the answer to a call.
func (c *Cache) key(a *Ask, s Scope) (Key, error) {
	body, err := canonical(a.Body)
	if err != nil {
		return Key{}, err
	}
	k := c.seal.keyOf(s, a.Call.Model)
	k.Sum = c.seal.sum("exact", append(a.partition(s), hex.EncodeToString(body[:]))...)
	return k, nil
}
