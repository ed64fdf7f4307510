package sql

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/auth"
	"sluice/internal/directory"
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
		for _, n := range []int{1, 50, 500, 1000} {
			for _, payers := range []int{1, 20, 5000} {
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

// BenchmarkByHash finds a key among few and among many, and one that there is not.
func BenchmarkByHash(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		for _, n := range []int{100, 1_000_000} {
			o := Options{Dir: b.TempDir(), Timeout: 10 * time.Minute}
			if engine == "postgres" {
				o.DSN = databaseOf(b)
			}
			db := open(b, o)
			fillKeys(b, db, n)
			for _, known := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/keys=%d/known=%v", engine, n, known), func(b *testing.B) {
					b.ReportAllocs()
					rng := rand.New(rand.NewPCG(1, 1))
					before := cpu()
					for b.Loop() {
						k := 1 + rng.IntN(n)
						if !known {
							k += n
						}
						e, err := db.Directory().ByHash(b.Context(), auth.Hash([]byte(fmt.Sprintf("%032d", k))))
						if err != nil || (e != nil) != known {
							b.Fatal(e, err)
						}
					}
					b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
				})
			}
		}
	}
}

// fillKeys makes keys whose hashes are their numbers.
func fillKeys(b *testing.B, db *DB, n int) {
	b.Helper()
	numbers, hash := text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"), text("CAST(printf('%032d', i) AS blob)")
	if db.dialect == postgres {
		numbers, hash = "WITH n(i) AS (SELECT generate_series(1, CAST(? AS integer)))", "convert_to(lpad(i::text, 32, '0'), 'UTF8')"
	}
	for _, q := range []*statement{
		say("INSERT INTO keys (id, name, spec, maker, created, updated, version, org_id, hash) ").and(numbers, n).
			and(" SELECT 'key' || i, 'k' || i, '{}', '', 0, 0, 1, 'default', ").and(hash).and(" FROM n"),
		say("INSERT INTO key_hashes (hash, key_id) SELECT hash, id FROM keys"),
	} {
		if err := alter(b, db, q); err != nil {
			b.Fatal(err)
		}
	}
	if db.dialect == postgres {
		if _, err := db.writer.ExecContext(b.Context(), "ANALYZE"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList reads a page in the middle of many keys.
func BenchmarkList(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		o := Options{Dir: b.TempDir(), Timeout: 10 * time.Minute}
		if engine == "postgres" {
			o.DSN = databaseOf(b)
		}
		db := open(b, o)
		fillKeys(b, db, 1_000_000)
		for name, f := range map[string]directory.Filter{"all": {}, "organisation": {Org: "default"}, "name": {Name: "k777777"}} {
			b.Run(engine+"/"+name, func(b *testing.B) {
				for b.Loop() {
					f.Limit = 100
					if f.Name == "" {
						f.After = "key5"
					}
					if list, _, err := db.Directory().Keys().List(b.Context(), f); err != nil || len(list) == 0 {
						b.Fatal(len(list), err)
					}
				}
			})
		}
	}
}
