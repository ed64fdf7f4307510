package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// commitBefore is the state of this repository that counts as the release before this one: what it has written down must be read, and
// it must run beside this one on one store. Set it to the last release, and run TestBefore with -update-before.
const commitBefore = "9f3f75c6761323cf402a8c0a94b310e95683f290"

var updateBefore = flag.Bool("update-before", false, "write testdata/before.tar.gz anew, by the binary of the release before")

// binaryBefore builds that release, or says loudly that it cannot.
func binaryBefore(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sh := exec.Command("sh", "-c", fmt.Sprintf("set -e; cd \"$(git rev-parse --show-toplevel)\"; git archive --output=%s/src.tar %s; mkdir %[1]s/src; tar -xf %[1]s/src.tar -C %[1]s/src", dir, commitBefore))
	if out, err := sh.CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED AGAINST THE RELEASE BEFORE: commit %s is not here (a shallow clone?): %v\n%s", commitBefore, err, out)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "sluice"), "./cmd/sluice")
	cmd.Dir, cmd.Env = filepath.Join(dir, "src"), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build of %s: %v\n%s", commitBefore, err, out)
	}
	return filepath.Join(dir, "sluice")
}

// Remembered is what is known of a data directory that the release before has written.
type remembered struct {
	Stored string           // the secret of a key that it made
	Rows   int              // calls, of which two were open when it was killed
	Costs  map[string]int64 // of the whole ones, by key
}

const beforeFile = "testdata/before.tar.gz"

// TestBefore is R42 for what is at rest: a data directory as the release before left it when it was killed, with keys, rows,
// calls under way and ends that no database had seen yet, is taken over by this one.
func TestBefore(t *testing.T) {
	if *updateBefore {
		writeBefore(t)
	}
	s := shopBefore(t)
	s.dir = t.TempDir()
	if out, err := exec.Command("tar", "-xzf", beforeFile, "-C", s.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var known remembered
	text, err := os.ReadFile(filepath.Join(s.dir, "memory.json"))
	if err != nil || json.Unmarshal(text, &known) != nil {
		t.Fatalf("%v %s", err, text)
	}
	s.now.Store(&crew{s.begin(s.dir)})
	s.connect()
	if !comes(func() bool { return len(s.rows()) >= known.Rows }) {
		t.Fatalf("%d rows, want %d\n%s", len(s.rows()), known.Rows, tail(s.gateway()))
	}
	rows := s.rows()
	costs, cut := map[string]int64{}, 0
	for id, list := range rows {
		if len(list) != 1 {
			t.Errorf("%s has %d rows", id, len(list))
		}
		if r := &list[0]; r.partial {
			cut++
		} else {
			costs[r.key] += r.cost
		}
	}
	if len(rows) != known.Rows || cut != 2 || fmt.Sprint(costs) != fmt.Sprint(known.Costs) {
		t.Errorf("%d rows, %d cut, costs %v; want %d, 2, %v", len(rows), cut, costs, known.Rows, known.Costs)
	}
	for _, secret := range []string{moneyKey("rich"), known.Stored} {
		o := &wish{secret: secret, model: "good", text: "still here", limit: 50}
		if got := o.place(t.Context(), http.DefaultTransport, s.gateway()); !got.whole {
			t.Errorf("a key of the release before: %d %v %s", got.status, got.err, got.body)
		}
	}
	s.recomputed()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "ledger", "verify", "--config", filepath.Join(s.dir, "sluice.yaml")).CombinedOutput(); err != nil {
		t.Errorf("ledger verify: %v\n%s", err, out)
	}
}

// shopBefore is the same shop for both releases, but for its vendors' addresses.
func shopBefore(t *testing.T) *shop {
	t.Helper()
	s := newShop(t, rand.New(rand.NewPCG(1, 1)), "", "pepper: "+moneyKey("pepper")+"\nledger: {keep: off}\n")
	s.vendors[0].script(t, "g = echo\ns = echo?stall=1h@8\n")
	return s
}

