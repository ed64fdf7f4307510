package pii

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// firstIdeograph is where the scripts begin whose words are not told apart by white space: a word ends after each of
// their characters.
const firstIdeograph = 0x2E80

// maxBehind bounds what is kept of a text that is full of characters that are not seen.
const maxBehind = 4096

// A Stream finds the same in a text that comes in pieces as Scan finds in the whole of it, however it is cut. It holds
// back what may still become part of a finding: the last word; from a digit on 64 bytes; a long token, an open private
// key (16 KiB at most) and, when the Scanner has rules that match white space, a line until it ends. Whoever feeds it
// bounds what it may hold (Held). It is for one goroutine.
type Stream struct {
	s    *Scanner
	buf  []byte // some of what was given already, for its words of context, then what is held
	from int    // where what is held begins
	open bool   // what is held is one word without an end
}

// Stream begins a text.
func (s *Scanner) Stream() *Stream { return &Stream{s: s} }

// Held is how many bytes are held back now.
func (t *Stream) Held() int { return len(t.buf) - t.from }

// Next takes the next piece of the text, which may be cut anywhere, even within a character. It gives the next part of
// the text that is settled, often none, and the findings in it, with offsets in that part.
func (t *Stream) Next(piece string) (part string, found []Finding) {
	before := len(t.buf)
	t.buf = append(t.buf, piece...)
	if t.open && border(string(t.buf[max(t.from, before-utf8.UTFMax+1):])) == 0 {
		return "", nil
	}
	return t.give(false)
}

// Close ends the text and gives what was held.
func (t *Stream) Close() (part string, found []Finding) { return t.give(true) }

func (t *Stream) give(last bool) (part string, found []Finding) {
	w := t.s.work.Get().(*work)
	defer w.done()
	text := string(t.buf)
	end := len(text)
	if !last {
		if end = t.from + border(text[t.from:]); end == t.from {
			t.open = true
			return "", nil
		}
	}
	t.open = false
	w.collect(text, t.from)
	if !last {
		end = w.settled(t.from, end)
	}
	part = text[t.from:end]
	for _, f := range w.resolve(nil) {
		if f.Start < end {
			f.Start -= t.from
			f.End -= t.from
			found = append(found, f)
		}
	}
	gone, _ := original(w.folds, max(0, viewed(w.folds, end)-lookBehind), len(w.view))
	gone = max(gone, end-maxBehind)
	t.from = end - gone
	t.buf = slices.Delete(t.buf, 0, gone)
	return part, found
}

// settled gives a border of words, end or one before it, before which nothing depends on what follows the text.
func (w *work) settled(from, end int) int {
	text := w.text
	if w.open >= 0 {
		end = min(end, wordStart(text, w.open))
	}
	if w.s.lines {
		end = min(end, strings.LastIndexByte(text, '\n')+1)
	}
	if w.s.deny != nil && w.s.deny.long > 0 {
		end = min(end, wordStart(text, max(0, len(text)-w.s.deny.long)))
	}
	end = w.beforeNumber(end)
	for moved := true; moved; { // out of candidates that lie across end
		moved = false
		for _, f := range w.found {
			if f.Start < end && end < f.End {
				end, moved = wordStart(text, f.Start), true
			}
		}
	}
	return max(from, end)
}

// beforeNumber gives the first border of words, of those up to end that are less than reach bytes of the view from the end,
// after which there is a word that may be the beginning of a number: one with a digit, a month, or two capitals.
func (w *work) beforeNumber(end int) int {
	text := w.text
	i, _ := original(w.folds, max(0, len(w.view)-reach), len(w.view))
	for i = wordStart(text, i); i < end; {
		n := border1(text[i:])
		if n == 0 {
			n = len(text) - i
		}
		if startsNumber(text[i : i+n]) {
			return i
		}
		i += n
	}
	return end
}

// border1 gives the end of the first word of text with what ends it; 0 if none ends.
func border1(text string) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		if isBorder(r) {
			return i
		}
	}
	return 0
}

// border gives the last place of text after which a word begins; 0 without one.
func border(text string) int {
	for i := len(text); i > 0; {
		r, n := utf8.DecodeLastRuneInString(text[:i])
		if isBorder(r) {
			return i
		}
		i -= n
	}
	return 0
}

// wordStart gives where the word begins that i is in.
func wordStart(text string, i int) int {
	for i < len(text) && i > 0 && !utf8.RuneStart(text[i]) {
		i--
	}
	return border(text[:i])
}

// isBorder says whether a word ends after r: no finding but one of several words goes across it.
func isBorder(r rune) bool {
	if r < firstIdeograph {
		return r == ' ' || r == '\n' || r == '\t' || r == '\r'
	}
	if r == 0x3002 || r == 0xFF61 || r == utf8.RuneError {
		return false
	}
	_, folds := foldRune(r, "", 0, 0)
	return !folds
}

// startsNumber says whether a word may be the first one of a finding of several words.
func startsNumber(word string) bool {
	word = strings.TrimFunc(word, isBorder)
	for i := range len(word) {
		if c := word[i]; isDigit(c) || c >= utf8.RuneSelf && class[c] == suspect && digitBeyond(word) {
			return true
		}
	}
	return len(word) == 2 && isUpper(word[0]) && isUpper(word[1]) || isMonth(strings.TrimRight(word, ".,"))
}

// digitBeyond says whether word, which is not all ASCII, has a digit in its view.
func digitBeyond(word string) bool {
	view, _ := unfold(word, 0, nil)
	return strings.ContainsAny(view, "0123456789")
}
