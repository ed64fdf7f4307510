package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

// A lexer reads the tokens of one JSON text (RFC 8259) where they stand: nothing is copied. It is strict about
// everything that parsers are known to differ in, as what it lets through is sent on to be read by others.
type lexer struct {
	src       []byte
	pos       int
	disguised bool // an escape stood for a byte of a word
}

// A syntaxError says what is wrong with the JSON and where.
type syntaxError struct {
	what string
	at   int
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("is not valid JSON: %s, at byte %d", e.what, e.at)
}

// An endError is a text that ends where it must go on.
type endError struct{ at int }

func (e *endError) Error() string { return fmt.Sprintf("ends too early, at byte %d", e.at) }

// next skips whitespace and gives the byte it stops at, 0 at the end.
func (l *lexer) next() byte {
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		if c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
		l.pos++
	}
	return 0
}

// done is whether the text is read to its end.
func (l *lexer) done() bool { return l.pos >= len(l.src) }

// want is the error of a byte that is not what the grammar wants.
func (l *lexer) want(what string) error {
	if l.done() {
		return &endError{len(l.src)}
	}
	if l.pos == 0 && bytes.HasPrefix(l.src, []byte("\ufeff")) {
		return &syntaxError{"it begins with a byte order mark", 0}
	}
	r, n := utf8.DecodeRune(l.src[l.pos:])
	found := strconv.QuoteRune(r)
	if r == utf8.RuneError && n == 1 {
		found = fmt.Sprintf("the byte 0x%02x", l.src[l.pos])
	}
	return &syntaxError{what + " is needed, not " + found, l.pos}
}

// literal reads true, false or null.
func (l *lexer) literal(word string) error {
	rest := l.src[l.pos:]
	if len(rest) >= len(word) && string(rest[:len(word)]) == word {
		l.pos += len(word)
		return nil
	}
	for i := range word {
		if i == len(rest) {
			return &endError{len(l.src)}
		}
		if rest[i] != word[i] {
			break
		}
	}
	return &syntaxError{"only true, false and null may stand without quotes", l.pos}
}

