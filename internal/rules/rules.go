// Package rules is how people write limits and budgets: the JSON of the admin API and of stored specs, and the
// short forms of the command line. It reads and writes them and says everything that is wrong, each with the
// member at fault and what would be right. It counts nothing.
package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a budget's zone must mean the same on a machine that has no list of zones
	"unicode/utf8"

	"sluice/internal/llm"
)

// A Rule is an llm.Rule in the words of people.
type Rule struct {
	Name     string   `json:"name" yaml:"name"`                            // names its counters: lower case letters, digits, . _ and -
	Models   []string `json:"models,omitzero" yaml:"models,omitempty"`     // globs
	Per      []string `json:"per,omitzero" yaml:"per,omitempty"`           // key, user, team, project, model
	Requests []string `json:"requests,omitzero" yaml:"requests,omitempty"` // 600/minute
	Tokens   []string `json:"tokens,omitzero" yaml:"tokens,omitempty"`     // 100000/minute
	Parallel int64    `json:"parallel,omitzero" yaml:"parallel,omitempty"` //
	Budgets  []Budget `json:"budgets,omitzero" yaml:"budgets,omitempty"`   //
}

// A Budget is an llm.Budget in the words of people.
type Budget struct {
	Dollars   string     `json:"dollars,omitzero" yaml:"dollars,omitempty"` // 500 or 0.25
	Tokens    int64      `json:"tokens,omitzero" yaml:"tokens,omitempty"`
	Every     string     `json:"every" yaml:"every"`                  // hour, day, week, month, quarter, rolling-hour ...
	Zone      string     `json:"zone,omitzero" yaml:"zone,omitempty"` // Europe/Berlin
	Mode      string     `json:"mode,omitzero" yaml:"mode,omitempty"` // hard (when left out), soft, hard_after_grace
	Grace     string     `json:"grace,omitzero" yaml:"grace,omitempty"`
	Alerts    []int      `json:"alerts,omitzero" yaml:"alerts,omitempty"` // percent
	Overrides []Override `json:"overrides,omitzero" yaml:"overrides,omitempty"`
}

// An Override is an llm.Override in the words of people. Times are RFC 3339.
type Override struct {
	From    string `json:"from" yaml:"from"`
	Until   string `json:"until" yaml:"until"`
	Dollars string `json:"dollars,omitzero" yaml:"dollars,omitempty"`
	Tokens  int64  `json:"tokens,omitzero" yaml:"tokens,omitempty"`
}

// Bounds of what one spec may hold: more would slow every call down.
const (
	maxRules     = 32
	maxBudgets   = 16
	maxOverrides = 64
	maxGlobs     = 200
	maxGlob      = 256 // bytes
	maxPace      = 1e12
	maxTokens    = 1e15
	maxDollars   = 1e9 * llm.Dollar
)

// Read reads a spec's rules. At of every problem is a JSON pointer below the list.
func Read(list []Rule) ([]llm.Rule, []llm.Problem) {
	p := &problems{}
	if len(list) > maxRules {
		p.add("", "has %d rules; %d are allowed: a rule may hold several limits and budgets", len(list), maxRules)
		return nil, p.list
	}
	var out []llm.Rule
	first := map[string]int{}
	for i := range list {
		in := p.in(fmt.Sprintf("/%d", i))
		out = append(out, in.rule(&list[i]))
		if j, taken := first[list[i].Name]; taken {
			in.add("/name", "%q is already the name of rule %d: counters go by the name, take another", list[i].Name, j)
		}
		first[list[i].Name] = i
		p.list = append(p.list, in.list...)
	}
	return out, p.list
}

// problems gathers what is wrong below one place.
type problems struct {
	at   string
	list []llm.Problem
}

func (p *problems) in(at string) *problems { return &problems{at: p.at + at} }

func (p *problems) add(at, format string, args ...any) {
	p.list = append(p.list, llm.Problem{At: p.at + at, Msg: fmt.Sprintf(format, args...)})
}

func (p *problems) take(at string, err error) {
	if err != nil {
		p.add(at, "%s", err)
	}
}

