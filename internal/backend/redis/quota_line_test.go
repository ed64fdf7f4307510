package redis

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/faultproxy"
	"sluice/internal/redistest"
)

// TestLine has callers ask at once, of which some leave: each of the others has the answer to what it asked.
func TestLine(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t).Start(t)
	l := &line{s: open(t, patient(single(server)))}
	var all sync.WaitGroup
	var left atomic.Int64
	for i := range 64 {
		all.Go(func() {
			for j := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+j)%4 == 0 {
					cancel()
				}
				want := strconv.Itoa(1000*i + j)
				got, err := l.do(ctx, ask{echo, true, nil, []string{want}}).ToString()
				switch {
				case errors.Is(err, context.Canceled) && ctx.Err() != nil:
					left.Add(1)
				case err != nil || got != want:
					t.Errorf("%s: got %s, %v", want, got, err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if left.Load() == 0 {
		t.Error("nobody has left")
	}
	until(t, "no sender is left", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.senders == 0
	})
	if len(l.turns) > 0 {
		t.Errorf("%d still wait", len(l.turns))
	}
}

var echo = newScript("return ARGV[1]")

// crowd has callers ask at one moment, and gives how many got an answer.
func crowd(t *testing.T, l *line, callers int) (answered int64, last error) {
	t.Helper()
	var good atomic.Int64
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			want := strconv.Itoa(i)
			got, err := l.do(t.Context(), ask{echo, true, nil, []string{want}}).ToString()
			switch {
			case err != nil:
				mu.Lock()
				defer mu.Unlock()
				last = err
			case got != want:
				t.Errorf("%s: got %s", want, got)
			default:
				good.Add(1)
			}
		})
	}
	all.Wait()
	return good.Load(), last
}

// TestLineBurst has more callers ask at one moment than are answered in the time that Redis may be silent: all get their answers.
func TestLineBurst(t *testing.T) {
	t.Parallel()
	slow, err := faultproxy.Listen(redistest.Own(t).Start(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slow.Close() })
	l := &line{s: open(t, Options{URL: "redis://" + slow.Addr(), Timeout: time.Second, Wait: time.Minute})}
	until(t, "it is connected", func() bool { n, _ := crowd(t, l, 1); return n == 1 })
	if err := slow.Set(faultproxy.Faults{Bandwidth: 12_000}); err != nil {
		t.Fatal(err)
	}
	failed := l.s.State().Failed
	if n, err := crowd(t, l, 400); n != 400 {
		t.Errorf("%d of 400 were answered: %v", n, err)
	}
	if st := l.s.State(); st.Failed > failed {
		t.Errorf("state: %+v", st)
	}
}

// TestLineIsBounded has callers wait in vain behind others, which says nothing against Redis.
func TestLineIsBounded(t *testing.T) {
	t.Parallel()
	o := single(redistest.Own(t).Start(t))
	o.Timeout = 10 * time.Second
	s := open(t, o)
	s.opts.Wait = -time.Hour // nobody's turn comes in time
	l := &line{s: s}
	if n, err := crowd(t, l, 100); n != 0 || !errors.Is(err, errSlow) {
		t.Errorf("%d of 100 were answered: %v", n, err)
	}
	if st := s.State(); st.Failed > 0 || !s.rest.Calm() {
		t.Errorf("state: %+v", st)
	}
}

// TestLineSilence has many wait when Redis falls silent. They may wait for a minute for one that answers others, but none does.
func TestLineSilence(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t).Start(t)
	o := single(server)
	o.Wait = time.Minute
	l := &line{s: open(t, o)}
	until(t, "it is connected", func() bool { n, _ := crowd(t, l, 1); return n == 1 })
	server.Do(t, "CLIENT", "PAUSE", "60000")
	began := time.Now()
	n, err := crowd(t, l, 400)
	if n != 0 || !errors.Is(err, errSlow) && !errors.Is(err, ErrResting) {
		t.Errorf("%d of 400 were answered: %v", n, err)
	}
	t.Logf("400 callers were told within %v", time.Since(began))
	if l.s.rest.Calm() || l.s.State().Up {
		t.Error("it is not left alone")
	}
}
