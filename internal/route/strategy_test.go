package route

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sluice/internal/llm"
)

// numbers is a source of chance that is the same in every run.
func numbers(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// byWeight makes idle candidates, never called.
func byWeight(weights ...int) []Candidate {
	c := make([]Candidate, len(weights))
	for i, w := range weights {
		c[i] = Candidate{Index: i, Weight: w}
	}
	return c
}

// without is c less the candidate at i.
func without(c []Candidate, i int) []Candidate { return slices.Delete(slices.Clone(c), i, i+1) }

func sum(c []Candidate) (total int) {
	for i := range c {
		total += c[i].Weight
	}
	return total
}

// anything makes candidates of every kind.
func anything(r *rand.Rand, n int) []Candidate {
	c := make([]Candidate, n)
	for i := range c {
		c[i] = Candidate{Index: i, Weight: 1 + r.IntN(10), Price: r.Int64N(6) - 2}
		if r.IntN(8) > 0 {
			c[i].Load = llm.Load{
				Latency: time.Duration(r.Int64N(int64(3 * time.Second))), Recent: time.Duration(r.Int64N(int64(3 * time.Second))),
				Tried: r.Int64(), InFlight: r.Int32N(50), Others: r.Int32N(150), Failing: r.Float32(),
			}
		}
	}
	return c
}

// Every strategy names one of the candidates, the same one each time, and changes nothing.
func TestStrategies(t *testing.T) {
	for name, choose := range Strategies {
		r := numbers(1)
		for range 5000 {
			c := anything(r, 1+r.IntN(12))
			p := Pick{Turn: r.Uint64(), Random: r.Uint64(), Affinity: r.Uint64N(3) * r.Uint64(), Stuck: r.IntN(12) - 1, Replicas: 1 + r.IntN(4)}
			before, asked := slices.Clone(c), p
			i := choose(&p, c)
			if i < 0 || i >= len(c) {
				t.Fatalf("%s chose %d of %d", name, i, len(c))
			}
			if choose(&p, c) != i {
				t.Fatalf("%s chose another candidate when asked again", name)
			}
			if !slices.Equal(c, before) || p != asked {
				t.Fatalf("%s changed what it was given", name)
			}
		}
	}
}

// Where candidates are equal but for their weight, the calls that fail at one of them are spread over the
// others by weight, and not sent to its neighbour.
func TestFailOverIsSpread(t *testing.T) {
	for _, name := range []string{"weighted", "cost", "least-busy", "latency", "sticky", "round-robin"} {
		for _, weights := range [][]int{{1, 1, 1}, {1, 1, 1, 1}, {5, 1, 3, 1}, {2, 2, 1, 1, 1}, {1, 2, 3, 4, 5, 6}} {
			if name == "round-robin" {
				weights = slices.Repeat([]int{1}, len(weights))
			}
			c := byWeight(weights...)
			for i := range c {
				c[i].Tried = 1
			}
			r, second := numbers(2), make([][]int, len(c))
			for i := range second {
				second[i] = make([]int, len(c))
			}
			const turns = 60_000
			for turn := range uint64(turns) {
				p := Pick{Turn: turn / 49 * 50, Random: r.Uint64(), Stuck: -1, Replicas: 1} // no turn that explores
				if name != "latency" {
					p.Turn = turn
				}
				if name == "sticky" {
					p.Affinity = r.Uint64()
				}
				first := Strategies[name](&p, c)
				rest := without(c, first)
				second[first][rest[Strategies[name](&p, rest)].Index]++
			}
			for i := range c {
				failed := float64(turns) * float64(c[i].Weight) / float64(sum(c))
				for j := range c {
					if want := failed * float64(c[j].Weight) / float64(sum(c)-c[i].Weight); i != j && !near(float64(second[i][j]), want, 0.1) {
						t.Errorf("%s %v: %d of the calls that failed at %d went on to %d, want about %.0f", name, weights, second[i][j], i, j, want)
					}
				}
			}
		}
	}
}

// near tells whether two numbers differ by at most a part.
func near(got, want, part float64) bool { return got >= want*(1-part) && got <= want*(1+part) }

// many are candidates of a large pool, all alike enough that no loop ends early.
func many(n int) []Candidate {
	r, c := numbers(3), byWeight(slices.Repeat([]int{1}, n)...)
	for i := range c {
		c[i].Weight = 1 + r.IntN(4)
		c[i].Load = llm.Load{Latency: time.Second + time.Duration(r.IntN(1e9)), Recent: time.Second, Tried: 1 + r.Int64N(1e9), InFlight: r.Int32N(4), Others: r.Int32N(12)}
		c[i].Price = r.Int64N(3)
	}
	return c
}

// No strategy allocates.
func TestAllocations(t *testing.T) {
	c := many(300)
	for name, choose := range Strategies {
		p := Pick{Affinity: 1, Stuck: -1, Replicas: 4}
		if n := testing.AllocsPerRun(100, func() { p.Turn++; p.Random += golden; p.Affinity += 2; choose(&p, c) }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkStrategies(b *testing.B) {
	names := []string{"weighted", "round-robin", "least-busy", "latency", "cost", "priority", "p2c", "sticky"}
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			c, choose := many(300), Strategies[name]
			p := Pick{Affinity: 1, Stuck: -1, Replicas: 4}
			b.ReportAllocs()
			for b.Loop() {
				p.Turn++
				p.Random += golden
				p.Affinity += 2
				choose(&p, c)
			}
		})
	}
}
