package auth

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// Derive makes a key of 32 bytes for a purpose from the pepper. Each purpose has its own (HKDF-SHA-256, RFC 5869), so that what is
// made under one means nothing under another; and replicas with one pepper have the same.
func (h *Hasher) Derive(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, h.pepper, nil, "sluice "+purpose, 32)
}
