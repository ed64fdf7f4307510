package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rushers are what became of the calls of clients who come back a little later when they are refused.
type rushers struct {
	answered, refused, failed atomic.Int64
	mu                        sync.Mutex
	took                      []time.Duration // of those answered
	why                       string          // the first failure
}

// run has clients call for a while, each again as soon as it is answered.
func (c *rushers) run(ctx context.Context, g *gateway, clients int, body string, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				c.once(ctx, g, body)
			}
		})
	}
	all.Wait()
}

func (c *rushers) once(ctx context.Context, g *gateway, body string) {
	began := time.Now()
	// A call that has begun is let end: who is cut off at the end of the window says nothing.
	req, _ := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+key)
	status, retry, text := 0, "", ""
	resp, err := streamClient.RoundTrip(req)
	if err == nil {
		var out []byte
		out, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		status, retry, text = resp.StatusCode, resp.Header.Get("Retry-After"), string(out)
	}
	switch {
	case err == nil && status == http.StatusOK && strings.Contains(text, "seen"):
		c.answered.Add(1)
		c.mu.Lock()
		c.took = append(c.took, time.Since(began))
		c.mu.Unlock()
	case err == nil && status == http.StatusServiceUnavailable && retry != "" && strings.Contains(text, "limits.memory"):
		c.refused.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	default:
		c.failed.Add(1)
		c.mu.Lock()
		if c.why == "" {
			c.why = fmt.Sprintf("%d %v %.200s", status, err, text)
		}
		c.mu.Unlock()
	}
}

// memoryOverload is R32: four times as many large requests as there is memory for. Those that fit are served as before, the others refused
// at once; short calls, health checks and the admin API notice nothing.
func memoryOverload(t *testing.T, _ *rand.Rand) {
	limit, size := sized(128, 512)<<20, 2<<20-4096 // its buffer has 2 MiB
	g, err := serve(t.TempDir(), memoryConfig(t), fmt.Sprintf("GOMEMLIMIT=%d", limit))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	fit := limit / 2 / 4 * 3 / (4<<20 + 64<<10) // three quarters of half of the limit, in calls
	image := base64.StdEncoding.EncodeToString(make([]byte, size/4*3-600))
	body := `{"model":"wait","messages":[{"role":"user","content":[{"type":"text","text":"what is it?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` + image + `"}}]}]}`
	window := sized(2*time.Second, 20*time.Second)

	var peak, over, small rushers
	peak.run(t.Context(), g, fit, body, window)
	resetPeak(t, g.process)
	ctx, stop := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	var asked, silent atomic.Int64
	beside.Go(func() { small.run(ctx, g, 4, chat("short", "ping", false), time.Hour) })
	beside.Go(func() {
		for ctx.Err() == nil {
			for _, url := range []string{g.url + "/health", g.url + "/ready", "http://" + g.admin + "/admin/teams"} {
				asked.Add(1)
				req, _ := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url, http.NoBody)
				resp, err := streamClient.RoundTrip(req)
				if err != nil || resp.StatusCode != http.StatusOK {
					silent.Add(1)
					t.Logf("%s: %v %v", url, resp, err)
				}
				if err == nil {
					_ = resp.Body.Close()
				}
			}
		}
	})
	over.run(t.Context(), g, 4*fit, body, window)
	stop()
	beside.Wait()
	resident := memory(t, g.process, "VmHWM:")
	holds(t, peak.failed.Load()+peak.refused.Load() == 0, "all served that fit", "%d large calls at a time: %d answered, %d refused, %d failed %s", fit, peak.answered.Load(), peak.refused.Load(), peak.failed.Load(), peak.why)
	holds(t, over.refused.Load() > 0 && over.failed.Load() == 0, "the others get a 503 with Retry-After", "%d at a time: %d answered, %d refused, %d failed %s", 4*fit, over.answered.Load(), over.refused.Load(), over.failed.Load(), over.why)
	holds(t, small.answered.Load() > 0 && small.failed.Load()+small.refused.Load() == 0, "short calls pass", "%d answered, %d refused, %d failed %s", small.answered.Load(), small.refused.Load(), small.failed.Load(), small.why)
	holds(t, silent.Load() == 0 && asked.Load() > 0, "health and admin stay up", "%d of %d requests failed", silent.Load(), asked.Load())
	holds(t, resident <= int64(limit), "peak RSS <= GOMEMLIMIT", "%.0f MB of %.0f MB", mb(resident), mb(int64(limit)))
	if n := g.metric(t, "sluice_requests_memory_bytes"); n != 0 {
		t.Errorf("%v bytes stay taken", n)
	}
	goodput := float64(over.answered.Load()) / float64(max(peak.answered.Load(), 1))
	measured(t, goodput >= 0.8, "goodput at four times the load >= 80 % of the best", "%.0f %%", 100*goodput)
	if len(peak.took) > 0 && len(over.took) > 0 {
		measured(t, p99(over.took) <= 2*p99(peak.took), "p99 of those admitted <= x2", "x%.2f (%.0f -> %.0f ms)", float64(p99(over.took))/float64(p99(peak.took)), ms(p99(peak.took)), ms(p99(over.took)))
	}
}

// memoryConfig has a model that takes its time and one that answers at once.
func memoryConfig(t *testing.T) string {
	t.Helper()
	p, addr, err := startMock(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return mockConfig("http://"+addr) + fmt.Sprintf("  - {name: wait, provider: oai, model: %q}\n  - {name: short, provider: oai, model: %q}\n",
		"echo?text=seen&latency="+sized(300*time.Millisecond, time.Second).String(), "echo?text=seen")
}
