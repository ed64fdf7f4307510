package pii

import "strings"

// A national is a kind of number of persons that is made of digits only.
type national struct {
	entity Entity
	digits int
	shapes string  // how it is written, between blanks: chunks and what separates them
	shaped float32 // the score when it is written so
	bare   float32 // the score when it is digits and nothing else; 0 if it never is found so
	check  func(d []byte) bool
	proved bool // check computes a check digit, not ranges only
	about  topic
}

// nationals are those of digits only. A check of one digit lets one number in ten pass, so the score alone suffices
// only where the way of writing is the country's own or the check is a strong one; for the others a word must say it.
var nationals = []national{
	{USSSN, 9, "3-2-4", 0.85, 0.2, ssn, false, aboutSSN},
	{USSSN, 9, "3 2 4|3.2.4", 0.5, 0, ssn, false, aboutSSN},
	{USITIN, 9, "3-2-4", 0.8, 0.2, itin, false, aboutSSN | aboutTax},
	{USITIN, 9, "3 2 4", 0.5, 0, itin, false, aboutSSN | aboutTax},
	{CASIN, 9, "3 3 3|3-3-3", 0.45, 0.2, canadian, true, aboutCA | aboutInsurance},
	{AUTFN, 9, "3 3 3", 0.4, 0.2, australianTax, true, aboutAU | aboutTax},
	{AUMedicare, 10, "4 5 1|4-5-1", 0.7, 0.2, medicare, true, aboutAU | aboutHealth},
	{UKNHS, 10, "3 3 4|3-3-4", 0.35, 0.2, nhs, true, aboutUK | aboutHealth},
	{INAadhaar, 12, "4 4 4|4-4-4", 0.6, 0.3, aadhaar, true, aboutIN},
	{DETaxID, 11, "2 3 3 3|2/3/3/3", 0.7, 0.3, germanTax, true, aboutDE | aboutTax},
	{FRNIR, 15, "1 2 2 2 3 3 2|1 2 2 2 3 3 2|13 2|1 2 2 5 3 2", 0.9, 0.6, nir, true, aboutFR | aboutSSN},
	{NLBSN, 9, "4.2.3|3.3.3|3 3 3", 0.4, 0.2, bsn, true, aboutNL},
	{BENational, 11, "2.2.2-3.2|6-3.2|6-3-2|2.2.2 3.2", 0.9, 0.5, belgian, true, aboutBE},
	{PLPESEL, 11, "", 0, 0.4, pesel, true, aboutPL},
	{PTNIF, 9, "3 3 3", 0.4, 0.2, portuguese, true, aboutPT},
	{CHAHV, 13, "3.4.4.2|3 4 4 2", 0.95, 0.7, swiss, true, aboutCH},
	{SEPersonal, 10, "6-4", 0.7, 0.2, swedish, true, aboutSE},
	{SEPersonal, 12, "8-4", 0.8, 0.4, func(d []byte) bool { return (d[0] == 1 && d[1] == 9 || d[0] == 2 && d[1] == 0) && swedish(d[2:]) }, true, aboutSE},
	{NOPersonal, 11, "6 5|6-5", 0.7, 0.5, norwegian, true, aboutNO},
	{BRCPF, 11, "3.3.3-2|3 3 3 2|9-2|3.3.3.2", 0.9, 0.45, cpf, true, aboutBR},
	{KRRRN, 13, "6-7", 0.8, 0.3, korean, true, aboutKR},
	{TRIdentity, 11, "", 0, 0.45, turkish, true, aboutTR},
	{ZAIdentity, 13, "6 4 2 1|6 4 3", 0.7, 0.5, southAfrican, true, aboutZA},
	{CNResident, 18, "6 8 4", 0.9, 0.9, func(d []byte) bool { return resident(d, d[17]) }, true, aboutCN},
}

// national tries the numbers that have as many digits as the first k chunks.
func (w *work) national(f *figures, k int) {
	d := f.digits[:f.count[k-1]]
	if len(d) < 9 || f.joined != 0 && f.joined != ' ' || w.money(f.start) {
		return
	}
	var buf [3 * maxChunks]byte
	shape, about, asked := f.shape(buf[:0], k), topic(0), false
	for i := range nationals {
		n := &nationals[i]
		if n.digits != len(d) || !w.wants(n.entity) {
			continue
		}
		score := n.bare
		if k > 1 {
			score = n.shaped
			if !written(n.shapes, shape) {
				continue
			}
		}
		if score == 0 || !n.check(d) {
			continue
		}
		if !asked {
			about, asked = w.about(f.start, f.to[k-1]), true
		}
		if about&(n.about|aboutID) != 0 {
			score += contextBoost
			if about&n.about != 0 { // of two countries that know the number, the one that is named
				score += 0.05
			}
		} else if about&(aboutOrder|aboutPhone) != 0 {
			score -= contextBoost
		}
		w.add(n.entity, f.start, f.to[k-1], score, recognizer[n.entity], n.proved)
	}
}

// written says whether shape is one of shapes.
func written(shapes string, shape []byte) bool {
	for one := range strings.SplitSeq(shapes, "|") {
		if one == string(shape) {
			return true
		}
	}
	return false
}

