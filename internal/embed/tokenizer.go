package embed

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxPieces bounds a vocabulary.
const maxPieces = 1 << 20

// A tokenizer cuts a text into pieces as a file tokenizer.json says (github.com/huggingface/tokenizers). What that file may ask for and is not
// known here is an error: pieces that are almost the right ones would give vectors that are almost right.
type tokenizer struct {
	size    int // pieces: ids are below it
	clean   []func(string) string
	split   func(string) []string // into words
	word    func(out []int32, word string) []int32
	unknown int32 // what is none of the pieces; -1 where the file has no word for it
}

// cut gives the ids of the pieces of a text, in order.
func (t *tokenizer) cut(text string) []int32 {
	for _, f := range t.clean {
		text = f(text)
	}
	var all []int32
	for _, w := range t.split(text) {
		all = t.word(all, w)
	}
	return all
}

// A rule is one member of tokenizer.json's normalizer or pre_tokenizer, with the members of all kinds.
type rule struct {
	Type          string `json:"type"`
	Normalizers   []rule `json:"normalizers"`
	PreTokenizers []rule `json:"pretokenizers"`

	CleanText    *bool `json:"clean_text"`
	Chinese      *bool `json:"handle_chinese_chars"`
	StripAccents *bool `json:"strip_accents"`
	Lowercase    *bool `json:"lowercase"`

	Replacement string `json:"replacement"`
	AddPrefix   *bool  `json:"add_prefix_space"`
	Scheme      string `json:"prepend_scheme"`
}

