package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/faultproxy"
	"sluice/internal/redistest"
	"sluice/internal/upstream"
)

// A room is a server behind a bad network, and a store that uses it with the bounds of the product.
type room struct {
	server *redistest.Server
	net    *faultproxy.Proxy
	store  *Store
	heard  chan upstream.Notice // what the store's listener hears
}

func newRoom(t *testing.T, p redistest.Program, args ...string) *room {
	t.Helper()
	r := &room{server: p.Start(t, args...), heard: make(chan upstream.Notice, 1000)}
	var err error
	if r.net, err = faultproxy.Listen(r.server.Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.net.Close() })
	r.store = open(t, Options{URL: "redis://" + r.net.Addr(), Prefix: fresh()})
	listen(t, r.store, r.heard)
	return r
}

// listen hears until the test ends; the newest of too many notices are dropped.
func listen(t *testing.T, s *Store, heard chan upstream.Notice) {
	ctx, cancel := context.WithCancel(t.Context())
	var ear sync.WaitGroup
	ear.Go(func() {
		_ = s.Listen(ctx, func(n upstream.Notice) {
			select {
			case heard <- n:
			default:
			}
		})
	})
	t.Cleanup(func() {
		cancel()
		ear.Wait()
	})
}

func (r *room) bad(t *testing.T, f faultproxy.Faults) {
	t.Helper()
	if err := r.net.Set(f); err != nil {
		t.Fatal(err)
	}
}

// until asks again and again; a fault that never ends shows here.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// works says whether every kind of call succeeds and a notice comes back.
func works(ctx context.Context, s *Store, id string, heard chan upstream.Notice) bool {
	p, err := s.Sync(ctx, upstream.Report{Replica: id, Shares: map[string]upstream.Share{"x": {InFlight: 1, Samples: 1, Latency: time.Second}}})
	if err != nil || p.Commons["x"].Latency == 0 || p.Replicas == 0 {
		return false
	}
	if _, err := s.Permit(ctx, "p", time.Millisecond); err != nil {
		return false
	}
	for len(heard) > 0 {
		<-heard
	}
	if s.Tell(ctx, upstream.Notice{From: id, Deployment: "x", Mode: "draining"}) != nil {
		return false
	}
	select {
	case <-heard:
		return true
	case <-time.After(time.Second):
		return false
	}
}

// faults are ways for Redis to be of no use. Each begins, and gives what ends it; nil: it ends by itself.
var faults = []struct {
	name   string
	partly bool // some calls need nothing of what is at fault, and succeed
	begin  func(t *testing.T, r *room) (heal func(t *testing.T))
}{
	{"killed", false, func(t *testing.T, r *room) func(*testing.T) {
		r.server.Kill(t)
		return func(t *testing.T) { r.server.Restart(t) }
	}},
	{"debug sleep", false, func(t *testing.T, r *room) func(*testing.T) {
		return byItself(t, r, "DEBUG", "SLEEP", fmt.Sprint(hold().Seconds()))
	}},
	{"client pause", false, func(t *testing.T, r *room) func(*testing.T) {
		return byItself(t, r, "CLIENT", "PAUSE", fmt.Sprint(hold().Milliseconds()))
	}},
	{"latency", false, network(faultproxy.Faults{Latency: 500 * time.Millisecond})},
	{"narrow", false, network(faultproxy.Faults{Bandwidth: 200})},
	{"partition", false, network(faultproxy.Faults{Partition: true})},
	{"refused", false, func(t *testing.T, r *room) func(*testing.T) {
		heal := network(faultproxy.Faults{Refuse: true})(t, r)
		r.net.Reset()
		return heal
	}},
	{"out of memory", true, func(t *testing.T, r *room) func(*testing.T) {
		r.server.Do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
		r.server.Do(t, "CONFIG", "SET", "maxmemory", "1")
		return func(t *testing.T) { r.server.Do(t, "CONFIG", "SET", "maxmemory", "0") }
	}},
	{"read only", false, func(t *testing.T, r *room) func(*testing.T) {
		r.server.Do(t, "REPLICAOF", "127.0.0.1", "1")
		return func(t *testing.T) { r.server.Do(t, "REPLICAOF", "NO", "ONE") }
	}},
	{"loading", false, func(t *testing.T, r *room) func(*testing.T) {
		r.server.Do(t, "DEBUG", "POPULATE", "2000")
		r.server.Do(t, "SAVE")
		r.server.Kill(t)
		r.server.Run(t) // slow to load by its arguments
		until(t, "it loads", func() bool {
			_, err := r.server.Try("GET", "x")
			return err != nil && strings.HasPrefix(err.Error(), "LOADING")
		})
		return func(t *testing.T) { r.server.Do(t, "CONFIG", "SET", "key-load-delay", "0") }
	}},
	{"wrong type", true, func(t *testing.T, r *room) func(*testing.T) {
		for _, key := range r.store.names.sync {
			r.server.Do(t, "SET", key, "somebody else's")
		}
		return func(t *testing.T) { r.server.Do(t, "FLUSHALL") }
	}},
}

func network(f faultproxy.Faults) func(*testing.T, *room) func(*testing.T) {
	return func(t *testing.T, r *room) func(*testing.T) {
		r.bad(t, f)
		return func(t *testing.T) { r.bad(t, faultproxy.Faults{}) }
	}
}

