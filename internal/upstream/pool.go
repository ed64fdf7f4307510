// Package upstream is the only caller of providers. It bounds every attempt in time, reads ahead to the
// first real output before anything is promised to the client, retries, falls back, hedges and breaks
// circuits, and shares with other replicas what it has learned. It does not know formats, keys or
// configuration files.
package upstream

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"sluice/internal/llm"
)

// An Upstream is a provider with the credentials it is called with.
type Upstream struct {
	Provider llm.Provider
	Secrets  map[string]llm.Secret // by the credential's name; "" where there is one
	List     bool                  // ask it for its models, if it can name them
	Check    time.Duration         // how often to ask whether it is alive, if it can be asked; 0: never
}

// Options are what a pool is made of. Zero members mean the defaults of docs/configuration.md.
type Options struct {
	Upstreams   map[string]Upstream
	Deployments []Deployment // a target's Slot is an index
	Timeouts    llm.Timeouts
	MaxAnswer   int64         // bytes of an answer that is not streamed
	Attempts    int           // upstream calls for one request
	Within      time.Duration // after the first failure, in which another try may begin
	QueueLength int           // calls that wait for one deployment
	QueueWait   time.Duration // the longest wait
	Breaker     BreakerRules
	Budget      BudgetRules
	Fleet       *Fleet // what is known of the deployments; nil: a new one
}

// A Pool calls the upstreams of one configuration. It is immutable, but for what it has learned of the models
// that providers offer; what it learns of the deployments is the fleet's.
type Pool struct {
	Options
	fleet *Fleet
	slots []place // by a target's Slot
	lists []*list // sorted by provider
}

// A place is a deployment with what it is called by. A call finds all of it by its slot: with hundreds of deployments every
// further look-up would come from memory.
type place struct {
	*deployment
	provider llm.Provider // nil: the pool has none of the name
	secret   llm.Secret
}

// NewPool makes a pool.
func NewPool(o Options) *Pool {
	o.Timeouts.FirstToken = orDefault(o.Timeouts.FirstToken, 30*time.Second)
	o.Timeouts.Idle = orDefault(o.Timeouts.Idle, 60*time.Second)
	o.Timeouts.Total = orDefault(o.Timeouts.Total, 600*time.Second)
	o.Within = orDefault(o.Within, 30*time.Second)
	o.QueueWait = orDefault(o.QueueWait, 5*time.Second)
	if o.Attempts <= 0 {
		o.Attempts = 4
	}
	if o.QueueLength <= 0 {
		o.QueueLength = 100
	}
	if o.Fleet == nil {
		o.Fleet = NewFleet(FleetOptions{})
	}
	o.Breaker, o.Budget = o.Breaker.orDefault(), o.Budget.orDefault()
	p := &Pool{Options: o, fleet: o.Fleet}
	for _, d := range o.Fleet.take(&o) {
		up := o.Upstreams[d.Provider]
		p.slots = append(p.slots, place{d, up.Provider, up.Secrets[d.Credential]})
	}
	for _, name := range slices.Sorted(maps.Keys(o.Upstreams)) {
		up := o.Upstreams[name]
		if lister, ok := up.Provider.(llm.Lister); ok && up.List {
			p.lists = append(p.lists, &list{provider: name, lister: lister, secret: up.first()})
		}
	}
	return p
}

// first is the credential that questions about the provider itself are asked with.
func (u *Upstream) first() llm.Secret {
	for _, name := range slices.Sorted(maps.Keys(u.Secrets)) {
		return u.Secrets[name]
	}
	return ""
}

// Load fills in what is known of a target's deployment now.
func (p *Pool) Load(t *llm.Target, now time.Time, l *llm.Load) { p.at(t).load(now, l) }

// Gauge is where the calls of a target's deployment are counted and timed; nothing where the deployment is one for each model
// that is called.
func (p *Pool) Gauge(t *llm.Target) (g llm.Gauge) {
	if d := p.slots[t.Slot].deployment; !d.open || t.Model == "" {
		g = llm.Gauge{Calls: &d.queue.calls, Times: &d.tracker.times}
	}
	return g
}

// Replicas is how many processes share the deployments, this one included.
func (p *Pool) Replicas() int { return p.fleet.Replicas() }

// A Plan names the targets of a call, best first; package route makes it.
type Plan interface {
	// Next names the best target not named yet, and what stands between it and a call: Free, or Full when
	// only a place in its waiting line is to be had.
	Next() (*llm.Target, llm.Bar, bool)
	// Fall turns to the next model of a list, and tells whether there is one.
	Fall(why llm.Fall) bool
	// Fallback names the model that the plan fell back to last, "" when it did not, and why.
	Fallback() (string, llm.Fall)
	// Resort names the target to try when no other is left, though its breaker is open, and when one of them
	// may be called by itself; zero when nobody knows.
	Resort() (t *llm.Target, until time.Time, ok bool)
	// Took notes that a target has answered.
	Took(t *llm.Target)
	// Loads are what is known of all deployments of the model.
	Loads() []llm.Load
	// Hedges tells whether a second request may be sent when the first is slow to begin.
	Hedges() bool
}

// Allow is asked before each upstream call of a request but the first, whether one more can be paid for; beside: it is a hedge,
// so both may have to be. The trace has what those before have cost. An error is a no.
type Allow func(ctx context.Context, t *llm.Trace, beside bool) error

func jitter() float64 { return rand.Float64() } //nolint:gosec // G404: spreads retries, keeps no secret
