package upstream

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// planned is a plan of slots: groups[0] is what was asked for, falls are the groups of each reason after it.
type planned struct {
	pool   *Pool
	groups [][]int
	falls  map[llm.Fall][]int // indexes of groups
	hedge  bool

	at    int
	named []int
	why   llm.Fall
	fell  int
	took  string
}

func (p *planned) target(slot int) *llm.Target {
	d := p.pool.slots[slot]
	return &llm.Target{Provider: d.Provider, Model: d.Model, Credential: d.Credential, Slot: slot}
}

func (p *planned) Next() (*llm.Target, llm.Bar, bool) {
	if p.at >= len(p.groups) {
		return nil, 0, false
	}
	for _, full := range []bool{false, true} {
		for _, slot := range p.groups[p.at] {
			if slices.Contains(p.named, slot) {
				continue
			}
			var l llm.Load
			p.pool.slots[slot].load(time.Now(), &l)
			if l.Bar == llm.Free || full && l.Bar == llm.Full {
				p.named = append(p.named, slot)
				return p.target(slot), l.Bar, true
			}
		}
	}
	return nil, 0, false
}

func (p *planned) Fall(why llm.Fall) bool {
	list := p.falls[why]
	if len(list) == 0 {
		return false
	}
	p.at, p.why, p.falls[why] = list[0], why, list[1:]
	p.fell++
	return true
}

func (p *planned) Fallback() (string, llm.Fall) {
	if p.fell == 0 {
		return "", 0
	}
	return fmt.Sprint("group", p.at), p.why
}

func (p *planned) Resort() (t *llm.Target, until time.Time, ok bool) {
	if len(p.groups) == 0 {
		return t, until, false
	}
	for _, slot := range p.groups[0] {
		var l llm.Load
		p.pool.slots[slot].load(time.Now(), &l)
		if l.Until != 0 && (until.IsZero() || l.Until < until.UnixNano()) {
			until = time.Unix(0, l.Until)
		}
		if !ok && (l.Bar == llm.Open || l.Bar == llm.Credential) {
			t, ok = p.target(slot), true
		}
	}
	return t, until, ok
}

func (p *planned) Took(t *llm.Target) { p.took = t.Provider }
func (p *planned) Hedges() bool       { return p.hedge }

func (p *planned) Loads() []llm.Load {
	loads := make([]llm.Load, len(p.groups[p.at]))
	for i, slot := range p.groups[p.at] {
		p.pool.slots[slot].load(time.Now(), &loads[i])
	}
	return loads
}

// A stage is a fake provider for many calls: each is answered by the next word of its script, the last word
// for ever. A word is a class of failure, "ok", "ok after 2s" or "hang"; "begun" and "silent" tell what they read and no more; "cut" breaks off after some output.
type stage struct {
	mu      sync.Mutex
	words   []string
	secrets []string
	calls   int
	open    int // streams not closed
	most    int // at one time
}

func (s *stage) Do(ctx context.Context, a *llm.Attempt) (*llm.Reply, error) {
	s.mu.Lock()
	word := "ok"
	if len(s.words) > 0 {
		word = s.words[min(s.calls, len(s.words)-1)]
	}
	s.calls++
	s.secrets = append(s.secrets, string(a.Secret))
	s.mu.Unlock()
	word, after, _ := strings.Cut(word, " after ")
	if after != "" {
		d, _ := time.ParseDuration(after)
		if err := (&script{ctx: ctx}).sleep(d); err != nil {
			return nil, err
		}
	}
	kinds := map[string]*llm.Error{
		"credential": {Kind: llm.KindUpstreamCreds}, "limited": {Kind: llm.KindRateLimited}, "500": {Kind: llm.KindUpstream}, "overloaded": {Kind: llm.KindOverloaded},
		"connect": {Kind: llm.KindUpstream, Err: llm.ErrNotSent}, "unsupported": {Kind: llm.KindUnsupported}, "context": {Kind: llm.KindContextLength},
		"content": {Kind: llm.KindContentFiltered}, "400": {Kind: llm.KindInvalid},
		"limited2s": {Kind: llm.KindRateLimited, RetryAfter: 2 * time.Second}, "limited60s": {Kind: llm.KindRateLimited, RetryAfter: time.Minute},
		"overloaded2s": {Kind: llm.KindOverloaded, RetryAfter: 2 * time.Second},
	}
	if e := kinds[word]; e != nil {
		return nil, &llm.Error{Kind: e.Kind, Msg: word, Err: e.Err, RetryAfter: e.RetryAfter}
	}
	sc := &script{ctx: ctx, steps: []any{"role", "+" + word}}
	switch word {
	case "hang":
		sc.steps = []any{time.Hour}
	case "begun", "silent": // it tells what it read, and then it breaks off, or falls silent
		head := &llm.Event{Raw: []byte("head"), Usage: &llm.Usage{Input: llm.Tokens(25), Output: llm.Tokens(1)}}
		sc.steps = []any{head, &llm.Error{Kind: llm.KindUpstream, Msg: "broke off"}}
		if word == "silent" {
			sc.steps[1] = time.Hour
		}
	case "cut":
		sc.steps = []any{"+a", &llm.Error{Kind: llm.KindUpstream, Msg: "broke off"}}
	}
	s.mu.Lock()
	s.open++
	s.most = max(s.most, s.open)
	s.mu.Unlock()
	return &llm.Reply{Target: a.Target, Stream: &counted{script: sc, stage: s}}, nil
}

