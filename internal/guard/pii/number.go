package pii

import "strings"

// number runs the recognisers that begin with a digit, or with letters that hold one, at the first digit of a token of
// letters and digits. It gives the end of that token.
func (w *work) number(i int) int {
	from, to := span(w.view, i, inDigit|inLetter, reach)
	if i-from == reach || to-i == reach {
		for to < len(w.view) && isAlnum(w.view[to]) {
			to++
		}
		return to
	}
	digits := from
	for digits < to && isDigit(w.view[digits]) {
		digits++
	}
	w.date(from, digits, to)
	switch {
	case digits < to:
		w.code(from, to)
	default:
		if to-from <= 3 {
			w.ipv4(from)
		}
		if to-from == 2 {
			w.spacedNINO(from)
		}
		if to-from == 6 {
			w.finnish(from)
		}
		w.figures(from)
	}
	return to
}

const (
	maxChunks = 12
	maxDigits = 20
	maxFigure = 45 // bytes
)

// figures is a number as people write it: chunks of digits with something between them.
type figures struct {
	view   string
	start  int // its first digit
	n      int // chunks
	from   [maxChunks]int
	to     [maxChunks]int
	digits [maxDigits]byte // values, of all chunks
	count  [maxChunks]int  // digits in the chunks up to and with this one
	joined byte            // what joins it to letters or digits before it: one of "-./_) "; 0 if nothing does
}

// figures reads the number that begins at from and runs its recognisers. Each chunk of a longer number is such a
// beginning, so what is found does not depend on where the number is thought to begin.
func (w *work) figures(from int) {
	f := figures{view: w.view, start: from}
	f.read(from)
	if c := byteAt(w.view, from-1); strings.IndexByte("-./_ )", c) >= 0 && c != 0 {
		if b := byteAt(w.view, from-2); isDigit(b) || c != ' ' && isAlnum(b) {
			f.joined = c
		}
	}
	if f.count[f.n-1] < 7 {
		return
	}
	w.phone(&f)
	for k := 1; k <= f.n; k++ {
		if f.count[k-1] >= 9 && f.ends(k) {
			w.card(&f, k)
			w.national(&f, k)
		}
	}
}

// read takes the chunks from at on.
func (f *figures) read(at int) {
	total := 0
	for i := at; f.n < maxChunks; {
		end := i
		for end < len(f.view) && isDigit(f.view[end]) && total+end-i < maxDigits {
			end++
		}
		if c := byteAt(f.view, end); f.n > 0 && (isAlnum(c) && lower(c) != 'x' || end-at > maxFigure) {
			return
		}
		for k := i; k < end; k++ {
			f.digits[total] = f.view[k] - '0'
			total++
		}
		f.from[f.n], f.to[f.n], f.count[f.n] = i, end, total
		f.n++
		n := separator(f.view, end)
		if n == 0 {
			return
		}
		i = end + n
	}
}

// separator gives the length of what stands at i between two chunks of one number; 0 if none does, or no digit follows.
func separator(view string, i int) int {
	n := 0
	for n < 3 && strings.IndexByte(" -./()", byteAt(view, i+n)) >= 0 && byteAt(view, i+n) != 0 {
		n++
	}
	if !isDigit(byteAt(view, i+n)) {
		return 0
	}
	s := view[i : i+n]
	if n == 1 && s != "(" || n > 1 && (strings.ContainsAny(s, "()") || s == " - ") {
		return n
	}
	return 0
}

// ends says whether the number may end after its first k chunks: nothing follows, or a space and then another number,
// or a stroke and the date until which a card is good.
func (f *figures) ends(k int) bool {
	if k < f.n {
		c := f.view[f.to[k-1]]
		return c == ' ' || c == '/' && f.count[k-1] >= 12
	}
	c, d := byteAt(f.view, f.to[k-1]), byteAt(f.view, f.to[k-1]+1)
	return !isAlnum(c) && c != '_' && !(isAlnum(d) && (c == '-' || c == '/')) && !(isDigit(d) && (c == '.' || c == ','))
}