// number reads a number. plain is one of digits alone, perhaps with a sign: no fraction and no exponent.
func (l *lexer) number() (plain bool, err error) {
	b, i := l.src, l.pos
	if i < len(b) && b[i] == '-' {
		i++
	}
	first := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	switch n := i - first; {
	case n == 0:
		l.pos = i
		return false, l.want("a digit")
	case n > 1 && b[first] == '0':
		return false, &syntaxError{"a number may not begin with a needless 0", first}
	case i == len(b) || b[i] != '.' && b[i] != 'e' && b[i] != 'E':
		l.pos = i
		return true, nil
	}
	if b[i] == '.' {
		if i, err = l.digits(i + 1); err != nil {
			return false, err
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i, err = l.digits(i); err != nil {
			return false, err
		}
	}
	l.pos = i
	return false, nil
}

// digits reads one digit or more from i on and gives where they end.
func (l *lexer) digits(i int) (int, error) {
	start := i
	for i < len(l.src) && l.src[i]-'0' <= 9 {
		i++
	}
	if i == start {
		l.pos = i
		return i, l.want("a digit")
	}
	return i, nil
}

// each repeats a byte in all eight of a word.
const each = 0x0101010101010101

// special marks, by the high bit of a byte of w, what cannot be skipped in a string: control characters, the
// quote, the backslash, and bytes that are not ASCII. The high bits are set before anything is subtracted, so
// that no byte borrows from the next and the marks are exact.
func special(w uint64) uint64 {
	const high = 0x80 * each
	h := w | high
	plain := (h - ' '*each) & ((h ^ '"'*each) - each) & ((h ^ '\\'*each) - each)
	return (^plain | w) & high
}

// Two bytes that stand together in a string: a backslash with a letter, and a letter of two bytes in UTF-8.
// Both have pairs of a first and a second byte that share a bit here. Text is full of both, in no order that
// a branch predictor could learn: one test for the two takes a fifth less time than two tests.
const (
	escapePair = 1 << iota
	lettersPair
)

var (
	pairFirst = func() (t [256]uint8) {
		t['\\'] = escapePair
		for c := 0xc2; c <= 0xdf; c++ {
			t[c] = lettersPair
		}
		return t
	}()
	pairSecond = func() (t [256]uint8) {
		for _, c := range []byte(`"\/bfnrt`) {
			t[c] = escapePair
		}
		for c := 0x80; c <= 0xbf; c++ {
			t[c] = lettersPair
		}
		return t
	}()
)

// str reads a string, whose first quote is at the position.
func (l *lexer) str() (escaped bool, err error) {
	b, i := l.src, l.pos+1
	far := i + 16 // most strings end before: they are names, roles, types
	var pairs uint8
	for {
		if i >= far { // a text, and not a plain one: those never leave the loop of words below
			i, pairs, err = l.blocks(i, pairs)
			if err != nil {
				return false, err
			}
			far = len(b) // what is left is the quote or less than a block
		}
		for i+8 <= len(b) {
			m := special(binary.LittleEndian.Uint64(b[i : i+8]))
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return false, &endError{len(b)}
		}
		c := b[i]
		if c == '"' {
			l.pos = i + 1
			return pairs&escapePair != 0, nil
		}
		if c >= ' ' && c < utf8.RuneSelf && c != '\\' { // only in the last bytes of the text, which are read one by one
			i++
			continue
		}
		first := pairFirst[c]
		pairs |= first
		if i+1 < len(b) && first&pairSecond[b[i+1]] != 0 {
			i += 2
			continue
		}
		if i, err = l.rare(i); err != nil {
			return false, err
		}
	}
}

// blocks reads on in a string from i, in blocks of 64 bytes, until the quote that ends it or until less than a
// block is left; pairs collects what pairs there are. Where the next escape stands in a text cannot be
// predicted: this way that costs a wrong guess for each block, not for each escape.
func (l *lexer) blocks(i int, pairs uint8) (int, uint8, error) {
	b := l.src
	for i+64 < len(b) {
		block := b[i : i+65] // a pair may end behind the 64
		word := func(k int) uint64 { return special(binary.LittleEndian.Uint64(block[8*k : 8*k+8])) }
		// A bit for each byte: of byte n of word k at first bit k of byte n.
		marks := word(0)>>7 | word(1)>>6 | word(2)>>5 | word(3)>>4 | word(4)>>3 | word(5)>>2 | word(6)>>1 | word(7)
		if marks == 0 {
			i += 64
			continue
		}
		marks = transposed(marks)
		next := 64
		for marks != 0 {
			k := bits.TrailingZeros64(marks) & 63
			first := pairFirst[block[k]]
			pairs |= first
			if first&pairSecond[block[k+1]] != 0 {
				marks &^= 3 << k
				next = max(64, k+2)
				continue
			}
			if block[k] == '"' {
				return i + k, pairs, nil
			}
			end, err := l.rare(i + k)
			if err != nil {
				return i, pairs, err
			}
			next = max(64, end-i)
			marks &= ^uint64(0) << (end - i) // nothing is left when that is past the block
		}
		i += next
	}
	return i, pairs, nil
}

// transposed is a matrix of 8 by 8 bits, a row in each byte, with its rows as columns.
func transposed(x uint64) uint64 {
	t := (x ^ x>>7) & 0x00aa00aa00aa00aa
	x ^= t ^ t<<7
	t = (x ^ x>>14) & 0x0000cccc0000cccc
	x ^= t ^ t<<14
	t = (x ^ x>>28) & 0x00000000f0f0f0f0
	return x ^ t ^ t<<28
}

// rare reads what cannot be skipped at i and is neither the quote nor a pair, and gives where it ends.
func (l *lexer) rare(i int) (int, error) {
	switch c := l.src[i]; {
	case c == '\\':
		return l.escape(i)
	case c >= utf8.RuneSelf:
		return l.letters(i)
	default:
		return i, &syntaxError{fmt.Sprintf("a string holds the control character %U; write it as an escape", c), i}
	}
}

// letters reads letters that are not ASCII up to one that is: most scripts come in runs. Letters of three bytes
// and emoji are read here, but for the few lead bytes that narrow what may follow.
func (l *lexer) letters(i int) (int, error) {
	b := l.src
	for i < len(b) && b[i] >= utf8.RuneSelf {
		if i+4 <= len(b) {
			w := binary.LittleEndian.Uint32(b[i : i+4])
			if c := b[i]; w&0xc0c0f0 == 0x8080e0 && c != 0xe0 && c != 0xed {
				i += 3
				continue
			}
			if w&0xc0c0c0ff == 0x808080f0 && b[i+1] >= 0x90 {
				i += 4
				continue
			}
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i, l.notUTF8(i)
		}
		i += n
	}
	return i, nil
}

func (l *lexer) notUTF8(i int) error {
	if !utf8.FullRune(l.src[i:]) {
		return &endError{len(l.src)}
	}
	return &syntaxError{fmt.Sprintf("a string is not UTF-8 (byte 0x%02x)", l.src[i]), i}
}

// escape reads the escape at i that is none of two bytes, so \u or a mistake, and those of \u that follow:
// clients that write ASCII only send them in runs.
func (l *lexer) escape(i int) (int, error) {
	b := l.src
	for i+1 < len(b) && b[i] == '\\' && b[i+1] == 'u' {
		u, err := l.hex(i + 2)
		if err != nil {
			return i, err
		}
		if u >= 0xd800 && u <= 0xdfff {
			if err := l.low(i, u); err != nil {
				return i, err
			}
			i += 6
		}
		l.disguised = l.disguised || ofWord(u)
		i += 6
		if i+1 >= len(b) || b[i] != '\\' || b[i+1] != 'u' {
			return i, nil
		}
	}
	if i+1 == len(b) {
		return i, &endError{len(b)}
	}
	l.pos = i + 1
	return i, l.want(`one of "\/bfnrtu behind a backslash`)
}

// ofWord tells whether words are made of it that mean something to a provider. Encoders that are made for web pages write < > & ' + and `
// as escapes, and none of these.
func ofWord(u rune) bool {
	return u >= 'a' && u <= 'z' || u >= 'A' && u <= 'Z' || u >= '-' && u <= ':' || u == '_'
}

// low checks that u, the surrogate at i, has its other half behind it.
func (l *lexer) low(i int, u rune) error {
	rest := l.src[i+6:]
	if u < 0xdc00 {
		if len(rest) == 0 || len(rest) == 1 && rest[0] == '\\' {
			return &endError{len(l.src)}
		}
		if len(rest) >= 2 && rest[0] == '\\' && rest[1] == 'u' {
			low, err := l.hex(i + 8)
			if err != nil {
				return err
			}
			if low >= 0xdc00 && low <= 0xdfff {
				return nil
			}
		}
	}
	return &syntaxError{fmt.Sprintf("%s is half a surrogate pair", l.src[i:i+6]), i}
}

// hexOf is what a hexadecimal digit stands for, and more than a digit can where there is none.
var hexOf = func() (t [256]rune) {
	for c := range t {
		t[c] = 1 << 16
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = rune(i)
	}
	for i, c := range []byte("ABCDEF") {
		t[c] = rune(i + 10)
	}
	return t
}()

// hex reads the four hexadecimal digits at i.
func (l *lexer) hex(i int) (rune, error) {
	if i+4 <= len(l.src) {
		d := l.src[i : i+4]
		if u := hexOf[d[0]]<<12 | hexOf[d[1]]<<8 | hexOf[d[2]]<<4 | hexOf[d[3]]; u < 1<<16 {
			return u, nil
		}
	}
	for l.pos = i; !l.done() && hexOf[l.src[l.pos]] < 1<<16; {
		l.pos++
	}
	return 0, l.want("a hexadecimal digit")
}

// unescape appends what a string means. raw is the string without its quotes, and already read without error.
func unescape(dst, raw []byte) []byte {
	const short = "\"\"\\\\//b\bf\fn\nr\rt\t" // letter and meaning by turns
	l := lexer{src: raw}
	for {
		i := bytes.IndexByte(raw[l.pos:], '\\')
		if i < 0 {
			return append(dst, raw[l.pos:]...)
		}
		dst = append(dst, raw[l.pos:l.pos+i]...)
		l.pos += i + 2
		if c := raw[l.pos-1]; c != 'u' {
			for k := 0; k < len(short); k += 2 {
				if short[k] == c {
					dst = append(dst, short[k+1])
				}
			}
			continue
		}
		u, _ := l.hex(l.pos)
		l.pos += 4
		if u >= 0xd800 && u < 0xdc00 {
			low, _ := l.hex(l.pos + 2)
			u = 0x10000 + (u-0xd800)<<10 + (low - 0xdc00)
			l.pos += 6
		}
		dst = utf8.AppendRune(dst, u)
	}
}

// names are the members seen of the objects that are open, outermost first, to find those that stand twice.
// Only the innermost object can grow, so those of all objects stand on one stack. Nothing but hashes and
// offsets is kept, and that only as long as the object is open.
type names struct {
	seen []seenName
	// slots holds a hash table for each open object of more than fewNames, one behind the other: places in
	// seen, counted from 1.
	slots   []uint32
	seed    maphash.Seed // random, so that nobody can send names that share a slot
	scratch []byte
}

type seenName struct {
	at      int // of the first quote
	hash    uint32
	escaped bool
}

// Up to so many names are compared one by one.
const fewNames = 16

// add puts a name to those of the innermost object, whose names and slots begin at the given places. It gives
// false when the name is there already. text is what the name at at means.
func (n *names) add(src, text []byte, at int, escaped bool, firstName, firstSlot int) bool {
	s := seenName{at, uint32(maphash.Bytes(n.seed, text)), escaped} // half the hash will do
	mine := n.seen[firstName:]
	if len(mine) < fewNames {
		for i := range mine {
			if mine[i].hash == s.hash && n.same(src, mine[i], text) {
				return false
			}
		}
		n.seen = append(n.seen, s)
		return true
	}
	if table := n.slots[firstSlot:]; 2*len(mine) >= len(table) {
		n.grow(firstName, firstSlot, max(4*fewNames, 2*len(table)))
	}
	table := n.slots[firstSlot:]
	slot := s.hash & uint32(len(table)-1)
	for table[slot] != 0 {
		if old := mine[table[slot]-1]; old.hash == s.hash && n.same(src, old, text) {
			return false
		}
		slot = (slot + 1) & uint32(len(table)-1)
	}
	n.seen = append(n.seen, s)
	table[slot] = uint32(len(mine) + 1)
	return true
}

// grow makes the table of the innermost object size slots large, a power of two.
func (n *names) grow(firstName, firstSlot, size int) {
	n.slots = slices.Grow(n.slots[:firstSlot], size)[:firstSlot+size]
	table := n.slots[firstSlot:]
	clear(table)
	for i, s := range n.seen[firstName:] {
		slot := s.hash & uint32(size-1)
		for table[slot] != 0 {
			slot = (slot + 1) & uint32(size-1)
		}
		table[slot] = uint32(i + 1)
	}
}

// same is whether a name seen means text. Their hashes are equal, so it nearly always does.
func (n *names) same(src []byte, s seenName, text []byte) bool {
	raw := src[s.at+1:]
	if !s.escaped {
		return len(raw) > len(text) && string(raw[:len(text)]) == string(text) && raw[len(text)] == '"'
	}
	n.scratch = unescape(n.scratch[:0], stringAt(src, s.at))
	return string(n.scratch) == string(text)
}

// release forgets all names, and memory that a large body needed.
func (n *names) release() {
	const keep = 1 << 12
	n.seen, n.slots, n.scratch = n.seen[:0], n.slots[:0], n.scratch[:0]
	if cap(n.seen) > keep || cap(n.slots) > 4*keep || cap(n.scratch) > keep {
		n.seen, n.slots, n.scratch = nil, nil, nil
	}
}

// stringAt gives the string, without its quotes, whose first quote is at at. It is known to be one.
func stringAt(src []byte, at int) []byte {
	l := lexer{src: src, pos: at}
	_, _ = l.str()
	return src[at+1 : l.pos-1]
}