// A code is a kind of number of persons that has letters in it.
type code struct {
	entity Entity
	shape  string // a letter for each place: A letter, 9 digit, X either
	score  float32
	check  func(s []byte) bool // of upper-case letters and digits; nil when the shape is all there is
	about  topic
}

// codes are those that are written without separators.
var codes = []code{
	{UKNINO, "AA999999A", 0.6, nino, aboutInsurance | aboutUK},
	{ESNIF, "99999999A", 0.6, func(s []byte) bool { return dni(s[:8], s[8]) }, aboutES},
	{ESNIE, "A9999999A", 0.7, nie, aboutES},
	{SGNRIC, "A9999999A", 0.7, nric, aboutSG},
	{INPAN, "AAAAA9999A", 0.6, func(s []byte) bool { return strings.IndexByte("ABCFGHLJPT", s[3]) >= 0 }, aboutIN | aboutTax},
	{ITFiscal, "AAAAAAXXAXXAXXXA", 0.95, fiscalCode, aboutIT},
	{MXCURP, "AAAA999999AAAAAAX9", 0.95, curp, aboutMX},
	{FRNIR, "99999X999999999", 0.8, corsican, aboutFR},
	{CNResident, "99999999999999999A", 0.9, func(s []byte) bool { return s[17] == 'X' && resident(values(s[:17]), 10) }, aboutCN},
}

// code runs the recognisers of what has letters and digits, on the token from from to to.
func (w *work) code(from, to int) {
	w.iban(from, to)
	w.ethereum(from, to)
	if to-from == 11 {
		w.finnish(from)
	}
	var buf [18]byte
	if to-from > len(buf) || to-from < 9 || partOfName(w.view, from, to) {
		return
	}
	s := buf[:to-from]
	for i := range s {
		s[i] = upper(w.view[from+i])
	}
	w.coded(s, from, to)
}

// coded tries the codes on s, in upper case, which stands from from to to.
func (w *work) coded(s []byte, from, to int) {
	for i := range codes {
		c := &codes[i]
		if len(c.shape) != len(s) || !w.wants(c.entity) || !shaped(s, c.shape) || !c.check(s) {
			continue
		}
		score, about := c.score, w.about(from, to)
		switch {
		case about&(c.about|aboutID) != 0:
			score += contextBoost
		case about&aboutOrder != 0:
			score -= contextBoost
		}
		w.add(c.entity, from, to, score, recognizer[c.entity], c.entity != UKNINO && c.entity != INPAN)
	}
}

// spacedNINO is "AB 12 34 56 C", in capitals, whose first digits begin at from.
func (w *work) spacedNINO(from int) {
	const shape = "AA 99 99 99 A"
	start := from - 3
	if start < 0 || start+len(shape) > len(w.view) || isAlnum(byteAt(w.view, start-1)) || isAlnum(byteAt(w.view, start+len(shape))) {
		return
	}
	s := make([]byte, 0, 9)
	for i := range len(shape) {
		c := w.view[start+i]
		switch {
		case shape[i] == ' ' && c != ' ', shape[i] == 'A' && !isUpper(c), shape[i] == '9' && !isDigit(c):
			return
		case c != ' ':
			s = append(s, c)
		}
	}
	w.coded(s, start, start+len(shape))
}

// finnish is "131052-308T": a date of six digits that begins at from, a sign of the century, three digits and a letter.
// The sign may be a letter too, and then all of it is one token.
func (w *work) finnish(from int) {
	s := w.view[from:min(len(w.view), from+11)]
	if len(s) < 11 || isAlnum(byteAt(w.view, from+11)) || isAlnum(byteAt(w.view, from-1)) || strings.IndexByte("-+ABCDEFYXWVU", s[6]) < 0 {
		return
	}
	n := 0
	for _, i := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9} {
		if !isDigit(s[i]) {
			return
		}
		n = n*10 + int(s[i]-'0')
	}
	d := values([]byte(s[:6]))
	if !day(number(d[2:4]), number(d[:2])) || "0123456789ABCDEFHJKLMNPRSTUVWXY"[n%31] != s[10] {
		return
	}
	score := float32(0.8)
	if w.about(from, from+11)&(aboutFI|aboutID) != 0 {
		score = 1
	}
	w.add(FIPersonal, from, from+11, score, recognizer[FIPersonal], true)
}

// shaped says whether s has letters and digits where shape has them.
func shaped(s []byte, shape string) bool {
	for i := range s {
		if shape[i] == 'A' && !isUpper(s[i]) || shape[i] == '9' && !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// partOfName says whether the token is joined to others by what joins names of things: "build-AB123456C", "x_1".
func partOfName(view string, from, to int) bool {
	joins := func(c, beyond byte) bool { return c == '_' || (c == '-' || c == '/') && isAlnum(beyond) }
	return joins(byteAt(view, from-1), byteAt(view, from-2)) || joins(byteAt(view, to), byteAt(view, to+1))
}

// recognizer names the recogniser of a national number.
var recognizer = func() map[Entity]string {
	names := map[Entity]string{}
	for _, e := range Entities() {
		names[e] = strings.ToLower(string(e))
	}
	return names
}()