var ruleName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func (p *problems) rule(r *Rule) llm.Rule {
	out := llm.Rule{Name: r.Name, Models: r.Models, Parallel: r.Parallel}
	if !ruleName.MatchString(r.Name) {
		p.add("/name", "%q is no name for a rule: take up to 64 lower case letters, digits, dots, _ and -, such as month", clip(r.Name))
	}
	p.list = append(p.list, Globs(p.at+"/models", r.Models)...)
	for i, d := range r.Per {
		if !slices.Contains(dims, llm.Dim(d)) || slices.Contains(r.Per[:i], d) {
			p.add(fmt.Sprintf("/per/%d", i), "is %q: must be one of %s, each once", clip(d), join(dims))
		}
		out.Per = append(out.Per, llm.Dim(d))
	}
	out.Requests = p.paces("/requests", r.Requests)
	out.Tokens = p.paces("/tokens", r.Tokens)
	if r.Parallel < 0 || r.Parallel > maxPace {
		p.add("/parallel", "is %d: must be how many calls may be under way at once, such as 20", r.Parallel)
	}
	if len(r.Budgets) > maxBudgets {
		p.add("/budgets", "has %d budgets; %d are allowed", len(r.Budgets), maxBudgets)
		return out
	}
	for i := range r.Budgets {
		in := p.in(fmt.Sprintf("/budgets/%d", i))
		out.Budgets = append(out.Budgets, in.budget(&r.Budgets[i]))
		p.list = append(p.list, in.list...)
	}
	if len(r.Requests)+len(r.Tokens)+len(r.Budgets) == 0 && r.Parallel == 0 {
		p.add("", "limits nothing: give requests, tokens, parallel or budgets")
	}
	return out
}

func (p *problems) paces(at string, list []string) (out []llm.Pace) {
	for i, s := range list {
		here := fmt.Sprintf("%s/%d", at, i)
		pace, err := ParsePace(s)
		p.take(here, err)
		if err == nil && slices.ContainsFunc(out, func(o llm.Pace) bool { return o.Per == pace.Per }) {
			p.add(here, "is the second limit for the same span of time: keep the lower one")
		}
		out = append(out, pace)
	}
	return out
}

func (p *problems) budget(b *Budget) llm.Budget {
	out := llm.Budget{Every: llm.Period(b.Every), Mode: llm.BudgetMode(b.Mode), Alerts: b.Alerts}
	out.Money, out.Tokens = p.amount(b.Dollars, b.Tokens)
	if !slices.Contains(periods, out.Every) {
		p.add("/every", "is %q: must be one of %s", clip(b.Every), join(periods))
	}
	var err error
	out.Zone, err = ParseZone(b.Zone)
	p.take("/zone", err)
	if b.Zone != "" && strings.HasPrefix(b.Every, "rolling-") {
		p.add("/zone", "a rolling budget follows no calendar: leave it out")
	}
	switch out.Mode {
	case "":
		out.Mode = llm.Hard
	case llm.Hard, llm.Soft, llm.HardAfterGrace:
	default:
		p.add("/mode", "is %q: must be one of %s, %s or %s", clip(b.Mode), llm.Hard, llm.Soft, llm.HardAfterGrace)
	}
	if b.Grace != "" {
		out.Grace, err = ParseSpan(b.Grace)
		p.take("/grace", err)
	}
	if (out.Mode == llm.HardAfterGrace) != (b.Grace != "") {
		p.add("/grace", "goes with mode %s: give both, such as \"24h\", or neither", llm.HardAfterGrace)
	}
	for i, a := range b.Alerts {
		if a < 1 || a > 1000 || i > 0 && a <= b.Alerts[i-1] {
			p.add(fmt.Sprintf("/alerts/%d", i), "is %d: must be percents of the limit from 1 to 1000, the lowest first", a)
		}
	}
	if len(b.Overrides) > maxOverrides {
		p.add("/overrides", "has %d entries; %d are allowed: remove those that have ended", len(b.Overrides), maxOverrides)
		return out
	}
	for i := range b.Overrides {
		in := p.in(fmt.Sprintf("/overrides/%d", i))
		out.Overrides = append(out.Overrides, in.override(&b.Overrides[i], b))
		p.list = append(p.list, in.list...)
	}
	return out
}

