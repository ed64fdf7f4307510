package redis

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/quota"
)

var (
	//go:embed quota_head.lua
	quotaHead string
	//go:embed quota_free.lua
	freeSource string
	//go:embed quota_reserve.lua
	reserveSource string
	//go:embed quota_extend.lua
	extendSource string
	//go:embed quota_renew.lua
	renewSource string
	//go:embed quota_release.lua
	releaseSource string
	//go:embed quota_settle.lua
	settleSource string
	//go:embed quota_seed.lua
	seedSource string
	//go:embed quota_due.lua
	dueSource string
	//go:embed quota_sweep.lua
	sweepSource string
	//go:embed quota_levels.lua
	levelsSource string

	reserveScript = newScript(quotaHead + freeSource + reserveSource)
	extendScript  = newScript(quotaHead + extendSource)
	renewScript   = newScript(quotaHead + renewSource)
	releaseScript = newScript(quotaHead + freeSource + releaseSource)
	settleScript  = newScript(quotaHead + settleSource)
	seedScript    = newScript(quotaHead + seedSource)
	dueScript     = newScript(quotaHead + dueSource)
	sweepScript   = newScript(quotaHead + sweepSource)
	levelsScript  = newScript(levelsSource)
)

const (
	keepQuota   = 40 * 24 * time.Hour // what is known of an organisation that makes no calls; longer than any rolling period
	keepPast    = 24 * time.Hour      // a budget's counter, after its period
	rollingKept = 32 * 24 * time.Hour
)

// A Quota is a quota.Store in Redis: what replicas share of limits and budgets. Each operation is one script, on keys of
// one organisation, and so of one slot. A reservation costs one round trip on the connection that all share, and what
// callers ask at one moment goes in one write (see line).
//
// Redis may lose everything. It does not stay unnoticed: the organisation's key is gone, or counts fewer commands than
// this replica has seen answered, or a settlement is missing. Then a new epoch begins (see quota.Store). For this the server must
// not evict keys: its maxmemory-policy must be noeviction.
type Quota struct {
	s     *Store
	calls sync.Pool    // of *call
	line  *line        // of those that run scripts, but in a cluster
	ahead atomic.Int64 // of the server's clock, for tests

	mu   sync.Mutex // guards what follows
	orgs map[string]*standing
}

// A standing is what this replica has seen of an organisation.
type standing struct {
	tag          string
	epoch, count int64
	settled      map[string]uint64 // in this epoch, the last position of each replica that it settled for
	line         *line
}

var _ quota.Store = (*Quota)(nil)

// Quota is the store's part that counts limits and budgets. Ask for it once: it remembers what it has seen.
func (s *Store) Quota() *Quota { return &Quota{s: s, line: &line{s: s}, orgs: map[string]*standing{}} }

// tag begins every key of an organisation.
func (q *Quota) tag(org string) string {
	return "{" + q.s.opts.Prefix + ":" + url.QueryEscape(org) + "}:q1:"
}

// standing is what has been seen of an organisation; q.mu is held.
func (q *Quota) standing(org string) *standing {
	st := q.orgs[org]
	if st == nil {
		st = &standing{tag: q.tag(org), settled: map[string]uint64{}, line: q.line}
		if q.s.opts.Cluster { // servers fail one by one
			st.line = &line{s: q.s}
		}
		q.orgs[org] = st
	}
	return st
}

// saw keeps the epoch and the count of an answer.
func (q *Quota) saw(org string, epoch, count int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	st := q.standing(org)
	switch {
	case epoch > st.epoch:
		st.epoch, st.count = epoch, count
		clear(st.settled) // of the epoch before
	case epoch == st.epoch:
		st.count = max(st.count, count)
	}
}

// Reserve implements quota.Store.
func (q *Quota) Reserve(ctx context.Context, h *quota.Hold) (quota.Verdict, error) {
	c := q.begin(h.Org)
	c.holds()
	keeps := false
	for i := range h.Asks {
		a := &h.Asks[i]
		c.key(letter(a.Kind), a.Key)
		keeps = keeps || a.Kind != quota.Requests
	}
	c.freed(h.Asks, h.Freed)
	c.text(h.ID)
	c.counters(h.Asks)
	c.word(bit(keeps))
	c.nums(int64(len(h.Asks)))
	for i := range h.Asks {
		c.ask(&h.Asks[i])
	}
	return q.verdict(ctx, reserveScript, c, h)
}

// letter names a kind of counter in scripts.
func letter(k quota.Kind) string {
	switch k {
	case quota.Requests:
		return "r:"
	case quota.Tokens:
		return "t:"
	case quota.Parallel:
		return "p:"
	}
	return "b:"
}

var modes = map[llm.BudgetMode]string{llm.Soft: "s", llm.HardAfterGrace: "g"}

func mode(m llm.BudgetMode) string {
	if s, ok := modes[m]; ok {
		return s
	}
	return "h"
}

