package redis

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

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

	reserveScript = rueidis.NewLuaScript(quotaHead + freeSource + reserveSource)
	extendScript  = rueidis.NewLuaScript(quotaHead + extendSource)
	renewScript   = rueidis.NewLuaScript(quotaHead + renewSource)
	releaseScript = rueidis.NewLuaScript(quotaHead + freeSource + releaseSource)
	settleScript  = rueidis.NewLuaScript(quotaHead + settleSource)
	seedScript    = rueidis.NewLuaScript(quotaHead + seedSource)
	dueScript     = rueidis.NewLuaScript(quotaHead + dueSource)
	sweepScript   = rueidis.NewLuaScript(quotaHead + sweepSource)
	levelsScript  = rueidis.NewLuaScript(levelsSource)
)

const (
	keepQuota   = 40 * 24 * time.Hour // what is known of an organisation that makes no calls; longer than any rolling period
	keepPast    = 24 * time.Hour      // a budget's counter, after its period
	rollingKept = 32 * 24 * time.Hour
	maxPath     = 200 // calls on the path of requests under way; more wait for a server that does not answer
)

// A Quota is a quota.Store in Redis: what replicas share of limits and budgets. Each operation is one script, on keys of
// one organisation, and so of one slot. It calls without a goroutine or a queue of its own: a reservation costs one round
// trip on the connection that all share.
//
// Redis may lose everything. It does not stay unnoticed: the organisation's key is gone, or counts fewer commands than
// this replica has seen answered, or a settlement is missing. Then a new epoch begins (see quota.Store). For this the server must
// not evict keys: its maxmemory-policy must be noeviction.
type Quota struct {
	s       *Store
	running atomic.Int64
	ahead   atomic.Int64 // of the server's clock, for tests

	mu   sync.Mutex // guards what follows
	orgs map[string]*standing
}

// A standing is what this replica has seen of an organisation.
type standing struct {
	tag          string
	epoch, count int64
	settled      map[string]uint64 // in this epoch, the last position of each replica that it settled for
}

var _ quota.Store = (*Quota)(nil)

// Quota is the store's part that counts limits and budgets. Ask for it once: it remembers what it has seen.
func (s *Store) Quota() *Quota { return &Quota{s: s, orgs: map[string]*standing{}} }

// A call is a script's keys and arguments. They are written into one buffer each: a reservation has fifty of them.
type call struct {
	org        string
	tag        string // begins every key of the organisation
	epoch      int64  // that was seen before
	keys, args words
	more       []*quota.Ask // whose keys come after those of the asks
}

// words are strings that share an allocation.
type words struct {
	text []byte
	ends []int
}

func (w *words) add(s string) {
	w.text = append(w.text, s...)
	w.end()
}

func (w *words) end() { w.ends = append(w.ends, len(w.text)) }

func (w *words) nums(all ...int64) {
	for _, n := range all {
		w.text = strconv.AppendInt(w.text, n, 10)
		w.end()
	}
}

func (w *words) strings() []string {
	text, from := string(w.text), 0
	out := make([]string, len(w.ends))
	for i, end := range w.ends {
		out[i] = text[from:end]
		from = end
	}
	return out
}

// tag begins every key of an organisation.
func (q *Quota) tag(org string) string {
	return "{" + q.s.opts.Prefix + ":" + url.QueryEscape(org) + "}:q1:"
}

// begin makes a call with the arguments that every script has first.
func (q *Quota) begin(org string) *call {
	q.mu.Lock()
	st := q.standing(org)
	c, epoch, count := &call{org: org, tag: st.tag, epoch: st.epoch}, st.epoch, st.count
	q.mu.Unlock()
	c.keys = words{make([]byte, 0, 1024), make([]int, 0, 16)}
	c.args = words{make([]byte, 0, 1024), make([]int, 0, 96)}
	c.key("org", "")
	c.args.nums(epoch, count, quota.Grace.Milliseconds(), quota.Lease.Milliseconds(), keepQuota.Milliseconds(), q.ahead.Load())
	return c
}

// key adds the key of a counter.
func (c *call) key(kind, name string) {
	c.keys.text = append(append(c.keys.text, c.tag...), kind...)
	c.keys.add(name)
}

// holds adds the keys of an organisation's holds.
func (c *call) holds() {
	c.key("expires", "")
	c.key("holds", "")
}

