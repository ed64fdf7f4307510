package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/internal/alert"
	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/idempotency"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/upstream"
	"sluice/internal/usage"
	"sluice/internal/usage/wal"
)

// money is all that counts what calls use. It outlives configurations.
type money struct {
	db      *sql.DB
	journal *usage.Journal // nil: the ledger is off
	limiter *quota.Limiter
	outputs *quota.Outputs
	once    *idempotency.Keys
	alerts  *alert.Sender
	crossed chan quota.Crossing
	begun   chan struct{} // closed when all of the above is there: the journal settles from its start
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// segment is the size of one file of the log. Two are mapped at a time, and count as memory of the process.
const segment = 4 << 20

// ledgerDir is where the write-ahead log of the ledger is, in the data directory.
const ledgerDir = "ledger"

// LedgerDir is where a gateway with a configuration has its write-ahead log.
func LedgerDir(cfg *config.Config) string { return filepath.Join(cfg.Data, ledgerDir) }

// openMoney opens the ledger and begins to count.
func (a *App) openMoney(cfg *config.Config) (err error) {
	m := &money{db: a.db, outputs: new(quota.Outputs), crossed: make(chan quota.Crossing, 1024), begun: make(chan struct{})}
	c := &cfg.Ledger
	replica := a.replica
	if !c.Off {
		if err := m.openJournal(cfg, a.log); err != nil {
			return err
		}
		replica = m.journal.Replica()
	}
	m.limiter = quota.New(quota.Options{
		Store: a.counters(), Replica: replica, Spent: m.spent, Replicas: a.replicas, Log: a.log,
		Flush: m.settled, Behind: m.behind,
		Crossed: func(c quota.Crossing) {
			select {
			case m.crossed <- c:
			default:
				a.log.Error("alert.lost", "counter", c.Counter, "percent", c.Percent)
			}
		},
	})
	twins, err := a.twins(cfg)
	if err != nil {
		return err
	}
	m.once = idempotency.New(idempotency.Options{Store: twins, Keep: cfg.Idempotency.Keep, Most: int(cfg.Idempotency.Answer)})
	hooks, err := webhooks(cfg)
	if err != nil {
		return fmt.Errorf("alerts: %w", err)
	}
	m.alerts = alert.New(alert.Options{Outbox: m.db.Outbox(), Log: a.log}, hooks)
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background()) // until close
	m.work.Go(func() { m.limiter.Run(ctx) })
	m.work.Go(func() { m.alerts.Run(ctx) })
	m.work.Go(func() { m.tell(ctx) })
	close(m.begun)
	a.money = m
	return nil
}

// openJournal opens the ledger's log and begins to hand on what it holds.
func (m *money) openJournal(cfg *config.Config, log *slog.Logger) (err error) {
	c, ledger := &cfg.Ledger, m.db.Ledger()
	m.journal, err = usage.OpenJournal(usage.JournalOptions{
		Dir: LedgerDir(cfg), WAL: wal.Options{Segment: segment, Sync: c.Sync, Spool: int64(c.Spool)}, GoOn: c.WhenFull == "go_on",
		Store: ledger, Crowded: ledger.Crowded, Settle: m.settle, Count: counting(), Keep: max(c.Keep, 0), Log: log,
	})
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// settled waits until the budgets know of every call that has ended.
func (m *money) settled(ctx context.Context) {
	if m.journal != nil {
		_ = m.journal.Settled(ctx)
	}
}

// behind has everything settled again that the counters may have lost.
func (m *money) behind() {
	if m.journal != nil {
		m.journal.Rewind(time.Now().UnixNano())
	}
}

// counters count for all replicas where there is a Redis, else for this process.
func (a *App) counters() quota.Store {
	if a.shared != nil {
		return a.shared.Quota()
	}
	return quota.NewMemory(nil)
}

// twins tells calls apart over all replicas where there is a Redis, which sees no answer.
func (a *App) twins(cfg *config.Config) (idempotency.Store, error) {
	if a.shared == nil {
		return idempotency.NewMemory(int64(cfg.Idempotency.Memory), nil), nil
	}
	key, err := a.people.hasher.Derive("idempotency answers")
	if err != nil {
		return nil, err
	}
	return a.shared.Once(key)
}

// flushTime is how long the end of the program waits for the ledger to be in the store. What is not is in the log.
const flushTime = 10 * time.Second

// close ends it. No call is under way any more.
func (m *money) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	var err error
	if m.journal != nil {
		err = m.journal.Close(ctx) // settles, so the limiter still runs
	}
	m.stop()
	m.work.Wait()
	m.once.Close()
	return err
}

// settle gives the costs of calls to their budgets.
func (m *money) settle(ctx context.Context, s *usage.Settlements) error {
	select {
	case <-m.begun:
	case <-ctx.Done():
		return ctx.Err()
	}
	list := make([]quota.Settlement, len(s.List))
	for i := range s.List {
		from := &s.List[i]
		list[i] = quota.Settlement{ID: from.ID, Position: from.Position, Counters: from.Counters, Money: from.Cost, Tokens: from.Tokens}
	}
	return m.limiter.Settle(ctx, list)
}

