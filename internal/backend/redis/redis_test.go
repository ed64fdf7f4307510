package redis

import (
	"crypto/rand"
	"flag"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/redistest"
	"sluice/internal/upstream"
	"sluice/internal/upstream/sharedtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // they wait more than they compute
		panic(err)
	}
	goleak.VerifyTestMain(m,
		// The library closes connections to nodes that left a cluster five seconds later, wherever its client is by then.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		// And it asks a cluster for its nodes once more up to a second after it last had a reason to.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// open makes a store that ends with the test.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// patient are options for tests of meaning, in which a busy machine is no fault.
func patient(o Options) Options {
	o.Dial, o.Timeout = 10*time.Second, 10*time.Second
	return o
}

func single(s *redistest.Server) Options { return Options{URL: "redis://" + s.Addr} }

// fresh is a prefix that nobody else uses, so that tests can share a server.
func fresh() string { return "test-" + rand.Text() }

// conform runs the suite against servers that all tests of it share; each has keys of its own.
func conform(t *testing.T, o Options, wipe func(t *testing.T)) {
	sharedtest.Run(t, func(*testing.T) sharedtest.Harness {
		o := patient(o)
		o.Prefix = fresh()
		return sharedtest.Harness{Join: func(t *testing.T) upstream.Shared { return open(t, o) }, Wipe: wipe}
	})
}

func flush(servers ...*redistest.Server) func(t *testing.T) {
	return func(t *testing.T) {
		for _, s := range servers {
			s.Do(t, "FLUSHALL")
		}
	}
}

func TestShared(t *testing.T) {
	for _, p := range redistest.Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			if p.External() {
				conform(t, single(s), nil)
				return
			}
			conform(t, single(s), flush(s))
		})
	}
	own := redistest.Own(t)
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		w := own.Sentinel(t)
		conform(t, watched(w), flush(w.Master))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := own.Cluster(t)
		conform(t, clustered(c), flush(c.Masters...))
	})
}

func watched(w redistest.Watched) Options {
	addrs := w.Addrs()
	return Options{URL: "redis://" + addrs[0], Addresses: addrs[1:], Sentinel: redistest.MasterName}
}

func clustered(c redistest.Cluster) Options {
	addrs := c.Addrs()
	return Options{URL: "redis://" + addrs[0], Addresses: addrs[1:], Cluster: true}
}

func report(id string, n int) upstream.Report {
	shares := make(map[string]upstream.Share, n)
	for i := range n {
		shares[fmt.Sprintf("some-model/provider-%03d/an-upstream-model/0", i)] = upstream.Share{InFlight: 1 + i%7, Samples: 5, Latency: time.Second}
	}
	return upstream.Report{Replica: id, Shares: shares}
}
