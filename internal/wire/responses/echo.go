package responses

import (
	"maps"
	"slices"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
)

// A setting is a member of the request that every response object repeats. The SDKs require most of them.
type setting struct {
	name   string
	absent string // what is told when the request did not say
}

var settings = [...]setting{
	{"background", "false"},
	{"instructions", "null"},
	{"max_output_tokens", "null"},
	{"max_tool_calls", "null"},
	{"metadata", "{}"},
	{"parallel_tool_calls", "true"},
	{"previous_response_id", "null"},
	{"prompt_cache_key", "null"},
	{"reasoning", `{"effort":null,"summary":null}`},
	{"safety_identifier", "null"},
	{tierMember, "null"},
	{"store", "false"}, // where no upstream of this format told otherwise, nothing is stored
	{"temperature", "1.0"},
	{"text", `{"format":{"type":"text"}}`},
	{"tool_choice", `"auto"`},
	{"tools", "[]"},
	{"top_logprobs", "0"},
	{"top_p", "1.0"},
	{"truncation", `"disabled"`},
	{"user", "null"},
}

// settingsOf gives the members of the call's request that an answer repeats.
func settingsOf(call *llm.Call) llm.Members {
	p, err := call.Body.Payload()
	chat, ok := p.(*llm.Chat)
	if err != nil || !ok {
		return nil
	}
	e := encoder{Encoding: &llm.Encoding{}, chat: chat}
	r := e.settings()
	if len(chat.Messages) > 0 {
		if text, ok := e.instructions(&chat.Messages[0]); ok {
			r.Instructions = &text
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	var m llm.Members
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil
	}
	return m
}

const tierMember = "service_tier"

// appendSettings appends the settings as the request had them, each with a comma before it. The tier is the
// one that was used, as far as that is known.
func appendSettings(dst []byte, asked llm.Members, tier string) []byte {
	for i := range settings {
		s := &settings[i]
		v := []byte(asked[s.name])
		if s.name == tierMember && tier != "" {
			v = quote(nil, tier)
		}
		if v == nil {
			v = []byte(s.absent)
		}
		dst = appendMember(dst, s.name, v)
	}
	return dst
}

// appendMembers appends members as they came, each with a comma before it.
func appendMembers(dst []byte, m llm.Members) []byte {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		dst = appendMember(dst, name, m[name])
	}
	return dst
}

func appendMember(dst []byte, name string, v []byte) []byte {
	dst = append(dst, ',')
	dst = append(quote(dst, name), ':')
	return append(dst, v...)
}
