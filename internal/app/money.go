package app

import (
	"context"
	"slices"
	"sync"
	"time"

	"sluice/internal/auth"
	"sluice/internal/config"
	"sluice/internal/idempotency"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/usage"
)

// money is all that counts what calls use. It outlives configurations.
type money struct {
	limiter *quota.Limiter
	outputs *quota.Outputs
	once    *idempotency.Keys
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// openMoney starts it.
func (a *App) openMoney(cfg *config.Config) error {
	m := &money{outputs: new(quota.Outputs)}
	m.limiter = quota.New(quota.Options{Store: quota.NewMemory(nil), Replica: a.replica, Spent: spentNothing, Replicas: a.fleet.Replicas, Log: a.log})
	c := &cfg.Idempotency
	m.once = idempotency.New(idempotency.Options{Store: idempotency.NewMemory(int64(c.Memory), nil), Keep: c.Keep, Most: int(c.Answer)})
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background()) // until close
	m.work.Go(func() { m.limiter.Run(ctx) })
	a.money = m
	return nil
}

func (m *money) close() {
	m.stop()
	m.work.Wait()
	m.once.Close()
}

func spentNothing(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
	levels := make([]quota.Level, len(qs))
	for i := range qs {
		levels[i].Counter = qs[i].Counter
	}
	return levels, nil
}

// totals sums what a key has used since a time.
func (a *App) totals(context.Context, *auth.Who, time.Time) (usage.Totals, error) {
	return usage.Totals{}, nil
}

// sharedSubject is the subject of a rule at the configuration's top: what it counts is found again in the ledger by the
// label that its callers have.
func sharedSubject(rule string) string { return "rule:" + rule }

// bind gives a caller the rules of the configuration that hold for it, beside its own, and labels its calls with them.
func bind(cfg *config.Config, who *auth.Who) {
	for i := range cfg.Rules {
		r := &cfg.Rules[i]
		if !r.Holds([]string{who.Name, who.ID}, who.Org, who.Team, who.User, who.Project) {
			continue
		}
		who.Rules = append(who.Rules, llm.Bound{Subject: sharedSubject(r.Name), Rule: &cfg.Limit[i]})
		who.Labels = append(who.Labels, sharedSubject(r.Name))
	}
	slices.Sort(who.Labels)
}
