package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/pgtest"
)

// TestAdminUnderLoad: the admin API and the data plane do not hurt one another, with as many keys as a large gateway has.
func TestAdminUnderLoad(t *testing.T) {
	for _, store := range []string{"SQLite", "PostgreSQL"} {
		t.Run("admin and calls, "+store, func(t *testing.T) {
			say("admin and calls, %s", store)
			dsn := ""
			settings := ""
			if store == "PostgreSQL" {
				dsn = pgtest.Database(t)
				settings = fmt.Sprintf("store: {url: %q}\n", dsn)
			}
			mock, addr, err := startMock(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(mock.stop)
			g := startedApart(t, settings+mockConfig("http://"+addr))
			n := sized(20_000, 1_000_000)
			fillKeys(t, g, dsn, n)
			listBesideCalls(t, g, n)
			givesWay(t, mock.cmd.Process.Pid)
			adminBesideCalls(t, g)
		})
	}
}

// startedApart is started, but the log is in a file: whoever reads a line of every call takes turns from the gateway.
func startedApart(t *testing.T, config string) *gateway {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, log := filepath.Join(dir, "sluice.yaml"), filepath.Join(dir, "log")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%slog: {file: %q}\n%s", preamble(dir, ""), log, config), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := launchOther(bin, dir, nil, func(line string) bool { return strings.Contains(line, "Sluice is ready") }, "serve", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	g := &gateway{process: p, dir: dir}
	eventually(t, "its addresses in the log", func() bool {
		text, _ := os.ReadFile(log)
		for line := range bytes.Lines(text) {
			var up listening
			if json.Unmarshal(line, &up) == nil && up.Event == "listening" {
				g.addr, g.admin, g.url = up.Data, up.Admin, "http://"+up.Data
				return true
			}
		}
		return false
	})
	return g
}

// fillKeys puts keys into a running gateway's store, past its API: what it costs to make them is not looked at here.
func fillKeys(t *testing.T, g *gateway, dsn string, n int) {
	t.Helper()
	driver, at := "pgx", dsn
	numbers, id, hash := "SELECT generate_series(1, %d) AS i", "'K' || lpad(i::text, 11, '0')", "convert_to(lpad(i::text, 32, '0'), 'UTF8')"
	if dsn == "" {
		driver, at = "sqlite", "file:"+filepath.Join(g.dir, "data", "sluice.db")+"?_pragma=busy_timeout(60000)"
		numbers, id, hash = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n", "printf('K%%011d', i)", "CAST(printf('%%032d', i) AS blob)"
	}
	db, err := sql.Open(driver, at)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	fill := []string{
		fmt.Sprintf("INSERT INTO keys (id, name, spec, maker, created, updated, version, org_id, hash) SELECT "+id+", 'k' || i, '{\"models\":[\"gpt-*\"]}', '', 0, 0, 1, 'default', "+hash+" FROM ("+numbers+") numbers", n),
		"INSERT INTO key_hashes (hash, key_id) SELECT hash, id FROM keys WHERE id LIKE 'K%'",
	}
	if dsn != "" {
		fill = append(fill, "ANALYZE") // as PostgreSQL does by itself before long; with SQLite nobody does
	}
	for _, q := range fill {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%v: %s", err, q)
		}
	}
}

// operator talks to a gateway's admin API.
type operator struct {
	g  *gateway
	tr *http.Transport
}

func newOperator(t *testing.T, g *gateway) *operator {
	o := &operator{g, &http.Transport{MaxIdleConnsPerHost: 8}}
	t.Cleanup(o.tr.CloseIdleConnections)
	return o
}

// do makes one request, and reads the answer into out unless that is nil.
func (o *operator) do(ctx context.Context, method, path, body string, out any) error {
	return o.from(ctx, "http://"+o.g.admin, method, path, body, out)
}

// text is what a path answers.
func (o *operator) text(t *testing.T, path string) []byte {
	t.Helper()
	status, _, out := sent(t, http.MethodGet, "http://"+o.g.admin+path, "")
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, out)
	}
	return []byte(out)
}

