package app

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/internal/mock"
)

// A program is Serve with its own listeners, as the command runs it.
type program struct {
	addr string
	path string // of its configuration
	data string
	up   string
	log  *lines
	done chan error
	stop context.CancelFunc
}

func runProgram(t *testing.T, extra string) *program {
	t.Helper()
	m, err := mock.New(mock.Options{})
	if err != nil {
		t.Fatal(err)
	}
	up := httptest.NewServer(m)
	dir := t.TempDir()
	p := &program{path: filepath.Join(dir, "sluice.yaml"), data: filepath.Join(dir, "data"), up: up.URL, log: &lines{}, done: make(chan error, 1)}
	p.write(t, extra)
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	go func() {
		p.done <- Serve(ctx, Options{ConfigPath: p.path, Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: p.log})
	}()
	t.Cleanup(func() {
		cancel()
		http.DefaultClient.CloseIdleConnections()
		if p.done != nil {
			if err := <-p.done; err != nil {
				t.Error(err)
			}
		}
		m.Close()
		up.Close()
	})
	p.waitFor(t, `"event":"listening","data":"`)
	_, rest, _ := strings.Cut(p.log.String(), `"event":"listening","data":"`)
	p.addr, _, _ = strings.Cut(rest, `"`)
	return p
}

func (p *program) write(t *testing.T, extra string) {
	t.Helper()
	replace(t, p.path, document(p.up, p.data, extra))
}

// replace writes a file in one step: a reader that comes in the middle finds the old text.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func (p *program) waitFor(t *testing.T, text string) {
	t.Helper()
	if p.log.has(text, 1) {
		return
	}
	t.Fatalf("the log never says %s:\n%s", text, p.log)
}

func (p *program) call(t testing.TB, c *http.Client, base, model string, stream bool) (int, string, error) {
	v := vendors[0]
	req, err := http.NewRequestWithContext(t.Context(), "POST", base+v.path(model, stream), strings.NewReader(v.body(model, "hello", stream)))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// A configuration that changes under load: every call sees one whole configuration, a broken one changes nothing.
func TestReloadUnderLoad(t *testing.T) {
	p := runProgram(t, "models:\n  - {name: pet, provider: o, model: \"echo?text=version-0\"}\n")
	var stop atomic.Bool
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for !stop.Load() {
				if status, body, err := p.call(t, http.DefaultClient, "http://"+p.addr, "pet", false); err != nil || status != 200 || !strings.Contains(body, "version-") {
					t.Errorf("%d %s %v", status, body, err)
					return
				}
			}
		})
	}
	for i := 1; i <= 9; i++ {
		before := strings.Count(p.log.String(), "configuration")
		if i%3 == 0 {
			p.write(t, "models:\n  - {name: pet, provider: nobody, model: x}\nunknown_field: 1\n")
		} else {
			p.write(t, fmt.Sprintf("models:\n  - {name: pet, provider: o, model: \"echo?text=version-%d\"}\n", i))
		}
		if !p.log.has("configuration", before+1) {
			t.Errorf("change %d went unnoticed", i)
		}
	}
	stop.Store(true)
	calls.Wait()
	_, body, err := p.call(t, http.DefaultClient, "http://"+p.addr, "pet", false)
	if err != nil || !strings.Contains(body, "version-8") {
		t.Errorf("after a broken last change: %v %s, want the last good one", err, body)
	}
	if log := p.log.String(); !strings.Contains(log, "unknown_field") || strings.Count(log, "the old one stays") < 3 {
		t.Errorf("the log does not say why three changes were refused:\n%s", log)
	}
}

// A start that fails on a taken address has made no key: the next one makes it, and shows it.
func TestNoKeyIsMadeUnseen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "sluice.yaml")
	text := fmt.Sprintf("listen: %s\nadmin: {listen: \"off\"}\ndata: %s\nmock: {enabled: true}\n", taken.Addr(), filepath.Join(dir, "data"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = Serve(t.Context(), Options{ConfigPath: path, Getenv: func(string) string { return "" }, Stdout: &out, Stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v, want the taken address", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "keys.json")); err == nil {
		t.Errorf("a key was made that nobody saw: %s", out.String())
	}
}

// A secret in a file of its own is rotated: the next call uses the new one, though the document is as it was.
func TestSecretIsRotated(t *testing.T) {
	p := runProgram(t, "")
	secret := filepath.Join(t.TempDir(), "key")
	rotate := func(to string) { replace(t, secret, to+"\n") }
	var used sync.Map
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		used.Store(r.Header.Get("Authorization"), true)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer up.Close()
	rotate("upstream-secret-one")
	p.write(t, fmt.Sprintf("  - {name: s, kind: together, base_url: %s, api_key: \"${file:%s}\", allow_private: [127.0.0.1/32]}\n", up.URL, secret))
	for i, s := range []string{"upstream-secret-one", "upstream-secret-two"} {
		rotate(s)
		if !p.log.has("configuration replaced", i+1) {
			t.Fatalf("no new configuration:\n%s", p.log)
		}
		if _, _, err := p.call(t, http.DefaultClient, "http://"+p.addr, "s/echo", false); err != nil {
			t.Fatal(err)
		}
		if _, ok := used.Load("Bearer " + s); !ok {
			t.Errorf("the upstream was not called with %s", s)
		}
	}
	if log := p.log.String(); strings.Contains(log, "upstream-secret") {
		t.Errorf("a secret is in the log:\n%s", log)
	}
}

func TestReloadBySignal(t *testing.T) {
	p := runProgram(t, "")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.waitFor(t, "SIGHUP")
}

// SIGTERM: not ready, streams that end in time end well, no new connections, then the program ends.
func TestDrain(t *testing.T) {
	p := runProgram(t, "limits: {drain: 20s}\n")
	var all sync.WaitGroup
	begun := make(chan struct{}, 20)
	for range 20 {
		all.Go(func() {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+p.addr+"/v1/chat/completions", strings.NewReader(vendors[0].body("o/story?chunks=40&pace=20ms", "x", true)))
			req.Header.Set("Authorization", "Bearer "+testKey)
			resp, err := http.DefaultClient.Do(req)
			begun <- struct{}{}
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(body), "data: [DONE]") {
				t.Errorf("a stream was dropped: %v …%s", err, body[max(0, len(body)-200):])
			}
		})
	}
	for range 20 {
		<-begun
	}
	p.stop()
	err := <-p.done
	p.done = nil
	if err != nil {
		t.Error(err)
	}
	all.Wait()
	if c, err := net.Dial("tcp", p.addr); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
}

