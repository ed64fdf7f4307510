package upstream

import (
	"context"
	"io"
	"testing"

	"sluice/internal/llm"
)

// instant answers at once, and allocates only its reply.
type instant struct{ ev llm.Event }

func (p *instant) Do(_ context.Context, a *llm.Attempt) (*llm.Reply, error) {
	return &llm.Reply{Target: a.Target, Stream: &once{ev: &p.ev}}, nil
}

type once struct{ ev *llm.Event }

func (o *once) Next() (*llm.Event, error) {
	ev := o.ev
	if ev == nil {
		return nil, io.EOF
	}
	o.ev = nil
	return ev, nil
}

func (o *once) Close() error { return nil }

// always is a plan of one target.
type always struct {
	Plan
	target *llm.Target
	named  bool
}

func (p *always) Next() (*llm.Target, llm.Bar, bool) {
	if p.named {
		return nil, 0, false
	}
	p.named = true
	return p.target, llm.Free, true
}

func (p *always) Fallback() (string, llm.Fall) { return "", 0 }
func (p *always) Took(*llm.Target)             {}
func (p *always) Hedges() bool                 { return false }

// BenchmarkDo is what the pool itself costs a call.
func BenchmarkDo(b *testing.B) {
	pool := NewPool(Options{
		Upstreams: map[string]Upstream{"p": {Provider: &instant{ev: llm.Event{Output: true}}}}, Deployments: []Deployment{{Provider: "p", Model: "m"}},
	})
	call := &llm.Call{}
	b.ReportAllocs()
	for b.Loop() {
		reply, _, err := pool.Do(context.Background(), call, &always{target: &llm.Target{Provider: "p", Model: "m"}}, "k", true, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := reply.Next(); err != nil {
			b.Fatal(err)
		}
		_ = reply.Close()
	}
}