// from is do, at another place.
func (o *operator) from(ctx context.Context, url, method, path, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := o.tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s %s: %d %.300s", method, path, resp.StatusCode, text)
	case out != nil:
		return json.Unmarshal(text, out)
	}
	return nil
}

// A keyPage is a page of the list of keys.
type keyPage struct {
	Data []struct{ ID string }
	Next string
}

// walk reads all keys, page by page, and tells how many there were.
func (o *operator) walk(ctx context.Context, pages *atomic.Int64) (n int, err error) {
	for after := ""; ; {
		var p keyPage
		if err := o.do(ctx, http.MethodGet, "/admin/keys?limit=500&after="+after, "", &p); err != nil {
			return n, err
		}
		pages.Add(1)
		for _, k := range p.Data {
			if k.ID <= after {
				return n, fmt.Errorf("%s comes after %s: the cursor goes back", k.ID, after)
			}
			after = k.ID
		}
		n += len(p.Data)
		if p.Next == "" {
			return n, nil
		}
		after = p.Next
	}
}

// listBesideCalls: calls do not suffer while somebody reads the list of all keys, as fast as they can. The last page costs what the
// first one does.
func listBesideCalls(t *testing.T, g *gateway, n int) {
	o := newOperator(t, g)
	var pages, walks, wrong, others atomic.Int64
	reading := func(once func(context.Context)) func() func() {
		return func() (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			var ended sync.WaitGroup
			ended.Go(func() {
				for ctx.Err() == nil {
					once(ctx)
				}
			})
			return func() { cancel(); ended.Wait() }
		}
	}
	// The reader of the list shares the machine with the calls, too: the same pages from a server that only sends them tell how much of the
	// difference is its own.
	var page keyPage
	text := o.text(t, "/admin/keys?limit=500")
	still := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	defer still.Close()
	alone, seenAlone := beside(t, g, sized(1, 8), sized(500*time.Millisecond, 4*time.Second), reading(func(ctx context.Context) {
		if err := o.from(ctx, still.URL, http.MethodGet, "/", "", &page); err == nil {
			others.Add(1)
		}
	}))
	ratio, seen := beside(t, g, sized(1, 8), sized(500*time.Millisecond, 4*time.Second), reading(func(ctx context.Context) {
		got, err := o.walk(ctx, &pages)
		if ctx.Err() != nil {
			return
		}
		walks.Add(1)
		if err != nil || got != n {
			wrong.Add(1)
			t.Logf("%d keys, want %d: %v", got, n, err)
		}
	}))
	if walks.Load() == 0 { // the windows were too short for one
		if got, err := o.walk(t.Context(), &pages); err != nil || got != n {
			t.Errorf("%d keys, want %d: %v", got, n, err)
		}
	}
	holds(t, wrong.Load() == 0, "every key once", "%d pages of %d keys were read, %d lists wrong", pages.Load(), n, wrong.Load())
	measured(t, ratio <= 1.5*max(1, alone), "p99 of calls while all keys are listed <= x1.5 of what the reader's own work costs", "%s; pages from elsewhere, %d: %s", seen, others.Load(), seenAlone)

	first, last := o.pages(t, ""), o.pages(t, fmt.Sprintf("K%011d", n-600))
	measured(t, float64(last) <= 2*float64(first), "the last page costs <= x2 of the first", "median page: first %.2f ms, last %.2f ms", ms(first), ms(last))
}

// pages is the median time of a page.
func (o *operator) pages(t *testing.T, after string) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 31 {
		began := time.Now()
		if err := o.do(t.Context(), http.MethodGet, "/admin/keys?limit=100&after="+after, "", &keyPage{}); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	return p50(took)
}

