// Package openai holds OpenAI's chat, completions and embeddings formats, both directions of each: what a
// client sends and reads, and what an upstream takes and answers. Dozens of vendors speak the chat format
// with differences; those that a translation must respect are a Dialect, and what vendors add to their
// answers is read for all of them alike.
//
// Sources: https://platform.openai.com/docs/api-reference/chat,
// https://platform.openai.com/docs/api-reference/completions,
// https://platform.openai.com/docs/api-reference/embeddings.
//
// It knows no addresses and no credentials: those are package provider/openai's.
package openai

import (
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// The formats as OpenAI itself speaks them.
var (
	Chat        = ChatIn(Dialect{})
	Completions = CompletionsIn(Dialect{})
	Embeddings  = &EmbeddingsFormat{}
)

var (
	_ wire.Format   = Chat
	_ wire.Upstream = Chat
	_ wire.Format   = Completions
	_ wire.Upstream = Completions
	_ wire.Format   = Embeddings
	_ wire.Upstream = Embeddings
)

// A Dialect is how a vendor's chat differs from OpenAI's. It rules requests that are translated or edited,
// and whether usage is asked for in a stream; a body that passes unchanged is the client's own business.
// The zero Dialect is OpenAI's.
type Dialect struct {
	// NoStreamOptions: the vendor refuses stream_options (and tells usage in streams unasked).
	NoStreamOptions bool
	// MaxTokens: the limit of output is called max_tokens, not max_completion_tokens.
	MaxTokens bool
	// NoDeveloper: there is no developer role; such messages go as system.
	NoDeveloper bool
	// FlatText: content that is only text must be one string, not an array of parts.
	FlatText bool
	// Seed is the name of the seed member; "" means seed.
	Seed string
	// ShortIDs: ids of tool calls must be nine letters or digits (Mistral).
	ShortIDs bool
	// Reasoning is how earlier reasoning goes back to the vendor.
	Reasoning ReasoningBack
	// ThinkingSwitch: thinking is switched off by thinking: {"type": "disabled"}, not by an effort (DeepSeek).
	ThinkingSwitch bool
	// GeminiSignatures: thought signatures go back in extra_content, as Google's compatible endpoint has it.
	GeminiSignatures bool
	// HiddenThoughts: total_tokens counts thinking that completion_tokens leaves out (Google's endpoint).
	HiddenThoughts bool
	// Lacks names members of the request that the vendor refuses. "json_schema" stands for a response
	// format with a schema, "messages.name" for the name of a participant.
	Lacks []string
	// Takes names members that OpenAI does not have and the vendor does: "top_k", "min_p",
	// "cache_control" (breakpoints on parts).
	Takes []string
}

// ReasoningBack is how reasoning of earlier turns is sent back.
type ReasoningBack uint8

// The ways. Reasoning that a vendor cannot take back is left out: it is of no use to any other model.
const (
	ReasoningNone    ReasoningBack = iota // not at all
	ReasoningContent                      // unsigned text, as reasoning_content (DeepSeek)
	ReasoningDetails                      // everything, as reasoning_details (OpenRouter)
)

func (d *Dialect) lacks(name string) bool { return slices.Contains(d.Lacks, name) }
func (d *Dialect) takes(name string) bool { return slices.Contains(d.Takes, name) }

// ChatFormat is openai.chat in one dialect.
type ChatFormat struct{ d Dialect }

// ChatIn is the chat format in a vendor's dialect. Clients always speak Chat.
func ChatIn(d Dialect) *ChatFormat { return &ChatFormat{d} }

// Format is llm.OpenAIChat.
func (*ChatFormat) Format() llm.Format { return llm.OpenAIChat }

// readOptions are for what upstreams send: vendors' servers repeat names and cut characters in two, and an
// answer is no place to be strict.
var readOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// writeOptions make output stable and keep foreign values as they came.
var writeOptions = json.JoinOptions(json.Deterministic(true), jsontext.PreserveRawStrings(true), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

func marshal(v any) ([]byte, error) { return json.Marshal(v, writeOptions) }

// raw makes a JSON value of something that cannot fail to be one.
func raw(v any) llm.Raw {
	b, err := marshal(v)
	if err != nil {
		return llm.Raw("null")
	}
	return b
}

// isNull says that a value is absent or null.
func isNull(v llm.Raw) bool { return len(v) == 0 || string(v) == "null" }

// keep gives the members that are not null: a null says nothing in any format.
func keep(m llm.Members) llm.Members {
	for name, v := range m {
		if isNull(v) {
			delete(m, name)
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}
