package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/rules"
)

// Rule says what may be consumed: limits on the pace, and budgets. A call must have room under every rule that
// holds for it, or it is refused and consumes nothing.
type Rule struct {
	// What it is called in refusals, and by what its counters are known: lower case letters, digits, - and _. Unique where it stands.
	Name string `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9_-]*$" example:"month"`
	// The models it holds for, by the name a client says; * stands for anything. Left out: all.
	Models []string `yaml:"models" example:"gpt-4o*"`
	// What it counts apart: each key, user, team, project or model has as much. Left out, all have it together.
	Per []string `yaml:"per" enum:"key,user,team,project,model" example:"key"`
	// Most requests, as a number and second, minute, hour or day; several may stand together.
	Requests []string `yaml:"requests" example:"600/minute"`
	// Most tokens, read and written together, in the same form.
	Tokens []string `yaml:"tokens" example:"200000/minute"`
	// Most calls under way at a time.
	Parallel int `yaml:"parallel" min:"0" max:"1000000" example:"20"`
	// Most money or tokens for a period.
	Budgets []Budget `yaml:"budgets"`
}

// SharedRule is a rule and whom it holds for. What is left out does not restrict.
type SharedRule struct {
	// Keys that it holds for, by name or public part; * stands for anything.
	Keys []string `yaml:"keys" example:"ci-*"`
	// Teams that it holds for.
	Teams []string `yaml:"teams" example:"search"`
	// Users that it holds for.
	Users []string `yaml:"users" example:"ann"`
	// Projects that it holds for.
	Projects []string `yaml:"projects" example:"chatbot"`
	// Organisations that it holds for.
	Organisations []string `yaml:"organisations" example:"default"`
	Rule          `yaml:",inline"`

	// Stored tells that it is one of the store's.
	Stored bool `yaml:"-"`
}

// Holds tells whether the rule holds for a key, by its name or public part, and its owners.
func (r *SharedRule) Holds(names []string, organisation, team, user, project string) bool {
	any := func(globs []string, names ...string) bool {
		return len(globs) == 0 || slices.ContainsFunc(globs, func(glob string) bool {
			return slices.ContainsFunc(names, func(name string) bool { return name != "" && llm.Match(glob, name) })
		})
	}
	return any(r.Keys, names...) && any(r.Organisations, organisation) && any(r.Teams, team) && any(r.Users, user) && any(r.Projects, project)
}

// Budget is an amount for a period. Give dollars or tokens.
type Budget struct {
	// US dollars.
	Dollars llm.Nano `yaml:"dollars" example:"500"`
	// Tokens, read and written together.
	Tokens int64 `yaml:"tokens" example:"10000000"`
	// How often it is whole again. A calendar period begins at midnight in zone, a week on Monday; a rolling one is always the last so much time.
	Every string `yaml:"every" required:"true" enum:"hour,day,week,month,quarter,rolling-hour,rolling-day,rolling-week,rolling-30-days" example:"month"`
	// Time zone of the calendar. Left out: UTC.
	Zone string `yaml:"zone" example:"Europe/Berlin"`
	// When it is used up: hard refuses calls, soft lets them pass and tells by alerts, hard_after_grace is soft for a while. Left out: hard.
	Mode string `yaml:"mode" enum:"hard,soft,hard_after_grace" example:"soft"`
	// With hard_after_grace: how long calls pass after the limit was reached.
	Grace time.Duration `yaml:"grace" example:"24h"`
	// Percent of the limit at which the webhooks of alerts are told.
	Alerts []int `yaml:"alerts" example:"80"`
	// Other limits for the periods that begin in a span of time.
	Overrides []Override `yaml:"overrides"`
}

// Override is another limit of a budget for a while.
type Override struct {
	// The first period that begins at or after it is the first with this limit.
	From time.Time `yaml:"from" required:"true" example:"2026-12-01"`
	// Periods that begin at or after it have the budget's own limit again.
	Until time.Time `yaml:"until" required:"true" example:"2027-01-01"`
	// US dollars, where the budget is in dollars.
	Dollars llm.Nano `yaml:"dollars" example:"900"`
	// Tokens, where the budget is in tokens.
	Tokens int64 `yaml:"tokens" example:"20000000"`
}

