package catalog

import (
	"math"
	"math/bits"
	"strings"

	"sluice/internal/llm"
)

// Bounds are what a call cannot exceed, as far as the request tells.
type Bounds struct {
	Input   int64            // tokens that the model reads
	Output  int64            // tokens of one answer; 0: as many as the model gives
	Answers int64            // n or best_of, whichever is more; below 1: one
	Tier    string           // the service tier that was asked for; none is taken to be the standard one
	Media   bool             // sound or pictures may be read: by the request, or by what it refers to
	Cache1h bool             // asks for the longer lifetime in a prompt cache
	Calls   map[string]int64 // of tools that run at the vendor
}

// A Worst is the most that a call within its bounds can cost: what it costs before anything is written, and
// what that costs.
type Worst struct {
	Fixed  llm.Nano // input, and fees of tools
	Rate   llm.Rate // of what is written
	Output int64    // tokens of all answers; the largest number where nobody knows a bound
}

// Rounding each kind of token apart can come to more than rounding their sum, by half a nano-dollar for each
// kind and another half: six kinds are read, four written.
const (
	slackInput  llm.Nano = 3
	slackOutput llm.Nano = 2
)

// Upto is the most that the call costs when it writes so many tokens in all its answers.
func (w Worst) Upto(output int64) llm.Nano {
	if w.Rate == 0 || output <= 0 {
		return w.Fixed
	}
	return w.Fixed.Plus(w.Rate.Cost(output)).Plus(slackOutput)
}

// Total is the most that the call costs.
func (w Worst) Total() llm.Nano { return w.Upto(w.Output) }

// Worst bounds what a call can cost: Cost of every usage within the bounds, and the fees, is at most Total. All
// that is read is taken to be of the dearest kind there can be (cache writes, which vendors make unasked), and
// the same for what is written; a tier above a threshold counts when the input may reach it; and a service
// tier never less than the standard one, which vendors fall back to.
func (p *Price) Worst(b Bounds) Worst {
	percent, _ := p.percent(b.Tier)
	if strings.EqualFold(b.Tier, "auto") {
		percent = p.dearest()
	}
	percent = max(percent, 100)
	var w Worst
	var in llm.Rate
	reach := func(r Rates) {
		r = r.filled(percent)
		in = max(in, r.Input, r.CacheRead, r.CacheWrite)
		if b.Cache1h {
			in = max(in, r.CacheWrite1h)
		}
		if b.Media {
			in = max(in, r.AudioInput, r.ImageInput)
		}
		w.Rate = max(w.Rate, r.Output, r.Reasoning, r.AudioOutput, r.ImageOutput)
	}
	reach(p.Rates)
	for _, s := range p.Steps {
		if b.Input > s.Over {
			reach(s.Rates)
		}
	}
	if in > 0 && b.Input > 0 {
		w.Fixed = in.Cost(b.Input).Plus(slackInput)
	}
	for tool, calls := range b.Calls {
		fee, _ := p.Fee(tool, calls)
		w.Fixed = w.Fixed.Plus(fee)
	}
	w.Output = times(p.most(b.Output), max(b.Answers, 1))
	return w
}

// most is a bound of one answer's tokens: what was asked for, or what the model gives.
func (p *Price) most(asked int64) int64 {
	for _, n := range []int64{asked, p.MaxOutput, p.Window} {
		if n > 0 {
			return n
		}
	}
	return math.MaxInt64
}

// times multiplies what is not negative, and stays at the largest number.
func times(a, b int64) int64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi != 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(lo)
}
