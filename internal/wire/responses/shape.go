package responses

import (
	"math"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// A hosted tool's items and tools are open unions: OpenAI adds kinds between our releases, and they pass
// to an upstream of this format. Members whose type differs between kinds are wire.Any here; decoding
// checks them once the kind is known.

var contentShape = wire.Either(wire.Str(), wire.Array(wire.Object(
	wire.Req("type", wire.Str()),
	wire.Opt("text", wire.Str()),
	wire.Opt("refusal", wire.Str()),
	wire.Opt("image_url", wire.Str().OrNull()),
	wire.Opt("file_id", wire.Str().OrNull()),
	wire.Opt("file_data", wire.Str().OrNull()),
	wire.Opt("file_url", wire.Str().OrNull()),
	wire.Opt("filename", wire.Str().OrNull()),
	wire.Opt("detail", wire.Str().OrNull()),
	wire.Opt("annotations", wire.Array(wire.Map()).OrNull()),
	wire.Opt("logprobs", wire.Array(wire.Map()).OrNull()),
	wire.Opt("input_audio", wire.Object(
		wire.Req("data", wire.Str()),
		wire.Req("format", wire.Enum("wav", "mp3")),
	)),
).ByOpenTag("type", wire.Variants{
	"input_text":     {"text"},
	"output_text":    {"text"},
	"reasoning_text": {"text"},
	"refusal":        {"refusal"},
	"input_audio":    {"input_audio"},
	"input_image":    nil,
	"input_file":     nil,
}))).OrNull()

var itemShape = wire.Object(
	wire.Opt("type", wire.Str().OrNull()).Note(wire.NoteType),
	wire.Opt("role", wire.Enum("user", "assistant", "system", "developer")).Note(wire.NoteRole),
	wire.Opt("call_id", wire.Str().OrNull()).Note(wire.NoteCall),
	wire.Opt("id", wire.Str().OrNull()),
	wire.Opt("content", contentShape),
	wire.Opt("name", wire.Str().OrNull()),
	wire.Opt("arguments", wire.Any()),
	wire.Opt("input", wire.Any()),
	wire.Opt("output", wire.Any()),
	wire.Opt("summary", wire.Array(wire.Object(
		wire.Req("type", wire.Str()),
		wire.Req("text", wire.Str()),
	)).OrNull()),
	wire.Opt("encrypted_content", wire.Str().OrNull()),
	wire.Opt("status", wire.Str().OrNull()),
	wire.Opt("phase", wire.Str().OrNull()),
).ByOpenTag("type", wire.Variants{
	typeMessage:      {"role", "content"},
	typeCall:         {"call_id", "name", "arguments"},
	typeCallOutput:   {"output"}, // one of a tool that the model did not call has no call_id
	typeCustom:       {"call_id", "name", "input"},
	typeCustomOutput: {"output"},
	"item_reference": {"id"},
}).Default(typeMessage)

var toolShape = wire.Object(
	wire.Req("type", wire.Str()),
	wire.Opt("name", wire.Str().Len(1, 128)),
	wire.Opt("description", wire.Str().OrNull()),
	wire.Opt("parameters", wire.Map().OrNull()),
	wire.Opt("strict", wire.Bool().OrNull()),
).ByOpenTag("type", wire.Variants{
	"function": {"name"},
	"custom":   {"name"},
})

var requestShape = wire.Object(
	wire.Req("model", wire.Str().Len(1, 0)).Mark(llm.MarkModel),
	wire.Opt("input", wire.Either(wire.Str(), wire.Array(itemShape)).OrNull()).Note(wire.NoteType),
	wire.Opt("instructions", wire.Str().OrNull()),
	wire.Opt("stream", wire.Bool().OrNull()).Mark(llm.MarkStream),
	wire.Opt("stream_options", wire.Object(
		wire.Opt("include_obfuscation", wire.Bool().OrNull()),
	).OrNull()).Mark(llm.MarkStreamOptions),
	wire.Opt("max_output_tokens", wire.Int(1, math.MaxInt32).OrNull()).Mark(llm.MarkMaxOutput),
	wire.Opt("max_tool_calls", wire.Int(0, math.MaxInt32).OrNull()),
	wire.Opt("temperature", wire.Num(0, 2).OrNull()),
	wire.Opt("top_p", wire.Num(0, 1).OrNull()),
	wire.Opt("top_logprobs", wire.Int(0, 20).OrNull()),
	wire.Opt("tools", wire.Array(toolShape).Len(0, wire.MaxTools).OrNull()),
	wire.Opt("tool_choice", wire.Either(wire.Enum("none", "auto", "required"), wire.Object(
		wire.Req("type", wire.Str()),
		wire.Opt("name", wire.Str().OrNull()),
		wire.Opt("mode", wire.Enum("auto", "required")),
		wire.Opt("tools", wire.Array(wire.Map())),
	).ByOpenTag("type", wire.Variants{
		"function":      {"name"},
		"custom":        {"name"},
		"allowed_tools": {"mode", "tools"},
	})).OrNull()),
	wire.Opt("parallel_tool_calls", wire.Bool().OrNull()),
	wire.Opt("text", wire.Object(
		wire.Opt("format", wire.Object(
			wire.Req("type", wire.Str()),
			wire.Opt("name", wire.Str().Len(1, 64)),
			wire.Opt("schema", wire.Map()),
			wire.Opt("strict", wire.Bool().OrNull()),
			wire.Opt("description", wire.Str().OrNull()),
		).ByTag("type", wire.Variants{
			"text":        nil,
			"json_object": nil,
			"json_schema": {"name", "schema"},
		}).OrNull()),
		wire.Opt("verbosity", wire.Enum("low", "medium", "high").OrNull()),
	).OrNull()),
	wire.Opt("reasoning", wire.Object(
		wire.Opt("effort", wire.Enum("none", "minimal", "low", "medium", "high", "xhigh", "max").OrNull()),
		wire.Opt("summary", wire.Enum("auto", "concise", "detailed").OrNull()),
		wire.Opt("generate_summary", wire.Enum("auto", "concise", "detailed").OrNull()),
	).OrNull()),
	wire.Opt("include", wire.Array(wire.Str()).OrNull()),
	wire.Opt("truncation", wire.Enum("auto", "disabled").OrNull()),
	wire.Opt("metadata", wire.Map().OrNull()),
	wire.Opt("user", wire.Str().OrNull()),
	wire.Opt("safety_identifier", wire.Str().OrNull()),
	wire.Opt("prompt_cache_key", wire.Str().OrNull()),
	wire.Opt("service_tier", wire.Str().OrNull()),
	wire.Opt("store", wire.Bool().OrNull()).Mark(llm.MarkStore),
	wire.Opt("previous_response_id", wire.Str().OrNull()).Mark(llm.MarkPrevious).Note(noteStored),
	wire.Opt("conversation", wire.Either(wire.Str(), wire.Object(
		wire.Req("id", wire.Str()).Note(noteStored),
	)).OrNull()).Mark(llm.MarkPrevious).Note(noteStored),
	wire.Opt("background", wire.Bool().OrNull()),
	wire.Opt("prompt", wire.Object(
		wire.Req("id", wire.Str()).Note(noteStored),
	).OrNull()),
)

// noteStored notes the name of something kept at the provider. It stands outside of the input, so no
// item's note can be taken for it.
const noteStored = wire.NoteResult
