package pii

// ibanLengths are the lengths of the countries of the IBAN registry (SWIFT, ISO 13616).
var ibanLengths = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
	"BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
	"ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
	"HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
	"LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
	"MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
	"PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
	"SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

// iban is an account whose country and check digits are the first four characters of the token from from to to. What
// follows them may be in groups.
func (w *work) iban(from, to int) {
	v := w.view
	if to-from < 4 || !isLetter(v[from]) || !isLetter(v[from+1]) || !isDigit(v[from+2]) || !isDigit(v[from+3]) {
		return
	}
	length := ibanLengths[string([]byte{upper(v[from]), upper(v[from+1])})]
	if length == 0 {
		return
	}
	var buf [34]byte
	n, i := 0, from
	for n < length && i < len(v) {
		if c := v[i]; isAlnum(c) {
			buf[n] = upper(c)
			n++
		} else if c != ' ' && c != '-' && c != '.' || !isAlnum(byteAt(v, i+1)) {
			return
		}
		i++
	}
	if n < length || isAlnum(byteAt(v, i)) && i < to || !mod97(buf[:n]) {
		return
	}
	if isAlnum(byteAt(v, i)) {
		return
	}
	score := float32(0.95)
	if w.about(from, i)&aboutBank != 0 {
		score = 1
	}
	w.add(IBAN, from, i, score, "iban", true)
}

// mod97 is ISO 7064 MOD 97-10 with the first four characters moved to the end.
func mod97(s []byte) bool {
	rest := 0
	for k := range s {
		c := s[(k+4)%len(s)]
		if isDigit(c) {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return rest == 1
}
