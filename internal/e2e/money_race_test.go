package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// racerKey has the budget that the clients of R20 race for.
var racerKey = moneyKey("racer")

// A race is R20: clients on one key with a budget for exactly so many calls.
type race struct {
	budget  int64 // nano-dollars
	clients int
	seed    uint64
	leave   int // of a hundred
}

// newRace draws a budget that is what 1,000 calls of random costs come to.
func newRace(rnd *rand.Rand, calls, clients int) *race {
	r := &race{clients: clients, seed: rnd.Uint64(), leave: 20}
	for n := range calls {
		o := r.wish(n)
		r.budget += int64(1+len(tongues[0].body(o))/4)*priceIn + int64(len(strings.Fields(o.text)))*priceOut
	}
	return r
}

func (r *race) wish(n int) *wish {
	rnd := rand.New(rand.NewPCG(r.seed, uint64(n)))
	o := &wish{secret: racerKey, model: "good", stream: rnd.IntN(2) == 0, text: words(rnd, 1+rnd.IntN(60))}
	o.limit = len(strings.Fields(o.text)) + rnd.IntN(40)
	if o.stream {
		o.model = "slow"
	}
	if rnd.IntN(100) < r.leave {
		o.leaves = time.Duration(1+rnd.IntN(60)) * time.Millisecond
	}
	return o
}

