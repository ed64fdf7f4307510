package bench

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/pflag"

	"sluice/internal/mock"
)

// childVariable makes this test binary play the program's own subcommands, as the bench starts them.
const childVariable = "SLUICE_BENCH_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	if err := child(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(name string, args []string) error {
	var c interface {
		Flags(*pflag.FlagSet)
		Run(context.Context) error
	} = new(Command)
	if name == "mock" {
		c = new(mock.Command)
	}
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	c.Flags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	return c.Run(context.Background())
}

// newLoad is a short bench of this very binary.
func newLoad(t *testing.T) (*Command, *bytes.Buffer) {
	t.Setenv(childVariable, "1")
	var out bytes.Buffer
	return &Command{
		Self: []string{os.Args[0]}, Out: &out, Err: io.Discard, Duration: 60 * time.Millisecond, Connections: 2, Streams: 3, NoPin: true,
		settle: 20 * time.Millisecond,
	}, &out
}

func TestCompareEndToEnd(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	c, out := newLoad(t)
	c.Compare, c.Rounds = true, 2
	c.Target = []string{"proxy", "direct", os.Args[0] + "-command=" + os.Args[0] + " bench --proxy-listen {listen} --proxy-to {upstream}"}
	c.Scenario = []string{"small", "200k", "stream", "meter", "halfload", "slow"}
	c.JSON, c.Plot = filepath.Join(dir, "r.json"), []string{filepath.Join(dir, "r.svg"), filepath.Join(dir, "r.png")}
	c.NoPin = false
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(c.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Scenarios {
		if len(s.Targets) != 3 {
			t.Fatalf("%s: %d targets", s.Name, len(s.Targets))
		}
		for _, target := range s.Targets {
			m := target.Median
			if m.Calls == 0 || m.Errors != 0 {
				t.Errorf("%s, %s: %+v", s.Name, target.Target, m)
			}
			if want := map[bool]int{true: 1, false: 2}[s.Name == "slow"]; len(target.Rounds) != want {
				t.Errorf("%s, %s: %d rounds", s.Name, target.Target, len(target.Rounds))
			}
			if s.Name == "slow" && m.Calls != 3 {
				t.Errorf("%d streams were open", m.Calls)
			}
			if s.Name == "stream" && (m.GapMax == 0 || m.P99 < m.FirstP50) {
				t.Errorf("stream: %+v", m)
			}
		}
		if s.Name != "slow" && s.Targets[2].Ratios["p99"].Median == 0 {
			t.Errorf("%s: no ratio to the baseline", s.Name)
		}
	}
	if len(r.Programs) != 2 || len(r.Programs[0].Startup) != starts+1 || r.Programs[0].Idle == 0 {
		t.Errorf("programs: %+v", r.Programs)
	}
	if !strings.Contains(out.String(), "halfload: small at a fixed rate, half of the proxy's best, ") {
		t.Errorf("report:\n%s", out)
	}
	for _, p := range c.Plot {
		if info, err := os.Stat(p); err != nil || info.Size() < 500 {
			t.Errorf("plot: %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "sluice-bench-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	noChildren(t)
}

// noChildren fails if this process has children left.
func noChildren(t *testing.T) {
	t.Helper()
	if all := family(os.Getpid()); len(all) > 1 {
		t.Errorf("processes left: %v", all[1:])
	}
}

func TestProgramsEndWithTheBench(t *testing.T) {
	t.Run("a target that cannot start", func(t *testing.T) {
		c, _ := newLoad(t)
		c.Target = []string{"proxy", "broken=" + os.Args[0] + " bench nothing {listen}"}
		if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "broken ended before it served") {
			t.Errorf("error %v", err)
		}
		noChildren(t)
	})
	t.Run("a target that dies", func(t *testing.T) {
		c, _ := newLoad(t)
		c.Target, c.Scenario, c.Duration = []string{"proxy"}, []string{"small"}, 10*time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			// Again and again: the first that dies may be one that was only started to see how long that takes.
			for sleepUntil(ctx, time.Now().Add(300*time.Millisecond)) {
				for _, pid := range family(os.Getpid())[1:] {
					if line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); bytes.Contains(line, []byte("--proxy-to")) {
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
			}
		}()
		if err := c.Run(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("error %v", err)
		}
		noChildren(t)
	})
	t.Run("interrupted", func(t *testing.T) {
		for _, scenario := range []string{"small", "stream", "slow"} {
			c, _ := newLoad(t)
			c.Target, c.Scenario, c.Duration = []string{"proxy"}, []string{scenario}, 10*time.Minute
			c.settle = time.Second
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			if err := c.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v", scenario, err)
			}
			cancel()
			noChildren(t)
		}
	})
}

// TestWrongAnswersAreCounted puts a server between that spoils every third answer.
func TestWrongAnswersAreCounted(t *testing.T) {
	for name, spoil := range map[string]func(w http.ResponseWriter, body []byte){
		"cut": func(w http.ResponseWriter, body []byte) { _, _ = w.Write(body[:len(body)/2]) },
		"changed": func(w http.ResponseWriter, body []byte) {
			_, _ = w.Write(bytes.Replace(body, []byte("a"), []byte("b"), 1))
		},
		"status": func(w http.ResponseWriter, body []byte) { w.WriteHeader(500); _, _ = w.Write(body) },
	} {
		t.Run(name, func(t *testing.T) {
			up, err := mock.New(mock.Options{Script: mockScript()})
			if err != nil {
				t.Fatal(err)
			}
			for _, compare := range []bool{false, true} { // a foreign target's errors are shown there, and end nothing
				var n atomic.Int64
				h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					rec := httptest.NewRecorder()
					if up.ServeHTTP(rec, r); n.Add(1)%3 == 0 {
						spoil(w, rec.Body.Bytes())
					} else {
						_, _ = w.Write(rec.Body.Bytes())
					}
				}))
				c, out := newLoad(t)
				c.Target, c.Scenario, c.Connections, c.Compare = []string{"other=" + h.URL}, []string{"small", "stream"}, 1, compare
				err := c.Run(t.Context())
				h.Close()
				if (err == nil) != compare || compare && !strings.Contains(out.String(), "errors, the first: ") {
					t.Errorf("compared %v: %v; report:\n%s", compare, err, out)
				}
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	parse := func(args ...string) (*Command, *pflag.FlagSet, error) {
		c, f := new(Command), pflag.NewFlagSet("bench", pflag.ContinueOnError)
		c.Flags(f)
		return c, f, f.Parse(args)
	}
	c, _, err := parse("--compare", "-s", "small,slow", "-t", "direct", "-t", "x=cmd a,b {listen}", "--check")
	if err != nil || !c.Compare || !c.Check || c.Duration != 3*time.Second {
		t.Fatalf("%+v %v", c, err)
	}
	if !slices.Equal(c.Scenario, []string{"small", "slow"}) || !slices.Equal(c.Target, []string{"direct", "x=cmd a,b {listen}"}) {
		t.Errorf("%+v", c)
	}
	if list, err := c.defaults(); err != nil || len(list) != 2 || c.Rounds != 5 {
		t.Errorf("%d scenarios, %d rounds, %v", len(list), c.Rounds, err)
	}
	if c, _, _ := parse("--compare"); c != nil {
		if list, err := c.defaults(); err != nil || len(list) != len(scenarios) || !slices.Contains(c.Target, baseline) {
			t.Errorf("%d scenarios, %v, %v", len(list), c.Target, err)
		}
	}
	if c, _, err := parse("--proxy-listen=a", "--proxy-to=b"); err != nil || c.ProxyListen != "a" || c.ProxyTo != "b" {
		t.Errorf("%+v %v", c, err)
	}
	for _, args := range [][]string{
		{"-s", "huge"}, {"--rounds=101"}, {"--duration=1h"}, {"--duration=1ms"}, {"--connections=5000"}, {"--rate=-1"}, {"--streams=0"}, {"--plot=x.gif"},
	} {
		c, _, err := parse(args...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		if _, err := c.defaults(); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	_, f, _ := parse()
	help := strings.Join(strings.Fields(f.FlagUsages()), " ")
	if !strings.Contains(help, strings.Join(scenarioNames(), ", ")) {
		t.Errorf("the help does not list the scenarios:\n%s", help)
	}
	if strings.Contains(help, "proxy-to") {
		t.Errorf("the help tells of what only the bench itself uses:\n%s", help)
	}
}

func TestTargets(t *testing.T) {
	l := &lab{mockAt: "127.0.0.1:1", self: []string{"self"}, dir: t.TempDir()}
	for _, spec := range []string{
		"x", "x=http://example.com:80/v1", "x=http://10.0.0.1:80", "x=http://localhost:80", "x=https://127.0.0.1:80", "x=http://127.0.0.1",
		"x=http://0.0.0.0:80", "x=http://[fe80::1]:80", "x=command", "direct=1", "pool", "pool=0", "pool=1001", "pool=x",
	} {
		if err := l.add(spec); err == nil {
			t.Errorf("%s is taken", spec)
		}
	}
	for spec, want := range map[string]target{
		"a=http://127.0.0.1:80":             {addr: "127.0.0.1:80", path: "/v1"},
		"b=http://key@[::1]:8080/openai/v1": {addr: "[::1]:8080", path: "/openai/v1", key: "key"},
		"c=http://127.9.9.9:1/v1/":          {addr: "127.9.9.9:1", path: "/v1"},
		"direct":                            {addr: "127.0.0.1:1", path: "/v1"},
	} {
		if err := l.add(spec); err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		if got := l.targets[len(l.targets)-1]; got.addr != want.addr || got.path != want.path || got.key != want.key {
			t.Errorf("%s: %+v", spec, got)
		}
	}
	if err := l.add("direct"); err == nil {
		t.Error("a target is taken twice")
	}
	if err := l.add("pool=3:latency"); err != nil {
		t.Fatal(err)
	}
	p := l.targets[len(l.targets)-1]
	argv := p.argv("127.0.0.1:9")
	text, err := os.ReadFile(argv[len(argv)-1])
	if err != nil || p.name != "pool-3-latency" || !strings.Contains(string(text), "{name: c2,") || strings.Contains(string(text), "{name: c3,") {
		t.Errorf("%s: %v\n%s", p.name, err, text)
	}
	if err := l.add("pool=3:latency"); err == nil {
		t.Error("a pool is taken twice")
	}
	if err := l.add("sluice=/bin/other"); err != nil {
		t.Fatal(err)
	}
	s := l.targets[len(l.targets)-1]
	argv = s.argv("127.0.0.1:9")
	if len(argv) != 4 || argv[0] != "/bin/other" || argv[1] != "serve" || len(s.key) < 40 {
		t.Errorf("argv %q, key of %d letters", argv, len(s.key))
	}
}

func TestScenarioRequests(t *testing.T) {
	for _, s := range scenarios {
		body := s.body()
		var r struct {
			Model    string
			Stream   bool
			Messages []struct{ Role, Content string }
		}
		if err := json.Unmarshal(body, &r, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatal(err)
		}
		last := r.Messages[len(r.Messages)-1]
		if r.Model != modelPrefix+s.name || r.Stream != s.stream || last.Role != "user" {
			t.Errorf("%s: %+v", s.name, last)
		}
		if len(body) < s.prompt || len(body) > s.prompt*115/100+400 {
			t.Errorf("%s: a body of %d bytes for a prompt of %d", s.name, len(body), s.prompt)
		}
		up, err := mock.New(mock.Options{Script: mockScript() + "\n", Default: ""})
		if err != nil {
			t.Fatal(err)
		}
		if s.kind == held {
			continue
		}
		w := httptest.NewRecorder()
		up.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/chat/completions", bytes.NewReader(body)))
		want, err := learn(s.stream, s.usage, w.Body.Bytes())
		if err != nil || s.stream && want.pieces != 100 || want.text == "" {
			t.Errorf("%s: %v, %d pieces", s.name, err, want.pieces)
		}
	}
}

func TestPlot(t *testing.T) {
	for letter, g := range glyphs {
		if len(g) != 15 || strings.Trim(g, "#.") != "" {
			t.Errorf("%c has %d squares", letter, len(g))
		}
	}
	r := sampleReport()
	c := r.chart()
	var b bytes.Buffer
	if err := c.writePNG(&b); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil || img.Bounds().Dy() != c.height() {
		t.Fatal(img, err)
	}
	b.Reset()
	if err := c.writeSVG(&b); err != nil {
		t.Fatal(err)
	}
	d, rects := xml.NewDecoder(&b), 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			rects++
		}
	}
	if rects != 1+2*2+1 { // the ground, a bar and a spread for each of two targets, the mark
		t.Errorf("%d rectangles", rects)
	}
	empty := Report{}
	e := empty.chart()
	if err := e.writePNG(io.Discard); err != nil {
		t.Error(err)
	}
}

func TestProgress(t *testing.T) {
	if got, want := bar(30*time.Second, 120*time.Second, "small proxy"), "[#######.......................]  25 % small proxy, 1m30s left"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := bar(3*time.Second, time.Second, "x"); !strings.Contains(got, "100 % x, 0s left") {
		t.Errorf("%q", got)
	}
	var b bytes.Buffer
	p := startProgress(&b, time.Second)
	p.next("a", time.Second)
	p.draw()
	p.stop()
	if got := b.String(); !strings.Contains(got, "] ") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("%q", got)
	}
}
