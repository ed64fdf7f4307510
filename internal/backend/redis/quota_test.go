package redis

import (
	"testing"
	"time"

	"sluice/internal/quota"
	"sluice/internal/quota/quotatest"
	"sluice/internal/redistest"
)

// conformQuota runs the suite against servers that all tests of it share, in organisations of their own.
func conformQuota(t *testing.T, o Options, wipe func(t *testing.T)) {
	quotatest.Run(t, func(*testing.T) quotatest.Harness {
		o := patient(o)
		o.Prefix = fresh()
		var all []*Quota
		var ahead time.Duration
		return quotatest.Harness{
			Join: func(t *testing.T) quota.Store {
				q := open(t, o).Quota()
				q.ahead.Store(ahead.Microseconds())
				all = append(all, q)
				until(t, "it is connected", func() bool {
					_, err := q.Levels(t.Context(), "nobody", nil)
					return err == nil
				})
				return q
			},
			Pass: func(d time.Duration) {
				ahead += d
				for _, q := range all {
					q.ahead.Store(ahead.Microseconds())
				}
			},
			Lose: wipe,
		}
	})
}

func TestQuota(t *testing.T) {
	for _, p := range redistest.Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			if p.External() {
				conformQuota(t, single(s), nil)
				return
			}
			conformQuota(t, single(s), flush(s))
		})
	}
	own := redistest.Own(t)
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := own.Cluster(t)
		conformQuota(t, clustered(c), flush(c.Masters...))
	})
}
