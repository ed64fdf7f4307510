package anthropic

import (
	"sluice/internal/llm"
	"sluice/internal/wire"
)

// The largest whole number that every JSON reader agrees on.
const maxInt = 1<<53 - 1

func messagesShape() *wire.Shape {
	return wire.Object(append(sharedFields(),
		// Absent is refused by Anthropic and filled in by Retarget; 0 warms the prompt cache.
		wire.Opt("max_tokens", wire.Int(0, maxInt).OrNull()).Mark(llm.MarkMaxOutput),
		wire.Opt("stream", wire.Bool().OrNull()).Mark(llm.MarkStream),
		wire.Opt("temperature", wire.Num(0, 1).OrNull()),
		wire.Opt("top_p", wire.Num(0, 1).OrNull()),
		wire.Opt("top_k", wire.Int(0, maxInt).OrNull()),
		wire.Opt("stop_sequences", wire.Array(wire.Str().Len(1, 0)).OrNull()),
		wire.Opt("metadata", wire.Object(wire.Opt("user_id", wire.Str().OrNull())).OrNull()),
		wire.Opt("service_tier", wire.Enum("auto", "standard_only").OrNull()),
		wire.Opt("container", wire.Any()),
		wire.Opt("inference_geo", wire.Str().OrNull()),
		wire.Opt("diagnostics", wire.Any()),
	)...)
}

func countShape() *wire.Shape { return wire.Object(sharedFields()...) }

func sharedFields() []wire.Field {
	return []wire.Field{
		wire.Req("model", wire.Str().Len(1, 256)).Mark(llm.MarkModel),
		wire.Req("messages", wire.Array(messageShape()).Len(1, 100_000)),
		wire.Opt("system", wire.Either(wire.Str(), wire.Array(textBlock())).OrNull()),
		wire.Opt("tools", wire.Array(toolShape()).Len(0, wire.MaxTools).OrNull()),
		wire.Opt("tool_choice", wire.Object(
			wire.Req("type", wire.Str()),
			wire.Opt("name", wire.Str().Len(1, 0).OrNull()),
			wire.Opt("disable_parallel_tool_use", wire.Bool().OrNull()),
		).ByTag("type", wire.Variants{"auto": nil, "any": nil, "none": nil, "tool": {"name"}}).OrNull()),
		wire.Opt("thinking", wire.Object(
			wire.Req("type", wire.Str()),
			wire.Opt("budget_tokens", wire.Int(1024, maxInt).OrNull()),
			wire.Opt("display", wire.Enum("summarized", "omitted").OrNull()),
		).ByOpenTag("type", wire.Variants{"enabled": {"budget_tokens"}, "disabled": nil, "adaptive": nil}).OrNull()),
		wire.Opt("output_config", wire.Object(
			wire.Opt("effort", wire.Enum("low", "medium", "high", "xhigh", "max").OrNull()),
			wire.Opt("format", formatShape()),
		).OrNull()),
		wire.Opt("output_format", formatShape()), // where output_config.format stood during its beta
		wire.Opt("cache_control", cacheShape()),
		wire.Opt("context_management", wire.Any()),
		wire.Opt("mcp_servers", wire.Any()),
		wire.Opt("speed", wire.Str().OrNull()),
	}
}

func formatShape() *wire.Shape {
	return wire.Object(wire.Req("type", wire.Str()), wire.Opt("schema", wire.Map())).
		ByOpenTag("type", wire.Variants{"json_schema": {"schema"}}).OrNull()
}

func cacheShape() *wire.Shape {
	return wire.Object(
		wire.Req("type", wire.Enum("ephemeral")),
		wire.Opt("ttl", wire.Enum("5m", "1h").OrNull()),
	).OrNull()
}