// spent reads from the ledger what was spent under budgets.
func (m *money) spent(ctx context.Context, qs []quota.Query) ([]quota.Level, error) {
	levels := make([]quota.Level, len(qs))
	for i := range qs {
		q, l := &qs[i], &levels[i]
		l.Counter = q.Counter
		s, err := m.db.Ledger().Spent(ctx, &usage.SpentQuery{Filter: filterOf(q), Part: q.Part})
		if err != nil {
			return nil, err
		}
		l.Marks = s.Marks
		amount := func(money llm.Nano, tokens int64) int64 {
			if q.Tokens {
				return tokens
			}
			return int64(money)
		}
		if q.Part == 0 {
			l.Parts = []quota.Part{{Amount: amount(s.Money, s.Tokens)}}
			continue
		}
		for _, p := range s.Parts {
			l.Parts = append(l.Parts, quota.Part{Start: p.Start.Unix(), Amount: amount(p.Money, p.Tokens)})
		}
	}
	return levels, nil
}

// filterOf selects the rows of a budget's counter.
func filterOf(q *quota.Query) usage.Filter {
	f := usage.Filter{From: q.From, Until: q.Until, Org: q.Org, Models: q.Models}
	kind, id, _ := strings.Cut(q.Subject, ":")
	switch kind {
	case "team":
		f.Team = id
	case "user":
		f.User = id
	case "key":
		f.Key = id
	case "project":
		f.Project = id
	case "rule": // of the configuration: rows carry it as a label
		f.Tag = q.Subject
	}
	for dim, v := range q.Per {
		switch dim {
		case llm.DimKey:
			f.Key = v
		case llm.DimUser:
			f.User = v
		case llm.DimTeam:
			f.Team = v
		case llm.DimProject:
			f.Project = v
		case llm.DimModel:
			f.Models = []string{v}
		}
	}
	return f
}

// tell puts crossed thresholds into the outbox, and tries until they are there.
func (m *money) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-m.crossed:
			for m.alerts.Tell(ctx, notice(c)) != nil {
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Second):
				}
			}
		}
	}
}

// notice says that a budget has passed a threshold. Its id is that of the threshold and period.
func notice(c quota.Crossing) *alert.Notice {
	n := &alert.Notice{
		ID: c.Counter + "|" + strconv.Itoa(c.Percent), Type: "budget.threshold", At: time.Now().UTC(), Percent: c.Percent,
		Unit: "usd", Spent: llm.Nano(c.Spent).String(), Limit: llm.Nano(c.Limit).String(),
	}
	name := quota.ParseName(c.Counter)
	n.Org, n.Subject, n.Rule, n.Period = name.Org, name.Subject, name.Rule, name.From
	if name.Tokens {
		n.Unit, n.Spent, n.Limit = "tokens", strconv.FormatInt(c.Spent, 10), strconv.FormatInt(c.Limit, 10)
	}
	return n
}

// webhooks are where alerts go.
func webhooks(cfg *config.Config) ([]alert.Hook, error) {
	hooks := make([]alert.Hook, len(cfg.Alerts.Webhooks))
	for i := range cfg.Alerts.Webhooks {
		w := &cfg.Alerts.Webhooks[i]
		u, err := url.Parse(string(w.URL))
		if err != nil {
			return nil, errors.New("a webhook's url cannot be read") // it may hold a secret
		}
		hooks[i] = alert.Hook{URL: u, Secret: w.Secret, Transport: upstream.NewTransport(upstream.TransportOptions{AllowPrivate: w.AllowPrivate})}
	}
	return hooks, nil
}

// totals sums what a key has used since a time.
func (a *App) totals(ctx context.Context, who *auth.Who, since time.Time) (usage.Totals, error) {
	f := usage.Filter{From: since, Until: time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1), Org: who.Org, Key: who.Public()}
	_, total, err := a.money.db.Ledger().Report(ctx, &usage.Query{Filter: f})
	return total, err
}

// sharedSubject is the subject of a rule at the configuration's top: what it counts is found again in the ledger by the
// label that its callers have.
func sharedSubject(rule string) string { return "rule:" + rule }

// bind gives a caller the rules of the configuration that hold for it, beside its own, and labels its calls with them.
func bind(cfg *config.Config, who *auth.Who) {
	who.Labels = slices.Clone(who.Tags)
	for i := range cfg.Rules {
		if r := &cfg.Rules[i]; r.Holds([]string{who.Name, who.ID}, who.Org, who.Team, who.User, who.Project) {
			who.Rules = append(who.Rules, llm.Bound{Subject: sharedSubject(r.Name), Rule: &cfg.Limit[i]})
			who.Labels = append(who.Labels, sharedSubject(r.Name))
		}
	}
	slices.Sort(who.Labels)
}
