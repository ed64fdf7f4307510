package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"sluice/internal/idempotency"
	"sluice/internal/quota"
	"sluice/internal/upstream"
)

// An Inspection is what Inspect has seen.
type Inspection struct {
	Kind    string // single, sentinel or cluster
	Nodes   []Node
	Latency time.Duration // of a round trip, the middle of several
	Ahead   time.Duration // that the server's clock is of ours, give or take half a round trip
	Scripts error         // that a dry run of the scripts ended with; nil: they work
}

// A Node is one server, as it tells of itself. What it does not tell is zero.
type Node struct {
	Addr      string
	Version   string
	Role      string // master or slave
	Policy    string // maxmemory_policy
	MaxMemory int64  // bytes; 0: no limit
	Used      int64  // bytes
	Loading   bool
	Append    bool   // the append-only file is on
	Failing   string // which way of persistence failed the last time; "": none
}

const (
	inspectDial = 3 * time.Second
	inspectWait = 2 * time.Second
	roundTrips  = 5 // of which the middle is the latency
)

// Inspect looks at the servers and runs every script once, on keys of its own, which it removes. Its errors never repeat
// the URL.
func Inspect(ctx context.Context, o Options) (*Inspection, error) {
	o.Dial, o.Timeout = inspectDial, inspectWait
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	co, err := o.client()
	if err != nil {
		return nil, err
	}
	c, err := rueidis.NewClient(co)
	if err != nil {
		if c != nil {
			c.Close()
		}
		return nil, err
	}
	defer c.Close()
	in := &Inspection{Kind: o.kind()}
	if err := in.clock(ctx, c); err != nil {
		return nil, err
	}
	nodes := map[string]rueidis.Client{"": c}
	if o.Cluster {
		nodes = c.Nodes()
	}
	for addr, node := range nodes {
		text, err := node.Do(ctx, node.B().Info().Build()).ToString()
		if err != nil {
			return nil, fmt.Errorf("INFO %s: %w", addr, err)
		}
		in.Nodes = append(in.Nodes, readInfo(addr, text))
	}
	slices.SortFunc(in.Nodes, func(a, b Node) int { return strings.Compare(a.Addr, b.Addr) })
	in.Scripts = dryRun(ctx, o)
	return in, nil
}

// clock measures round trips, and compares clocks.
func (in *Inspection) clock(ctx context.Context, c rueidis.Client) error {
	var took []time.Duration
	for range roundTrips {
		sent := time.Now()
		at, err := c.Do(ctx, c.B().Time().Build()).AsStrSlice()
		if err != nil {
			return fmt.Errorf("TIME: %w", err)
		}
		n, err := numbers(at, 2)
		if err != nil {
			return err
		}
		took = append(took, time.Since(sent))
		in.Ahead = time.Unix(n[0], n[1]*1000).Sub(sent.Add(took[len(took)-1] / 2))
	}
	slices.Sort(took)
	in.Latency = took[len(took)/2]
	return nil
}

// readInfo reads the answer of INFO.
func readInfo(addr, text string) Node {
	f := map[string]string{}
	for line := range strings.Lines(text) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			f[name] = v
		}
	}
	n := Node{
		Addr: addr, Version: f["redis_version"], Role: f["role"], Policy: f["maxmemory_policy"],
		Loading: f["loading"] == "1", Append: f["aof_enabled"] == "1",
	}
	if v := f["valkey_version"]; v != "" {
		n.Version = "Valkey " + v
	}
	n.MaxMemory, _ = strconv.ParseInt(f["maxmemory"], 10, 64)
	n.Used, _ = strconv.ParseInt(f["used_memory"], 10, 64)
	for _, name := range []string{"rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status"} {
		if f[name] == "err" {
			n.Failing = name
		}
	}
	return n
}

// dryRun runs every script under a prefix that nobody else has, and removes what they have left.
func dryRun(ctx context.Context, o Options) (err error) {
	o.Prefix += ":doctor:" + rand.Text()[:10]
	s, err := Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	select {
	case <-s.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	const name = "doctor"
	once, err := s.Once(make([]byte, 32))
	if err != nil {
		return err
	}
	q, now := s.Quota(), time.Now()
	left := slices.Concat(s.names.sync, []string{once.name(idempotency.Key{})})
	for _, key := range []string{"org", "expires", "holds", "p:" + name, "b:" + name} {
		left = append(left, q.tag(name)+key)
	}
	defer func() { err = errors.Join(err, s.remove(context.WithoutCancel(ctx), left)) }()

	hold := &quota.Hold{Org: name, ID: name, Asks: []quota.Ask{{Counter: &quota.Counter{Kind: quota.Parallel, Key: name, N: 1}}}}
	for _, step := range []struct {
		script string
		run    func() error
	}{
		{"sync", func() error { _, err := s.Sync(ctx, upstream.Report{Replica: name}); return err }},
		{"tell", func() error { return s.Tell(ctx, upstream.Notice{Deployment: name, Reset: true}) }},
		{"claim", func() error {
			_, _, _, err := once.Begin(ctx, idempotency.Key{}, idempotency.Print{}, name, inspectWait)
			return err
		}},
		{"swap", func() error { return once.Drop(ctx, idempotency.Key{}, idempotency.Print{}, name) }},
		{"quota_reserve", func() error { _, err := q.Reserve(ctx, hold); return err }},
		{"quota_extend", func() error { _, err := q.Extend(ctx, &quota.Hold{Org: name, ID: name}); return err }},
		{"quota_renew", func() error { _, err := q.Renew(ctx, name, []*quota.Hold{hold}); return err }},
		{"quota_release", func() error { return q.Release(ctx, name, []quota.Freed{{Hold: hold}}) }},
		{"quota_settle", func() error { _, err := q.Settle(ctx, quota.Batch{Org: name, Replica: name}); return err }},
		{"quota_seed", func() error { return q.Seed(ctx, name, 0, nil) }},
		{"quota_levels", func() error { _, err := q.Levels(ctx, name, []string{name}); return err }},
		{"quota_due", func() error { return q.Sweep(ctx, name) }},
		{"quota_sweep", func() error { return q.sweep(ctx, name, []string{name, ""}) }},
	} {
		if err := step.run(); err != nil {
			return fmt.Errorf("script %s, after %s: %w", step.script, time.Since(now).Round(time.Millisecond), err)
		}
	}
	return nil
}

// remove deletes keys, each by a command of its own: those of a cluster are on different servers.
func (s *Store) remove(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if _, err := s.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
			return c.Do(ctx, c.B().Del().Key(key).Build())
		}); err != nil {
			return fmt.Errorf("remove %s: %w", key, err)
		}
	}
	return nil
}
