package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// load is one run: workers that call do until the time is over.
type load struct {
	workers  int
	rate     float64 // calls a second; 0: a closed loop, each worker calls again as soon as it has its answer
	duration time.Duration
	do       func(ctx context.Context, worker int, start time.Time, r *record) error
}

// maxLatency is what a histogram can hold; longer calls count as this.
const maxLatency = 10 * time.Minute

// record collects what the workers measure.
type record struct {
	mu      sync.Mutex
	latency *hdrhistogram.Histogram // microseconds, like all
	first   *hdrhistogram.Histogram
	gaps    *hdrhistogram.Histogram
	calls   int64
	errors  int64
	bytes   int64
	anError string
	elapsed time.Duration
}

func newRecord() *record {
	h := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency.Microseconds(), 3) }
	return &record{latency: h(), first: h(), gaps: h()}
}

func observe(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, d.Microseconds()), maxLatency.Microseconds())) // in range, so it never fails
}

func (r *record) call(latency, first time.Duration, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.bytes += int64(bytes)
	observe(r.latency, latency)
	if first > 0 {
		observe(r.first, first)
	}
}

func (r *record) gap(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	observe(r.gaps, d)
}

func (r *record) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors++
	if r.anError == "" {
		r.anError = err.Error()
	}
}

// maxErrors ends a run that only fails: an hour of refused connections measures nothing.
const maxErrors = 1000

var errTooMany = errors.New("too many errors")

// run sends the load. At a fixed rate call n is due at start + n/rate whatever became of the calls before, and its
// latency counts from then: a gateway that stalls pays for every call that it kept from being sent.
func (l *load) run(ctx context.Context) (*record, error) {
	r := newRecord()
	start := time.Now()
	end := start.Add(l.duration)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var ticket atomic.Int64
	var group sync.WaitGroup
	for w := range l.workers {
		group.Go(func() {
			for ctx.Err() == nil {
				due := time.Now()
				if l.rate > 0 {
					n := ticket.Add(1) - 1
					due = start.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
				}
				if !due.Before(end) || !sleepUntil(ctx, due) {
					return
				}
				err := l.do(ctx, w, due, r)
				if err != nil && ctx.Err() == nil {
					r.fail(err)
					if r.tooMany() {
						cancel(errTooMany)
					}
				}
			}
		})
	}
	group.Wait()
	r.elapsed = time.Since(start)
	if err := context.Cause(ctx); err != nil {
		if errors.Is(err, errTooMany) {
			return r, errors.New(r.anError)
		}
		return r, err
	}
	return r, nil
}

func (r *record) tooMany() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errors > maxErrors && r.errors > r.calls
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
