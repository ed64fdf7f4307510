package pii

// phone is a telephone number. There is no check digit: what counts is how it is written (with a country, as in
// North America, with a national prefix), and words beside it.
func (w *work) phone(f *figures) {
	if !w.wants(PhoneNumber) || w.money(f.start) {
		return
	}
	start, international := f.prefix()
	if f.joined != 0 && !international {
		return
	}
	about, asked := topic(0), false
	for k := 1; k <= f.n; k++ {
		digits := f.count[k-1]
		if digits < 7 || !f.ends(k) && !(k == f.n && f.loose()) || f.isDate(k) {
			continue
		}
		if digits > 15 {
			return
		}
		score, end := f.phoneScore(k, start, international), f.extension(k)
		if score == 0 {
			continue
		}
		if !asked {
			about, asked = w.about(start, f.to[f.n-1]), true
		}
		switch {
		case about&aboutPhone != 0:
			score += contextBoost
		case about&(aboutOrder|aboutVersion|aboutCard|aboutBank|aboutSSN|aboutTax) != 0:
			score -= contextBoost
		}
		w.add(PhoneNumber, start, end, score, "phone", false)
	}
}

// prefix gives where the number begins, with its plus and its first bracket, and whether it names a country.
func (f *figures) prefix() (start int, international bool) {
	start = f.start
	if byteAt(f.view, start-1) == '(' {
		start--
	}
	if byteAt(f.view, start-1) == '+' {
		return start - 1, true
	}
	first := f.view[f.start:f.to[0]]
	return start, len(first) > 2 && first[:2] == "00" && first[2] != '0'
}

// loose says whether what follows the number, though it is joined to it, is no part of a number: "788-063-Office".
func (f *figures) loose() bool {
	end := f.to[f.n-1]
	return byteAt(f.view, end) == '-' && isLetter(byteAt(f.view, end+1)) || f.extension(f.n) > end
}

// extension gives the end of the number with its extension: "555-0100x123".
func (f *figures) extension(k int) int {
	end := f.to[k-1]
	i := end
	if k != f.n {
		return end
	}
	if byteAt(f.view, i) == ' ' {
		i++
	}
	switch {
	case lower(byteAt(f.view, i)) == 'x':
		i++
	case hasFoldPrefix(f.view[i:], "ext. "):
		i += 5
	case hasFoldPrefix(f.view[i:], "ext"):
		i += 3
		if c := byteAt(f.view, i); c == '.' || c == ' ' {
			i++
		}
	default:
		return end
	}
	n := 0
	for n < 6 && isDigit(byteAt(f.view, i+n)) {
		n++
	}
	if n == 0 || isAlnum(byteAt(f.view, i+n)) {
		return end
	}
	return i + n
}

// phoneScore says how much the first k chunks look like a telephone number, by themselves.
func (f *figures) phoneScore(k, start int, international bool) float32 {
	digits, bracket := f.count[k-1], f.view[start] == '('
	for c := 1; c < k && !bracket; c++ {
		bracket = f.view[f.to[c-1]] == '(' || f.view[f.from[c]-1] == '('
	}
	switch {
	case international:
		if digits < 8 || f.digits[0] == 0 && f.view[start] == '+' {
			return 0
		}
		return 0.75
	case f.northAmerican(k):
		if k == 1 {
			return 0.3
		}
		return 0.6
	case f.tooMany(k):
		return 0
	case f.digits[0] == 0 && digits >= 9 && digits <= 12 && k > 1:
		return 0.5
	case bracket && digits <= 12:
		return 0.45
	case digits <= 13:
		return 0.25
	}
	return 0
}

// tooMany says whether the chunks are no way to write a telephone number: single digits one after the other, or a
// fraction.
func (f *figures) tooMany(k int) bool {
	single := 0
	for c := range k {
		if f.to[c]-f.from[c] == 1 {
			single++
		}
	}
	return single > 2 || k == 2 && f.view[f.to[0]:f.from[1]] == "." && f.to[0]-f.from[0] != 3
}

// northAmerican is (NXX) NXX-XXXX, with or without the 1 of the country.
func (f *figures) northAmerican(k int) bool {
	d := f.digits[:f.count[k-1]]
	first := 0
	if len(d) == 11 && d[0] == 1 {
		d, first = d[1:], 1
	}
	if len(d) != 10 || d[0] < 2 || d[3] < 2 {
		return false
	}
	if k == 1 {
		return true
	}
	if k != first+3 && !(k == 3 && first == 1) {
		return false
	}
	return f.to[k-1]-f.from[k-1] == 4 && f.to[k-2]-f.from[k-2] == 3
}

// money says whether the number at start is a sum, or has a sign of a numbered thing before it.
func (w *work) money(start int) bool {
	switch c := byteAt(w.view, start-1); c {
	case '$', '#', '=', '/', '@', '\'':
		return c == '$' || c == '#' || c == '@'
	case 0xA3, 0xAC: // the last bytes of the signs of pound and euro
		return true
	}
	return false
}

// isDate says whether the chunks begin with a date, in any order of its parts.
func (f *figures) isDate(k int) bool {
	if k < 3 {
		return false
	}
	a, b := f.view[f.to[0]:f.from[1]], f.view[f.to[1]:f.from[2]]
	if a != b || a != "-" && a != "/" && a != "." {
		return false
	}
	return isDate(f.view[f.from[0]:f.to[0]], f.view[f.from[1]:f.to[1]], f.view[f.from[2]:f.to[2]])
}