// run lets the clients call until the budget has no room for any of them.
func (r *race) run(ctx context.Context, c *crowd) {
	tr := &http.Transport{MaxIdleConnsPerHost: r.clients}
	defer tr.CloseIdleConnections()
	var turn atomic.Int64
	var all sync.WaitGroup
	for range r.clients {
		all.Go(func() {
			// What calls held that have ended is free once they are settled, a moment later: a refusal is not the end.
			for refused := 0; ctx.Err() == nil && refused < 100; {
				n := int(turn.Add(1))
				crew := *c.shop.now.Load()
				got := r.wish(n).place(context.WithoutCancel(ctx), tr, crew[n%len(crew)])
				c.keep(got)
				c.made.Add(1)
				switch got.status {
				case http.StatusTooManyRequests:
				case http.StatusOK:
					refused = 0
					continue
				case http.StatusServiceUnavailable: // as Retry-After says, but for the time that tests have
					select {
					case <-time.After(100 * time.Millisecond):
					case <-ctx.Done():
					}
					continue
				default: // a client that left heard nothing of the budget
					continue
				}
				if !strings.Contains(got.body, "budget_exceeded") {
					return
				}
				refused++
				select { // calls under way may leave room when they end
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	all.Wait()
}

// reservation is what a call holds at most: all of the request and what translation may add as tokens, and what the answer may have.
func reservation(o *wish) int64 {
	if o == nil {
		return 0
	}
	return int64(len(tongues[0].body(o))+1100)*priceIn + int64(o.limit)*priceOut
}

// racesMemory is R20 with one replica and its own memory.
func racesMemory(t *testing.T, rnd *rand.Rand, dsn string) {
	runs := sized(3, 20)
	if dsn != "" {
		runs = sized(1, 5)
	}
	calls := sized(200, 1000)
	var under []int64
	made := 0
	for range runs {
		r := newRace(rnd, calls, 64)
		s := newShop(t, rnd, dsn, budgetOf("racer", r.budget)+"pepper: "+moneyKey("pepper")+"\n") // one for all that open the store
		s.open()
		left, n := s.raceUntil(r, sized(20*time.Second, 2*time.Minute), nil)
		under = append(under, left)
		made += n
		s.gateway().stop()
		if dsn != "" {
			s.empty()
		}
	}
	holds(t, !t.Failed(), "R20: overspend 0; under-use at most one reservation", "%d runs, %d calls, left over at most %d nano-dollars", runs, made, slices.Max(under))
}

// raceUntil runs a race to the end of its budget, and judges it. calm, if there is one, ends what goes wrong meanwhile.
func (s *shop) raceUntil(r *race, limit time.Duration, calm func()) (left int64, made int) {
	s.t.Helper()
	c := &crowd{shop: s}
	ctx, stop := context.WithTimeout(s.t.Context(), limit)
	defer stop()
	looks := s.watchBudgets(ctx, calm == nil, racerKey)
	r.run(ctx, c)
	if calm != nil {
		calm()
	}
	say("  %s", c.state())
	if ctx.Err() != nil {
		s.t.Errorf("the budget is not used up after %v: %s", limit, c.state())
	}
	s.rest(racerKey)
	stop()
	if n, over := looks(); over != "" {
		s.t.Errorf("I4: seen in %d looks: %s", n, over)
	}
	// Nothing is under way any more: calls one after the other take what is left, until one has no room while nothing is held.
	var refused *wish
	for n, again := 0, false; n < 2000; {
		o := r.wish(1_000_000 + n)
		o.leaves = 0
		got := o.place(s.t.Context(), http.DefaultTransport, s.gateway())
		c.keep(got)
		if got.status != http.StatusTooManyRequests {
			n, again = n+1, false
			continue
		}
		if refused = o; again {
			break
		}
		again = true
		s.rest(racerKey)
	}
	rows := s.rest(racerKey)
	a := &audit{t: s.t, rough: calm != nil}
	a.compare(s.truth(), rows, c.byID())
	if a.wrong > 0 {
		s.t.Errorf("%d accounts are wrong", a.wrong)
	}
	var spent int64
	for _, r := range byKey(rows)["racer"] {
		spent += r.cost
	}
	left = r.budget - spent
	if most := reservation(refused); left < 0 || left > most {
		s.t.Errorf("R20: spent %d of %d: %d left, a reservation is %d at most", spent, r.budget, left, most)
	}
	return left, len(rows)
}

// empty makes the store as good as new for another gateway.
func (s *shop) empty() {
	s.t.Helper()
	for _, table := range []string{"ledger", "rollup", "ledger_open"} {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		_, err := s.db.ExecContext(ctx, "DELETE FROM "+table)
		cancel()
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// heldByTheDead is R21: SIGKILL of a gateway whose calls hold something, and what becomes of it.
func heldByTheDead(t *testing.T, rnd *rand.Rand, dsn string) {
	besides(t)
	n := sized(40, 500)
	s := newShop(t, rnd, dsn, "")
	for _, v := range s.vendors {
		v.script(t, "s = echo?stall=1h@8\n")
	}
	s.open()
	s.holdStreamsAt(t, s.gateway(), n)
	st, ok := me(s.gateway(), moneyKey("rich"))
	if !ok || st.Budgets[0].amount(st.Budgets[0].Held) == 0 {
		t.Fatalf("nothing is held: %+v", st)
	}
	held := st.Budgets[0].Held
	g := s.gateway()
	_ = g.cmd.Process.Kill()
	<-g.done
	began := time.Now()
	s.again()
	rows := s.rest(tillKeys[:2]...)
	took := time.Since(began)
	a := &audit{t: t, rough: true}
	a.compare(s.truth(), rows, nil)
	holds(t, a.wrong == 0 && len(rows) == n && !t.Failed(), "R21: holds of the dead are settled, each by one row", "%d rows for %d holds of $%s, %d wrong", len(rows), n, held, a.wrong)
	measured(t, took <= 35*time.Second, "all freed within lease + 5 s = 35 s", "%.1f s after the kill", took.Seconds())
}

// holdStreamsAt opens streams that hold something of a budget until the gateway ends. Where so many at once are more than Redis answers in
// time on this machine, they come again, as Retry-After says.
func (s *shop) holdStreamsAt(t *testing.T, g *gateway, n int) {
	t.Helper()
	o := &wish{secret: moneyKey("rich"), model: "slow", text: "one two three four five six seven eight nine ten eleven twelve", stream: true, limit: 100}
	var all sync.WaitGroup
	errs := make(chan error, n)
	for range n {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			for end := time.Now().Add(30 * time.Second); ; {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(tongues[0].body(o)))
				if err != nil {
					errs <- err
					return
				}
				req.Header.Set("Authorization", "Bearer "+o.secret)
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					errs <- err
					return
				}
				if resp.StatusCode == http.StatusServiceUnavailable && time.Now().Before(end) {
					resp.Body.Close()
					<-time.After(100 * time.Millisecond)
					continue
				}
				t.Cleanup(func() { resp.Body.Close() })
				if resp.StatusCode != http.StatusOK {
					errs <- fmt.Errorf("a stream: %d", resp.StatusCode)
				}
				return
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}

// paces is R23 on one replica: what is admitted in any sliding window.
func paces(t *testing.T, rnd *rand.Rand, dsn string) {
	besides(t)
	const limit = 50
	key := moneyKey("pace")
	s := newShop(t, rnd, dsn, fmt.Sprintf("  - {name: pace, key: %s, rules: [{name: r, requests: [%d/second]}]}\n", key, limit))
	s.open()
	c := &crowd{shop: s, seed: rnd.Uint64(), secrets: []string{key}, models: []string{"good"}}
	ctx, stop := context.WithTimeout(t.Context(), sized(3*time.Second, 30*time.Second))
	defer stop()
	c.run(ctx, 0, 250)
	s.judgePace("R23", key, limit, 1.01, time.Second)
}

// judgePace looks at each window that begins with a call of the ledger. over is how much of the limit may be admitted.
func (s *shop) judgePace(what, key string, limit int, over float64, per time.Duration) {
	s.t.Helper()
	rows := s.rest(key)
	var at []int64
	for _, list := range rows {
		at = append(at, list[0].charged)
	}
	slices.Sort(at)
	worst, j := 0, 0
	for i := range at {
		for at[i]-at[j] >= per.Microseconds() {
			j++
		}
		worst = max(worst, i-j+1)
	}
	span := time.Duration(at[len(at)-1]-at[0]) * time.Microsecond
	most := max(limit+1, int(float64(limit)*over))
	holds(s.t, worst <= most && len(at) > int(float64(limit)*span.Seconds()*0.8),
		fmt.Sprintf("%s: at most %.2f of the limit in any sliding window, and not much less", what, over), "%d admitted in the fullest %v, %d in %.1f s, the limit is %d", worst, per, len(at), span.Seconds(), limit)
}
