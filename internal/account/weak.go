package account

import (
	_ "embed" // the list below
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"sluice/internal/llm"
)

// denied are words that passwords are made of first, one a line, in lower case.
//
//go:embed denied.txt
var denied string

const (
	minPassword = 12   // characters
	maxPassword = 1024 // bytes
	minOwn      = 4    // characters that a password must have beside a denied word
)

// Weak says why a password may not be used, "" when it may. about are what anybody may know of its owner: name, e-mail address.
// It asks for length and against what is guessed first, not for kinds of characters: those make passwords that people forget.
func Weak(password string, about ...string) string {
	if !utf8.ValidString(password) || len(password) > maxPassword {
		return fmt.Sprintf("the password has more than %d bytes, or is no text", maxPassword)
	}
	if utf8.RuneCountInString(password) < minPassword {
		return fmt.Sprintf("the password has fewer than %d characters", minPassword)
	}
	plain := plainly(password)
	if few(strings.ToLower(password)) || few(plain) {
		return "the password repeats a few characters or counts up"
	}
	for word := range strings.Lines(denied) {
		if word = strings.TrimSpace(word); word != "" && mostly(plain, word) {
			return "the password is little more than a word that is guessed first"
		}
	}
	for _, a := range about {
		local, domain, _ := strings.Cut(strings.ToLower(a), "@")
		for _, word := range append(strings.Fields(local), a, domain, strings.SplitN(domain, ".", 2)[0]) {
			if word = plainly(word); utf8.RuneCountInString(word) >= 3 && mostly(plain, word) {
				return "the password is little more than the name or e-mail address"
			}
		}
	}
	return ""
}

// mostly tells whether, a word taken out, there is little left of a password that people do not add to words.
func mostly(plain, word string) bool {
	if !strings.Contains(plain, word) {
		return false
	}
	rest := strings.ReplaceAll(plain, word, "")
	rest = strings.TrimFunc(rest, func(r rune) bool { return !unicode.IsLetter(r) })
	return utf8.RuneCountInString(rest) < minOwn || few(rest)
}

// plainly is a text as guessers see it: in lower case, with letters for the digits and signs that stand for them, without spaces
// and hyphens.
func plainly(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '0':
			return 'o'
		case '1', '!', '|':
			return 'i'
		case '3':
			return 'e'
		case '4', '@':
			return 'a'
		case '5', '$':
			return 's'
		case '7':
			return 't'
		case ' ', '-', '_', '.':
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

// few finds texts with few different characters, and those that mostly count up or down or repeat.
func few(s string) bool {
	seen := map[rune]bool{}
	steps, n := 0, 0
	last := rune(-10)
	for _, r := range s {
		seen[r] = true
		if d := r - last; d >= -1 && d <= 1 {
			steps++
		}
		last = r
		n++
	}
	return len(seen) < 5 || steps > n/2
}

// weakError is the refusal of a password.
func weakError(why string) error {
	return &llm.Error{Kind: llm.KindInvalid, Code: CodeWeak, Msg: "the password cannot be taken", Problems: []llm.Problem{{At: "/password", Msg: why}}}
}
