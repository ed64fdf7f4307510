package redis

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/redistest"
)

// TestLine has callers ask at once, of which some leave: each of the others has the answer to what it asked.
func TestLine(t *testing.T) {
	t.Parallel()
	s := open(t, patient(single(redistest.Own(t).Start(t))))
	client, err := s.connected(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var l line
	var all sync.WaitGroup
	var left, batches atomic.Int64
	for i := range 64 {
		all.Go(func() {
			for j := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+j)%4 == 0 {
					cancel()
				}
				want := strconv.Itoa(1000*i + j)
				r, first := l.do(ctx, client, 10*time.Second, client.B().Echo().Message(want).Build())
				if first {
					batches.Add(1)
				}
				got, err := r.ToString()
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
	if n := batches.Load(); n == 0 || n == 64*50 {
		t.Errorf("%d batches of %d calls", n, 64*50)
	}
	if l.next != nil {
		t.Errorf("%d still wait", len(l.next.cmds))
	}
}