func (p *problems) override(o *Override, b *Budget) llm.Override {
	out := llm.Override{}
	out.Money, out.Tokens = p.amount(o.Dollars, o.Tokens)
	if (o.Dollars == "") != (b.Dollars == "") {
		p.add("", "must be in what its budget is in: dollars or tokens")
	}
	var err error
	out.From, err = parseTime(o.From)
	p.take("/from", err)
	out.Until, err = parseTime(o.Until)
	p.take("/until", err)
	if err == nil && !out.Until.After(out.From) {
		p.add("/until", "is not after from")
	}
	return out
}

func (p *problems) amount(dollars string, tokens int64) (money llm.Nano, n int64) {
	switch {
	case dollars != "" && tokens != 0:
		p.add("/tokens", "a budget is in dollars or in tokens: make two budgets of it")
	case dollars != "":
		var err error
		money, err = ParseDollars(dollars)
		p.take("/dollars", err)
	case tokens < 1 || tokens > maxTokens:
		p.add("/tokens", "is %d: give tokens, such as 1000000, or dollars, such as \"500\"; to allow nothing, disable the subject or leave out its models", tokens)
	}
	return money, tokens
}

// Globs says what is wrong with a list of patterns of model names that stands at a place.
func Globs(at string, globs []string) (list []llm.Problem) {
	p := &problems{at: at}
	if len(globs) > maxGlobs {
		p.add("", "has %d patterns; %d are allowed: * stands for anything", len(globs), maxGlobs)
		return p.list
	}
	for i, g := range globs {
		here := fmt.Sprintf("/%d", i)
		switch {
		case g == "":
			p.add(here, "is empty: write a model's name, or * for any")
		case len(g) > maxGlob:
			p.add(here, "has %d bytes; %d are allowed", len(g), maxGlob)
		case strings.ContainsFunc(g, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }):
			p.add(here, "is %q: a model's name has no spaces or control characters", clip(g))
		}
	}
	return p.list
}

var dims = []llm.Dim{llm.DimKey, llm.DimUser, llm.DimTeam, llm.DimProject, llm.DimModel}

var periods = []llm.Period{
	llm.Hourly, llm.Daily, llm.Weekly, llm.Monthly, llm.Quarterly, llm.RollHour, llm.RollDay, llm.RollWeek, llm.RollMonth,
}

func join[T ~string](words []T) string {
	s := make([]string, len(words))
	for i, w := range words {
		s[i] = string(w)
	}
	return strings.Join(s, ", ")
}

// clip bounds what an error repeats of a text.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// Write is a rule in the words of people; Read gives the same rule again.
func Write(r *llm.Rule) Rule {
	out := Rule{Name: r.Name, Models: r.Models, Parallel: r.Parallel}
	for _, d := range r.Per {
		out.Per = append(out.Per, string(d))
	}
	for _, p := range r.Requests {
		out.Requests = append(out.Requests, FormatPace(p))
	}
	for _, p := range r.Tokens {
		out.Tokens = append(out.Tokens, FormatPace(p))
	}
	for i := range r.Budgets {
		out.Budgets = append(out.Budgets, writeBudget(&r.Budgets[i]))
	}
	return out
}

// WriteAll writes a list of rules; nil for none.
func WriteAll(list []llm.Rule) (out []Rule) {
	for i := range list {
		out = append(out, Write(&list[i]))
	}
	return out
}

func writeBudget(b *llm.Budget) Budget {
	out := Budget{Dollars: dollars(b.Money), Tokens: b.Tokens, Every: string(b.Every), Mode: string(b.Mode), Alerts: b.Alerts}
	if b.Zone != nil && b.Zone != time.UTC {
		out.Zone = b.Zone.String()
	}
	if b.Grace != 0 {
		out.Grace = FormatSpan(b.Grace)
	}
	for _, o := range b.Overrides {
		out.Overrides = append(out.Overrides, Override{
			From: o.From.UTC().Format(time.RFC3339), Until: o.Until.UTC().Format(time.RFC3339), Dollars: dollars(o.Money), Tokens: o.Tokens,
		})
	}
	return out
}

func dollars(n llm.Nano) string {
	if n == 0 {
		return ""
	}
	return n.String()
}
