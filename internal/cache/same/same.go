package same

import (
	"fmt"
	"slices"
	"strings"
)

// A Mode is how much two questions may differ.
type Mode string

const (
	// Strict is: in no word with content, and in nothing that the guards look at.
	Strict Mode = "strict"
	// Balanced is: in a word, but not in one that says the opposite, nor in a name, a number, a negation or a direction.
	Balanced Mode = "balanced"
)

// Canonical is the question with all taken away that makes no difference in the mode Strict: two questions are the same in it if
// and only if these texts are equal. So it is a key by which an answer can be found without a vector. False: the question is answered only with its own answer.
func (q *Question) Canonical() (string, bool) {
	if q.refused != "" {
		return "", false
	}
	var b strings.Builder
	for _, part := range [][]string{q.asked, {fmt.Sprint(q.denied)}, q.numbers, q.quoted, q.ids, q.turns, q.words} {
		for _, w := range part {
			fmt.Fprintf(&b, "%q ", w)
		}
		b.WriteByte('\n')
	}
	return b.String(), true
}

// Same says whether b may be answered with a's answer, and if not, why. It is a guard and no proof: the questions' vectors must be near, too.
func Same(a, b *Question, m Mode) (bool, Reason) {
	if a.refused != "" {
		return false, a.refused
	}
	if b.refused != "" {
		return false, b.refused
	}
	switch {
	case !slices.Equal(a.asked, b.asked):
		return false, Asked
	case a.denied != b.denied:
		return false, Negation
	case !slices.Equal(a.numbers, b.numbers):
		return false, Numbers
	case !slices.Equal(a.quoted, b.quoted):
		return false, Quoted
	case !slices.Equal(a.ids, b.ids):
		return false, Identifiers
	case !has(a.words, b.names) || !has(b.words, a.names):
		return false, Names
	case !slices.Equal(a.turns, b.turns):
		return false, Direction
	case !slices.Equal(a.tops, b.tops):
		return false, Degree
	}
	if m == Strict {
		return strict(a.words, b.words)
	}
	return balanced(a.words, b.words)
}

// has says whether all of these are among those.
func has(those, these []string) bool {
	for _, w := range these {
		if !slices.Contains(those, w) {
			return false
		}
	}
	return true
}

func strict(a, b []string) (bool, Reason) {
	if slices.Equal(a, b) {
		return true, ""
	}
	onlyA, onlyB := apart(a, b)
	if len(onlyA)+len(onlyB) == 0 {
		return false, Direction
	}
	if against(onlyA, onlyB) {
		return false, Opposite
	}
	return false, Words
}

func balanced(a, b []string) (bool, Reason) {
	onlyA, onlyB := apart(a, b)
	switch {
	case against(onlyA, onlyB):
		return false, Opposite
	case max(len(onlyA), len(onlyB)) > 1:
		return false, Words
	case !slices.Equal(without(a, onlyA), without(b, onlyB)):
		return false, Direction
	}
	return true, ""
}

// apart are the words that only one of them has, as often as it has more of them.
func apart(a, b []string) (onlyA, onlyB []string) {
	return without(a, b), without(b, a)
}

// without is a without the first of each of these, in order.
func without(a, these []string) []string {
	var left []string
	these = slices.Clone(these)
	for _, w := range a {
		if i := slices.Index(these, w); i >= 0 {
			these = slices.Delete(these, i, i+1)
		} else {
			left = append(left, w)
		}
	}
	return left
}

// against says whether a word of one is the opposite of a word of the other.
func against(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if turnedAbout(x, y) || turnedAbout(y, x) {
				return true
			}
			for _, n := range opposites[x] {
				if slices.Contains(opposites[y], -n) {
					return true
				}
			}
		}
	}
	return false
}

// turnedAbout says whether x is y with a beginning that makes it something else.
func turnedAbout(x, y string) bool {
	for _, t := range turned {
		if len(y) > 2 && x == t+y {
			return true
		}
	}
	return false
}
