package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/quota"
)

// An index numbers the counters of a script's call, whose keys come after those of the holds.
type index struct {
	c    *call
	seen map[string]int64
}

func newIndex(c *call) *index {
	c.holds()
	return &index{c, map[string]int64{}}
}

func (x *index) of(kind, name string) int64 {
	n, ok := x.seen[kind+name]
	if !ok {
		n = int64(len(x.seen) + 1)
		x.seen[kind+name] = n
		x.c.key(kind, name)
	}
	return n
}

// Renew implements quota.Store.
func (q *Quota) Renew(ctx context.Context, org string, holds []*quota.Hold) (quota.Outcome, error) {
	c := q.begin(org)
	x := newIndex(c)
	c.nums(int64(len(holds)))
	renews := func(a *quota.Ask) bool { return a.Kind == quota.Parallel || a.Kind.Budget() }
	for _, h := range holds {
		c.text(h.ID)
		c.counters(h.Asks)
		c.nums(count(h.Asks, renews))
		for i := range h.Asks {
			if a := &h.Asks[i]; renews(a) {
				kind := letter(a.Kind)
				c.word(kind[:1])
				c.nums(x.of(kind, a.Key), a.Granted, a.Spent, keepUntil(a))
			}
		}
	}
	out, err := q.run(ctx, renewScript, c)
	if err != nil {
		return quota.Outcome{}, fmt.Errorf("renew: %w", err)
	}
	n, err := numbers(out, 1)
	if err != nil {
		return quota.Outcome{}, err
	}
	return quota.Outcome{Epoch: n[0]}, nil
}

// Settle implements quota.Store.
func (q *Quota) Settle(ctx context.Context, b quota.Batch) (quota.Outcome, error) {
	c := q.begin(b.Org)
	x := newIndex(c)
	q.mu.Lock()
	after, seen := q.standing(b.Org).settled[b.Replica], c.epoch
	q.mu.Unlock()
	c.text(b.Replica)
	c.word(strconv.FormatUint(after, 10))
	c.word(bit(b.Again))
	c.nums(int64(len(b.List)))
	names, last := []string{""}, after
	for i := range b.List {
		s := &b.List[i]
		last = max(last, s.Position)
		refs := refsOf(b.Org, s)
		c.text(s.ID)
		c.word(strconv.FormatUint(s.Position, 10))
		c.nums(int64(len(refs)))
		for _, ref := range refs {
			k := x.of("b:", ref.Counter)
			if int(k) == len(names) {
				names = append(names, ref.Counter)
			}
			c.nums(k, ref.Part, ref.Amount(s), refKept(ref).UnixMilli())
		}
	}
	out, err := q.run(ctx, settleScript, c)
	if err != nil {
		return quota.Outcome{}, fmt.Errorf("settle: %w", err)
	}
	if o, err := outcome(out, names); err != nil || seen != 0 && o.Epoch != seen {
		o.Missed = true
		return o, err
	}
	q.mu.Lock()
	st := q.standing(b.Org)
	st.settled[b.Replica] = max(st.settled[b.Replica], last)
	q.mu.Unlock()
	return outcome(out, names)
}

