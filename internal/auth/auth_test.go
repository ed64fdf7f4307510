package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/llm"
)

const legacy = "some-key-of-another-gateway-0123456789"

var clock = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newTestAuth(t testing.TB) (a *Authenticator, key string) {
	t.Helper()
	key, err := NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, _ := Public(key)
	h := NewHasher([]byte("pepper"))
	m := Memory{
		h.Key(key):                                     {Name: "app", ID: public, Models: []string{"gpt-*", "mock/*"}},
		h.Sum(sha256.Sum256([]byte(legacy))):           {Name: "legacy", Models: []string{"*"}},
		h.Key("disabled-key-0123456789-0123456789"):    {Name: "off", Disabled: true},
		h.Key("expired-key-0123456789-0123456789-abc"): {Name: "old", Expires: clock},
		h.Key("revoked-key-0123456789-0123456789-abc"): {Name: "revoked"},
		h.Key("inside-key-0123456789-0123456789-abcd"): {Name: "inside", AllowFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fe80::/10")}},
		h.Key("valid-until-later-0123456789-01234567"): {Name: "young", Expires: clock.Add(time.Second)},
	}
	return New(h, m, nil, func() time.Time { return clock }), key
}

func TestKeyFormat(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		key, err := NewKey(rand.Reader)
		if err != nil || len(key) != keyLen || seen[key] {
			t.Fatalf("key %q, err %v", key, err)
		}
		seen[key] = true
		if public, ok := Public(key); !ok || len(public) != publicLen || !strings.HasPrefix(key, prefix+public+"-") {
			t.Fatalf("public part of %q: %q %v", key, public, ok)
		}
		for _, i := range []int{8, 25, len(key) - 1} {
			wrong := []byte(key)
			wrong[i] = base62[(strings.IndexByte(base62, wrong[i])+1)%len(base62)]
			if _, ok := Public(string(wrong)); ok {
				t.Errorf("a key with character %d mistyped passes", i)
			}
		}
		if _, ok := Public(key[:len(key)-1]); ok {
			t.Error("a cut key passes")
		}
		public, _ := Public(key)
		if next, err := NewSecret(public, rand.Reader); err != nil || next == key || next[:20] != key[:20] {
			t.Errorf("%s rotated to %s, %v", key, next, err)
		} else if again, ok := Public(next); !ok || again != public {
			t.Errorf("the rotated key's public part is %q", again)
		}
	}
}

