package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is one run of a scenario against a target. Times are in microseconds, memory in bytes; a figure that does not apply is 0.
type Result struct {
	Calls      int64   `json:"calls"`
	Errors     int64   `json:"errors"`
	Error      string  `json:"error,omitzero"` // the first one
	Rate       float64 `json:"rate,omitzero"`  // calls a second that were asked for, in an open loop
	Throughput float64 `json:"calls_per_second"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Max        float64 `json:"max_us"`
	FirstP50   float64 `json:"first_byte_p50_us"`
	FirstP99   float64 `json:"first_byte_p99_us"`
	GapP50     float64 `json:"gap_p50_us,omitzero"`
	GapP99     float64 `json:"gap_p99_us,omitzero"`
	GapMax     float64 `json:"gap_max_us,omitzero"`
	CPU        float64 `json:"cpu_us_per_call,omitzero"` // of a program that the bench started
	Peak       int64   `json:"peak_rss,omitzero"`
	PerStream  int64   `json:"rss_per_stream,omitzero"`
}

func quantile(h *hdrhistogram.Histogram, q float64) float64 {
	if h.TotalCount() == 0 {
		return 0
	}
	return float64(h.ValueAtQuantile(q))
}

func (r *record) result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := Result{
		Calls: r.calls, Errors: r.errors, Error: r.anError,
		P50: quantile(r.latency, 50), P99: quantile(r.latency, 99), P999: quantile(r.latency, 99.9), Max: float64(r.latency.Max()),
		FirstP50: quantile(r.first, 50), FirstP99: quantile(r.first, 99),
	}
	if r.gaps.TotalCount() > 0 {
		out.GapP50, out.GapP99, out.GapMax = quantile(r.gaps, 50), quantile(r.gaps, 99), float64(r.gaps.Max())
	}
	if r.elapsed > 0 {
		out.Throughput = float64(r.calls) / r.elapsed.Seconds()
	}
	return out
}

// pool is the connections of a run.
type pool struct {
	clients []*client
	request []byte
	check   *checker
	stream  bool
}

func newPool(s *scenario, t *target, workers int, check *checker) *pool {
	p := &pool{request: s.request(t), check: check, stream: s.stream}
	for range workers {
		p.clients = append(p.clients, &client{addr: t.addr, timeout: timeout, keep: true})
	}
	return p
}

// interrupt ends every call, now and to come.
func (p *pool) interrupt() {
	for _, c := range p.clients {
		c.interrupt()
	}
}

// do sends one call that was due at start: the time it waited for a connection is part of it.
func (p *pool) do(_ context.Context, worker int, start time.Time, r *record) error {
	c := p.clients[worker]
	if p.stream && c.onGap == nil {
		c.onGap = r.gap
	}
	h, err := c.do(p.request)
	took := time.Since(start)
	if err == nil {
		err = p.check.check(h, c.body)
	}
	if err != nil {
		return err
	}
	first := time.Duration(0)
	if !c.firstByte.IsZero() {
		first = c.firstByte.Sub(start)
	}
	r.call(took, first, c.bodyLength)
	return nil
}

// run sends one load to t and measures it.
func (s *scenario) run(ctx context.Context, t *target, check *checker, duration time.Duration, rate float64, workers int) (Result, error) {
	p := newPool(s, t, workers, check)
	defer p.interrupt()
	stop := context.AfterFunc(ctx, p.interrupt)
	defer stop()
	warm := load{workers: workers, duration: max(duration/5, 50*time.Millisecond), rate: rate, do: p.do}
	if _, err := warm.run(ctx); err != nil {
		return Result{}, fmt.Errorf("%s, %s: %w", s.name, t.name, err)
	}
	for _, c := range p.clients {
		c.onGap = nil // those of the warming went to its own record
	}
	var before, after usage
	var err error
	if t.proc != nil {
		t.proc.resetPeak()
		if before, err = t.proc.measure(); err != nil {
			return Result{}, err
		}
	}
	main := load{workers: workers, duration: duration, rate: rate, do: p.do}
	rec, err := main.run(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("%s, %s: %w", s.name, t.name, err)
	}
	out := rec.result()
	out.Rate = rate
	if t.proc != nil {
		if after, err = t.proc.measure(); err != nil {
			return Result{}, err
		}
		if n := out.Calls + out.Errors; n > 0 {
			out.CPU = float64((after.cpu - before.cpu).Microseconds()) / float64(n)
		}
		out.Peak = after.peak
	}
	t.emptyLog()
	return out, nil
}

// watched is how long held streams are watched, in settling times.
const watched = 3

// hold opens many streams, keeps them open, and measures what a stream takes of the program's memory. A fresh program is
// measured: one that has worked keeps memory that the streams would get for nothing.
func (s *scenario) hold(ctx context.Context, t *target, streams int, settle time.Duration) (Result, error) {
	if t.argv != nil {
		t.halt()
		if err := t.launch(ctx); err != nil {
			return Result{}, err
		}
		if err := t.rest(ctx, settle); err != nil {
			return Result{}, err
		}
	}
	p := newPool(s, t, streams, nil)
	defer p.interrupt()
	stop := context.AfterFunc(ctx, p.interrupt)
	defer stop()
	rec := newRecord()
	end := p.open(rec)
	var most int64
	for range 2 * watched {
		if !sleepUntil(ctx, time.Now().Add(settle/2)) {
			break
		}
		if t.proc != nil {
			u, err := t.proc.measure()
			if err != nil {
				end()
				return Result{}, err
			}
			most = max(most, u.rss)
		}
	}
	end()
	t.emptyLog()
	out := rec.result()
	if t.proc != nil {
		out.Peak = most
		out.PerStream = max(0, most-t.idle) / int64(streams)
	}
	return out, ctx.Err()
}

// opening is how many streams are opened at a time: a listener's queue is not what is measured.
const opening = 64

// open starts a call on each connection and returns when all have begun to be answered, or have failed. A stream that ends
// before end is called is an error.
func (p *pool) open(rec *record) (end func()) {
	var running, begun sync.WaitGroup
	begun.Add(len(p.clients))
	slots := make(chan struct{}, opening)
	ending := make(chan struct{})
	for _, c := range p.clients {
		slots <- struct{}{}
		start := time.Now()
		c.keep = false
		opened := sync.OnceFunc(func() { <-slots; begun.Done() })
		c.onFirst = func() {
			rec.call(time.Since(start), time.Since(start), 0)
			opened()
		}
		c.onGap = rec.gap
		running.Go(func() {
			defer opened()
			h, err := c.do(p.request)
			select {
			case <-ending:
			default:
				rec.fail(errors.Join(fmt.Errorf("a stream ended early with status %d", h.status), err))
			}
		})
	}
	begun.Wait()
	return func() {
		close(ending)
		p.interrupt()
		running.Wait()
	}
}
