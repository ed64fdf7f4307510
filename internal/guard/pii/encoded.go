package pii

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

const (
	minEncoded = 24 // bytes of base64 that are looked into
	maxDepth   = 2  // how often base64 within base64 is
)

// encoded looks into the base64 of the token from from to to. What is found in there is one finding, of all of it: it
// cannot be cut out of what it is encoded with.
func (w *work) encoded(from, to int) {
	v := w.view
	if w.depth >= maxDepth {
		return
	}
	for i := from; i < to; {
		end := i
		for end < to && sets[v[end]]&inBase64 != 0 {
			end++
		}
		if end-i >= minEncoded {
			w.decode(i, end, to)
		}
		i = end + 1
	}
}

// decode looks into the base64 without padding from from to end, in a token that goes on to to.
func (w *work) decode(from, end, to int) {
	s := w.view[from:end]
	alphabet := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		alphabet = base64.RawURLEncoding
		if strings.ContainsAny(s, "+/") {
			return
		}
	}
	if len(s)%4 == 1 { // no length of base64: one byte too many has been taken
		s = s[:len(s)-1]
	}
	const block = 64 // a head of that tells nearly always that it is no text
	var head [block / 4 * 3]byte
	n, err := alphabet.Decode(head[:], []byte(s[:min(len(s), block)/4*4]))
	if err != nil || !readable(string(head[:n])) {
		return
	}
	text, err := alphabet.DecodeString(s)
	if err != nil || !readable(string(text)) || !utf8.Valid(text) {
		return
	}
	inner := w.s.work.Get().(*work)
	defer inner.done()
	inner.depth = w.depth + 1
	inner.collect(string(text), 0)
	var best Finding
	for _, f := range inner.found {
		if f.Score > best.Score {
			best = f
		}
	}
	if best.Score > 0 {
		for end < to && w.view[end] == '=' {
			end++
		}
		w.add(best.Entity, from, end, best.Score, "base64/"+best.Recognizer, best.Validated)
	}
}

// readable says whether s has no control characters but white space.
func readable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && !isSpace(c) || c == 0x7F {
			return false
		}
	}
	return true
}
