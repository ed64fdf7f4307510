package account

import (
	"crypto/cipher"
	"crypto/rand"
	"testing"

	"sluice/internal/auth"
)

// S9: what is made as one kind of secret is worth nothing as another, not even where somebody gives it the other's form: the same text has
// another hash as each kind, and no box opens what another sealed.
func TestKindsAreApart(t *testing.T) {
	hasher := auth.NewHasher([]byte("a pepper for tests that is long"))
	m, err := NewMint(hasher, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const text = "sls-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
	hashes := map[Hash]string{Hash(hasher.Key(text)): "a client's key"}
	for kind, key := range map[string][]byte{
		"session": m.session, "csrf": m.csrf, "token": m.token, "link": m.link, "recovery code": m.code, "tries": m.tries, "password": m.password,
	} {
		h := sum(key, text)
		if other := hashes[h]; other != "" {
			t.Errorf("%s and %s have one hash", kind, other)
		}
		hashes[h] = kind
	}
	foreign, err := Box(hasher, "sign-in at a provider of identities")
	if err != nil {
		t.Fatal(err)
	}
	boxes := map[string]cipher.AEAD{"one-time codes": m.totp, "ticket": m.ticket, "sign-in elsewhere": foreign}
	for a, one := range boxes {
		sealed := seal(one, []byte("text"), "ada")
		for b, other := range boxes {
			if _, err := unseal(other, sealed, "ada"); (err == nil) != (a == b) {
				t.Errorf("what %s sealed, opened as %s: %v", a, b, err)
			}
		}
		if _, err := unseal(one, sealed, "bob"); err == nil {
			t.Errorf("%s: what was sealed for one is opened for another", a)
		}
	}
}
