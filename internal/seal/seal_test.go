package seal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/seal"
	"sluice/internal/seal/sealtest"
)

func TestMemory(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{Open: func(*testing.T) seal.Store { return seal.NewMemory() }})
}

func kek(t *testing.T, text llm.Secret) seal.KEK {
	t.Helper()
	k, err := seal.FromText(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func vault(t *testing.T, s seal.Store) *seal.Vault {
	t.Helper()
	v, err := seal.Open(t.Context(), seal.Options{Store: s, KEK: kek(t, "one")})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t *testing.T, v *seal.Vault, p seal.Purpose, object string, plain llm.Secret) string {
	t.Helper()
	id, err := v.Put(t.Context(), p, object, plain)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func wants(t *testing.T, v *seal.Vault, p seal.Purpose, object, id string, want llm.Secret) {
	t.Helper()
	if got, err := v.Get(t.Context(), p, object, id); err != nil || got != want {
		t.Errorf("%s of %s: opened %t, %v", p, object, got == want, err)
	}
}

// A value opens for what it was sealed for, and nowhere else, however its row is moved about.
func TestBound(t *testing.T) {
	ctx, s := t.Context(), seal.NewMemory()
	v := vault(t, s)
	id := put(t, v, seal.Credential, "providers/a/api_key", "sk-planted")
	wants(t, v, seal.Credential, "providers/a/api_key", id, "sk-planted")
	for _, c := range []struct {
		p      seal.Purpose
		object string
	}{{seal.Webhook, "providers/a/api_key"}, {seal.Credential, "providers/b/api_key"}} {
		if _, err := v.Get(ctx, c.p, c.object, id); err == nil {
			t.Errorf("it opens as %v", c)
		}
		kept, err := s.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(kept.Sealed, []byte("planted")) {
			t.Error("the store has the secret")
		}
		set, _ := s.Keyset(ctx)
		kept.ID, kept.Purpose, kept.Object = seal.NewID(), c.p, c.object
		if err := s.Put(ctx, kept, set.Version); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Get(ctx, c.p, c.object, kept.ID); err == nil {
			t.Errorf("its row, moved to %v, opens", c)
		}
	}
	if _, err := v.Put(ctx, seal.TOTP, "a\x00b", "x"); err == nil {
		t.Error("an object with NUL was taken")
	}
}

// While one replica rotates, others read and write; none of what they wrote is lost, and the old keys are gone.
func TestRotate(t *testing.T) {
	ctx, s := t.Context(), seal.NewMemory()
	one, other := vault(t, s), vault(t, s)
	ids := map[string]llm.Secret{}
	for i := range 250 {
		plain := llm.Secret(fmt.Sprint("secret ", i))
		ids[put(t, one, seal.Credential, "o", plain)] = plain
	}
	var mu sync.Mutex // guards ids
	var work sync.WaitGroup
	stop, end := context.WithCancel(ctx)
	work.Go(func() {
		for i := 0; stop.Err() == nil; i++ {
			plain := llm.Secret(fmt.Sprint("other ", i))
			id, err := other.Put(ctx, seal.Credential, "o", plain)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := other.Get(ctx, seal.Credential, "o", id); err != nil || got != plain {
				t.Errorf("just put: %v", err)
			}
			mu.Lock()
			ids[id] = plain
			mu.Unlock()
		}
	})
	before, _ := s.Keyset(ctx)
	for i := range 3 {
		r, err := one.Rotate(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if r.Resealed < 250 || r.Retired != 1 {
			t.Errorf("rotation %d: %+v", i, r)
		}
		if stale, err := s.Stale(ctx, r.Key, 10); err != nil || len(stale) > 0 {
			t.Errorf("rotation %d left %v, %v", i, stale, err)
		}
	}
	end()
	work.Wait()
	for id, plain := range ids {
		wants(t, other, seal.Credential, "o", id, plain)
		wants(t, vault(t, s), seal.Credential, "o", id, plain)
	}
	if after, _ := s.Keyset(ctx); bytes.Equal(before.Wrapped, after.Wrapped) {
		t.Error("the keyset is the same")
	}
}

func TestKEK(t *testing.T) {
	ctx, s := t.Context(), seal.NewMemory()
	v := vault(t, s)
	other := seal.Options{Store: s, KEK: kek(t, "two")}
	if _, err := seal.Open(ctx, other); err != nil {
		t.Errorf("before there is a keyset: %v", err)
	}
	id := put(t, v, seal.TOTP, "ann", "seed")
	_, err := seal.Open(ctx, other)
	if err == nil || !strings.Contains(err.Error(), "another key-encryption key") || strings.Contains(err.Error(), "two") {
		t.Errorf("another KEK: %v", err)
	}
	late := vault(t, s)
	if err := v.Rewrap(ctx, other.KEK); err != nil {
		t.Fatal(err)
	}
	wants(t, v, seal.TOTP, "ann", id, "seed")
	wants(t, late, seal.TOTP, "ann", id, "seed") // it has the keyset
	next, err := seal.Open(ctx, other)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, next, seal.TOTP, "ann", id, "seed")
	if _, err := v.Rotate(ctx); err != nil {
		t.Errorf("rotate after a new KEK: %v", err)
	}
	if _, err := late.Get(ctx, seal.TOTP, "ann", id); err == nil || !strings.Contains(err.Error(), "another key-encryption key") {
		t.Errorf("who has the old KEK, after a rotation: %v", err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	a, err := seal.FromFile(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := seal.FromFile(dir, rand.Reader)
	if err != nil || a.Name() != b.Name() {
		t.Errorf("the second time: %v", err)
	}
	path := filepath.Join(dir, seal.FileName)
	if i, err := os.Stat(path); err != nil || i.Mode() != 0o600 {
		t.Errorf("%v, %v", i.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if err := os.WriteFile(path, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.FromFile(dir, rand.Reader); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a file that was cut: %v", err)
	}
}

// script is a program that plays a key management service.
func script(t *testing.T, body string) seal.KEK {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kms")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	k, err := seal.FromCommand([]string{path, "--key; exit 1"})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestCommand(t *testing.T) {
	ctx, s := t.Context(), seal.NewMemory()
	good := script(t, `case "$#$2" in 2wrap) base64;; 2unwrap) base64 -d;; *) exit 9;; esac`)
	v, err := seal.Open(ctx, seal.Options{Store: s, KEK: good})
	if err != nil {
		t.Fatal(err)
	}
	id := put(t, v, seal.Header, "h", "x")
	v, err = seal.Open(ctx, seal.Options{Store: s, KEK: good})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, v, seal.Header, "h", id, "x")
	for body, want := range map[string]string{
		"echo planted >&2; exit 3": "exit status 3",
		"exit 0":                   "gave nothing",
		"cat >/dev/null; head -c 100000 /dev/zero":      "more than 65536 bytes",
		"cat >/dev/null; echo this is no keyset at all": "cannot be unwrapped",
	} {
		_, err := seal.Open(ctx, seal.Options{Store: s, KEK: script(t, body)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}

// FuzzOpen: bytes that anybody wrote into the store are refused, not believed.
func FuzzOpen(f *testing.F) {
	s := seal.NewMemory()
	k, err := seal.FromText("one")
	if err != nil {
		f.Fatal(err)
	}
	v, err := seal.Open(f.Context(), seal.Options{Store: s, KEK: k})
	if err != nil {
		f.Fatal(err)
	}
	id, err := v.Put(f.Context(), seal.TOTP, "o", "plain")
	if err != nil {
		f.Fatal(err)
	}
	row, err := s.Get(f.Context(), id)
	if err != nil {
		f.Fatal(err)
	}
	set, err := s.Keyset(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(row.Sealed, set.Wrapped)
	f.Add([]byte{1, 0, 0, 0, 0}, []byte{})
	f.Fuzz(func(t *testing.T, sealed, wrapped []byte) {
		s := seal.NewMemory()
		if err := s.PutKeyset(t.Context(), &seal.Keyset{Version: 1, KEK: k.Name(), Wrapped: wrapped}, 0); err != nil {
			t.Fatal(err)
		}
		val := *row
		val.Sealed = sealed
		if err := s.Put(t.Context(), &val, 1); err != nil {
			t.Fatal(err)
		}
		v, err := seal.Open(t.Context(), seal.Options{Store: s, KEK: k})
		if err != nil {
			return
		}
		if got, err := v.Get(t.Context(), seal.TOTP, "o", id); err == nil && (got != "plain" || !bytes.Equal(sealed, row.Sealed)) {
			t.Errorf("opened %x as %q", sealed, string(got))
		}
	})
}
