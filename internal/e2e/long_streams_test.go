package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A watched is what a client saw of a stream.
type watched struct {
	ended  bool // as its format ends a complete answer
	pings  int
	silent time.Duration // the longest time without a byte
	tail   string
	err    error
}

// watch reads a stream to its end. begun is called once its first line is there.
func watch(ctx context.Context, g *gateway, path, body, end, ping string, begun func()) (w watched) {
	var once sync.Once
	defer once.Do(begun)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+path, strings.NewReader(body))
	if err != nil {
		return watched{err: err}
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := streamClient.RoundTrip(req)
	if err != nil {
		return watched{err: err}
	}
	defer resp.Body.Close()
	last := time.Now()
	r := bufio.NewReader(resp.Body)
	for {
		line, err := r.ReadString('\n')
		now := time.Now()
		w.silent, last = max(w.silent, now.Sub(last)), now
		once.Do(begun)
		switch {
		case strings.HasPrefix(line, end):
			w.ended = true
		case strings.HasPrefix(line, ping):
			w.pings++
		}
		if strings.TrimSpace(line) != "" {
			w.tail = line
		}
		if err != nil {
			if err != io.EOF {
				w.err = err
			}
			return w
		}
	}
}

// streamClient has a connection for each stream.
var streamClient = &http.Transport{DisableKeepAlives: true}

// slowDrip is R4: streams that drip for 20 minutes are not cut, and those that are silent for long are kept alive. It
// begins at once; the result waits for the end.
func slowDrip(t *testing.T, seed uint64) (finish func(*testing.T)) {
	n, life := sized(10, 100), sized(3*time.Second, 20*time.Minute)
	pace, pause, keepAlive := sized(200*time.Millisecond, 2*time.Second), sized(900*time.Millisecond, 20*time.Second), sized(300*time.Millisecond, 15*time.Second)
	settings := fmt.Sprintf("timeouts: {total: 1h, idle: 1m, keep_alive_comment: %v}\n", keepAlive)
	p, addr, err := startMock(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	config := settings + mockConfig("http://"+addr)
	for _, u := range upstreams {
		for name, every := range map[string]time.Duration{"drip": pace, "pause": pause} {
			config += fmt.Sprintf("  - {name: %s-%s, provider: %s, model: \"story?words=1300&chunks=%d&pace=%v\"}\n", u.name, name, u.name, life/every, every)
		}
	}
	g := started(t, config)
	ctx, cancel := context.WithCancel(t.Context())
	rnd := rand.New(rand.NewPCG(seed, 4))
	results := make(chan watched, n)
	var open, ended atomic.Int64
	begin := time.Now()
	for i := range n {
		name := upstreams[rnd.IntN(len(upstreams))].name + map[bool]string{true: "-drip", false: "-pause"}[i%4 != 0]
		path, body, end, ping := "/v1/chat/completions", chat(name, fmt.Sprint(i), true), "data: [DONE]", ":"
		if i%2 == 1 {
			path, body, end, ping = "/v1/messages", strings.Replace(chat(name, fmt.Sprint(i), true), "{", `{"max_tokens":100000,`, 1), "event: message_stop", "event: ping"
		}
		go func() {
			results <- watch(ctx, g, path, body, end, ping, func() { open.Add(1) })
			ended.Add(1)
		}()
	}
	return func(t *testing.T) {
		defer cancel()
		stop := progress(time.Minute, func() string {
			return fmt.Sprintf("R4: %v of %v, %d streams begun, %d ended", time.Since(begin).Round(time.Second), life, open.Load(), ended.Load())
		})
		defer stop()
		cut, pings := 0, 0
		var silent time.Duration
		for range n {
			w := <-results
			pings += w.pings
			silent = max(silent, w.silent)
			if !w.ended || w.err != nil {
				cut++
				t.Logf("cut: %v after %q", w.err, w.tail)
			}
		}
		served := mockLog(t, "http://"+addr, n)
		complete := 0
		for _, e := range served {
			if e.Outcome == "complete" {
				complete++
			}
		}
		holds(t, cut == 0 && complete == n, fmt.Sprintf("0 of %d cut", n), "%d of %d cut, %d complete in the upstream's log, after %v", cut, n, complete, time.Since(begin).Round(time.Second))
		holds(t, pings >= n/4, "silent streams get comments", "%d keep-alive comments", pings)
		measured(t, silent <= keepAlive+time.Second, "a client never waits 16 s for a byte", "longest silence %.1f s", silent.Seconds())
	}
}

// served is what the mock's log says of a call.
type servedCall struct {
	Model, Outcome, Fault, Path string
	Status                      int
	Start                       time.Time
	End                         float64 `json:"end_ms"`
	Bytes                       int64
	Head                        http.Header `json:"request_head"` // this and the next only with --capture
	Body                        string      `json:"request_body"`
}

// mockLog reads it once n calls are in it.
func mockLog(t *testing.T, mock string, n int) []servedCall {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("%s/log?await=%d", mock, n)) //nolint:noctx // the mock waits 10 s at most
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var log struct{ Entries []servedCall }
	if err := json.NewDecoder(resp.Body).Decode(&log); err != nil {
		t.Fatal(err)
	}
	return log.Entries
}

