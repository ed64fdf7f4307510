package anthropic

import (
	"sluice/internal/llm"
)

// A usage is what Anthropic reports. input_tokens leaves out what was read from and written to the prompt
// cache; the hub's count of input holds both.
type usage struct {
	InputTokens   *number        `json:"input_tokens,omitzero"`
	CacheCreation *number        `json:"cache_creation_input_tokens,omitzero"`
	CacheRead     *number        `json:"cache_read_input_tokens,omitzero"`
	ByLifetime    *lifetimes     `json:"cache_creation,omitzero"`
	OutputTokens  *number        `json:"output_tokens,omitzero"`
	OutputDetails *outputDetails `json:"output_tokens_details,omitzero"`
	Tier          string         `json:"service_tier,omitzero"`
	Extra         unknown        `json:",embed"`
}

// webSearch is the tool that costs by the call, as price files have it.
const webSearch = "web_search"

type lifetimes struct {
	Min5  *number `json:"ephemeral_5m_input_tokens,omitzero"`
	Hour1 *number `json:"ephemeral_1h_input_tokens,omitzero"`
}

type outputDetails struct {
	Thinking *number `json:"thinking_tokens,omitzero"`
	Extra    unknown `json:",embed"`
}

// merge takes over what later says: a stream reports its counts in pieces, each a running total.
func (u *usage) merge(later *usage) {
	if later == nil {
		return
	}
	set(&u.InputTokens, later.InputTokens)
	set(&u.CacheCreation, later.CacheCreation)
	set(&u.CacheRead, later.CacheRead)
	set(&u.OutputTokens, later.OutputTokens)
	set(&u.ByLifetime, later.ByLifetime)
	set(&u.OutputDetails, later.OutputDetails)
	u.Tier = or(later.Tier, u.Tier)
	for name, v := range later.Extra {
		if u.Extra == nil {
			u.Extra = make(unknown)
		}
		u.Extra[name] = v
	}
}

func set[T any](old **T, v *T) {
	if v != nil {
		*old = v
	}
}

func count(n *number) llm.Count {
	if n == nil {
		return llm.Count{}
	}
	return llm.Tokens(int64(*n))
}

// hub gives the counts in the hub's reckoning. What was not reported stays absent.
func (u *usage) hub() *llm.Usage {
	out := &llm.Usage{
		CacheRead: count(u.CacheRead), CacheWrite: count(u.CacheCreation), Output: count(u.OutputTokens),
		Tier: u.Tier, Extra: u.Extra.members(),
	}
	if l := u.ByLifetime; l != nil {
		out.CacheWrite1h = count(l.Hour1)
		out.CacheWrite = out.CacheWrite.Or(count(l.Min5).Plus(count(l.Hour1)))
	}
	if u.InputTokens != nil {
		out.Input = count(u.InputTokens).Plus(out.CacheRead, out.CacheWrite)
	}
	if d := u.OutputDetails; d != nil {
		out.Reasoning = count(d.Thinking)
	}
	if v := u.Extra["server_tool_use"]; v != nil {
		var s struct {
			Searches *number `json:"web_search_requests"`
		}
		if unmarshal(v, &s) == nil && s.Searches != nil { // what it is not is kept, and not ours to judge
			out.Runs = llm.Runs{webSearch: int64(*s.Searches)}
		}
	}
	return out
}

// wireUsage is a usage object for a client. input_tokens and output_tokens are always there: every SDK
// takes them for required. The cache's counts are null when they are not known.
type wireUsage struct {
	InputTokens   int64          `json:"input_tokens"`
	CacheCreation *int64         `json:"cache_creation_input_tokens"`
	CacheRead     *int64         `json:"cache_read_input_tokens"`
	ByLifetime    *wireLifetimes `json:"cache_creation,omitzero"`
	OutputTokens  int64          `json:"output_tokens"`
	OutputDetails *wireDetails   `json:"output_tokens_details,omitzero"`
	Tier          string         `json:"service_tier,omitzero"`
	Extra         unknown        `json:",embed"`
}

type wireLifetimes struct {
	Min5  int64 `json:"ephemeral_5m_input_tokens"`
	Hour1 int64 `json:"ephemeral_1h_input_tokens"`
}

type wireDetails struct {
	Thinking int64 `json:"thinking_tokens"`
}

// writeUsage writes usage for a client; same says that it was read in this format.
func writeUsage(u *llm.Usage, same bool) *wireUsage {
	if u == nil {
		return new(wireUsage)
	}
	out := &wireUsage{
		InputTokens: u.Input.Minus(u.CacheRead, u.CacheWrite).N, OutputTokens: u.Output.N,
		CacheCreation: known64(u.CacheWrite), CacheRead: known64(u.CacheRead), Tier: u.Tier,
		Extra: told(u.Extra, same),
	}
	if u.CacheWrite1h.Known {
		out.ByLifetime = &wireLifetimes{Min5: u.CacheWrite.Minus(u.CacheWrite1h).N, Hour1: u.CacheWrite1h.N}
	}
	if u.Reasoning.Known {
		out.OutputDetails = &wireDetails{u.Reasoning.N}
	}
	return out
}

func known64(c llm.Count) *int64 {
	if !c.Known {
		return nil
	}
	return &c.N
}
