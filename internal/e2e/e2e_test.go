// Package e2e runs the real binary as a stranger would: the official SDKs, raw sockets and plain HTTP are the clients,
// `sluice mock` and replayed recordings are the upstreams. It imports nothing of the product.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/internal/pgtest"
)

// full says that nothing may be skipped: what a test needs must be there.
var full = os.Getenv("SLUICE_E2E") == "full"

// strangersKey may use no model that there is.
const strangersKey = "sk-e2e-0e356540b228d03a32a9f71f65c6ccaa9823910c13de1792850fd8d20ce3f030"

// key is what clients present.
const key = "sk-e2e-0f92d53449c4f4c5739be37df09d1f0f701634616cfe12ea87e9782642132f7b"

// binary is the product, built once as `make build` does.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sluice-e2e")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "sluice")
	args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "sluice/cmd/sluice"}
	cgo := "CGO_ENABLED=0"
	if os.Getenv("SLUICE_E2E_RACE") != "" { // the same tests against a binary that watches for data races
		args, cgo = append([]string{"build", "-race"}, args[1:]...), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	if url := os.Getenv(rushAt); url != "" {
		rush(url)
		return
	}
	code := pgtest.Run(m)
	if long {
		found.print(os.Stdout)
	}
	shared.stop()
	if bin, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// A process is a running `sluice`.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of its end, after done

	mu    sync.Mutex // guards lines
	lines []string   // of its standard error
	out   bytes.Buffer
}

// launch starts `sluice args...` and waits until ready has seen the line it wants, on either stream.
func launch(dir string, env []string, ready func(line string) bool, args ...string) (*process, error) {
	bin, err := binary()
	if err != nil {
		return nil, err
	}
	return launchOther(bin, dir, env, ready, args...)
}

// launchOther starts another binary so.
func launchOther(bin, dir string, env []string, ready func(line string) bool, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(bin, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true} // a session of its own, as a service has one
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	seen := make(chan struct{})
	var once sync.Once
	var readers sync.WaitGroup
	read := func(r io.Reader, keep func(string)) {
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			keep(s.Text())
			select {
			case <-seen: // a busy gateway writes many lines
			default:
				if ready(s.Text()) {
					once.Do(func() { close(seen) })
				}
			}
		}
	}
	readers.Go(func() { read(stderr, p.keep) })
	readers.Go(func() { read(stdout, func(l string) { p.mu.Lock(); p.out.WriteString(l + "\n"); p.mu.Unlock() }) })
	go func() {
		readers.Wait()
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	select {
	case <-seen:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("sluice %s ended before it was ready: %w\n%s", strings.Join(args, " "), p.err, p.log())
	case <-time.After(30 * time.Second):
		p.stop()
		return nil, fmt.Errorf("sluice %s is not ready after 30 s\n%s", strings.Join(args, " "), p.log())
	}
}

func (p *process) keep(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
}

// log is what it wrote on standard error so far.
func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// find gives the newest line that holds a word, "" when there is none yet.
func (p *process) find(word string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range slices.Backward(p.lines) {
		if strings.Contains(line, word) {
			return line
		}
	}
	return ""
}

// count tells in how many lines a word is.
func (p *process) count(word string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.lines {
		if strings.Contains(line, word) {
			n++
		}
	}
	return n
}

// stdout is what it wrote there so far.
func (p *process) stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// stop ends it, gently first.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// A gateway is `sluice serve` under a test.
type gateway struct {
	*process
	addr, admin string
	dir         string // of its configuration and data
	url         string // http://addr
}

// serve starts a gateway with a configuration; listen, admin, data and a key are added.
func serve(dir, config string, env ...string) (*gateway, error) {
	bin, err := binary()
	if err != nil {
		return nil, err
	}
	return serveOther(bin, dir, config, env...)
}

// serveOther starts a gateway of another binary so.
func serveOther(bin, dir, config string, env ...string) (*gateway, error) {
	return serveWhole(bin, dir, preamble(dir, "")+config, env...)
}

// preamble begins a configuration: free ports, a folder, two keys. admin is more of that part.
func preamble(dir, admin string) string {
	return "listen: 127.0.0.1:0\nadmin: {listen: \"127.0.0.1:0\"" + admin + "}\ndata: " + filepath.Join(dir, "data") + "\nkeys:\n  - {name: e2e, key: " + key + ", models: [\"*\"]}\n" +
		"  - {name: stranger, key: " + strangersKey + ", models: [\"nothing-*\"]}\n"
}

// listening is the line of the log that tells where a gateway listens.
type listening struct{ Event, Data, Admin string }

