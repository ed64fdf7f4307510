package pii

import (
	"math"
	"strings"
	"unicode/utf8"
)

// A secretName is what the name of a thing says about its value.
type secretName int

const (
	noSecret   secretName = iota
	isKey                 // made by a machine: long, of letters and digits
	isPassword            // made by a person
)

// assignment is a value given to a name that promises a secret, with '=' or ':' at i between them: password=x,
// "api_key": "x", Authorization: Bearer x.
func (w *work) assignment(i int) {
	if !w.wants(Secret) {
		return
	}
	v := w.view
	to := i
	for n := 0; n < 4 && to > 0 && strings.IndexByte("\"' :=]", v[to-1]) >= 0; n++ {
		to--
	}
	from := to
	for from > 0 && to-from < 40 && (isAlnum(v[from-1]) || v[from-1] == '_' || v[from-1] == '-' || v[from-1] == '.') {
		from--
	}
	kind := promises(v[from:to])
	if kind == noSecret {
		return
	}
	to = i + 1
	for n := 0; n < 8 && (isSpace(byteAt(v, to)) && v[to] != '\n' || byteAt(v, to) != 0 && strings.IndexByte("=>\"'", v[to]) >= 0); n++ {
		to++
	}
	for _, scheme := range []string{"bearer ", "basic ", "token ", "apikey "} {
		if hasFoldPrefix(v[to:], scheme) {
			to += len(scheme)
			break
		}
	}
	w.value(to, kind)
}

// password is "the password is x", whose w is at i.
func (w *work) password(i int) {
	v := w.view
	if !w.wants(Secret) || i < 4 || lower(v[i-1]) != 's' || !hasFoldPrefix(v[i-4:], "passw") {
		return
	}
	to := i
	for to < len(v) && to-i < 10 && isLetter(v[to]) {
		to++
	}
	for _, is := range []string{" is ", " ist ", " was ", " es ", " est ", " is: ", " to "} {
		if hasFoldPrefix(v[to:], is) {
			to += len(is)
			if c := byteAt(v, to); c == '"' || c == '\'' || c == '`' {
				to++
			}
			w.value(to, isPassword)
			return
		}
	}
}

// promises says what the name of a thing promises. The last part of the name counts: a password_hint is none.
func promises(name string) secretName {
	var buf [40]byte
	n := 0
	for i := range min(len(name), len(buf)) {
		if isAlnum(name[i]) {
			buf[n] = lower(name[i])
			n++
		}
	}
	s := string(buf[:n])
	for _, end := range []string{"password", "passwd", "passwort", "kennwort", "passphrase", "pwd", "contraseña", "motdepasse"} {
		if strings.HasSuffix(s, end) {
			return isPassword
		}
	}
	for _, end := range []string{
		"secret", "token", "apikey", "accesskey", "secretkey", "privatekey", "accountkey", "encryptionkey", "signingkey", "sharedaccesskey",
		"authkey", "credential", "credentials", "authorization", "clientsecret", "accesskeyid", "secretaccesskey", "sessionkey", "masterkey",
	} {
		if strings.HasSuffix(s, end) {
			return isKey
		}
	}
	if s == "pass" || s == "dbpass" || s == "userpass" || s == "auth" {
		return isPassword
	}
	return noSecret
}

// value is the value at from of a name that promises a secret.
func (w *work) value(from int, kind secretName) {
	const longest = 512
	v := w.view
	to := from
	for to < len(v) && to-from < longest {
		n := letterAt(v, to)
		if n == 0 && sets[v[to]]&inValue != 0 {
			n = 1
		}
		if n == 0 {
			break
		}
		to += n
	}
	for to > from && strings.IndexByte(".,:?", v[to-1]) >= 0 {
		to--
	}
	s := v[from:to]
	if c := byteAt(v, to); c == '(' || c == '{' || c == '[' || c == '<' || placeholder(s) {
		return
	}
	var letters, digits, others int
	for i := range len(s) {
		switch c := s[i]; {
		case isDigit(c):
			digits++
		case isLetter(c) || c >= utf8.RuneSelf:
			letters++
		case c != '_' && c != '.' && c != '-':
			others++
		}
	}
	switch {
	case kind == isKey && len(s) >= 16 && letters > 0 && digits > 0 && entropy(s) >= 3:
		w.add(Secret, from, to, 0.75, "secret/assigned", false)
	case kind == isPassword && len(s) >= 5 && (digits > 0 || others > 0):
		w.add(Secret, from, to, 0.7, "secret/password", false)
	}
}

// placeholder says whether s stands for a secret in an example and is none.
func placeholder(s string) bool {
	for _, head := range []string{"your", "my_", "my-", "xxx", "***", "...", "$", "%", "example", "changeme", "placeholder", "redacted", "process.env", "os.", "env.", "config.", "self.", "this."} {
		if hasFoldPrefix(s, head) {
			return true
		}
	}
	return len(s) > 0 && strings.Count(s, s[:1]) == len(s)
}

// entropy is Shannon's, in bits a byte.
func entropy(s string) float64 {
	var times [256]int
	for i := range len(s) {
		times[s[i]]++
	}
	bits := 0.0
	for _, n := range times {
		if n > 0 {
			p := float64(n) / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits
}
