package pii

import (
	"net/netip"
	"strings"
)

// ipv4 is an address that begins at from. Numbers of versions look the same: words beside it decide.
func (w *work) ipv4(from int) {
	v := w.view
	if c := byteAt(v, from-1); c == '.' || c == '_' || c == '-' && isAlnum(byteAt(v, from-2)) {
		return
	}
	i, high := from, false
	for k := range 4 {
		if k > 0 {
			if byteAt(v, i) != '.' {
				return
			}
			i++
		}
		n := 0
		for n < 4 && isDigit(byteAt(v, i+n)) {
			n++
		}
		value := decimal(v[i : i+n])
		if n == 0 || n == 4 || value > 255 || n > 1 && v[i] == '0' {
			return
		}
		high = high || n > 1
		i += n
	}
	if c := byteAt(v, i); isLetter(c) || c == '_' || c == '.' && isDigit(byteAt(v, i+1)) {
		return
	}
	score := float32(0.6)
	if !high { // 1.2.3.4
		score = 0.4
	}
	switch about := w.about(from, i); {
	case about&aboutAddress != 0:
		score += contextBoost
	case about&aboutVersion != 0:
		score -= contextBoost
	}
	w.add(IPAddress, from, i, score, "ipv4", true)
}

// colon runs what begins with a colon or has one in it. It gives where to go on.
func (w *work) colon(i int) int {
	v := w.view
	if strings.HasPrefix(v[i:], "://") {
		w.url(i)
		return i + 3
	}
	before, after := byteAt(v, i-1), byteAt(v, i+1)
	if (isHex(before) || before == ':') && (isHex(after) || after == ':') || isHex(before) && after == ':' || after == ':' {
		w.ipv6(i)
		w.mac(i)
	}
	w.assignment(i)
	return i + 1
}

// ipv6 is an address whose first colon is at i.
func (w *work) ipv6(i int) {
	const longest = 46 // with the four bytes of an IPv4 at its end
	v := w.view
	from := i
	for from > 0 && i-from < 5 && isHex(v[from-1]) {
		from--
	}
	if c := byteAt(v, from-1); i-from > 4 || c == ':' || isAlnum(c) {
		return
	}
	to, colons, digits := from, 0, 0
	for to < len(v) && to-from < longest && (isHex(v[to]) || v[to] == ':' || v[to] == '.') {
		if v[to] == ':' {
			colons++
		} else if isDigit(v[to]) {
			digits++
		}
		to++
	}
	for to > from && (v[to-1] == '.' || v[to-1] == ':' && !strings.HasSuffix(v[from:to], "::")) {
		to--
	}
	if colons < 2 || digits == 0 || isLetter(byteAt(v, to)) {
		return
	}
	ip, err := netip.ParseAddr(v[from:to])
	if err != nil {
		return
	}
	score := float32(0.7)
	if colons < 4 {
		score = 0.4
	}
	if ip.IsLoopback() {
		score = 0.2
	}
	if w.about(from, to)&aboutAddress != 0 {
		score += contextBoost
	}
	w.add(IPAddress, from, to, score, "ipv6", true)
}

// mac is an address of six pairs of hexadecimal digits whose first separator is at i.
func (w *work) mac(i int) {
	const length = 17
	v := w.view
	from := i - 2
	if !w.wants(MACAddress) || from < 0 || from+length > len(v) || isAlnum(byteAt(v, from-1)) || byteAt(v, from-1) == v[i] ||
		isAlnum(byteAt(v, from+length)) || byteAt(v, from+length) == v[i] {
		return
	}
	for k := range length {
		if c := v[from+k]; k%3 == 2 && c != v[i] || k%3 != 2 && !isHex(c) {
			return
		}
	}
	w.add(MACAddress, from, from+length, 0.8, "mac", false)
}

// url is an address whose "://" is at i.
func (w *work) url(i int) {
	v := w.view
	from := i
	for from > 0 && i-from < 20 && (isAlnum(v[from-1]) || v[from-1] == '+' || v[from-1] == '-' || v[from-1] == '.') {
		from--
	}
	for from < i && !isLetter(v[from]) {
		from++
	}
	if from == i || i < w.urlEnd {
		return
	}
	start, end := i+3, i+3
	for end < len(v) && v[end] > ' ' && v[end] < 0x7F && strings.IndexByte("\"'<>`{}[]|^", v[end]) < 0 {
		end++
	}
	w.urlEnd = end
	for end > start && strings.IndexByte(".,;:!?)", v[end-1]) >= 0 {
		end--
	}
	if end == start {
		return
	}
	w.add(URL, from, end, 0.6, "url", false)
	authority := v[start:end]
	if n := strings.IndexAny(authority, "/?#"); n >= 0 {
		authority = authority[:n]
	}
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return
	}
	if _, password, ok := strings.Cut(authority[:at], ":"); ok && password != "" && !placeholder(password) {
		w.add(URLCredentials, from, end, 0.95, "url_credentials", false)
	}
}