// shape writes how the first k chunks are written: "3-2-4".
func (f *figures) shape(buf []byte, k int) []byte {
	for c := range k {
		if c > 0 {
			buf = append(buf, f.view[f.to[c-1]:f.from[c]]...)
		}
		n := f.to[c] - f.from[c]
		if n >= 10 {
			buf = append(buf, '0'+byte(n/10))
		}
		buf = append(buf, '0'+byte(n%10))
	}
	return buf
}

// card is a number of a payment card: a length and a range of an issuer, and Luhn's check digit.
func (w *work) card(f *figures, k int) {
	d := f.digits[:f.count[k-1]]
	if len(d) < 12 || len(d) > 19 || f.joined != 0 && f.joined != ' ' || !f.even(k) || !luhn(d) {
		return
	}
	usual := issuer(d)
	if usual == 0 {
		return
	}
	score := float32(0.4) // one in ten numbers of that length passes: of an unusual one only with a word of context
	if usual == 2 {
		score = 0.7
	}
	if w.about(f.start, f.to[k-1])&aboutCard != 0 {
		score += contextBoost
	}
	w.add(CreditCard, f.start, f.to[k-1], score, "card", true)
}

// even says whether the first k chunks are as on a card: one separator throughout, chunks of 3 to 7, four at first.
func (f *figures) even(k int) bool {
	if k == 1 {
		return true
	}
	sep := f.view[f.to[0]:f.from[1]]
	if sep != " " && sep != "-" && sep != "." || f.to[0]-f.from[0] != 4 {
		return false
	}
	for c := 1; c < k; c++ {
		if n := f.to[c] - f.from[c]; f.view[f.to[c-1]:f.from[c]] != sep || n > 7 || n < 3 && c < k-1 {
			return false
		}
	}
	return true
}

// issuer says whether cards of that length begin so: 2 for those that one sees every day, 1 for others, 0 for none.
// Ranges: ISO/IEC 7812 as the networks publish theirs.
func issuer(d []byte) int {
	six := 0
	for _, c := range d[:6] {
		six = six*10 + int(c)
	}
	n := len(d)
	in := func(lo, hi, scale int) bool { return six >= lo*scale && six < (hi+1)*scale }
	switch {
	case in(4, 4, 100000): // Visa
		return usualLength(n, 16, 13, 19)
	case in(51, 55, 10000), in(2221, 2720, 100): // Mastercard
		return usualLength(n, 16)
	case in(34, 34, 10000), in(37, 37, 10000): // American Express
		return usualLength(n, 15)
	case in(6011, 6011, 100), in(644, 649, 1000), in(65, 65, 10000): // Discover
		return usualLength(n, 16, 17, 18, 19)
	case in(300, 305, 1000), in(3095, 3095, 100), in(36, 36, 10000), in(38, 39, 10000): // Diners Club
		return usualLength(n, 14, 15, 16, 17, 18, 19)
	case in(3528, 3589, 100): // JCB
		return usualLength(n, 16, 17, 18, 19)
	case in(2131, 2131, 100), in(1800, 1800, 100): // JCB, of old
		return usualLength(n, 15)
	case in(62, 62, 10000), in(81, 81, 10000): // UnionPay
		return usualLength(n, 16, 17, 18, 19)
	case in(2200, 2204, 100): // Mir
		return usualLength(n, 16, 17, 18, 19)
	case in(50, 50, 10000), in(56, 59, 10000), in(60, 69, 10000): // Maestro, RuPay and others
		return usualLength(n, 0, 12, 13, 14, 15, 16, 17, 18, 19)
	}
	return 0
}

func usualLength(n, usual int, others ...int) int {
	if n == usual {
		return 2
	}
	for _, o := range others {
		if n == o {
			return 1
		}
	}
	return 0
}
