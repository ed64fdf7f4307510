package pii

// Check digits and ranges of national numbers. Each function is given digits by value (or upper-case letters and digits
// as written, where it says s) of the right length.

// luhn is ISO/IEC 7812-1, annex B.
func luhn(d []byte) bool {
	sum := 0
	for i := range d {
		c := int(d[len(d)-1-i])
		if i%2 == 1 {
			if c *= 2; c > 9 {
				c -= 9
			}
		}
		sum += c
	}
	return sum%10 == 0 && !same(d)
}

// same says whether all digits are the same: what people write when they write any number.
func same(d []byte) bool {
	for _, c := range d {
		if c != d[0] {
			return false
		}
	}
	return true
}

// weighted is the sum of d's digits times the weights; it ends with the shorter one.
func weighted(d []byte, weights ...int) (sum int) {
	for i, f := range weights {
		if i < len(d) {
			sum += f * int(d[i])
		}
	}
	return sum
}

func number(d []byte) (n int) {
	for _, c := range d {
		n = n*10 + int(c)
	}
	return n
}

func values(s []byte) []byte {
	d := make([]byte, len(s))
	for i, c := range s {
		d[i] = c - '0'
	}
	return d
}

// day says whether d is a month and a day of it.
func monthDay(d []byte) bool { return day(number(d[:2]), number(d[2:4])) }

func day(month, day int) bool {
	return month >= 1 && month <= 12 && day >= 1 && (day <= 29 || day == 30 && month != 2 ||
		day == 31 && (month == 1 || month == 3 || month == 5 || month == 7 || month == 8 || month == 10 || month == 12))
}

// ssn: no area 000, 666 or 9xx, no group 00, no serial 0000 (Social Security Administration).
func ssn(d []byte) bool {
	area := number(d[:3])
	return area != 0 && area != 666 && area < 900 && number(d[3:5]) != 0 && number(d[5:]) != 0 && !same(d)
}

// itin: area 9xx, groups 50-65, 70-88, 90-92, 94-99 (Internal Revenue Service).
func itin(d []byte) bool {
	g := number(d[3:5])
	return d[0] == 9 && (g >= 50 && g <= 65 || g >= 70 && g <= 88 || g >= 90 && g != 93)
}

func canadian(d []byte) bool { return d[0] != 0 && d[0] != 8 && luhn(d) }

func australianTax(d []byte) bool {
	return weighted(d, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0 && !same(d)
}

func medicare(d []byte) bool {
	return d[0] >= 2 && d[0] <= 6 && weighted(d[:8], 1, 3, 7, 9, 1, 3, 7, 9)%10 == int(d[8])
}

func nhs(d []byte) bool {
	return (11-weighted(d[:9], 10, 9, 8, 7, 6, 5, 4, 3, 2)%11)%11 == int(d[9]) && !same(d)
}

// aadhaar is Verhoeff's check digit: products in the dihedral group of ten, computed instead of kept as a table.
func aadhaar(d []byte) bool {
	if d[0] < 2 || same(d) {
		return false
	}
	permuted := [8][10]int{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 5, 7, 6, 2, 8, 3, 0, 9, 4}}
	for r := 2; r < 8; r++ {
		for i := range 10 {
			permuted[r][i] = permuted[r-1][permuted[1][i]]
		}
	}
	c := 0
	for i := range d {
		c = dihedral(c, permuted[i%8][d[len(d)-1-i]])
	}
	return c == 0
}

func dihedral(a, b int) int {
	switch {
	case a < 5 && b < 5:
		return (a + b) % 5
	case a < 5:
		return (a+b-5)%5 + 5
	case b < 5:
		return (a-5-b+5)%5 + 5
	}
	return (a - b + 5) % 5
}

// germanTax is ISO 7064 MOD 11,10; of its first ten digits one occurs twice or three times (BZSt).
func germanTax(d []byte) bool {
	var times [10]int
	for _, c := range d[:10] {
		times[c]++
	}
	repeated := 0
	for _, n := range times {
		if n > 3 {
			return false
		}
		if n > 1 {
			repeated++
		}
	}
	p := 10
	for _, c := range d[:10] {
		if p = (p + int(c)) % 10; p == 0 {
			p = 10
		}
		p = p * 2 % 11
	}
	return d[0] != 0 && repeated == 1 && (11-p)%10 == int(d[10])
}

// nir: sex, year, month, place, and 97 minus the rest by 97.
func nir(d []byte) bool {
	month := number(d[3:5])
	return (d[0] >= 1 && d[0] <= 4 || d[0] == 7 || d[0] == 8) && (month >= 1 && month <= 12 || month >= 20) &&
		97-number(d[:13])%97 == number(d[13:])
}

// corsican is nir for those born in 2A or 2B, which count as 19 and 18.
func corsican(s []byte) bool {
	if s[5] != '2' || s[6] != 'A' && s[6] != 'B' {
		return false
	}
	t := [15]byte(s)
	t[5], t[6] = '1', '9'-(s[6]-'A')
	return nir(values(t[:]))
}

