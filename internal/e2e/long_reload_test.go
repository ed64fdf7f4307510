package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reloads is R36: the configuration changes again and again under load, every third time to a broken one. No call fails, and
// each, streamed or not, sees one configuration: the model's script and the provider's header have the same version.
func reloads(t *testing.T, rnd *rand.Rand) {
	n, every := sized(6, 60), sized(300*time.Millisecond, time.Second)
	p, addr, err := startMock(t.TempDir(), "--capture", "200", "--log", "1000000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	version := func(v int) string {
		return fmt.Sprintf("providers:\n  - {name: oai, kind: openai, base_url: \"http://%s/v1\", api_key: upstream-secret, allow_private: [127.0.0.1/32], headers: {X-Version: \"v%d\"}}\n"+
			"models:\n  - {name: pet, provider: oai, model: \"echo?text=v%[2]d%%20v%[2]d%%20v%[2]d&chunks=3&pace=%[3]dms\"}\n", addr, v, rnd.IntN(30))
	}
	dir := t.TempDir()
	g, err := serve(dir, version(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	file := filepath.Join(dir, "sluice.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := bytes.Cut(text, []byte("providers:"))
	var load loadUnderReload
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() { load.run(t, g, stop, i%2 == 0) })
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	shown := progress(10*time.Second, func() string { return fmt.Sprintf("%d calls, %d failed", load.calls.Load(), load.failed.Load()) })
	broken := 0
	for i := 1; i <= n; i++ {
		<-tick.C
		doc := version(i)
		if i%3 == 0 {
			broken++
			doc = version(i) + "nonsense: [\n"
		}
		if err := os.WriteFile(file, append(bytes.Clone(head), doc...), 0o600); err != nil {
			t.Fatal(err)
		}
		wantReloads(t, g, i)
	}
	close(stop)
	workers.Wait()
	shown()
	mixed, versions := 0, map[string]bool{}
	for _, e := range mockLog(t, "http://"+addr, int(load.calls.Load())) {
		v := e.Head.Get("X-Version")
		versions[v] = true
		if !strings.Contains(e.Model, "text="+v+"%20") {
			mixed++
			t.Logf("header %s, script %s", v, e.Model)
		}
	}
	good := g.count("configuration replaced")
	bad := g.count("the old one stays")
	holds(t, load.failed.Load() == 0, "0 errors", "%d of %d calls failed", load.failed.Load(), load.calls.Load())
	holds(t, mixed == 0 && load.mixed.Load() == 0, "0 mixed", "%d calls mixed two configurations; %d answers; %d versions seen upstream", mixed, load.mixed.Load(), len(versions))
	holds(t, good == n-broken && bad == broken, "each change taken or refused", "%d taken, %d of %d broken ones refused", good, bad, broken)
}

// wantReloads waits until n changes have been noticed.
func wantReloads(t *testing.T, g *gateway, n int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if g.count("configuration replaced")+g.count("the old one stays") >= n {
			return
		}
		<-tick.C
	}
	t.Fatalf("change %d was not noticed", n)
}

type loadUnderReload struct{ calls, failed, mixed atomic.Int64 }

// fail counts a failure and tells of the first few.
func (l *loadUnderReload) fail(t *testing.T, format string, args ...any) {
	if l.failed.Add(1) <= 5 {
		t.Logf(format, args...)
	}
}

func (l *loadUnderReload) run(t *testing.T, g *gateway, stop <-chan struct{}, stream bool) {
	body := chat("pet", "x", stream)
	for {
		select {
		case <-stop:
			return
		default:
		}
		l.calls.Add(1)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			l.fail(t, "%v", err)
			continue
		}
		out, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || stream && !bytes.Contains(out, []byte("data: [DONE]")) {
			l.fail(t, "%d %v %.300s", resp.StatusCode, err, out)
		} else if len(versionsIn(out)) != 1 {
			l.mixed.Add(1)
			t.Logf("versions %v in %.2000s", versionsIn(out), out)
		}
	}
}

// versionsIn are the different words v0, v1... of an answer's text.
func versionsIn(b []byte) map[string]bool {
	seen := map[string]bool{}
	for _, text := range contents.FindAllSubmatch(b, -1) {
		for w := range strings.FieldsSeq(string(text[1])) {
			seen[w] = true
		}
	}
	return seen
}

var contents = regexp.MustCompile(`"content": ?"([^"]*)"`)
