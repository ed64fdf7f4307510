package quota

import (
	"math/bits"
	"sync"
)

// Outputs learns how much callers let models write: for each key and model, what 99 of 100 answers stayed within.
// A hold needs no more than that to be worth making; the rest is asked for on the way.
type Outputs struct {
	mu  sync.Mutex // guards what follows
	all map[outputKey]*outputs
}

type outputKey struct{ key, model string }

// outputs counts answers by their length, in buckets of which four double it. Old ones fade: at so many, all counts are
// halved.
type outputs struct {
	counts [bucketCount]uint16
	total  int
	expect int64 // as the counts said lately
}

const (
	bucketCount = 4 * 24 // up to 16 million tokens
	fade        = 2000
	maxOutputs  = 1 << 13
	enough      = 20   // answers before anything is known
	firstGuess  = 1024 // until then
)

func bucket(tokens int64) int {
	if tokens < 4 {
		return int(max(tokens, 0))
	}
	e := bits.Len64(uint64(tokens)) - 1                     // 2^e is the largest power within
	return min(4*(e-1)+int(tokens>>(e-2))&3, bucketCount-1) // its quarter
}

// upper is the largest number of a bucket.
func upper(b int) int64 {
	if b < 4 {
		return int64(b)
	}
	e := b/4 + 1
	return int64(4+b%4+1)<<(e-2) - 1
}

// Learn notes an answer.
func (o *Outputs) Learn(key, model string, tokens int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := outputKey{key, model}
	h := o.all[k]
	if h == nil {
		if o.all == nil || len(o.all) >= maxOutputs {
			o.all = make(map[outputKey]*outputs) // they are learned again soon
		}
		h = &outputs{}
		o.all[k] = h
	}
	h.counts[bucket(tokens)]++
	if h.total++; h.total >= fade {
		h.total = 0
		for i := range h.counts {
			h.counts[i] /= 2
			h.total += int(h.counts[i])
		}
	}
	if h.total < 2*enough || h.total%enough == 0 {
		h.expect = h.most()
	}
}

// most is what 99 of 100 answers stayed within.
func (h *outputs) most() int64 {
	beyond := h.total / 100
	for b := bucketCount - 1; b > 0; b-- {
		if beyond -= int(h.counts[b]); beyond < 0 {
			return upper(b)
		}
	}
	return upper(0)
}

// Expect is what 99 of 100 answers stayed within; a guess until there were some.
func (o *Outputs) Expect(key, model string) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.all[outputKey{key, model}]
	if h == nil || h.total < enough {
		return firstGuess
	}
	return h.expect
}
