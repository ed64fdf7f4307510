package quota_test

import (
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/quota"
	"sluice/internal/quota/quotatest"
)

func TestMemory(t *testing.T) {
	quotatest.Run(t, func(*testing.T) quotatest.Harness {
		var ahead atomic.Int64
		m := quota.NewMemory(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
		return quotatest.Harness{
			Join: func(*testing.T) quota.Store { return m },
			Pass: func(d time.Duration) { ahead.Add(int64(d)) },
			Lose: func(*testing.T) { m.Lose() },
		}
	})
}

// TestReleaseOfNothing: who releases once more, or what the store has lost, ends nobody else's hold, though its memory is used again.
func TestReleaseOfNothing(t *testing.T) {
	now := time.Now()
	m := quota.NewMemory(func() time.Time { return now })
	counter := &quota.Counter{Kind: quota.Parallel, Key: "parallel", N: 1}
	reserve := func(id string, want quota.Answer) *quota.Hold {
		t.Helper()
		h := &quota.Hold{Org: "o", ID: id, Asks: []quota.Ask{{Counter: counter}}}
		if v, err := m.Reserve(t.Context(), h); err != nil || v.Answer != want {
			t.Fatalf("%s: answer %d, want %d; %v", id, v.Answer, want, err)
		}
		return h
	}
	release := func(h *quota.Hold) {
		t.Helper()
		if err := m.Release(t.Context(), h.Org, []quota.Freed{{Hold: h}}); err != nil {
			t.Fatal(err)
		}
	}
	first := reserve("first", quota.Granted)
	release(first)
	release(first)
	second := reserve("second", quota.Granted)
	release(first)
	reserve("third", quota.Refused)
	m.Lose()
	reserve("fourth", quota.Granted)
	release(second)
	reserve("fifth", quota.Refused)
	now = now.Add(quota.Lease) // of which nobody has renewed the fourth
	reserve("sixth", quota.Granted)
}
