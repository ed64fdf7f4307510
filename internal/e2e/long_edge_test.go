package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hugeAnswers is R13: what an upstream sends beyond the limits costs a 502 and bounded memory, and others do not notice.
func hugeAnswers(t *testing.T, _ *rand.Rand) {
	huge := map[string]string{"pad": "echo?pad=100MB", "gzip": "echo?gzip=1GB", "head": "echo?head=1MB", "heads": "echo?heads=10000", "more": "echo?length=%2B10", "less": "echo?length=-10"}
	g, mock := rigAndMock(t, "", huge)
	cases := []struct {
		model  string
		stream bool
	}{{"pad", false}, {"pad", true}, {"gzip", false}, {"gzip", true}, {"head", false}, {"heads", false}, {"more", false}, {"less", false}}
	for range 20 {
		call(t, g, http.MethodPost, "/v1/chat/completions", chat("oai-echo", "ping", false))
	}
	bad := 0
	var most int64
	for _, c := range cases {
		before := settled(t, g.process)
		resetPeak(t, g.process)
		if status, _, out := call(t, g, http.MethodPost, "/v1/chat/completions", chat(c.model, "ping", c.stream)); status != http.StatusBadGateway {
			bad++
			t.Logf("%s stream=%v: %d %.200s", c.model, c.stream, status, out)
		}
		grown := memory(t, g.process, "VmHWM:") - before
		t.Logf("%s stream=%v: the peak is %.1f MB above what was resident before", c.model, c.stream, mb(grown))
		most = max(most, grown)
	}
	holds(t, bad == 0, "502 each", "%d of %d answers beyond a limit were not 502", bad, len(cases))
	measured(t, most <= 64<<20, "RSS growth <= 64 MiB (67 MB) a request", "at most %.0f MB", mb(most))
	// The mock and the load share the machine with the gateway, and 100 MB cost them more than it: the same answers taken from the
	// mock itself, as far as the gateway reads them, tell how much of the difference is theirs.
	again := func(url string, models func(string) string) func() (stop func()) {
		return func() (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			var ended sync.WaitGroup
			ended.Go(func() {
				tick := time.NewTicker(250 * time.Millisecond)
				defer tick.Stop()
				for i := 0; ctx.Err() == nil; i++ {
					c := cases[i%len(cases)]
					takeSome(ctx, url, chat(models(c.model), "ping", c.stream))
					select {
					case <-tick.C:
					case <-ctx.Done():
					}
				}
			})
			return func() { cancel(); ended.Wait() }
		}
	}
	pairs, length := sized(1, 40), sized(500*time.Millisecond, time.Second)
	alone, seenAlone := beside(t, g, pairs, length, again(mock, func(m string) string { return huge[m] }))
	ratio, seen := beside(t, g, pairs, length, again(g.url, func(m string) string { return m }))
	measured(t, ratio <= 1.5*max(1, alone), "p99 of good traffic <= x1.5 of what the mock's own work costs", "%s; the same answers past the gateway: %s", seen, seenAlone)
}

// takeSome reads an answer as far as the gateway would.
func takeSome(ctx context.Context, url, body string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := streamClient.RoundTrip(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Encoding") == "" {
		_, _ = io.CopyN(io.Discard, resp.Body, 32<<20)
	}
}

