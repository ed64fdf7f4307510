// Package catalog knows which models there are, by which names, and where each is served. It does not know
// who may use them or which of several deployments is better.
package catalog

import (
	"crypto/sha256"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"sluice/internal/llm"
)

// A Group is what a name means: the deployments that can serve it, and what happens when none of them does.
// It is immutable, but for Turn.
type Group struct {
	// Name is the entry's, or what the client said. A * in it stands for anything, and a * in a target's model
	// for the same.
	Name        string
	Deployments []Deployment
	Strategy    string // "": weighted
	Hedge       bool
	Window      int64 // tokens that fit into the context; 0: not known
	Lists       [llm.FallCount][]string
	Turn        *atomic.Uint64 // counts the plans
	Cache       string         // how far its answers are kept, as package cache says it; "": not said here

	// Sums are the running sums of the weights of the lowest tier, so that one of many can be found by halving.
	Sums []int
	Even int // the weight of all of that tier, where they are alike, so that nothing need be searched; else 0

	print string // Print, where it is known
}

// A Deployment is one place that can serve a model.
type Deployment struct {
	llm.Target
	Name   string // for people
	Weight int    // at least 1
	Tier   int    // lower ones first
	Tags   []string
	Input  llm.Rate // Input and Output 0: not known
	Output llm.Rate
}

// A Provider serves models by its own names, beside those that have an entry.
type Provider struct {
	Name    string
	Owns    []string     // globs of bare model names that mean this provider
	Targets []llm.Target // one for each credential; Model is left empty
}

// A Catalog resolves names. It is immutable.
type Catalog struct {
	groups    map[string]*Group
	stars     []*Group // those with a *, the most particular first
	names     []string // of entries without a *, sorted
	providers []Provider
	turns     []atomic.Uint64 // of the providers
}

// New makes a catalog. Earlier providers win where two own a name.
func New(groups []Group, providers []Provider) *Catalog {
	c := &Catalog{groups: make(map[string]*Group, len(groups)), providers: providers, turns: make([]atomic.Uint64, len(providers))}
	for i := range groups {
		g := &groups[i]
		g.Turn = new(atomic.Uint64)
		g.Deployments = slices.Clone(g.Deployments)
		slices.SortStableFunc(g.Deployments, func(a, b Deployment) int { return a.Tier - b.Tier })
		g.sum()
		if strings.Contains(g.Name, "*") {
			c.stars = append(c.stars, g)
			continue
		}
		g.print = g.Print()
		c.groups[g.Name] = g
		c.names = append(c.names, g.Name)
	}
	slices.Sort(c.names)
	slices.SortStableFunc(c.stars, func(a, b *Group) int { return len(b.Name) - len(a.Name) })
	return c
}

func (g *Group) sum() {
	total := 0
	for i := range g.Deployments {
		if d := &g.Deployments[i]; d.Tier == g.Deployments[0].Tier {
			total += d.Weight
			g.Sums = append(g.Sums, total)
			switch {
			case i == 0:
				g.Even = d.Weight
			case d.Weight != g.Even:
				g.Even = 0
			}
		}
	}
}

// Print tells apart where the calls of a group go: an answer is not given again for a name that has got another meaning. Which
// credential, weight or order a deployment has makes no difference.
func (g *Group) Print() string {
	if g.print != "" {
		return g.print
	}
	places := make([]string, len(g.Deployments))
	for i := range g.Deployments {
		t := &g.Deployments[i].Target
		places[i] = t.Provider + "\x00" + t.Model + "\x00" + strconv.FormatBool(t.Lenient)
	}
	slices.Sort(places)
	sum := sha256.Sum256([]byte(g.Name + "\x01" + strings.Join(slices.Compact(places), "\x01")))
	return string(sum[:])
}

// Groups yields the groups of the entries without a *.
func (c *Catalog) Groups() iter.Seq[*Group] { return maps.Values(c.groups) }

// Names lists the models that have an entry of their own, sorted.
func (c *Catalog) Names() []string { return c.names }

// Resolve finds where a model is served: by its entry, by an entry with a * that fits (the longest first), as
// provider/model, or by a provider that owns the bare name. Only configured names are looked at, so nothing
// in a request can name a host.
func (c *Catalog) Resolve(name string) (*Group, bool) { return c.ResolveIn(new(Group), name) }

// ResolveIn is Resolve, for many calls: a group that has to be made for the name is made in own, whose memory is used
// again. The group is valid as long as own is not used for another name.
func (c *Catalog) ResolveIn(own *Group, name string) (*Group, bool) {
	if g, ok := c.groups[name]; ok {
		return g, true
	}
	for _, g := range c.stars {
		if llm.Match(g.Name, name) {
			return g.fill(name), true
		}
	}
	prefix, rest, slash := strings.Cut(name, "/")
	for i := range c.providers {
		if slash && c.providers[i].Name == prefix && rest != "" {
			return c.at(own, i, name, rest), true
		}
	}
	for i := range c.providers {
		for _, glob := range c.providers[i].Owns {
			if llm.Match(glob, name) {
				return c.at(own, i, name, name), true
			}
		}
	}
	return nil, false
}

// fill is the group of an entry with a * for one name that fits it.
func (g *Group) fill(name string) *Group {
	head, tail, _ := strings.Cut(g.Name, "*")
	stood := name[len(head) : len(name)-len(tail)]
	out := *g
	out.Deployments = slices.Clone(g.Deployments)
	for i := range out.Deployments {
		t := &out.Deployments[i].Target
		t.Model = strings.Replace(t.Model, "*", stood, 1)
	}
	return &out
}

// at is the group of a name without an entry: the provider with each of its credentials.
func (c *Catalog) at(g *Group, i int, name, model string) *Group {
	p := &c.providers[i]
	*g = Group{Name: name, Turn: &c.turns[i], Deployments: g.Deployments[:0], Sums: g.Sums[:0]}
	for _, t := range p.Targets {
		t.Model = model
		g.Deployments = append(g.Deployments, Deployment{Target: t, Name: name, Weight: 1})
	}
	g.sum()
	return g
}
