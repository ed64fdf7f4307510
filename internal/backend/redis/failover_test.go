package redis

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/redistest"
	"sluice/internal/upstream"
)

// A fleet is replicas that report all the time, as gateways under load do.
type fleet struct {
	stores []*Store
	heard  []chan upstream.Notice
	calls  atomic.Int64
	failed atomic.Int64
	wrong  atomic.Int64 // pictures in which an operator's word was missing
}

// sail starts n replicas and tells them that a deployment is disabled.
func sail(t *testing.T, o Options, n int) *fleet {
	t.Helper()
	o.Prefix = "sluice"
	f := &fleet{}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range n {
		s := open(t, o)
		f.stores, f.heard = append(f.stores, s), append(f.heard, make(chan upstream.Notice, 1000))
		listen(t, s, f.heard[i])
		until(t, "it works", func() bool { return works(t.Context(), s, fmt.Sprint(i), f.heard[i]) })
	}
	tell := upstream.Notice{From: "0", Deployment: "x", Mode: "disabled"}
	until(t, "it is told", func() bool { return f.stores[0].Tell(ctx, tell) == nil })
	for i, s := range f.stores {
		all.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				_, err := f.sound(ctx, s, i)
				f.calls.Add(1)
				if err != nil {
					f.failed.Add(1)
				}
				<-tick.C
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		all.Wait()
		t.Logf("%d of %d reports failed", f.failed.Load(), f.calls.Load())
		if n := f.wrong.Load(); n > 0 {
			t.Errorf("%d pictures did not show that x is disabled", n)
		}
	})
	f.recovered(t)
	return f
}

// sound reports and says whether the picture has all that it must.
func (f *fleet) sound(ctx context.Context, s *Store, i int) (bool, error) {
	p, err := s.Sync(ctx, upstream.Report{Replica: fmt.Sprint(i), Shares: map[string]upstream.Share{"x": {InFlight: i + 1, Samples: 1, Latency: time.Second}}})
	if err != nil {
		return false, err
	}
	n := len(f.stores)
	c := p.Commons["x"]
	if c.Mode != "disabled" {
		f.wrong.Add(1)
	}
	return p.Replicas == n && c.Others == n*(n+1)/2-(i+1) && c.Mode == "disabled" && c.Latency == time.Second, nil
}

// recovered waits until every replica sees all the others again and hears a notice.
func (f *fleet) recovered(t *testing.T) {
	t.Helper()
	began := time.Now()
	for i, s := range f.stores {
		until(t, fmt.Sprint("replica ", i, " sees all"), func() bool { ok, _ := f.sound(t.Context(), s, i); return ok })
	}
	t.Logf("all see all after %v", time.Since(began))
	for i, heard := range f.heard {
		until(t, fmt.Sprint("replica ", i, " hears"), func() bool {
			for len(heard) > 0 {
				<-heard
			}
			_ = f.stores[0].Tell(t.Context(), upstream.Notice{From: "0", Deployment: "y", Closed: true})
			select {
			case <-heard:
				return true
			case <-time.After(100 * time.Millisecond):
				return false
			}
		})
	}
	t.Logf("all hear after %v", time.Since(began))
}

func rounds() int {
	if os.Getenv("SLUICE_LONG") == "1" {
		return 5
	}
	return 1
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	w := redistest.Own(t).Sentinel(t)
	f := sail(t, watched(w), 4)
	master, replica := w.Master, w.Replica
	for range rounds() {
		master.Kill(t)
		f.recovered(t)
		until(t, "the first Sentinel knows, too", func() bool { return w.MasterAddr() == replica.Addr })
		master.Restart(t)
		until(t, "the old master follows", func() bool { return master.Info("master_link_status") == "up" })
		f.recovered(t)
		master, replica = replica, master
	}
}

// TestSentinelDemotes has the Sentinels change the master while both live: the old one refuses to write.
func TestSentinelDemotes(t *testing.T) {
	t.Parallel()
	w := redistest.Own(t).Sentinel(t)
	f := sail(t, watched(w), 2)
	until(t, "a failover is begun", func() bool {
		_, err := w.Sentinels[0].Try("SENTINEL", "FAILOVER", redistest.MasterName)
		return err == nil
	})
	until(t, "the replica is master", func() bool { return w.MasterAddr() == w.Replica.Addr })
	until(t, "the old master follows", func() bool { return w.Master.Info("role") == "slave" })
	f.recovered(t)
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	c := redistest.Own(t).Cluster(t)
	f := sail(t, clustered(c), 4)
	master, replica := c.Owner(t, "{sluice}")
	for range rounds() {
		master.Kill(t)
		f.recovered(t)
		master.Restart(t)
		until(t, "the old master follows", func() bool { return master.Info("master_link_status") == "up" })
		f.recovered(t)
		master, replica = replica, master
	}
}
