package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/cache/indextest"
	"sluice/internal/faultproxy"
	"sluice/internal/redistest"
)

// programs are the servers that have vectors, or those that have none.
func programs(t *testing.T, vectors bool) (all []redistest.Program) {
	t.Helper()
	for _, p := range redistest.Programs(t) {
		if !p.External() && (p.Name == "redis8") == vectors && p.Name != "path" {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		t.Skip("NOT TESTED: no server of this kind; run .ci/redis")
	}
	return all
}

// settle waits until all that waits in the queue was done.
func settle(t *testing.T, xs ...*Vectors) {
	t.Helper()
	for _, x := range xs {
		if err := x.after(t.Context(), func(context.Context) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVectors(t *testing.T) {
	for _, p := range programs(t, true) {
		s := p.Start(t)
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			conformVectors(t, single(s), s)
		})
		t.Run("cluster", func(t *testing.T) {
			t.Parallel()
			c := p.Cluster(t)
			conformVectors(t, clustered(c), c.Masters...)
		})
	}
}

func conformVectors(t *testing.T, o Options, servers ...*redistest.Server) {
	o = patient(o)
	var at atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(at.Load())) }
	var xs []*Vectors
	indextest.Run(t, indextest.Harness{
		Indexes: func(t *testing.T) (a, b cache.Index) {
			o.Prefix = fresh()
			xs = nil
			for range 2 {
				x := open(t, o).Vectors(0)
				x.now = now
				xs = append(xs, x)
			}
			return xs[0], xs[1]
		},
		Now: now,
		Pass: func(t *testing.T, d time.Duration) {
			at.Add(int64(d))
			for _, s := range servers {
				age(t, s, o.Prefix+":1:vec:*", d)
			}
		},
		Settle: func(t *testing.T) { settle(t, xs...) },
		Near:   0.01,
	})
}

// axis is a vector along one of eight axes.
func axis(i int) []float32 {
	v := make([]float32, 8)
	v[i%8] = 1
	return v
}

func TestVectorsAreBounded(t *testing.T) {
	s := programs(t, true)[0].Start(t)
	o := patient(single(s))
	x := open(t, o).Vectors(20)
	for i := range 60 {
		if err := x.Add(t.Context(), "s", cache.Entry{ID: fmt.Sprint(i), Vector: axis(i), Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, x)
	if got := s.Do(t, "VCARD", x.name("s")); got != "20" {
		t.Errorf("%s entries, want 20", got)
	}
	x.now = func() time.Time { return time.Now().Add(2 * time.Hour) } // all are over: additions sweep them
	for i := range 20 {
		if err := x.Add(t.Context(), "s", cache.Entry{ID: "new", Vector: axis(i), Expires: x.now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, x)
	if got := s.Do(t, "VCARD", x.name("s")); got != "1" {
		t.Errorf("%s entries, want 1", got)
	}
	if err := x.Drop(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if got := s.Do(t, "DBSIZE"); got != "0" {
		t.Errorf("%s keys are left", got)
	}
}

// A server without vectors is asked once a minute, and says so to everyone in between.
func TestNoVectors(t *testing.T) {
	for _, p := range programs(t, false) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			store := open(t, patient(single(s)))
			x := store.Vectors(0)
			at := time.Now()
			x.now = func() time.Time { return at }
			asks := func() string {
				for line := range strings.Lines(s.Do(t, "INFO", "commandstats")) {
					if calls, ok := strings.CutPrefix(line, "cmdstat_command|info:calls="); ok {
						n, _, _ := strings.Cut(calls, ",")
						return n
					}
				}
				return "0"
			}
			hold := func(want string) {
				t.Helper()
				for range 3 {
					if got, err := x.Nearest(t.Context(), "s", axis(1), 1); !errors.Is(err, cache.ErrNoIndex) {
						t.Errorf("nearest: %v, %v, want %v", got, err, cache.ErrNoIndex)
					}
					if err := x.Add(t.Context(), "s", cache.Entry{ID: "x", Vector: axis(1), Expires: at.Add(time.Hour)}); !errors.Is(err, cache.ErrNoIndex) {
						t.Errorf("add: %v, want %v", err, cache.ErrNoIndex)
					}
					if err := errors.Join(x.Remove(t.Context(), "s", "x"), x.Drop(t.Context(), "s")); err != nil {
						t.Error(err)
					}
				}
				if got := asks(); got != want {
					t.Errorf("the server was asked %s times, want %s", got, want)
				}
			}
			hold("1")
			at = at.Add(2 * probeAgain)
			hold("2")
			if st := store.State(); !st.Up || st.Failed > 0 {
				t.Errorf("the store counts this as a failure: %+v", st)
			}
		})
	}
}

// Redis gone or silent: nobody waits longer than the store's time, and nothing is found that is not there.
func TestVectorsWithoutRedis(t *testing.T) {
	s := programs(t, true)[0].Start(t)
	net, err := faultproxy.Listen(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = net.Close() })
	x := open(t, Options{URL: "redis://" + net.Addr()}).Vectors(0)
	add := func() error {
		return x.Add(t.Context(), "s", cache.Entry{ID: "x", Vector: axis(1), Expires: time.Now().Add(time.Hour)})
	}
	found := func() bool {
		got, err := x.Nearest(t.Context(), "s", axis(1), 1)
		return err == nil && len(got) == 1
	}
	until(t, "an entry is found", func() bool { return add() == nil && found() })
	if err := net.Set(faultproxy.Faults{Partition: true}); err != nil {
		t.Fatal(err)
	}
	full := 0
	for range 4 * maxWaiting { // nobody waits: they go into the queue or are lost
		if err := add(); errors.Is(err, cache.ErrFull) {
			full++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if full == 0 {
		t.Error("the queue takes any number")
	}
	if got, err := x.Nearest(t.Context(), "s", axis(1), 1); err == nil || got != nil {
		t.Errorf("a silent server gave %v, %v", got, err)
	}
	if err := net.Set(faultproxy.Faults{}); err != nil {
		t.Fatal(err)
	}
	until(t, "it works again", func() bool { return add() == nil && found() })
}

func TestVectorsEndWithTheStore(t *testing.T) {
	s := programs(t, true)[0].Start(t)
	store, err := Open(patient(single(s)))
	if err != nil {
		t.Fatal(err)
	}
	x := store.Vectors(0)
	settle(t, x)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Nearest(t.Context(), "s", axis(1), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want %v", err, ErrClosed)
	}
	if err := x.Drop(t.Context(), "s"); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want %v", err, ErrClosed)
	}
}
