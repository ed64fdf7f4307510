package openai

import (
	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Ranges and enums are OpenAI's; where compatible vendors document more (sixteen stop sequences at
// DeepSeek, tool_choice "any" at Mistral, image_url as a string), the wider one holds, because the same
// client format reaches them all. Optional members may be null: every vendor takes that for absent.

// Most are bounds on what one request may ask for; they only keep nonsense out.
const (
	mostTokens = 1 << 40
	mostN      = 128
)

// Shape is what a chat request must look like.
func (*ChatFormat) Shape() *wire.Shape { return chatShape }

var chatShape = wire.Object(
	wire.Req("model", wire.Str().Len(1, 0)).Mark(llm.MarkModel),
	wire.Req("messages", wire.Array(messageShape()).Len(1, 0)),
	wire.Opt("stream", wire.Bool().OrNull()).Mark(llm.MarkStream),
	wire.Opt("stream_options", streamOptionsShape()).Mark(llm.MarkStreamOptions),
	wire.Opt("max_completion_tokens", wire.Int(1, mostTokens).OrNull()).Mark(llm.MarkMaxOutput),
	wire.Opt("max_tokens", wire.Int(1, mostTokens).OrNull()).Mark(llm.MarkMaxOutputOld),
	wire.Opt("n", wire.Int(1, mostN).OrNull()).Mark(llm.MarkN),
	wire.Opt("store", wire.Bool().OrNull()).Mark(llm.MarkStore),
	wire.Opt("temperature", wire.Num(0, 2).OrNull()),
	wire.Opt("top_p", wire.Num(0, 1).OrNull()),
	wire.Opt("top_k", wire.Int(-1, mostTokens).OrNull()), // vendors' own; -1 and 0 switch it off
	wire.Opt("min_p", wire.Num(0, 1).OrNull()),           // vendors' own
	wire.Opt("frequency_penalty", wire.Num(-2, 2).OrNull()),
	wire.Opt("presence_penalty", wire.Num(-2, 2).OrNull()),
	wire.Opt("seed", wire.Int(-1<<63, 1<<63).OrNull()),
	wire.Opt("stop", stopShape()),
	wire.Opt("logprobs", wire.Bool().OrNull()),
	wire.Opt("top_logprobs", wire.Int(0, 20).OrNull()),
	wire.Opt("logit_bias", wire.Map().OrNull()),
	wire.Opt("user", wire.Str().OrNull()),
	wire.Opt("safety_identifier", wire.Str().OrNull()),
	wire.Opt("prompt_cache_key", wire.Str().OrNull()),
	wire.Opt("prompt_cache_retention", wire.Str().OrNull()),
	wire.Opt("metadata", wire.Map().OrNull()),
	wire.Opt("service_tier", wire.Str().OrNull()), // OpenAI's, Groq's and OpenRouter's lists differ
	wire.Opt("reasoning_effort", wire.Enum("none", "minimal", "low", "medium", "high", "xhigh", "max", "default").OrNull()),
	wire.Opt("reasoning", wire.Map().OrNull()), // OpenRouter's
	wire.Opt("verbosity", wire.Enum("low", "medium", "high").OrNull()),
	wire.Opt("modalities", wire.Array(wire.Enum("text", "audio", "image")).OrNull()),
	wire.Opt("audio", wire.Object(
		wire.Req("format", wire.Str()),
		wire.Req("voice", wire.Either(wire.Str(), wire.Map())),
	).OrNull()),
	wire.Opt("prediction", wire.Object(
		wire.Req("type", wire.Enum("content")),
		wire.Req("content", wire.Either(wire.Str(), wire.Array(partShape()))),
	).OrNull()),
	wire.Opt("web_search_options", wire.Object(
		wire.Opt("search_context_size", wire.Enum("low", "medium", "high").OrNull()),
		wire.Opt("user_location", wire.Map().OrNull()),
	).OrNull()),
	wire.Opt("response_format", wire.Object(
		wire.Req("type", wire.Str()),
		wire.Opt("json_schema", wire.Object(
			wire.Req("name", wire.Str().Len(1, 64)),
			wire.Opt("description", wire.Str().OrNull()),
			wire.Opt("schema", wire.Map().OrNull()),
			wire.Opt("strict", wire.Bool().OrNull()),
		)),
	).ByOpenTag("type", wire.Variants{"text": nil, "json_object": nil, "json_schema": {"json_schema"}}).OrNull()),
	wire.Opt("tools", wire.Array(toolShape()).Len(0, wire.MaxTools).OrNull()),
	wire.Opt("tool_choice", toolChoiceShape()),
	wire.Opt("parallel_tool_calls", wire.Bool().OrNull()),
	wire.Opt("functions", wire.Array(functionShape()).OrNull()),
	wire.Opt("function_call", wire.Either(
		wire.Enum("none", "auto"),
		wire.Object(wire.Req("name", wire.Str().Len(1, 0))),
	).OrNull()),
)

func streamOptionsShape() *wire.Shape {
	return wire.Object(
		wire.Opt("include_usage", wire.Bool().OrNull()).Mark(llm.MarkIncludeUsage),
		wire.Opt("include_obfuscation", wire.Bool().OrNull()),
	).OrNull()
}

func stopShape() *wire.Shape {
	return wire.Either(wire.Str(), wire.Array(wire.Str()).Len(0, 16)).OrNull()
}

func messageShape() *wire.Shape {
	return wire.Object(
		wire.Req("role", wire.Str()).Note(wire.NoteRole),
		wire.Opt("content", wire.Either(wire.Str(), wire.Array(partShape())).OrNull()),
		wire.Opt("name", wire.Str().OrNull()),
		wire.Opt("tool_calls", wire.Array(toolCallShape()).OrNull()),
		wire.Opt("tool_call_id", wire.Str().OrNull()).Note(wire.NoteResult),
		wire.Opt("refusal", wire.Str().OrNull()),
		wire.Opt("audio", wire.Object(wire.Req("id", wire.Str())).OrNull()),
		wire.Opt("function_call", wire.Object(
			wire.Req("name", wire.Str().Len(1, 0)),
			wire.Req("arguments", wire.Str()),
		).OrNull()),
		wire.Opt("reasoning_content", wire.Str().OrNull()),
		wire.Opt("reasoning_details", wire.Array(wire.Map()).OrNull()),
	).ByTag("role", wire.Variants{
		"system": {"content"}, "developer": {"content"}, "user": {"content"}, "assistant": nil,
		"tool": {"content", "tool_call_id"}, "function": {"content", "name"},
	})
}

func partShape() *wire.Shape {
	return wire.Object(
		wire.Req("type", wire.Str()),
		wire.Opt("text", wire.Str()),
		wire.Opt("refusal", wire.Str()),
		wire.Opt("image_url", wire.Either(wire.Str().Len(1, 0), wire.Object(
			wire.Req("url", wire.Str().Len(1, 0)),
			wire.Opt("detail", wire.Enum("auto", "low", "high", "original").OrNull()),
		))),
		wire.Opt("input_audio", wire.Object(
			wire.Req("data", wire.Str().Len(1, 0)),
			wire.Req("format", wire.Str().Len(1, 0)),
		)),
		wire.Opt("file", wire.Object(
			wire.Opt("file_id", wire.Str().OrNull()),
			wire.Opt("file_data", wire.Str().OrNull()),
			wire.Opt("filename", wire.Str().OrNull()),
		)),
	).ByOpenTag("type", wire.Variants{
		"text": {"text"}, "refusal": {"refusal"}, "image_url": {"image_url"}, "input_audio": {"input_audio"}, "file": {"file"},
	})
}

func toolCallShape() *wire.Shape {
	return wire.Object(
		wire.Req("id", wire.Str()).Note(wire.NoteCall),
		wire.Req("type", wire.Str()),
		wire.Opt("function", wire.Object(
			wire.Req("name", wire.Str().Len(1, 0)),
			wire.Req("arguments", wire.Str()),
		)),
		wire.Opt("custom", wire.Object(
			wire.Req("name", wire.Str().Len(1, 0)),
			wire.Req("input", wire.Str()),
		)),
	).ByTag("type", wire.Variants{"function": {"function"}, "custom": {"custom"}})
}

func functionShape() *wire.Shape {
	return wire.Object(
		wire.Req("name", wire.Str().Len(1, 256)),
		wire.Opt("description", wire.Str().OrNull()),
		wire.Opt("parameters", wire.Map().OrNull()),
		wire.Opt("strict", wire.Bool().OrNull()),
	)
}

func toolShape() *wire.Shape {
	return wire.Object(
		wire.Req("type", wire.Str()),
		wire.Opt("function", functionShape()),
		wire.Opt("custom", wire.Object(
			wire.Req("name", wire.Str().Len(1, 256)),
			wire.Opt("description", wire.Str().OrNull()),
			wire.Opt("format", wire.Map().OrNull()),
		)),
	).ByOpenTag("type", wire.Variants{"function": {"function"}, "custom": {"custom"}})
}

func toolChoiceShape() *wire.Shape {
	named := wire.Object(wire.Req("name", wire.Str().Len(1, 0)))
	return wire.Either(
		wire.Enum("none", "auto", "required", "any"),
		wire.Object(
			wire.Req("type", wire.Str()),
			wire.Opt("function", named),
			wire.Opt("custom", named),
			wire.Opt("allowed_tools", wire.Object(
				wire.Req("mode", wire.Enum("auto", "required")),
				wire.Req("tools", wire.Array(wire.Map()).Len(1, 0)),
			)),
		).ByTag("type", wire.Variants{"function": {"function"}, "custom": {"custom"}, "allowed_tools": {"allowed_tools"}}),
	).OrNull()
}
