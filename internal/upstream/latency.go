package upstream

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// A tracker keeps what a deployment's calls have shown: moving averages of the time to the first output and
// of the share that failed, both with the weight Alpha for a new sample. Reading it takes no lock. The zero
// tracker knows nothing.
//
// With other replicas the average is the cluster's, and the samples that the cluster does not know yet stay
// applied on top of it. They are kept as what n samples do to any average: average x (1-Alpha)^n + pending.
type tracker struct {
	times   llm.Times     // the average (0: never measured) and the last, in ns; Unix ns
	failing atomic.Uint32 // bits of a float32

	mu      sync.Mutex // guards the rest, and changes of the average
	samples int        // not reported yet
	pending float64    // what they add, ns
}

// try says that a call is sent.
func (t *tracker) try(now time.Time) { t.times.Tried.Store(now.UnixNano()) }

// observe takes the time to a call's first output, or what normalise makes of a whole answer's.
func (t *tracker) observe(first time.Duration) {
	first = max(first, 1) // 0 would mean that nothing is known
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.times.Latency.Load(); old == 0 {
		t.times.Latency.Store(int64(first))
	} else {
		t.times.Latency.Store(max(old+int64(Alpha*float64(int64(first)-old)), 1))
	}
	t.times.Recent.Store(int64(first))
	t.samples++
	t.pending = t.pending*(1-Alpha) + Alpha*float64(first)
}

// take hands over the samples not reported yet, as their number and the mean that has the same effect on a
// moving average as they had one by one.
func (t *tracker) take() (samples int, mean time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.samples == 0 {
		return 0, 0
	}
	samples, mean = t.samples, time.Duration(t.pending/(1-old(t.samples)))
	t.samples, t.pending = 0, 0
	return samples, mean
}

// giveBack returns samples whose report did not arrive.
func (t *tracker) giveBack(samples int, mean time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending += float64(mean) * (1 - old(samples)) * old(t.samples)
	t.samples += samples
}

// merge takes the cluster's average, 0 when the cluster knows none.
func (t *tracker) merge(common time.Duration) {
	if common <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times.Latency.Store(max(int64(float64(common)*old(t.samples)+t.pending), 1))
}

// old is the weight that an average keeps after so many samples.
func old(samples int) float64 { return math.Pow(1-Alpha, float64(samples)) }

// succeed says that a call went well.
func (t *tracker) succeed() {
	const nothing = 0.001 // less than this is forgotten, so that a healthy deployment costs one load
	for {
		was := t.failing.Load()
		if was == 0 {
			return
		}
		f := math.Float32frombits(was) * (1 - Alpha)
		if f < nothing {
			f = 0
		}
		if t.failing.CompareAndSwap(was, math.Float32bits(f)) {
			return
		}
	}
}

// fail says that a call failed in a way that speaks against the deployment.
func (t *tracker) fail() {
	for {
		was := t.failing.Load()
		f := math.Float32frombits(was)
		if t.failing.CompareAndSwap(was, math.Float32bits(f+Alpha*(1-f))) {
			return
		}
	}
}

// load fills in what the tracker knows.
func (t *tracker) load(l *llm.Load) {
	l.Latency, l.Recent = time.Duration(t.times.Latency.Load()), time.Duration(t.times.Recent.Load())
	l.Tried, l.Failing = t.times.Tried.Load(), math.Float32frombits(t.failing.Load())
}

// reset forgets everything.
func (t *tracker) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times.Latency.Store(0)
	t.times.Recent.Store(0)
	t.times.Tried.Store(0)
	t.failing.Store(0)
	t.samples, t.pending = 0, 0
}

// normalise makes the time that a whole answer took comparable with others: total / (1 + tokens/50). The
// time until an answer is there grows with its length, about evenly after the prompt is read, so total alone
// makes a deployment look slow because it was asked for much. Seconds per token alone does the opposite:
// the fixed part spread over many tokens makes the one with long answers look fast, and one of few tokens
// absurdly slow. With 50 tokens as the fixed part's worth, a short answer counts as it is and long ones by
// their pace. Streams need none of this: their first output does not know how long they will be.
func normalise(total time.Duration, outputTokens int64) time.Duration {
	const fixed = 50
	return time.Duration(float64(total) * fixed / float64(fixed+max(outputTokens, 0)))
}
