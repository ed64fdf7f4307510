package pii

// The classes of bytes. Every one but plain is an anchor: something may be found about it.
const (
	plain   = iota
	digit   // numbers of every kind
	at      // addresses of e-mail
	colon   // addresses of networks, URLs, assignments
	equals  // assignments
	dash    // the head of a private key
	wide    // the w of password
	suspect // may be a disguise of something else
)

// class is the class of every byte.
var class = classes()

func classes() (t [256]uint8) {
	for c := '0'; c <= '9'; c++ {
		t[c] = digit
	}
	for c := 0x80; c < 0x100; c++ {
		t[c] = suspect
	}
	t['@'], t[':'], t['='], t['-'], t['w'], t['W'] = at, colon, equals, dash, wide, wide
	t['%'], t['&'], t['\\'] = suspect, suspect, suspect
	return t
}

// The sets that a byte is in, a bit each.
const (
	inDigit  = 1 << iota
	inLetter // of ASCII
	inHex
	inToken  // what long tokens are made of
	inBase64 // in either alphabet, without padding
	inLocal  // of an address of e-mail before its '@', letters beyond ASCII too
	inValue  // of an assigned value, letters beyond ASCII too
)

var sets = makeSets()

func makeSets() (t [256]uint8) {
	add := func(chars string, set uint8) {
		for i := range len(chars) {
			t[chars[i]] |= set
		}
	}
	const digits, upper, lower = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
	add(digits, inDigit|inHex|inToken|inBase64|inLocal|inValue)
	add(upper+lower, inLetter|inToken|inBase64|inLocal|inValue)
	add("ABCDEFabcdef", inHex)
	add("_-+/=.", inToken)
	add("+/-_", inBase64)
	add("!#$%&'*+-^_~.", inLocal)
	add("!#$%&*+-./:=?@^_~|", inValue)
	return t
}

func isDigit(c byte) bool  { return c-'0' < 10 }
func isLetter(c byte) bool { return sets[c]&inLetter != 0 }
func isAlnum(c byte) bool  { return sets[c]&(inDigit|inLetter) != 0 }
func isHex(c byte) bool    { return sets[c]&inHex != 0 }
func isUpper(c byte) bool  { return c-'A' < 26 }
func isSpace(c byte) bool  { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// lower and upper are for letters and digits of ASCII only.
func lower(c byte) byte {
	if isUpper(c) {
		return c | 0x20
	}
	return c
}

func upper(c byte) byte {
	if c-'a' < 26 {
		return c &^ 0x20
	}
	return c
}

func hexValue(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// byteAt gives a byte of text, or 0 outside of it.
func byteAt(text string, i int) byte {
	if i < 0 || i >= len(text) {
		return 0
	}
	return text[i]
}

// span gives the bounds of the bytes about i that are in set, at most reach to either side.
func span(text string, i int, set uint8, reach int) (from, to int) {
	from, to = i, i
	for from > 0 && i-from < reach && sets[text[from-1]]&set != 0 {
		from--
	}
	for to < len(text) && to-i < reach && sets[text[to]]&set != 0 {
		to++
	}
	return from, to
}

// hasFoldPrefix says whether text begins with prefix, which is in lower case, whatever the case of text.
func hasFoldPrefix(text, prefix string) bool {
	if len(text) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(text[i]) != prefix[i] {
			return false
		}
	}
	return true
}
