package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"sluice/internal/control"
	"sluice/internal/flags"
	"sluice/internal/rules"
)

// specFlags are what can be said of any subject.
type specFlags struct {
	name, team, user, email, project, expires, rulesFile         string
	cache                                                        string
	teams, models, endpoints, allowFrom, tags, guards, overrides []string
	clear                                                        []string
	metadata                                                     map[string]string

	requests, tokens, budgets []string
	parallel                  int64
	zone, mode, grace         string
	alerts                    []int
}

// limitsRule is the rule that the flags of limits write.
const limitsRule = "limits"

func (s *specFlags) flags(f *pflag.FlagSet, kind string, update bool) {
	if update {
		f.StringVar(&s.name, "name", "", "Another `NAME`.")
		f.StringSliceVar(&s.clear, "clear", nil, "Take these away, `NAMES` of flags: models,expires,team,... The subject is not restricted in them then; a key without models may use none.")
	}
	if kind == "key" {
		f.StringVar(&s.team, "team", "", "The team that it belongs to, by `NAME` or id.")
		f.StringVar(&s.user, "user", "", "The user that it belongs to, by `NAME` or id; left out, it is a service key.")
	}
	if kind == "user" {
		f.StringVar(&s.email, "email", "", "The user's `ADDRESS`.")
		f.StringSliceVar(&s.teams, "teams", nil, "The teams that the user is in, all of them, by `NAMES` or ids.")
	}
	f.StringSliceVar(&s.models, "models", nil, "`GLOBS` of models that may be used, as clients name them; * stands for anything: 'gpt-*,claude-*'.")
	f.StringSliceVar(&s.endpoints, "endpoints", nil, "`KINDS` of call that may be made: chat, count_tokens, embeddings. Left out: all.")
	f.StringSliceVar(&s.requests, "requests", nil, "Most requests, `N/SPAN`, such as 600/minute; also by second, hour and day, several with commas.")
	f.StringSliceVar(&s.tokens, "tokens", nil, "Most tokens, input and output, `N/SPAN`, such as 100000/minute.")
	f.Int64Var(&s.parallel, "parallel", 0, "Most calls, `N`, under way at once.")
	f.StringSliceVar(&s.budgets, "budget", nil, "Most dollars for a period, `AMOUNT/PERIOD`, such as 500/month; tokens: 2000000tokens/month. Periods: hour, day, week, month, quarter, rolling-hour, rolling-day, rolling-week, rolling-30-days.")
	f.StringVar(&s.zone, "zone", "", "Time `ZONE` of the budgets' calendar, such as Europe/Berlin; UTC when left out.")
	f.StringVar(&s.mode, "mode", "", "The budgets' `MODE`: what happens when one is used up: hard refuses, soft only tells, hard_after_grace refuses after --grace.")
	f.StringVar(&s.grace, "grace", "", "`SPAN` in which calls still pass in the mode hard_after_grace, such as 24h.")
	f.IntSliceVar(&s.alerts, "alerts", nil, "`PERCENTS` of a budget at which to tell, such as 50,80,100.")
	flags.File(f, &s.rulesFile, "rules", "", "`FILE` with a JSON list of rules, for all that the flags cannot say. The flags above write one rule, called limits.")
	f.StringSliceVar(&s.allowFrom, "allow-from", nil, "`RANGES` of addresses that callers may have, such as 10.20.0.0/16.")
	f.StringSliceVar(&s.tags, "tags", nil, "`TAGS` that a deployment must have to serve its calls.")
	f.StringSliceVar(&s.guards, "guards", nil, "`NAMES` of guards of the configuration that its calls must pass, beside those of its owners and of the model.")
	f.StringSliceVar(&s.overrides, "overrides", nil, "`WORDS` for what its calls may ask for by header: strategy, fallback, deadline, tags; none for nothing. Left out: all.")
	f.StringVar(&s.cache, "cache", "", "How far answers are kept and given again for its calls, `MODE`: off, exact or semantic. Left out: as the models say.")
	f.StringVar(&s.project, "project", "", "On whose account its calls go: a `NAME`.")
	f.StringToStringVar(&s.metadata, "metadata", nil, "Notes for people and tools, `NAME=TEXT` with commas.")
	f.StringVar(&s.expires, "expires", "", "`WHEN` it ends: a date (2030-01-31), a time, or a span from now (90d).")
}