// ask writes an ask for reserve.lua.
func (c *call) ask(a *quota.Ask) {
	c.word(letter(a.Kind)[:1])
	switch a.Kind {
	case quota.Requests, quota.Tokens:
		c.nums(min(a.N, quota.MaxLimit), a.Per.Microseconds(), a.Cost)
	case quota.Parallel:
		c.nums(a.N)
	default:
		c.nums(a.Limit, a.Fixed, a.Least, a.Most)
		c.word(mode(a.Mode))
		c.nums(a.Grace.Milliseconds(), a.From.UnixMilli(), a.Until.UnixMilli(), a.Part, a.Oldest, keepUntil(a))
		if len(a.Alerts) > 0 { // 1000 50=500 100=1000
			c.texts = strconv.AppendInt(c.texts, a.Limit, 10)
			for _, al := range a.Alerts {
				c.texts = strconv.AppendInt(append(c.texts, ' '), int64(al.Percent), 10)
				c.texts = strconv.AppendInt(append(c.texts, '='), al.Amount, 10)
			}
		}
		c.endText()
	}
}

func keepUntil(a *quota.Ask) int64 {
	if a.Rolling {
		return a.Until.Add(rollingKept).UnixMilli()
	}
	return a.Until.Add(keepPast).UnixMilli()
}

// readCounters reads what call.counters wrote.
func readCounters(s string) (out []string, err error) {
	for s != "" {
		size, rest, ok := strings.Cut(s, ":")
		n, err := strconv.Atoi(size)
		if !ok || err != nil || n < 0 || n > len(rest) {
			return nil, errors.New("redis: a hold that cannot be read")
		}
		out, s = append(out, rest[:n]), rest[n:]
	}
	return out, nil
}

// verdict runs reserve.lua or extend.lua.
func (q *Quota) verdict(ctx context.Context, s *script, c *call, h *quota.Hold) (quota.Verdict, error) {
	org := c.org
	msg, err := q.do(ctx, s, c)
	if err != nil {
		return quota.Verdict{}, err
	}
	text, err := msg.ToString()
	if err != nil {
		return quota.Verdict{}, fmt.Errorf("redis: answer: %w", err)
	}
	v, count, err := readVerdict(text, h)
	if err == nil {
		q.saw(org, v.Epoch, count)
	}
	return v, err
}

// readVerdict reads the answer of reserve.lua and extend.lua.
func readVerdict(text string, h *quota.Hold) (v quota.Verdict, count int64, err error) {
	var some [64]int64 // so that most answers need no other
	n := some[:0]
	for field := range strings.SplitSeq(text, " ") {
		x, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return v, 0, fmt.Errorf("redis: answer: %w", err)
		}
		n = append(n, x)
	}
	if len(n) < 6+5*len(h.Asks) {
		return v, 0, fmt.Errorf("redis: an answer of %d members, want %d", len(n), 6+5*len(h.Asks))
	}
	if n[0] < 0 || n[0] > int64(quota.Gone) || n[1] < 0 || n[1] >= max(int64(len(h.Asks)), 1) {
		return v, 0, fmt.Errorf("redis: answer %d to ask %d", n[0], n[1])
	}
	v = quota.Verdict{
		Answer: quota.Answer(n[0]), Ask: int(n[1]), Epoch: n[2], Now: time.UnixMicro(n[4]), Wait: time.Duration(n[5]) * time.Microsecond,
	}
	for i := range h.Asks {
		a, f := &h.Asks[i], n[6+5*i:]
		a.Used, a.Wait, a.Reset, a.Cold = f[0], time.Duration(f[2])*time.Microsecond, time.Duration(f[3])*time.Microsecond, f[4] != 0
		if a.Kind.Budget() {
			a.Granted = f[1]
		} else {
			a.Slot = f[1]
		}
	}
	return v, n[3], nil
}

// Extend implements quota.Store.
func (q *Quota) Extend(ctx context.Context, h *quota.Hold) (quota.Verdict, error) {
	c := q.begin(h.Org)
	c.text(h.ID)
	c.nums(int64(len(h.Asks)))
	for i := range h.Asks {
		a := &h.Asks[i]
		c.key("b:", a.Key)
		c.nums(a.Limit, a.Least, a.Most)
		c.word(mode(a.Mode))
		c.nums(a.Grace.Milliseconds(), a.Oldest, a.Until.UnixMilli())
	}
	return q.verdict(ctx, extendScript, c, h)
}

// Release implements quota.Store.
func (q *Quota) Release(ctx context.Context, org string, list []quota.Freed) error {
	c := q.begin(org)
	c.holds()
	c.freed(nil, list)
	if _, err := q.run(context.WithoutCancel(ctx), releaseScript, c); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// freed writes holds that end for free.lua, in a call that has the keys of asks.
func (c *call) freed(asks []quota.Ask, list []quota.Freed) {
	limits := func(a *quota.Ask) bool { return a.Kind == quota.Parallel || a.Kind == quota.Tokens }
	c.nums(int64(len(list)))
	for i := range list {
		h := list[i].Hold
		c.text(h.ID)
		c.nums(min(list[i].Tokens, quota.MaxLimit), count(h.Asks, limits))
		for j := range h.Asks {
			a := &h.Asks[j]
			if !limits(a) {
				continue
			}
			c.word(letter(a.Kind)[:1])
			c.nums(c.number(asks, a))
			if a.Kind == quota.Tokens {
				c.nums(a.Per.Microseconds(), a.Cost, a.Slot)
			}
		}
	}
}

func count(asks []quota.Ask, f func(*quota.Ask) bool) (n int64) {
	for i := range asks {
		if f(&asks[i]) {
			n++
		}
	}
	return n
}
