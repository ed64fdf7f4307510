package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"sluice/internal/pgtest"
)

const (
	ownersAddress  = "ada@example.org"
	ownersPassword = "correct staple battery 9"
)

// A visitor is a browser at the admin listener.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
	csrf   string
	header http.Header // sent with each request
}

func visit(t *testing.T, admin string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &visitor{t: t, base: "http://" + admin, client: &http.Client{Jar: jar, CheckRedirect: stay}, header: http.Header{}}
}

// reply is an answer of the admin listener.
type reply struct {
	status int
	header http.Header
	text   string
	json   map[string]any
}

func (r *reply) word(name string) string { s, _ := r.json[name].(string); return s }

// ask makes a request; in nil: without a body.
func (v *visitor) ask(method, path string, in any) *reply {
	v.t.Helper()
	ctx, stop := context.WithTimeout(v.t.Context(), 20*time.Second)
	defer stop()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			v.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, v.base+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header = v.header.Clone()
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if v.csrf != "" {
		req.Header.Set("X-Sluice-CSRF", v.csrf)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	r := &reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
	_ = json.Unmarshal(text, &r.json)
	if csrf := r.word("csrf"); csrf != "" {
		v.csrf = csrf
	}
	return r
}

// must is ask where only one status is right.
func (v *visitor) must(status int, method, path string, in any) *reply {
	v.t.Helper()
	r := v.ask(method, path, in)
	if r.status != status {
		v.t.Fatalf("%s %s: %d %.300s, want %d", method, path, r.status, r.text, status)
	}
	return r
}

// cookie is the session's, by which a request would be made.
func (v *visitor) cookie() string {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.base, http.NoBody)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(req.URL) {
		if c.Name == "sluice" {
			return c.Value
		}
	}
	return ""
}

// with is another browser that has a session's cookie.
func (v *visitor) with(cookie string) *visitor {
	o := visit(v.t, strings.TrimPrefix(v.base, "http://"))
	o.header.Set("Cookie", "sluice="+cookie)
	return o
}

func (v *visitor) signIn(address, password, code string) *reply {
	v.t.Helper()
	return v.ask(http.MethodPost, "/admin/session", map[string]string{"email": address, "password": password, "code": code})
}

// isOver wants a cookie to be worth nothing.
func (v *visitor) isOver(what, cookie string) {
	v.t.Helper()
	if r := v.with(cookie).ask(http.MethodGet, "/admin/session", nil); r.status != 401 || r.word("code") != "unauthorized" {
		v.t.Errorf("%s: %d %.200s, want 401", what, r.status, r.text)
	}
}

var shownLink = regexp.MustCompile(`sll-[0-9A-Za-z]{47}`)

// link is the one-time link that a start shows.
func (g *gateway) link(t *testing.T) string {
	t.Helper()
	eventually(t, "the welcome", func() bool { return strings.Contains(g.stdout(), "Sluice is ready") })
	return shownLink.FindString(g.stdout())
}

// owned starts a gateway whose owner is signed in.
func owned(t *testing.T, config string) (*gateway, *visitor) {
	t.Helper()
	g := started(t, "mock: {enabled: true}\n"+config)
	v := visit(t, g.admin)
	v.must(200, http.MethodPost, "/admin/links", map[string]string{"token": g.link(t), "email": ownersAddress, "password": ownersPassword})
	if r := v.signIn(ownersAddress, ownersPassword, ""); r.status != 201 {
		t.Fatalf("the owner does not get in: %d %s", r.status, r.text)
	}
	return g, v
}

// shell runs a command with a token and gives what it wrote.
func (g *gateway) shell(t *testing.T, token, stdin string, args ...string) (code int, out string) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Dir, cmd.Stdin = g.dir, strings.NewReader(stdin)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir, "SLUICE_ADMIN_URL=http://" + g.admin, "SLUICE_ADMIN_TOKEN=" + token}
	text, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(text)
}

