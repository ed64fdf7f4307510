package app

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice/internal/backend/redis"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
)

// clock compares this machine's clock with somebody's, who is known to be ahead by so much, give or take.
func clock(whose string, ahead, unsure time.Duration) Finding {
	const name, cure = "clock", "keep both clocks by NTP (chrony, systemd-timesyncd): expiry, periods of budgets and leases go by them"
	seen := fmt.Sprintf("%s of %s is ahead by %s, give or take %s", "the clock", whose, ahead.Round(time.Millisecond), unsure.Round(time.Millisecond))
	switch off := ahead.Abs() - unsure; {
	case off > 30*time.Second:
		return problem(cure, "%s", seen).of(name)
	case off > 2*time.Second:
		return warn(cure, "%s", seen).of(name)
	}
	return fine("that of %s is the same, give or take %s", whose, (ahead.Abs() + unsure).Round(time.Millisecond)).of(name)
}

// lookStore tells whether the store can be used by this release.
func lookStore(ctx context.Context, p *patient) []Finding {
	if p.o.Offline && usesPostgres(p.cfg) {
		return []Finding{skip("--offline")}
	}
	in, err := sql.Inspect(ctx, sql.Options{DSN: p.cfg.Store.URL, Dir: p.cfg.Data})
	if err != nil {
		return []Finding{problem("start the database, or correct store.url", "%s", err)}
	}
	out := []Finding{schemaFinding(in)}
	if in.Engine == "postgres" {
		out = append(out, postgresFindings(in, p.cfg.Store.Connections)...)
	}
	return out
}

// usesPostgres tells whether the store is one that replicas can share.
func usesPostgres(cfg *config.Config) bool {
	return strings.HasPrefix(string(cfg.Store.URL), "postgres")
}

func schemaFinding(in *sql.Inspection) Finding {
	switch {
	case !in.Exists && in.Engine == "postgres" && !in.MayMake:
		return problem("GRANT CREATE, USAGE ON SCHEMA public TO its user, or name a database of its own", "%s has no tables of ours, and the user may not make any", in.At)
	case !in.Exists:
		return fine("%s: not there yet; the first start makes it", in.At)
	case in.Least > in.Ours:
		return problem("run the newer release", "%s needs a release that knows migration %d, and this one knows %d", in.At, in.Least, in.Ours)
	case in.Schema > in.Ours:
		return warn("update this program when the others are", "%s is of a newer release (migration %d; this one knows %d), which this one can run beside", in.At, in.Schema, in.Ours)
	case in.Schema < in.Ours && in.Engine == "postgres" && !in.MayMake:
		return problem("GRANT CREATE ON SCHEMA public TO its user", "%s has migration %d of %d, and the user may not make tables", in.At, in.Schema, in.Ours)
	case in.Schema < in.Ours:
		return fine("%s: migration %d of %d; the next start makes the rest", in.At, in.Schema, in.Ours)
	}
	return fine("%s, version %s: all %d migrations", in.At, in.Version, in.Ours)
}

func postgresFindings(in *sql.Inspection, wants int) (out []Finding) {
	out = append(out, clock("PostgreSQL", in.Ahead, in.Latency/2))
	if in.ReadOnly {
		out = append(out, problem("name the primary in store.url", "the server takes no writes: it is a standby, or read-only"))
	}
	if number, _, _ := strings.Cut(in.Version, "."); olderThan(number, 15) {
		out = append(out, warn("update it", "PostgreSQL %s is older than 15, with which this release was tested", in.Version))
	}
	if room := in.Most - in.Used; room < wants {
		out = append(out, warn("raise max_connections, or lower store.connections; each replica takes as many", "%d of %d connections are left, and store.connections is %d", room, in.Most, wants))
	} else {
		out = append(out, fine("%d of %d connections are left", room, in.Most))
	}
	if !in.TLS && !in.Local {
		out = append(out, warn("add sslmode=verify-full to store.url", "the connection is not encrypted, and leaves this machine"))
	}
	return append(out, latency("store", in.Latency, 20*time.Millisecond, time.Second))
}

