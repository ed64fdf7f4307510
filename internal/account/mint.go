package account

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"sluice/internal/auth"
)

// What is shown to the gateway to be somebody has a form of its own by kind, and is hashed under a key of its own: what is
// made as one kind is never taken for another, not even where somebody rewrites its form. All are of base 62, and of more than 256
// bits but for recovery codes.
//
//	slt-<12 public>-<43 secret><4 checksum>   a token; as keys of clients are made
//	sls-<43 secret>                           the cookie of a session
//	sll-<43 secret><4 checksum>               a one-time link
//	xxxx-xxxx-xxxx                            a recovery code: 60 bits, each good once and behind a lock
const (
	tokenPrefix   = "slt-"
	sessionPrefix = "sls-"
	linkPrefix    = "sll-"
	publicLen     = 12
	secretLen     = 43
	checksumLen   = 4
)

// A Mint makes secrets, and the hashes under which stores have them. All replicas of a store must have one pepper.
type Mint struct {
	random                                            io.Reader
	session, csrf, token, link, code, tries, password []byte
	totp, ticket                                      cipher.AEAD
}

// NewMint derives the keys from the pepper.
func NewMint(h *auth.Hasher, random io.Reader) (*Mint, error) {
	m := &Mint{random: random}
	for purpose, key := range map[string]*[]byte{
		"session": &m.session, "csrf": &m.csrf, "automation token": &m.token, "one-time link": &m.link,
		"recovery code": &m.code, "sign-in tries": &m.tries, "password": &m.password,
	} {
		var err error
		if *key, err = h.Derive(purpose); err != nil {
			return nil, fmt.Errorf("derive key: %w", err)
		}
	}
	for purpose, box := range map[string]*cipher.AEAD{"one-time code secret": &m.totp, "enrolment ticket": &m.ticket} {
		var err error
		if *box, err = Box(h, purpose); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Box seals under a key of its purpose.
func Box(h *auth.Hasher, purpose string) (cipher.AEAD, error) {
	key, err := h.Derive(purpose)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func sum(key []byte, parts ...string) (h Hash) {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		_, _ = io.WriteString(m, p)
	}
	m.Sum(h[:0])
	return h
}

// id draws the id of an account or session.
func (m *Mint) id() (string, error) { return auth.NewPublic(m.random) }

// ID draws the id of an account.
func (m *Mint) ID() (string, error) { return m.id() }

// Token makes an automation token: its public part, the whole, and the hash.
func (m *Mint) Token() (id, token string, h Hash, err error) {
	id, err = m.id()
	if err != nil {
		return "", "", h, err
	}
	secret, err := auth.Draw(m.random, secretLen)
	if err != nil {
		return "", "", h, err
	}
	token = tokenPrefix + id + "-" + secret
	token += auth.Checksum(token)
	return id, token, sum(m.token, token), nil
}

// tokenHash is the hash of a token; ok is false for what has not the form of one.
func (m *Mint) tokenHash(token string) (h Hash, ok bool) {
	if len(token) != len(tokenPrefix)+publicLen+1+secretLen+checksumLen || !strings.HasPrefix(token, tokenPrefix) || !checked(token) {
		return h, false
	}
	return sum(m.token, token), true
}

// IsToken tells whether a text has the form of a token, mistyped or not.
func IsToken(s string) bool { return strings.HasPrefix(s, tokenPrefix) }

// Link makes a one-time link.
func (m *Mint) Link() (token string, h Hash, err error) {
	secret, err := auth.Draw(m.random, secretLen)
	if err != nil {
		return "", h, err
	}
	token = linkPrefix + secret
	token += auth.Checksum(token)
	return token, sum(m.link, token), nil
}

func (m *Mint) linkHash(token string) (h Hash, ok bool) {
	if len(token) != len(linkPrefix)+secretLen+checksumLen || !strings.HasPrefix(token, linkPrefix) || !checked(token) {
		return h, false
	}
	return sum(m.link, token), true
}

// checked tells whether a text ends with the checksum of the rest.
func checked(s string) bool {
	body := s[:len(s)-checksumLen]
	return auth.Checksum(body) == s[len(body):]
}

// cookie makes the cookie of a session.
func (m *Mint) cookie() (cookie string, h Hash, err error) {
	secret, err := auth.Draw(m.random, secretLen)
	if err != nil {
		return "", h, err
	}
	cookie = sessionPrefix + secret
	return cookie, sum(m.session, cookie), nil
}

func (m *Mint) cookieHash(cookie string) (h Hash, ok bool) {
	if len(cookie) != len(sessionPrefix)+secretLen || !strings.HasPrefix(cookie, sessionPrefix) {
		return h, false
	}
	return sum(m.session, cookie), true
}

// csrfOf is what requests of a session carry beside the cookie.
func (m *Mint) csrfOf(cookie string) string {
	h := sum(m.csrf, cookie)
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// recovery makes a recovery code: twelve letters and digits of base 32.
func (m *Mint) recovery(account string) (code string, h Hash, err error) {
	var raw [8]byte
	if _, err := io.ReadFull(m.random, raw[:]); err != nil {
		return "", h, err
	}
	text := strings.ToLower(base32.StdEncoding.EncodeToString(raw[:]))
	code = text[:4] + "-" + text[4:8] + "-" + text[8:12]
	return code, m.recoveryHash(account, code), nil
}

// recoveryHash is the hash of a recovery code of an account, however it was typed.
func (m *Mint) recoveryHash(account, code string) Hash {
	return sum(m.code, account, ":", strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(code)))
}

// triesOf are the keys under which failures are counted: of the address that was typed, and of where it came from.
func (m *Mint) triesOf(email string, from netip.Addr) []Hash {
	return []Hash{sum(m.tries, "account ", email), sum(m.tries, "address ", network(from).String())}
}

var errSealed = errors.New("it was not sealed here, or for something else")

// seal hides a text; only open with the same about gets it back.
func seal(box cipher.AEAD, text []byte, about string) []byte {
	return box.Seal(nil, nil, text, []byte(about)) //nolint:gosec // G407: Box draws a nonce for each
}

func unseal(box cipher.AEAD, sealed []byte, about string) ([]byte, error) {
	text, err := box.Open(nil, nil, sealed, []byte(about))
	if err != nil {
		return nil, errSealed
	}
	return text, nil
}