// slowSenders is R28: thousands of connections send a byte now and then, or do not read. They are cut off, and others do not
// notice.
func slowSenders(t *testing.T, rnd *rand.Rand) {
	n, timeout := sized(200, 2000), sized(time.Second, 10*time.Second)
	g := rig(t, fmt.Sprintf("limits: {header_timeout: %v}\n", timeout), map[string]string{"large": "story?size=4MB&chunks=1000"})
	call(t, g, http.MethodPost, "/v1/chat/completions", chat("large", "x", true)) // the mock makes the answer once
	var lasted ages
	ratio, seen := beside(t, g, sized(1, 12), sized(500*time.Millisecond, 5*time.Second), func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		for range n {
			s := &slow{g: g, every: timeout, lasted: &lasted, delay: time.Duration(rnd.Int64N(int64(timeout)))}
			switch k := rnd.IntN(100); {
			case k < 5:
				s.head = rawCall("/v1/chat/completions", chat("large", "x", true))
				s.reads = false
			case k < 20:
				whole := rawCall("/v1/chat/completions", chat("oai-echo", strings.Repeat("x", 2000), false))
				s.head, s.reads = whole[:len(whole)-1500], true
			default:
				s.head, s.reads, s.header = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ", true, true
			}
			ended.Go(func() { s.run(ctx) })
		}
		select { // until the first have been cut off and have come again
		case <-time.After(timeout + timeout/10):
		case <-ctx.Done():
		}
		return func() { cancel(); ended.Wait() }
	})
	measured(t, ratio <= 1.2, "p99 of good traffic <= x1.2", "%s", seen)
	holds(t, lasted.cut.Load() > 0, "they are cut off", "%d slow headers were cut off by the gateway", lasted.cut.Load())
	measured(t, lasted.longest() <= timeout+time.Second, "header timeout <= 10 s (and 1 s for the machine)", "the longest lasted %.1f s", lasted.longest().Seconds())
}

// ages is how long slow connections lasted until the gateway ended them.
type ages struct {
	cut  atomic.Int64
	mu   sync.Mutex // guards most
	most time.Duration
}

func (a *ages) add(d time.Duration) {
	a.cut.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.most = max(a.most, d)
}

func (a *ages) longest() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.most
}

// A slow client sends a byte now and then. When it is cut off, it comes again.
type slow struct {
	g      *gateway
	head   string
	reads  bool // what it is sent
	header bool // it is still within its header
	every  time.Duration
	delay  time.Duration // before it begins
	lasted *ages
}

func (s *slow) run(ctx context.Context) {
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return
	}
	for ctx.Err() == nil {
		s.once(ctx)
	}
}

func (s *slow) once(ctx context.Context) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.g.addr)
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	begun := time.Now()
	if !s.reads {
		_ = c.(*net.TCPConn).SetReadBuffer(32 << 10)
	}
	if _, err := io.WriteString(c, s.head); err != nil {
		return
	}
	if !s.reads {
		<-ctx.Done()
		return
	}
	for {
		_ = c.SetReadDeadline(time.Now().Add(s.every))
		_, err := c.Read(make([]byte, 512))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
		case err != nil:
			if s.header && ctx.Err() == nil {
				s.lasted.add(time.Since(begun))
			}
			return
		}
	}
}

