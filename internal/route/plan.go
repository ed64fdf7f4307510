package route

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
)

// A Plan names the targets of one call, best first, one at a time: what happened to those before decides
// whether another is asked for. It is not safe for concurrent use.
type Plan struct {
	router *Router
	who    *auth.Who
	call   *llm.Call
	ask    Ask
	now    time.Time

	own   catalog.Group  // memory for main, where it has no entry
	main  *catalog.Group // what the client asked for
	group *catalog.Group // where the plan is now: main, or one that it fell back to
	cause llm.Fall       // of the last fallback
	fell  []string       // the models fallen back to so far
	next  [llm.FallCount]int

	pick   Pick
	name   string // of the strategy
	choose Strategy
	from   int         // deployments before it have been looked at
	again  bool        // the second look: at those that are full
	cands  []Candidate // of the tier that is being named
	given  []int       // indexes named already
	seen   llm.Load    // of the first choice
	scores []uint64    // by a panel, of the lowest tier
}

// Release gives the plan's memory back. The plan must not be used afterwards.
func (p *Plan) Release() {
	r := p.router
	p.clear()
	r.plans.Put(p)
}

// clear forgets everything but the memory.
func (p *Plan) clear() {
	*p = Plan{cands: p.cands[:0], given: p.given[:0], scores: p.scores[:0], own: catalog.Group{Deployments: p.own.Deployments[:0], Sums: p.own.Sums[:0]}}
}

// begin turns to a group.
func (p *Plan) begin(g *catalog.Group) {
	p.group, p.from, p.again = g, 0, false
	p.cands, p.given = p.cands[:0], p.given[:0]
	name := g.Strategy
	if p.ask.Strategy != "" {
		name = p.ask.Strategy
	}
	if name == "" {
		name = "weighted"
	}
	p.name, p.choose = name, Strategies[name]
	p.pick = Pick{Stuck: -1}
	if len(g.Deployments) == 1 {
		return // nothing to choose
	}
	p.pick.Turn = g.Turn.Add(1) - 1
	p.pick.Replicas = p.router.replicas()
	if name == "sticky" {
		p.pick.Affinity, p.pick.Stuck = p.router.sticky.find(p.who, p.call, g, p.now)
	}
}

// Next names the best target that was not named yet, and what stands between it and a call: Free, or Full
// when only a place in its waiting line is to be had. False: there is none left in this group.
func (p *Plan) Next() (*llm.Target, llm.Bar, bool) {
	if t, ok := p.first(); ok {
		return t, llm.Free, true
	}
	for {
		if len(p.cands) > 0 {
			i := 0
			if len(p.cands) > 1 {
				p.pick.Random = rand.Uint64() //nolint:gosec // G404: spreads load, keeps no secret
				i = p.choose(&p.pick, p.cands)
			}
			if explores(p.pick.Turn) {
				p.pick.Turn++ // once is enough: those after it come in their usual order
			}
			c := p.cands[i]
			p.cands = slices.Delete(p.cands, i, i+1)
			p.given = append(p.given, c.Index)
			return &p.group.Deployments[c.Index].Target, c.Bar, true
		}
		if p.from == len(p.group.Deployments) {
			if p.again {
				return nil, 0, false
			}
			p.again, p.from = true, 0
		}
		p.collect()
	}
}

// first names the first target of a group, where it can be found without looking at all of them.
func (p *Plan) first() (*llm.Target, bool) {
	if p.from != 0 || p.again || len(p.given) > 0 || len(p.who.Tags)+len(p.ask.Tags) > 0 {
		return nil, false
	}
	i := quick(p.name, &p.pick, p.group)
	switch p.name {
	case "p2c":
		i = p.ofTwo()
	case "least-busy", "latency", "cost":
		i = p.ofMany()
	}
	if i < 0 || !p.free(i) {
		return nil, false
	}
	p.given = append(p.given, i)
	return &p.group.Deployments[i].Target, true
}

// free looks whether a deployment can be called now.
func (p *Plan) free(i int) bool {
	p.seen = llm.Load{}
	p.router.load(&p.group.Deployments[i].Target, p.now, &p.seen)
	return p.seen.Bar == llm.Free
}

// ofTwo is p2c's first choice, found by a look at no more than the two that it draws; -1 where the strategy must see all of the tier, as it
// must when one of the two is not free: only then are free pairs drawn alike.
func (p *Plan) ofTwo() int {
	n := len(p.group.Sums)
	if n < 2 || explores(p.pick.Turn) {
		return -1
	}
	p.pick.Random = rand.Uint64() //nolint:gosec // G404: spreads load, keeps no secret
	i, j := pair(&p.pick, n)
	two := slices.Grow(p.cands[:0], 2)[:2]
	for k, at := range [2]int{i, j} {
		two[k] = Candidate{Index: at}
		if p.router.load(&p.group.Deployments[at].Target, p.now, &two[k].Load); two[k].Bar != llm.Free {
			return -1
		}
	}
	if worse(&two[0], &two[1]) {
		return j
	}
	return i
}

// collect looks at the next tier, at those that are free; the second time round at those that are full, too.
func (p *Plan) collect() {
	most := llm.Free
	if p.again {
		most = llm.Full
	}
	all := p.group.Deployments
	tier := all[p.from].Tier
	for ; p.from < len(all) && all[p.from].Tier == tier; p.from++ {
		d := &all[p.from]
		if !p.fits(d) || slices.Contains(p.given, p.from) {
			continue
		}
		n := len(p.cands)
		p.cands = slices.Grow(p.cands, 1)[:n+1]
		c := &p.cands[n]
		*c = Candidate{Index: p.from, Weight: d.Weight, Price: price(d, p.call)}
		if p.router.load(&d.Target, p.now, &c.Load); c.Bar > most {
			p.cands = p.cands[:n]
		}
	}
}