// Store is the database of keys, their owners and the ledger.
type Store struct {
	// Left out: SQLite in the file sluice.db of the data directory. With several replicas: PostgreSQL, as postgres://user:password@host/database.
	URL llm.Secret `yaml:"url" example:"${DATABASE_URL}" restart:"true"`
	// Most connections to PostgreSQL.
	Connections int `yaml:"connections" min:"2" max:"1000" example:"20" restart:"true"`
}

// Ledger says how calls are accounted for.
type Ledger struct {
	// Account for nothing: no rows, no reports, and no budgets, which are refused.
	Off bool `yaml:"off" restart:"true"`
	// Longest time between a call's end and its record being safe from a loss of power. A crash of the program alone loses nothing.
	Sync time.Duration `yaml:"sync" example:"1ms" restart:"true"`
	// Most bytes of records that wait on the disk for the database.
	Spool Size `yaml:"spool" example:"4GiB" restart:"true"`
	// What happens to new calls when that is used up or the disk is full: refuse them, or go_on and count what is not accounted for.
	WhenFull string `yaml:"when_full" enum:"refuse,go_on" example:"go_on" restart:"true"`
	// How long the accounts of single calls are kept. Sums for each quarter of an hour stay for five times as long.
	Keep time.Duration `yaml:"keep" off:"true" example:"720h"`
}

// Audit says how the audit log is kept. It is kept for ever.
type Audit struct {
	// The private key that its checkpoints are signed with, as sluice audit keys --new draws it; replicas should have the same. Left out: the file audit.key of the data directory, made at the first start.
	Key llm.Secret `yaml:"key" example:"${SLUICE_AUDIT_KEY}" restart:"true"`
	// A file that is given each checkpoint as a line: with it, sluice audit verify finds that the end of the log was taken away or written anew (docs/audit.md).
	Anchor string `yaml:"anchor" example:"/var/log/sluice/audit-anchor.jsonl" restart:"true"`
}

// Prices says what models cost that the price table does not have, or has otherwise.
type Prices struct {
	// A price file (docs/prices.md). It wins over the prices in the program and in the data directory for the models that it names; a deployment's own price wins over it.
	File string `yaml:"file" example:"/etc/sluice/prices.yaml"`
	// What a model costs that nobody has priced: a guess that should be too high. Left out, such a model has no price, and budgets in dollars refuse it.
	Unknown Price `yaml:"unknown"`
}

// ModelPrice is what a provider charges for models.
type ModelPrice struct {
	// What this price is called.
	Name string `yaml:"name" required:"true" example:"contract-4o"`
	// The provider that charges it.
	Provider string `yaml:"provider" required:"true" example:"openai"`
	// The provider's names for the models; * stands for anything, and the most particular name wins.
	Models []string `yaml:"models" required:"true" example:"gpt-4o*"`
	// From when on it holds. Another price with a later time takes over. Left out: ever since.
	From time.Time `yaml:"from" example:"2026-12-01"`
	// US dollars for a million input tokens. It must be said; 0 is free.
	Input llm.Rate `yaml:"input" example:"2.50"`
	// For those of them that were read from a prompt cache. Left out: as input.
	CacheRead llm.Rate `yaml:"cache_read" example:"1.25"`
	// For those that were written to one. Left out: as input.
	CacheWrite llm.Rate `yaml:"cache_write" example:"3.10"`
	// For those that were written to be kept longer. Left out: as cache_write.
	CacheWrite1h llm.Rate `yaml:"cache_write_1h" example:"5"`
	// US dollars for a million output tokens. It must be said; 0 is free.
	Output llm.Rate `yaml:"output" example:"10"`
	// For those of them that were spent on thinking. Left out: as output.
	Reasoning llm.Rate `yaml:"reasoning" example:"12"`

	// Stored tells that it is one of the store's.
	Stored bool `yaml:"-"`
}