// refsOf are the counters that a settlement must reach, but for those that nobody will ever ask.
func refsOf(org string, s *quota.Settlement) (refs []quota.Ref) {
	past := time.Now().Add(time.Hour)
	for _, name := range s.Counters {
		if ref, ok := quota.ParseRef(name); ok && ref.Org == org && refKept(ref).After(past) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// refKept is until when a settled counter is kept.
func refKept(r quota.Ref) time.Time {
	if r.Rolling {
		return time.Unix(r.Part, 0).Add(rollingKept)
	}
	return r.Until.Add(keepPast)
}

func outcome(out, names []string) (quota.Outcome, error) {
	n, err := numbers(out, 2+(len(out)-2)/4*4)
	if err != nil {
		return quota.Outcome{}, err
	}
	o := quota.Outcome{Epoch: n[0]}
	for c := range slices.Chunk(n[2:], 4) {
		if c[0] < 1 || c[0] >= int64(len(names)) {
			return o, fmt.Errorf("redis: an alert of counter %d", c[0])
		}
		o.Crossed = append(o.Crossed, quota.Crossing{Counter: names[c[0]], Percent: int(c[1]), Spent: c[2], Limit: c[3]})
	}
	slices.SortStableFunc(o.Crossed, func(a, b quota.Crossing) int { return strings.Compare(a.Counter, b.Counter) })
	return o, nil
}

// Seed implements quota.Store.
func (q *Quota) Seed(ctx context.Context, org string, epoch int64, levels []quota.Level) error {
	c := q.begin(org)
	c.nums(epoch, int64(len(levels)))
	for _, l := range levels {
		c.key("b:", l.Counter)
		till := time.Now().Add(keepQuota) // until the first hold says better
		if ref, ok := quota.ParseRef(l.Counter); ok && !ref.Rolling {
			till = refKept(ref)
		}
		c.nums(till.UnixMilli(), int64(len(l.Parts)))
		for _, p := range l.Parts {
			c.nums(p.Start, max(p.Amount, 0))
		}
		c.nums(int64(len(l.Marks)))
		for _, replica := range slices.Sorted(maps.Keys(l.Marks)) {
			c.text(replica)
			c.word(strconv.FormatUint(l.Marks[replica], 10))
		}
	}
	if _, err := q.run(ctx, seedScript, c); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	return nil
}

// Levels implements quota.Store.
func (q *Quota) Levels(ctx context.Context, org string, counters []string) ([]quota.Level, error) {
	c := q.call(org)
	c.key("org", "")
	for _, name := range counters {
		c.key("b:", name)
	}
	msg, err := q.do(ctx, levelsScript, c)
	if err != nil {
		return nil, fmt.Errorf("levels: %w", err)
	}
	all, err := msg.ToArray()
	if err != nil || len(all) != len(counters) {
		return nil, fmt.Errorf("levels: an answer of %d members: %w", len(all), err)
	}
	out := make([]quota.Level, 0, len(counters))
	for i, name := range counters {
		fields, err := all[i].AsStrSlice()
		if err != nil {
			return nil, fmt.Errorf("levels: %w", err)
		}
		out = append(out, readLevel(name, fields))
	}
	return out, nil
}

// readLevel reads a counter's hash; what nobody of ours wrote is not in it.
func readLevel(name string, fields []string) quota.Level {
	l := quota.Level{Counter: name, Cold: true}
	for f := range slices.Chunk(fields, 2) {
		if len(f) < 2 {
			break
		}
		switch kind, rest, _ := strings.Cut(f[0], ":"); kind {
		case "k":
			l.Cold = false
		case "h":
			l.Held, _ = strconv.ParseInt(f[1], 10, 64)
		case "s":
			start, err := strconv.ParseInt(rest, 10, 64)
			amount, err2 := strconv.ParseInt(f[1], 10, 64)
			if err == nil && err2 == nil {
				l.Parts = append(l.Parts, quota.Part{Start: start, Amount: amount})
			}
		case "r":
			if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				if l.Marks == nil {
					l.Marks = map[string]uint64{}
				}
				l.Marks[rest] = n
			}
		}
	}
	slices.SortFunc(l.Parts, func(a, b quota.Part) int { return int(a.Start - b.Start) })
	return l
}

// Sweep implements quota.Store. It takes a second script when there is something to sweep: a script must name its keys
// before it runs.
func (q *Quota) Sweep(ctx context.Context, org string) error {
	const most = 100
	for {
		c := q.begin(org)
		c.holds()
		c.nums(most)
		due, err := q.run(ctx, dueScript, c)
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if due = due[2:]; len(due) < 2 {
			return nil
		}
		if err := q.sweep(ctx, org, due); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if len(due) < 2*most {
			return nil
		}
	}
}

func (q *Quota) sweep(ctx context.Context, org string, due []string) error {
	c := q.begin(org)
	x := newIndex(c)
	c.nums(int64(len(due) / 2))
	for hold := range slices.Chunk(due, 2) {
		if len(hold) < 2 {
			break
		}
		counters, err := readCounters(hold[1])
		if err != nil {
			counters = nil // somebody else's; it goes
		}
		c.text(hold[0])
		c.nums(int64(len(counters)))
		for _, name := range counters {
			c.nums(x.of("b:", name))
		}
	}
	_, err := q.run(ctx, sweepScript, c)
	return err
}

// Restart implements quota.Store. Without the organisation's key nothing in Redis is of its epoch any more.
func (q *Quota) Restart(ctx context.Context, org string) error {
	if err := q.s.client.Do(ctx, q.s.client.B().Del().Key(q.tag(org)+"org").Build()).Error(); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return nil
}
