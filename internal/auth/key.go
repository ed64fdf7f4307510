// Package auth knows who calls: it reads a credential from a request, finds the key it belongs to and says
// what that key may do. It never sees a body, a provider or a budget.
package auth

import (
	"errors"
	"hash/crc32"
	"io"
	"strings"
)

// A key of ours is "sk-slc-" + public + "-" + secret + checksum, all in base 62:
//
//	public    12 characters, names the key in logs and lists; worthless alone
//	secret    43 characters drawn evenly, 256.03 bits
//	checksum   4 characters, CRC-32 of all before it: a mistyped or cut key is told from a wrong one
//	           without a look-up, and scanners of leaked secrets have few false alarms
const (
	prefix      = "sk-slc-"
	publicLen   = 12
	secretLen   = 43
	checksumLen = 4
	keyLen      = len(prefix) + publicLen + 1 + secretLen + checksumLen
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewKey draws a key from a source of cryptographic randomness.
func NewKey(random io.Reader) (string, error) {
	public, err := NewPublic(random)
	if err != nil {
		return "", err
	}
	return NewSecret(public, random)
}

// NewPublic draws a public part.
func NewPublic(random io.Reader) (string, error) {
	var b strings.Builder
	err := draw(&b, random, publicLen)
	return b.String(), err
}

// NewSecret draws a key with a public part that is known: the same key after a rotation.
func NewSecret(public string, random io.Reader) (string, error) {
	if !IsPublic(public) {
		return "", errors.New("not the public part of a key")
	}
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteString(public)
	b.WriteByte('-')
	if err := draw(&b, random, secretLen); err != nil {
		return "", err
	}
	sum := checksum(b.String())
	b.Write(sum[:])
	return b.String(), nil
}

// IsPublic tells whether a text has the form of a public part.
func IsPublic(s string) bool {
	return len(s) == publicLen && strings.Trim(s, base62) == ""
}

// Draw draws n characters of base 62, each equally likely, for secrets of other kinds.
func Draw(random io.Reader, n int) (string, error) {
	var b strings.Builder
	err := draw(&b, random, n)
	return b.String(), err
}

// Checksum is what a key ends with after s.
func Checksum(s string) string {
	sum := checksum(s)
	return string(sum[:])
}

// draw writes n characters, each equally likely: bytes that would favour some are thrown away.
func draw(b *strings.Builder, random io.Reader, n int) error {
	const fair = 256 / len(base62) * len(base62)
	var buf [64]byte
	for n > 0 {
		if _, err := io.ReadFull(random, buf[:]); err != nil {
			return err
		}
		for _, c := range buf {
			if int(c) < fair && n > 0 {
				b.WriteByte(base62[int(c)%len(base62)])
				n--
			}
		}
	}
	return nil
}

func checksum(s string) (sum [checksumLen]byte) {
	n := ^uint32(0)
	for i := range len(s) { // as crc32.ChecksumIEEE, which would have s copied to the heap
		n = crc32.IEEETable[byte(n)^s[i]] ^ n>>8
	}
	n = ^n
	for i := range sum {
		sum[i] = base62[n%uint32(len(base62))]
		n /= uint32(len(base62))
	}
	return sum
}

// Public gives the public part of a key of ours; ok is false for any other string, also for a key of ours
// that was mistyped.
func Public(key string) (public string, ok bool) {
	if len(key) != keyLen || !strings.HasPrefix(key, prefix) || key[len(prefix)+publicLen] != '-' {
		return "", false
	}
	body, sum := key[:keyLen-checksumLen], key[keyLen-checksumLen:]
	if want := checksum(body); string(want[:]) != sum {
		return "", false
	}
	return key[len(prefix) : len(prefix)+publicLen], true
}
