package config

import (
	"slices"
	"strings"
)

// minKey is the least length of a client's key, in bytes.
const minKey = 32

// Keys that stand in examples, tutorials and default configurations; each is also refused as a part.
var placeholders = []string{
	"changeme", "change-me", "change_me", "replaceme", "replace-me", "replace_me", "placeholder", "example",
	"your-api-key", "your_api_key", "yourapikey", "your-key", "your_key", "your-secret", "my-secret", "my_secret",
	"master-key", "master_key", "masterkey", "insert-", "xxxxxx", "password", "secret-key", "secret_key",
	"sk-1234", "1234567890", "qwerty", "letmein", "default-key", "test-key", "test_key", "dummy",
}

// Weak says why a key may not be used, "" when it may. It looks for what people type, not for entropy:
// a key of random letters passes.
func Weak(key string) string {
	lower := strings.ToLower(key)
	switch {
	case slices.Contains([]string{"sk-1234", "sk-12345", "changeme", "123456", "password", "secret", "admin", "root", "test", "sk-test", "sluice"}, lower):
		return "is a well-known default"
	case len(key) < minKey:
		return "has fewer than 32 characters"
	case len(key) > 512:
		return "has more than 512 characters"
	case strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) >= 0:
		return "holds a space or a character outside ASCII, which no client can send in a header"
	case regular(lower):
		return "repeats itself or counts up, so it can be guessed"
	}
	for _, p := range placeholders {
		if strings.Contains(lower, p) {
			return "looks like the placeholder of an example"
		}
	}
	return ""
}

// regular finds keys with few different characters, with a short period, or that mostly count up or down.
func regular(s string) bool {
	var seen [256]bool
	distinct, steps := 0, 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			distinct++
		}
		if i > 0 && (s[i] == s[i-1] || s[i] == s[i-1]+1 || s[i] == s[i-1]-1) {
			steps++
		}
	}
	if distinct < 8 || steps > len(s)/2 {
		return true
	}
	body := strings.TrimPrefix(s, "sk-")
	for p := 1; p <= len(body)/2; p++ {
		if body[p:] == body[:len(body)-p] {
			return true
		}
	}
	return false
}
