package pii

import (
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A folding is a place where the view of a text differs from the text: n bytes at orig of the text are m bytes at at of
// the view.
type folding struct{ at, m, orig, n int }

// unfold makes the view of text: the text with its disguises taken off. Characters that look like ASCII are ASCII,
// what is not seen is gone, escapes of URLs, HTML and JSON are what they stand for. What a character becomes depends on
// it and the bytes beside it only, so that a text cut between words has the views of its parts.
func unfold(text string, first int, folds []folding) (string, []folding) {
	var b strings.Builder
	b.Grow(len(text))
	done := 0
	for i := first; i < len(text); {
		if class[text[i]] != suspect {
			i++
			continue
		}
		to, n, ok := foldAt(text, i)
		if !ok {
			i += n
			continue
		}
		b.WriteString(text[done:i])
		folds = append(folds, folding{b.Len(), len(to), i, n})
		b.WriteString(to)
		i += n
		done = i
	}
	b.WriteString(text[done:])
	return b.String(), folds
}

// foldAt gives what the n bytes at i are folded to; not ok when they stay what they are.
func foldAt(text string, i int) (to string, n int, ok bool) {
	switch text[i] {
	case '%':
		if c, ok := hexByte(text, i+1); ok && c < utf8.RuneSelf {
			return ascii(rune(c)), 3, true
		}
		return "", 1, false
	case '&':
		return foldEntity(text, i)
	case '\\':
		return foldEscape(text, i)
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	if r == utf8.RuneError {
		return "", n, false
	}
	to, ok = foldRune(r, text, i, n)
	return to, n, ok
}

// foldRune gives the ASCII that r passes for. It stands in the n bytes at i.
func foldRune(r rune, text string, i, n int) (string, bool) {
	before, after := byteAt(text, i-1), byteAt(text, i+n)
	switch {
	case r < 0xA0:
		return "\n", r == 0x85
	case unseen(r):
		return "", true
	case r == 0xA0 || r >= 0x2000 && r <= 0x200A || r == 0x202F || r == 0x205F || r == 0x3000 || r == 0x1680:
		return " ", true
	case r == 0x2028 || r == 0x2029:
		return "\n", true
	case r >= 0x2010 && r <= 0x2013, r == 0x2043, r == 0x2212:
		return "-", true
	case r == 0x2014 || r == 0x2015: // a dash between clauses, unless it follows a digit
		return "-", isDigit(before)
	case r == 0x3002 || r == 0xFF61: // ends a sentence, unless it stands in a name of a host
		return ".", isAlnum(before) && isAlnum(after)
	case r == 0x2025 || r == 0x2026:
		return "", false
	case r >= 0xFF01 && r <= 0xFF5E:
		return ascii(r - 0xFEE0), true
	case unicode.Is(unicode.Nd, r):
		return ascii('0' + digitValue(r)), true
	}
	if c, ok := lookalikes[r]; ok {
		return c, isAlnum(before) || isAlnum(after)
	}
	return compatible(r)
}

// compatible is the compatibility decomposition of r (NFKD), if that is ASCII: mathematical letters, superscripts,
// circled digits.
func compatible(r rune) (string, bool) {
	if r < 0x2000 && r > 0xBE || r > 0x2500 && r < 0xFB00 { // letters of living scripts
		return "", false
	}
	var buf [utf8.UTFMax]byte
	to := norm.NFKD.Properties(utf8.AppendRune(buf[:0], r)).Decomposition()
	for _, c := range to {
		if c >= utf8.RuneSelf {
			return "", false
		}
	}
	return string(to), len(to) > 0
}

// unseen says whether r takes no place of its own: zero-width characters, soft hyphens, marks of direction, selectors
// of variants, tags, and marks put onto the letter before.
func unseen(r rune) bool {
	switch {
	case r == 0xAD, r >= 0x300 && r <= 0x36F, r == 0x61C, r == 0x115F, r == 0x1160, r >= 0x17B4 && r <= 0x17B5,
		r >= 0x180B && r <= 0x180F, r >= 0x200B && r <= 0x200F, r >= 0x202A && r <= 0x202E, r >= 0x2060 && r <= 0x206F,
		r == 0x3164, r >= 0xFE00 && r <= 0xFE0F, r == 0xFEFF, r == 0xFFA0, r >= 0xE0000 && r <= 0xE01EF:
		return true
	}
	return false
}

// digitValue is the value of a decimal digit of any script: each script has its ten in a row.
func digitValue(r rune) rune {
	for _, t := range unicode.Nd.R16 {
		if r >= rune(t.Lo) && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	for _, t := range unicode.Nd.R32 {
		if r >= rune(t.Lo) && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	return 0
}

// lookalikes are letters of other scripts that are taken for Latin ones. They are folded only beside ASCII: a word of
// Russian is not Latin in disguise.
var lookalikes = map[rune]string{
	'а': "a", 'е': "e", 'о': "o", 'р': "p", 'с': "c", 'у': "y", 'х': "x", 'і': "i", 'ѕ': "s", 'ј': "j", 'һ': "h",
	'ԁ': "d", 'ԛ': "q", 'ԝ': "w", 'А': "A", 'В': "B", 'Е': "E", 'К': "K", 'М': "M", 'Н': "H", 'О': "O", 'Р': "P",
	'С': "C", 'Т': "T", 'У': "Y", 'Х': "X", 'І': "I", 'Ѕ': "S", 'Ј': "J", 'ο': "o", 'α': "a", 'ν': "v", 'ι': "i",
	'Α': "A", 'Β': "B", 'Ε': "E", 'Ζ': "Z", 'Η': "H", 'Ι': "I", 'Κ': "K", 'Μ': "M", 'Ν': "N", 'Ο': "O", 'Ρ': "P",
	'Τ': "T", 'Υ': "Y", 'Χ': "X", 'ı': "i", 'ɡ': "g",
}

// named are the entities of HTML that hide something.
var named = map[string]rune{
	"commat": '@', "period": '.', "colon": ':', "hyphen": '-', "dash": '-', "lowbar": '_', "plus": '+', "num": '#',
	"sol": '/', "equals": '=', "lpar": '(', "rpar": ')', "comma": ',', "amp": '&', "quot": '"', "apos": '\'', "lt": '<',
	"gt": '>', "nbsp": ' ', "shy": 0xAD, "zwnj": 0x200C, "zwj": 0x200D,
}

// foldEntity reads an entity of HTML at i: by name, or by number in either base.
func foldEntity(text string, i int) (string, int, bool) {
	end := strings.IndexByte(text[i:min(len(text), i+12)], ';')
	if end < 2 {
		return "", 1, false
	}
	name := text[i+1 : i+end]
	r, ok := named[name]
	if name[0] == '#' {
		base, digits := 10, name[1:]
		if strings.HasPrefix(digits, "x") || strings.HasPrefix(digits, "X") {
			base, digits = 16, digits[1:]
		}
		n, err := strconv.ParseUint(digits, base, 21)
		r, ok = rune(n), err == nil
	}
	if !ok {
		return "", 1, false
	}
	to, ok := unescaped(r)
	return to, end + 1, ok
}

// foldEscape reads an escape of JSON (or of most languages) at i.
func foldEscape(text string, i int) (string, int, bool) {
	switch c := byteAt(text, i+1); c {
	case 'n', 'r', 't':
		return "\n", 2, true
	case '/', '"':
		return ascii(rune(c)), 2, true
	case 'x':
		if b, ok := hexByte(text, i+2); ok && b < utf8.RuneSelf {
			return ascii(rune(b)), 4, true
		}
	case 'u':
		hi, ok1 := hexByte(text, i+2)
		lo, ok2 := hexByte(text, i+4)
		if ok1 && ok2 {
			to, ok := unescaped(rune(hi)<<8 | rune(lo))
			return to, 6, ok
		}
	}
	return "", 1, false
}

// unescaped is what an escaped character is folded to: any ASCII, and what would be folded if it were not escaped.
func unescaped(r rune) (string, bool) {
	if r < utf8.RuneSelf {
		return ascii(r), true
	}
	return foldRune(r, "", 0, 0)
}

// ascii gives the text of one character of ASCII; controls are ends of lines.
func ascii(r rune) string {
	const table = "\n !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\n"
	i := max(0, r-' '+1)
	return table[i : i+1]
}

func hexByte(text string, i int) (byte, bool) {
	if i+2 > len(text) || !isHex(text[i]) || !isHex(text[i+1]) {
		return 0, false
	}
	return hexValue(text[i])<<4 | hexValue(text[i+1]), true
}

// original gives the bytes of the text for bytes of its view, on borders of what was folded.
func original(folds []folding, start, end int) (int, int) {
	if len(folds) == 0 {
		return start, end
	}
	from, _ := place(folds, start)
	_, to := place(folds, end-1)
	return from, to
}

// place gives the bytes of the text that the byte v of the view comes from.
func place(folds []folding, v int) (start, end int) {
	k := sort.Search(len(folds), func(k int) bool { return folds[k].at > v }) - 1
	if k < 0 {
		return v, v + 1
	}
	f := folds[k]
	if v < f.at+f.m {
		return f.orig, f.orig + f.n
	}
	o := f.orig + f.n + v - f.at - f.m
	return o, o + 1
}

// viewed gives the first byte of the view that comes from byte o of the text or a later one.
func viewed(folds []folding, o int) int {
	k := sort.Search(len(folds), func(k int) bool { return folds[k].orig >= o }) - 1
	if k < 0 {
		return o
	}
	f := folds[k]
	return max(f.at+f.m, f.at+f.m+o-f.orig-f.n)
}
