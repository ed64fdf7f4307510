package llm

import "maps"

// Usage is what an upstream says a call consumed, in tokens, in one reckoning for all vendors: Input holds
// everything the model read (cached or not), Output everything it wrote (reasoning included); the other
// counts are parts of these two. A count that the upstream did not tell is absent, which is not zero.
type Usage struct {
	Input        Count   // all input tokens, CacheRead and CacheWrite included
	CacheRead    Count   // of Input: read from a prompt cache
	CacheWrite   Count   // of Input: written to a prompt cache, all lifetimes
	CacheWrite1h Count   // of CacheWrite: with a lifetime of one hour
	Output       Count   // all output tokens, Reasoning included
	Reasoning    Count   // of Output
	AudioInput   Count   // of Input
	AudioOutput  Count   // of Output
	ImageInput   Count   // of Input
	ImageOutput  Count   // of Output
	Total        Count   // as the upstream says it; may differ from Input+Output (Gemini's tool prompts)
	Runs         Runs    // of tools that run at the vendor, as far as it told or they were seen
	Tier         string  // the service tier that was used
	Extra        Members // members of the usage object that only its own format knows
}

// Runs counts calls of tools that run at the vendor and are paid apart from tokens, by the names that price files have for
// them. It is not changed once it is made; nil: none were told.
type Runs map[string]int64

// With gives the runs with another count of one tool.
func (c Runs) With(tool string, n int64) Runs {
	out := maps.Clone(c)
	if out == nil {
		out = make(Runs, 1)
	}
	out[tool] = n
	return out
}

// A Count is a number of tokens that may be absent. The zero Count is absent.
type Count struct {
	N     int64
	Known bool
}

// Tokens makes a known count.
func Tokens(n int64) Count { return Count{n, true} }

// Or gives the count, or another if it is absent.
func (c Count) Or(d Count) Count {
	if c.Known {
		return c
	}
	return d
}

// Minus subtracts what is known of the others, never going below zero; absent stays absent.
func (c Count) Minus(others ...Count) Count {
	if !c.Known {
		return c
	}
	for _, o := range others {
		if o.Known {
			c.N -= o.N
		}
	}
	c.N = max(c.N, 0)
	return c
}

// Plus adds what is known; the sum is absent when nothing is known.
func (c Count) Plus(others ...Count) Count {
	for _, o := range others {
		if o.Known {
			c.N += o.N
			c.Known = true
		}
	}
	return c
}

// Merge takes over every count that later says, and keeps the others: upstreams report a running total in
// pieces (Anthropic: input at the start, output at the end).
func (u *Usage) Merge(later *Usage) {
	if later == nil {
		return
	}
	u.Input = later.Input.Or(u.Input)
	u.CacheRead = later.CacheRead.Or(u.CacheRead)
	u.CacheWrite = later.CacheWrite.Or(u.CacheWrite)
	u.CacheWrite1h = later.CacheWrite1h.Or(u.CacheWrite1h)
	u.Output = later.Output.Or(u.Output)
	u.Reasoning = later.Reasoning.Or(u.Reasoning)
	u.AudioInput = later.AudioInput.Or(u.AudioInput)
	u.AudioOutput = later.AudioOutput.Or(u.AudioOutput)
	u.ImageInput = later.ImageInput.Or(u.ImageInput)
	u.ImageOutput = later.ImageOutput.Or(u.ImageOutput)
	u.Total = later.Total.Or(u.Total)
	switch {
	case later.Runs == nil:
	case u.Runs == nil:
		u.Runs = later.Runs
	default:
		u.Runs = maps.Clone(u.Runs)
		maps.Copy(u.Runs, later.Runs)
	}
	if later.Tier != "" {
		u.Tier = later.Tier
	}
	if later.Extra != nil {
		u.Extra = later.Extra
	}
}