// serveWhole starts a gateway with a configuration to which nothing is added.
func serveWhole(bin, dir, config string, env ...string) (*gateway, error) {
	file := filepath.Join(dir, "sluice.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	var up listening
	p, err := launchOther(bin, dir, env, func(line string) bool {
		return json.Unmarshal([]byte(line), &up) == nil && up.Event == "listening"
	}, "serve", "--config", file)
	if err != nil {
		return nil, err
	}
	return &gateway{process: p, dir: dir, addr: up.Data, admin: up.Admin, url: "http://" + up.Data}, nil
}

// started is serve for one test.
func started(t *testing.T, config string, env ...string) *gateway {
	t.Helper()
	g, err := serve(t.TempDir(), config, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	return g
}

// startMock starts `sluice mock` and gives its address.
func startMock(dir string, args ...string) (*process, string, error) {
	var addr string
	p, err := launch(dir, nil, func(line string) bool {
		if _, rest, ok := strings.Cut(line, "mock upstream on "); ok {
			_, rest, _ = strings.Cut(rest, "://")
			addr, _, _ = strings.Cut(rest, " ")
		}
		return addr != ""
	}, append([]string{"mock", "--listen", "127.0.0.1:0"}, args...)...)
	return p, addr, err
}

// upstreams are the providers of the shared gateway: every way the mock can be spoken to. Each model is offered as
// UPSTREAM-MODEL, and with a fault as UPSTREAM-FAULT.
var upstreams = []struct{ name, kind, path string }{
	{"oai", "openai", "/v1"},      // chat and Responses, whichever the client speaks
	{"chat", "together", "/v1"},   // chat completions for every client
	{"resp", "perplexity", "/v1"}, // Responses for every client
	{"ant", "anthropic", ""},
	{"gem", "gemini", ""},
}

// models are the mock's, and its faults, by the last part of the name that clients use.
var models = map[string]string{
	"echo": "echo", "story": "story?words=60&chunks=20", "tools": "tools", "reason": "reason", "json": "json", "refuse": "refuse",
	"s400": "echo?status=400", "s401": "echo?status=401", "s403": "echo?status=403", "s404": "echo?status=404", "s413": "echo?status=413",
	"s422": "echo?status=422", "s429": "echo?status=429&retry=20s", "s500": "echo?status=500", "s503": "echo?status=503&retry=20s", "s529": "echo?status=529",
	"cut": "story?words=60&chunks=20&cut=50%25", "drop": "story?words=60&chunks=20&drop=50%25", "rst": "story?words=60&chunks=20&rst=50%25",
	"error": "story?words=60&chunks=20&error=50%25", "garbage": "story?words=60&chunks=20&garbage=50%25",
	"lastcut": "story?words=60&chunks=20&cut=end", "slow": "story?words=200&chunks=200&pace=50ms",
}

// A sharedGateway is one gateway and one mock for all tests that do not change them.
type sharedGateway struct {
	once sync.Once
	gw   *gateway
	mock *process
	dir  string
	url  string // of the mock
	err  error
}

var shared sharedGateway

// unforgiving makes each call stand for itself: no failure is mended by another try, none speaks against the next call.
const unforgiving = "retries: {attempts: 1}\nbreaker: {requests: 10000, connect_errors: 1000, open: 1ms, open_max: 1ms, probe: 1ms, successes: 1}\n"

func (s *sharedGateway) start() error {
	if s.dir, s.err = os.MkdirTemp("", "sluice-e2e"); s.err != nil {
		return s.err
	}
	var addr string
	if s.mock, addr, s.err = startMock(s.dir); s.err != nil {
		return s.err
	}
	s.url = "http://" + addr
	s.gw, s.err = serve(s.dir, budgetKeys()+unforgiving+mockConfig(s.url))
	return s.err
}

func (s *sharedGateway) stop() {
	if s.gw != nil {
		s.gw.stop()
	}
	s.mock.stop()
	_ = os.RemoveAll(s.dir)
}

// refusedTwin ends the names of the providers whose credentials are refused: that is the end of a credential for all its models.
const refusedTwin = "-refused"

// mockConfig offers every model and fault of the mock over every upstream format.
func mockConfig(url string) string {
	var b strings.Builder
	b.WriteString("providers:\n")
	for _, u := range upstreams {
		for _, twin := range []string{"", refusedTwin} {
			fmt.Fprintf(&b, "  - {name: %s%s, kind: %s, base_url: \"%s%s\", api_key: upstream-secret-%[1]s, allow_private: [127.0.0.1/32], models: []}\n", u.name, twin, u.kind, url, u.path)
		}
	}
	b.WriteString("models:\n")
	for _, u := range upstreams {
		for name, model := range models {
			twin := ""
			if name == "s401" {
				twin = refusedTwin
			}
			fmt.Fprintf(&b, "  - {name: %s-%s, provider: %[1]s%[3]s, model: %[4]q}\n", u.name, name, twin, model)
		}
		fmt.Fprintf(&b, "  - {name: %s-long, deployments: [{provider: %s, model: \"story?words=12000&chunks=4000&pace=1ms\", price: {input: 1, output: 10}}]}\n", u.name, u.name)
		fmt.Fprintf(&b, "  - {name: %s-tools-lenient, provider: %s, model: tools, lenient: true}\n", u.name, u.name)
	}
	return b.String()
}

// gatewayForAll is the shared gateway.
func gatewayForAll(t *testing.T) *gateway {
	t.Helper()
	shared.once.Do(func() { shared.err = shared.start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.gw
}

// call sends one plain request and gives the status, the headers and the body.
func call(t *testing.T, g *gateway, method, path, body string, header ...string) (int, http.Header, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, g.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		if v == "" {
			req.Header.Del(k)
			continue
		}
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, out
}

// lacking skips a test that cannot run here, or fails it where everything must run.
func lacking(t *testing.T, format string, args ...any) {
	t.Helper()
	if full {
		t.Fatalf(format+"; .ci/tools installs it", args...)
	}
	t.Skipf("NOTICE: not run: "+format+"; .ci/tools installs it", args...)
}
