package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// S9: a secret of each kind, shown in every place where one can be shown, is taken in its own place and in no other.
func TestSecretsOfOtherKindsAreRefused(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	const operators = "8a3f6c1de7b24590a6cf03b9d8e1457240bc9e6f1a7d3852"
	g, err := serveWhole(bin, t.TempDir(), "listen: 127.0.0.1:0\nadmin: {listen: \"127.0.0.1:0\", token: "+operators+"}\ndata: data\nmock: {enabled: true}\nkeys: [{name: e2e, key: "+key+", models: [\"*\"]}]\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	admin := "http://" + g.admin
	kinds := map[string]string{"a client's key": key, "admin.token": operators, "nothing": "x"}
	tell := func(method, path, body string, out any, header ...string) http.Header {
		t.Helper()
		status, head, text := sent(t, method, admin+path, body, append([]string{"Content-Type: application/json"}, header...)...)
		if status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, status, text)
		}
		if err := json.Unmarshal([]byte(text), out); err != nil {
			t.Fatal(err)
		}
		return head
	}
	var link, other struct{ Token string }
	if err := json.Unmarshal([]byte(runBinary(t.Context(), t, g.dir, nil, "admin", "create-owner", "ada@example.org", "--json")), &link); err != nil {
		t.Fatal(err)
	}
	var used struct{ Done bool }
	tell("POST", "/admin/links", fmt.Sprintf(`{"token":%q,"password":"correct staple battery 9"}`, link.Token), &used)
	var in struct{ CSRF string }
	cookie := cookieOf(tell("POST", "/admin/session", `{"email":"ada@example.org","password":"correct staple battery 9"}`, &in))
	who := []string{"Cookie: " + cookie, "X-Sluice-CSRF: " + in.CSRF}
	var token, stored struct{ Secret string }
	var enrolment struct{ Secret, Ticket string }
	tell("POST", "/admin/tokens", `{"name":"ci","role":"auditor"}`, &token, who...)
	tell("POST", "/admin/keys", `{"name":"stored","models":["*"]}`, &stored, who...)
	tell("POST", "/admin/accounts", `{"email":"bob@example.org","role":"auditor"}`, &other, who...)
	tell("POST", "/admin/session/totp", `{}`, &enrolment, who...)
	kinds["a stored key"], kinds["a token"], kinds["a link"], kinds["a used link"] = stored.Secret, token.Secret, other.Token, link.Token
	kinds["a cookie"], kinds["a CSRF token"] = strings.TrimPrefix(cookie, "sluice="), in.CSRF
	kinds["a ticket"], kinds["an authenticator's secret"], kinds["a password"] = enrolment.Ticket, enrolment.Secret, "correct staple battery 9"

	for _, place := range []struct {
		name string
		take func(secret string) int
		good []string
	}{
		{"a call", func(v string) int { return statusOf(t, "GET", g.url+"/v1/models", "", "Authorization: Bearer "+v) }, []string{"a client's key", "a stored key"}},
		{"the admin API", func(v string) int { return statusOf(t, "GET", admin+"/admin/session", "", "Authorization: Bearer "+v) }, []string{"admin.token", "a token"}},
		{"a browser's cookie", func(v string) int { return statusOf(t, "GET", admin+"/admin/session", "", "Cookie: sluice="+v) }, []string{"a cookie"}},
		{"a safe cookie", func(v string) int { return statusOf(t, "GET", admin+"/admin/session", "", "Cookie: __Host-sluice="+v) }, []string{"a cookie"}},
		{"X-Sluice-CSRF", func(v string) int {
			return statusOf(t, "POST", admin+"/admin/session/totp", "{}", "Cookie: "+cookie, "X-Sluice-CSRF: "+v)
		}, []string{"a CSRF token"}},
		{"a link", func(v string) int { return statusOf(t, "POST", admin+"/admin/links", fmt.Sprintf(`{"token":%q}`, v)) }, []string{"a link"}},
		{"a code", func(v string) int {
			return statusOf(t, "POST", admin+"/admin/session/proof", fmt.Sprintf(`{"code":%q}`, v), who...)
		}, nil},
		{"a ticket", func(v string) int {
			return statusOf(t, "POST", admin+"/admin/session/totp/confirm", fmt.Sprintf(`{"ticket":%q,"code":"000000"}`, v), who...)
		}, nil},
	} {
		for kind, secret := range kinds {
			status := place.take(secret)
			if want := slices.Contains(place.good, kind); (status < 300) != want {
				t.Errorf("%s as %s: %d", kind, place.name, status)
			}
			for _, form := range []string{"sls-", "slt-", "sll-", "sk-slc-"} { // in the form of another kind
				if _, rest, ok := strings.Cut(secret, "-"); ok && !strings.HasPrefix(secret, form) {
					if status := place.take(form + rest); status < 300 {
						t.Errorf("%s, as %s..., as %s: %d", kind, form, place.name, status)
					}
				}
			}
		}
	}
}

func statusOf(t *testing.T, method, url, body string, header ...string) int {
	t.Helper()
	status, _, _ := sent(t, method, url, body, append([]string{"Content-Type: application/json"}, header...)...)
	return status
}
