// Package pgtest starts real PostgreSQL servers on free loopback ports for tests, and ends them. The programs are
// initdb and postgres of PATH or of Debian's packages; they refuse to be root, so a test that is gives that
// up for them. A server that runs already serves too, but for tests that end it: SLUICE_TEST_POSTGRES is then
// the URL of somebody who may create databases.
package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/freeport"
)

// patience is how long a server may take for what it does at once on a machine with nothing else to do.
const patience = 60 * time.Second

// A Server is one process and its data directory.
type Server struct {
	dir      string
	postgres string // the program
	port     int
	password string
	args     []string
	url      string // of a server that is not ours; all above is empty then

	mu   sync.Mutex
	cmd  *exec.Cmd // nil when it does not run
	done chan struct{}
}

// A shared server is begun by the first test of a process that asks for it.
var (
	shared  = sync.OnceValues(startShared)
	running atomic.Pointer[Server]
)

func startShared() (*Server, error) {
	if external := os.Getenv("SLUICE_TEST_POSTGRES"); external != "" {
		return &Server{url: external}, nil
	}
	s, err := create()
	if err == nil {
		running.Store(s)
		err = s.run()
	}
	return s, err
}

// Run is for TestMain of a package that uses Database: it runs the tests, ends the shared server if there was one,
// and gives the code to exit with.
func Run(m *testing.M) int {
	code := m.Run()
	if s := running.Load(); s != nil {
		s.end()
		_ = os.RemoveAll(s.dir)
	}
	return code
}

// Database makes an empty database on a server that all tests of the process share, and gives its URL. It is dropped at
// the end of the test. Where there is no PostgreSQL the test is skipped; with SLUICE_E2E=full it fails.
func Database(t testing.TB) string {
	t.Helper()
	require(t)
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s.Database(t)
}

// Start runs a server that is the test's own, to be ended and started again. args are added to its command line.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	require(t)
	s, err := create()
	if err != nil {
		t.Fatal(err)
	}
	s.args = append(s.args, args...)
	t.Cleanup(func() {
		s.end()
		_ = os.RemoveAll(s.dir)
	})
	s.Restart(t)
	return s
}

// require skips the test where there is no program to start.
func require(t testing.TB) {
	t.Helper()
	if os.Getenv("SLUICE_TEST_POSTGRES") != "" {
		return
	}
	if _, err := find("initdb"); err != nil {
		if os.Getenv("SLUICE_E2E") == "full" {
			t.Fatalf("%v: run .ci/tools", err)
		}
		t.Skipf("NOT TESTED: %v; run .ci/tools, or set SLUICE_TEST_POSTGRES=postgres://…", err)
	}
}

// find looks for a program where packages put them: Debian's are not on PATH.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return filepath.EvalSymlinks(path)
	}
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if len(all) == 0 {
		return "", fmt.Errorf("no %s of PostgreSQL here", program)
	}
	return all[len(all)-1], nil
}

// create makes a data directory. What it holds outlives its processes, but not the machine: nothing waits for the disk.
func create() (*Server, error) {
	initdb, err := find("initdb")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sluice-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, postgres: filepath.Join(filepath.Dir(initdb), "postgres"), password: rand.Text()}
	if s.port, err = freeport.Find(); err != nil {
		return nil, err
	}
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(s.password), 0o600); err != nil {
		return nil, err
	}
	who := servant()
	if who != nil {
		for _, path := range []string{dir, secret} {
			if err := os.Chown(path, int(who.Uid), int(who.Gid)); err != nil {
				return nil, err
			}
		}
	}
	cmd := exec.Command(initdb, "-D", filepath.Join(dir, "data"), "-U", "sluice", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-A", "scram-sha-256", "--pwfile", secret) //nolint:gosec // a program of the test's own
	cmd.Dir = dir
	cmd.SysProcAttr = childAttr(who)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	s.args = []string{
		"-D", filepath.Join(dir, "data"), "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-k", "",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=100", "-c", "shared_buffers=64MB",
	}
	return s, nil
}

// run starts the process and waits until it serves.
func (s *Server) run() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.postgres, s.args...) //nolint:gosec // a program of the test's own
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.dir, log, log, childAttr(servant())
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.done = cmd, done
	s.mu.Unlock()
	go func() { // ends with the process, for which end waits
		defer close(done)
		_ = cmd.Wait()
	}()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err = s.exec("SELECT 1"); err == nil {
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("postgres ended at once\n%s", s.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("postgres does not serve: %w\n%s", err, s.log())
}

// end ends the process at once, but lets it free what it shares with its children.
func (s *Server) end() { s.signal(syscall.SIGQUIT) }

// Kill ends the process and its children as a crash of the machine does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.url != "" {
		t.Fatal("no process of ours")
	}
	s.signal(syscall.SIGQUIT) // an immediate shutdown: nothing is written, and the next start recovers
}

// Freeze stops the server from doing anything, connections held open, until the func it returns is called.
func (s *Server) Freeze(t testing.TB) (thaw func()) {
	t.Helper()
	pids := s.family()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	thaw = sync.OnceFunc(func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
	t.Cleanup(thaw)
	return thaw
}

// family lists the server's processes: the postmaster and its children, all of which are in its process group.
func (s *Server) family() (pids []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil
	}
	leader := s.cmd.Process.Pid
	pids = append(pids, leader)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, _ := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(text), ") ") // after the name: state, parent
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(leader) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	<-s.done
	s.cmd = nil
}

// Restart runs it at its old address and waits until it serves.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Database makes an empty database and gives its URL, which holds a password. It is dropped at the end of the test.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := "t" + strings.ToLower(rand.Text())
	if err := s.exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.exec("DROP DATABASE " + name + " WITH (FORCE)") })
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// URL is that of the server's first database.
func (s *Server) URL() string {
	if s.url != "" {
		return s.url
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword("sluice", s.password), Host: s.Addr(), Path: "/postgres", RawQuery: "sslmode=disable"}
	return u.String()
}

// exec runs one statement on a connection of its own.
func (s *Server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, statement)
	return err
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

func (s *Server) log() []byte {
	b, _ := os.ReadFile(s.logFile())
	return bytes.TrimSpace(b)
}
