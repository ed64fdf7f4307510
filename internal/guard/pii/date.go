package pii

// date is a day of which a word says that somebody was born on it: digits, or a month by its name. The token from from
// to to begins with the digits up to digits.
func (w *work) date(from, digits, to int) {
	if !w.wants(DateOfBirth) || digits == from || digits-from > 4 || digits-from == 3 {
		return
	}
	start, end, ok := numericDate(w.view, from)
	if !ok {
		start, end, ok = writtenDate(w.view, from, digits, to)
	}
	if ok && w.about(start, end)&aboutBirth != 0 {
		w.add(DateOfBirth, start, end, 0.5+contextBoost, "date_of_birth", false)
	}
}

// numericDate is three numbers with the same separator, at from.
func numericDate(v string, from int) (start, end int, ok bool) {
	if c := byteAt(v, from-1); (c == '-' || c == '/' || c == '.') && isAlnum(byteAt(v, from-2)) {
		return 0, 0, false
	}
	var part [3]string
	i := from
	for k := range part {
		if k > 0 {
			if c := byteAt(v, i); c != '-' && c != '/' && c != '.' || k == 2 && c != v[i-len(part[1])-1] {
				return 0, 0, false
			}
			i++
			if v[i-1] == '.' && byteAt(v, i) == ' ' { // 5. 3. 1985
				i++
			}
		}
		n := 0
		for n < 5 && isDigit(byteAt(v, i+n)) {
			n++
		}
		part[k] = v[i : i+n]
		i += n
		if k == 1 && n > 0 && v[i-n-1] == ' ' {
			return looseDate(v, from, part[0], part[1], i)
		}
	}
	if isAlnum(byteAt(v, i)) && byteAt(v, i) != 'T' {
		return 0, 0, false
	}
	return from, i, isDate(part[0], part[1], part[2])
}

// looseDate is the rest of "5. 3. 1985", after the month.
func looseDate(v string, from int, day, month string, i int) (start, end int, ok bool) {
	if byteAt(v, i) != '.' || byteAt(v, i+1) != ' ' {
		return 0, 0, false
	}
	i += 2
	if !isYear(v, i) {
		return 0, 0, false
	}
	return from, i + 4, isDate(day, month, v[i:i+4])
}

// isDate says whether three parts are a date, in one of the orders that are in use.
func isDate(a, b, c string) bool {
	x, y, z := decimal(a), decimal(b), decimal(c)
	if x < 0 || y < 0 || z < 0 {
		return false
	}
	switch {
	case len(a) == 4 && len(b) <= 2 && len(c) <= 2:
		return x >= 1900 && x < 2100 && day(y, z)
	case len(a) <= 2 && len(b) <= 2 && len(c) == 4:
		return z >= 1900 && z < 2100 && (day(y, x) || day(x, y))
	case len(a) <= 2 && len(b) <= 2 && len(c) == 2:
		return day(y, x) || day(x, y)
	}
	return false
}

// decimal is the value of one to four digits, or -1.
func decimal(s string) int {
	if s == "" || len(s) > 4 {
		return -1
	}
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

func isYear(v string, i int) bool {
	return i+4 <= len(v) && !isAlnum(byteAt(v, i+4)) && (v[i:i+2] == "19" || v[i:i+2] == "20") && isDigit(v[i+2]) && isDigit(v[i+3])
}

// writtenDate is "12 March 1985", "12th of March, 1985" or "March 12, 1985", whose day is at from.
func writtenDate(v string, from, digits, to int) (start, end int, ok bool) {
	switch v[digits:to] {
	case "", "st", "nd", "rd", "th", "er":
	default:
		return 0, 0, false
	}
	if n := decimal(v[from:digits]); n < 1 || n > 31 {
		return 0, 0, false
	}
	if a, b := wordBefore(v, from); isMonth(v[a:b]) {
		if i := gap(v, to); i > to && isYear(v, i) {
			return a, i + 4, true
		}
	}
	i := gap(v, to)
	for _, of := range []string{"of ", "de ", "d'"} {
		if hasFoldPrefix(v[i:], of) {
			i += len(of)
			break
		}
	}
	end = i
	for end < len(v) && end-i < 12 && (isLetter(v[end]) || v[end] >= 0x80) {
		end++
	}
	if i == to || !isMonth(v[i:end]) {
		return 0, 0, false
	}
	i = gap(v, end)
	if hasFoldPrefix(v[i:], "de ") {
		i += 3
	}
	if i == end || !isYear(v, i) {
		return 0, 0, false
	}
	return from, i + 4, true
}

// gap gives where the next word begins after up to two characters that stand in dates.
func gap(v string, i int) int {
	for n := 0; n < 2; n++ {
		switch byteAt(v, i) {
		case ' ', ',', '.', '-', '/':
			i++
		}
	}
	return i
}

// wordBefore gives the word of letters that ends a gap before i.
func wordBefore(v string, i int) (from, to int) {
	to = i
	for n := 0; n < 2 && to > 0 && (v[to-1] == ' ' || v[to-1] == '.' || v[to-1] == '-'); n++ {
		to--
	}
	from = to
	for from > 0 && to-from < 12 && (isLetter(v[from-1]) || v[from-1] >= 0x80) {
		from--
	}
	if to == i {
		return i, i
	}
	return from, to
}

// isMonth knows months by how their names begin, in English, German, French, Spanish, Italian, Portuguese and Dutch.
func isMonth(word string) bool {
	if len(word) < 3 || len(word) > 12 {
		return false
	}
	var buf [12]byte
	for name := range months {
		if len(word) >= len(name) && string(foldInto(buf[:0], word)[:len(name)]) == name {
			return true
		}
	}
	return false
}

var months = func() map[string]bool {
	set := map[string]bool{}
	for _, m := range []string{
		"jan", "feb", "fev", "fév", "mar", "mär", "mrt", "apr", "avr", "abr", "may", "mai", "mag", "mei", "jun", "juin", "giu", "jul", "juil", "lug",
		"aug", "aoû", "ago", "sep", "set", "oct", "okt", "ott", "out", "nov", "dec", "dez", "déc", "dic", "ene", "gen",
	} {
		set[m] = true
	}
	return set
}()
