package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// A script is a fake provider: each step is an event, a delay or an end.
type script struct {
	head   time.Duration
	err    error
	steps  []any // string: an event, "+..." with output; or the event; time.Duration: silence; error: the end
	closed int
	ctx    context.Context
}

func (s *script) Do(ctx context.Context, a *llm.Attempt) (*llm.Reply, error) {
	s.ctx = ctx
	if err := s.sleep(s.head); err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.err
	}
	return &llm.Reply{Target: a.Target, Stream: s}, nil
}

func (s *script) sleep(d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *script) Next() (*llm.Event, error) {
	for len(s.steps) > 0 {
		step := s.steps[0]
		s.steps = s.steps[1:]
		switch step := step.(type) {
		case time.Duration:
			if err := s.sleep(step); err != nil {
				return nil, err
			}
		case error:
			return nil, step
		case *llm.Event:
			return step, nil
		case string:
			return &llm.Event{Raw: []byte(step), Output: strings.HasPrefix(step, "+")}, nil
		}
	}
	return nil, io.EOF
}

func (s *script) Close() error { s.closed++; return nil }

// clientSees calls the script and lists what a client would see.
func clientSees(t *testing.T, s *script, stream bool) (got []string, err error) {
	t.Helper()
	pool := NewPool(Options{Upstreams: map[string]Upstream{"p": {Provider: s}}, Deployments: []Deployment{{Provider: "p"}}, Attempts: 1})
	reply, tr, err := pool.Do(t.Context(), &llm.Call{Stream: stream}, &planned{pool: pool, groups: [][]int{{0}}}, "k", true, nil)
	if tr.Attempts != 1 || tr.Target.Provider != "p" {
		t.Errorf("trace %+v", tr)
	}
	if err != nil {
		return nil, err
	}
	defer reply.Close()
	for {
		ev, err := reply.Next()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, string(ev.Raw))
	}
}

func TestPool(t *testing.T) {
	boom := &llm.Error{Kind: llm.KindUpstream, Msg: "boom"}
	many := make([]any, 0, 200)
	var manyWant []string
	for i := range 200 {
		many = append(many, fmt.Sprint(i))
		manyWant = append(manyWant, fmt.Sprint(i))
	}
	for _, c := range []struct {
		name  string
		s     script
		whole bool
		want  []string
		err   error
		took  time.Duration
	}{
		{name: "all events in order", s: script{steps: []any{"role", "ping", "+a", "+b"}}, want: []string{"role", "ping", "+a", "+b"}},
		{name: "refusal", s: script{err: boom}, err: boom},
		{name: "error before any output has no events", s: script{steps: []any{"role", boom}}, err: boom},
		{name: "error after output comes after it", s: script{steps: []any{"+a", boom}}, want: []string{"+a"}, err: boom},
		{name: "empty answer", s: script{steps: []any{"role"}}, want: []string{"role"}},
		{name: "no output for long", s: script{steps: many}, want: manyWant},
		{name: "no head", s: script{head: time.Hour}, err: errFirst, took: 30 * time.Second},
		{name: "no first output", s: script{steps: []any{"role", 20 * time.Second, "ping", 20 * time.Second, "+a"}}, err: errFirst, took: 30 * time.Second},
		{name: "late first output", s: script{head: 10 * time.Second, steps: []any{"role", 19 * time.Second, "+a"}}, want: []string{"role", "+a"}, took: 29 * time.Second},
		{name: "silence", s: script{steps: []any{"+a", 61 * time.Second, "+b"}}, want: []string{"+a"}, err: errIdle, took: 60 * time.Second},
		{name: "slow drip is not cut", s: script{steps: []any{"+a", 59 * time.Second, "+b", 59 * time.Second, "+c"}}, want: []string{"+a", "+b", "+c"}, took: 118 * time.Second},
		{name: "too long in all", s: script{steps: func() (s []any) {
			for range 12 { // at 0 s, 50 s ... 550 s
				s = append(s, "+", 50*time.Second)
			}
			return append(s, time.Hour)
		}()}, want: strings.Fields(strings.Repeat("+ ", 12)), err: errTotal, took: 600 * time.Second},
		{name: "a whole answer may take long", whole: true, s: script{head: 500 * time.Second, steps: []any{"+a"}}, want: []string{"+a"}, took: 500 * time.Second},
		{name: "a whole answer may not take for ever", whole: true, s: script{head: 700 * time.Second}, err: errTotal, took: 600 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				got, err := clientSees(t, &c.s, !c.whole)
				if !errors.Is(err, c.err) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if c.s.ctx.Err() == nil {
					t.Error("the attempt's context lives on")
				}
				if reached := c.s.err == nil && c.s.head < 600*time.Second; reached && c.s.closed == 0 {
					t.Error("the upstream's stream was not closed")
				}
			})
		})
	}
}

// While we wait for a client that reads slowly, the upstream is not silent.
func TestSlowClientIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []any{"+a", "+b"}}
		pool := NewPool(Options{Upstreams: map[string]Upstream{"p": {Provider: s}}, Deployments: []Deployment{{Provider: "p"}}})
		reply, _, err := pool.Do(t.Context(), &llm.Call{Stream: true}, &planned{pool: pool, groups: [][]int{{0}}}, "k", true, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Close()
		for range 2 {
			time.Sleep(200 * time.Second) // the client's pace, on synctest's clock
			if _, err := reply.Next(); err != nil {
				t.Fatal(err)
			}
			if err := s.ctx.Err(); err != nil {
				t.Fatalf("cancelled: %v", context.Cause(s.ctx))
			}
		}
	})
}

func TestPoolWithoutTargets(t *testing.T) {
	pool := NewPool(Options{Deployments: []Deployment{{Provider: "x"}}})
	if _, _, err := pool.Do(t.Context(), &llm.Call{}, &planned{pool: pool}, "k", true, nil); kindOf(err) != llm.KindNoUpstream || llm.AsError(err).RetryAfter < time.Second {
		t.Errorf("empty plan: %v", err)
	}
	if _, _, err := pool.Do(t.Context(), &llm.Call{}, &planned{pool: pool, groups: [][]int{{0}}}, "k", true, nil); err == nil {
		t.Error("an unknown provider was called")
	}
}
