package e2e

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to read the rows that the binary wrote
	_ "modernc.org/sqlite"             // likewise
)

// What all models of these checks cost: 370 and 1130 nano-dollars for a token read and one written. Every cost is then a whole number, and
// known without the code that is to be tested.
const (
	tillPrice = `price: {input: "0.37", output: "1.13"}`
	priceIn   = 370
	priceOut  = 1130
)

// A row is what the ledger says of a call, read from the store itself.
type row struct {
	id, key, model, provider, failure, version string
	input, read, write, output, reasoning      sql.NullInt64
	cost, least                                int64 // the sum of all kinds, and the smallest of them
	charged                                    int64 // microseconds
	estimated, partial                         bool
}

func (r *row) tokens() int64 { return r.input.Int64 + r.output.Int64 }

const rowsQuery = `SELECT l.request_id, s.key_id, s.model, s.provider, l.error, l.price_version, l.input, l.cache_read, l.cache_write, l.output, l.reasoning,
	l.cost, l.cost,
	l.charged, l.estimated, l.partial FROM ledger l JOIN series s ON s.id = l.series ORDER BY l.charged`

// A shop sells calls: a gateway, its store, and the upstreams whose logs are the truth.
type shop struct {
	t       *testing.T
	dir     string // of the gateway
	config  string // it begins with keys, which go on the list that serve begins
	dsn     string // of PostgreSQL; "": SQLite in the data directory
	vendors []*vendor
	now     atomic.Pointer[crew] // the gateway, or its replicas
	db      *sql.DB
}

// open starts the gateway, and connects to its store.
func (s *shop) open() {
	s.t.Helper()
	s.dir = s.t.TempDir()
	s.now.Store(&crew{s.begin(s.dir)})
	s.connect()
}

// gateway is the one that there is, or the first.
func (s *shop) gateway() *gateway { return (*s.now.Load())[0] }

func (s *shop) connect() {
	s.t.Helper()
	driver, dsn := "pgx", s.dsn
	if dsn == "" {
		driver, dsn = "sqlite", "file:"+filepath.Join(s.dir, "data", "sluice.db")+"?mode=ro&_pragma=busy_timeout(10000)"
	}
	var err error
	if s.db, err = sql.Open(driver, dsn); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = s.db.Close() })
}

// begin starts a gateway in a directory, for the first time or again.
func (s *shop) begin(dir string) *gateway {
	s.t.Helper()
	config := s.config
	if s.dsn != "" {
		config += fmt.Sprintf("store: {url: %q}\n", s.dsn)
	}
	g, err := serve(dir, config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.stop)
	return g
}

// again starts the only gateway anew after it ended, and gives how long it took to be ready.
func (s *shop) again() time.Duration {
	s.t.Helper()
	began := time.Now()
	g := s.begin(s.dir)
	if !comes(func() bool { return isReady(g) }) {
		s.t.Fatal("the gateway is never ready")
	}
	s.now.Store(&crew{g})
	return time.Since(began)
}

