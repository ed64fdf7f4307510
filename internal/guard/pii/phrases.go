package pii

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// phrases are the words of the operator's lists, by their first word.
type phrases struct {
	first map[string][]phrase
	long  int // the longest one that has several words, in bytes with room for more space between them; 0 without
}

type phrase struct {
	rest   string // after the first word, folded
	entity Entity
	list   string
}

// newPhrases gives nil when there are none.
func newPhrases(lists []List) (*phrases, error) {
	p := &phrases{first: map[string][]phrase{}}
	for _, l := range lists {
		for _, text := range l.Words {
			given := text
			text = strings.TrimFunc(fold(strings.Join(strings.Fields(text), " ")), func(r rune) bool { return !isWord(r) })
			n := wordEnd(text, 0)
			if n == 0 || len(text) > reach {
				return nil, fmt.Errorf("list %q: %q has no letter and no digit, or is longer than %d bytes", l.Name, given, reach)
			}
			p.first[text[:n]] = append(p.first[text[:n]], phrase{text[n:], l.Entity, l.Name})
			if n < len(text) {
				p.long = max(p.long, len(text)+strings.Count(text, " ")*spaceBetween)
			}
		}
	}
	if len(p.first) == 0 {
		return nil, nil
	}
	return p, nil
}

// spaceBetween is how much white space between two words of a phrase is looked past.
const spaceBetween = 3

// find visits every word of the view.
func (p *phrases) find(w *work) {
	var buf [reach]byte
	for i := w.from; i < len(w.view); {
		n := wordEnd(w.view, i)
		if n == i {
			i++
			continue
		}
		if n-i <= reach && !inWord(w.view, i) {
			for _, one := range p.first[string(foldInto(buf[:0], w.view[i:n]))] {
				if end := one.match(w.view, n); end > 0 {
					w.add(one.entity, i, end, 1, one.list, false)
				}
			}
		}
		i = n
	}
}

// match compares what follows the first word, which ends at i, and gives the end of the phrase; 0 if it is another.
func (p phrase) match(view string, i int) int {
	for _, want := range p.rest {
		if want == ' ' {
			n := 0
			for n < spaceBetween && i+n < len(view) && isSpace(view[i+n]) {
				n++
			}
			if n == 0 {
				return 0
			}
			i += n
			continue
		}
		got, n := utf8.DecodeRuneInString(view[i:])
		if n == 0 || unicode.ToLower(got) != want {
			return 0
		}
		i += n
	}
	if inWord(view, i) {
		return 0
	}
	return i
}

// isWord says whether r is part of a word.
func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// wordEnd gives the end of the word that begins at i, or i if none does. An ideograph is a word of its own.
func wordEnd(text string, i int) int {
	for start := i; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			if !isAlnum(c) {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case !isWord(r):
			return i
		case r < firstIdeograph:
			i += n
		case start == i:
			return i + n
		default:
			return i
		}
	}
	return i
}

// inWord says whether i, in text, is inside a word.
func inWord(text string, i int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:i])
	after, _ := utf8.DecodeRuneInString(text[i:])
	return isWord(before) && isWord(after) && before < firstIdeograph && after < firstIdeograph
}

// fold is how texts are compared whatever their case.
func fold(text string) string { return strings.ToLower(text) }

// foldInto appends the folded word to buf.
func foldInto(buf []byte, word string) []byte {
	for i := range len(word) {
		if word[i] >= utf8.RuneSelf {
			return append(buf[:0], fold(word)...)
		}
		buf = append(buf, lower(word[i]))
	}
	return buf
}