// stalledReaders is R31: half of the readers of many streams stop reading. The upstream is held back, and memory does not grow
// while they stand.
func stalledReaders(t *testing.T, _ *rand.Rand) {
	n := sized(40, 1000)
	lives := sized(2*time.Second, 60*time.Second)
	g, mock := rigAndMock(t, "limits: {write_stall: 5m}\n", map[string]string{
		"fast": fmt.Sprintf("story?words=6000&chunks=%d&pace=100ms", lives/(100*time.Millisecond)), "stalled": "story?size=16MB&chunks=2000",
	})
	_, _, warm := call(t, g, http.MethodPost, "/v1/chat/completions", chat("stalled", "go on", true)) // the mock makes the answer once
	whole := int64(len(warm))
	conns := make(chan net.Conn, n)
	results := make(chan watched, n)
	var begun sync.WaitGroup
	for i := range n {
		begun.Add(1)
		if i%2 == 0 {
			go func() {
				results <- watch(t.Context(), g, "/v1/chat/completions", chat("fast", "go on", true), "data: [DONE]", ":", begun.Done)
			}()
			continue
		}
		go func() {
			defer begun.Done()
			c, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.(*net.TCPConn).SetReadBuffer(32 << 10)
			_, _ = io.WriteString(c, rawCall("/v1/chat/completions", chat("stalled", "go on", true)))
			if k, err := c.Read(make([]byte, 12)); err != nil || k == 0 {
				t.Errorf("a stream did not begin: %v", err)
			}
			conns <- c
		}()
	}
	begun.Wait()
	first := settled(t, g.process)
	stop := progress(20*time.Second, func() string { return fmt.Sprintf("%.0f MB resident", mb(memory(t, g.process, "VmRSS:"))) })
	cut := 0
	for range n - n/2 {
		if w := <-results; !w.ended || w.err != nil {
			cut++
			t.Logf("cut: %v after %q", w.err, w.tail)
		}
	}
	stop()
	last := memory(t, g.process, "VmRSS:")
	peak := memory(t, g.process, "VmHWM:")
	close(conns)
	for c := range conns {
		_ = c.Close()
	}
	through := 0 // stalled streams whose upstream was not held back
	for _, e := range mockLog(t, mock, n+1) {
		if strings.Contains(e.Model, "16MB") && e.Bytes >= whole {
			through++
		}
	}
	through-- // the first, which was read
	holds(t, cut == 0, "those who read lose nothing", "%d of %d reading streams cut", cut, n-n/2)
	holds(t, through == 0, "the upstream is held back", "%d of %d upstreams could write their whole answer", through, n/2)
	measured(t, peak <= 256<<20, "peak RSS <= 256 MB (268 MB decimal)", "%d streams, half stalled: peak %.0f MB", n, mb(peak))
	measured(t, last <= first+first/10, "no growth with stalled time (10 % for the collector)", "%.0f MB, after %v %.0f MB", mb(first), lives, mb(last))
}

// drainStreams is R34: SIGTERM with many streams open ends none of them.
func drainStreams(t *testing.T, rnd *rand.Rand) {
	n, least, most := sized(20, 200), sized(500*time.Millisecond, 5*time.Second), sized(2*time.Second, time.Minute)
	const pace = 100 * time.Millisecond
	models := map[string]string{}
	for i := range n {
		life := least + time.Duration(rnd.Int64N(int64(most-least)))
		models[fmt.Sprintf("life-%d", i)] = fmt.Sprintf("story?words=1000&chunks=%d&pace=%v", life/pace+1, pace)
	}
	g := rig(t, "limits: {drain: 2m}\n", models)
	results := make(chan watched, n)
	var begun sync.WaitGroup
	var ended atomic.Int64
	for i := range n {
		begun.Add(1)
		go func() {
			results <- watch(t.Context(), g, "/v1/chat/completions", chat(fmt.Sprintf("life-%d", i), "x", true), "data: [DONE]", ":", begun.Done)
			ended.Add(1)
		}()
	}
	begun.Wait()
	openAtStop := n - int(ended.Load())
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	refused := refusesConnections(g.addr)
	stop := progress(15*time.Second, func() string { return fmt.Sprintf("%d of %d streams ended", ended.Load(), n) })
	defer stop()
	dropped := 0
	for range n {
		if w := <-results; !w.ended || w.err != nil {
			dropped++
			t.Logf("dropped: %v after %q", w.err, w.tail)
		}
	}
	last := time.Now()
	<-g.done
	holds(t, dropped == 0 && openAtStop >= sized(1, n*9/10), "0 dropped", "%d of %d open streams dropped", dropped, openAtStop)
	holds(t, refused, "no new work", "new connections refused while it drains: %v", refused)
	holds(t, g.err == nil, "it ends well", "exit %d, %v after the last stream", g.cmd.ProcessState.ExitCode(), time.Since(last).Round(time.Millisecond))
}

// refusesConnections tells whether new connections come to be refused.
func refusesConnections(addr string) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 300 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return true
		}
		_ = c.Close()
		<-tick.C
	}
	return false
}