func isReady(g *gateway) bool {
	resp, err := http.Get(g.url + "/ready") //nolint:noctx // it answers at once
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// rows are those of the ledger now, by request.
func (s *shop) rows() map[string][]row {
	s.t.Helper()
	query := rowsQuery
	if s.dsn == "" {
		query = strings.Replace(query, "LEAST(", "min(", 1)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), 20*time.Second)
	defer cancel()
	list, err := s.db.QueryContext(ctx, query)
	if err != nil {
		s.t.Fatal(err)
	}
	defer list.Close()
	all := map[string][]row{}
	for list.Next() {
		var r row
		if err := list.Scan(&r.id, &r.key, &r.model, &r.provider, &r.failure, &r.version, &r.input, &r.read, &r.write, &r.output, &r.reasoning,
			&r.cost, &r.least, &r.charged, &r.estimated, &r.partial); err != nil {
			s.t.Fatal(err)
		}
		all[r.id] = append(all[r.id], r)
	}
	if err := list.Err(); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// An upstreamTruth is what a mock says that it did.
type upstreamTruth struct {
	ID, Model, Outcome, Fault string
	Status                    int
	Start                     time.Time
	Tokens                    struct{ Input, Output, Cached, Write, Reasoning, Whole int64 }
}

// whole says that the upstream gave all of an answer, and a good one.
func (u *upstreamTruth) whole() bool {
	return u.Outcome == "complete" && u.Status == http.StatusOK && u.Fault == ""
}

// truth is all that the upstreams did, by request, in the order in which it began.
func (s *shop) truth() map[string][]upstreamTruth {
	s.t.Helper()
	all := map[string][]upstreamTruth{}
	for _, v := range s.vendors {
		resp, err := http.Get("http://" + v.addr + "/log") //nolint:noctx // a test's own mock
		if err != nil {
			s.t.Fatal(err)
		}
		var log struct {
			Dropped int
			Entries []upstreamTruth
		}
		err = json.NewDecoder(resp.Body).Decode(&log)
		_ = resp.Body.Close()
		if err != nil || log.Dropped > 0 {
			s.t.Fatalf("the mock's log: %v, %d dropped", err, log.Dropped)
		}
		for _, u := range log.Entries {
			all[u.ID] = append(all[u.ID], u)
		}
	}
	for id, list := range all {
		last := list[0]
		for _, u := range list[1:] {
			if u.Start.After(last.Start) {
				last = u
			}
		}
		all[id] = append(list, last) // the last try stands at the end
	}
	return all
}

// A purse is a key's budget, as GET /v1/usage/me tells it.
type purse struct {
	Unit, Limit, Spent, Held, Remaining string
}

// A statement is what a key may know of itself.
type statement struct {
	Key     string
	Budgets []purse
	Month   struct {
		Requests int64
		Input    int64  `json:"input_tokens"`
		Output   int64  `json:"output_tokens"`
		Cost     string `json:"cost_usd"`
	}
}

// me asks a gateway what a key has spent; false: it cannot tell at the moment.
func me(g *gateway, secret string) (st statement, ok bool) {
	req, err := http.NewRequest(http.MethodGet, g.url+"/v1/usage/me", http.NoBody) //nolint:noctx // the client has a timeout
	if err != nil {
		return st, false
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	c := http.Client{Timeout: 5 * time.Second}
	resp, err := c.Do(req)
	if err != nil {
		return st, false
	}
	defer resp.Body.Close()
	return st, json.NewDecoder(resp.Body).Decode(&st) == nil && resp.StatusCode == http.StatusOK
}

// amount reads dollars as nano-dollars, or tokens.
func (p *purse) amount(text string) int64 {
	whole, part, _ := strings.Cut(text, ".")
	if p.Unit == "tokens" {
		part = ""
	} else {
		part += strings.Repeat("0", 9-len(part))
	}
	n, err := strconv.ParseInt(whole+part, 10, 64)
	if err != nil {
		return -1 << 62
	}
	return n
}

// counted is what a budget says that is spent, beside what rows add up to.
func counted(p *purse, rows []row) (spent, want int64) {
	for i := range rows {
		if p.Unit == "tokens" {
			want += rows[i].tokens()
		} else {
			want += rows[i].cost
		}
	}
	return p.amount(p.Spent), want
}

// byKey sorts rows by who pays.
func byKey(all map[string][]row) map[string][]row {
	keys := map[string][]row{}
	for _, list := range all {
		for _, r := range list {
			keys[r.key] = append(keys[r.key], r)
		}
	}
	return keys
}

// rest waits until nothing is under way any more and every counter is what the ledger adds up to (I3), and gives the ledger. Every call
// that the upstreams know has a row then.
func (s *shop) rest(secrets ...string) map[string][]row {
	s.t.Helper()
	var rows map[string][]row
	why := ""
	if !comes(func() bool {
		if why = s.moving(); why != "" {
			return false
		}
		rows = s.rows()
		for id := range s.truth() {
			if len(rows[id]) == 0 {
				why = "no row for " + id
				return false
			}
		}
		keys := byKey(rows)
		for _, secret := range secrets {
			for i, g := range *s.now.Load() {
				if why = agrees(g, secret, keys); why != "" {
					why = fmt.Sprintf("replica %d: %s", i, why)
					return false
				}
			}
		}
		return true
	}) {
		s.t.Errorf("I3: the books do not close: %s", why)
	}
	return rows
}

// moving says what is still under way.
func (s *shop) moving() string {
	for _, g := range *s.now.Load() {
		if n := g.metric(s.t, "sluice_requests_in_flight"); n > 0 {
			return fmt.Sprintf("%.0f calls are under way", n)
		}
	}
	return ""
}

// agrees compares what a replica tells a key with the ledger.
func agrees(g *gateway, secret string, keys map[string][]row) string {
	st, ok := me(g, secret)
	if !ok {
		return "no answer to /v1/usage/me"
	}
	rows := keys[st.Key]
	var sum statement
	for i := range rows {
		sum.Month.Input += rows[i].input.Int64
		sum.Month.Output += rows[i].output.Int64
	}
	if m := &st.Month; m.Requests != int64(len(rows)) || m.Input != sum.Month.Input || m.Output != sum.Month.Output {
		return fmt.Sprintf("key %s: sums of %d calls, %d and %d tokens; rows: %d, %d, %d", st.Key, m.Requests, m.Input, m.Output, len(rows), sum.Month.Input, sum.Month.Output)
	}
	for i := range st.Budgets {
		p := &st.Budgets[i]
		if spent, want := counted(p, rows); spent != want || p.amount(p.Held) != 0 {
			return fmt.Sprintf("key %s: counter %s, held %s, ledger %d (%s)", st.Key, p.Spent, p.Held, want, p.Unit)
		}
	}
	return ""
}

// lastOf is the try that counts.
func lastOf(list []upstreamTruth) *upstreamTruth { return &list[len(list)-1] }

// limits checks I4 at the end: no key has spent more than its hard budgets allow.
func (s *shop) limits(rows map[string][]row, secrets ...string) {
	s.t.Helper()
	keys := byKey(rows)
	for _, secret := range secrets {
		st, ok := me(s.gateway(), secret)
		if !ok {
			s.t.Fatal("no answer to /v1/usage/me")
		}
		for i := range st.Budgets {
			p := &st.Budgets[i]
			if _, sum := counted(p, keys[st.Key]); sum > p.amount(p.Limit) {
				s.t.Errorf("I4: key %s has spent %d of %s %s", st.Key, sum, p.Limit, p.Unit)
			}
		}
	}
}

// watchBudgets looks at budgets while calls are made: at no moment may what is spent, and held, be more than the limit. Where
// Redis loses its data, a call may be held and spent for a moment.
func (s *shop) watchBudgets(ctx context.Context, held bool, secrets ...string) (looks func() (int, string)) {
	done := make(chan struct{})
	n, over := 0, ""
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, secret := range secrets {
				st, ok := me(s.gateway(), secret)
				if !ok {
					continue
				}
				n++
				for i := range st.Budgets {
					p := &st.Budgets[i]
					sum := p.amount(p.Spent)
					if held {
						sum += p.amount(p.Held)
					}
					if sum > p.amount(p.Limit) {
						over = cmp.Or(over, fmt.Sprintf("key %s: spent %s and held %s of %s", st.Key, p.Spent, p.Held, p.Limit))
					}
				}
			}
		}
	}()
	return func() (int, string) { <-done; return n, over }
}

// recomputed has the gateways hold every sum and counter against the rows themselves.
func (s *shop) recomputed() {
	s.t.Helper()
	for i, g := range *s.now.Load() {
		status, out := operate(s.t, g, http.MethodPost, "/admin/ledger/recompute", "{}")
		var r struct {
			Sums     struct{ Wrong int }
			Counters struct{ Checked, Wrong int }
		}
		if status != http.StatusOK || json.Unmarshal(out, &r) != nil || r.Sums.Wrong > 0 || r.Counters.Wrong > 0 {
			s.t.Errorf("I3: replica %d: recompute: %d %.600s", i, status, out)
		}
	}
}
