package pii

import (
	"crypto/sha256"
	"math/big"
	"strings"

	"golang.org/x/crypto/sha3"
)

// wallet is an address of Bitcoin: the token of letters and digits from from to to.
func (w *work) wallet(from, to int) {
	s := w.view[from:to]
	if len(s) < 26 || len(s) > 90 || !w.wants(Crypto) || s[0] != '1' && s[0] != '3' && lower(s[0]) != 'b' {
		return
	}
	if len(s) <= 35 && base58Check(s) || bech32(s) {
		w.add(Crypto, from, to, 0.95, "bitcoin", true)
	}
}

// base58Check says whether s is a version, a hash of 20 bytes, and the head of their double SHA-256.
func base58Check(s string) bool {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	n, base := new(big.Int), big.NewInt(int64(len(alphabet)))
	for i := range len(s) {
		v := strings.IndexByte(alphabet, s[i])
		if v < 0 {
			return false
		}
		n.Mul(n, base).Add(n, big.NewInt(int64(v)))
	}
	const size = 25
	if n.BitLen() > size*8 {
		return false
	}
	var raw [size]byte
	n.FillBytes(raw[:])
	once := sha256.Sum256(raw[:size-4])
	twice := sha256.Sum256(once[:])
	return string(twice[:4]) == string(raw[size-4:])
}

// bech32 says whether s is an address of segregated witness with a right checksum (BIP 173, BIP 350).
func bech32(s string) bool {
	const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	if strings.ToUpper(s) != s && strings.ToLower(s) != s || !hasFoldPrefix(s, "bc1") {
		return false
	}
	sum := uint32(1)
	step := func(v byte) {
		top := sum >> 25
		sum = sum&0x1FFFFFF<<5 ^ uint32(v)
		for i, g := range [...]uint32{0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	for _, v := range []byte{'b' >> 5, 'c' >> 5, 0, 'b' & 31, 'c' & 31} {
		step(v)
	}
	for i := 3; i < len(s); i++ {
		v := strings.IndexByte(alphabet, lower(s[i]))
		if v < 0 {
			return false
		}
		step(byte(v))
	}
	return sum == 1 || sum == 0x2BC830A3
}

// ethereum is an address of Ethereum: the token from from to to. Where both cases are used they are a checksum (EIP-55).
func (w *work) ethereum(from, to int) {
	if to-from != 42 || !w.wants(Crypto) || w.view[from] != '0' || lower(w.view[from+1]) != 'x' {
		return
	}
	s := w.view[from+2 : to]
	small, large := false, false
	for i := range len(s) {
		if !isHex(s[i]) {
			return
		}
		small = small || s[i] >= 'a'
		large = large || isUpper(s[i])
	}
	if !small || !large {
		w.add(Crypto, from, to, 0.6, "ethereum", false)
		return
	}
	h := sha3.NewLegacyKeccak256()
	h.Write([]byte(strings.ToLower(s)))
	sum := h.Sum(nil)
	for i := range len(s) {
		nibble := sum[i/2] >> (4 * (1 - i%2)) & 15
		if isLetter(s[i]) && isUpper(s[i]) != (nibble >= 8) {
			return
		}
	}
	w.add(Crypto, from, to, 0.95, "ethereum", true)
}
