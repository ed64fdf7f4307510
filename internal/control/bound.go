package control

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sluice/internal/auth"
	"sluice/internal/config"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// A parent is a subject whose bounds hold for what it owns.
type parent struct {
	name string // for people: the team research
	spec *directory.Spec
}

// exceeds tells in what a spec goes past the specs of its owners: nothing gets more than those who give it have.
// That is asked whenever a spec is stored. It is no more than honesty towards whoever stores it, since what a key
// may do is cut down to what all its owners allow at each look-up, also after they were given less.
func exceeds(kind directory.Kind, s *directory.Spec, parents []parent) []llm.Problem {
	var p problems
	for _, up := range parents {
		p.models(s, up)
		for i, op := range s.Endpoints {
			if up.spec.Endpoints != nil && !slices.Contains(up.spec.Endpoints, op) {
				p.add(fmt.Sprintf("/endpoints/%d", i), "%s may not make calls of the kind %s", up.name, op)
			}
		}
		for i, ask := range s.Asks {
			if up.spec.Asks != nil && !slices.Contains(up.spec.Asks, ask) {
				p.add(fmt.Sprintf("/overrides/%d", i), "%s may not ask for %s", up.name, ask)
			}
		}
		for i, r := range s.AllowFrom {
			if up.spec.AllowFrom != nil && !slices.ContainsFunc(up.spec.AllowFrom, func(outer netip.Prefix) bool { return inside(r, outer) }) {
				p.add(fmt.Sprintf("/allow_from/%d", i), "%s may not be used from %s", up.name, r)
			}
		}
		if s.Cache != "" && auth.LeastCache(up.spec.Cache, s.Cache) != s.Cache {
			p.add("/cache", "is more than the %s of %s", up.spec.Cache, up.name)
		}
		if end := up.spec.Expires; !end.IsZero() && s.Expires.After(end) {
			p.add("/expires", "is later than that of %s, %s", up.name, end.Format(time.RFC3339))
		}
		if up.spec.Project != "" && s.Project != "" && s.Project != up.spec.Project {
			p.add("/project", "is that of %s, %q: leave it out", up.name, up.spec.Project)
		}
		for i := range s.Rules {
			p.rule(fmt.Sprintf("/rules/%d", i), &s.Rules[i], kind, s, up)
		}
	}
	return p
}

func (p *problems) models(s *directory.Spec, up parent) {
	for i, glob := range s.Models {
		if up.spec.Models != nil && !covered(glob, up.spec.Models) {
			p.add(fmt.Sprintf("/models/%d", i), "%s may not use %s", up.name, glob)
		}
	}
}

// covered tells whether every name that a glob fits is one that a single glob of a list fits, too. A star of the
// inner glob, read as a plain character, is one that only a star of the outer can stand for.
func covered(glob string, outer []string) bool {
	return slices.ContainsFunc(outer, func(o string) bool { return llm.Match(o, glob) })
}

func inside(p, outer netip.Prefix) bool { return outer.Bits() <= p.Bits() && outer.Contains(p.Addr()) }

// rule refuses limits and budgets that are above an owner's for the same: they would promise what the owner's own,
// which binds as well, does not give.
func (p *problems) rule(at string, r *llm.Rule, kind directory.Kind, s *directory.Spec, up parent) {
	for i := range up.spec.Rules {
		o := &up.spec.Rules[i]
		if !together(o, r, kind) || !holdsForAll(o, r, s) {
			continue
		}
		if o.Parallel > 0 && r.Parallel > o.Parallel {
			p.add(at+"/parallel", "is above the %d of %s (rule %s)", o.Parallel, up.name, o.Name)
		}
		p.paces(at+"/requests", r.Requests, o.Requests, o.Name, up)
		p.paces(at+"/tokens", r.Tokens, o.Tokens, o.Name, up)
		for j := range r.Budgets {
			for k := range o.Budgets {
				p.budget(fmt.Sprintf("%s/budgets/%d", at, j), &r.Budgets[j], &o.Budgets[k], o.Name, up)
			}
		}
	}
}

