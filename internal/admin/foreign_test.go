package admin

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/internal/account"
	"sluice/internal/control"
)

// S16: who asks, and from where, no header says. Behind a proxy nobody is the operator of this machine; and failures to sign in count
// for the address that they come from, however many others they claim.
func TestForwarded(t *testing.T) {
	w := newWorld(t, "")
	w.handler.o.Token, w.handler.o.Owned = "", nil
	bare := func(header, value string) int {
		r := w.request(root, byNothing, "GET", "/admin/keys", "")
		if header != "" {
			r.Header.Set(header, value)
		}
		return w.try(r).Code
	}
	if got := bare("", ""); got != 200 {
		t.Fatalf("the operator of this machine gets %d", got)
	}
	for _, header := range forwarded {
		for _, value := range []string{"127.0.0.1", "::1", "203.0.113.9, 127.0.0.1", "for=127.0.0.1", "x"} {
			if got := bare(header, value); got != 401 {
				t.Errorf("%s: %s: %d, want 401", header, value, got)
			}
		}
	}
	far := w.request(root, byNothing, "GET", "/admin/keys", "")
	far.RemoteAddr = "203.0.113.9:5"
	if rec := w.try(far); rec.Code != 401 {
		t.Errorf("from elsewhere: %d", rec.Code)
	}
	far.Header.Set("X-Forwarded-For", "127.0.0.1")
	if rec := w.try(far); rec.Code != 401 {
		t.Errorf("from elsewhere by way of here: %d", rec.Code)
	}
	for i := range 30 {
		r := w.request(root, byNothing, "POST", "/admin/session", fmt.Sprintf(`{"email":"x%d@people.example","password":"not the password"}`, i))
		r.RemoteAddr = "203.0.113.9:5"
		for _, header := range forwarded {
			r.Header.Set(header, fmt.Sprintf("198.51.100.%d", i))
		}
		if rec := w.do(r); rec.Code != 401 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
	}
	page, err := w.control.Audit().List(t.Context(), control.Owner("tests"), control.AuditList{Act: "sessions.*", Result: "refused"})
	w.ok(err)
	locked := false
	for _, e := range page.Data {
		if e.Actor.From != "203.0.113.9" {
			t.Errorf("the log has %s from %s", e.Act, e.Actor.From)
		}
		locked = locked || e.Act == "sessions.lock"
	}
	if !locked || len(page.Data) < 20 {
		t.Errorf("30 failures from one address did not lock it: %d entries", len(page.Data))
	}
}

// S8 in HTTP/2, where a host is said in two places: the one that decides is known, or nothing is answered.
func TestAuthority(t *testing.T) {
	w := newWorld(t, "")
	server := httptest.NewUnstartedServer(w.handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for _, tt := range []struct {
		authority, host, path string
		want                  string
	}{
		{"127.0.0.1", "", "/admin/keys", "401"},
		{"127.0.0.1", "127.0.0.1", "/admin/keys", "401"},
		{"127.0.0.1", "evil.example", "/admin/keys", "401"},
		{"evil.example", "127.0.0.1", "/admin/keys", "421"},
		{"evil.example", "", "/health", "421"},
		{"127.0.0.1/health?", "", "/admin/keys", "421"},
		{"127.0.0.1", "", "/health/../admin/keys", "404"},
		{"127.0.0.1", "", "//admin/keys", "404"},
		{"127.0.0.1", "", "http://127.0.0.1/admin/keys", "401"},
		{"", "127.0.0.1", "/admin/keys", "401"},
		{"", "", "/admin/keys", "421"},
		{"127.0.0.1\r\nX-A: b", "", "/health", ""},
		{"127.0.0.1", "", "/health\r\nX-A: b", ""},
		{"127.0.0.1", "", "/health", "200"},
	} {
		if got := overH2(t, server, tt.authority, tt.host, tt.path); got != tt.want && (got != "400" || tt.want != "") {
			t.Errorf("%q with host %q and path %q: %q, want %q", tt.authority, tt.host, tt.path, got, tt.want)
		}
	}
}

// overH2 makes one request by hand and gives the status; "": the server ended the stream or the connection.
func overH2(t *testing.T, server *httptest.Server, authority, host, path string) string {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	c, err := d.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", path}, {":authority", authority}, {"host", host}} {
		if h[1] != "" {
			_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return ""
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return ""
		}
	}
}

// S34: a session of somebody who must have one-time codes, and has none, is good for nothing but to get them.
func TestMustEnrol(t *testing.T) {
	w := newWorld(t, "")
	must := account.Settings{RequireTOTP: []account.Role{control.RoleOwner}}
	w.doorSettings = &must
	r := w.request(root, byToken, "POST", "/admin/accounts", `{"email":"ada@people.example","role":"owner"}`)
	var invited struct{ Token string }
	w.ok(json.Unmarshal(w.do(r).Body.Bytes(), &invited))
	w.do(w.request(root, byNothing, "POST", "/admin/links", `{"token":`+quoted(invited.Token)+`,"password":"`+firstPassword+`"}`))
	in := w.request(root, byNothing, "POST", "/admin/session", `{"email":"ada@people.example","password":"`+firstPassword+`"}`)
	in.Host = "admin.example"
	w.handler.o.Hosts = []string{"admin.example"}
	rec := w.do(in)
	var v struct {
		CSRF      string
		MustEnrol bool `json:"must_enrol"`
		Acts      []string
	}
	w.ok(json.Unmarshal(rec.Body.Bytes(), &v))
	if rec.Code != 201 || !v.MustEnrol || len(v.Acts) > 0 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	p := &person{cookie: rec.Result().Cookies()[0].Value, csrf: v.CSRF}
	for _, one := range readPolicy(t) {
		route := routeOf(w.handler, one.route)
		if route.Act == "" {
			continue
		}
		if rec := w.try(w.request(p, byCookie, route.Method, w.fill(one.path, own), w.fill(one.body, own))); rec.Code != http.StatusForbidden {
			t.Errorf("%s: %d %.200s", one.text(), rec.Code, rec.Body)
		}
	}
	if rec := w.try(w.request(p, byCookie, "POST", "/admin/session/totp", "")); rec.Code != 200 || !strings.Contains(rec.Body.String(), "ticket") {
		t.Errorf("they cannot enrol: %d %s", rec.Code, rec.Body)
	}
}

// What a browser is taken on to is a value in the page and nothing else.
func TestOnward(t *testing.T) {
	const path = `/x?a=1&b='"><script>alert(1)</script>`
	page := onward(path)
	for _, bad := range []string{`'"><`, "<script", `b='`} {
		if strings.Contains(page, bad) {
			t.Errorf("%q is in the page:\n%s", bad, page)
		}
	}
	if n := strings.Count(page, html.EscapeString(path)); n != 2 {
		t.Errorf("the path is in the page %d times:\n%s", n, page)
	}
}