func TestIdentify(t *testing.T) {
	a, key := newTestAuth(t)
	mistyped := key[:len(key)-1] + "?"
	for _, c := range []struct {
		name, path string
		header     map[string]string
		who        string
		kind       llm.Kind
	}{
		{"bearer", "/v1/x", map[string]string{"Authorization": "Bearer " + key}, "app", ""},
		{"bearer in lower case", "/v1/x", map[string]string{"Authorization": "bearer " + key}, "app", ""},
		{"x-api-key", "/v1/x", map[string]string{"x-api-key": key}, "app", ""},
		{"x-goog-api-key", "/v1/x", map[string]string{"x-goog-api-key": key}, "app", ""},
		{"api-key, as Azure clients have it", "/v1/x", map[string]string{"api-key": key}, "app", ""},
		{"the same key twice", "/v1/x", map[string]string{"Authorization": "Bearer " + key, "x-api-key": key}, "app", ""},
		{"query on a Gemini path", "/v1beta/models/m:generateContent?alt=sse&key=" + key, nil, "app", ""},
		{"by SHA-256 of the configuration", "/v1/x", map[string]string{"Authorization": "Bearer " + legacy}, "legacy", ""},
		{"not yet expired", "/v1/x", map[string]string{"x-api-key": "valid-until-later-0123456789-01234567"}, "young", ""},
		{"none", "/v1/x", nil, "", llm.KindInvalidKey},
		{"bare key without a scheme", "/v1/x", map[string]string{"Authorization": key}, "", llm.KindInvalidKey},
		{"basic", "/v1/x", map[string]string{"Authorization": "Basic " + key}, "", llm.KindInvalidKey},
		{"two different keys", "/v1/x", map[string]string{"Authorization": "Bearer " + key, "x-api-key": legacy}, "", llm.KindInvalidKey},
		{"header and query differ", "/v1beta/x?key=" + legacy, map[string]string{"x-api-key": key}, "", llm.KindInvalidKey},
		{"two in the query", "/v1beta/x?key=" + key + "&key=" + legacy, nil, "", llm.KindInvalidKey},
		{"query elsewhere", "/v1/x?key=" + key, nil, "", llm.KindInvalidKey},
		{"query elsewhere beside a good header", "/v1/x?key=" + key, map[string]string{"x-api-key": key}, "", llm.KindInvalidKey},
		{"under another name", "/v1/x?api_key=" + legacy, nil, "", llm.KindInvalidKey},
		{"under another name on a Gemini path", "/v1beta/x?Access_Token=" + legacy, map[string]string{"x-api-key": key}, "", llm.KindInvalidKey},
		{"ours under any name", "/v1/x?a=1&q=" + key, map[string]string{"x-api-key": key}, "", llm.KindInvalidKey},
		{"ours after a semicolon", "/v1beta/x?a=1;key=" + key, nil, "", llm.KindInvalidKey},
		{"ours as a name", "/v1/x?" + key, nil, "", llm.KindInvalidKey},
		{"ours escaped", "/v1beta/x?%6beys=sk%2Dslc" + key[6:], nil, "", llm.KindInvalidKey},
		{"ours beside a broken escape", "/v1/x?q=%zz" + key, nil, "", llm.KindInvalidKey},
		{"key escaped", "/v1beta/x?%6bey=" + key, nil, "app", ""},
		{"mistyped", "/v1/x", map[string]string{"x-api-key": mistyped}, "", llm.KindInvalidKey},
		{"unknown", "/v1/x", map[string]string{"x-api-key": "unknown-key-0123456789-0123456789"}, "", llm.KindInvalidKey},
		{"disabled", "/v1/x", map[string]string{"x-api-key": "disabled-key-0123456789-0123456789"}, "", llm.KindInvalidKey},
		{"expired", "/v1/x", map[string]string{"x-api-key": "expired-key-0123456789-0123456789-abc"}, "", llm.KindInvalidKey},
		{"far too long", "/v1/x", map[string]string{"x-api-key": strings.Repeat("k", 1<<20)}, "", llm.KindInvalidKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", c.path, nil)
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			who, err := a.Identify(r)
			if c.kind != "" {
				if e := llm.AsError(err); e.Kind != c.kind || strings.Contains(e.Error(), key) {
					t.Fatalf("%v, want %s and no key in it", err, c.kind)
				}
			} else if err != nil || who.Name != c.who {
				t.Fatalf("%v %v, want %s", who, err, c.who)
			}
			if s := r.URL.String() + r.RequestURI; strings.Contains(s, key[6:]) || strings.Contains(s, legacy) {
				t.Errorf("the key is still in the URL: %s", s)
			}
			if strings.Contains(c.path, "alt=sse") && r.URL.RawQuery != "alt=sse" {
				t.Errorf("query is %q, want the rest of it", r.URL.RawQuery)
			}
		})
	}
}

