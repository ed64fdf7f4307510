package route

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"sluice/internal/catalog"
	"sluice/internal/llm"
)

const (
	// large is from how many deployments in its lowest tier on a group has a panel. A look at each of fewer costs less than
	// half a microsecond.
	large = 16
	// unseen is how long a panel passes over a deployment that was not free.
	unseen = 5 * time.Millisecond
)

// A panel shows of the lowest tier of a large group what a strategy weighs, and nothing else: a Load for each of 300 deployments
// takes ten times as long. It does not know which are free. Whoever is chosen is looked at, and the strategy is asked if
// it is not; with the strategies here this comes to the same as a choice among those that are.
type panel struct {
	gauges  []llm.Gauge
	tariffs []tariff
	weights []int
	// barred is until when each is passed over, in Unix nanoseconds: one that is broken has the fewest calls in flight and would be
	// chosen again and again. some is the latest of these times.
	barred []atomic.Int64
	some   atomic.Int64
}

func panels(c *catalog.Catalog, gauge func(*llm.Target) llm.Gauge) map[*catalog.Group]*panel {
	all := make(map[*catalog.Group]*panel)
	for g := range c.Groups() {
		if len(g.Sums) >= large {
			if b := newPanel(g, gauge); b != nil {
				all[g] = b
			}
		}
	}
	return all
}

func newPanel(g *catalog.Group, gauge func(*llm.Target) llm.Gauge) *panel {
	b := &panel{barred: make([]atomic.Int64, len(g.Sums))}
	for i := range g.Sums {
		d := &g.Deployments[i]
		at := gauge(&d.Target)
		if at.Calls == nil || at.Times == nil {
			return nil
		}
		b.gauges, b.tariffs, b.weights = append(b.gauges, at), append(b.tariffs, tariff{d.Input, d.Output}), append(b.weights, d.Weight)
	}
	return b
}

// ofMany is the first choice in a group with a panel; -1 where the strategy must see all of the tier.
func (p *Plan) ofMany() int {
	b := p.router.panels[p.group]
	if b == nil || p.name == "latency" && explores(p.pick.Turn) {
		return -1
	}
	p.pick.Random = rand.Uint64() //nolint:gosec // G404: spreads load, keeps no secret
	p.scores = slices.Grow(p.scores[:0], len(b.gauges))[:len(b.gauges)]
	now := p.now.UnixNano()
	b.begin(p.scores, now)
	i, best := -1, -1
	switch p.name {
	case "least-busy":
		i = b.leastBusy(&p.pick, p.scores)
	case "latency":
		i, best = b.latency(&p.pick, p.scores)
	case "cost":
		i = b.cost(&p.pick, p.scores, p.call)
	}
	// Who is equal to the best depends on the best, so that one must be free, too.
	for _, k := range [...]int{best, i} {
		if k >= 0 && !p.free(k) {
			b.barred[k].Store(now + int64(unseen))
			b.some.Store(now + int64(unseen))
			return -1
		}
	}
	return i
}

// passed is the score of those that are passed over, above all others.
const passed = math.MaxUint64

// begin marks those that are passed over. All other scores are 0.
func (b *panel) begin(scores []uint64, now int64) {
	clear(scores)
	if b.some.Load() <= now {
		return
	}
	for i := range b.barred {
		if b.barred[i].Load() > now {
			scores[i] = passed
		}
	}
}

// leastBusy is the strategy of that name.
func (b *panel) leastBusy(p *Pick, scores []uint64) int {
	own := 2 * int64(p.Replicas)
	best, few, weight, total := -1, int64(1), int64(0), 0
	for i, g := range b.gauges {
		if scores[i] == passed {
			continue
		}
		calls, w := int64(g.Calls.InFlight.Load())*own+int64(g.Calls.Others.Load()), int64(b.weights[i])
		scores[i] = uint64(calls)
		switch mine, least := calls*weight, few*w; {
		case mine < least:
			best, few, weight, total = i, calls, w, b.weights[i]
		case mine == least:
			total += b.weights[i]
		}
	}
	if best < 0 {
		return -1
	}
	at := portion(random(p, len(scores)), total)
	for i := best; i < len(scores); i++ {
		if scores[i] == passed || int64(scores[i])*weight != few*int64(b.weights[i]) {
			continue
		}
		if at -= b.weights[i]; at < 0 {
			return i
		}
	}
	return best
}

// latency is the strategy of that name. It gives the best, too: -1 where none was measured.
func (b *panel) latency(p *Pick, scores []uint64) (choice, best int) {
	best, least := -1, uint64(passed)
	for i, g := range b.gauges {
		if scores[i] == passed {
			continue
		}
		average := uint64(g.Times.Latency.Load())
		if average == 0 {
			if g.Times.Tried.Load() == 0 {
				return i, -1
			}
			continue // equal to the best: 0
		}
		scores[i] = min(average-1, uint64(g.Times.Recent.Load())-1)
		if scores[i] < least {
			best, least = i, scores[i]
		}
	}
	most, total := min(least+min(least/10, passed-least), passed-1), 0
	for i, x := range scores {
		if x <= most {
			total += b.weights[i]
		}
	}
	at := portion(random(p, len(scores)), total)
	for i, x := range scores {
		if x > most {
			continue
		}
		if at -= b.weights[i]; at < 0 {
			return i, best
		}
	}
	return -1, best
}

// cost is the strategy of that name.
func (b *panel) cost(p *Pick, scores []uint64, call *llm.Call) int {
	in, out := expected(call)
	best, n, total := uint64(passed), 0, 0
	last, x := tariff{}, uint64(passed-1) // not known: above every price
	for i, t := range b.tariffs {
		if scores[i] == passed {
			continue
		}
		if t != last {
			last, x = t, min(uint64(max(t.of(in, out), -1)), passed-1)
		}
		switch scores[i] = x; {
		case x < best:
			best, n, total = x, 1, b.weights[i]
		case x == best:
			n, total = n+1, total+b.weights[i]
		}
	}
	at := position(p.Turn, n, total)
	for i, x := range scores {
		if x != best || x == passed {
			continue
		}
		if at -= b.weights[i]; at < 0 {
			return i
		}
	}
	return -1
}