// writeBefore makes the data directory.
func writeBefore(t *testing.T) {
	bin := binaryBefore(t)
	s := shopBefore(t)
	s.config = strings.ReplaceAll(s.config, "{name: slow, deployments: [", "{name: slow, strategy: priority, deployments: [")
	s.dir = t.TempDir()
	g, err := serveOther(bin, s.dir, s.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	s.now.Store(&crew{g})
	s.connect()
	status, out := operate(t, g, http.MethodPost, "/admin/keys", `{"name":"stored","models":["good"],"rules":[{"name":"q","budgets":[{"dollars":"1000","every":"quarter"}]}]}`)
	var made struct{ ID, Secret string }
	if status/100 != 2 || json.Unmarshal(out, &made) != nil {
		t.Fatalf("a key: %d %s", status, out)
	}
	known := remembered{Stored: made.Secret, Costs: map[string]int64{}}
	call := func(n int) {
		for i := range n {
			secret := []string{moneyKey("rich"), moneyKey("tokens"), made.Secret}[i%3]
			o := &wish{secret: secret, model: "good", text: fmt.Sprintf("call number %d", i), stream: i%2 == 0, limit: 50}
			if got := o.place(t.Context(), http.DefaultTransport, g); !got.whole {
				t.Fatalf("%d %v %s", got.status, got.err, got.body)
			}
			known.Rows++
		}
	}
	call(30)
	s.rest(moneyKey("rich"))
	s.holdStreamsAt(t, g, 2)
	known.Rows += 2
	call(12)
	_ = g.cmd.Process.Kill()
	<-g.done
	for _, list := range s.truth() {
		u := lastOf(list)
		if u.whole() {
			known.Costs["?"] += u.Tokens.Input*priceIn + u.Tokens.Whole*priceOut
		}
	}
	keep := t.TempDir()
	if out, err := exec.Command("cp", "-a", filepath.Join(s.dir, "data"), keep).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Who has spent how much is asked of this release, on a copy, and held against what the upstreams did.
	g, err = serve(s.dir, s.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	if !comes(func() bool { return len(s.rows()) == known.Rows }) {
		t.Fatalf("%d rows of %d", len(s.rows()), known.Rows)
	}
	sum := int64(0)
	byKey := map[string]int64{}
	for _, list := range s.rows() {
		if !list[0].partial {
			byKey[list[0].key] += list[0].cost
			sum += list[0].cost
		}
	}
	if sum != known.Costs["?"] {
		t.Fatalf("rows cost %d, the upstreams served %d", sum, known.Costs["?"])
	}
	known.Costs = byKey
	text, err := json.Marshal(known)
	if err == nil {
		err = os.WriteFile(filepath.Join(keep, "memory.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-czf", beforeFile, "-C", keep, "data", "memory.json").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, bytes.TrimSpace(out))
	}
}

// twoReleases is R42: the release before and this one serve from one store and one Redis, and then the newer replica is rolled back on
// what it has written.
func twoReleases(t *testing.T, rnd *rand.Rand) {
	if !long {
		t.Skip("builds the release before and runs for minutes: make long")
	}
	bin := binaryBefore(t)
	c := newBranches(t, rnd, 0, "")
	config := c.config + fmt.Sprintf("store: {url: %q}\n", c.dsn)
	begin := func(i int, bin string) *gateway {
		t.Helper()
		g, err := serveOther(bin, c.dirs[i], config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.stop)
		return g
	}
	ours, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	c.dirs = []string{t.TempDir(), t.TempDir()}
	all := crew{begin(0, bin), begin(1, ours)}
	all.whole(t)
	c.now.Store(&all)
	c.connect()
	for _, d := range []time.Duration{5 * time.Minute, 30 * time.Second} {
		load := &crowd{shop: c.shop, seed: rnd.Uint64(), secrets: tillKeys, leave: 10, models: []string{"good", "good", "slow", "faulty", "silent"}}
		ctx, stop := context.WithTimeout(t.Context(), d)
		load.run(ctx, 0, 100)
		stop()
		a := &audit{t: t}
		rows := c.rest(tillKeys...)
		c.limits(rows, tillKeys...)
		a.compare(c.truth(), rows, load.byID())
		holds(t, a.wrong == 0 && !t.Failed(), "R42: two releases on one store: I1 to I4", "%d calls of %d in %v, %d wrong", load.made.Load(), a.calls, d, a.wrong)
		(*c.now.Load())[1].stop()
		back := crew{all[0], begin(1, bin)} // back again, on what the newer one has written
		back.whole(t)
		c.now.Store(&back)
	}
	c.recomputed()
}
