package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice/internal/freeport"
)

// process is a program that the bench started and will end.
type process struct {
	name string
	cmd  *exec.Cmd
	out  tail
	done chan struct{}
	err  error // of Wait; read after done
}

// tail keeps the last bytes that a program said, for the message when it fails.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if len(t.buf) > 2*tailSize {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailSize:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf[max(0, len(t.buf)-tailSize):]))
}

// start runs a program in a process group of its own, on cpu when that is not negative.
func start(name string, cpu int, env []string, argv ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})} //nolint:gosec // the user's own command
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = childAttr()
	p.cmd.WaitDelay = time.Second // a grandchild may hold the pipe
	if err := onCPU(cpu, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the program and all that it started: politely, and after a moment for good.
func (p *process) stop() {
	_ = syscall.Kill(-p.pid(), syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
	}
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.done
}

// await calls ready every millisecond until it is nil, and returns how long that took since begin.
func (p *process) await(ctx context.Context, begin time.Time, ready func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return time.Since(begin), nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return 0, fmt.Errorf("%s ended before it served (%w): %s", p.name, errors.Join(p.err, err), p.out.String())
		case <-ctx.Done():
			return 0, fmt.Errorf("%s does not serve: %w: %s", p.name, errors.Join(ctx.Err(), err), p.out.String())
		}
	}
}

// freeAddr is an address that a program can be told to listen on.
func freeAddr() (string, error) {
	port, err := freeport.Find()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

// usage is what a program and its children have taken so far.
type usage struct {
	cpu  time.Duration
	rss  int64 // bytes
	peak int64
}

// ticksPerSecond is USER_HZ, which is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// measure adds up /proc over p and its descendants.
func (p *process) measure() (usage, error) {
	var u usage
	for _, pid := range family(p.pid()) {
		one, err := procUsage("/proc/" + strconv.Itoa(pid))
		if err != nil {
			if pid == p.pid() {
				return u, fmt.Errorf("measure %s: %w", p.name, err)
			}
			continue // a child that has just ended
		}
		u.cpu += one.cpu
		u.rss += one.rss
		u.peak += one.peak
	}
	return u, nil
}

func procUsage(dir string) (usage, error) {
	var u usage
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, err
	}
	if u.cpu, _, err = parseStat(stat); err != nil {
		return u, err
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return u, err
	}
	u.rss, u.peak = parseStatus(status, "VmRSS:"), parseStatus(status, "VmHWM:")
	return u, nil
}

// parseStat reads utime+stime and the parent from /proc/PID/stat; the name in it may hold blanks and parentheses.
func parseStat(stat []byte) (cpu time.Duration, parent int, err error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	utime, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	stime, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	parent, err3 := strconv.Atoi(string(fields[1]))
	return time.Duration(utime+stime) * time.Second / ticksPerSecond, parent, errors.Join(err1, err2, err3)
}

func parseStatus(status []byte, name string) int64 {
	_, rest, _ := bytes.Cut(status, []byte(name))
	fields := bytes.Fields(rest[:min(len(rest), 40)])
	if len(fields) == 0 {
		return 0
	}
	kb, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return kb << 10
}

// field finds the value of a line "name : value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// family is pid and its descendants.
func family(pid int) []int {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if stat, err := os.ReadFile("/proc/" + e.Name() + "/stat"); err == nil {
			if _, parent, err := parseStat(stat); err == nil {
				children[parent] = append(children[parent], child)
			}
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// resetPeak makes the kernel forget the peak of resident memory; where it cannot, the peak since the start stands.
func (p *process) resetPeak() {
	for _, pid := range family(p.pid()) {
		_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/clear_refs", []byte("5"), 0)
	}
}
