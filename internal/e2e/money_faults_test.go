package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/pgtest"
)

// storeAway is R25: the database is down, or locked, while calls are made. They go on, and no row is lost.
func storeAway(t *testing.T, rnd *rand.Rand, dsn string) {
	besides(t)
	away := sized(2*time.Second, time.Minute)
	var server *pgtest.Server
	if dsn != "" {
		server = pgtest.Start(t)
		dsn = server.Database(t)
	}
	s := newShop(t, rnd, dsn, "")
	s.open()
	c := &crowd{shop: s, seed: rnd.Uint64(), secrets: tillKeys, leave: 10, models: []string{"good", "good", "slow", "faulty"}}
	rate := sized(100, 200)
	warm, done := context.WithTimeout(t.Context(), sized(time.Second, 10*time.Second))
	c.run(warm, 0, rate)
	done()
	ctx, stop := context.WithTimeout(t.Context(), away+2*time.Second)
	defer stop()
	ended := make(chan struct{})
	before := c.made.Load()
	go func() { defer close(ended); c.run(ctx, 0, rate) }()
	back := s.takeAway(t, server)
	shown := progress(20*time.Second, c.state)
	lasts(t, away)
	during := c.made.Load() - before
	back()
	<-ended
	shown()
	refused, first := 0, ""
	for _, r := range c.byID() {
		if strings.Contains(r.body, "budget_unavailable") || strings.Contains(r.body, "ledger_full") {
			refused++
			first = r.body
		}
	}
	holds(t, refused == 0 && during > 0, "R25: calls go on without the store", "%d calls in %v without the store, %d of all refused for it %s", during, away, refused, first)
	s.settle(&audit{t: t}, c)
}

// takeAway makes the store unusable until back is called.
func (s *shop) takeAway(t *testing.T, server *pgtest.Server) (back func()) {
	t.Helper()
	if server != nil {
		server.Kill(t)
		return func() { server.Restart(t) }
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "data", "sluice.db")+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil) // nobody else may write
	if err != nil {
		t.Fatal(err)
	}
	return func() { _, _ = tx.Rollback(), db.Close() }
}

