package openai

import (
	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// A usage is what an answer says it consumed. prompt_tokens holds cached tokens, completion_tokens holds
// reasoning; where a vendor counts otherwise, meaning puts it right.
type usage struct {
	PromptTokens      *whole         `json:"prompt_tokens,omitzero"`
	CompletionTokens  *whole         `json:"completion_tokens,omitzero"`
	TotalTokens       *whole         `json:"total_tokens,omitzero"`
	PromptDetails     *promptDetails `json:"prompt_tokens_details,omitzero"`
	CompletionDetails *outputDetails `json:"completion_tokens_details,omitzero"`
	ReasoningTokens   *whole         `json:"reasoning_tokens,omitzero"`        // Perplexity
	CacheHitTokens    *whole         `json:"prompt_cache_hit_tokens,omitzero"` // DeepSeek
	Extra             llm.Members    `json:",embed"`
}

type promptDetails struct {
	CachedTokens     *whole      `json:"cached_tokens,omitzero"`
	CacheWriteTokens *whole      `json:"cache_write_tokens,omitzero"` // OpenRouter
	AudioTokens      *whole      `json:"audio_tokens,omitzero"`
	ImageTokens      *whole      `json:"image_tokens,omitzero"`
	Extra            llm.Members `json:",embed"`
}

type outputDetails struct {
	ReasoningTokens *whole      `json:"reasoning_tokens,omitzero"`
	AudioTokens     *whole      `json:"audio_tokens,omitzero"`
	Extra           llm.Members `json:",embed"`
}

// meaning gives usage in our reckoning. Details that only this format knows are kept under their own names.
func (u *usage) meaning(tier string, hidden bool) *llm.Usage {
	out := &llm.Usage{
		Input: u.PromptTokens.count(), Output: u.CompletionTokens.count(), Total: u.TotalTokens.count(),
		Tier: tier, Extra: keep(u.Extra),
	}
	if d := u.PromptDetails; d != nil {
		out.CacheRead, out.CacheWrite = d.CachedTokens.count(), d.CacheWriteTokens.count()
		out.AudioInput, out.ImageInput = d.AudioTokens.count(), d.ImageTokens.count()
		if rest := keep(d.Extra); rest != nil {
			out.Extra = with(out.Extra, "prompt_tokens_details", raw(rest))
		}
	}
	if d := u.CompletionDetails; d != nil {
		out.Reasoning, out.AudioOutput = d.ReasoningTokens.count(), d.AudioTokens.count()
		if rest := keep(d.Extra); rest != nil {
			out.Extra = with(out.Extra, "completion_tokens_details", raw(rest))
		}
	}
	if u.CacheHitTokens != nil {
		out.CacheRead = out.CacheRead.Or(u.CacheHitTokens.count())
		out.Extra = with(out.Extra, "prompt_cache_hit_tokens", raw(int64(*u.CacheHitTokens)))
	}
	out.Reasoning = out.Reasoning.Or(u.ReasoningTokens.count())
	countThoughts(out, hidden)
	return out
}

var (
	usageNames  = []string{"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details", "reasoning_tokens", "prompt_cache_hit_tokens"}
	promptNames = []string{"cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens"}
	outputNames = []string{"reasoning_tokens", "audio_tokens"}
)

// glance reads the counts of a usage object as meaning does, and nothing else: accounting for bytes that pass
// unchanged must not cost more than passing them.
func glance(v []byte, tier string, hidden bool) (*llm.Usage, error) {
	if isNull(v) {
		return nil, nil
	}
	var u [7][]byte
	if err := wire.Members(v, usageNames, u[:]); err != nil {
		return nil, err
	}
	out := &llm.Usage{Input: count(u[0]), Output: count(u[1]), Total: count(u[2]), Tier: tier}
	if !isNull(u[3]) {
		var d [4][]byte
		if err := wire.Members(u[3], promptNames, d[:]); err != nil {
			return nil, err
		}
		out.CacheRead, out.CacheWrite, out.AudioInput, out.ImageInput = count(d[0]), count(d[1]), count(d[2]), count(d[3])
	}
	if !isNull(u[4]) {
		var d [2][]byte
		if err := wire.Members(u[4], outputNames, d[:]); err != nil {
			return nil, err
		}
		out.Reasoning, out.AudioOutput = count(d[0]), count(d[1])
	}
	out.Reasoning = out.Reasoning.Or(count(u[5]))
	out.CacheRead = out.CacheRead.Or(count(u[6]))
	countThoughts(out, hidden)
	return out, nil
}

func count(v []byte) llm.Count {
	if isNull(v) {
		return llm.Count{}
	}
	var n whole
	_ = n.UnmarshalJSON(v) // it cannot fail
	return n.count()
}

// countThoughts adds reasoning to the output where a vendor counts it beside: xAI names it, so the total
// shows it (prompt + completion + reasoning); Google's endpoint shows it in the total only (hidden).
func countThoughts(u *llm.Usage, hidden bool) {
	if !u.Total.Known || !u.Input.Known || !u.Output.Known {
		return
	}
	beside := u.Total.N - u.Input.N - u.Output.N
	switch {
	case beside <= 0:
	case u.Reasoning.Known && u.Reasoning.N == beside:
		u.Output.N += beside
	case hidden && !u.Reasoning.Known:
		u.Output.N += beside
		u.Reasoning = llm.Tokens(beside)
	}
}

// usageOf writes usage for a client. same says that u was read in this format.
func usageOf(u *llm.Usage, same bool) *usage {
	total := u.Total
	if !total.Known {
		total = u.Input.Plus(u.Output)
	}
	out := &usage{PromptTokens: tokens(u.Input), CompletionTokens: tokens(u.Output), TotalTokens: tokens(total)}
	var in promptDetails
	var comp outputDetails
	if same {
		for name, v := range u.Extra {
			switch name { // an error leaves the details empty, as if the vendor had sent none
			case "prompt_tokens_details":
				_ = json.Unmarshal(v, &in)
			case "completion_tokens_details":
				_ = json.Unmarshal(v, &comp)
			default:
				out.Extra = with(out.Extra, name, v)
			}
		}
	}
	in.CachedTokens, in.CacheWriteTokens = tokens(u.CacheRead), tokens(u.CacheWrite)
	in.AudioTokens, in.ImageTokens = tokens(u.AudioInput), tokens(u.ImageInput)
	comp.ReasoningTokens, comp.AudioTokens = tokens(u.Reasoning), tokens(u.AudioOutput)
	if u.CacheRead.Known || u.CacheWrite.Known || u.AudioInput.Known || u.ImageInput.Known || in.Extra != nil {
		out.PromptDetails = &in
	}
	if u.Reasoning.Known || u.AudioOutput.Known || comp.Extra != nil {
		out.CompletionDetails = &comp
	}
	return out
}
