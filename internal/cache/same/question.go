// Package same says whether a question may be answered with another's answer, by reading both: vectors of questions that mean the
// opposite lie as near as those that mean the same. It knows English only, and refuses what it does not know. All of it is
// pure, and says the same of a and b as of b and a.
package same

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxText is how many bytes a question may have that is compared with others.
const MaxText = 1000

// A Reason says in a word why two questions are not the same, or why one is not compared at all; it is a label of metrics.
type Reason string

// The reasons. The first group is about one question, and what has one of them is only ever answered with its own answer.
const (
	Empty    Reason = "empty"    // no word with content
	Long     Reason = "long"     //
	Code     Reason = "code"     // a block of code, or what looks like it
	Language Reason = "language" // not English, as far as can be seen
	Fleeting Reason = "fleeting" // the answer is another one tomorrow

	Asked       Reason = "asked"       // who, what, why ..., may or must, now or then
	Numbers     Reason = "numbers"     // and dates and units
	Negation    Reason = "negation"    //
	Quoted      Reason = "quoted"      //
	Identifiers Reason = "identifiers" // addresses, names of files, expressions, product numbers
	Names       Reason = "names"       // words in capitals
	Direction   Reason = "direction"   // from and to, before and after; or the same words in another order
	Degree      Reason = "degree"      // best, cheapest ...
	Opposite    Reason = "opposite"    // gain and lose
	Words       Reason = "words"       // too many words that the other does not have
)

// A Question is a text that was read.
type Question struct {
	refused Reason

	asked   []string // in order: question words, the auxiliary that begins it, should, past
	denied  int
	numbers []string // in order: pounds in kilograms are not kilograms in pounds
	words   []string // stems of words with content, and where "not" and turns stand among them, in order
	quoted  []string // sorted, like all that follow
	ids     []string
	names   []string // stems of words in capitals that do not begin a sentence
	turns   []string
	tops    []string
}

// Read takes a question apart.
func Read(text string) *Question {
	q := &Question{}
	if len(text) > MaxText || !utf8.ValidString(text) {
		q.refused = Long
		return q
	}
	text = strings.ReplaceAll(norm.NFKC.String(text), `""`, `"`) // as spreadsheets write it
	if len(text) > 2*MaxText {
		q.refused = Long
		return q
	}
	if looksLikeCode(text) {
		q.refused = Code
		return q
	}
	r := reader{q: q}
	text, ok := r.quotes(strings.Map(plain, text))
	if !ok {
		q.refused = Quoted
		return q
	}
	r.shouts = strings.ToUpper(text) == text
	r.begins = true
	for field := range strings.FieldsSeq(text) {
		r.field(field)
	}
	r.end()
	return q
}

// Refused is why the question is answered with no other's answer; "" if it may be.
func (q *Question) Refused() Reason { return q.refused }

// plain makes one sign of those that mean the same.
func plain(r rune) rune {
	switch r {
	case '’', '‘', 'ʼ', '´':
		return '\''
	case '“', '”', '„', '«', '»':
		return '"'
	case '–', '—', '‐', '‑':
		return '-'
	}
	return r
}

// looksLikeCode: a fence, a tag, or lines that end or begin as those of programs.
func looksLikeCode(text string) bool {
	if strings.Contains(text, "```") || strings.Contains(text, "~~~") || strings.Contains(text, "</") || strings.Contains(text, "/>") {
		return true
	}
	if !strings.Contains(text, "\n") {
		return false
	}
	for line := range strings.Lines(text) {
		end := strings.TrimRight(line, " \t\r\n")
		if strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t") || strings.HasSuffix(end, ";") || strings.HasSuffix(end, "{") || strings.HasSuffix(end, "}") {
			return true
		}
	}
	return false
}

// A reader reads a text for a question.
type reader struct {
	q       *Question
	shouts  bool // no letter is small
	begins  bool // a sentence begins
	before  string
	n       int // words
	english int
	foreign int
	content bool // there is a word that has some
}

// quotes takes out what is quoted. False: a quote has no end.
func (r *reader) quotes(text string) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(text); {
		c := text[i]
		opens := c == '"' || c == '`' || c == '\'' && (i == 0 || strings.ContainsRune(" (\n\t", rune(text[i-1]))) && closes(text[i+1:]) > 0
		if !opens {
			out.WriteByte(c)
			i++
			continue
		}
		end := strings.IndexByte(text[i+1:], c)
		if c == '\'' {
			end = closes(text[i+1:])
		}
		if end < 0 {
			return "", false
		}
		r.q.quoted = append(r.q.quoted, strings.TrimSpace(text[i+1:i+1+end]))
		out.WriteString(" ")
		i += end + 2
	}
	return out.String(), true
}

// closes is where a single quote is closed rather than an apostrophe: behind a word, before none. -1: nowhere.
func closes(text string) int {
	for i := 1; i < len(text); i++ {
		if text[i] == '\'' && text[i-1] != ' ' && (i+1 == len(text) || strings.ContainsRune(" .,;:?!)\n\t", rune(text[i+1]))) {
			return i
		}
	}
	return -1
}

// field reads what stands between two blanks.
func (r *reader) field(raw string) {
	begins := r.begins
	f := strings.TrimLeft(raw, "([{¿¡-'")
	f = strings.TrimRight(f, ".,;:!?)]}…-'")
	r.begins = strings.ContainsAny(raw[max(0, len(raw)-2):], ".!?:")
	switch {
	case f == "":
	case f == "&":
		r.word("and", "and", false)
	case r.number(f):
	case special(f):
		r.q.ids = append(r.q.ids, f)
	default:
		for part := range strings.FieldsFuncSeq(f, func(c rune) bool { return c == '-' }) {
			r.capital(part, begins)
			begins = false
		}
	}
}