// Whoever tries keys, or has found one, learns nothing from the answers.
func TestRefusalsAreEqual(t *testing.T) {
	a, key := newTestAuth(t)
	a.revoked = &Revoked{}
	a.revoked.set.Store(&map[string]bool{"revoked": true})
	said := map[string]bool{}
	for _, k := range []string{
		"unknown-key-0123456789-0123456789", key[:len(key)-2] + "zz", "disabled-key-0123456789-0123456789", "expired-key-0123456789-0123456789-abc",
		"revoked-key-0123456789-0123456789-abc", "inside-key-0123456789-0123456789-abcd", "x", strings.Repeat("k", 1000),
	} {
		r := httptest.NewRequest("POST", "/v1/x", nil)
		r.Header.Set("x-api-key", k)
		_, err := a.Identify(r)
		e := llm.AsError(err)
		if e.Kind != llm.KindInvalidKey {
			t.Errorf("%q: %v", k, err)
		}
		said[e.Msg] = true
	}
	if len(said) != 1 {
		t.Errorf("the answers differ: %v", said)
	}
}

func TestAllowFrom(t *testing.T) {
	a, _ := newTestAuth(t)
	for peer, want := range map[string]bool{
		"10.1.2.3:80": true, "[::ffff:10.1.2.3]:80": true, "11.0.0.1:80": false, "[2001:db8::1]:80": true, "[2001:db9::1]:80": false,
		"[fe80::1%eth0]:80": true, "10.1.2.3": false, "": false, "@": false,
	} {
		r := httptest.NewRequest("POST", "/v1/x", nil)
		r.RemoteAddr = peer
		r.Header.Set("x-api-key", "inside-key-0123456789-0123456789-abcd")
		r.Header.Set("X-Forwarded-For", "10.0.0.1") // anybody can write that
		if _, err := a.Identify(r); (err == nil) != want {
			t.Errorf("from %q: %v, want allowed %t", peer, err, want)
		}
	}
	if within([]netip.Prefix{}, "10.1.2.3:80") {
		t.Error("an empty list lets somebody in")
	}
}

// S20: there is one path for all keys. Whatever the key, its hash is made and looked up exactly once: no key is told
// from another before that, and nothing but the hash decides.
func TestOnePath(t *testing.T) {
	a, key := newTestAuth(t)
	looked := 0
	a.keys = counted{a.keys, &looked}
	for i, k := range []string{key, key[:len(key)-1], key[:len(key)-2] + "zz", "sk-slc-", "sk-slc-" + key[7:19] + "-x", "wrong", "disabled-key-0123456789-0123456789"} {
		r := httptest.NewRequest("POST", "/v1/x", nil)
		r.Header.Set("x-api-key", k)
		_, _ = a.Identify(r)
		if looked != i+1 {
			t.Errorf("%d look-ups after %d keys", looked, i+1)
		}
	}
}

type counted struct {
	Keys
	n *int
}

func (c counted) Key(ctx context.Context, h Hash) (*Who, error) {
	*c.n++
	return c.Keys.Key(ctx, h)
}

func TestChain(t *testing.T) {
	one, two, broken := &Who{Name: "one"}, &Who{Name: "two"}, failing{}
	c := Chain{Memory{{1}: one}, Memory{{1}: two, {2}: two}}
	for h, want := range map[Hash]*Who{{1}: one, {2}: two, {3}: nil} {
		if got, err := c.Key(t.Context(), h); got != want || err != nil {
			t.Errorf("%v: got %v, %v", h[0], got, err)
		}
	}
	c = Chain{Memory{{1}: one}, broken}
	if got, err := c.Key(t.Context(), Hash{1}); got != one || err != nil {
		t.Errorf("a key of the first place, the second broken: %v, %v", got, err)
	}
	if _, err := c.Key(t.Context(), Hash{2}); err == nil {
		t.Error("a place that could not be asked is taken for one that does not know")
	}
}

type failing struct{}

func (failing) Key(context.Context, Hash) (*Who, error) { return nil, errors.New("down") }