type counted struct {
	*script
	stage *stage
	once  sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.stage.mu.Lock()
		c.stage.open--
		c.stage.mu.Unlock()
	})
	return nil
}

// theatre makes a pool of stages "name: words", each with one deployment (credentials after #).
func theatre(o Options, specs ...string) (*Pool, map[string]*stage) {
	stages := map[string]*stage{}
	o.Upstreams = map[string]Upstream{}
	for _, spec := range specs {
		name, words, _ := strings.Cut(spec, ": ")
		name, cred, _ := strings.Cut(name, "#")
		if stages[name] == nil {
			stages[name] = &stage{words: strings.Split(words, ", ")}
			if words == "" {
				stages[name].words = nil
			}
			o.Upstreams[name] = Upstream{Provider: stages[name], Secrets: map[string]llm.Secret{}}
		}
		o.Upstreams[name].Secrets[cred] = llm.Secret("secret of " + name + cred)
		o.Deployments = append(o.Deployments, Deployment{Provider: name, Model: "m", Credential: cred})
	}
	return NewPool(o), stages
}

func drain(reply *llm.Reply) error {
	defer reply.Close()
	for {
		if _, err := reply.Next(); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

func outcomes(tr *llm.Trace) string {
	var words []string
	for _, try := range tr.Tries {
		words = append(words, try.Provider+" "+try.Outcome)
	}
	return strings.Join(words, ", ")
}

func TestFailover(t *testing.T) {
	for _, c := range []struct {
		name   string
		stages []string
		groups [][]int
		falls  map[llm.Fall][]int
		o      Options
		want   string // outcomes
		err    llm.Kind
		least  time.Duration // of waiting
		most   time.Duration
		fell   string
	}{
		{name: "the first answers", stages: []string{"a", "b"}, groups: [][]int{{0, 1}}, want: "a ok"},
		{name: "a broken target is tried twice, then the next", stages: []string{"a: 500", "b"}, groups: [][]int{{0, 1}}, want: "a transient, a transient, b ok", most: 250 * time.Millisecond},
		{name: "a hiccup is mended where it was", stages: []string{"a: 500, ok", "b"}, groups: [][]int{{0, 1}}, want: "a transient, a ok", most: 250 * time.Millisecond},
		{name: "an unreachable one is left at once", stages: []string{"a: connect", "b"}, groups: [][]int{{0, 1}}, want: "a connect, b ok"},
		{name: "an unreachable one is tried again when there is no other", stages: []string{"a: connect, ok"}, groups: [][]int{{0}}, want: "a connect, a ok", most: 250 * time.Millisecond},
		{name: "a fallback comes before trying again", stages: []string{"a: connect, ok", "b"}, groups: [][]int{{0}, {1}}, falls: map[llm.Fall][]int{llm.FallGeneral: {1}}, want: "a connect, b ok", fell: "group1"},
		{name: "a dead credential: the next one, at once", stages: []string{"a#1: credential, ok", "a#2", "b"}, groups: [][]int{{0, 1, 2}}, want: "a credential, a ok"},
		{name: "a rate limit: the next credential, with a pause", stages: []string{"a#1: limited, ok", "a#2"}, groups: [][]int{{0, 1}}, want: "a limited, a ok", most: 250 * time.Millisecond},
		{name: "a rate limit: another provider needs no pause", stages: []string{"a: limited", "b"}, groups: [][]int{{0, 1}}, want: "a limited, b ok"},
		{name: "a short Retry-After is waited for when there is no other", stages: []string{"a: limited2s, ok"}, groups: [][]int{{0}}, want: "a limited, a ok", least: 2 * time.Second, most: 2250 * time.Millisecond},
		{name: "a long one is not", stages: []string{"a: limited60s"}, groups: [][]int{{0}}, want: "a limited", err: llm.KindRateLimited},
		{name: "the request is at fault", stages: []string{"a: 400", "b"}, groups: [][]int{{0, 1}}, want: "a final", err: llm.KindInvalid},
		{name: "a target that cannot carry it costs no attempt", stages: []string{"a: unsupported", "b: unsupported", "c: unsupported", "d: unsupported", "e: unsupported", "f"}, groups: [][]int{{0, 1, 2, 3, 4, 5}}, want: "a unsupported, b unsupported, c unsupported, d unsupported, e unsupported, f ok"},
		{name: "none can carry it: the first says why", stages: []string{"a: unsupported"}, groups: [][]int{{0}}, want: "a unsupported", err: llm.KindUnsupported},
		{name: "too long: the context list, not the next deployment", stages: []string{"a: context", "b", "c"}, groups: [][]int{{0, 1}, {2}}, falls: map[llm.Fall][]int{llm.FallContext: {1}}, want: "a context_length, c ok", fell: "group1"},
		{name: "too long, and no list", stages: []string{"a: context", "b", "c"}, groups: [][]int{{0, 1}, {2}}, falls: map[llm.Fall][]int{llm.FallGeneral: {1}}, want: "a context_length", err: llm.KindContextLength},
		{name: "filtered: the content list", stages: []string{"a: content", "b"}, groups: [][]int{{0}, {1}}, falls: map[llm.Fall][]int{llm.FallContent: {1}}, want: "a content_filtered, b ok", fell: "group1"},
		{name: "through two fallbacks", stages: []string{"a: connect", "b: credential", "c"}, groups: [][]int{{0}, {1}, {2}}, falls: map[llm.Fall][]int{llm.FallGeneral: {1, 2}}, want: "a connect, b credential, c ok", fell: "group2"},
		{name: "four calls at most", stages: []string{"a: connect", "b: connect", "c: connect", "d: connect", "e"}, groups: [][]int{{0, 1, 2, 3, 4}}, want: "a connect, b connect, c connect, d connect", err: llm.KindUpstream},
		{name: "one that asks for time gets it while others are asked", stages: []string{"a: overloaded2s", "b"}, groups: [][]int{{0, 1}}, want: "a transient, b ok"},
		{name: "one that asks for time gets it when there is no other", stages: []string{"a: overloaded2s, ok"}, groups: [][]int{{0}}, want: "a transient, a ok", least: 2 * time.Second, most: 2250 * time.Millisecond},
		{name: "the last attempt is for another model", stages: []string{"a: 500", "b: 500", "c"}, groups: [][]int{{0, 1}, {2}}, falls: map[llm.Fall][]int{llm.FallGeneral: {1}}, want: "a transient, a transient, b transient, c ok", most: 250 * time.Millisecond, fell: "group1"},
		{name: "the last attempt is a second try when there is no other", stages: []string{"a: 500", "b: 500, ok"}, groups: [][]int{{0, 1}}, want: "a transient, a transient, b transient, b ok", most: 750 * time.Millisecond},
		{name: "two attempts are for two", stages: []string{"a: 500", "b"}, groups: [][]int{{0, 1}}, o: Options{Attempts: 2}, want: "a transient, b ok"},
		{name: "no attempts left for a second try", stages: []string{"a: 500", "b"}, groups: [][]int{{0, 1}}, o: Options{Attempts: 1}, want: "a transient", err: llm.KindUpstream},
		{name: "a stream that never begins", stages: []string{"a: hang", "b"}, groups: [][]int{{0, 1}}, o: Options{Timeouts: llm.Timeouts{FirstToken: time.Second}}, want: "a transient, a transient, b ok", least: 2 * time.Second, most: 2250 * time.Millisecond},
		{name: "time for retries is over", stages: []string{"a: 500 after 20s", "b: connect after 20s", "c"}, groups: [][]int{{0, 1, 2}}, want: "a transient, a transient, b connect", err: llm.KindUpstream, least: time.Minute, most: time.Minute + time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool, stages := theatre(c.o, c.stages...)
				start := time.Now()
				plan := &planned{pool: pool, groups: c.groups, falls: c.falls}
				reply, tr, err := pool.Do(t.Context(), &llm.Call{Stream: true}, plan, "k", true, nil)
				if got := outcomes(tr); got != c.want {
					t.Errorf("tries %q, want %q", got, c.want)
				}
				if kindOf(err) != c.err {
					t.Errorf("error %v, want %q", err, c.err)
				}
				if took := time.Since(start); took < c.least || took > max(c.most, c.least) {
					t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
				if tr.Fallback != c.fell {
					t.Errorf("fallback %q, want %q", tr.Fallback, c.fell)
				}
				if reply != nil {
					if err := drain(reply); err != nil {
						t.Error(err)
					}
					if plan.took != tr.Target.Provider {
						t.Errorf("the plan was told that %q answered", plan.took)
					}
				}
				for i, d := range pool.slots {
					if n := d.queue.inFlight(); n != 0 {
						t.Errorf("deployment %d has %d calls in flight", i, n)
					}
				}
				for name, s := range stages {
					if s.open != 0 {
						t.Errorf("%s has %d streams open", name, s.open)
					}
					for _, secret := range s.secrets {
						if !strings.HasPrefix(secret, "secret of "+name) {
							t.Errorf("%s was called with %q", name, secret)
						}
					}
				}
			})
		})
	}
}

