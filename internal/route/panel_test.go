package route

import (
	"testing"
	"time"

	"sluice/internal/catalog"
	"sluice/internal/llm"
)

// A board is a large group with gauges that a test sets.
type board struct {
	router *Router
	gauges []llm.Gauge
	loads  []llm.Load // what more is known
	looks  int
}

func newBoard(n int, strategy string, of func(i int, d *catalog.Deployment)) *board {
	b := &board{gauges: make([]llm.Gauge, n), loads: make([]llm.Load, n)}
	g := catalog.Group{Name: "m", Strategy: strategy}
	for i := range n {
		d := catalog.Deployment{Weight: 1, Target: llm.Target{Slot: i}}
		if of != nil {
			of(i, &d)
		}
		g.Deployments = append(g.Deployments, d)
		b.gauges[i] = llm.Gauge{Calls: new(llm.Calls), Times: new(llm.Times)}
	}
	b.router = New(Options{
		Catalog: catalog.New([]catalog.Group{g}, nil),
		Gauge:   func(t *llm.Target) llm.Gauge { return b.gauges[t.Slot] },
		Load: func(t *llm.Target, _ time.Time, l *llm.Load) {
			b.looks++
			b.look(t.Slot, l)
		},
	})
	return b
}

func (b *board) look(i int, l *llm.Load) {
	g := b.gauges[i]
	*l = b.loads[i]
	l.InFlight, l.Others = g.Calls.InFlight.Load(), g.Calls.Others.Load()
	l.Latency, l.Recent, l.Tried = time.Duration(g.Times.Latency.Load()), time.Duration(g.Times.Recent.Load()), g.Times.Tried.Load()
}

func (b *board) first(t *testing.T) int {
	t.Helper()
	p, err := b.router.Plan(everyone, &llm.Call{Model: "m"}, Ask{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	target, _, ok := p.Next()
	if !ok {
		return -1
	}
	return target.Slot
}

// While all are free, a panel gives what the strategy itself gives.
func TestPanelIsTheStrategy(t *testing.T) {
	call := &llm.Call{Model: "m", MaxOutput: 70, Choices: 1}
	for seed := range uint64(3000) {
		n := large + int(mix(seed)%40)
		draw := func(i, what int, most uint64) int64 { return int64(mix(seed*1000+uint64(i*10+what)) % most) }
		b := newBoard(n, "latency", func(i int, d *catalog.Deployment) {
			d.Weight = 1 + int(draw(i, 0, 4))
			d.Input, d.Output = llm.Rate(draw(i, 1, 3)*1e6), llm.Rate(draw(i, 2, 3)*1e6)
		})
		cands := make([]Candidate, n)
		g, _ := b.router.catalog.Resolve("m")
		for i := range cands {
			at := b.gauges[i]
			at.Calls.InFlight.Store(int32(draw(i, 3, 3)))
			at.Calls.Others.Store(int32(draw(i, 4, 5)))
			at.Times.Tried.Store(draw(i, 5, 200))
			if at.Times.Tried.Load() != 0 && draw(i, 6, 5) != 0 {
				at.Times.Latency.Store(100 + draw(i, 7, 40))
				at.Times.Recent.Store(draw(i, 8, 60))
			}
			d := &g.Deployments[i]
			b.look(i, &cands[i].Load)
			cands[i].Index, cands[i].Weight, cands[i].Price = i, d.Weight, price(d, call)
		}
		panel := b.router.panels[g]
		scores := make([]uint64, n)
		p := &Pick{Turn: 50 * seed, Random: mix(seed), Replicas: 1 + int(seed%3)}
		byLatency, _ := panel.latency(p, scores)
		clear(scores)
		byCost := panel.cost(p, scores, call)
		clear(scores)
		got := [...]int{panel.leastBusy(p, scores), byLatency, byCost}
		if want := [...]int{leastBusy(p, cands), latency(p, cands), cost(p, cands)}; got != want {
			t.Fatalf("seed %d: %v, the strategies say %v", seed, got, want)
		}
	}
}

// One that is broken looks as if it were the best for ever. It is never chosen, does not keep others from being equal, and is not
// looked at by each call.
func TestPanelPassesOverTheBroken(t *testing.T) {
	const n, broken = 40, 7
	for _, strategy := range []string{"least-busy", "latency", "cost"} {
		t.Run(strategy, func(t *testing.T) {
			b := newBoard(n, strategy, func(i int, d *catalog.Deployment) {
				d.Input, d.Output = 2e6, 2e6
				if i == broken {
					d.Input = 1e6
				}
			})
			for i, g := range b.gauges {
				g.Calls.InFlight.Store(3)
				g.Times.Tried.Store(1)
				g.Times.Latency.Store(int64(105*time.Millisecond) + int64(i%2)*int64(8*time.Millisecond)) // 105 and 113: equal
			}
			b.gauges[broken].Calls.InFlight.Store(0)
			b.gauges[broken].Times.Latency.Store(int64(100 * time.Millisecond)) // to which 113 would not be equal
			b.loads[broken].Bar = llm.Open
			const turns = 4000
			counts := make([]int, n)
			for range turns {
				counts[b.first(t)]++
			}
			for i, c := range counts {
				if even := turns / (n - 1); i == broken && c != 0 || i != broken && (c < even/2 || c > 2*even) {
					t.Errorf("%d got %d of %d calls", i, c, turns)
				}
			}
			if most := turns * 4; b.looks > most {
				t.Errorf("%d looks for %d calls", b.looks, turns)
			}
			b.loads[broken].Bar = llm.Free
			for deadline := time.Now().Add(10 * time.Second); b.first(t) != broken; {
				if time.Now().After(deadline) {
					t.Fatal("it is well again and gets no call")
				}
			}
		})
	}
}

// When nobody can be called, nobody is.
func TestPanelOfBarred(t *testing.T) {
	for _, strategy := range []string{"least-busy", "latency", "cost"} {
		b := newBoard(large, strategy, nil)
		for i := range b.loads {
			b.loads[i].Bar = llm.Disabled
		}
		for range 2 * large {
			if i := b.first(t); i >= 0 {
				t.Errorf("%s chose %d", strategy, i)
			}
		}
	}
}

// Who is equal to the best is not measured by one that is broken, not even once.
func TestPanelMeasuresByTheFree(t *testing.T) {
	const turns = 1000
	slower := 0
	for range turns {
		b := newBoard(large, "latency", nil)
		for i, g := range b.gauges {
			g.Times.Tried.Store(1)
			g.Times.Latency.Store(int64(105 + i%2*8)) // 105 and 113: equal, but not to 100
		}
		b.gauges[0].Times.Latency.Store(100)
		b.loads[0].Bar = llm.Open
		slower += b.first(t) % 2
	}
	if slower < turns*45/100 {
		t.Errorf("eight of fifteen equal ones got %d of %d calls", slower, turns)
	}
}