// Nothing that a caller puts where a key should be is taken for more than a wrong key, or repeated.
func TestInjection(t *testing.T) {
	a, _ := newTestAuth(t)
	pieces := []string{
		"' OR 1=1 --", `"; DROP TABLE keys; --`, "$(id)", "`id`", "${jndi:ldap://x}", "{{7*7}}", "%s%n", "../../etc/passwd", "\x00", "\r\nX: y",
		"<script>", "*", "%", "_", "\\", "\u2028", "sk-slc-", "{\"$ne\":1}", "EVAL 'x' 0", "a\tb",
	}
	n := 0
	for _, p := range pieces {
		for _, form := range []string{"%s", "sk-slc-%s", "%[1]s%[1]s", "key'%s", "x)%s", "%s;", "' UNION SELECT %s", "\"%s\"", "[%s]", "%s\x7f"} {
			n++
			key := fmt.Sprintf(form, p)
			for _, name := range []string{"X-Api-Key", "Authorization"} {
				r := &http.Request{Header: http.Header{name: {"Bearer " + key}}, URL: httptest.NewRequest("POST", "/v1/x", nil).URL}
				_, err := a.Identify(r)
				var e *llm.Error
				if !errors.As(err, &e) || e.Kind != llm.KindInvalidKey || strings.Contains(e.Error(), p) && len(p) > 3 {
					t.Errorf("%q: %v, want a refusal that does not repeat it", key, err)
				}
			}
		}
	}
	if n != 200 {
		t.Errorf("%d strings tried, want 200", n)
	}
}

func TestWho(t *testing.T) {
	a, key := newTestAuth(t)
	r := httptest.NewRequest("POST", "/v1/x", nil)
	r.Header.Set("x-api-key", key)
	who, err := a.Identify(r)
	if err != nil {
		t.Fatal(err)
	}
	if !who.Allows("gpt-4o") || !who.Allows("mock/echo") || who.Allows("claude") || who.Allows("GPT-4o") || (&Who{}).Allows("gpt-4o") {
		t.Error("models are not those of the globs")
	}
	if who.Permits(llm.OpChat) != nil || (&Who{Endpoints: []llm.Op{llm.OpEmbed}}).Permits(llm.OpChat) == nil {
		t.Error("kinds of call are not those listed")
	}
	if (&Who{Endpoints: []llm.Op{}}).Permits(llm.OpChat) == nil || (&Who{}).Permits(llm.OpChat) != nil {
		t.Error("an empty list of kinds of call is not none, or nil not all")
	}
	bounded := &Who{Models: []string{"gpt-*", "o3"}, Within: [][]string{{"gpt-4*", "o3"}, {"*"}}}
	if !bounded.Allows("gpt-4o") || !bounded.Allows("o3") || bounded.Allows("gpt-5") || (&Who{Models: []string{"*"}, Within: [][]string{{"*"}, {}}}).Allows("x") {
		t.Error("models are not those that all lists allow")
	}
	if strings.Contains(key, who.Public()) == false || len(who.Public()) != publicLen {
		t.Errorf("public part %q", who.Public())
	}
}

func TestOpenHasher(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	open := func(configured llm.Secret) (*Hasher, error) { return OpenHasher(dir, configured, rand.Reader) }
	h, err := open("")
	if err != nil {
		t.Fatal(err)
	}
	want := h.Key(legacy)
	if again, err := open(""); err != nil || again.Key(legacy) != want {
		t.Errorf("the pepper is not found again: %v", err)
	}
	pepper := filepath.Join(dir, pepperFile)
	for path, mode := range map[string]os.FileMode{pepper: 0o600, dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want mode %o", path, info.Mode(), err, mode)
		}
	}
	text, err := os.ReadFile(pepper)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := open(llm.Secret(strings.TrimSpace(string(text)))); err != nil || same.Key(legacy) != want {
		t.Errorf("the file's text, configured, is another pepper: %v", err)
	}
	if other, err := open("Zq8vR2mXw7LkT4nYb9HcJ5dGpS3fVeA6uB1x"); err != nil || other.Key(legacy) == want {
		t.Errorf("a configured pepper does not count: %v", err)
	}

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(dir, keysFile), []byte("[]"), 0o600))
	if _, err := open("Zq8vR2mXw7LkT4nYb9HcJ5dGpS3fVeA6uB1x"); err == nil {
		t.Error("keys that were hashed under the file's pepper are to be taken over under another")
	}
	must(os.Rename(pepper, pepper+".away"))
	if _, err := open(""); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("a lost pepper is replaced in silence, which locks every stored key out: %v", err)
	}
	must(os.WriteFile(pepper, []byte("damaged"), 0o600))
	if _, err := open(""); err == nil {
		t.Error("a damaged pepper is replaced in silence")
	}
}