// The client's deadline and its leaving end everything, between attempts too.
func TestFailoverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := theatre(Options{}, "a: limited2s")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrDeadline)
		defer cancel()
		start := time.Now()
		_, tr, err := pool.Do(ctx, &llm.Call{}, &planned{pool: pool, groups: [][]int{{0}}}, "k", true, nil)
		if kindOf(err) != llm.KindRateLimited || time.Since(start) != 0 || tr.Attempts != 1 {
			t.Errorf("%v after %v, %d attempts: what cannot end in time must not be waited for", err, time.Since(start), tr.Attempts)
		}
		pool, _ = theatre(Options{}, "a: ok after 5s", "b")
		start = time.Now()
		ctx, cancel = context.WithTimeoutCause(t.Context(), 2*time.Second, ErrDeadline)
		defer cancel()
		_, _, err = pool.Do(ctx, &llm.Call{}, &planned{pool: pool, groups: [][]int{{0, 1}}}, "k", true, nil)
		if err == nil || llm.AsError(err).Msg != ErrDeadline.Msg || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v, want the deadline's own words after 2 s", err, time.Since(start))
		}
		if l := pool.slots[0].tracker.failing.Load(); l != 0 {
			t.Error("the client's deadline was held against the upstream")
		}
		pool, stages := theatre(Options{}, "a: limited2s, ok")
		gone, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		_, _, err = pool.Do(gone, &llm.Call{}, &planned{pool: pool, groups: [][]int{{0}}}, "k", true, nil)
		if kindOf(err) != llm.KindClientGone || stages["a"].calls != 1 {
			t.Errorf("%v after %d calls, want none after the client left", err, stages["a"].calls)
		}
	})
}