// standing is what has been seen of an organisation; q.mu is held.
func (q *Quota) standing(org string) *standing {
	st := q.orgs[org]
	if st == nil {
		st = &standing{tag: q.tag(org), settled: map[string]uint64{}}
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

// run runs a script, and gives what its answer has after the epoch and the count. Answers of a script have at least those.
func (q *Quota) run(ctx context.Context, script *rueidis.Lua, c *call, epochAt int) ([]string, error) {
	msg, err := q.do(ctx, script, c)
	if err != nil {
		return nil, err
	}
	var out []string
	if msg.IsArray() {
		out, err = msg.AsStrSlice()
	} else { // numbers alone come as one string, which costs less to read
		var text string
		text, err = msg.ToString()
		out = strings.Fields(text)
	}
	if err != nil {
		return nil, fmt.Errorf("redis: answer: %w", err)
	}
	n, err := numbers(out, epochAt, 2)
	if err != nil {
		return nil, err
	}
	q.saw(c.org, n[0], n[1])
	return out, nil
}

// do is Store.do for the path of requests: while all goes well a caller waits itself, without a goroutine.
func (q *Quota) do(ctx context.Context, script *rueidis.Lua, c *call) (rueidis.RedisMessage, error) {
	s := q.s
	if !s.enter() {
		return rueidis.RedisMessage{}, ErrResting
	}
	msg, err := q.try(ctx, script, c)
	s.leave(ctx, err)
	if err != nil {
		err = fmt.Errorf("redis: %w", err)
		if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			s.note(err)
		}
		return msg, err
	}
	if q.s.down() {
		s.note(nil)
	}
	return msg, nil
}

// down says whether the last call failed.
func (s *Store) down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.state.Up
}

var errNotConnected = errors.New("not connected yet")

func (q *Quota) try(ctx context.Context, script *rueidis.Lua, c *call) (rueidis.RedisMessage, error) {
	if !q.s.rest.Calm() { // a connection may have to be made first, which takes longer than a caller waits
		r := q.s.wait(ctx, func(ctx context.Context, client rueidis.Client) rueidis.RedisResult {
			return script.Exec(ctx, client, c.keys.strings(), c.args.strings())
		})
		return r.msg, r.err
	}
	select {
	case <-q.s.stop:
		return rueidis.RedisMessage{}, ErrClosed
	default:
	}
	select {
	case <-q.s.ready:
	default:
		return rueidis.RedisMessage{}, errNotConnected
	}
	defer q.running.Add(-1)
	if q.running.Add(1) > maxPath {
		return rueidis.RedisMessage{}, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, q.s.opts.Timeout)
	defer cancel()
	return script.Exec(ctx, q.s.client, c.keys.strings(), c.args.strings()).ToMessage()
}

