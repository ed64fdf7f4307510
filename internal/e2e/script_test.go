package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: what a person does at a terminal, and what comes back. Beside the usual commands
// there are
//
//	serve [FILE]   starts `sluice serve` in the background, with --config if a file is named; sets $BASE and
//	               $ADMIN and, when a key was shown, $KEY
//	told           what it has written so far becomes stdout, its log stderr
//	stop           SIGTERM, wait for the end; then as told
//	hup            SIGHUP
//	await WORD     waits until the log holds a word
//	ask STATUS METHOD PATH [FILE] [HEADER...]
//	               sends a file (- for none), to the API with $KEY, fails unless the status comes; head and body become stdout
//	until STATUS METHOD PATH FILE
//	               asks until the status comes
//	shown          sets $KEY to the key that the last command has shown
func TestScripts(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(bin)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Values[served{}] = &served{}
			env.Defer(func() { env.Values[served{}].(*served).p.stop() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": scriptServe, "told": scriptTold, "stop": scriptStop, "hup": scriptHup, "await": scriptAwait, "ask": scriptAsk,
			"until": scriptUntil, "eventually": scriptEventually, "shown": scriptShown,
		},
	})
}

// served is the gateway of a script.
type served struct{ p *process }

func gatewayOf(ts *testscript.TestScript) *process {
	p := ts.Value(served{}).(*served).p
	if p == nil {
		ts.Fatalf("nothing is served")
	}
	return p
}

var shownKey = regexp.MustCompile(`(sk-slc|slt)-[\w-]{40,}`)

func scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value(served{}).(*served)
	s.p.stop()
	line := []string{"serve"}
	if len(args) > 0 {
		line = append(line, "--config", args[0])
	}
	var up struct{ Event, Data, Admin string }
	p, err := launch(ts.MkAbs("."), nil, func(line string) bool {
		return json.Unmarshal([]byte(line), &up) == nil && up.Event == "listening"
	}, line...)
	ts.Check(err)
	s.p = p
	ts.Setenv("BASE", "http://"+up.Data)
	ts.Setenv("ADMIN", "http://"+up.Admin)
	wait(ts, "the welcome", func() bool { return strings.Contains(p.stdout(), "Sluice is ready") })
	if key := shownKey.FindString(p.stdout()); key != "" {
		ts.Setenv("KEY", key)
	}
}

func scriptTold(ts *testscript.TestScript, _ bool, _ []string) {
	p := gatewayOf(ts)
	fmt.Fprint(ts.Stdout(), p.stdout())
	fmt.Fprint(ts.Stderr(), p.log()+"\n")
}

func scriptStop(ts *testscript.TestScript, _ bool, _ []string) {
	p := gatewayOf(ts)
	p.stop()
	if p.err != nil {
		ts.Fatalf("it did not end well: %v", p.err)
	}
	scriptTold(ts, false, nil)
}

func scriptHup(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(gatewayOf(ts).cmd.Process.Signal(syscall.SIGHUP))
}

func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	p := gatewayOf(ts)
	wait(ts, args[0], func() bool { return p.find(args[0]) != "" })
}

// wait looks until something is so.
func wait(ts *testscript.TestScript, what string, so func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			ts.Fatalf("waited 10 s for %s", what)
		}
	}
}

func scriptShown(ts *testscript.TestScript, _ bool, _ []string) {
	key := shownKey.FindString(ts.ReadFile("stdout"))
	if key == "" {
		ts.Fatalf("no key was shown")
	}
	ts.Setenv("KEY", key)
}

func scriptUntil(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	wait(ts, "the status "+args[0], func() bool {
		req, err := http.NewRequest(args[1], ts.Getenv("BASE")+args[2], strings.NewReader(ts.ReadFile(args[3]))) //nolint:noctx // the client has a timeout
		ts.Check(err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+ts.Getenv("KEY"))
		client := http.Client{Timeout: 20 * time.Second}
		resp, err := client.Do(req)
		ts.Check(err)
		defer resp.Body.Close()
		return resp.StatusCode == want
	})
}

// scriptEventually runs a command until it prints what is wanted: eventually PATTERN COMMAND.... What it printed is there for stdout.
func scriptEventually(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN COMMAND...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	wait(ts, args[0], func() bool {
		ts.Check(ts.Exec(args[1], args[2:]...))
		return want.MatchString(ts.ReadFile("stdout"))
	})
}

func scriptAsk(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: ask STATUS METHOD PATH [FILE] [HEADER...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var body io.Reader
	if len(args) > 3 && args[3] != "-" {
		body = strings.NewReader(ts.ReadFile(args[3]))
	}
	url, key := args[2], "" // a client's key is nothing to operators
	if !strings.HasPrefix(url, "http") {
		url, key = ts.Getenv("BASE")+url, ts.Getenv("KEY")
	}
	req, err := http.NewRequest(args[1], url, body) //nolint:noctx // the client has a timeout
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for _, h := range args[min(4, len(args)):] {
		k, v, _ := strings.Cut(h, ":")
		if req.Header.Set(k, strings.TrimSpace(v)); k == "Host" {
			req.Host = strings.TrimSpace(v)
		}
	}
	client := http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	fmt.Fprintf(ts.Stdout(), "%s\n", resp.Status)
	ts.Check(resp.Header.Write(ts.Stdout()))
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout())
	if resp.StatusCode != want {
		ts.Fatalf("got %s, want %d", resp.Status, want)
	}
}