// An outage opens the breakers, nobody is called for a while, one call finds out that it is over.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		fleet := NewFleet(FleetOptions{Notify: func(c Change) { changes = append(changes, c.Deployment+" "+c.Event) }})
		pool, stages := theatre(Options{Fleet: fleet}, "a: connect", "b: connect")
		call := func() error {
			reply, _, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0, 1}}}, "k", true, nil)
			if reply != nil {
				return drain(reply)
			}
			return err
		}
		open := func(slot int) bool {
			p, _, _ := pool.slots[slot].breaker.state(time.Now())
			return p == phaseOpen
		}
		for !open(0) || !open(1) {
			if err := call(); kindOf(err) != llm.KindUpstream {
				t.Fatal(err)
			}
		}
		before := stages["a"].calls + stages["b"].calls
		resorts := 0
		for range 1000 {
			err := call()
			if kindOf(err) == llm.KindUpstream {
				resorts++
				continue
			}
			if e := llm.AsError(err); e.Kind != llm.KindNoUpstream || e.RetryAfter < time.Second || e.RetryAfter > 5*time.Second {
				t.Fatalf("%v, Retry-After %v", err, e.RetryAfter)
			}
		}
		if resorts > 2 || stages["a"].calls+stages["b"].calls != before+resorts {
			t.Errorf("%d calls of 1000 reached an upstream, want one of last resort for each", resorts)
		}
		stages["a"].words = []string{"ok"}
		recovered := 0
		for second := range 60 {
			time.Sleep(time.Second)
			if call() == nil {
				recovered = second + 1
				break
			}
		}
		if recovered == 0 || recovered > 10 {
			t.Errorf("recovered after %d s, want at most two probes' time", recovered)
		}
		for range 10 {
			time.Sleep(time.Second)
			_ = call()
		}
		if p, _, _ := pool.slots[0].breaker.state(time.Now()); p != phaseClosed {
			t.Errorf("the breaker is %s though all is well", p)
		}
		if !slices.Contains(changes, "a/m breaker_open") || !slices.Contains(changes, "b/m breaker_open") || !slices.Contains(changes, "a/m breaker_closed") {
			t.Errorf("told: %v", changes)
		}
	})
}

