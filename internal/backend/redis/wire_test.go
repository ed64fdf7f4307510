package redis

import (
	"strconv"
	"strings"
	"testing"

	"sluice/internal/redistest"
	"sluice/internal/upstream"
)

// TestSyncIsOneRoundTrip counts the commands of one connection: what three hundred deployments say goes at once.
func TestSyncIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t).Start(t)
	s := open(t, patient(single(server)))
	reports := func() int {
		n := 0
		for _, name := range []string{"eval", "evalsha"} {
			calls, _, _ := strings.Cut(strings.TrimPrefix(server.Info("cmdstat_"+name), "calls="), ",")
			if k, err := strconv.Atoi(calls); err == nil {
				n += k
			}
		}
		return n
	}
	sync := func() upstream.Picture {
		p, err := s.Sync(t.Context(), report("a", 300))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	sync()
	before, all := reports(), server.Info("total_commands_processed")
	if p := sync(); len(p.Commons) != 300 {
		t.Errorf("%d deployments in the picture, want 300", len(p.Commons))
	}
	if n := reports() - before; n != 1 {
		t.Errorf("%d scripts ran for one report (%s commands before)", n, all)
	}
}

// TestNothingIsLeft looks at what a store wrote: every key has the tag, and an end.
func TestNothingIsLeft(t *testing.T) {
	for _, p := range redistest.Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			if p.External() {
				return
			}
			server := p.Start(t)
			s := open(t, patient(single(server)))
			ctx := t.Context()
			for _, err := range []error{
				s.Tell(ctx, upstream.Notice{Deployment: "x", Mode: "disabled", Until: hourAhead(), Opens: 1}),
				s.Tell(ctx, upstream.Notice{RevokedKey: "0123456789ab"}),
				second(s.Sync(ctx, report("a", 3))),
				second(s.Permit(ctx, "p", hour)),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			keys := strings.Fields(server.Do(t, "KEYS", "*"))
			if len(keys) != 7 {
				t.Errorf("%d keys: %q, want 7", len(keys), keys)
			}
			for _, key := range keys {
				ttl, err := strconv.ParseInt(server.Do(t, "PTTL", key), 10, 64)
				most := keep.Milliseconds()
				if strings.HasSuffix(key, ":replicas") || strings.HasSuffix(key, ":inflight") {
					most = 2 * upstream.LeaseTime.Milliseconds()
				}
				if err != nil || ttl <= 0 || ttl > most || !strings.HasPrefix(key, "{sluice}:1:") {
					t.Errorf("%s: expires in %d ms (%v), want at most %d", key, ttl, err, most)
				}
			}
		})
	}
}

// TestGarbageIsForgotten puts into the hashes what nobody of ours wrote.
func TestGarbageIsForgotten(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t).Start(t)
	s := open(t, patient(single(server)))
	now := server.Do(t, "TIME")
	now, _, _ = strings.Cut(now, "\n")
	old := func(seconds int) string {
		n, _ := strconv.Atoi(now)
		return strconv.Itoa(n-seconds) + "000"
	}
	hashes := map[string][]string{
		"latency": {"junk", "x", "old", "5 " + old(2*86400), "good", "7 " + old(3600)},
		"breaker": {"junk", "later 1", "old", old(3600) + " 3", "good", old(60) + " 2", "negative", old(1) + " -1"},
		"mode":    {"junk", old(1) + " nonsense", "old", old(2*86400) + " active", "good", old(2*86400) + " disabled", "bare", old(1)},
	}
	for name, rows := range hashes {
		server.Do(t, append([]string{"HSET", "{sluice}:1:" + name}, rows...)...)
	}
	for range 2 {
		p, err := s.Sync(t.Context(), upstream.Report{Replica: "a"})
		if err != nil {
			t.Fatal(err)
		}
		c := p.Commons["good"]
		if c.Latency != 7 || c.Opens != 2 || c.Mode != "disabled" || p.Commons["junk"] != (upstream.Common{}) || p.Commons["bare"] != (upstream.Common{}) {
			t.Errorf("picture: %+v", p)
		}
	}
	for name := range hashes {
		if got := server.Do(t, "HKEYS", "{sluice}:1:"+name); got != "good" {
			t.Errorf("%s still has %q", name, got)
		}
	}
}

// TestLostLeases has the set of replicas go without their reports, as a server that evicts keys may have it.
func TestLostLeases(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t).Start(t)
	a, b := open(t, patient(single(server))), open(t, patient(single(server)))
	for id, s := range map[string]*Store{"a": a, "b": b} {
		if _, err := s.Sync(t.Context(), report(id, 1)); err != nil {
			t.Fatal(err)
		}
	}
	server.Do(t, "DEL", "{sluice}:1:replicas")
	p, err := a.Sync(t.Context(), report("a", 1))
	if err != nil {
		t.Fatal(err)
	}
	if p.Replicas != 1 || server.Do(t, "HKEYS", "{sluice}:1:inflight") != "a" {
		t.Errorf("the report of a replica without a lease still counts: %+v", p)
	}
}

func BenchmarkSync(b *testing.B) {
	server := redistest.Own(b).Start(b)
	stores := make([]*Store, 4)
	for i := range stores {
		stores[i] = open(b, patient(single(server)))
		if _, err := stores[i].Sync(b.Context(), report(strconv.Itoa(i), 300)); err != nil {
			b.Fatal(err)
		}
	}
	r := report("0", 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stores[0].Sync(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	var usec string
	_, usec, _ = strings.Cut(server.Info("cmdstat_evalsha"), "usec_per_call=")
	usec, _, _ = strings.Cut(usec, ",")
	if v, err := strconv.ParseFloat(usec, 64); err == nil {
		b.ReportMetric(v, "server-µs/op")
	}
}

func BenchmarkPermit(b *testing.B) {
	s := open(b, patient(single(redistest.Own(b).Start(b))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Permit(b.Context(), "p", hour); err != nil {
			b.Fatal(err)
		}
	}
}
