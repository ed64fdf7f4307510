package usage

import (
	"sync"

	"sluice/internal/llm"
)

// A ratio is what was learned of an upstream's model from answers whose usage it told: how many tokens a byte
// holds, in 1/65536. The zero ratio knows nothing.
type ratio struct {
	in    int64 // input tokens for a byte of the request
	out   int64 // output tokens for a byte of frames with output
	tells bool  // its streams tell their usage
}

const unit = 1 << 16

// guess reckons the tokens of frames, never less than they hold: a frame holds a token at least. What is
// learned counts a tenth more. Without it, three bytes of what they say are taken for a token, which is more than most
// texts have.
func (r ratio) guess(c *tally) int64 {
	if r.out > 0 {
		return max(c.frames, ceil(c.bytes*r.out/10*11, unit))
	}
	return max(c.frames, ceil(c.size(), 3))
}

// input reckons the tokens of a request: without experience, four bytes to each.
func (r ratio) input(bytes int64) int64 {
	if r.in > 0 {
		return max(ceil(bytes*r.in, unit), 1)
	}
	return max(ceil(bytes, 4), 1)
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

// ratios keeps what was learned, of so many models at most.
type ratios struct {
	mu    sync.RWMutex
	known map[model]ratio
}

type model struct{ provider, name string }

const mostRatios = 4096

func newRatios() *ratios { return &ratios{known: map[model]ratio{}} }

func (t *ratios) get(provider, name string) ratio {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.known[model{provider, name}]
}

// learn takes a whole answer as an example.
func (t *ratios) learn(e *Entry) {
	u, m := &e.Usage, &e.meter
	if !u.Output.Known || e.Op != llm.OpChat {
		return
	}
	key := model{e.Target.Provider, e.Target.Model}
	r := t.get(key.provider, key.name)
	next := r
	if u.Input.N > 0 && e.BytesIn > 0 {
		next.in = drift(r.in, u.Input.N, e.BytesIn)
	}
	if e.Stream {
		next.tells = m.exact()
		if next.tells && u.Output.N > 0 && m.total > 0 {
			next.out = drift(r.out, u.Output.N, m.total)
		}
	}
	if next == r {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.known[key]; !ok && len(t.known) >= mostRatios {
		for old := range t.known {
			delete(t.known, old)
			break
		}
	}
	t.known[key] = next
}

// drift moves a ratio towards another example, by an eighth.
func drift(r, tokens, bytes int64) int64 {
	example := max(ceil(tokens*unit, bytes), 1)
	if r == 0 {
		return example
	}
	return max(r+(example-r)/8, 1)
}
