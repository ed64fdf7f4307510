package responses

import (
	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
)

// A usage is what an answer says it consumed: input_tokens holds cached tokens, output_tokens reasoning.
type usage struct {
	Input         *whole         `json:"input_tokens"`
	InputDetails  *inputDetails  `json:"input_tokens_details,omitzero"`
	Output        *whole         `json:"output_tokens"`
	OutputDetails *outputDetails `json:"output_tokens_details,omitzero"`
	Total         *whole         `json:"total_tokens"`
	Extra         llm.Members    `json:",embed"`
}

type inputDetails struct {
	Cached     *whole      `json:"cached_tokens"`
	CacheWrite *whole      `json:"cache_write_tokens,omitzero"`
	Audio      *whole      `json:"audio_tokens,omitzero"`
	Image      *whole      `json:"image_tokens,omitzero"`
	Extra      llm.Members `json:",embed"`
}

type outputDetails struct {
	Reasoning *whole      `json:"reasoning_tokens"`
	Audio     *whole      `json:"audio_tokens,omitzero"`
	Extra     llm.Members `json:",embed"`
}

func (w *whole) count() llm.Count {
	if w == nil {
		return llm.Count{}
	}
	return llm.Tokens(int64(*w))
}

func tokens(c llm.Count) *whole {
	if !c.Known {
		return nil
	}
	w := whole(c.N)
	return &w
}

// meaning gives usage in the hub's reckoning, nil when none was told.
func (u *usage) meaning(tier string) *llm.Usage {
	if u == nil {
		return nil
	}
	out := &llm.Usage{Input: u.Input.count(), Output: u.Output.count(), Total: u.Total.count(), Tier: tier, Extra: keep(u.Extra)}
	if d := u.InputDetails; d != nil {
		out.CacheRead, out.CacheWrite = d.Cached.count(), d.CacheWrite.count()
		out.AudioInput, out.ImageInput = d.Audio.count(), d.Image.count()
		setDetails(out, inputMember, d.Extra)
	}
	if d := u.OutputDetails; d != nil {
		out.Reasoning, out.AudioOutput = d.Reasoning.count(), d.Audio.count()
		setDetails(out, outputMember, d.Extra)
	}
	return out
}

// The details that only this format knows are kept in Usage.Extra under the names of their objects.
const (
	inputMember  = "input_tokens_details"
	outputMember = "output_tokens_details"
)

func setDetails(u *llm.Usage, name string, rest llm.Members) {
	if rest = keep(rest); rest == nil {
		return
	}
	v, err := json.Marshal(rest, json.Deterministic(true))
	if err != nil { // it was read as JSON
		return
	}
	if u.Extra == nil {
		u.Extra = make(llm.Members)
	}
	u.Extra[name] = llm.Raw(v)
}

// writeUsage writes usage for a client, null when there is none. The SDKs require the counts and their
// details, so what is not known is told as zero. same says that u was read in this format.
func writeUsage(u *llm.Usage, same bool) []byte {
	if u == nil {
		return []byte("null")
	}
	zero := llm.Tokens(0)
	total := u.Total.Or(u.Input.Plus(u.Output)).Or(zero)
	out := usage{
		Input: tokens(u.Input.Or(zero)), Output: tokens(u.Output.Or(zero)), Total: tokens(total),
		InputDetails:  &inputDetails{Cached: tokens(u.CacheRead.Or(zero)), CacheWrite: tokens(u.CacheWrite), Audio: tokens(u.AudioInput), Image: tokens(u.ImageInput)},
		OutputDetails: &outputDetails{Reasoning: tokens(u.Reasoning.Or(zero)), Audio: tokens(u.AudioOutput)},
	}
	if same {
		out.own(u)
	}
	v, err := json.Marshal(out, json.Deterministic(true))
	if err != nil { // a member of Extra that is not JSON
		out.Extra, out.InputDetails.Extra, out.OutputDetails.Extra = nil, nil, nil
		v, _ = json.Marshal(out)
	}
	return v
}

// own adds the members that only this format knows.
func (u *usage) own(from *llm.Usage) {
	for name, v := range from.Extra {
		var err error
		switch name {
		case inputMember:
			err = json.Unmarshal(v, &u.InputDetails.Extra)
		case outputMember:
			err = json.Unmarshal(v, &u.OutputDetails.Extra)
		default:
			if u.Extra == nil {
				u.Extra = make(llm.Members)
			}
			u.Extra[name] = v
		}
		if err != nil { // not an object: it is not ours after all
			continue
		}
	}
}