// fits tells whether a deployment has every tag that the key and the request want.
func (p *Plan) fits(d *catalog.Deployment) bool {
	return hasAll(d.Tags, p.who.Tags) && hasAll(d.Tags, p.ask.Tags)
}

func hasAll(tags, want []string) bool {
	for _, tag := range want {
		if !slices.Contains(tags, tag) {
			return false
		}
	}
	return true
}

// price is what a call is expected to cost at a deployment, in nano-dollars. Negative: nobody knows.
func price(d *catalog.Deployment, call *llm.Call) int64 {
	in, out := expected(call)
	return tariff{d.Input, d.Output}.of(in, out)
}

// expected is how many tokens a call is expected to take: four bytes a token in, and out what it asks for at most,
// 500 tokens where it does not say.
func expected(call *llm.Call) (in, out int64) {
	in, out = int64(call.Body.Len()/4), 500
	if call.MaxOutput > 0 {
		out = min(call.MaxOutput, 1e6)
	}
	return in, out * max(call.Choices, 1)
}

// A tariff is what tokens cost; nothing: nobody knows.
type tariff struct{ in, out llm.Rate }

func (t tariff) of(in, out int64) int64 {
	if t.in == 0 && t.out == 0 {
		return -1
	}
	return int64(t.in.Cost(in).Plus(t.out.Cost(out)))
}

// Fall turns to the next model of a list, and tells whether there is one.
func (p *Plan) Fall(why llm.Fall) bool {
	if p.ask.NoFallback {
		return false
	}
	for names := p.main.Lists[why]; p.next[why] < len(names); {
		name := names[p.next[why]]
		p.next[why]++
		if slices.Contains(p.fell, name) {
			continue
		}
		g, ok := p.router.catalog.Resolve(name)
		if !ok {
			continue // config has refused it
		}
		p.fell, p.cause = append(p.fell, name), why
		p.begin(g)
		return true
	}
	return false
}

// Fallback names the model that the plan fell back to last, and why; "" when it did not.
func (p *Plan) Fallback() (string, llm.Fall) {
	if len(p.fell) == 0 {
		return "", 0
	}
	return p.fell[len(p.fell)-1], p.cause
}

// Group is what the client asked for. It is valid until Release.
func (p *Plan) Group() *catalog.Group { return p.main }

// Took notes that a target of this plan has answered: the next call of the same kind sticks to it.
func (p *Plan) Took(t *llm.Target) {
	if p.pick.Affinity == 0 {
		return
	}
	for i := range p.group.Deployments {
		if d := &p.group.Deployments[i]; d.Slot == t.Slot && d.Model == t.Model {
			p.router.sticky.keep(p.pick.Affinity, i, p.now)
			return
		}
	}
}

// Resort names the target to try when no other is left: of those of the group asked for whose breaker or
// credential is refused, the one tried longest ago. until is when the first of them may be called again by
// itself, zero when nobody knows.
func (p *Plan) Resort() (t *llm.Target, until time.Time, ok bool) {
	var best, soonest int64
	for i := range p.main.Deployments {
		d := &p.main.Deployments[i]
		if !p.fits(d) {
			continue
		}
		var load llm.Load
		p.router.load(&d.Target, p.now, &load)
		if load.Until != 0 && (soonest == 0 || load.Until < soonest) {
			soonest = load.Until
		}
		if load.Bar != llm.Open && load.Bar != llm.Credential {
			continue
		}
		if !ok || load.Tried < best {
			t, best, ok = &d.Target, load.Tried, true
		}
	}
	if soonest != 0 {
		until = time.Unix(0, soonest)
	}
	return t, until, ok
}

// tagged turns to the first model of the call's way that has a deployment with the tags that the call wants. Without one it says so: to
// wait and come again would not help.
func (p *Plan) tagged() error {
	for {
		for i := range p.group.Deployments {
			if p.fits(&p.group.Deployments[i]) {
				return nil
			}
		}
		if p.Fall(llm.FallGeneral) {
			continue
		}
		want := strings.Join(slices.Concat(p.who.Tags, p.ask.Tags), ", ")
		if len(p.ask.Tags) > 0 {
			return llm.Errorf(llm.KindInvalid, "%s: no deployment of the model %s has all of the tags %s", TagsHeader, p.call.Model, want)
		}
		return &llm.Error{Kind: llm.KindModelNotAllowed, Param: "model", Msg: "this key's calls go to deployments with the tags " + want + ", and the model " + p.call.Model + " has none"}
	}
}

// Loads are what is known of all deployments of the group.
func (p *Plan) Loads() []llm.Load {
	loads := make([]llm.Load, len(p.group.Deployments))
	for i := range loads {
		p.router.load(&p.group.Deployments[i].Target, p.now, &loads[i])
	}
	return loads
}

// Hedges tells whether the group sends a second request when the first is slow to begin.
func (p *Plan) Hedges() bool { return p.group.Hedge && len(p.group.Deployments) > 1 }

// Targets calls f with every target that the plan may come to, also by falling back, until it says false: what the
// dearest of them costs is what a call may cost.
func (p *Plan) Targets(f func(t *llm.Target) bool) {
	each := func(g *catalog.Group) bool {
		for i := range g.Deployments {
			if d := &g.Deployments[i]; p.fits(d) && !f(&d.Target) {
				return false
			}
		}
		return true
	}
	if !each(p.main) || p.ask.NoFallback {
		return
	}
	for _, list := range p.main.Lists {
		for _, name := range list {
			if g, ok := p.router.catalog.Resolve(name); ok && !each(g) {
				return
			}
		}
	}
}
