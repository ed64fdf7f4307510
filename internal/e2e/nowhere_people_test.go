package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
)

// people signs somebody in in every way, and out: a one-time link, a password, one-time codes, recovery codes, sessions and tokens.
func (s *garden) people() {
	var link struct{ Token string }
	out := runBinary(s.t.Context(), s.t, s.g.dir, s.env, "admin", "create-owner", "ada@example.org", "--json")
	if err := json.Unmarshal([]byte(out), &link); err != nil || !strings.HasPrefix(link.Token, "sll-") {
		s.t.Fatalf("no owner was made: %s", out)
	}
	s.add("one-time link", link.Token[4:])
	password := "correct " + s.core("password of an account")
	s.own("POST", "/admin/links", fmt.Sprintf(`{"token":%q,"password":%q}`, link.Token, password), nil)
	s.own("POST", "/admin/links", fmt.Sprintf(`{"token":%q,"password":%q}`, link.Token, password), nil) // used up

	who := s.signIn(fmt.Sprintf(`{"email":"ada@example.org","password":%q}`, password))
	s.signIn(fmt.Sprintf(`{"email":"ada@example.org","password":%q}`, password[:len(password)-1])) // wrong by one
	var enrolment struct{ Secret, Ticket string }
	s.own("POST", "/admin/session/totp", `{}`, &enrolment, who...)
	if len(enrolment.Secret) < 26 || len(enrolment.Ticket) < 40 {
		s.t.Fatalf("no authenticator: %+v", enrolment)
	}
	s.add("secret of an authenticator", enrolment.Secret)
	s.add("ticket of an enrolment", enrolment.Ticket)
	code, err := totp.GenerateCode(enrolment.Secret, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	var codes struct {
		Codes []string `json:"recovery_codes"`
		CSRF  string
	}
	head := s.own("POST", "/admin/session/totp/confirm", fmt.Sprintf(`{"ticket":%q,"code":%q}`, enrolment.Ticket, code), &codes, who...)
	if len(codes.Codes) == 0 {
		s.t.Fatal("no recovery codes")
	}
	for i, c := range codes.Codes {
		s.add(fmt.Sprintf("recovery code %d", i), c+c) // halves of it are found, and it is short: each half is the whole
	}
	if cookie := cookieOf(head); cookie != "" {
		s.add("cookie after another proof", cookie[len("sluice=sls-"):])
		who = []string{"Cookie: " + cookie, "X-Sluice-CSRF: " + codes.CSRF}
	}
	s.signIn(fmt.Sprintf(`{"email":"ada@example.org","password":%q,"code":%q}`, password, codes.Codes[0]))
	s.own("POST", "/admin/session/proof", `{"code":"000000"}`, nil, who...)

	var token struct{ ID, Secret string }
	s.own("POST", "/admin/tokens", `{"name":"ci","role":"auditor"}`, &token, who...)
	if len(token.Secret) < 60 {
		s.t.Fatalf("no token was made: %+v", token)
	}
	s.add("automation token", token.Secret[len("slt-")+13:])
	for _, path := range []string{"/admin/session", "/admin/keys", "/admin/tokens", "/admin/accounts", "/admin/config"} {
		status, head, out := sent(s.t, "GET", "http://"+s.g.admin+path, "", "Authorization: Bearer "+token.Secret)
		s.look(fmt.Sprintf("admin, by a token: GET %s: %d", path, status), fmt.Append(nil, head, out))
	}
	for _, path := range []string{"/admin/session", "/admin/sessions", "/admin/accounts/ada@example.org", "/admin/accounts/ada@example.org/sessions", "/admin/tokens/" + token.ID} {
		_ = s.own("GET", path, "", nil, who...)
	}
	s.call("/v1/chat/completions", chat("oai-echo", "x", false), "Authorization: Bearer "+token.Secret, who[0])
	s.own("POST", "/admin/accounts", `{"email":"bob@example.org","role":"auditor"}`, &link, who...) // its link is never used
	if link.Token != "" {
		s.add("one-time link that is not used", link.Token[4:])
	}
	s.own("DELETE", "/admin/session", "", nil, who...)
	s.own("GET", "/admin/session", "", nil, who...) // it is over
}

// signIn tries to, and gives what requests of the session carry.
func (s *garden) signIn(body string) []string {
	var in struct{ CSRF string }
	head := s.own("POST", "/admin/session", body, &in)
	cookie := cookieOf(head)
	if cookie == "" {
		return nil
	}
	s.mu.Lock()
	n := len(s.cores)
	s.mu.Unlock()
	s.add(fmt.Sprintf("cookie %d", n), cookie[len("sluice=sls-"):])
	s.add(fmt.Sprintf("CSRF token %d", n), in.CSRF)
	return []string{"Cookie: " + cookie, "X-Sluice-CSRF: " + in.CSRF}
}

// own makes a request that may be told a secret of its own; out is what it is told.
func (s *garden) own(method, path, body string, out any, header ...string) (head map[string][]string) {
	status, got, text := sent(s.t, method, "http://"+s.g.admin+path, body, append([]string{"Content-Type: application/json"}, header...)...)
	if out != nil && status < 300 {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			s.t.Fatal(err)
		}
	}
	if out == nil {
		got.Del("Set-Cookie")
		s.look(fmt.Sprintf("admin, by a session: %s %s: %d", method, path, status), fmt.Append(nil, got, text), "CSRF token")
	}
	return got
}

func cookieOf(head map[string][]string) string {
	for _, c := range head["Set-Cookie"] {
		if value, _, ok := strings.Cut(c, ";"); ok && strings.HasPrefix(value, "sluice=sls-") {
			return value
		}
	}
	return ""
}