// Disconnect says what becomes of a call whose client leaves.
type Disconnect struct {
	// cancel ends the upstream's call at once, and its cost is estimated; drain reads it to its end to learn the true one.
	Policy string `yaml:"policy" enum:"cancel,drain" example:"drain"`
	// Longest time that a call goes on without its client.
	Drain time.Duration `yaml:"drain" example:"1m"`
}

// Idempotency says how long the answers of calls with an Idempotency-Key are kept.
type Idempotency struct {
	// How long.
	Keep time.Duration `yaml:"keep" example:"1h" restart:"true"`
	// Largest answer that is kept.
	Answer Size `yaml:"answer" example:"256KiB" restart:"true"`
	// Most bytes of answers that are kept in memory; the oldest go first.
	Memory Size `yaml:"memory" example:"256MiB" restart:"true"`
}

// Alerts are told when a budget passes a threshold.
type Alerts struct {
	// Where they are told, each at least once.
	Webhooks []Webhook `yaml:"webhooks" restart:"true"`
}

// Webhook is an address that is told by a signed POST.
type Webhook struct {
	// Where.
	URL llm.Secret `yaml:"url" required:"true" example:"https://hooks.example.com/budgets"`
	// What the POST is signed with, at least 32 characters: the header X-Sluice-Signature holds t=TIME,v1=HEX, an HMAC-SHA-256 of TIME, a point and the body.
	Secret llm.Secret `yaml:"secret" required:"true" example:"${WEBHOOK_SECRET}"`
	// Private, loopback or otherwise special address ranges it may be in. All others of that sort are refused when dialled.
	AllowPrivate []netip.Prefix `yaml:"allow_private" example:"10.20.0.0/16"`
}

// asPeopleWrite are the rules in the words of package rules, which knows what is wrong with them.
func asPeopleWrite(list []Rule) []rules.Rule {
	out := make([]rules.Rule, len(list))
	for i := range list {
		r := &list[i]
		out[i] = rules.Rule{Name: r.Name, Models: r.Models, Per: r.Per, Requests: r.Requests, Tokens: r.Tokens, Parallel: int64(r.Parallel)}
		for j := range r.Budgets {
			b := &r.Budgets[j]
			p := rules.Budget{Dollars: dollars(b.Dollars), Tokens: b.Tokens, Every: b.Every, Zone: b.Zone, Mode: b.Mode, Alerts: b.Alerts}
			if b.Grace != 0 {
				p.Grace = rules.FormatSpan(b.Grace)
			}
			for _, o := range b.Overrides {
				p.Overrides = append(p.Overrides, rules.Override{
					From: o.From.Format(time.RFC3339), Until: o.Until.Format(time.RFC3339), Dollars: dollars(o.Dollars), Tokens: o.Tokens,
				})
			}
			out[i].Budgets = append(out[i].Budgets, p)
		}
	}
	return out
}

func dollars(n llm.Nano) string {
	if n == 0 {
		return ""
	}
	return n.String()
}

// rules reads the rules that stand at a path.
func (d *decoder) rules(path string, list []Rule) []llm.Rule {
	out, problems := rules.Read(asPeopleWrite(list))
	for _, p := range problems {
		at := path
		for part := range strings.SplitSeq(strings.TrimPrefix(p.At, "/"), "/") {
			if _, err := strconv.Atoi(part); err == nil {
				at += "[" + part + "]"
			} else if part != "" {
				at += "." + part
			}
		}
		if amount, ok := strings.CutSuffix(at, ".tokens"); ok && d.bad[amount+".dollars"] {
			continue // dollars were given, but wrongly
		}
		d.fail(at, "%s", p.Msg)
	}
	return out
}

// shared are the rules of the document's top, without whom they hold for.
func (c *Config) shared() []Rule {
	list := make([]Rule, len(c.Rules))
	for i := range c.Rules {
		list[i] = c.Rules[i].Rule
	}
	return list
}