// special: not a word, but an address, a path, an expression, an identifier, letters with digits, or another script.
func special(f string) bool {
	letters := 0
	for i, c := range f {
		switch {
		case unicode.Is(unicode.Latin, c):
			letters++
		case c == '-', c == '\'' && i > 0:
		default:
			return true
		}
	}
	return letters == 0
}

// number reads one with its currency or unit. False: it is none.
func (r *reader) number(f string) bool {
	sign, size := utf8.DecodeRuneInString(f)
	unit := units[string(sign)]
	if unit != "" && size < len(f) && !unicode.IsLetter(sign) {
		f = f[size:]
	} else {
		unit = ""
	}
	i := 0
	for i < len(f) && (f[i] >= '0' && f[i] <= '9' || i > 0 && (f[i] == '.' || f[i] == ',')) {
		i++
	}
	digits := strings.TrimRight(strings.ReplaceAll(f[:i], ",", ""), ".")
	if digits == "" || strings.Count(digits, ".") > 1 {
		return false
	}
	if strings.Contains(digits, ".") {
		digits = strings.TrimRight(strings.TrimRight(digits, "0"), ".")
	}
	if rest := strings.ToLower(f[i:]); rest != "" {
		switch {
		case units[rest] != "":
			unit = units[rest]
		case rest == "k", rest == "m", rest == "st", rest == "nd", rest == "rd", rest == "th", rest == "s", rest == "x":
			unit = rest
		default:
			return false
		}
	}
	r.n++
	r.q.numbers = append(r.q.numbers, digits)
	if unit != "" {
		r.q.numbers = append(r.q.numbers, unit)
	}
	r.before = digits
	return true
}

// capital reads a word and whether it is a name.
func (r *reader) capital(w string, begins bool) {
	low := strings.ToLower(w)
	first, size := utf8.DecodeRuneInString(w)
	inner := strings.IndexFunc(w[size:], unicode.IsUpper) >= 0
	name := !r.shouts && w != "I" && !strings.HasPrefix(w, "I'") && (inner || unicode.IsUpper(first) && !begins)
	if name && inner && (empty[low] || asks[low]) { // IT, US, WHO
		r.n++
		r.q.words = append(r.q.words, w)
		r.q.names = append(r.q.names, w)
		r.before, r.content = low, true
		return
	}
	if long, ok := short[low]; ok {
		a, b, _ := strings.Cut(long, "|")
		r.word(a, a, false)
		r.word(b, b, false)
		return
	}
	if left, ok := strings.CutSuffix(low, "n't"); ok {
		if left == "ca" || left == "wo" || left == "sha" {
			left = map[string]string{"ca": "can", "wo": "will", "sha": "shall"}[left]
		}
		r.word(left, left, false)
		r.word("not", "not", false)
		return
	}
	if at := strings.IndexByte(low, '\''); at > 0 {
		ending := low[at:]
		low = low[:at]
		r.word(low, stem(low), name)
		if asks[low] && ending == "'s" {
			r.word("is", "is", false)
		} else if e := endings[ending]; e != "" {
			r.word(e, e, false)
		}
		return
	}
	r.word(low, stem(low), name)
}

// word files one, in small letters, where it belongs.
func (r *reader) word(low, stemmed string, name bool) {
	q := r.q
	before := r.before
	r.before = low
	r.n++
	if english[low] {
		r.english++
	}
	if foreign[low] {
		r.foreign++
	}
	if fleeting[low] || theses[before] && moments[stemmed] {
		q.refused = Fleeting
	}
	switch {
	case asks[low], before == "how" && measures[low]:
		q.asked = append(q.asked, low)
		return
	case denies[low]:
		q.denied++
		q.words = append(q.words, "not")
		return
	case past[low]:
		q.asked = append(q.asked, "past")
		return
	case demands[low]:
		q.asked = append(q.asked, "should")
		return
	case numerals[low] != "":
		q.numbers = append(q.numbers, numerals[low])
		return
	case units[low] != "" && low != "am":
		q.numbers = append(q.numbers, units[low])
		return
	case turns[low]:
		q.turns = append(q.turns, low)
		q.words = append(q.words, low)
		return
	}
	if kind := opening[low]; r.n == 1 && kind != "" {
		q.asked = append(q.asked, kind)
	}
	if empty[low] && !name {
		return
	}
	if tops[low] || strings.HasSuffix(low, "est") && len(low) > 5 && !notTops[low] {
		q.tops = append(q.tops, low)
	}
	if name {
		q.names = append(q.names, stemmed)
	}
	q.words = append(q.words, stemmed)
	r.content = true
}

// opening is the kind of a question that begins with this word and has no question word.
var opening = pairs("is=be are=be am=be do=do does=do can=can could=can will=will would=will shall=should may=may might=may has=have have=have")

// end sorts what was read, and refuses what cannot be compared.
func (r *reader) end() {
	q := r.q
	for _, s := range [][]string{q.quoted, q.ids, q.names, q.turns, q.tops} {
		slices.Sort(s)
	}
	switch {
	case q.refused != "":
	case !r.content && len(q.numbers)+len(q.ids)+len(q.quoted) == 0:
		q.refused = Empty
	case r.english == 0 || r.foreign >= r.english || r.english*8 < r.n:
		q.refused = Language
	}
	if q.refused != "" { // nothing of it is compared
		*q = Question{refused: q.refused}
	}
}