// fixed are the dimensions in which all calls of a subject are the same.
var fixed = map[directory.Kind][]llm.Dim{
	directory.KindKey:  {llm.DimKey, llm.DimUser, llm.DimTeam, llm.DimProject},
	directory.KindUser: {llm.DimUser},
	directory.KindTeam: {llm.DimTeam},
}

// together tells whether an owner's rule counts together whatever the inner rule counts together. One that counts
// each model apart allows more in all than for one.
func together(outer, inner *llm.Rule, kind directory.Kind) bool {
	return !slices.ContainsFunc(outer.Per, func(d llm.Dim) bool { return !slices.Contains(inner.Per, d) && !slices.Contains(fixed[kind], d) })
}

// holdsForAll tells whether an owner's rule holds for every call that the inner rule holds for.
func holdsForAll(outer, inner *llm.Rule, s *directory.Spec) bool {
	if len(outer.Models) == 0 {
		return true
	}
	models := inner.Models
	if len(models) == 0 {
		models = s.Models
	}
	return models != nil && !slices.ContainsFunc(models, func(glob string) bool { return !covered(glob, outer.Models) })
}

func (p *problems) paces(at string, inner, outer []llm.Pace, rule string, up parent) {
	for i, n := range inner {
		for _, o := range outer {
			if n.Per == o.Per && n.N > o.N {
				p.add(fmt.Sprintf("%s/%d", at, i), "is above the %d of %s (rule %s)", o.N, up.name, rule)
			}
		}
	}
}

func (p *problems) budget(at string, inner, outer *llm.Budget, rule string, up parent) {
	if inner.Every != outer.Every || (inner.Money > 0) != (outer.Money > 0) {
		return
	}
	most := func(b *llm.Budget) (money llm.Nano, tokens int64) {
		money, tokens = b.Money, b.Tokens
		for _, o := range b.Overrides {
			money, tokens = max(money, o.Money), max(tokens, o.Tokens)
		}
		return money, tokens
	}
	money, tokens := most(inner)
	if upMoney, upTokens := most(outer); money > upMoney || tokens > upTokens {
		p.add(at, "is above the budget of %s for the same time (rule %s)", up.name, rule)
	}
}

// guardedBy tells which records name a guard, some of each kind; "" if none does.
func (c *Control) guardedBy(ctx context.Context, guard string) (string, error) {
	var by []string
	for _, find := range []func(context.Context, string) ([]string, error){
		c.orgs().guardedBy, c.teams().guardedBy, c.users().guardedBy, c.keys().guardedBy,
	} {
		some, err := find(ctx, guard)
		if err != nil {
			return "", err
		}
		by = append(by, some...)
	}
	return strings.Join(by, ", "), nil
}

// guardedBy tells which records of one kind do.
func (t *table[T, P]) guardedBy(ctx context.Context, guard string) (by []string, err error) {
	const most = 3
	list, next, err := t.rows.List(ctx, directory.Filter{Guard: guard, Limit: most})
	if err != nil {
		return nil, t.fault(err, "")
	}
	for i := range list {
		b := P(&list[i]).Base()
		by = append(by, fmt.Sprintf("%s %s (%s)", t.kind, clip(b.Name), b.ID))
	}
	if next != "" {
		by = append(by, fmt.Sprintf("more %ss", t.kind))
	}
	return by, nil
}

// guarded refuses names of guards that are not there: each call of whoever had one would be refused. What it had before stays: nobody
// who changes something else has to know where a guard went.
func (c *Control) guarded(ctx context.Context, had, has []string) error {
	if c.o.Settings.Store == nil || !slices.ContainsFunc(has, func(name string) bool { return !slices.Contains(had, name) }) {
		return nil
	}
	_, doc, err := c.Settings().newest(ctx)
	if err != nil {
		return err
	}
	var p problems
	for i, name := range has {
		at := config.Place{Kind: config.KindGuard, Name: name}
		if !slices.Contains(had, name) && !doc.Has(at) && !c.o.Settings.Effective().FileHas(at) {
			p.add(fmt.Sprintf("/guards/%d", i), "is %q, and there is no guard of this name, so that each call would be refused: make the guard first, or leave it out", clip(name))
		}
	}
	return p.err()
}
