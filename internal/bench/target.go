package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// target is what a load is sent to: a program that the bench starts, or an address.
type target struct {
	name string
	addr string // host:port on the loopback interface
	path string // the base path of the API: /v1
	key  string
	bin  string // the program's file, where its size matters
	log  string // its log, emptied after each run

	cpu     int
	env     []string
	argv    func(listen string) []string // nil: nothing to start
	proc    *process
	startup []time.Duration
	idle    int64
}

// sluiceConfig is what Sluice runs with under test: a key to check, one upstream, the access log on.
const sluiceConfig = `listen: %[1]s
admin:
  listen: "off"
data: %[2]s
keys:
  - name: bench
    key: %[3]s
log:
  level: info
  file: %[5]s
providers:
  - name: bench
    kind: openai
    base_url: http://%[4]s/v1
    allow_private: [127.0.0.0/8, "::1/128"]
`

// oneUpstream ends the configuration with an upstream that is reached by its models' own names.
const oneUpstream = `    api_key: bench-upstream-credential
    models: ["bench-*"]
`

// poolOf ends it with a group of n deployments behind each model's name: the same upstream, with so many credentials.
func poolOf(n int, strategy string) string {
	var b strings.Builder
	b.WriteString("    models: []\n    credentials:\n")
	for i := range n {
		fmt.Fprintf(&b, "      - {name: c%d, api_key: bench-upstream-credential-%[1]d}\n", i)
	}
	b.WriteString("models:\n")
	for _, s := range scenarios {
		fmt.Fprintf(&b, "  - {name: %s%s, provider: bench, model: %[1]s%[2]s, strategy: %s}\n", modelPrefix, s.name, strategy)
	}
	return b.String()
}

// nginxConfig forwards and does nothing else.
const nginxConfig = `daemon off; master_process off; worker_processes 1; pid %[2]s/nginx.pid; error_log %[2]s/error.log;
events { worker_connections 8192; }
http {
  access_log off; client_max_body_size 64m; client_body_buffer_size 4m; keepalive_requests 1000000;
  client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
  upstream mock { server %[3]s; keepalive 256; keepalive_requests 1000000; }
  server { listen %[1]s; location / { proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } }
}
`

// lab is the bench's workshop: the fake upstream, the targets, and a directory for their files.
type lab struct {
	self    []string // how to run this program
	dir     string
	upCPU   int // of the load and the upstream; -1: unbound
	gateCPU int
	mock    *process
	mockAt  string
	targets []*target
}

// openLab starts the upstream. What it returns must be closed, also after an error.
func openLab(ctx context.Context, self []string, upCPU, gateCPU int) (*lab, error) {
	l := &lab{self: self, upCPU: upCPU, gateCPU: gateCPU}
	var err error
	if l.dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
		return l, fmt.Errorf("make directory: %w", err)
	}
	script := filepath.Join(l.dir, "mock.script")
	if err := os.WriteFile(script, []byte(mockScript()), 0o600); err != nil {
		return l, fmt.Errorf("write mock script: %w", err)
	}
	if l.mockAt, err = freeAddr(); err != nil {
		return l, fmt.Errorf("find a port: %w", err)
	}
	begin := time.Now()
	if l.mock, err = start("mock", upCPU, nil, append(slices.Clone(self), "mock", "--listen", l.mockAt, "--script", script)...); err != nil {
		return l, err
	}
	direct := &target{name: "direct", addr: l.mockAt, path: "/v1"}
	_, err = l.mock.await(ctx, begin, direct.ping)
	return l, err
}

// close ends every program and removes the files.
func (l *lab) close() {
	for _, t := range l.targets {
		t.halt()
	}
	if l.mock != nil {
		l.mock.stop()
	}
	if l.dir != "" {
		_ = os.RemoveAll(l.dir)
	}
}

// add makes a target of what the user wrote.
func (l *lab) add(spec string) error {
	name, value, given := strings.Cut(spec, "=")
	t := &target{name: name, path: "/v1", cpu: l.gateCPU}
	var err error
	switch {
	case name == "direct" && !given:
		// Its figures are the upstream's own: they show whether the upstream is fast enough to measure with.
		t.addr, t.proc = l.mockAt, l.mock
	case name == "proxy" && !given:
		t.argv = func(listen string) []string {
			return append(slices.Clone(l.self), "bench", "--proxy-listen", listen, "--proxy-to", l.mockAt)
		}
	case name == "sluice" && !strings.Contains(value, "://"):
		l.addSluice(t, value, oneUpstream)
	case name == "pool":
		err = l.addPool(t, value)
	case name == "rules":
		err = l.addRules(t, value)
	case name == "unledgered" && !given:
		l.addSluice(t, "", oneUpstream+"ledger: {off: true}\n")
	case name == "nginx" && !given:
		err = l.addNginx(t)
	case strings.Contains(value, "://") && !strings.Contains(value, " "):
		err = t.atURL(value)
	case strings.Contains(value, "{listen}"):
		words := strings.Fields(value)
		t.bin = words[0]
		t.argv = func(listen string) []string {
			return strings.Fields(strings.NewReplacer("{listen}", listen, "{upstream}", l.mockAt).Replace(value))
		}
	default:
		err = errors.New("want sluice, sluice=FILE, pool=N, rules, unledgered, proxy, direct, nginx, NAME=URL, or NAME=COMMAND with {listen} and {upstream}")
	}
	if err != nil {
		return fmt.Errorf("target %s: %w", spec, err)
	}
	if slices.ContainsFunc(l.targets, func(o *target) bool { return o.name == t.name }) {
		return fmt.Errorf("target %s is given twice", t.name)
	}
	l.targets = append(l.targets, t)
	return nil
}