// diskFull is R25: the disk of the data directory is full. What the ledger cannot write down is refused, or by the operator's choice made all
// the same and told, call by call; nothing is lost in silence.
func diskFull(t *testing.T, rnd *rand.Rand, dsn string) {
	besides(t)
	if dsn != "" {
		t.Skip("the database is on another disk")
	}
	for _, policy := range []string{"refuse", "go_on"} {
		// Each rule is named in each record of a call: so few calls fill a log.
		settings := "ledger: {when_full: " + policy + "}\nrules:\n"
		budget := "{tokens: 1000000000, every: quarter, mode: soft}"
		for i := range 30 {
			settings += fmt.Sprintf("  - {name: %s%d, keys: [free, rich], budgets: [%s]}\n", strings.Repeat("long", 14), i, strings.Join([]string{budget, budget, budget}, ", "))
		}
		s := newShop(t, rnd, "", settings)
		s.dir = t.TempDir()
		data := filepath.Join(s.dir, "data")
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("sluice-e2e", data, "tmpfs", 0, "size=64m"); err != nil {
			t.Skipf("NOT TESTED: a full disk: a small file system cannot be mounted here: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })
		s.now.Store(&crew{s.begin(s.dir)})
		s.connect()
		s.fill(t, rnd, policy, data)
		s.gateway().stop()
	}
}

// fill uses up the disk, makes calls, and frees it.
func (s *shop) fill(t *testing.T, rnd *rand.Rand, policy, data string) {
	t.Helper()
	c := &crowd{shop: s, seed: rnd.Uint64(), secrets: tillKeys[:2], models: []string{"good"}}
	s.seldom(t, c, 50)
	ballast := filepath.Join(data, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	_ = f.Close()
	// Of a full log the next call tells; until then there is room that was kept.
	ctx, stop := context.WithTimeout(t.Context(), sized(20*time.Second, 2*time.Minute))
	full := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		n := 0
		for i := range c.receipts {
			if strings.Contains(c.receipts[i].body, "ledger_full") {
				n++
			}
		}
		return n > 50 || s.gateway().count("ledger dropped") > 50
	}
	ended := make(chan struct{})
	go func() { defer close(ended); c.run(ctx, 0, 2000) }()
	met := false
	for ctx.Err() == nil && !met {
		lasts(t, 100*time.Millisecond)
		met = full()
	}
	stop()
	<-ended
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if !met {
		t.Errorf("%s: the log was never full: %s", policy, c.state())
	}
	s.seldom(t, c, 50)
	dropped := s.told(t)
	if policy == "refuse" && len(dropped) > 0 {
		t.Errorf("%d ends dropped although calls are to be refused", len(dropped))
	}
	refused := 0
	for i := range c.receipts {
		if c.receipts[i].status == http.StatusServiceUnavailable {
			refused++
		}
	}
	if policy == "go_on" && refused > 0 {
		t.Errorf("%d calls refused although they are to go on", refused)
	}
	a := &audit{t: t, dropped: dropped}
	rows := s.rows()
	a.compare(s.truth(), rows, c.byID())
	for id := range dropped {
		if len(rows[id]) > 0 {
			t.Errorf("request %s was told as dropped, and has a row", id)
		}
	}
	holds(t, a.wrong == 0 && !t.Failed(), "R25: nothing lost in silence on a full disk", "%s: %d calls, %d refused, %d told as dropped, %d rows, %d wrong", policy, c.made.Load(), refused, len(dropped), len(rows), a.wrong)
}

// seldom makes calls one after the other until n are answered.
func (s *shop) seldom(t *testing.T, c *crowd, n int) {
	t.Helper()
	for i := 0; n > 0; i++ {
		r := c.wish(int(c.made.Add(1))).place(t.Context(), http.DefaultTransport, s.gateway())
		c.keep(r)
		if r.whole {
			n--
		} else if i > 1000 {
			t.Fatalf("no answers: %d %v %s", r.status, r.err, r.body)
		}
	}
}

// told waits until every call has its row or was told as dropped, and gives those. The log's lines come in batches.
func (s *shop) told(t *testing.T) map[string]bool {
	t.Helper()
	dropped := map[string]bool{}
	comes(func() bool {
		for line := range strings.SplitSeq(s.gateway().log(), "\n") {
			var l struct {
				Msg string
				ID  string `json:"request_id"`
			}
			if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "ledger dropped" {
				dropped[l.ID] = true
			}
		}
		rows := s.rows()
		for id := range s.truth() {
			if len(rows[id]) == 0 && !dropped[id] {
				return false
			}
		}
		return true
	})
	return dropped
}

// damagedLog is R27: the log's last record is cut, or a bit of it flipped. The gateway starts, says so and keeps a copy; what is in the store
// stays as it was, and what is whole in the log comes into it.
func damagedLog(t *testing.T, rnd *rand.Rand, dsn string) {
	besides(t)
	s := newShop(t, rnd, dsn, "")
	s.open()
	c := &crowd{shop: s, seed: rnd.Uint64(), secrets: tillKeys[:2], models: []string{"good", "slow"}}
	trials, detected, lost := sized(4, 60), 0, 0
	for i := range trials {
		ctx, stop := context.WithTimeout(t.Context(), 150*time.Millisecond)
		c.run(ctx, 0, 200)
		stop()
		g := s.gateway()
		_ = g.cmd.Process.Kill()
		<-g.done
		what := s.damage(t, rnd, i%2 == 0)
		s.again()
		if s.gateway().count("ledger damage") > 0 {
			detected++
		} else {
			t.Errorf("not detected: %s", what)
		}
	}
	kept, _ := filepath.Glob(filepath.Join(s.dir, "data", "ledger", "quarantine", "*"))
	truth := s.truth()
	dropped := map[string]bool{}
	comes(func() bool {
		rows := s.rows()
		clear(dropped)
		for id := range truth {
			if len(rows[id]) == 0 {
				dropped[id] = true
			}
		}
		return len(dropped) <= 2*trials
	})
	lost = len(dropped) // a record that is destroyed cannot come back; each damage hits one
	a := &audit{t: t, rough: true, dropped: dropped}
	a.compare(truth, s.rows(), nil)
	holds(t, detected == trials && len(kept) > 0 && a.wrong == 0 && lost <= 2*trials, "R27: 100 % detected, and kept in quarantine; no row wrong",
		"%d of %d detected, %d files in quarantine, %d calls, %d lost with the records that were destroyed, %d wrong", detected, trials, len(kept), len(truth), lost, a.wrong)
}

// damage cuts the log's last record, or flips a bit of what is written of the last file.
func (s *shop) damage(t *testing.T, rnd *rand.Rand, cut bool) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "data", "ledger", "0*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log: %v", err)
	}
	for i := len(files) - 1; i >= 0; i-- {
		b, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		end := len(bytes.TrimRight(b, "\x00"))
		if end == 0 {
			continue // a spare
		}
		what := ""
		if cut { // the last record is longer than this
			n := 9 + rnd.IntN(40)
			clear(b[end-n : end])
			what = fmt.Sprintf("%d bytes cut at %d", n, end-n)
		} else {
			at := rnd.IntN(8 * end)
			b[at/8] ^= 1 << (at % 8)
			what = fmt.Sprintf("bit %d of byte %d of %d flipped", at%8, at/8, end)
		}
		if err := os.WriteFile(files[i], b, 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Base(files[i]) + ": " + what
	}
	t.Fatal("the log is empty")
	return ""
}