// adminBesideCalls: the admin API's p99 under as many calls as the gateway takes is within twice of that on the idle machine. The clients and
// the upstream have the lowest priority: they take what the gateway leaves them of one core, and it never waits for its turn behind them, as
// it would not if they had machines of their own.
func adminBesideCalls(t *testing.T, g *gateway) {
	o := newOperator(t, g)
	var keys atomic.Int64
	work := func(d time.Duration) (w window) {
		for end := time.Now().Add(d); time.Now().Before(end); {
			name := fmt.Sprintf("made-%d", keys.Add(1))
			for _, c := range []struct{ method, path, body string }{
				{http.MethodGet, "/admin/keys?limit=100", ""},
				{http.MethodPost, "/admin/keys", `{"name":"` + name + `","models":["gpt-*"]}`},
				{http.MethodGet, "/admin/keys/" + name, ""},
				{http.MethodPatch, "/admin/keys/" + name, `{"models":["gpt-4*"]}`},
				{http.MethodGet, "/admin/teams", ""},
				{http.MethodDelete, "/admin/keys/" + name, ""},
			} {
				began := time.Now()
				err := o.do(t.Context(), c.method, c.path, c.body, nil)
				w.took = append(w.took, time.Since(began))
				if err != nil {
					w.failed++
					w.first = cmp.Or(w.first, err.Error())
				}
			}
		}
		return w
	}
	rounds, length := sized(1, 8), sized(500*time.Millisecond, 6*time.Second)
	work(length / 4) // warm
	var ratios, rates, busy, own []float64
	var quiet, under window
	for range rounds {
		a := work(length)
		stop := fullLoad(t, g)
		began, idle, mine := time.Now(), idleTime(t), cpuTime(t, g.cmd.Process.Pid)
		b := work(length)
		took := time.Since(began).Seconds()
		busy = append(busy, 100-100*(idleTime(t)-idle)/took/float64(runtime.NumCPU()))
		own = append(own, (cpuTime(t, g.cmd.Process.Pid)-mine)/took)
		made, failed := stop()
		if failed > 0 || made == 0 {
			t.Errorf("%d of %d calls failed", failed, made)
		}
		rates = append(rates, float64(made)/took)
		ratios = append(ratios, float64(p99(b.took))/float64(p99(a.took)))
		quiet.add(a)
		under.add(b)
	}
	for _, list := range [][]float64{ratios, rates, busy, own} {
		slices.Sort(list)
	}
	half := rounds / 2
	holds(t, quiet.failed+under.failed == 0, "0 errors of the admin API", "%d errors of %d requests %s", quiet.failed+under.failed, len(quiet.took)+len(under.took), cmp.Or(quiet.first, under.first))
	measured(t, ratios[half] <= 2, "p99 of the admin API <= x2 under full load", "x%.2f (rounds %.2f to %.2f; all windows: p99 %.1f -> %.1f ms, p50 %.2f -> %.2f ms), beside %.0f calls a second; the cores %.0f %% busy, the gateway on %.2f of them",
		ratios[half], ratios[0], ratios[rounds-1], ms(p99(quiet.took)), ms(p99(under.took)), ms(p50(quiet.took)), ms(p50(under.took)), rates[half], busy[half], own[half])
}

// rushAt has this program, run again, make calls to the gateway there instead of tests.
const rushAt = "SLUICE_E2E_RUSH"

// fullLoad begins calls of 16 clients, each of which calls again as soon as it is answered, in a process of their own that gives way to all others.
func fullLoad(t *testing.T, g *gateway) (stop func() (made, failed int64)) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env, cmd.Stderr = append(os.Environ(), rushAt+"="+g.url), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	givesWay(t, cmd.Process.Pid)
	if _, err := io.WriteString(in, "\n"); err != nil {
		t.Fatal(err)
	}
	return func() (made, failed int64) {
		t.Helper()
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(out.String(), &made, &failed); err != nil {
			t.Fatalf("%v: %q", err, &out)
		}
		return made, failed
	}
}

