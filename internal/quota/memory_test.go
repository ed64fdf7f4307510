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
