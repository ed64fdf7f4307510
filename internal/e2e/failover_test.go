package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wrongCertificate writes a certificate of another name, and its key.
func wrongCertificate(t *testing.T) (cert, private string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "other.example"}, DNSNames: []string{"other.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, private = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, private: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, private
}

// notReached is R1: refused, not resolved, and with the wrong certificate; each is left at once, and its key is seen by nobody else.
func notReached(t *testing.T, _ uint64) {
	cert, private := wrongCertificate(t)
	good := startVendor(t, "good", "openai", "--capture", "1000")
	liar := startVendor(t, "liar", "openai", "--capture", "1000", "--tls-cert", cert, "--tls-key", private)
	g := started(t, "providers:\n"+good.provider("")+
		"  - {name: refused, kind: openai, base_url: \"http://127.0.0.1:1/v1\", api_key: secret-of-refused, allow_private: [127.0.0.1/32], models: []}\n"+
		"  - {name: lost, kind: openai, base_url: \"https://nowhere.invalid/v1\", api_key: secret-of-lost, models: []}\n"+
		fmt.Sprintf("  - {name: liar, kind: openai, base_url: \"https://%s/v1\", api_key: secret-of-liar, allow_private: [127.0.0.1/32], ca: %q, models: []}\n", liar.addr, cert)+
		"models:\n  - {name: m, strategy: priority, deployments: [{provider: refused, model: echo}, {provider: lost, model: echo}, {provider: liar, model: echo}, {provider: good, model: echo}]}\n")
	var slowest time.Duration
	for i, d := range dialects {
		for _, stream := range []bool{false, true} {
			a := d.ask(t.Context(), g, "m", "ping", stream)
			if why := d.good(a, "ping", stream); why != "" {
				t.Error(why)
			}
			l := g.line(t, a)
			const want = "refused/echo connect, lost/echo connect, liar/echo connect, good/echo ok"
			if l.outcomes() != want && i == 0 { // later their breakers are open
				t.Errorf("tries %q, want %q", l.Tries, want)
			}
			if i == 0 && (a.header.Get("X-Sluice-Attempts") != "4" || a.header.Get("X-Sluice-Upstream") != "good") {
				t.Errorf("%v", a.header)
			}
			slowest = max(slowest, time.Duration(l.Total)*time.Microsecond-spent(l.Tries))
		}
	}
	calls := good.calls(t, 6)
	for _, c := range calls {
		if all := fmt.Sprint(c.Head); strings.Contains(strings.ReplaceAll(all, "secret-of-good", ""), "secret") || strings.Contains(all, key) {
			t.Errorf("a key went to another host: %s", all)
		}
	}
	holds(t, len(calls) == 6, "the next one answers", "6 calls past three that cannot be reached, %d at the fourth", len(calls))
	if g.metric(t, "sluice_retries_total") == 0 {
		t.Error("sluice_retries_total counts none of it")
	}
	measured(t, slowest <= 50*time.Millisecond, "<= 50 ms from an error to the next", "%.1f ms beside the tries themselves", ms(slowest))
}

var tookMs = regexp.MustCompile(` (\d+)ms`)

// spent is the time in a line's tries.
func spent(tries string) (sum time.Duration) {
	for _, m := range tookMs.FindAllStringSubmatch(tries, -1) {
		n, _ := strconv.Atoi(m[1])
		sum += time.Duration(n) * time.Millisecond
	}
	return sum
}

// silentUpstreams is R2 and R3: one that never begins is left for the next, one that falls silent in the middle ends the answer as a failure.
func silentUpstreams(t *testing.T, _ uint64) {
	bad, good := startVendor(t, "bad", "openai"), startVendor(t, "good", "anthropic")
	bad.script(t, "never = echo?hang=head\nrole = echo?hang=1\nhalf = story?words=60&chunks=20&hang=50%\ncut = story?words=60&chunks=20&cut=50%")
	model := func(name string) string {
		return fmt.Sprintf("  - {name: %s, strategy: priority, deployments: [{provider: bad, model: %[1]s}, {provider: good, model: echo}]}\n", name)
	}
	g := started(t, "providers:\n"+bad.provider(", timeouts: {first_token: 500ms, idle: 500ms}")+good.provider("")+"models:\n"+model("never")+model("role")+model("half")+model("cut"))
	base := g.metric(t, "go_goroutines")
	answers, ends, failures := 0, 0, 0
	for _, d := range dialects {
		for _, name := range []string{"never", "role"} {
			a := d.ask(t.Context(), g, name, "ping", true)
			if why := d.good(a, "ping", true); why != "" {
				t.Errorf("%s: %s", name, why)
				continue
			}
			answers++
			if want := "bad/" + name + " transient, bad/" + name + " transient, good/echo ok"; g.line(t, a).outcomes() != want {
				t.Errorf("tries %q, want %q", g.line(t, a).outcomes(), want)
			}
		}
		for _, name := range []string{"half", "cut"} {
			a := d.ask(t.Context(), g, name, "ping", true)
			_, whole := d.said(a.body, true)
			if whole || !strings.Contains(a.body, `"error"`) {
				t.Errorf("%s %s: an answer that broke off looks whole, or has no error: %.2000s", d.name, name, a.body)
				continue
			}
			ends++
			if l := g.line(t, a); l.Error != "" && l.Attempts == 1 {
				failures++
			}
		}
	}
	holds(t, answers == 6, "the next one answers", "%d of 6 streams that never began were answered by the next", answers)
	holds(t, ends == 6 && failures == 6, "no stream that broke off looks whole", "%d of 6 told as broken to the client, %d in the log", ends, failures)
	for _, c := range bad.calls(t, 18) {
		if c.Fault == "hang" && c.Outcome != "cancelled" {
			t.Errorf("a silent upstream was left running: %+v", c)
		}
	}
	clients.CloseIdleConnections()
	eventually(t, "the goroutines to end", func() bool { return g.metric(t, "go_goroutines") <= base+10 })
	if n := g.metric(t, "sluice_upstream_in_flight"); n != 0 {
		t.Errorf("%v calls are said to be in flight", n)
	}
}