func (d *decoder) money(c *Config) {
	c.Limit = d.rules("rules", c.shared())
	for i := range c.Keys {
		c.Keys[i].Limit = d.rules(index("keys", i)+".rules", c.Keys[i].Rules)
	}
	for i := range c.Rules {
		r, path := &c.Rules[i], index("rules", i)
		for name, globs := range map[string][]string{
			"keys": r.Keys, "teams": r.Teams, "users": r.Users, "projects": r.Projects, "organisations": r.Organisations,
		} {
			d.globs(path+"."+name, globs)
		}
	}
	d.modelPrices(c)
	if c.Ledger.Off {
		for i := range c.Limit {
			d.unledgered(index("rules", i), &c.Limit[i])
		}
		for i := range c.Keys {
			for j := range c.Keys[i].Limit {
				d.unledgered(index(index("keys", i)+".rules", j), &c.Keys[i].Limit[j])
			}
		}
	}
	if u := string(c.Store.URL); u != "" && !strings.HasPrefix(u, "postgres://") && !strings.HasPrefix(u, "postgresql://") && !strings.HasPrefix(u, "sqlite:") {
		d.fail("store.url", "must begin with postgres:// or sqlite:")
	}
	d.secrets(&c.Secrets)
	if c.Pepper != "" {
		if why := Weak(string(c.Pepper)); why != "" {
			d.fail("pepper", "%s: make one by: openssl rand -hex 32", why)
		}
	}
	if c.Audit.Key != "" {
		if why := Weak(string(c.Audit.Key)); why != "" {
			d.fail("audit.key", "%s: make one by: sluice audit keys --new", why)
		}
	}
	for i := range c.Alerts.Webhooks {
		w, path := &c.Alerts.Webhooks[i], index("alerts.webhooks", i)
		if why := Weak(string(w.Secret)); w.Secret != "" && why != "" {
			d.fail(path+".secret", "%s: make one by: openssl rand -hex 32", why)
		}
		d.webURL(path+".url", string(w.URL))
	}
}

func (d *decoder) secrets(s *Secrets) {
	if why := Weak(string(s.Key)); s.Key != "" && why != "" {
		d.fail("secrets.key", "%s: make one by: openssl rand -hex 32", why)
	}
	if s.Key != "" && s.Command != nil {
		d.fail("secrets.command", "stands beside key: keep one of them")
	}
	if s.Command != nil && (len(s.Command) == 0 || s.Command[0] == "") {
		d.fail("secrets.command", "is empty: name a program, or leave it out")
	}
}

func (d *decoder) unledgered(path string, r *llm.Rule) {
	if len(r.Budgets) > 0 {
		d.fail(path+".budgets", "needs the ledger, which is off (ledger.off): a budget that nobody settles would only fill up")
	}
}

// webURL checks an address that may hold a secret in its path or query, and never repeats it.
func (d *decoder) webURL(path, s string) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || !validPort(u):
		d.fail(path, "must be an address such as https://hooks.example.com/budgets")
	case u.User != nil || u.Fragment != "":
		d.fail(path, "must not hold a user, password or fragment (#)")
	}
}

// modelPrices checks prices of providers' models.
func (d *decoder) modelPrices(c *Config) {
	names, charged := map[string]int{}, map[string]int{}
	for i := range c.ModelPrices {
		p, path := &c.ModelPrices[i], index("model_prices", i)
		d.unique(names, path+".name", p.Name, i, "model_prices")
		if p.Provider != "" {
			d.knownProvider(c, path+".provider", p.Provider)
		}
		d.globs(path+".models", p.Models)
		for _, rate := range []string{".input", ".output"} {
			if d.at[path+rate] == nil {
				d.fail(path+rate, "is missing: say what a million tokens cost, or 0 for free")
			}
		}
		for j, model := range p.Models {
			what := p.Provider + "\x00" + model + "\x00" + p.From.UTC().Format(time.RFC3339Nano)
			if first, twice := charged[what]; twice {
				d.fail(index(path+".models", j), "has a price already, in %s, from the same time", index("model_prices", first))
			}
			charged[what] = i
		}
	}
}