// numbers reads some of an answer's numbers.
func numbers(all []string, at, n int) ([]int64, error) {
	if len(all) < at+n {
		return nil, fmt.Errorf("redis: an answer of %d members, want %d", len(all), at+n)
	}
	out := make([]int64, n)
	for i := range out {
		v, err := strconv.ParseInt(all[at+i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("redis: answer: %w", err)
		}
		out[i] = v
	}
	return out, nil
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
	c.args.add(h.ID)
	c.counters(h.Asks)
	c.args.add(bit(keeps))
	c.args.nums(int64(len(h.Asks)))
	for i := range h.Asks {
		c.ask(&h.Asks[i])
	}
	out, err := q.run(ctx, reserveScript, c, 2)
	if err != nil {
		return quota.Verdict{}, fmt.Errorf("reserve: %w", err)
	}
	return verdict(out, h)
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
	w := &c.args
	w.add(letter(a.Kind)[:1])
	switch a.Kind {
	case quota.Requests, quota.Tokens:
		w.nums(min(a.N, quota.MaxLimit), a.Per.Microseconds(), a.Cost)
	case quota.Parallel:
		w.nums(a.N)
	default:
		w.nums(a.Limit, a.Fixed, a.Least, a.Most)
		w.add(mode(a.Mode))
		w.nums(a.Grace.Milliseconds(), a.From.UnixMilli(), a.Until.UnixMilli(), a.Part, a.Oldest)
		if len(a.Alerts) > 0 { // 1000 50=500 100=1000
			w.text = strconv.AppendInt(w.text, a.Limit, 10)
			for _, al := range a.Alerts {
				w.text = strconv.AppendInt(append(w.text, ' '), int64(al.Percent), 10)
				w.text = strconv.AppendInt(append(w.text, '='), al.Amount, 10)
			}
		}
		w.end()
		w.nums(keepUntil(a))
	}
}

func keepUntil(a *quota.Ask) int64 {
	if a.Rolling {
		return a.Until.Add(rollingKept).UnixMilli()
	}
	return a.Until.Add(keepPast).UnixMilli()
}

// counters writes the names of the asks' budgets as netstrings, for the sweeper.
func (c *call) counters(asks []quota.Ask) {
	w := &c.args
	for i := range asks {
		if asks[i].Kind.Budget() {
			w.text = append(strconv.AppendInt(w.text, int64(len(asks[i].Key)), 10), ':')
			w.text = append(w.text, asks[i].Key...)
		}
	}
	w.end()
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

// verdict reads the answer of reserve.lua and extend.lua.
func verdict(out []string, h *quota.Hold) (quota.Verdict, error) {
	n, err := numbers(out, 0, 6+5*len(h.Asks))
	if err != nil {
		return quota.Verdict{}, err
	}
	if n[0] < 0 || n[0] > int64(quota.Gone) || n[1] < 0 || n[1] >= max(int64(len(h.Asks)), 1) {
		return quota.Verdict{}, fmt.Errorf("redis: answer %d to ask %d", n[0], n[1])
	}
	v := quota.Verdict{
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
	return v, nil
}

// Extend implements quota.Store.
func (q *Quota) Extend(ctx context.Context, h *quota.Hold) (quota.Verdict, error) {
	c := q.begin(h.Org)
	c.args.add(h.ID)
	c.args.nums(int64(len(h.Asks)))
	for i := range h.Asks {
		a := &h.Asks[i]
		c.key("b:", a.Key)
		c.args.nums(a.Limit, a.Least, a.Most)
		c.args.add(mode(a.Mode))
		c.args.nums(a.Grace.Milliseconds(), a.Oldest, a.Until.UnixMilli())
	}
	out, err := q.run(ctx, extendScript, c, 2)
	if err != nil {
		return quota.Verdict{}, fmt.Errorf("extend: %w", err)
	}
	return verdict(out, h)
}

// Release implements quota.Store.
func (q *Quota) Release(ctx context.Context, org string, list []quota.Freed) error {
	c := q.begin(org)
	c.holds()
	c.freed(nil, list)
	if _, err := q.run(context.WithoutCancel(ctx), releaseScript, c, 0); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// freed writes holds that end for free.lua, in a call that has the keys of asks.
func (c *call) freed(asks []quota.Ask, list []quota.Freed) {
	limits := func(a *quota.Ask) bool { return a.Kind == quota.Parallel || a.Kind == quota.Tokens }
	c.args.nums(int64(len(list)))
	for i := range list {
		h := list[i].Hold
		c.args.add(h.ID)
		c.args.nums(min(list[i].Tokens, quota.MaxLimit), count(h.Asks, limits))
		for j := range h.Asks {
			a := &h.Asks[j]
			if !limits(a) {
				continue
			}
			c.args.add(letter(a.Kind)[:1])
			c.args.nums(c.number(asks, a))
			if a.Kind == quota.Tokens {
				c.args.nums(a.Per.Microseconds(), a.Cost, a.Slot)
			}
		}
	}
}

// number is that of a counter's key, after those of the holds. The call has the keys of asks, and the key is added if it is none of
// them.
func (c *call) number(asks []quota.Ask, a *quota.Ask) int64 {
	same := func(b *quota.Ask) bool { return b.Kind == a.Kind && b.Key == a.Key }
	if i := slices.IndexFunc(asks, func(b quota.Ask) bool { return same(&b) }); i >= 0 {
		return int64(i + 1)
	}
	i := slices.IndexFunc(c.more, same)
	if i < 0 {
		i = len(c.more)
		c.more = append(c.more, a)
		c.key(letter(a.Kind), a.Key)
	}
	return int64(len(asks) + i + 1)
}

func count(asks []quota.Ask, f func(*quota.Ask) bool) (n int64) {
	for i := range asks {
		if f(&asks[i]) {
			n++
		}
	}
	return n
}