// A statusCase is a script of a deployment that another stands beside, and what it leads to.
type statusCase struct {
	script string
	calls  int    // of the upstream that says so
	status int    // for the client; 200: of the other one
	state  string // of the deployment afterwards
}

var statusCases = []statusCase{
	{"status=500", 2, 200, "free"},
	{"status=502", 2, 200, "free"},
	{"status=503", 2, 200, "free"},
	{"status=529", 2, 200, "free"},
	{"status=408", 2, 200, "free"},
	{"status=500&body=html", 2, 200, "free"},
	{"status=503&body=empty", 2, 200, "free"},
	{"status=204", 2, 200, "free"},
	{"status=500&retry=2s", 1, 200, "free"},
	{"status=503&retry=2s", 1, 200, "free"},
	{"status=529&retry=60s", 1, 200, "free"},
	{"status=429", 1, 200, "free"},
	{"status=429&retry=30s", 1, 200, "breaker_open"},
	{"status=429&retry=30s:ms", 1, 200, "breaker_open"},
	{"status=429&retry=30s:date", 1, 200, "breaker_open"},
	{"status=429&retry=30s:openai", 1, 200, "breaker_open"},
	{"status=401", 1, 200, "credential_refused"},
	{"status=401&retry=2s", 1, 200, "credential_refused"},
	{"status=402", 1, 200, "credential_refused"},
	{"status=403", 1, 200, "breaker_open"},
	{"status=400", 1, 400, "free"},
	{"status=400&retry=2s", 1, 400, "free"},
	{"status=400&body=html", 1, 400, "free"},
	{"status=422", 1, 422, "free"},
}

// statuses is R7: what each refusal leads to, as docs/routing.md has it. Each case has a provider of its own, so that none speaks against another.
func statuses(t *testing.T, _ uint64) {
	bad, good, trap := startVendor(t, "bad", "openai"), startVendor(t, "good", "openai"), startVendor(t, "trap", "openai")
	cases := append([]statusCase{{"redirect=http://" + trap.addr + "/v1/chat/completions", 2, 200, "free"}}, statusCases...)
	var script, providers, models strings.Builder
	for i, c := range cases {
		fmt.Fprintf(&script, "m%d = echo?%s\n", i, c.script)
		twin := vendor{name: fmt.Sprintf("p%d", i), kind: "openai", addr: bad.addr}
		providers.WriteString(twin.provider(""))
		fmt.Fprintf(&models, "  - {name: m%d, strategy: priority, deployments: [{provider: p%[1]d, model: m%[1]d}, {provider: good, model: echo}]}\n", i)
	}
	bad.script(t, script.String())
	g := started(t, "providers:\n"+good.provider("")+providers.String()+"models:\n"+models.String())
	right, answers := 0, make([]answered, len(cases))
	d := &dialects[0]
	for i, c := range cases {
		answers[i] = d.ask(t.Context(), g, fmt.Sprintf("m%d", i), "ping", i%2 == 0)
		if answers[i].status != c.status {
			t.Errorf("%s: the client got %d, want %d: %.300s", c.script, answers[i].status, c.status, answers[i].body)
		}
	}
	counts, places := map[string]int{}, g.places(t)
	for _, c := range bad.calls(t, len(cases)) {
		counts[c.Model]++
	}
	for i, c := range cases {
		name := fmt.Sprintf("m%d", i)
		state := places[fmt.Sprintf("p%d/m%d", i, i)].State
		switch {
		case counts[name] != c.calls:
			t.Errorf("%s: %d calls, want %d; tries %q", c.script, counts[name], c.calls, g.line(t, answers[i]).Tries)
		case state != c.state:
			t.Errorf("%s: the deployment is %s, want %s", c.script, state, c.state)
		case answers[i].status == c.status:
			right++
		}
	}
	holds(t, right == len(cases), "as docs/routing.md has it", "%d of %d refusals led where they should", right, len(cases))
	if n := len(trap.calls(t, 0)); n != 0 {
		t.Errorf("a redirect was followed: %d calls", n)
	}
	until := time.Until(places["p13/m13"].Until)
	if until <= 0 || until > 31*time.Second {
		t.Errorf("a Retry-After of 30 s keeps a deployment away for %v", until)
	}
	retryAfterIsHandedOn(t)
}

// retryAfterIsHandedOn: a client is told how long to wait when there is nobody else.
func retryAfterIsHandedOn(t *testing.T) {
	t.Helper()
	v := startVendor(t, "only", "openai")
	v.script(t, "m = echo?status=429&retry=20s")
	g := started(t, "providers:\n"+v.provider("")+"models:\n  - {name: m, provider: only, model: m}\n")
	for range 2 { // the second time it is not asked at all
		for _, d := range dialects {
			a := d.ask(t.Context(), g, "m", "ping", true)
			wait, err := strconv.Atoi(a.header.Get("Retry-After"))
			if a.status != http.StatusTooManyRequests && a.status != http.StatusServiceUnavailable || err != nil || wait < 1 || wait > 20 {
				t.Errorf("%s: %d, Retry-After %q: %s", d.name, a.status, a.header.Get("Retry-After"), a.body)
			}
		}
	}
}