// byItself sends a command that stops the server for a while. It has ended when another command is answered.
func byItself(t *testing.T, r *room, args ...string) func(*testing.T) {
	var cmd sync.WaitGroup
	cmd.Go(func() { _, _ = r.server.Try(args...) })
	t.Cleanup(cmd.Wait)
	return func(t *testing.T) {
		cmd.Wait()
		r.server.Do(t, "PING")
	}
}

// hold is how long a fault lasts at least.
func hold() time.Duration {
	if os.Getenv("SLUICE_LONG") == "1" {
		return 10 * time.Second
	}
	return 1500 * time.Millisecond
}

func TestFaults(t *testing.T) {
	programs := redistest.Programs(t)
	if os.Getenv("SLUICE_LONG") != "1" {
		programs = programs[:1]
	}
	for _, p := range programs {
		if p.External() {
			continue
		}
		for _, f := range faults {
			t.Run(p.Name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				r := newRoom(t, p, "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
				until(t, "it works at first", func() bool { return works(t.Context(), r.store, "a", r.heard) })
				heal := f.begin(t, r)
				if skipped := suffer(t, r.store, anyCall(t, r.store)); skipped == 0 && !f.partly {
					t.Error("every call was tried")
				}
				if st := r.store.State(); !f.partly && (st.Up || st.Error == "" || strings.Contains(st.Error, "redis://")) {
					t.Errorf("state under the fault: %+v", st)
				}
				heal(t)
				until(t, "it works again", func() bool { return works(t.Context(), r.store, "a", r.heard) })
				if st := r.store.State(); !st.Up || st.Error != "" {
					t.Errorf("state after the fault: %+v", st)
				}
			})
		}
	}
}

// suffer calls from many sides for the length of a fault, in which some calls must fail and all must return. It gives how
// many were not even tried.
func suffer(t *testing.T, s *Store, call func(i int) error) (skipped int64) {
	t.Helper()
	began, before := time.Now(), s.State().Skipped
	var mu sync.Mutex
	var late []time.Duration // calls after the first second
	var other error
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for time.Since(began) < hold() {
				start := time.Now()
				err := call(i)
				mu.Lock()
				if start.Sub(began) > time.Second {
					late = append(late, time.Since(start))
				}
				if err != nil && !errors.Is(err, ErrResting) {
					other = err
				}
				mu.Unlock()
				<-tick.C
			}
		})
	}
	all.Wait()
	if other == nil {
		t.Fatal("no call failed")
	}
	slices.Sort(late)
	if n := len(late); n > 0 { // none on a machine so busy that all of it took one call
		t.Logf("%d calls after the first second: p50 %v, p99 %v, longest %v; last error: %v", n, late[n/2], late[n*99/100], late[n-1], other)
	}
	return s.State().Skipped - before
}

// anyCall makes one of each kind in turn.
func anyCall(t *testing.T, s *Store) func(i int) error {
	return func(i int) error {
		switch i % 3 {
		case 0:
			_, err := s.Permit(t.Context(), fmt.Sprint(i), time.Second)
			return err
		case 1:
			return s.Tell(t.Context(), upstream.Notice{Deployment: "x", Closed: true})
		}
		_, err := s.Sync(t.Context(), upstream.Report{Replica: fmt.Sprint(i), Shares: map[string]upstream.Share{"x": {InFlight: 1}}})
		return err
	}
}

// TestDownAtFirst opens a store before there is a server.
func TestDownAtFirst(t *testing.T) {
	t.Parallel()
	own := redistest.Own(t)
	for name, more := range map[string]func(*Options){
		"single": func(*Options) {}, "sentinel": func(o *Options) { o.Sentinel = redistest.MasterName }, "cluster": func(o *Options) { o.Cluster = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &room{server: own.Start(t), heard: make(chan upstream.Notice, 1000)}
			r.server.Kill(t)
			o := single(r.server)
			more(&o)
			r.store = open(t, o)
			listen(t, r.store, r.heard)
			if suffer(t, r.store, anyCall(t, r.store)) == 0 {
				t.Error("every call was tried")
			}
			if name != "single" {
				return // closing one that never connected is what is left to see
			}
			r.server.Restart(t)
			until(t, "it works", func() bool { return works(t.Context(), r.store, "a", r.heard) })
		})
	}
}

// TestNotRedis speaks to servers that answer every command with the same words.
func TestNotRedis(t *testing.T) {
	for name, words := range map[string]string{
		"loading": "-LOADING Redis is loading the dataset in memory\r\n", "http": "HTTP/1.1 400 Bad Request\r\n\r\n", "silence": "",
		"nil": "_\r\n", "number": ":1\r\n", "bulk that never ends": "$1000000\r\nx", "error of login": "-WRONGPASS no\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, Options{URL: "redis://u:a-secret-word@" + saying(t, words)})
			if suffer(t, s, anyCall(t, s)) == 0 {
				t.Error("every call was tried")
			}
			if st := s.State(); st.Up || strings.Contains(st.Error, "secret") {
				t.Errorf("state: %+v", st)
			}
		})
	}
}

// saying serves the same words for every read.
func saying(t *testing.T, words string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				for buf := make([]byte, 4096); ; {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write([]byte(words)); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}
