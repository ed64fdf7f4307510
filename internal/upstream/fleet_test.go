package upstream

import (
	"fmt"
	"sync"
	"testing"

	"sluice/internal/llm"
)

// A configuration may be replaced while calls are under way, operators look, and clients name models without an entry:
// nothing that was learned of what stays is lost, and no call in flight is.
func TestReloadUnderCalls(t *testing.T) {
	fleet := NewFleet(FleetOptions{Shared: NewMemory(nil), Replica: "a"})
	stages := map[string]Upstream{"p": {Provider: &stage{}, Secrets: map[string]llm.Secret{"": "x"}}}
	build := func(i int) *Pool {
		o := Options{Fleet: fleet, Upstreams: stages, Deployments: []Deployment{{Provider: "p"}}}
		if i%2 == 1 { // a model that was reached without an entry gets one, with a limit
			o.Deployments = append(o.Deployments, Deployment{Provider: "p", Model: "m1", MaxInFlight: 100})
		}
		if i%3 == 2 {
			o.Deployments[0].MaxInFlight = 100
		}
		return NewPool(o)
	}
	var mu sync.RWMutex
	pool := build(0)
	if err := fleet.SetMode("p/*", Active); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 300 {
				mu.RLock()
				p := pool
				mu.RUnlock()
				target := &llm.Target{Provider: "p", Model: fmt.Sprint("m", (i+w)%5)}
				reply, _, err := p.Do(t.Context(), &llm.Call{Stream: true}, &always{target: target}, "k", true, nil)
				if err == nil {
					err = drain(reply)
				}
				if err != nil {
					t.Error(err)
					return
				}
				fleet.Views()
			}
		})
	}
	for i := range 100 {
		next := build(i)
		mu.Lock()
		pool = next
		mu.Unlock()
	}
	all.Wait()
	for _, v := range fleet.Views() {
		if v.InFlight != 0 {
			t.Errorf("%s has %d calls in flight", v.Deployment, v.InFlight)
		}
	}
}
