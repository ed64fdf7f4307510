// Package redistest starts real Redis servers on free loopback ports for tests, alone, under Sentinels and as a
// cluster, and ends them. The programs are those that .ci/redis unpacked, or redis-server on PATH, or a server
// that runs already at SLUICE_TEST_REDIS (host:port), which is neither ended nor emptied.
package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/freeport"
)

// patience is how long a server may take for what it does at once on a machine with nothing else to do.
const patience = 30 * time.Second

// A Program is a kind of server that can be had here.
type Program struct {
	Name string // redis7, redis8, valkey; path, external
	path string
	addr string // of a server that is not ours
}

// External says that the server is somebody's own: it is to be left as it was found.
func (p Program) External() bool { return p.addr != "" }

// Programs are all that can be had. With SLUICE_E2E=full those that CI has are required; without, a test
// skips when there is none.
func Programs(t testing.TB) []Program {
	t.Helper()
	var all []Program
	for _, name := range []string{"redis7", "redis8", "valkey"} {
		path := filepath.Join(moduleRoot(t), ".cache", "redis", name, "server")
		if _, err := os.Stat(path); err == nil {
			all = append(all, Program{Name: name, path: path})
		} else if os.Getenv("SLUICE_E2E") == "full" {
			t.Fatalf("no %s: run .ci/redis", name)
		}
	}
	if path, err := exec.LookPath("redis-server"); err == nil && len(all) == 0 {
		all = append(all, Program{Name: "path", path: path})
	}
	if addr := os.Getenv("SLUICE_TEST_REDIS"); addr != "" {
		all = append(all, Program{Name: "external", addr: addr})
	}
	if len(all) == 0 {
		t.Skip("NOT TESTED: no Redis server; run .ci/redis, or set SLUICE_TEST_REDIS=host:port")
	}
	return all
}

// Own is the first program whose servers are ours to end, for tests of faults that are the same on all.
func Own(t testing.TB) Program {
	t.Helper()
	for _, p := range Programs(t) {
		if !p.External() {
			return p
		}
	}
	t.Skip("NOT TESTED: this test ends servers, and there is none of our own; run .ci/redis")
	return Program{}
}

// A Server is one process.
type Server struct {
	Addr string // host:port

	path string
	port int
	dir  string
	args []string
	cmd  *exec.Cmd // nil when it does not run, or is not ours
	done chan struct{}
}

// Start runs a server with args added to its configuration and waits until it answers. It ends with the test.
func (p Program) Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if p.External() {
		return &Server{Addr: p.addr}
	}
	s := p.server(t)
	s.args = append([]string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no", "--enable-debug-command", "yes",
	}, args...)
	s.Run(t)
	s.wait(t, "answers", func() bool { return s.Info("loading") == "0" })
	return s
}

// server prepares one without running it.
func (p Program) server(t testing.TB) *Server {
	t.Helper()
	port := freePort(t)
	return &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), path: p.path, port: port, dir: t.TempDir()}
}

// Run starts the process, again if it has ended, and does not wait until it answers.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.path, s.args...) //nolint:gosec // a program of the test's own
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, childAttr()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	s.cmd, s.done = cmd, done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
}

// Kill ends the process as a crash does, and waits for its end.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		t.Fatal("no process of ours")
	}
	_ = s.cmd.Process.Kill()
	<-s.done
	s.cmd = nil
}

// Restart runs it again at its old address, and waits until it answers.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Run(t)
	s.wait(t, "answers", func() bool { return s.Info("loading") == "0" })
}

// Do sends a command of the test's own, beside any fault between, and gives the answer as text.
func (s *Server) Do(t testing.TB, args ...string) string {
	t.Helper()
	got, err := s.Try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, s.log())
	}
	return got
}

// Try is Do for a command that may fail.
func (s *Server) Try(args ...string) (string, error) { return command(s.Addr, args) }

// Info is one field of INFO, "" if there is none or no answer.
func (s *Server) Info(field string) string {
	all, _ := s.Try("INFO", "everything")
	for line := range strings.Lines(all) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return v
		}
	}
	return ""
}

func (s *Server) wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !until(ok) {
		t.Fatalf("server at %s: waited in vain until it %s\n%s", s.Addr, what, s.log())
	}
}

func (s *Server) log() []byte {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return bytes.TrimSpace(b)
}

// until asks again and again; false: in vain.
func until(ok func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if ok() {
			return true
		}
	}
	return false
}

// freePort is one that nobody listens on now. Redis cannot be given one by the kernel.
func freePort(t testing.TB) int {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal(fmt.Errorf("no go.mod above the working directory"))
		}
	}
}