// generous are rules that every call must be held against and that none is refused by: limits of each kind, and a budget of money and one
// of tokens. Models are priced, as budgets of money want it.
const generous = `    api_key: bench-upstream-credential
    models: []
rules:
  - name: bench
    per: [key]
    requests: [1000000000/minute]
    tokens: [1000000000000/minute]
    parallel: 1000000
    budgets: [{dollars: 1000000, every: month}, {tokens: 1000000000000, every: day}]
`

// addRules makes this program with limits, budgets and the ledger a target; with a Redis where its address is given.
func (l *lab) addRules(t *target, redis string) error {
	more := generous
	if redis != "" {
		if !strings.HasPrefix(redis, "redis://127.0.0.1:") {
			return errors.New("want rules, or rules=redis://127.0.0.1:PORT")
		}
		t.name = "rules-redis"
		more += "redis: {url: \"" + redis + "\"}\n"
	}
	more += "models:\n"
	for _, s := range scenarios {
		more += fmt.Sprintf("  - {name: %s%s, deployments: [{provider: bench, model: %[1]s%[2]s, price: {input: 1, output: 2}}]}\n", modelPrefix, s.name)
	}
	l.addSluice(t, "", more)
	return nil
}

// mostDeployments bounds a pool under test.
const mostDeployments = 1000

// addPool makes this program with N deployments behind each name, or N:STRATEGY, a target.
func (l *lab) addPool(t *target, value string) error {
	count, strategy, _ := strings.Cut(value, ":")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > mostDeployments {
		return fmt.Errorf("want pool=N or pool=N:STRATEGY, with 1 to %d deployments", mostDeployments)
	}
	t.name = strings.TrimSuffix(fmt.Sprintf("pool-%d-%s", n, strategy), "-")
	l.addSluice(t, "", poolOf(n, cmp.Or(strategy, "weighted")))
	return nil
}

func (l *lab) addSluice(t *target, bin, upstreams string) {
	argv := slices.Clone(l.self)
	if bin != "" {
		argv = []string{bin}
	}
	// A random key, because Sluice refuses those that can be guessed. It lives as long as the bench.
	t.bin, t.key = argv[0], "bench-"+rand.Text()+rand.Text()
	data := filepath.Join(l.dir, t.name+".data")
	config := filepath.Join(l.dir, t.name+".yaml")
	t.log = filepath.Join(l.dir, t.name+".log")
	// The provider's own variables would add providers that nobody asked for here.
	t.env = []string{"OPENAI_API_KEY=", "ANTHROPIC_API_KEY=", "GEMINI_API_KEY="}
	t.argv = func(listen string) []string {
		text := fmt.Sprintf(sluiceConfig, listen, data, t.key, l.mockAt, t.log) + upstreams
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil
		}
		return append(slices.Clone(argv), "serve", "--config", config)
	}
}

func (l *lab) addNginx(t *target) error {
	bin, err := exec.LookPath("nginx")
	if err != nil {
		return err
	}
	t.bin = bin
	t.argv = func(listen string) []string {
		config := filepath.Join(l.dir, "nginx.conf")
		if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, listen, l.dir, l.mockAt), 0o600); err != nil {
			return nil
		}
		return []string{bin, "-p", l.dir, "-c", config}
	}
	return nil
}

// atURL takes an address that somebody else serves; only the loopback interface is allowed: a load generator must not be
// pointed at other people's machines by a slip of the hand.
func (t *target) atURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	if u.Scheme != "http" {
		return fmt.Errorf("scheme %q: only http", u.Scheme)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil || !ip.IsLoopback() || u.Port() == "" {
		return fmt.Errorf("%s is not 127.0.0.1:PORT or [::1]:PORT", u.Host)
	}
	t.addr = net.JoinHostPort(ip.String(), u.Port())
	if t.path = strings.TrimSuffix(u.Path, "/"); t.path == "" {
		t.path = "/v1"
	}
	if u.User != nil {
		t.key = u.User.Username()
	}
	return nil
}

// launch starts the program and waits for its first answer.
func (t *target) launch(ctx context.Context) error {
	if t.argv == nil {
		return t.ping()
	}
	var err error
	if t.addr, err = freeAddr(); err != nil {
		return fmt.Errorf("find a port: %w", err)
	}
	argv := t.argv(t.addr)
	if len(argv) == 0 {
		return fmt.Errorf("write the configuration of %s", t.name)
	}
	begin := time.Now()
	if t.proc, err = start(t.name, t.cpu, t.env, argv...); err != nil {
		return err
	}
	took, err := t.proc.await(ctx, begin, t.ping)
	t.startup = append(t.startup, took)
	return err
}

func (t *target) halt() {
	if t.proc != nil && t.argv != nil {
		t.proc.stop()
		t.proc = nil
	}
}

// ping sends one small call.
func (t *target) ping() error {
	s, err := findScenario("small")
	if err != nil {
		return err
	}
	c := client{addr: t.addr, timeout: 5 * time.Second, keep: true}
	defer c.close()
	h, err := c.do(s.request(t))
	if err == nil && h.status != 200 {
		err = fmt.Errorf("status %d: %.300s", h.status, c.body)
	}
	return err
}

// rest lets the program settle, and notes what memory it holds when it has nothing to do.
func (t *target) rest(ctx context.Context, d time.Duration) error {
	if t.proc == nil {
		return nil
	}
	if !sleepUntil(ctx, time.Now().Add(d)) {
		return ctx.Err()
	}
	u, err := t.proc.measure()
	t.idle = u.rss
	return err
}

// emptyLog bounds the disk that a run takes; programs append to their logs.
func (t *target) emptyLog() {
	if t.log != "" {
		_ = os.Truncate(t.log, 0)
	}
}