func bsn(d []byte) bool {
	return weighted(d, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0 && number(d) > 0 && !same(d)
}

// belgian: a date, and 97 minus the rest by 97; those born since 2000 have a 2 before it.
func belgian(d []byte) bool {
	n, check := number(d[:9]), number(d[9:])
	return (monthDay(d[2:6]) || number(d[2:4]) >= 20 && number(d[2:4]) <= 52) && (97-n%97 == check || 97-(2000000000+n)%97 == check)
}

// pesel: the month tells the century.
func pesel(d []byte) bool {
	return day(number(d[2:4])%20, number(d[4:6])) && (10-weighted(d[:10], 1, 3, 7, 9, 1, 3, 7, 9, 1, 3)%10)%10 == int(d[10])
}

func portuguese(d []byte) bool {
	check := 11 - weighted(d[:8], 9, 8, 7, 6, 5, 4, 3, 2)%11
	if check > 9 {
		check = 0
	}
	return (d[0] >= 1 && d[0] <= 3 || d[0] == 4 && d[1] == 5) && check == int(d[8]) && !same(d)
}

// swiss is EAN-13 with the country's 756.
func swiss(d []byte) bool {
	return number(d[:3]) == 756 && (10-weighted(d[:12], 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3)%10)%10 == int(d[12])
}

// swedish: a date (of a coordination number 60 days later) and Luhn.
func swedish(d []byte) bool {
	return (monthDay(d[2:6]) || d[4] >= 6 && day(number(d[2:4]), number(d[4:6])-60)) && luhn(d)
}

func norwegian(d []byte) bool {
	return day(number(d[2:4])%40, number(d[:2])%40) &&
		(11-weighted(d, 3, 7, 6, 1, 8, 9, 4, 5, 2)%11)%11 == int(d[9]) &&
		(11-weighted(d, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11)%11 == int(d[10])
}

func cpf(d []byte) bool {
	one := weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
	two := weighted(d, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
	return one == int(d[9]) && two == int(d[10]) && !same(d)
}

func korean(d []byte) bool {
	return monthDay(d[2:6]) && (11-weighted(d, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)%11)%10 == int(d[12])
}

func turkish(d []byte) bool {
	odd := int(d[0]) + int(d[2]) + int(d[4]) + int(d[6]) + int(d[8])
	even := int(d[1]) + int(d[3]) + int(d[5]) + int(d[7])
	return d[0] != 0 && (odd*7-even+100)%10 == int(d[9]) && (odd+even+int(d[9]))%10 == int(d[10]) && !same(d)
}

func southAfrican(d []byte) bool { return monthDay(d[2:6]) && d[10] <= 1 && luhn(d) }

// resident is GB 11643: a date, and ISO 7064 MOD 11-2 with 10 written as X.
func resident(d []byte, check byte) bool {
	year := number(d[6:10])
	sum := weighted(d[:17], 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
	return d[0] != 0 && year >= 1900 && year < 2100 && monthDay(d[10:14]) && (12-sum%11)%11 == int(check)
}

// nino knows no check digit: letters that are not used, and a suffix from A to D (HM Revenue & Customs).
func nino(s []byte) bool {
	for _, c := range s[:2] {
		switch c {
		case 'D', 'F', 'I', 'Q', 'U', 'V':
			return false
		}
	}
	switch string(s[:2]) {
	case "BG", "GB", "KN", "NK", "NT", "TN", "ZZ":
		return false
	}
	return s[1] != 'O' && s[8] >= 'A' && s[8] <= 'D'
}

func dni(digits []byte, letter byte) bool {
	n := 0
	for _, c := range digits {
		n = n*10 + int(c-'0')
	}
	return "TRWAGMYFPDXBNJZSQVHLCKE"[n%23] == letter
}

func nie(s []byte) bool {
	if s[0] < 'X' {
		return false
	}
	return dni(append([]byte{s[0] - 'X' + '0'}, s[1:8]...), s[8])
}

func nric(s []byte) bool {
	n := weighted(values(s[1:8]), 2, 7, 6, 5, 4, 3, 2)
	switch s[0] {
	case 'S':
		return "JZIHGFEDCBA"[n%11] == s[8]
	case 'T':
		return "JZIHGFEDCBA"[(n+4)%11] == s[8]
	case 'F':
		return "XWUTRQPNMLK"[n%11] == s[8]
	case 'G':
		return "XWUTRQPNMLK"[(n+4)%11] == s[8]
	case 'M':
		return "XWUTRQPNJLK"[(n+3)%11] == s[8]
	}
	return false
}

// fiscalCode: the places that count from one as odd have values of their own; letters may stand for digits.
func fiscalCode(s []byte) bool {
	const odd = "\x01\x00\x05\x07\x09\x0d\x0f\x11\x13\x15\x02\x04\x12\x14\x0b\x03\x06\x08\x0c\x0e\x10\x0a\x16\x19\x18\x17"
	sum := 0
	for i, c := range s[:15] {
		v := c - 'A'
		if isDigit(c) {
			v = c - '0'
		}
		if i%2 == 0 {
			v = odd[v]
		}
		sum += int(v)
	}
	return byte(sum%26)+'A' == s[15]
}

// curp: a date, sex, and a check digit over an alphabet in which Ñ has a place.
func curp(s []byte) bool {
	sum := 0
	for i, c := range s[:17] {
		v := int(c - '0')
		if !isDigit(c) {
			if v = int(c-'A') + 10; c > 'N' {
				v++
			}
		}
		sum += v * (18 - i)
	}
	return monthDay(values(s[6:10])) && (s[10] == 'H' || s[10] == 'M' || s[10] == 'X') && (10-sum%10)%10 == int(s[17]-'0')
}
