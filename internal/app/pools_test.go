package app

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/route"
	"sluice/internal/upstream"
)

// Credentials that lie side by side are still each their own, and the configuration's are left alone.
func TestPacked(t *testing.T) {
	list := []config.Provider{
		{Name: "a", Credentials: []config.Credential{{Name: "one", APIKey: "k1"}, {Name: "", APIKey: ""}, {Name: "three", APIKey: "key3"}}},
		{Name: "b", APIKey: "alone"},
	}
	got := packed(list)
	if diff := cmp.Diff(list, got, cmp.Transformer("plain", func(s llm.Secret) string { return string(s) })); diff != "" {
		t.Errorf("(-configured +packed)\n%s", diff)
	}
	if got[0].Credentials[0].Name = "other"; list[0].Credentials[0].Name != "one" {
		t.Error("the configuration was changed")
	}
}

// BenchmarkPools is what a name with many deployments behind it costs a call: the plan's first choice, with what the pool
// itself knows of each.
func BenchmarkPools(b *testing.B) {
	for _, strategy := range route.Names() {
		for _, n := range []int{1, 300} {
			b.Run(fmt.Sprintf("%s/%d", strategy, n), func(b *testing.B) {
				g := catalog.Group{Name: "m", Strategy: strategy}
				var places []upstream.Deployment
				for i := range n {
					d := upstream.Deployment{Provider: "p", Model: "m", Credential: fmt.Sprint("c", i)}
					places = append(places, d)
					g.Deployments = append(g.Deployments, catalog.Deployment{
						Weight: 1, Input: 100, Output: 100, Target: llm.Target{Provider: "p", Model: "m", Credential: d.Credential, Slot: i},
					})
				}
				pool := upstream.NewPool(upstream.Options{Deployments: places})
				for i := range g.Deployments {
					at := pool.Gauge(&g.Deployments[i].Target)
					at.Calls.InFlight.Store(int32(i % 5))
					at.Times.Tried.Store(1)
					at.Times.Latency.Store(int64(1000 + i%7))
				}
				router := route.New(route.Options{Catalog: catalog.New([]catalog.Group{g}, nil), Load: pool.Load, Gauge: pool.Gauge})
				who, call := &auth.Who{Models: []string{"*"}}, &llm.Call{Model: "m"}
				b.ReportAllocs()
				for b.Loop() {
					p, err := router.Plan(who, call, route.Ask{})
					if err != nil {
						b.Fatal(err)
					}
					if _, _, ok := p.Next(); !ok {
						b.Fatal("nobody is free")
					}
					p.Release()
				}
			})
		}
	}
}
