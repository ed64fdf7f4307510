package auth

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"sluice/internal/llm"
)

func TestRevoked(t *testing.T) {
	dir := t.TempDir()
	r, err := OpenRevoked(dir)
	if err != nil {
		t.Fatal(err)
	}
	hasher := NewHasher(make([]byte, 32))
	key := "k9Qz3vXw7LmT2pRb8NcY5hJd1FsG4aZx"
	a := New(hasher, Memory{hasher.Key(key): {Name: "app", ID: "public"}}, r, nil)
	req, _ := http.NewRequest(http.MethodGet, "/", http.NoBody)
	req.Header.Set("X-Api-Key", key)
	if _, err := a.Identify(req); err != nil {
		t.Fatal(err)
	}
	if err := r.Add("public"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Identify(req); llm.AsError(err).Kind != llm.KindInvalidKey {
		t.Errorf("%v: a revoked key was taken", err)
	}
	again, err := OpenRevoked(dir)
	if err != nil || !again.Has(&Who{ID: "public"}) || again.Has(&Who{Name: "app"}) {
		t.Errorf("not kept: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, revokedFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, revokedFile), []byte("[1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRevoked(dir); err == nil {
		t.Error("a damaged list was taken for an empty one: a revoked key would work again")
	}
	gone := &Revoked{path: filepath.Join(dir, "none", "x")}
	gone.set.Store(&map[string]bool{})
	if err := gone.Add("public"); err == nil || !gone.Has(&Who{ID: "public"}) {
		t.Error("a key that could not be kept must be refused all the same, and the error told")
	}
}