// In a full outage that no breaker ends, retries stay within their budget.
func TestRetriesHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, stages := theatre(Options{Breaker: BreakerRules{Requests: 1 << 30}, Budget: BudgetRules{Floor: 1}}, "a: 500")
		const calls = 2000
		for range calls {
			time.Sleep(5 * time.Millisecond)
			_, _, _ = pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0}}}, "k", true, nil)
		}
		if n := stages["a"].calls; n > calls*12/10 || n < calls*11/10 {
			t.Errorf("%d upstream calls for %d requests, want at most 1.2 each", n, calls)
		}
	})
}

// A credential that was refused is left alone, whatever deployment it belongs to, and told once.
func TestRefusedCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		fleet := NewFleet(FleetOptions{Notify: func(c Change) { changes = append(changes, c.Deployment+" "+c.Event) }})
		pool, stages := theatre(Options{Fleet: fleet}, "a#1: credential, ok", "a#2")
		for range 20 {
			reply, _, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0, 1}}}, "k", true, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = drain(reply)
		}
		if s := stages["a"].secrets; s[0] != "secret of a1" || slices.Contains(s[1:], "secret of a1") {
			t.Errorf("called with %v", s)
		}
		for range 20 { // it recovers by probes
			time.Sleep(time.Second)
			reply, _, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0, 1}}}, "k", true, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = drain(reply)
		}
		if want := []string{"a#1 credential_refused", "a#1 credential_accepted"}; !cmp.Equal(want, changes) {
			t.Errorf("told %v, want %v", changes, want)
		}
	})
}

// When the only credential is refused, callers are told so, at once and without another call.
func TestRefusedCredentialAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, stages := theatre(Options{}, "a: credential")
		for i := range 20 {
			_, _, err := pool.Do(t.Context(), &llm.Call{}, &planned{pool: pool, groups: [][]int{{0}}}, "k", true, nil)
			e := llm.AsError(err)
			if e.Kind != llm.KindUpstreamCreds || i > 2 && (e.RetryAfter < time.Second || e.RetryAfter > 10*time.Second) {
				t.Errorf("call %d: %v, Retry-After %v", i, err, e.RetryAfter)
			}
		}
		if n := stages["a"].calls; n > 2 {
			t.Errorf("%d calls, want one and one of last resort", n)
		}
	})
}

// Answers that break off half way count against the deployment, too.
func TestBrokenAnswersOpenTheBreaker(t *testing.T) {
	pool, _ := theatre(Options{}, "a: cut")
	for range 10 {
		reply, _, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0}}}, "k", true, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := drain(reply); kindOf(err) != llm.KindUpstream {
			t.Fatal(err)
		}
	}
	if p, _, _ := pool.slots[0].breaker.state(time.Now()); p != phaseOpen {
		t.Errorf("the breaker is %s", p)
	}
}

// Calls beyond max_in_flight wait, and go on when there is room.
func TestMaxInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, stages := theatre(Options{QueueLength: 2, QueueWait: 3 * time.Second, Deployments: []Deployment{}}, "a: ok after 2s")
		pool.slots[0].queue.setLimit(2, 2)
		results := make(chan error, 6)
		for i := range 6 {
			time.Sleep(time.Millisecond)
			go func() {
				reply, _, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0}}}, fmt.Sprint("key", i), true, nil)
				if err == nil {
					err = drain(reply)
				}
				results <- err
			}()
		}
		var ok, full int
		for range 6 {
			switch err := <-results; {
			case err == nil:
				ok++
			case kindOf(err) == llm.KindOverloaded:
				full++
			default:
				t.Error(err)
			}
		}
		if ok != 4 || full != 2 || stages["a"].calls != 4 || stages["a"].most > 2 {
			t.Errorf("%d answered, %d refused, %d calls, %d at a time; want 4, 2, 4, 2", ok, full, stages["a"].calls, stages["a"].most)
		}
	})
}
