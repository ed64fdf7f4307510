package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"sluice/internal/account"
	"sluice/internal/auth"
	"sluice/internal/control"
	"sluice/internal/directory"
)

// A doorman is a Door that only notes who knocks; whatever else is asked of it panics.
type doorman struct {
	Door
	from map[netip.Addr]int
	old  string
}

func (d *doorman) SignIn(_ context.Context, c account.Credentials, from account.Client) (*account.Entered, error) {
	d.from[from.Address]++
	d.old = c.Old
	return &account.Entered{Cookie: "sls-new", Signed: account.Signed{Kind: account.Person, ID: "a", Account: "a", Role: account.RoleOwner, Session: "s"}}, nil
}

func (d *doorman) CSRF(string) string { return "csrf" }

func newDoorman(t testing.TB, proxies ...string) (*doorman, *Handler) {
	t.Helper()
	d := &doorman{from: map[netip.Addr]int{}}
	o := Options{
		Control: control.New(control.Options{Store: directory.NewMemory(), Hasher: auth.NewHasher([]byte("pepper"))}), Door: d,
		Listen: "127.0.0.1:3002", Hosts: []string{"admin.example.com"},
	}
	for _, p := range proxies {
		o.Proxies = append(o.Proxies, netip.MustParsePrefix(p))
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d, h
}

// knock signs in from a peer.
func knock(h http.Handler, peer, host string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/admin/session", strings.NewReader(`{"email":"a@b","password":"p"}`))
	r.RemoteAddr, r.Host = peer, host
	r.Header = header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Whoever makes requests is their peer, or what the trusted proxies before us say; nobody is many by a header (S16).
func TestClientAddress(t *testing.T) {
	for _, c := range []struct {
		name, peer string
		said       []string
		want       string
	}{
		{"no header", "203.0.113.9:1", nil, "203.0.113.9"},
		{"a header of a stranger", "203.0.113.9:1", []string{"192.0.2.1"}, "203.0.113.9"},
		{"a proxy that says nothing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"a proxy", "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"what the client made up before it", "10.0.0.1:1", []string{"198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		{"in a line of its own", "10.0.0.1:1", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1"},
		{"two proxies", "10.0.0.1:1", []string{"198.51.100.1, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"proxies alone", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no address", "10.0.0.1:1", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		{"an empty hop", "10.0.0.1:1", []string{"192.0.2.1,"}, "10.0.0.1"},
		{"a port", "10.0.0.1:1", []string{"192.0.2.1:80"}, "10.0.0.1"},
		{"IPv6", "[fd00::1]:1", []string{"2001:db8::5"}, "2001:db8::5"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"a zone", "10.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1"},
	} {
		d, h := newDoorman(t, "10.0.0.0/24", "fd00::/8")
		if w := knock(h, c.peer, "127.0.0.1", http.Header{"X-Forwarded-For": c.said}); w.Code != http.StatusCreated {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
		if d.from[netip.MustParseAddr(c.want)] != 1 {
			t.Errorf("%s: it comes from %v, want %s", c.name, d.from, c.want)
		}
	}
	d, h := newDoorman(t)
	for i := range 10_000 {
		a := fmt.Sprintf("%d.%d.%d.%d", 1+i%200, i/256, i%256, i%7)
		knock(h, "203.0.113.9:1", "127.0.0.1", http.Header{"X-Forwarded-For": {a}, "X-Real-Ip": {a}, "Forwarded": {"for=" + a}, "True-Client-Ip": {a}, "Cf-Connecting-Ip": {a}})
	}
	if len(d.from) != 1 {
		t.Errorf("10,000 headers make %d clients of one", len(d.from))
	}
}

// The cookie needs TLS, but for a browser on this very machine; which name a browser sends it under is not its choice.
func TestCookieNames(t *testing.T) {
	for _, c := range []struct {
		name, peer, host, forwarded string
		plain                       bool
	}{
		{"a browser on this machine", "127.0.0.1:9", "localhost:3002", "", true},
		{"by address", "127.0.0.1:9", "127.0.0.1:3002", "", true},
		{"IPv6", "[::1]:9", "[::1]:3002", "", true},
		{"behind a proxy on this machine", "127.0.0.1:9", "admin.example.com", "", false},
		{"behind one that hides the name", "127.0.0.1:9", "localhost:3002", "192.0.2.1", false},
		{"from elsewhere", "192.0.2.1:9", "admin.example.com", "", false},
		{"from elsewhere, with this machine's name", "192.0.2.1:9", "localhost", "", false},
	} {
		d, h := newDoorman(t)
		header := http.Header{"Cookie": {"sluice=sls-plain; __Host-sluice=sls-tls"}}
		if c.forwarded != "" {
			header.Set("X-Forwarded-For", c.forwarded)
		}
		got := knock(h, c.peer, c.host, header).Header().Get("Set-Cookie")
		want := "__Host-sluice=sls-new; Path=/; HttpOnly; Secure; SameSite=Lax"
		if c.plain {
			want = "sluice=sls-new; Path=/; HttpOnly; SameSite=Lax"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
		if d.old != "sls-tls" {
			t.Errorf("%s: the old cookie is %q", c.name, d.old)
		}
		knock(h, c.peer, c.host, http.Header{"Cookie": {"sluice=sls-plain"}, "X-Forwarded-For": header["X-Forwarded-For"]})
		if (d.old == "sls-plain") != c.plain {
			t.Errorf("%s: the cookie without TLS is taken: %q", c.name, d.old)
		}
		knock(h, c.peer, c.host, http.Header{"Cookie": {"__Host-sluice=sls-a; __Host-sluice=sls-b"}})
		if d.old != "ambiguous" {
			t.Errorf("%s: of two cookies %q is taken", c.name, d.old)
		}
	}
}

// What other sites may make browsers do here is to come back from the provider of identities, and to set out to it.
func TestOtherSites(t *testing.T) {
	_, h := newDoorman(t)
	for _, c := range []struct {
		method, path, mode, dest string
		blocked                  bool
	}{
		{"GET", "/admin/session/oidc", "navigate", "document", false},
		{"GET", "/admin/session/oidc/return?code=x&state=y&session_state=z", "navigate", "document", false},
		{"GET", "/admin/session/oidc?prove=true", "navigate", "document", true},
		{"GET", "/admin/session/oidc?next=/admin/keys", "navigate", "document", true},
		{"GET", "/admin/session/oidc/return?code=x", "navigate", "iframe", true},
		{"GET", "/admin/session/oidc/return?code=x", "no-cors", "image", true},
		{"GET", "/admin/session/oidc/return/", "navigate", "document", true},
		{"POST", "/admin/session/oidc/return", "navigate", "document", true},
		{"GET", "/admin/session", "navigate", "document", true},
		{"GET", "/health", "navigate", "document", true},
		{"POST", "/admin/session", "navigate", "document", true},
	} {
		r := httptest.NewRequest(c.method, c.path, http.NoBody)
		r.RemoteAddr, r.Host = "127.0.0.1:9", "localhost"
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", c.mode)
		r.Header.Set("Sec-Fetch-Dest", c.dest)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if blocked := strings.Contains(w.Body.String(), "cross_site"); blocked != c.blocked {
			t.Errorf("%s %s as %s of a %s: %d %s", c.method, c.path, c.mode, c.dest, w.Code, w.Body)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"", "192.0.2.1", "a, 192.0.2.1,10.0.0.2", ",,,", "::1, fe80::1%x", "10.0.0.1" + strings.Repeat(",10.0.0.2", 50)} {
		f.Add(s)
	}
	_, h := newDoorman(f, "10.0.0.0/24")
	f.Fuzz(func(t *testing.T, said string) {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header = http.Header{"X-Forwarded-For": {said}}
		r.RemoteAddr = "192.0.2.7:1"
		if a := h.address(r); a != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("a stranger who says %q is %s", said, a)
		}
		r.RemoteAddr = "10.0.0.1:1"
		if a := h.address(r); !a.IsValid() || a.Zone() != "" || !strings.Contains(said+"10.0.0.1", "10.0.0.1") {
			t.Errorf("%q is %s", said, a)
		}
	})
}

// A path that came from elsewhere leads a browser nowhere else, whatever it makes of it.
func FuzzNext(f *testing.F) {
	for _, s := range []string{"/", "/admin/session?x=1#y", "//evil", "///evil", "/\\evil", "https://evil", "/\t/evil", "/%2f/evil", "/x//evil", "?x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, next string) {
		if !isLocal(next) {
			return
		}
		// A browser drops tabs and line ends, and takes \ for /.
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace(strings.TrimSpace(next))
		if !strings.HasPrefix(seen, "/") || strings.HasPrefix(seen, "//") {
			t.Errorf("%q leads away", next)
		}
	})
}
