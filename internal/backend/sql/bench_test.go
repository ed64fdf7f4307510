package sql

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/usage"
	"sluice/internal/usage/usagetest"
)

// traffic makes rows as a busy gateway has them: so many payers, each with a few models, one row each few milliseconds.
type traffic struct {
	rng   *rand.Rand
	n     int
	payer int
	at    time.Time
	gap   time.Duration

	ordered bool
}

func newTraffic(payers int) *traffic {
	return &traffic{rng: rand.New(rand.NewPCG(1, 1)), payer: payers, at: usagetest.Base(), gap: 5 * time.Millisecond}
}

func (f *traffic) rows(n int) []usage.Row {
	rows := make([]usage.Row, n)
	for i := range rows {
		f.n++
		f.at = f.at.Add(f.gap)
		row := usagetest.Row(f.id(), f.at)
		k := f.rng.IntN(f.payer)
		row.Key, row.User, row.Team = fmt.Sprintf("key%09d", k), fmt.Sprintf("user%08d", k/2), fmt.Sprintf("team%08d", k/50)
		row.Model = []string{"gpt-4o", "gpt-4o-mini", "claude-sonnet-4"}[f.rng.IntN(3)]
		row.Position = uint64(f.n)
		rows[i] = row
	}
	return rows
}

func cpu() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkShip stores a batch; its figures are for one row.
func BenchmarkShip(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		for _, n := range []int{1, 50, 1000} {
			for _, payers := range []int{20, 5000} {
				b.Run(fmt.Sprintf("%s/rows=%d/payers=%d", engine, n, payers), func(b *testing.B) {
					o := Options{Dir: b.TempDir()}
					if engine == "postgres" {
						o.DSN = databaseOf(b)
					}
					l := open(b, o).Ledger()
					if _, err := l.Join(b.Context(), "a"); err != nil {
						b.Fatal(err)
					}
					f := newTraffic(payers)
					f.ordered = os.Getenv("ORDERED") != ""
					if err := l.Prepare(b.Context(), f.at); err != nil {
						b.Fatal(err)
					}
					var at uint64
					var used time.Duration
					for b.Loop() {
						b.StopTimer()
						batch := &usage.Batch{Replica: "a", After: at, Position: at + uint64(n), Rows: f.rows(n)}
						at = batch.Position
						b.StartTimer()
						before := cpu()
						if err := l.Ship(b.Context(), batch); err != nil {
							b.Fatal(err)
						}
						used += cpu() - before
					}
					b.ReportMetric(float64(used.Nanoseconds())/float64(b.N*n), "cpu-ns/row")
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
				})
			}
		}
	}
}

// id is random at its beginning, as request ids are, or in the order of time.
func (f *traffic) id() string {
	if f.ordered {
		return fmt.Sprintf("req_%018x%08x", f.n, f.rng.Uint32())
	}
	return fmt.Sprintf("req_%08x%018x", f.rng.Uint32(), f.n)
}