// readTokenizer reads tokenizer.json.
func readTokenizer(text []byte) (*tokenizer, error) {
	var file struct {
		Normalizer   *rule `json:"normalizer"`
		PreTokenizer *rule `json:"pre_tokenizer"`
		Model        struct {
			Type    string          `json:"type"`
			Vocab   json.RawMessage `json:"vocab"`
			Unknown string          `json:"unk_token"`
			ID      *int            `json:"unk_id"`
			Prefix  string          `json:"continuing_subword_prefix"`
			Longest int             `json:"max_input_chars_per_word"`
			Bytes   bool            `json:"byte_fallback"`
		} `json:"model"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	t := &tokenizer{unknown: -1}
	if err := t.normalize(file.Normalizer); err != nil {
		return nil, err
	}
	if err := t.words(file.PreTokenizer); err != nil {
		return nil, err
	}
	m := file.Model
	switch {
	case m.Type == "Unigram" && !m.Bytes:
		return t, t.unigram(m.Vocab, m.ID)
	case m.Type == "WordPiece", m.Type == "" && m.Prefix != "":
		return t, t.wordPiece(m.Vocab, m.Unknown, m.Prefix, m.Longest)
	}
	return nil, fmt.Errorf("tokenizer.json: the model %q is not known here: WordPiece and Unigram without bytes are", m.Type)
}

func (t *tokenizer) unigram(vocab json.RawMessage, unknown *int) error {
	pieces, err := readPieces("tokenizer.json", vocab)
	if err != nil {
		return err
	}
	t.size = len(pieces)
	if unknown != nil && (*unknown < 0 || *unknown >= t.size) {
		return fmt.Errorf("tokenizer.json: the unknown piece is %d of %d", *unknown, t.size)
	}
	if unknown != nil {
		t.unknown = int32(*unknown)
	}
	u, err := newUnigram(pieces, 0, int(t.unknown))
	if err != nil {
		return fmt.Errorf("tokenizer.json: %w", err)
	}
	t.word = u.split
	return nil
}

// wordPiece: the longest piece that a word begins with, then the longest that goes on, which is written with the prefix. A word of
// which a part is no piece is unknown as a whole.
func (t *tokenizer) wordPiece(vocab json.RawMessage, unknown, prefix string, longest int) error {
	var ids map[string]int32
	if err := json.Unmarshal(vocab, &ids); err != nil {
		return fmt.Errorf("tokenizer.json: %w", err)
	}
	most := 0
	for text, id := range ids {
		if id < 0 || id >= maxPieces || len(text) > maxPiece {
			return fmt.Errorf("tokenizer.json: piece %d of %d bytes", id, len(text))
		}
		t.size, most = max(t.size, int(id)+1), max(most, len(text))
	}
	if id, ok := ids[unknown]; ok {
		t.unknown = id
	}
	if longest <= 0 {
		longest = 100
	}
	t.word = func(out []int32, word string) []int32 {
		begin := len(out)
		for i := 0; i < len(word) && utf8.RuneCountInString(word) <= longest; {
			before := ""
			if i > 0 {
				before = prefix
			}
			end := min(len(word), i+most)
			for ; end > i; end-- {
				if id, ok := ids[before+word[i:end]]; ok {
					out = append(out, id)
					break
				}
			}
			if end == i {
				return append(out[:begin], t.unknown)
			}
			i = end
		}
		if len(out) == begin {
			return append(out, t.unknown) // too long
		}
		return out
	}
	return nil
}

// normalize adds what a rule does to a text.
func (t *tokenizer) normalize(r *rule) error {
	if r == nil {
		return nil
	}
	add := func(f func(string) string) error { t.clean = append(t.clean, f); return nil }
	switch r.Type {
	case "Sequence":
		for i := range r.Normalizers {
			if err := t.normalize(&r.Normalizers[i]); err != nil {
				return err
			}
		}
		return nil
	case "Lowercase":
		return add(strings.ToLower)
	case "NFC":
		return add(norm.NFC.String)
	case "NFD":
		return add(norm.NFD.String)
	case "NFKD":
		return add(norm.NFKD.String)
	case "NFKC":
		return add(norm.NFKC.String)
	case "StripAccents":
		return add(stripAccents)
	case "BertNormalizer":
		lower := r.Lowercase == nil || *r.Lowercase
		if r.CleanText == nil || *r.CleanText {
			_ = add(func(s string) string { return strings.Map(printable, s) })
		}
		if r.Chinese == nil || *r.Chinese {
			_ = add(aroundChinese)
		}
		if r.StripAccents != nil && *r.StripAccents || r.StripAccents == nil && lower {
			_ = add(func(s string) string { return stripAccents(norm.NFD.String(s)) })
		}
		if lower {
			_ = add(strings.ToLower)
		}
		return nil
	}
	return fmt.Errorf("tokenizer.json: the normalizer %q is not known here", r.Type)
}

// printable drops control characters and makes every kind of blank the usual one.
func printable(r rune) rune {
	switch {
	case r == '\t', r == '\n', r == '\r', unicode.IsSpace(r):
		return ' '
	case r == 0, r == utf8.RuneError, unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co):
		return -1
	}
	return r
}

// aroundChinese sets a blank about every Chinese character.
func aroundChinese(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.Is(unicode.Han, r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func stripAccents(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, s)
}

// words sets how a text is split before it is cut.
func (t *tokenizer) words(r *rule) error {
	if r != nil && r.Type == "Sequence" && len(r.PreTokenizers) == 1 {
		r = &r.PreTokenizers[0]
	}
	if r != nil && r.Type == "Sequence" && len(r.PreTokenizers) == 2 && r.PreTokenizers[0].Type == "WhitespaceSplit" && r.PreTokenizers[1].Type == "Metaspace" {
		r = &r.PreTokenizers[1]
		t.split = func(s string) []string {
			var all []string
			for w := range strings.FieldsSeq(s) {
				all = append(all, metaspace(r)(w)...)
			}
			return all
		}
		return nil
	}
	switch {
	case r == nil:
		t.split = func(s string) []string { return []string{s} }
	case r.Type == "BertPreTokenizer":
		t.split = bertWords
	case r.Type == "WhitespaceSplit":
		t.split = strings.Fields
	case r.Type == "Metaspace":
		t.split = metaspace(r)
	default:
		return fmt.Errorf("tokenizer.json: the pre-tokenizer %q is not known here", r.Type)
	}
	return nil
}

// bertWords are what stands between blanks; every punctuation mark is a word.
func bertWords(s string) []string {
	var all []string
	begin := 0
	for i, r := range s {
		punct := r < utf8.RuneSelf && unicode.In(r, unicode.Punct, unicode.Symbol) || unicode.IsPunct(r)
		if !punct && !unicode.IsSpace(r) {
			continue
		}
		if begin < i {
			all = append(all, s[begin:i])
		}
		begin = i + utf8.RuneLen(r)
		if punct {
			all = append(all, s[i:begin])
		}
	}
	if begin < len(s) {
		all = append(all, s[begin:])
	}
	return all
}

// metaspace writes each blank as a sign that belongs to the word behind it.
func metaspace(r *rule) func(string) []string {
	sign := r.Replacement
	if sign == "" {
		sign = "▁"
	}
	prefix := r.Scheme != "never" && (r.AddPrefix == nil || *r.AddPrefix)
	return func(s string) []string {
		s = strings.ReplaceAll(s, " ", sign)
		if prefix && !strings.HasPrefix(s, sign) {
			s = sign + s
		}
		var all []string
		for s != "" {
			next := strings.Index(s[1:], sign)
			if next < 0 {
				break
			}
			all = append(all, s[:next+1])
			s = s[next+1:]
		}
		if s != "" {
			all = append(all, s)
		}
		return all
	}
}
