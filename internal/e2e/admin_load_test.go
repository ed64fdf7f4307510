package e2e

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/pgtest"
)

// TestAdminUnderLoad: the admin API and the data plane do not hurt one another, with as many keys as a large gateway has.
func TestAdminUnderLoad(t *testing.T) {
	for _, store := range []string{"SQLite", "PostgreSQL"} {
		t.Run("admin and calls, "+store, func(t *testing.T) {
			say("admin and calls, %s", store)
			dsn := ""
			begin := func() *gateway {
				if store == "SQLite" {
					return rig(t, "", nil)
				}
				dsn = pgtest.Database(t)
				return rig(t, fmt.Sprintf("store: {url: %q}\n", dsn), nil)
			}
			neighbour := begin()
			g := begin()
			n := sized(20_000, 1_000_000)
			fillKeys(t, g, dsn, n)
			listBesideCalls(t, g, n)
			adminBesideCalls(t, g, neighbour)
		})
	}
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
	for _, q := range []string{
		fmt.Sprintf("INSERT INTO keys (id, name, spec, maker, created, updated, version, org_id, hash) SELECT "+id+", 'k' || i, '{\"models\":[\"gpt-*\"]}', '', 0, 0, 1, 'default', "+hash+" FROM ("+numbers+") numbers", n),
		"INSERT INTO key_hashes (hash, key_id) SELECT hash, id FROM keys WHERE id LIKE 'K%'",
		"ANALYZE",
	} {
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

// adminBesideCalls: the admin API's p99 under as many calls as the gateway takes is within twice of that while another gateway, of the same
// kind of store, takes them: the calls, their upstream, the clients and the store share the machine with the admin API, and what that costs it
// is the machine's; what is looked for is that it waits for nothing of the calls inside the gateway.
func adminBesideCalls(t *testing.T, g, neighbour *gateway) {
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
	rounds, length := sized(1, 6), sized(500*time.Millisecond, 6*time.Second)
	work(length / 4) // warm
	during := func(g *gateway) window {
		calls, stop := fullLoad(t, g)
		w := work(length)
		stop()
		if calls.failed.Load() > 0 {
			t.Errorf("%d of %d calls failed", calls.failed.Load(), calls.made.Load())
		}
		return w
	}
	var ratios []float64
	var quiet, busy, under window
	for range rounds {
		quiet.add(work(length / 2))
		a, b := during(neighbour), during(g)
		ratios = append(ratios, float64(p99(b.took))/float64(p99(a.took)))
		busy.add(a)
		under.add(b)
	}
	slices.Sort(ratios)
	failed := quiet.failed + busy.failed + under.failed
	holds(t, failed == 0, "0 errors of the admin API", "%d errors of %d requests %s", failed, len(busy.took)+len(under.took), cmp.Or(busy.first, under.first))
	measured(t, ratios[len(ratios)/2] <= 2, "p99 of the admin API <= x2 under full load, of that while a neighbour has the load", "x%.2f (rounds %.2f to %.2f; all windows: p99 %.1f -> %.1f ms, p50 %.2f -> %.2f ms; on a quiet machine p99 %.1f, p50 %.2f ms)",
		ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], ms(p99(busy.took)), ms(p99(under.took)), ms(p50(busy.took)), ms(p50(under.took)), ms(p99(quiet.took)), ms(p50(quiet.took)))
}

// A rush is calls made as fast as they are answered.
type rush struct{ made, failed atomic.Int64 }

// fullLoad begins it, with more clients than the machine has cores.
func fullLoad(t *testing.T, g *gateway) (l *rush, stop func()) {
	t.Helper()
	l = &rush{}
	ctx, cancel := context.WithCancel(t.Context())
	tr := &http.Transport{MaxIdleConnsPerHost: 16}
	body := chat("oai-echo", "ping", false)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for ctx.Err() == nil {
				if why := goodCall(ctx, tr, g, body); why != "" && ctx.Err() == nil {
					l.failed.Add(1)
				}
				l.made.Add(1)
			}
		})
	}
	return l, func() { cancel(); all.Wait(); tr.CloseIdleConnections() }
}
