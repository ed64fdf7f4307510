package pii

import (
	"strings"
	"unicode/utf8"
)

const (
	maxLocal = 64 // RFC 5321, 4.5.3.1
	maxHost  = 253
)

// email is an address whose '@' is at i.
func (w *work) email(i int) {
	v := w.view
	from := i
	for from > 0 && i-from < maxLocal {
		n := letterBefore(v, from, inLocal)
		if n == 0 {
			break
		}
		from -= n
	}
	for from < i && !isAlnum(v[from]) && v[from] < utf8.RuneSelf && v[from] != '_' {
		from++
	}
	if from == i || v[i-1] == '.' {
		return
	}
	to, ok := host(v, i+1)
	if !ok || v[from:i] == "git" || picture(v[i+1:to]) {
		w.dsn(from, i)
		return
	}
	w.add(EmailAddress, from, to, 0.9, "email", false)
}

// host gives the end of the name of a host with a top-level domain, or of an address in brackets, that begins at i.
func host(v string, i int) (end int, ok bool) {
	if byteAt(v, i) == '[' {
		n := strings.IndexByte(v[i:min(len(v), i+48)], ']')
		return i + n + 1, n > 7
	}
	for to := i; to-i < maxHost; to++ { // a label each, and the dot after it
		start, digits := to, 0
		for {
			n := letterAt(v, to)
			if n == 0 && (byteAt(v, to) != '-' || to == start) || to-i >= maxHost {
				break
			}
			if isDigit(v[to]) {
				digits++
			}
			to += max(n, 1)
		}
		stop := to
		for stop > start && v[stop-1] == '-' {
			stop--
		}
		if start > i && stop-start >= 2 && (digits == 0 || hasFoldPrefix(v[start:], "xn--")) {
			end, ok = stop, true
		}
		if to == start || byteAt(v, to) != '.' {
			break
		}
	}
	return end, ok
}

// letterAt gives the length of the letter or digit at i: of ASCII, or of a script whose words are told apart by space.
func letterAt(v string, i int) int {
	if i >= len(v) {
		return 0
	}
	if v[i] < utf8.RuneSelf {
		if isAlnum(v[i]) {
			return 1
		}
		return 0
	}
	if r, n := utf8.DecodeRuneInString(v[i:]); isWord(r) && r < firstIdeograph {
		return n
	}
	return 0
}

// letterBefore is letterAt for what ends at i, with set for what is ASCII.
func letterBefore(v string, i int, set uint8) int {
	if v[i-1] < utf8.RuneSelf {
		if sets[v[i-1]]&set != 0 {
			return 1
		}
		return 0
	}
	if r, n := utf8.DecodeLastRuneInString(v[:i]); isWord(r) && r < firstIdeograph {
		return n
	}
	return 0
}

// picture says whether a host is the end of a file's name: "logo@2x.png".
func picture(host string) bool {
	switch fold(host[strings.LastIndexByte(host, '.')+1:]) {
	case "png", "jpg", "jpeg", "gif", "svg", "webp", "bmp":
		return true
	}
	return false
}

// dsn is a data source of MySQL's driver for Go, user:password@tcp(host)/name, whose '@' is at i.
func (w *work) dsn(from, i int) {
	v := w.view
	if !strings.HasPrefix(v[i:], "@tcp(") && !strings.HasPrefix(v[i:], "@unix(") || byteAt(v, from-1) != ':' {
		return
	}
	start := from - 1
	for start > 0 && from-start < maxLocal && isAlnum(v[start-1]) {
		start--
	}
	end := strings.IndexByte(v[i:min(len(v), i+maxHost)], ')')
	if start == from-1 || end < 0 {
		return
	}
	w.add(URLCredentials, start, i+end+1, 0.9, "url_credentials", false)
}