func codeNow(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCodeCustom(secret, at, totp.ValidateOpts{Period: 30, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// The first owner, from the link of the first start to a token that is ended (S20, S23, S34).
func TestFirstOwner(t *testing.T) {
	g := started(t, "mock: {enabled: true}\n")
	link := g.link(t)
	eventually(t, "the log to tell of it", func() bool { return g.count("no_owner") == 1 })
	if link == "" || strings.Contains(g.log(), link) {
		t.Fatalf("the first start shows no link, or logs it:\n%s\n%s", g.stdout(), g.log())
	}
	v := visit(t, g.admin)
	v.must(200, http.MethodGet, "/admin/keys", nil) // whoever is at the machine, as long as there is no owner
	for _, guess := range []string{"admin", "", "changeme", "sluice", "owner"} {
		if r := v.signIn("owner", guess, ""); r.status != 401 {
			t.Errorf("a default password: %d %s", r.status, r.text)
		}
	}
	if r := v.must(200, http.MethodPost, "/admin/links", map[string]string{"token": link}); r.word("email") != "" || r.json["done"] != false {
		t.Errorf("before the link is used: %s", r.text)
	}
	use := map[string]string{"token": link, "email": ownersAddress, "password": "password1234"}
	if r := v.ask(http.MethodPost, "/admin/links", use); r.status != 400 || r.word("code") != "password_weak" {
		t.Errorf("a weak password: %d %s", r.status, r.text)
	}
	use["password"] = ownersPassword
	v.must(200, http.MethodPost, "/admin/links", use)
	if r := v.ask(http.MethodPost, "/admin/links", use); r.status != 401 || r.word("code") != "link_refused" {
		t.Errorf("the link again: %d %s", r.status, r.text)
	}
	v.must(401, http.MethodGet, "/admin/keys", nil) // being at the machine is no proof any more

	r := v.signIn(ownersAddress, ownersPassword, "")
	if r.status != 201 || r.json["role"] != "owner" || r.json["fresh"] != true {
		t.Fatalf("sign-in: %d %s", r.status, r.text)
	}
	if c := r.header.Get("Set-Cookie"); !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=Lax") || !strings.Contains(c, "Path=/") {
		t.Errorf("the cookie is %s", regexp.MustCompile(`sls-\w+`).ReplaceAllString(c, "***"))
	}
	secret, codes := enrol(t, v)
	before := v.cookie()
	v.must(401, http.MethodPost, "/admin/session/proof", map[string]string{"password": ownersPassword}) // a code is needed from now on
	v.must(401, http.MethodPost, "/admin/session/proof", map[string]string{"code": codes[0]})           // and not one that opens only the door
	// The step that confirmed is used up; the next one counts already, as clocks may be off by one.
	proof := map[string]string{"code": codeNow(t, secret, time.Now().Add(30*time.Second))}
	if r := v.must(200, http.MethodPost, "/admin/session/proof", proof); r.json["fresh"] != true {
		t.Errorf("after a proof: %s", r.text)
	}
	v.must(401, http.MethodPost, "/admin/session/proof", proof) // a code works once
	v.isOver("the cookie of before the proof", before)

	made := v.must(201, http.MethodPost, "/admin/tokens", map[string]any{"name": "ci", "role": "admin", "scopes": []string{"keys.*"}, "expires": "1d"})
	token := made.word("secret")
	if code, out := g.shell(t, token, "", "keys", "list"); code != 0 {
		t.Errorf("sluice keys list: %d %s", code, out)
	}
	if code, out := g.shell(t, token, "", "accounts"); code != 4 || !strings.Contains(out, "scopes") {
		t.Errorf("past the token's scopes: %d %s", code, out)
	}
	if code, out := g.shell(t, token, "", "tokens", "create", "child"); code != 4 {
		t.Errorf("a token makes a token: %d %s", code, out)
	}
	v.must(200, http.MethodDelete, "/admin/tokens/"+made.word("id"), nil)
	if code, out := g.shell(t, token, "", "keys", "list"); code != 4 || !strings.Contains(out, "does not take the token") {
		t.Errorf("with a token that was ended: %d %s", code, out)
	}

	g.stop()
	said := g.stdout() + g.log()
	for _, secret := range []string{ownersPassword, token, before, v.cookie(), secret, codes[1]} {
		if strings.Contains(said, secret) || inFiles(t, filepath.Join(g.dir, "data"), secret) {
			t.Errorf("a secret (%.4s...) is in the log or the store", secret)
		}
	}
	if inFiles(t, filepath.Join(g.dir, "data"), link) {
		t.Error("the link is in the store")
	}
}

// enrol gives whoever is signed in one-time codes.
func enrol(t *testing.T, v *visitor) (secret string, codes []string) {
	t.Helper()
	drawn := v.must(200, http.MethodPost, "/admin/session/totp", struct{}{})
	secret = drawn.word("secret")
	v.must(400, http.MethodPost, "/admin/session/totp/confirm", map[string]string{"ticket": drawn.word("ticket"), "code": "000000"})
	r := v.must(200, http.MethodPost, "/admin/session/totp/confirm", map[string]string{"ticket": drawn.word("ticket"), "code": codeNow(t, secret, time.Now())})
	list, _ := r.json["recovery_codes"].([]any)
	for _, c := range list {
		codes = append(codes, c.(string))
	}
	if len(codes) != 10 {
		t.Fatalf("%d recovery codes", len(codes))
	}
	return secret, codes
}

// inFiles tells whether any file below a folder holds a text.
func inFiles(t *testing.T, dir, text string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The link is drawn once for a store; afterwards whoever has the store makes an owner by command (S23).
func TestOwnerByCommand(t *testing.T) {
	g := started(t, "mock: {enabled: true}\n")
	first := g.link(t)
	file := filepath.Join(g.dir, "sluice.yaml")
	code, out := g.shell(t, "", "", "admin", "create-owner", "eve@example.org", "--config", file)
	link := shownLink.FindString(out)
	if code != 0 || link == "" {
		t.Fatalf("create-owner: %d %s", code, out)
	}
	if code, out := g.shell(t, "", link+"\n"+ownersPassword+"\n", "accounts", "redeem"); code != 0 || !strings.Contains(out, "sign in as eve@example.org") {
		t.Fatalf("redeem: %d %s", code, out)
	}
	v := visit(t, g.admin)
	if r := v.signIn("eve@example.org", ownersPassword, ""); r.status != 201 {
		t.Fatalf("sign-in: %d %s", r.status, r.text)
	}
	secret, _ := enrol(t, v)
	cookie := v.cookie()
	g.stop()

	again, err := serve(g.dir, "mock: {enabled: true}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.stop)
	if l := again.link(t); l != "" || strings.Contains(again.stdout(), "No owner") {
		t.Errorf("a later start says:\n%s", again.stdout())
	}
	v = visit(t, again.admin).with(cookie)
	v.must(200, http.MethodGet, "/admin/keys", nil) // a session outlives a restart

	// Who lost password and authenticator is let in again by whoever has the store.
	_, out = again.shell(t, "", "", "admin", "create-owner", "eve@example.org", "--config", file)
	link = shownLink.FindString(out)
	v.must(200, http.MethodGet, "/admin/keys", nil) // nothing changes until the link is used
	if code, out := again.shell(t, "", link+"\nanother staple battery 8\n", "accounts", "redeem"); code != 0 {
		t.Fatalf("redeem: %d %s", code, out)
	}
	v.must(401, http.MethodGet, "/admin/keys", nil)
	w := visit(t, again.admin)
	if r := w.signIn("eve@example.org", ownersPassword, codeNow(t, secret, time.Now().Add(30*time.Second))); r.status != 401 {
		t.Errorf("the old password: %d %s", r.status, r.text)
	}
	if r := w.signIn("eve@example.org", "another staple battery 8", ""); r.status != 201 || r.json["totp"] != false {
		t.Errorf("the new one: %d %s", r.status, r.text)
	}
	if code, out := again.shell(t, "", "", "sessions", "end", "eve@example.org", "--local", "--config", file); code != 0 || !strings.Contains(out, "Ended 1") {
		t.Errorf("sessions end: %d %s", code, out)
	}
	w.must(401, http.MethodGet, "/admin/keys", nil)

	// The link of the first start is still good for whoever has it: it was never used.
	w = visit(t, again.admin)
	w.must(200, http.MethodPost, "/admin/links", map[string]string{"token": first})
}

// What a session's cookie is worth, and when it is worth nothing any more (S34).
func TestSessionCookies(t *testing.T) {
	g, v := owned(t, "")
	first := v.cookie()
	if r := v.signIn(ownersAddress, ownersPassword, ""); r.status != 201 {
		t.Fatalf("signing in anew: %d %s", r.status, r.text)
	}
	second := v.cookie()
	if first == second {
		t.Error("a second sign-in keeps the cookie")
	}
	v.isOver("the cookie of before a sign-in in the same browser", first)

	// A browser that was given a cookie by somebody else has another after the sign-in; the planted one is worth nothing.
	planted := "sls-" + strings.Repeat("A", 43)
	victim := v.with(planted)
	r := victim.signIn(ownersAddress, ownersPassword, "")
	if r.status != 201 || strings.Contains(r.header.Get("Set-Cookie"), planted) {
		t.Errorf("a planted cookie: %d %s", r.status, r.text)
	}
	v.isOver("a planted cookie", planted)

	// Another role ends the sessions of whoever has it.
	made := v.must(201, http.MethodPost, "/admin/accounts", map[string]any{"email": "bob@example.org", "role": "operator"})
	bob := visit(t, g.admin)
	bob.must(200, http.MethodPost, "/admin/links", map[string]string{"token": made.word("token"), "password": ownersPassword})
	if r := bob.signIn("bob@example.org", ownersPassword, ""); r.status != 201 || r.json["role"] != "operator" {
		t.Fatalf("bob: %d %s", r.status, r.text)
	}
	bob.must(403, http.MethodPost, "/admin/accounts", map[string]any{"email": "x@example.org", "role": "operator"})
	bobs := bob.cookie()
	v.must(200, http.MethodPatch, "/admin/accounts/bob@example.org", map[string]any{"role": "auditor"})
	v.isOver("the cookie of before another role", bobs)
	if r := bob.signIn("bob@example.org", ownersPassword, ""); r.json["role"] != "auditor" {
		t.Errorf("after the change: %s", r.text)
	}
	// So does disabling, which lets nobody in again.
	bobs = bob.cookie()
	v.must(200, http.MethodPost, "/admin/accounts/bob@example.org/disable", struct{}{})
	v.isOver("the cookie of a disabled account", bobs)
	bob = visit(t, g.admin)
	if r := bob.signIn("bob@example.org", ownersPassword, ""); r.status != 401 {
		t.Errorf("a disabled account: %d %s", r.status, r.text)
	}
	v.must(409, http.MethodPost, "/admin/accounts/"+ownersAddress+"/disable", struct{}{}) // nobody would be left

	last := v.cookie()
	v.must(200, http.MethodDelete, "/admin/session", nil)
	v.isOver("the cookie of before signing out", last)

	// The cookie alone changes nothing, nor does a page of another site.
	v = visit(t, g.admin)
	v.signIn(ownersAddress, ownersPassword, "")
	csrf := v.csrf
	for _, c := range []struct{ name, csrf, site, origin string }{
		{"without the token", "", "", ""},
		{"with another's", strings.Repeat("A", 43), "", ""},
		{"from another site", csrf, "cross-site", ""},
		{"from a sibling", csrf, "same-site", ""},
		{"with another origin", csrf, "", "https://evil.example.org"},
	} {
		w := v.with(v.cookie())
		w.csrf = c.csrf
		for name, value := range map[string]string{"Sec-Fetch-Site": c.site, "Origin": c.origin} {
			if value != "" {
				w.header.Set(name, value)
			}
		}
		for _, q := range [][2]string{{"POST", "/admin/keys"}, {"DELETE", "/admin/session"}, {"POST", "/admin/session/password"}} {
			var in any = map[string]any{}
			if q[0] == "DELETE" {
				in = nil
			}
			if r := w.ask(q[0], q[1], in); r.status != 403 {
				t.Errorf("%s %s %s: %d %s", q[0], q[1], c.name, r.status, r.text)
			}
		}
	}
	v.must(200, http.MethodGet, "/admin/session", nil)
}

// Whoever guesses is locked out, whatever their headers say, and is told nothing (S16, S21).
func TestGuesses(t *testing.T) {
	g, v := owned(t, "")
	ask := func(address, password, forwarded string) *reply {
		w := visit(t, g.admin)
		w.header.Set("X-Forwarded-For", forwarded)
		w.header.Set("X-Real-Ip", forwarded)
		w.header.Set("Forwarded", "for="+forwarded)
		return w.signIn(address, password, "")
	}
	first := ask("nobody@example.org", ownersPassword, "192.0.2.1")
	for i := range 8 {
		from := net.IPv4(192, 0, 2, byte(i)).String()
		for _, address := range []string{ownersAddress, "nobody@example.org", "nobody" + from + "@example.org"} {
			r := ask(address, "wrong staple battery 9", from)
			if diff := cmp.Diff(first.text, r.text); r.status != 401 || diff != "" || r.header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %d (-first +now):\n%s", address, r.status, diff)
			}
		}
	}
	if r := ask(ownersAddress, ownersPassword, "192.0.2.200"); r.status != 401 || r.text != first.text {
		t.Errorf("the right password, from an address that guessed 25 times: %d %s", r.status, r.text)
	}
	v.must(200, http.MethodGet, "/admin/session", nil) // whoever is signed in stays so
	var page struct {
		Data []struct {
			Act, Result string
			Actor       struct{ Kind, From string }
		}
	}
	r := v.must(200, http.MethodGet, "/admin/audit?limit=100", nil)
	if err := json.Unmarshal([]byte(r.text), &page); err != nil {
		t.Fatal(err)
	}
	locks := 0
	for _, e := range page.Data {
		if e.Act == "sessions.lock" {
			locks++
		}
		if e.Actor.From != "" && e.Actor.From != "127.0.0.1" {
			t.Errorf("the audit log believes a header: %+v", e)
		}
	}
	if locks < 2 {
		t.Errorf("%d locks are in the audit log, want that of an account and that of the address", locks)
	}
}

// What one replica ends the other takes no more, with the next request (S34).
func TestPeopleOfReplicas(t *testing.T) {
	config := "pepper: " + moneyKey("pepper") + "\nsecrets: {key: " + moneyKey("secrets") + "}\nstore: {url: \"" + pgtest.Database(t) + "\"}\n"
	one, _ := owned(t, config)
	other, err := serve(t.TempDir(), "mock: {enabled: true}\n"+config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.stop)
	if l := other.link(t); l != "" {
		t.Error("the second replica shows a link, too")
	}
	for range 10 {
		v := visit(t, one.admin)
		if r := v.signIn(ownersAddress, ownersPassword, ""); r.status != 201 {
			t.Fatalf("sign-in: %d %s", r.status, r.text)
		}
		there := visit(t, other.admin).with(v.cookie())
		there.must(200, http.MethodGet, "/admin/session", nil)
		token := v.must(201, http.MethodPost, "/admin/tokens", map[string]any{"name": "x"})
		bearer := visit(t, other.admin)
		bearer.header.Set("Authorization", "Bearer "+token.word("secret"))
		bearer.must(200, http.MethodGet, "/admin/keys", nil)

		v.must(200, http.MethodDelete, "/admin/tokens/"+token.word("id"), nil)
		bearer.must(401, http.MethodGet, "/admin/keys", nil)
		v.must(200, http.MethodDelete, "/admin/session", nil)
		there.must(401, http.MethodGet, "/admin/session", nil)
	}
	// Failures are counted together, too.
	for i := range 6 {
		visit(t, []*gateway{one, other}[i%2].admin).signIn(ownersAddress, "wrong staple battery 9", "")
	}
	if r := visit(t, other.admin).signIn(ownersAddress, ownersPassword, ""); r.status != 401 {
		t.Errorf("after six failures at two replicas: %d %s", r.status, r.text)
	}
}