// Streams that outlive the ceiling end with an error in their own format, not in the middle of nowhere.
func TestDrainCeiling(t *testing.T) {
	p := runProgram(t, "limits: {drain: 300ms}\n")
	result := make(chan string, 1)
	begun := make(chan struct{})
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+p.addr+"/v1/chat/completions", strings.NewReader(vendors[0].body("o/story?chunks=4000&pace=20ms", "x", true)))
		req.Header.Set("Authorization", "Bearer "+testKey)
		resp, err := http.DefaultClient.Do(req)
		close(begun)
		if err != nil {
			result <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		result <- string(body)
	}()
	<-begun
	p.stop()
	body := <-result
	if !strings.Contains(body, `data: {"error":`) || strings.Contains(body, "[DONE]") {
		t.Errorf("…%s", body[max(0, len(body)-300):])
	}
	if err := <-p.done; err != nil {
		t.Error(err)
	}
	p.done = nil
}

// Clients that are slow to send are cut off; others do not notice.
func TestSlowSenders(t *testing.T) {
	p := runProgram(t, "limits: {header_timeout: 2s, body_timeout: 2s, idle_timeout: 2s}\n")
	var senders sync.WaitGroup
	for name, text := range map[string]string{
		"half a header": "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"half a body":   "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + testKey + "\r\nContent-Length: 100\r\n\r\n{\"model\":",
		"nothing":       "",
		"idle after":    "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		senders.Go(func() {
			defer c.Close()
			_, _ = io.WriteString(c, text)
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			answer, err := io.ReadAll(c)
			if err != nil {
				t.Errorf("%s: the connection was not closed: %v", name, err)
			}
			if name == "half a body" && !strings.Contains(string(answer), `"code":"request_timeout"`) {
				t.Errorf("%s: %s", name, answer)
			}
		})
	}
	senders.Wait()
	if status, _, err := p.call(t, http.DefaultClient, "http://"+p.addr, "o/echo", false); status != 200 {
		t.Errorf("a good client: %d %v", status, err)
	}
}

// certificate writes a self-signed one for 127.0.0.1.
func certificate(t *testing.T, dir string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sluice test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, _ := x509.ParseCertificate(der)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	pkcs, _ := x509.MarshalPKCS8PrivateKey(private)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, pool
}

// HTTP/1.1 and HTTP/2 over TLS, and HTTP/2 in clear by prior knowledge where it is switched on.
func TestProtocols(t *testing.T) {
	cert, key, pool := certificate(t, t.TempDir())
	secure := runProgram(t, fmt.Sprintf("tls: {cert: %s, key: %s}\n", cert, key))
	clear := runProgram(t, "h2c: true\n")
	protocols := func(set func(*http.Protocols)) *http.Client {
		p := new(http.Protocols)
		set(p)
		return &http.Client{Transport: &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	}
	h1 := protocols(func(p *http.Protocols) { p.SetHTTP1(true) })
	h2 := protocols(func(p *http.Protocols) { p.SetHTTP2(true) })
	h2c := protocols(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	for _, c := range []struct {
		name   string
		client *http.Client
		p      *program
		scheme string
	}{{"HTTP/1.1 over TLS", h1, secure, "https://"}, {"HTTP/2 over TLS", h2, secure, "https://"}, {"h2c", h2c, clear, "http://"}, {"HTTP/1.1 beside h2c", h1, clear, "http://"}} {
		for _, stream := range []bool{false, true} {
			status, body, err := c.p.call(t, c.client, c.scheme+c.p.addr, "o/echo?chunks=3", stream)
			if err != nil || status != 200 || stream && !strings.Contains(body, "[DONE]") {
				t.Errorf("%s stream=%v: %d %v %.200s", c.name, stream, status, err, body)
			}
		}
		c.client.CloseIdleConnections()
	}
	// The client's leaving ends the upstream's work over HTTP/2, too: a reset stream, not a closed connection.
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+clear.addr+"/v1/chat/completions", strings.NewReader(vendors[0].body("o/story?chunks=1000&pace=20ms", "x", true)))
	req.Header.Set("Authorization", "Bearer "+testKey)
	resp, err := h2c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(resp.Body).ReadString('\n')
	cancel()
	_ = resp.Body.Close()
	clear.waitFor(t, `"error":"client_closed_request"`)
	h2c.CloseIdleConnections()
}