// Several processes may start in one directory at once: one pepper comes of it.
func TestOpenHasherRace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	const starts = 8
	hashes := make(chan Hash, starts)
	var all sync.WaitGroup
	for range starts {
		all.Go(func() {
			h, err := OpenHasher(dir, "", rand.Reader)
			if err != nil {
				t.Error(err)
				return
			}
			hashes <- h.Key("x")
		})
	}
	all.Wait()
	for first := <-hashes; len(hashes) > 0; {
		if h := <-hashes; h != first {
			t.Error("two processes hash with different peppers")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.*[0-9]")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestKeysFile(t *testing.T) {
	dir := t.TempDir()
	if keys, err := ReadKeysFile(dir); keys != nil || err != nil {
		t.Errorf("no file: %v, %v", keys, err)
	}
	if err := RetireKeysFile(dir); err != nil {
		t.Errorf("no file: %v", err)
	}
	path := filepath.Join(dir, keysFile)
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeysFile(dir); err == nil {
		t.Error("a damaged file is taken for none")
	}
	if err := RetireKeysFile(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// Any request line and headers whatever: no panic, and no key of ours left in the URL.
func FuzzIdentify(f *testing.F) {
	a, key := newTestAuth(f)
	f.Add("/v1beta/x", "key="+key+"&alt=sse", "Bearer x")
	f.Add("/v1/x", "a=%zz&b=sk-slc-x;c", "bearer  ")
	f.Add("/v1/x", "&&==&%6bey", "")
	f.Fuzz(func(t *testing.T, path, query, header string) {
		r := &http.Request{Header: http.Header{"Authorization": {header}}, URL: &url.URL{Path: path, RawQuery: query}}
		_, err := a.Identify(r)
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			if name, value := param(pair); strings.Contains(name, prefix) || strings.Contains(value, prefix) || strings.EqualFold(name, "key") {
				t.Errorf("%q is left of %q", r.URL.RawQuery, query)
			}
		}
		if len(query) > 8 && err != nil && strings.Contains(err.Error(), query) {
			t.Errorf("the error repeats the query: %v", err)
		}
	})
}

func TestHashText(t *testing.T) {
	h := NewHasher([]byte("p")).Key(legacy)
	if back, err := ParseHash(h.String()); err != nil || back != h {
		t.Errorf("%v %v", back, err)
	}
	for _, s := range []string{"", "hmac-sha256:", "hmac-sha256:00", "sha256:" + h.String()[12:], h.String() + "0"} {
		if _, err := ParseHash(s); err == nil {
			t.Errorf("%q is taken for a hash", s)
		}
	}
	if NewHasher([]byte("q")).Key(legacy) == h {
		t.Error("the pepper does not matter")
	}
}

func TestIdentifyAllocations(t *testing.T) {
	if racing {
		t.Skip("allocations are counted without the race detector")
	}
	a, key := newTestAuth(t)
	r := httptest.NewRequest("POST", "/v1/x", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	if n := testing.AllocsPerRun(500, func() { _, _ = a.Identify(r) }); n > 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkIdentify(b *testing.B) {
	a, key := newTestAuth(b)
	for name, k := range map[string]string{"known": key, "unknown": legacy + "x"} {
		r := httptest.NewRequest("POST", "/v1/x", nil)
		r.Header.Set("Authorization", "Bearer "+k)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = a.Identify(r)
			}
		})
	}
}
