package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sluice/internal/account"
	"sluice/internal/llm"
)

// A forger is a provider whose tokens are made by hand.
type forger struct {
	*httptest.Server
	key     *rsa.PrivateKey
	token   string       // what the next code gives
	strange atomic.Int64 // requests for what no provider of ours is asked
	doc     map[string]any
}

func newForger(t *testing.T) *forger {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		doc := map[string]any{
			"issuer": f.URL, "authorization_endpoint": f.URL + "/auth", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none", "ES256"},
		}
		maps.Copy(doc, f.doc)
		_ = json.NewEncoder(w).Encode(doc)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": f.token})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		f.strange.Add(1)
		http.NotFound(w, nil)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func b64(v any) string {
	b, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b)
}

type object = map[string]any

// sign makes a token of header and claims with a key of any kind.
func sign(head, claims object, key any) string {
	in := b64(head) + "." + b64(claims)
	sum := sha256.Sum256([]byte(in))
	var sig []byte
	switch k := key.(type) {
	case *rsa.PrivateKey:
		sig, _ = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, _ := ecdsa.Sign(rand.Reader, k, sum[:])
		sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case []byte:
		m := hmac.New(sha256.New, k)
		m.Write([]byte(in))
		sig = m.Sum(nil)
	}
	return in + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestForgedTokens(t *testing.T) {
	f := newForger(t)
	p, err := New(options(f.URL))
	if err != nil {
		t.Fatal(err)
	}
	theirs, _ := rsa.GenerateKey(rand.Reader, 2048)
	curve, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, _ := x509.MarshalPKIXPublicKey(f.key.Public())
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	now := time.Now()
	with := func(o object, name string, v any) object {
		o = maps.Clone(o)
		if o[name] = v; v == nil {
			delete(o, name)
		}
		return o
	}
	head := object{"alg": "RS256", "kid": "k1", "typ": "JWT"}
	jwk := func(key any) object {
		b, _ := json.Marshal(jose.JSONWebKey{Key: key, KeyID: "evil"})
		var o object
		_ = json.Unmarshal(b, &o)
		return o
	}
	for _, c := range []struct {
		name string
		make func(claims object) string
		why  string // "": it is good
	}{
		{"good", func(c object) string { return sign(head, c, f.key) }, ""},
		{"good, with unknown keys named in it", func(c object) string {
			return sign(with(with(head, "jku", f.URL+"/evil-keys"), "x5u", f.URL+"/evil-cert"), c, f.key)
		}, ""},
		{"good, as one of several audiences", func(c object) string {
			return sign(head, with(with(c, "aud", []string{"x", p.o.ClientID}), "azp", p.o.ClientID), f.key)
		}, ""},
		{"good, half a minute over", func(c object) string { return sign(head, with(c, "exp", now.Unix()-30), f.key) }, ""},
		{"alg none", func(c object) string { return b64(object{"alg": "none"}) + "." + b64(c) + "." }, "id token"},
		{"alg None", func(c object) string { return b64(object{"alg": "None"}) + "." + b64(c) + "." }, "id token"},
		{"no alg", func(c object) string { return b64(object{}) + "." + b64(c) + "." }, "id token"},
		{"alg none with a signature", func(c object) string { return sign(with(head, "alg", "none"), c, f.key) }, "id token"},
		{"HS256 under the public key", func(c object) string { return sign(with(head, "alg", "HS256"), c, public) }, "id token"},
		{"HS256 under the public key's bytes", func(c object) string { return sign(with(head, "alg", "HS256"), c, der) }, "id token"},
		{"HS256 under the client's secret", func(c object) string { return sign(with(head, "alg", "HS256"), c, []byte("the secret")) }, "id token"},
		{"HS256 under nothing", func(c object) string { return sign(with(head, "alg", "HS256"), c, []byte{}) }, "id token"},
		{"another's key", func(c object) string { return sign(head, c, theirs) }, "id token"},
		{"another's key, named by jku", func(c object) string {
			return sign(with(with(head, "jku", f.URL+"/evil-keys"), "kid", "evil"), c, theirs)
		}, "id token"},
		{"another's key, named by x5u", func(c object) string { return sign(with(head, "x5u", f.URL+"/evil-cert"), c, theirs) }, "id token"},
		{"another's key, in it", func(c object) string {
			return sign(with(with(head, "jwk", jwk(theirs.Public())), "kid", "evil"), c, theirs)
		}, "id token"},
		{"another's key, ES256", func(c object) string { return sign(with(head, "alg", "ES256"), c, curve) }, "id token"},
		{"a kid that is a path", func(c object) string { return sign(with(head, "kid", "../../../../dev/null"), c, []byte{}) }, "id token"},
		{"a kid that is an address", func(c object) string { return sign(with(head, "kid", f.URL+"/evil-keys"), c, theirs) }, "id token"},
		{"a kid with SQL", func(c object) string { return sign(with(head, "kid", "' UNION SELECT 'x"), c, theirs) }, "id token"},
		{"edited claims", func(c object) string {
			parts := strings.Split(sign(head, c, f.key), ".")
			return parts[0] + "." + b64(with(c, "sub", "root")) + "." + parts[2]
		}, "id token"},
		{"crit", func(c object) string { return sign(with(with(head, "crit", []string{"x"}), "x", 1), c, f.key) }, "id token"},
		{"another audience", func(c object) string { return sign(head, with(c, "aud", "other"), f.key) }, "audience"},
		{"no audience", func(c object) string { return sign(head, with(c, "aud", nil), f.key) }, "audience"},
		{"several audiences, another's", func(c object) string {
			return sign(head, with(with(c, "aud", []string{"x", p.o.ClientID}), "azp", "x"), f.key)
		}, "another party"},
		{"several audiences, nobody's", func(c object) string { return sign(head, with(c, "aud", []string{"x", p.o.ClientID}), f.key) }, "another party"},
		{"another issuer", func(c object) string { return sign(head, with(c, "iss", "https://evil.example.org"), f.key) }, "issue"},
		{"issuer with a slash", func(c object) string { return sign(head, with(c, "iss", f.URL+"/"), f.key) }, "issue"},
		{"expired two minutes ago", func(c object) string { return sign(head, with(c, "exp", now.Unix()-120), f.key) }, "expired"},
		{"no expiry", func(c object) string { return sign(head, with(c, "exp", nil), f.key) }, "expired"},
		{"not before two minutes from now", func(c object) string { return sign(head, with(c, "nbf", now.Unix()+120), f.key) }, "not valid yet"},
		{"issued two minutes from now", func(c object) string { return sign(head, with(c, "iat", now.Unix()+120), f.key) }, "not valid yet"},
		{"another nonce", func(c object) string { return sign(head, with(c, "nonce", "x"), f.key) }, "nonce"},
		{"no nonce", func(c object) string { return sign(head, with(c, "nonce", nil), f.key) }, "nonce"},
		{"no subject", func(c object) string { return sign(head, with(c, "sub", nil), f.key) }, "subject"},
		{"another access token", func(c object) string { return sign(head, with(c, "at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), f.key) }, "id token"},
		{"groups of another form", func(c object) string { return sign(head, with(c, "groups", object{"a": 1}), f.key) }, "groups"},
		{"no token", func(object) string { return "" }, "id token"},
		{"garbage", func(object) string { return "a.b.c" }, "id token"},
	} {
		s := begin(t, p, false)
		u, _ := url.Parse(s.URL)
		f.token = c.make(object{
			"iss": f.URL, "sub": "s1", "aud": p.o.ClientID, "exp": now.Unix() + 60, "iat": now.Unix(), "nonce": u.Query().Get("nonce"),
			"email": "a@example.org", "email_verified": true, "groups": []string{"gateway-admins"},
		})
		who, _, err := p.Finish(t.Context(), url.Values{"state": {u.Query().Get("state")}, "code": {"c"}}, string(s.Cookie))
		if c.why != "" {
			refusedBecause(t, c.name, err, c.why)
		} else if err != nil || who.Subject != "s1" || who.Role != account.RoleAdmin {
			t.Errorf("%s: %+v %v", c.name, who, err)
		}
	}
	if n := f.strange.Load(); n > 0 {
		t.Errorf("%d requests were made for what tokens named", n)
	}
}

// The document may not lead away from https, and is read to a limit.
func TestDocument(t *testing.T) {
	for name, doc := range map[string]object{
		"keys elsewhere":        {"jwks_uri": "http://127.0.0.2:1/keys"},
		"keys in a file":        {"jwks_uri": "file:///etc/passwd"},
		"token elsewhere":       {"token_endpoint": "http://127.0.0.2:1/token"},
		"the sign-in elsewhere": {"authorization_endpoint": "javascript:alert(1)"},
		"userinfo elsewhere":    {"userinfo_endpoint": "http://127.0.0.2:1/"},
		"another issuer":        {"issuer": "https://evil.example.org"},
		"too long":              {"x": strings.Repeat("x", maxAnswer)},
	} {
		f := newForger(t)
		f.doc = doc
		p, err := New(options(f.URL))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Start(t.Context(), false); llm.AsError(err).Kind != llm.KindOverloaded {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newForger(t)
	f.doc = object{"jwks_uri": "https://keys.example.org/"}
	p, err := New(options(f.URL))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Start(t.Context(), false); err != nil {
		t.Errorf("keys elsewhere over https: %v", err)
	}
}

func TestVerifiedAddresses(t *testing.T) {
	for text, want := range map[string]string{
		`{"email":"A@b.example","email_verified":true}`: "a@b.example", `{"email":"a@b.example","email_verified":"true"}`: "a@b.example",
		`{"email":"a@b.example","email_verified":false}`: "", `{"email":"a@b.example"}`: "", `{"email":"a@b.example","email_verified":1}`: "",
		`{"email":"a@b.example","email_verified":"yes"}`: "", `{"email":"a@b.example","email_verified":null}`: "", `{"email_verified":true}`: "",
	} {
		var holder struct{ Claims said }
		if err := json.Unmarshal([]byte(`{"Claims":`+text+`}`), &holder); err != nil {
			t.Fatal(err)
		}
		var c claims
		if err := c.read(&holder.Claims, nil); err != nil || c.Email != want {
			t.Errorf("%s: %q %v, want %q", text, c.Email, err, want)
		}
	}
}

// Nothing that a browser brings back breaks the reader of cookies.
func FuzzCookie(f *testing.F) {
	p, err := New(options("https://id.example.org"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("slo-AAAA", "state=x&code=y")
	f.Fuzz(func(t *testing.T, cookie, query string) {
		q, _ := url.ParseQuery(query)
		if _, _, err := p.Finish(t.Context(), q, cookie); llm.AsError(err).Code != account.CodeRefused {
			t.Errorf("%v", err)
		}
	})
}