// toolShape takes custom tools, whose type is "custom" or absent, and the hosted ones with versioned types.
func toolShape() *wire.Shape {
	return wire.Object(
		wire.Opt("type", wire.Str().Len(1, 0).OrNull()),
		wire.Opt("name", wire.Str().Len(1, 0)),
		wire.Opt("description", wire.Str().OrNull()),
		wire.Opt("input_schema", wire.Map()),
		wire.Opt("strict", wire.Bool().OrNull()),
		wire.Opt("cache_control", cacheShape()),
		wire.Opt("defer_loading", wire.Bool().OrNull()),
		wire.Opt("allowed_callers", wire.Array(wire.Str()).OrNull()),
		wire.Opt("input_examples", wire.Array(wire.Map()).OrNull()),
		wire.Opt("eager_input_streaming", wire.Bool().OrNull()),
	).ByOpenTag("type", wire.Variants{"custom": {"name", "input_schema"}}).Default("custom")
}

func messageShape() *wire.Shape {
	block := wire.Object(append(nestedFields(),
		wire.Req("type", wire.Str()).Note(wire.NoteType),
		wire.Opt("id", wire.Str().Len(1, 0)).Note(wire.NoteCall),
		wire.Opt("tool_use_id", wire.Str().Len(1, 0)).Note(wire.NoteResult),
		wire.Opt("content", wire.Either(wire.Str(), wire.Array(nestedBlock()), wire.Map()).OrNull()),
		wire.Opt("name", wire.Str().Len(1, 0)),
		wire.Opt("input", wire.Map()),
		wire.Opt("is_error", wire.Bool().OrNull()),
		wire.Opt("thinking", wire.Str()),
		wire.Opt("signature", wire.Str().OrNull()),
		wire.Opt("data", wire.Str()),
		wire.Opt("caller", wire.Map().OrNull()),
	)...)
	return wire.Object(
		wire.Req("role", wire.Enum("user", "assistant", roleSystem)).Note(wire.NoteRole),
		wire.Req("content", wire.Either(wire.Str(), wire.Array(block.ByOpenTag("type", wire.Variants{
			"text":     {"text"},
			"image":    {"source"},
			"document": {"source"},
			"tool_use": {"id", "name", "input"},
			// A client gives back thinking of an upstream that signs nothing without a signature, too.
			"thinking":               {"thinking"},
			"redacted_thinking":      {"data"},
			"tool_result":            {"tool_use_id"},
			"search_result":          {"source", "title", "content"},
			"server_tool_use":        {"id", "name", "input"},
			"web_search_tool_result": {"tool_use_id", "content"},
		})))),
	)
}

// nestedBlock is a block within a tool result, a search result or a document. It is not noted: the rules
// of order are about a turn's own blocks.
func nestedBlock() *wire.Shape {
	return wire.Object(append(nestedFields(),
		wire.Req("type", wire.Str()),
		wire.Opt("content", wire.Any()),
	)...).ByOpenTag("type", wire.Variants{"text": {"text"}, "image": {"source"}, "document": {"source"}})
}

func textBlock() *wire.Shape {
	return wire.Object(
		wire.Req("type", wire.Enum("text")),
		wire.Req("text", wire.Str()),
		wire.Opt("citations", wire.Array(wire.Map()).OrNull()),
		wire.Opt("cache_control", cacheShape()),
	)
}

func nestedFields() []wire.Field {
	return []wire.Field{
		wire.Opt("text", wire.Str()),
		wire.Opt("source", wire.Either(wire.Str(), wire.Object( // search_result has a string there
			wire.Req("type", wire.Str()),
			wire.Opt("data", wire.Str()),
			wire.Opt("media_type", wire.Str()),
			wire.Opt("url", wire.Str().Len(1, 0)),
			wire.Opt("file_id", wire.Str().Len(1, 0)),
			wire.Opt("content", wire.Any()),
		).ByOpenTag("type", wire.Variants{
			"base64":  {"data", "media_type"},
			"url":     {"url"},
			"file":    {"file_id"},
			"text":    {"data"},
			"content": {"content"},
		}))),
		wire.Opt("title", wire.Str().OrNull()),
		wire.Opt("context", wire.Str().OrNull()),
		wire.Opt("citations", wire.Either(wire.Array(wire.Map()), wire.Object(wire.Opt("enabled", wire.Bool().OrNull()))).OrNull()),
		wire.Opt("cache_control", cacheShape()),
	}
}
