package wire

import (
	"bytes"
	"encoding/base64"
	"slices"

	"sluice/internal/llm"
)

// A Size is how much a request gives a model to read, as far as its bytes tell.
type Size struct {
	Most  int64 // tokens that the body itself cannot exceed
	About int64 // tokens that it has, roughly: a quarter of the bytes of its text
	// Open says that the model reads more than the body holds: files and pages named by an address or id, a
	// conversation kept at the provider, what a tool finds that runs there. Then only the context window bounds it.
	Open bool
	// Hour and Tier say that the body has a word that asks for cache writes of an hour, or for a service tier.
	Hour, Tier bool
}

const (
	// imageMost is more than any of the vendors counts for one image: Gemini's tiles of 258 tokens for the largest
	// pictures, OpenAI's 1,536 patches at their dearest factor of 2.46, Anthropic's 4,784.
	imageMost  = 8192
	imageAbout = 1500
	// toolsMost is more than the system prompt that a vendor adds for tools (Anthropic: up to 804).
	toolsMost = 1024
	// vendorMost is more than the vendors' own words before a conversation (612 tokens were seen beside a short one).
	vendorMost = 1024
	fileText   = 1024 // bytes of a string from which it may be a file in base64
)

// opening are how words begin in requests whose model reads more than the body, by their first letter. One that
// stands in a text by chance makes a hold larger than it had to be, no more.
var opening = func() (table [256][]string) {
	for _, word := range []string{
		"file_id", "file_url", "file_uri", "fileUri", "previous_response_id", "conversation", "container", "cachedContent", "cached_content",
		"item_reference", "mcp", "web_", "file_search", "code_", "computer", "google", "url", "tool_search", "openrouter:", "search_parameters",
		"plugins", "memory_", "image_generation", "shell", "enterpriseWebSearch",
	} {
		table[word[0]] = append(table[word[0]], word)
	}
	return table
}()

// opens tells whether a word is one of them.
func opens(word []byte) bool {
	if len(word) == 0 {
		return false
	}
	for _, w := range opening[word[0]] {
		if len(word) >= len(w) && string(word[:len(w)]) == w {
			return true
		}
	}
	return false
}

// SizeOf bounds the tokens of a body that has passed the strict scan, which saw texts in it. No tokenizer in use makes more tokens
// than there are bytes of text; files in base64 are counted by what they are.
func SizeOf(body []byte, texts llm.Texts) Size {
	s := Size{Most: int64(len(body)) + vendorMost}
	text := int64(len(body))
	media := func(n int, most, about int64) {
		s.Most += most - int64(n)
		s.About += about
		text -= int64(n)
	}
	long := texts.Long
	for at := 0; ; {
		i := bytes.IndexByte(body[at:], '"')
		if i < 0 {
			break
		}
		at += i + 1
		var n int
		if len(long) > 0 && long[0].Start == at {
			n, long = long[0].End-at, long[1:]
		} else {
			n = stringEnd(body[at:])
		}
		word := body[at : at+n]
		switch {
		case n >= fileText:
			if data, ok := base64Of(word); ok {
				m := int64(len(data)) * 3 / 4
				switch kindOf(data) {
				case image:
					media(n, imageMost, imageAbout)
				case sound:
					media(n, max(m/16, imageMost), m/250)
				case paper:
					media(n, m, m/20)
				}
			}
		case bytes.HasPrefix(word, []byte("http://")), bytes.HasPrefix(word, []byte("https://")), bytes.HasPrefix(word, []byte("gs://")):
			s.Most += imageMost // perhaps of an image that is fetched
		case string(word) == "tools":
			s.Most += toolsMost
		case string(word) == "1h":
			s.Hour = true
		case string(word) == "service_tier", string(word) == "serviceTier":
			s.Tier = true
		}
		s.Open = s.Open || n < 64 && opens(word)
		at = min(at+n+1, len(body))
	}
	s.About += text / 4
	s.Open = s.Open || texts.Disguised
	return s
}

// stringEnd is where a JSON string ends whose first quote was read.
func stringEnd(b []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(b[n:], '"')
		if i < 0 {
			return len(b)
		}
		n += i
		slashes := 0
		for slashes < n && b[n-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return n
		}
		n++
	}
}

// base64Of finds the data of a file within a string: the whole of it, or what a data URL holds.
func base64Of(s []byte) ([]byte, bool) {
	if i := bytes.Index(s[:min(len(s), 200)], []byte("base64,")); i >= 0 && bytes.HasPrefix(s, []byte("data:")) {
		s = s[i+len("base64,"):]
	}
	for i := 0; i < len(s); i += 61 { // samples will do: who hides text so gains nothing, it is counted as a file
		if c := s[i]; !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_' || c == '=') {
			return nil, false
		}
	}
	return s, true
}

type fileKind int

const (
	unknown fileKind = iota // counted as text
	image
	sound // and film
	paper
)

// kindOf tells a file by its first bytes, as data in base64 has them.
func kindOf(data []byte) fileKind {
	var buf [24]byte
	enc := base64.StdEncoding
	if bytes.ContainsAny(data[:32], "-_") {
		enc = base64.URLEncoding
	}
	n, _ := enc.Decode(buf[:], data[:32])
	head := buf[:n]
	at := func(i int, words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return len(head) > i && bytes.HasPrefix(head[i:], []byte(w)) })
	}
	switch {
	case at(0, "\x89PNG", "\xff\xd8\xff", "GIF8", "BM"), at(0, "RIFF") && at(8, "WEBP"), at(4, "ftyp") && at(8, "avif", "avis", "heic", "heix", "mif1"):
		return image
	case at(0, "%PDF"):
		return paper
	case at(0, "RIFF") && at(8, "WAVE", "AVI "), at(4, "ftyp"), at(0, "ID3", "\xff\xfb", "\xff\xf3", "\xff\xf2", "\xff\xf1", "OggS", "fLaC", "\x1aE\xdf\xa3"):
		return sound
	}
	return unknown
}
