package catalog

import (
	"strings"

	"sluice/internal/llm"
)

// Costs are what a call cost, by kind. Every kind was rounded once, and the total is the sum of the kinds.
type Costs struct {
	Input, CacheRead, CacheWrite, CacheWrite1h, AudioInput, ImageInput llm.Nano
	Output, Reasoning, AudioOutput, ImageOutput                        llm.Nano
	Tools                                                              llm.Nano // fees of tools that ran at the vendor

	NoInput, NoOutput bool // the upstream did not tell; what it did not tell costs nothing here
	OddTier           bool // the price does not know the service tier; its dearest one was taken
}

// Total is the sum of all kinds.
func (c *Costs) Total() llm.Nano {
	sum := c.Tools
	for _, n := range []llm.Nano{
		c.Input, c.CacheRead, c.CacheWrite, c.CacheWrite1h, c.AudioInput, c.ImageInput,
		c.Output, c.Reasoning, c.AudioOutput, c.ImageOutput,
	} {
		sum = sum.Plus(n)
	}
	return sum
}

// Cost is what a call cost: its tokens, and the fees of tools that the price knows. Parts are taken from their wholes in the order of llm.Usage, so that
// no token is paid twice even where parts overlap (cached sound); the rest of a whole costs its own rate.
func (p *Price) Cost(u *llm.Usage) Costs {
	percent, known := p.percent(u.Tier)
	c := Costs{NoInput: !u.Input.Known, NoOutput: !u.Output.Known, OddTier: !known}

	write := u.CacheWrite.Or(u.CacheWrite1h)
	in := pot(u.Input, u.CacheRead, write, u.AudioInput, u.ImageInput)
	r := p.step(int64(in)).filled(percent)
	c.CacheRead = r.CacheRead.Cost(in.take(u.CacheRead))
	written := purse(in.take(write))
	c.CacheWrite1h = r.CacheWrite1h.Cost(written.take(u.CacheWrite1h))
	c.CacheWrite = r.CacheWrite.Cost(int64(written))
	c.AudioInput = r.AudioInput.Cost(in.take(u.AudioInput))
	c.ImageInput = r.ImageInput.Cost(in.take(u.ImageInput))
	c.Input = r.Input.Cost(int64(in))

	out := pot(u.Output, u.Reasoning, u.AudioOutput, u.ImageOutput)
	c.Reasoning = r.Reasoning.Cost(out.take(u.Reasoning))
	c.AudioOutput = r.AudioOutput.Cost(out.take(u.AudioOutput))
	c.ImageOutput = r.ImageOutput.Cost(out.take(u.ImageOutput))
	c.Output = r.Output.Cost(int64(out))
	for tool, calls := range u.Runs {
		fee, _ := p.Fee(tool, calls)
		c.Tools = c.Tools.Plus(fee)
	}
	return c
}

// Fee is what calls of a tool at the vendor cost. False: the price does not know the tool.
func (p *Price) Fee(tool string, calls int64) (llm.Nano, bool) {
	fee, ok := p.Fees[tool]
	return llm.Nano(times(int64(fee), calls)), ok
}

// step gives the rates of a call that reads so much.
func (p *Price) step(input int64) Rates {
	r := p.Rates
	for _, s := range p.Steps {
		if input > s.Over {
			r = s.Rates
		}
	}
	return r
}

// percent is what part of the rates a service tier costs. False: the price does not know the tier, and this is
// its dearest.
func (p *Price) percent(tier string) (int64, bool) {
	switch tier = strings.ToLower(tier); tier {
	case "", "auto", "default", "standard", "on_demand", "scale": // scale was paid beforehand, at other rates
		return 100, true
	}
	if percent, ok := p.Service[tier]; ok {
		return percent, true
	}
	return p.dearest(), false
}

func (p *Price) dearest() int64 {
	most := int64(100)
	for _, percent := range p.Service {
		most = max(most, percent)
	}
	return most
}

// A purse is a number of tokens that nobody has been charged for yet.
type purse int64

// pot is a whole. When only parts of it are known, it is their sum.
func pot(whole llm.Count, parts ...llm.Count) purse {
	if !whole.Known {
		for _, c := range parts {
			whole = whole.Plus(llm.Tokens(max(c.N, 0)))
		}
	}
	return purse(max(whole.N, 0))
}

// take takes a part out, as far as there is something left.
func (left *purse) take(part llm.Count) int64 {
	n := min(max(part.N, 0), int64(*left))
	*left -= purse(n)
	return n
}
