package upstream_test

import (
	"sync"
	"testing"
	"time"

	"sluice/internal/upstream"
	"sluice/internal/upstream/sharedtest"
)

func TestMemoryIsShared(t *testing.T) {
	sharedtest.Run(t, func(*testing.T) sharedtest.Harness {
		var mu sync.Mutex
		now := time.Now()
		m := upstream.NewMemory(func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		})
		return sharedtest.Harness{
			Join: func(*testing.T) upstream.Shared { return m },
			Pass: func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				now = now.Add(d)
			},
		}
	})
}

// TestMemoryForgets passes the times after which nothing of an abandoned cluster is left.
func TestMemoryForgets(t *testing.T) {
	now := time.Now()
	m := upstream.NewMemory(func() time.Time { return now })
	report := upstream.Report{Replica: "a", Shares: map[string]upstream.Share{"x": {InFlight: 1, Until: now, Opens: 1}}}
	if _, err := m.Sync(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	if err := m.Tell(t.Context(), upstream.Notice{RevokedKey: "0123456789ab"}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after                    time.Duration
		replicas, opens, revoked int
	}{{upstream.LeaseTime - 1, 2, 1, 1}, {1, 1, 1, 1}, {9 * time.Minute, 1, 1, 1}, {time.Minute, 1, 0, 1}, {24 * time.Hour, 1, 0, 0}} {
		now = now.Add(step.after)
		p, err := m.Sync(t.Context(), upstream.Report{Replica: "b"})
		if err != nil {
			t.Fatal(err)
		}
		if p.Replicas != step.replicas || p.Commons["x"].Opens != step.opens || len(p.Revoked) != step.revoked {
			t.Errorf("%v later: %+v, want %+v", step.after, p, step)
		}
	}
}