// idleConnections is R29: connections that do nothing cost little, and another one is accepted at once.
func idleConnections(t *testing.T, _ *rand.Rand) {
	kept, streams := sized(300, 10_000), sized(50, 1000)
	g := rig(t, "limits: {idle_timeout: 30m}\ntimeouts: {idle: 1h, total: 1h}\n", map[string]string{"idle": "echo?chunks=2&stall=1h@2"})
	traffic(t, g, 200, sized(200*time.Millisecond, 5*time.Second)) // warm
	before := accepts(t, g)
	empty := settled(t, g.process)
	idle := open(t, g, kept, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", func(c net.Conn) error {
		resp, err := http.ReadResponse(bufio.NewReaderSize(c, 512), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
	defer idle()
	full := settled(t, g.process)
	measured(t, (full-empty)/int64(kept) <= 20<<10, "<= 20 KiB an idle connection", "%d connections: %.1f KiB each (%.0f -> %.0f MB)", kept, float64(full-empty)/float64(kept)/1024, mb(empty), mb(full))
	busy := open(t, g, streams, rawCall("/v1/chat/completions", chat("idle", "one two three", true)), func(c net.Conn) error {
		r := bufio.NewReaderSize(c, 512)
		for {
			line, err := r.ReadString('\n')
			if err != nil || strings.HasPrefix(line, "data: ") {
				return err
			}
		}
	})
	defer busy()
	flowing := settled(t, g.process)
	measured(t, (flowing-full)/int64(streams) <= 64<<10, "<= 64 KiB a stream that waits", "%d streams beside them: %.1f KiB each (%.0f -> %.0f MB)", streams, float64(flowing-full)/float64(streams)/1024, mb(full), mb(flowing))
	after := accepts(t, g)
	measured(t, p99(after) <= 5*time.Millisecond, "accept and answer <= 5 ms", "p50 %.2f ms, p99 %.2f ms (before: %.2f, %.2f)", ms(p50(after)), ms(p99(after)), ms(p50(before)), ms(p99(before)))
	status, _, out := call(t, g, http.MethodPost, "/v1/chat/completions", chat("oai-echo", "ping", false))
	holds(t, status == http.StatusOK, "calls are served", "a call beside them: %d", status)
	if status != http.StatusOK {
		t.Logf("%s", out)
	}
}

// open opens n connections, sends each the same and reads until ready returns. The result closes them.
func open(t *testing.T, g *gateway, n int, send string, ready func(net.Conn) error) (closeAll func()) {
	t.Helper()
	conns := make([]net.Conn, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				c, err := net.Dial("tcp", g.addr)
				if err != nil {
					t.Error(err)
					return
				}
				conns[i] = c
				if _, err := io.WriteString(c, send); err != nil {
					t.Error(err)
				}
				if err := ready(c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	return func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}
}

// accepts gives how long new connections take to get an answer.
func accepts(t *testing.T, g *gateway) (took []time.Duration) {
	t.Helper()
	for range sized(20, 300) {
		begin := time.Now()
		open(t, g, 1, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", func(c net.Conn) error {
			_, err := c.Read(make([]byte, 512))
			return err
		})()
		took = append(took, time.Since(begin))
	}
	return took
}

// largeImages is R33: many large requests at once cost a bounded multiple of their own bytes; larger ones are refused.
func largeImages(t *testing.T, _ *rand.Rand) {
	n, size := sized(8, 50), sized(1<<20, 20<<20)
	g := rig(t, "timeouts: {total: 10m}\n", map[string]string{"wait": fmt.Sprintf("echo?text=seen&latency=%v", sized(time.Second, 30*time.Second))})
	image := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xa5, 0x5a, 0x3c}, size/3))
	ask := func(image string) string {
		return `{"model":"wait","messages":[{"role":"user","content":[{"type":"text","text":"what is it?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` + image + `"}}]}]}`
	}
	body := ask(image)
	resetPeak(t, g.process)
	var all sync.WaitGroup
	var failed atomic.Int64
	stop := progress(15*time.Second, func() string { return fmt.Sprintf("%.0f MB resident", mb(memory(t, g.process, "VmRSS:"))) })
	defer stop()
	for range n {
		all.Go(func() {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(body))
			req.Header.Set("Authorization", "Bearer "+key)
			resp, err := streamClient.RoundTrip(req)
			if err != nil {
				failed.Add(1)
				t.Log(err)
				return
			}
			defer resp.Body.Close()
			if out, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(out, []byte("seen")) {
				failed.Add(1)
				t.Logf("%d %v %.200s", resp.StatusCode, err, out)
			}
		})
	}
	all.Wait()
	peak, inFlight := memory(t, g.process, "VmHWM:"), int64(n*len(body))
	holds(t, failed.Load() == 0, "all answered", "%d of %d calls with an image of %d MiB failed", failed.Load(), n, size>>20)
	measured(t, peak <= 3*inFlight, "peak RSS <= 3x the bytes in flight", "x%.2f: %.0f MB for %.0f MB", float64(peak)/float64(inFlight), mb(peak), mb(inFlight))
	refused := 0
	for range 10 {
		if status, _, _ := call(t, g, http.MethodPost, "/v1/chat/completions", ask(strings.Repeat("A", 33<<20))); status == http.StatusRequestEntityTooLarge {
			refused++
		}
	}
	holds(t, refused == 10, "413 beyond limits.body", "%d of 10 calls of 33 MiB got their 413", refused)
}