func olderThan(number string, least int) bool {
	n, err := strconv.Atoi(number)
	return err == nil && n < least
}

func latency(whose string, took, slow, bad time.Duration) Finding {
	const cure = "bring it nearer: the same zone, no proxy between"
	took = took.Round(time.Microsecond)
	switch {
	case took > bad:
		return problem(cure, "a round trip to the %s takes %s", whose, took)
	case took > slow:
		return warn(cure, "a round trip to the %s takes %s", whose, took)
	}
	return fine("a round trip takes %s", took)
}

// lookRedis tells whether Redis can hold what replicas share.
func lookRedis(ctx context.Context, p *patient) []Finding {
	c := &p.cfg.Redis
	if c.URL == "" {
		return []Finding{skip("there is none: this gateway shares nothing with others")}
	}
	o, err := redisOptions(c, nil)
	if err != nil {
		return []Finding{problem("correct it", "%s", err)}
	}
	in, err := redis.Inspect(ctx, o)
	if err != nil {
		return []Finding{problem("start it, or correct redis.url; without it limits are refused or counted by each replica alone", "%s", err)}
	}
	out := redisFindings(in)
	if u, err := url.Parse(string(c.URL)); err == nil && !here(u.Hostname()) {
		if u.Scheme == "redis" {
			out = append(out, warn("use rediss://", "the connection is not encrypted, and leaves this machine"))
		}
		if u.User == nil {
			out = append(out, warn("give it a password, and put it into redis.url", "anybody who reaches it may change what limits have counted"))
		}
	}
	return out
}

func redisFindings(in *redis.Inspection) (out []Finding) {
	for i := range in.Nodes {
		out = append(out, nodeFindings(&in.Nodes[i])...)
	}
	if in.Scripts != nil {
		out = append(out, problem("let the user run scripts on keys that begin with redis.prefix (ACL), on Redis 7 or later", "its scripts do not all run: %s", in.Scripts))
	} else {
		out = append(out, fine("all scripts run"))
	}
	// A caller waits for it for 50 ms at most.
	return append(out, latency("Redis", in.Latency, 5*time.Millisecond, 50*time.Millisecond), clock("Redis", in.Ahead, in.Latency/2))
}

func nodeFindings(n *redis.Node) (out []Finding) {
	who := strings.TrimSpace(n.Version + " " + n.Addr)
	add := func(f Finding) { out = append(out, f) }
	if n.Policy != "" && n.Policy != "noeviction" {
		add(problem("CONFIG SET maxmemory-policy noeviction, and in its file", "%s: maxmemory-policy is %s, so counters of budgets can vanish", who, n.Policy))
	}
	if n.MaxMemory > 0 && n.Used > n.MaxMemory/10*9 {
		add(warn("raise maxmemory: when it is full, limits cannot be counted", "%s: %s of %s are used", who, size(uint64(n.Used)), size(uint64(n.MaxMemory))))
	}
	if n.Loading {
		add(warn("wait", "%s: it reads its data, and answers nothing meanwhile", who))
	}
	if n.Failing != "" {
		add(problem("see its log: mostly a full disk; it may refuse writes for it", "%s: it cannot keep its data (%s)", who, n.Failing))
	}
	if major, _, ok := strings.Cut(n.Version, "."); ok && olderThan(major, 7) {
		add(warn("update it", "%s: this release was tested with Redis 7 and 8, and Valkey", who))
	}
	if !n.Append && n.Role == "master" {
		add(warn("set appendonly yes (and appendfsync everysec), so that a restart keeps the counters", "%s: appendonly is off: after a restart hard budgets wait until their counters are known again", who))
	}
	if len(out) == 0 {
		add(fine("%s, %s", who, n.Role))
	}
	return out
}