// rush is that process: it begins at the first line of its standard input, ends with it, and tells how many calls it made and how many failed.
func rush(url string) {
	g := &gateway{url: url}
	lines := bufio.NewReader(os.Stdin)
	_, _ = lines.ReadString('\n')
	var made, failed atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	tr := &http.Transport{MaxIdleConnsPerHost: 16}
	body := chat("oai-echo", "ping", false)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for ctx.Err() == nil {
				if why := goodCall(ctx, tr, g, body); why != "" && ctx.Err() == nil {
					failed.Add(1)
				}
				made.Add(1)
			}
		})
	}
	_, _ = io.Copy(io.Discard, lines)
	cancel()
	all.Wait()
	fmt.Println(made.Load(), failed.Load())
}

// givesWay has a process run only when no other wants the core, and be put aside at once when one does: clients on machines of their own would
// not be in the way either. Where the kernel cannot be told so, it gets the lowest priority, with which it may still finish a slice of some
// milliseconds: all its threads, and so those that they start, and, where the kernel shares cores among sessions first (sched_autogroup), its
// session, which must be its own. It keeps to one core: a thread of the gateway that waits for its turn on one core is not moved at once to
// another on which such a process runs, as it would be to one that has nothing to do.
func givesWay(t *testing.T, pid int) {
	t.Helper()
	if !long { // nothing is measured, and other programs might leave it nothing at all
		return
	}
	var ours, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		t.Fatal(err)
	}
	first := 0
	for !ours.IsSet(first) {
		first++
	}
	one.Set(first)
	why := inIdleGroup(t, pid)
	if why != nil {
		say("  process %d gets the lowest priority only: %v", pid, why)
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		id, wrong := strconv.Atoi(task.Name())
		if wrong == nil {
			wrong = unix.SchedSetaffinity(id, &one)
		}
		if wrong == nil && why != nil {
			wrong = syscall.Setpriority(syscall.PRIO_PROCESS, id, 19)
		}
		if !errors.Is(wrong, syscall.ESRCH) { // a thread may have ended
			err = errors.Join(err, wrong)
		}
	}
	group := fmt.Sprintf("/proc/%d/autogroup", pid)
	if _, none := os.Stat(group); none == nil && why != nil {
		err = errors.Join(err, os.WriteFile(group, []byte("19"), 0))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// inIdleGroup puts a process into a control group of its own that is idle (cpu.idle), which root can.
func inIdleGroup(t *testing.T, pid int) (err error) {
	t.Helper()
	for _, parent := range []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup"} { // versions 1 and 2
		dir, wrong := os.MkdirTemp(parent, "sluice-e2e-")
		if wrong != nil {
			err = wrong
			continue
		}
		t.Cleanup(func() {
			if rest, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")); len(rest) > 0 {
				_ = os.WriteFile(filepath.Join(parent, "cgroup.procs"), fmt.Append(nil, pid), 0)
			}
			if err := os.Remove(dir); err != nil {
				t.Errorf("a control group stays: %v", err)
			}
		})
		if err = os.WriteFile(filepath.Join(dir, "cpu.idle"), []byte("1"), 0); err != nil {
			continue
		}
		if err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0); err == nil {
			return nil
		}
	}
	return err
}

// tick is a hundredth of a second, in which the kernel tells processor time.
const tick = 0.01

// idleTime is for how many seconds the cores have had nothing to do, all together.
func idleTime(t *testing.T) float64 {
	t.Helper()
	return processorTime(t, "/proc/stat", 4, 5)
}

// cpuTime is for how many seconds a process has been on cores.
func cpuTime(t *testing.T, pid int) float64 {
	t.Helper()
	return processorTime(t, fmt.Sprintf("/proc/%d/stat", pid), 13, 14)
}

// processorTime adds up words of a file's first line.
func processorTime(t *testing.T, file string, at ...int) (seconds float64) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	words := strings.Fields(line)
	for _, i := range at {
		n, err := strconv.ParseFloat(words[i], 64)
		if err != nil {
			t.Fatalf("%s: %q", file, line)
		}
		seconds += n * tick
	}
	return seconds
}
