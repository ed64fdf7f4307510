package vault

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

const planted = "hvs.planted-token"

// A fake answers as Vault does, for one token.
func fake(t *testing.T, calls *atomic.Int64) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.Header.Get("X-Vault-Token") != planted || r.Header.Get("X-Vault-Namespace") != "team" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errors":["`+r.Header.Get("X-Vault-Token")+`"]}`)
			return
		}
		switch r.URL.Path {
		case "/v1/kv/data/sluice/openai":
			_, _ = io.WriteString(w, `{"data":{"data":{"api_key":"sk-planted","n":7,"empty":""},"metadata":{"version":3}}}`)
		case "/v1/kv/data/moved":
			http.Redirect(w, r, "/v1/kv/data/sluice/openai", http.StatusTemporaryRedirect)
		case "/v1/kv/data/large":
			_, _ = fmt.Fprintf(w, `{"data":{"data":{"x":%q}}}`, strings.Repeat("sk-planted", 200_000))
		case "/v1/kv/data/odd":
			_, _ = io.WriteString(w, `{"data":{"api_key":"sk-planted"}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	s := httptest.NewUnstartedServer(mux)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestRead(t *testing.T) {
	var calls atomic.Int64
	s := fake(t, &calls)
	env := map[string]string{"VAULT_ADDR": s.URL, "VAULT_TOKEN_FILE": "/token", "VAULT_NAMESPACE": "team", "VAULT_CACERT": "/ca"}
	files := map[string]string{"/token": planted + "\n", "/ca": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))}
	c := New(func(name string) string { return env[name] }, func(path string) ([]byte, error) { return []byte(files[path]), nil })
	read := func(ref string) (string, error) { return c.Read(t.Context(), ref) }
	for range 3 {
		if got, err := read("kv/sluice/openai#api_key"); err != nil || got != "sk-planted" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	c.Refresh()
	if _, err := read("kv/sluice/openai#api_key"); err != nil || calls.Load() != 2 {
		t.Errorf("after Refresh: %d calls, %v", calls.Load(), err)
	}
	refused := func(ref, want string) {
		t.Helper()
		_, err := read(ref)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
	refused("kv/sluice/openai#none", "has no field none")
	refused("kv/sluice/openai#n", "is no text")
	refused("kv/sluice/openai#empty", "or empty")
	refused("kv/none#x", "404: there is no such entry")
	refused("kv/moved#api_key", "answered 307")
	refused("kv/large#x", "more than 1048576 bytes")
	refused("kv/odd#api_key", "is not one of the KV engine")
	for _, ref := range []string{"", "kv", "kv/x", "kv#x", "/kv/x#y", "kv/../sys/raw#x", "kv/./x#y", "kv/a//b#c", "kv/x?y#z", "kv/x%2f..#y", "kv/x#y#z", "sys/../x#y", "kv/x #y"} {
		before := calls.Load()
		refused(ref, "must be MOUNT/PATH#FIELD")
		if calls.Load() != before {
			t.Errorf("%s was asked for", ref)
		}
	}
	c.Refresh()
	files["/token"] = "hvs.other-planted"
	refused("kv/sluice/openai#api_key", "403: the token may not read")
	files["/token"] = "a b"
	refused("kv/sluice/openai#api_key", "must give a token")
	env["VAULT_TOKEN"], env["VAULT_CACERT"] = planted, ""
	refused("kv/sluice/openai#api_key", "certificate")
	env["VAULT_ADDR"] = "vault:8200"
	refused("kv/sluice/openai#api_key", "VAULT_ADDR must be set")
}

func TestVaultThatHangs(t *testing.T) {
	asked := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	env := map[string]string{"VAULT_ADDR": s.URL, "VAULT_TOKEN": planted}
	ctx, stop := context.WithCancel(t.Context())
	go func() { <-asked; stop() }()
	if _, err := New(func(name string) string { return env[name] }, nil).Read(ctx, "kv/x#y"); err == nil {
		t.Error("it answered")
	}
}

// FuzzParse: whatever Vault answers, it is read or refused.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"data":{"data":{"api_key":"x"}}}`))
	f.Add([]byte(`{"data":null}`))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parse(text) })
}

// FuzzReference: a reference that is taken is what it says, and its URL is below the mount's data.
func FuzzReference(f *testing.F) {
	for _, ref := range []string{"secret/sluice/openai#api_key", "kv/x#y", "kv/../sys#y", "kv/a/./b#y", "kv/a?b#y", "kv/%2e%2e/x#y", "kv//x#y", "kv/x#y#z", ""} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		mount, path, field, err := parseRef(ref)
		if err != nil {
			return
		}
		if mount+"/"+path+"#"+field != ref {
			t.Errorf("%q is read as %q, %q, %q", ref, mount, path, field)
		}
		u := (&url.URL{Scheme: "https", Host: "vault", Path: "/"}).JoinPath("v1", mount, "data", path)
		if want := "/v1/" + mount + "/data/" + path; u.EscapedPath() != want || u.Path != want {
			t.Errorf("%q leads to %s", ref, u)
		}
	})
}
