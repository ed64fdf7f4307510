package provider

import (
	"bytes"
	"net/http"
	"strings"

	"sluice/internal/llm"
)

// tells is what a request told an upstream that is none of its client's business. Vendors repeat keys in refusals, and not all keys have
// a form that can be known; so what was sent is taken out again, by what it is.
type tells struct {
	secret string      // of the credential
	header http.Header // of the request; configured ones may hold anything
}

// open are headers whose values are no secret.
var open = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Content-Type": true, "Content-Length": true, "User-Agent": true, "Anthropic-Version": true, "Anthropic-Beta": true,
}

// leastSecret is the length from which on a word is taken out: shorter ones stand in any text.
const leastSecret = 8

// words are the secrets, the longest form of each first.
func (t tells) words() (words []string) {
	add := func(s string) {
		if len(s) >= leastSecret {
			words = append(words, s)
		}
	}
	add(t.secret)
	for name, values := range t.header {
		for _, v := range values {
			if open[name] {
				continue
			}
			add(v)
			for word := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ' ' || r == '=' || r == ';' || r == ',' || r == ':' }) {
				add(word)
			}
		}
	}
	return words
}

const hiddenWord = "[removed]"

// hide takes the secrets out of an upstream's bytes.
func (t tells) hide(body []byte) []byte {
	for _, word := range t.words() {
		body = bytes.ReplaceAll(body, []byte(word), []byte(hiddenWord))
	}
	return body
}

// hidden takes the secrets out of an error that was made of an upstream's words.
func (t tells) hidden(err error) error {
	e, ok := err.(*llm.Error) //nolint:errorlint // an error around it has words of ours
	if !ok {
		return err
	}
	c := *e
	for _, word := range t.words() {
		c.Msg, c.Code, c.Param = strings.ReplaceAll(c.Msg, word, hiddenWord), strings.ReplaceAll(c.Code, word, hiddenWord), strings.ReplaceAll(c.Param, word, hiddenWord)
	}
	return &c
}

// discreet is a stream whose errors hold none of the secrets.
type discreet struct {
	llm.Stream
	told tells
}

// Next implements llm.Stream.
func (d *discreet) Next() (*llm.Event, error) {
	ev, err := d.Stream.Next()
	if err != nil {
		err = d.told.hidden(err)
	}
	return ev, err
}
