package quota

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// A plan is what the rules of a caller ask for of calls of a model.
type plan struct {
	org    string
	asks   []planned
	money  bool // there is a budget of money
	blocks bool // there is a budget that may refuse
	frees  bool // there is a limit that ends with the call, or is corrected then
}

// A planned is an ask but for what depends on the call and the time.
type planned struct {
	Counter // of a budget only its kind
	rule    *llm.Rule
	subject string
	prefix  string // of a budget's counter
	budget  *llm.Budget
	query   Query
	span    atomic.Pointer[span] // the budget's period, as it was last found
}

// A span is a period of a budget.
type span struct {
	Counter
	ref    string
	listed atomic.Bool // in the limiter's books
}

// at is the budget's period at a time.
func (p *planned) at(now time.Time) *span {
	if s := p.span.Load(); s != nil && !now.Before(s.From) && now.Before(s.Until) {
		return s
	}
	b, s := p.budget, &span{Counter: Counter{Kind: p.Kind, Mode: p.budget.Mode, Grace: p.budget.Grace}}
	s.From, s.Until = Span(b.Every, b.Zone, now)
	if length, _, ok := Rolling(b.Every); ok {
		s.Key, s.Rolling, s.Part = p.prefix, true, s.From.Unix()
		s.Oldest = s.Part - int64(length/time.Second)
		s.ref = rollingRef(s.Key, s.Part)
		s.Limit = limitAt(b, now)
	} else {
		s.ref = calendarRef(p.prefix, s.From, s.Until)
		s.Key = s.ref
		s.Limit = limitAt(b, s.From)
	}
	for _, percentage := range b.Alerts {
		s.Alerts = append(s.Alerts, Alert{percentage, percent(s.Limit, percentage)})
	}
	slices.SortFunc(s.Alerts, func(a, b Alert) int { return cmp.Compare(a.Percent, b.Percent) })
	p.span.Store(s)
	return s
}

// maxPlans bounds how many plans are kept; they are cheap to make again.
const maxPlans = 1 << 14

// plans keeps what was planned for callers, who are immutable.
type plans struct {
	mu  sync.RWMutex
	all map[planKey]*plan
}

type planKey struct {
	who   *auth.Who
	model string
}

// of is the plan of a caller for a model.
func (s *plans) of(who *auth.Who, model string) *plan {
	key := planKey{who, model}
	s.mu.RLock()
	p := s.all[key]
	s.mu.RUnlock()
	if p != nil {
		return p
	}
	p = newPlan(who, model)
	key.model = strings.Clone(model)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil || len(s.all) >= maxPlans {
		s.all = map[planKey]*plan{}
	}
	s.all[key] = p
	return p
}

func newPlan(who *auth.Who, model string) *plan {
	return planFor(who, model, func(r *llm.Rule) bool {
		return len(r.Models) == 0 || slices.ContainsFunc(r.Models, func(glob string) bool { return llm.Match(glob, model) })
	})
}

// planFor plans the rules that hold.
func planFor(who *auth.Who, model string, holds func(*llm.Rule) bool) *plan {
	p := &plan{org: who.Org}
	for _, b := range who.Rules {
		r := b.Rule
		if !holds(r) {
			continue
		}
		per, by := apart(r.Per, who, model)
		head := name(append([]string{who.Org, b.Subject, r.Name}, per)...)
		add := func(what string, c Counter) {
			c.Key = head + "|" + what
			p.asks = append(p.asks, planned{Counter: c, rule: r, subject: b.Subject})
			p.frees = p.frees || c.Kind != Requests
		}
		for _, pace := range r.Requests {
			add("requests:"+pace.Per.String(), Counter{Kind: Requests, N: pace.N, Per: pace.Per})
		}
		for _, pace := range r.Tokens {
			add("tokens:"+pace.Per.String(), Counter{Kind: Tokens, N: pace.N, Per: pace.Per})
		}
		if r.Parallel > 0 {
			add("parallel", Counter{Kind: Parallel, N: r.Parallel})
		}
		p.budgets(b, head, by)
	}
	return p
}

// budgets plans the budgets of a rule. Two that count the same have counters of their own, so that a call is not held twice
// in one.
func (p *plan) budgets(bound llm.Bound, head string, by map[llm.Dim]string) {
	seen := map[string]int{}
	for i := range bound.Rule.Budgets {
		b := &bound.Rule.Budgets[i]
		kind, what := Money, "money:"
		if b.Tokens > 0 {
			kind, what = TokenBudget, "tokens:"
		}
		what += string(b.Every)
		if seen[what]++; seen[what] > 1 {
			what += ":" + string(rune('0'+min(seen[what], 9)))
		}
		p.asks = append(p.asks, planned{
			Counter: Counter{Kind: kind}, rule: bound.Rule, subject: bound.Subject, prefix: head + "|" + what, budget: b,
			query: Query{Org: p.org, Subject: bound.Subject, Models: bound.Rule.Models, Per: by, Tokens: kind == TokenBudget},
		})
		p.money = p.money || kind == Money
		p.blocks = p.blocks || b.Mode != llm.Soft
	}
}

// apart is what a rule counts a call apart by, as a part of a name and as a query has it.
func apart(dims []llm.Dim, who *auth.Who, model string) (string, map[llm.Dim]string) {
	if len(dims) == 0 {
		return "", nil
	}
	by := make(map[llm.Dim]string, len(dims))
	var b strings.Builder
	for _, d := range slices.Sorted(slices.Values(dims)) {
		v := ""
		switch d {
		case llm.DimKey:
			v = who.Public()
		case llm.DimUser:
			v = who.User
		case llm.DimTeam:
			v = who.Team
		case llm.DimProject:
			v = who.Project
		case llm.DimModel:
			v = model
		}
		by[d] = strings.Clone(v)
		b.WriteString(string(d) + "=" + clean.Replace(v) + ",")
	}
	return b.String(), by
}

// A Query asks the database what was spent under a budget: the sum over final accounts of calls that began in a span, by
// one subject, of certain models, with certain values.
type Query struct {
	Counter     string // what the Level is to be called
	Org         string
	Subject     string             // org:, team:, user:, key:, project:, tag: or config
	Models      []string           // globs; none: all
	Per         map[llm.Dim]string // only calls with these
	Tokens      bool               // tokens, not money
	From, Until time.Time
	Part        time.Duration // one sum for each part of this length that begins at From; 0: one for all
}

// ask is the query for a budget's counter in a period.
func (p *planned) ask(s *span) Query {
	q := p.query
	q.Counter, q.From, q.Until = s.Key, s.From, s.Until
	if _, part, ok := Rolling(p.budget.Every); ok {
		q.From, q.Part = time.Unix(s.Oldest, 0).UTC(), part
	}
	return q
}
