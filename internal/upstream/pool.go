// Package upstream is the only caller of providers. It bounds every attempt in time, reads ahead to the
// first real output before anything is promised to the client, and (with the pools to come) retries, falls
// back and breaks circuits. It does not know formats, keys or configuration files.
package upstream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice/internal/llm"
)

// An Upstream is a provider with the credential it is called with.
type Upstream struct {
	Provider llm.Provider
	Secret   llm.Secret
	List     bool // ask it for its models, if it can name them
}

// A Pool holds the upstreams by name. It is immutable, but for what it has learned
// of the models that providers offer.
type Pool struct {
	upstreams map[string]Upstream
	defaults  llm.Timeouts
	maxAnswer int64
	lists     []*list // sorted by provider
}

// NewPool makes a pool. Zero members of defaults mean 30 s to the first output, 60 s between frames and
// 600 s in all; maxAnswer bounds an answer that is not streamed, in bytes, 0 means 32 MiB.
func NewPool(upstreams map[string]Upstream, defaults llm.Timeouts, maxAnswer int64) *Pool {
	defaults.FirstToken = orDefault(defaults.FirstToken, 30*time.Second)
	defaults.Idle = orDefault(defaults.Idle, 60*time.Second)
	defaults.Total = orDefault(defaults.Total, 600*time.Second)
	p := &Pool{upstreams: upstreams, defaults: defaults, maxAnswer: maxAnswer}
	for _, name := range slices.Sorted(maps.Keys(upstreams)) {
		up := upstreams[name]
		if lister, ok := up.Provider.(llm.Lister); ok && up.List {
			p.lists = append(p.lists, &list{provider: name, lister: lister, secret: up.Secret})
		}
	}
	return p
}

// A Trace is what a call met upstream, told whether it succeeded or not.
type Trace struct {
	Attempts int
	Target   llm.Target    // of the last attempt
	Waited   time.Duration // for the upstream, until its first output or its refusal
}

// Do calls the first target of the plan. It returns when the first real output is there, so that every
// failure before it can still be told by a status line. raw: nobody downstream needs the meaning.
func (p *Pool) Do(ctx context.Context, call *llm.Call, plan []llm.Target, raw bool) (*llm.Reply, Trace, error) {
	if len(plan) == 0 {
		return nil, Trace{}, &llm.Error{Kind: llm.KindNoUpstream}
	}
	tr := Trace{Attempts: 1, Target: plan[0]}
	up, ok := p.upstreams[plan[0].Provider]
	if !ok {
		return nil, tr, fmt.Errorf("no provider %q in the pool", plan[0].Provider)
	}
	start := time.Now()
	reply, err := p.attempt(ctx, up, &llm.Attempt{Call: call, Target: plan[0], Secret: up.Secret, Raw: raw, MaxAnswer: p.maxAnswer})
	tr.Waited = time.Since(start)
	return reply, tr, err
}

// attempt makes one try and reads ahead.
func (p *Pool) attempt(ctx context.Context, up Upstream, a *llm.Attempt) (*llm.Reply, error) {
	t := p.timeouts(a.Target.Timeouts)
	if !a.Stream {
		t.FirstToken, t.Idle = t.Total, t.Total // nothing is seen of an answer that comes whole, until it does
	}
	ctx, w := newWatch(ctx, t)
	reply, err := up.Provider.Do(ctx, a)
	if err != nil {
		w.stop()
		return nil, err
	}
	s := &held{inner: reply.Stream, watch: w}
	if err := s.prime(); err != nil {
		_ = s.Close()
		return nil, err
	}
	reply.Stream = s
	return reply, nil
}

func (p *Pool) timeouts(t llm.Timeouts) llm.Timeouts {
	return llm.Timeouts{
		FirstToken: orDefault(t.FirstToken, p.defaults.FirstToken),
		Idle:       orDefault(t.Idle, p.defaults.Idle),
		Total:      orDefault(t.Total, p.defaults.Total),
	}
}
