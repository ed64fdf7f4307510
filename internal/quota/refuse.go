package quota

import (
	"fmt"
	"strings"
	"time"

	"sluice/internal/llm"
)

// A Refusal says which limit has no room. It is the cause within an llm.Error of kind rate_limited, concurrency_limited
// or budget_exceeded.
type Refusal struct {
	Kind    Kind
	Rule    string        // its name
	Subject string        // whom it counts for
	Limit   int64         // requests, tokens, calls or nano-dollars
	Used    int64         // of it, by others
	Per     time.Duration // of a pace
	Period  llm.Period    // of a budget
	Reset   time.Duration // until there is room, as far as it is known; of a budget used up, until its next period
	Held    bool          // the budget has room but for what calls under way hold

	Requests, Tokens Room // of the nearest paces; limit 0: there is none
}

// Error says it for the log.
func (r *Refusal) Error() string {
	return fmt.Sprintf("rule %s for %s: %d of %d used", r.Rule, r.Subject, r.Used, r.Limit)
}

// refusal is the error for an ask that was refused, the i-th of a plan.
func (l *Limiter) refusal(p *plan, a *Ask, i int, g *Grant) *llm.Error {
	planned := &p.asks[i]
	r := &Refusal{
		Kind: a.Kind, Rule: planned.rule.Name, Subject: planned.subject, Limit: planned.N, Used: a.Used, Per: a.Per, Reset: a.Wait,
	}
	r.Requests, r.Tokens = g.room(Requests), g.room(Tokens)
	e := &llm.Error{Kind: llm.KindRateLimited, Err: r, RetryAfter: max(a.Wait, time.Second)}
	switch a.Kind {
	case Requests, Tokens:
		what := map[Kind]string{Requests: "requests", Tokens: "tokens"}[a.Kind]
		e.Msg = fmt.Sprintf("the limit %q of %s allows %d %s in each %s, and %d were used; there is room in %s",
			r.Rule, whom(r.Subject), r.Limit, what, SpanName(a.Per), r.Used, a.Wait.Round(time.Millisecond))
		if a.Wait <= 0 {
			e.Msg = fmt.Sprintf("the limit %q of %s allows no %s", r.Rule, whom(r.Subject), what)
		}
	case Parallel:
		e.Kind = llm.KindConcurrency
		e.Msg = fmt.Sprintf("the limit %q of %s allows %d requests at once, and %d are under way", r.Rule, whom(r.Subject), r.Limit, r.Used)
	default:
		e.Kind, r.Limit, r.Period = llm.KindBudget, a.Limit, planned.budget.Every
		r.Held = a.gap(a.Used, 0) <= 0
		e.Msg = fmt.Sprintf("the budget %q of %s (%s each %s) has no room for this request: %s are spent", r.Rule, whom(r.Subject),
			amount(a.Kind, a.Limit), r.Period, amount(a.Kind, a.Used))
		if r.Held {
			e.Msg += ", and requests under way hold the rest"
		}
	}
	return e
}

// Whose says in a word who shares what counts for a subject: org, team, user, key, project or gateway. It tells no id:
// team:8f3a is somebody else's business.
func Whose(subject string) string {
	switch kind, _, _ := strings.Cut(subject, ":"); kind {
	case "org", "team", "user", "key", "project", "tag":
		return kind
	}
	return "gateway"
}

// whom is the same in a sentence.
func whom(subject string) string {
	switch whose := Whose(subject); whose {
	case "gateway":
		return "this gateway"
	case "org":
		return "your organisation"
	default:
		return "your " + whose
	}
}

// SpanName names the span of a pace.
func SpanName(per time.Duration) string {
	switch per {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	case 24 * time.Hour:
		return "day"
	}
	return per.String()
}

func amount(k Kind, n int64) string {
	if k == Money {
		return "$" + llm.Nano(n).String()
	}
	return fmt.Sprintf("%d tokens", n)
}

// unavailable is the error for a budget that may refuse and cannot be asked: it is never open.
func unavailable(msg string, cause error) *llm.Error {
	return &llm.Error{Kind: llm.KindBudgetUnknown, Msg: msg + "; try again in a moment", RetryAfter: time.Second, Err: cause}
}

func recovering(wait time.Duration) *llm.Error {
	e := unavailable("the budget is being counted anew", nil)
	e.RetryAfter = max(wait, 2*time.Second)
	return e
}