// change is what the flags say. has are the rules that there are already.
func (s *specFlags) change(has []rules.Rule) (ch control.Change, err error) {
	list := func(m *control.Maybe[[]string], v []string) {
		if len(v) > 0 {
			if len(v) == 1 && v[0] == "none" {
				v = []string{}
			}
			*m = control.Some(v)
		}
	}
	list(&ch.Models, s.models)
	list(&ch.Endpoints, s.endpoints)
	list(&ch.AllowFrom, s.allowFrom)
	list(&ch.Tags, s.tags)
	list(&ch.Guards, s.guards)
	list(&ch.Overrides, s.overrides)
	text(&ch.Name, s.name)
	text(&ch.Cache, s.cache)
	text(&ch.Project, s.project)
	if len(s.metadata) > 0 {
		ch.Metadata = control.Some(s.metadata)
	}
	if s.expires != "" {
		ch.Expires = control.Some(s.expires)
		if d, err := rules.ParseSpan(s.expires); err == nil {
			ch.Expires = control.Some(time.Now().Add(d).UTC().Truncate(time.Second).Format(time.RFC3339))
		}
	}
	if ch.Rules, err = s.rules(has); err != nil {
		return ch, err
	}
	return ch, s.clearIn(&ch)
}

func text(m *control.Maybe[string], v string) {
	if v != "" {
		*m = control.Some(v)
	}
}

// clearIn puts null where something is to be taken away.
func (s *specFlags) clearIn(ch *control.Change) error {
	for _, name := range s.clear {
		switch name {
		case "models":
			ch.Models = control.Maybe[[]string]{Given: true}
		case "endpoints":
			ch.Endpoints = control.Maybe[[]string]{Given: true}
		case "rules":
			ch.Rules = control.Maybe[[]rules.Rule]{Given: true}
		case "allow-from":
			ch.AllowFrom = control.Maybe[[]string]{Given: true}
		case "tags":
			ch.Tags = control.Maybe[[]string]{Given: true}
		case "guards":
			ch.Guards = control.Maybe[[]string]{Given: true}
		case "overrides":
			ch.Overrides = control.Maybe[[]string]{Given: true}
		case "cache":
			ch.Cache = control.Maybe[string]{Given: true}
		case "project":
			ch.Project = control.Maybe[string]{Given: true}
		case "metadata":
			ch.Metadata = control.Maybe[map[string]string]{Given: true}
		case "expires":
			ch.Expires = control.Maybe[string]{Given: true}
		case "team", "user", "email", "teams": // see keyChange and userChange
		default:
			return fmt.Errorf("--clear: %q cannot be cleared; there are models, endpoints, rules, allow-from, tags, guards, overrides, cache, project, metadata, expires, team, user, email and teams", name)
		}
	}
	return nil
}

func (s *specFlags) keyChange(ch control.Change) control.KeyChange {
	k := control.KeyChange{Change: ch}
	text(&k.Team, s.team)
	text(&k.User, s.user)
	k.Team.Given = k.Team.Given || slices.Contains(s.clear, "team")
	k.User.Given = k.User.Given || slices.Contains(s.clear, "user")
	return k
}

func (s *specFlags) userChange(ch control.Change) control.UserChange {
	u := control.UserChange{Change: ch}
	text(&u.Email, s.email)
	u.Email.Given = u.Email.Given || slices.Contains(s.clear, "email")
	u.Teams = control.Maybe[[]string]{Given: len(s.teams) > 0 || slices.Contains(s.clear, "teams"), Value: s.teams}
	return u
}

// rules is the list that --rules and the flags of limits make of what there is.
func (s *specFlags) rules(has []rules.Rule) (m control.Maybe[[]rules.Rule], err error) {
	list := slices.Clone(has)
	if s.rulesFile != "" {
		text, err := os.ReadFile(s.rulesFile)
		if err != nil {
			return m, fmt.Errorf("--rules: %w", err)
		}
		list = nil
		if err := rules.Decode(text, &list); err != nil {
			return m, fmt.Errorf("--rules: %w", err)
		}
		m.Given = true
	}
	if s.requests == nil && s.tokens == nil && s.parallel == 0 && s.budgets == nil {
		if s.zone+s.mode+s.grace != "" || s.alerts != nil {
			return m, fmt.Errorf("--zone, --mode, --grace and --alerts belong to a --budget: give one")
		}
		m.Value = list
		return m, nil
	}
	i := slices.IndexFunc(list, func(r rules.Rule) bool { return r.Name == limitsRule })
	if i < 0 {
		list, i = append(list, rules.Rule{Name: limitsRule}), len(list)
	}
	r := &list[i]
	if s.requests != nil {
		r.Requests = s.requests
	}
	if s.tokens != nil {
		r.Tokens = s.tokens
	}
	if s.parallel != 0 {
		r.Parallel = s.parallel
	}
	if s.budgets != nil {
		r.Budgets = nil
	}
	for _, short := range s.budgets {
		b, err := rules.ParseBudget(short)
		if err != nil {
			return m, fmt.Errorf("--budget: %w", err)
		}
		b.Zone, b.Mode, b.Grace, b.Alerts = s.zone, s.mode, s.grace, s.alerts
		r.Budgets = append(r.Budgets, b)
	}
	return control.Some(list), nil
}
