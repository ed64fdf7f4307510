package auth

import (
	"bytes"
	"testing"
)

func TestDerive(t *testing.T) {
	key := func(pepper, purpose string) []byte {
		t.Helper()
		k, err := NewHasher([]byte(pepper)).Derive(purpose)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a := key("0123456789abcdef0123456789abcdef", "x")
	if len(a) != 32 || !bytes.Equal(a, key("0123456789abcdef0123456789abcdef", "x")) {
		t.Errorf("%d bytes, or another key the second time", len(a))
	}
	if bytes.Equal(a, key("0123456789abcdef0123456789abcdef", "y")) || bytes.Equal(a, key("1123456789abcdef0123456789abcdef", "x")) {
		t.Error("another purpose or pepper gives the same key")
	}
}
