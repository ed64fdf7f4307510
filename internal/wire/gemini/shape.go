package gemini

import (
	"math"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Enumerations, in the order of their numbers in protobuf (gaps are empty).
var (
	callModes   = []string{"MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"}
	levels      = []string{"THINKING_LEVEL_UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "MINIMAL"}
	schemaTypes = []string{"TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
	finishes    = []string{
		"FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE", "BLOCKLIST",
		"PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "UNEXPECTED_TOOL_CALL",
		"TOO_MANY_TOOL_CALLS", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "IMAGE_RECITATION",
	}
)

// opt is an optional member that may be null, in both of its spellings.
func opt(name string, s *wire.Shape) wire.Field { return spelled(wire.Opt(name, s.OrNull()), name) }

func req(name string, s *wire.Shape) wire.Field { return spelled(wire.Req(name, s), name) }

// spelled adds the snake_case name that protobuf JSON takes for the same member.
func spelled(f wire.Field, name string) wire.Field {
	if s := snake(name); s != name {
		return f.Alias(s)
	}
	return f
}

func snake(name string) string {
	var b []byte
	for _, c := range []byte(name) {
		if 'A' <= c && c <= 'Z' {
			b = append(b, '_')
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return string(b)
}

// enum is an enumeration, by name or by number. Names in lower case are taken where Google takes them.
func enum(names []string, lower bool) *wire.Shape {
	all := names
	if lower {
		all = append([]string(nil), names...)
		for _, n := range names {
			all = append(all, lowered(n))
		}
	}
	return wire.Either(wire.Enum(all...), wire.Int(0, 1000))
}

// openEnum is an enumeration to which Google adds values between our releases, and which only Google reads.
func openEnum() *wire.Shape { return wire.Either(wire.Str(), wire.Int(0, 1000)) }

func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func str() *wire.Shape   { return wire.Str() }
func flag() *wire.Shape  { return wire.Bool() }
func any32() *wire.Shape { return wire.Int(math.MinInt32, math.MaxInt32) }
func strs() *wire.Shape  { return wire.Array(wire.Str()) }

// generateFields are the members of a GenerateContentRequest.
func generateFields(contents, model wire.Field) []wire.Field {
	return []wire.Field{
		contents,
		model,
		opt("systemInstruction", wire.Object(opt("role", str()), opt("parts", wire.Array(textPartShape())))),
		opt("tools", wire.Array(toolShape()).Len(0, wire.MaxTools)),
		opt("toolConfig", toolConfigShape()),
		opt("safetySettings", wire.Array(wire.Object(
			opt("category", openEnum()), opt("threshold", openEnum()), opt("method", openEnum())))),
		opt("generationConfig", generationShape()),
		opt("cachedContent", str()),
		opt("labels", wire.Map()),
		opt("serviceTier", openEnum()),
		opt("store", flag()).Mark(llm.MarkStore),
	}
}

func generateShape() *wire.Shape {
	return wire.Object(generateFields(req("contents", contentsShape()), opt("model", str()).Mark(llm.MarkModel))...)
}

// countShape is a CountTokensRequest: contents alone, or a whole request. Vertex has its members at the top.
func countShape() *wire.Shape {
	model := opt("model", str()).Note(wire.NoteType)
	whole := wire.Object(generateFields(req("contents", contentsShape()), model)...)
	fields := generateFields(opt("contents", contentsShape()), model)
	return wire.Object(append(fields, opt("generateContentRequest", whole))...)
}

func contentsShape() *wire.Shape {
	return wire.Array(wire.Object(
		opt("role", wire.Enum("user", "model", "function")).Note(wire.NoteRole),
		opt("parts", wire.Array(partShape())),
	)).Len(1, 0)
}

func textPartShape() *wire.Shape {
	return wire.Object(opt("text", str()), opt("thought", flag()), opt("thoughtSignature", str()))
}

func mediaShapes() []wire.Field {
	return []wire.Field{
		opt("inlineData", wire.Object(req("mimeType", str()), req("data", str()), opt("displayName", str()))),
		opt("fileData", wire.Object(opt("mimeType", str()), req("fileUri", str().Len(1, 0)), opt("displayName", str()))),
	}
}

func partShape() *wire.Shape {
	name := req("name", str().Len(1, 0))
	return wire.Object(append(mediaShapes(),
		opt("text", str()), opt("thought", flag()), opt("thoughtSignature", str()),
		opt("functionCall", wire.Object(
			opt("id", str()).Note(wire.NoteCall), name, opt("args", wire.Map()))),
		opt("functionResponse", wire.Object(
			opt("id", str()).Note(wire.NoteResult), name, req("response", wire.Map()),
			opt("parts", wire.Array(wire.Object(mediaShapes()...))),
			opt("willContinue", flag()), opt("scheduling", openEnum()))),
		opt("executableCode", wire.Object(opt("language", openEnum()), opt("code", str()), opt("id", str()))),
		opt("codeExecutionResult", wire.Object(opt("outcome", openEnum()), opt("output", str()), opt("id", str()))),
		opt("videoMetadata", wire.Object(opt("startOffset", str()), opt("endOffset", str()), opt("fps", wire.Num(0, 24)))),
		opt("mediaResolution", wire.Object(opt("level", openEnum()))),
		opt("partMetadata", wire.Map()),
	)...)
}

// schemaShape is the top of a Schema: names below properties are free, so the scan sees no further.
func schemaShape() *wire.Shape {
	return wire.Object(
		opt("type", enum(schemaTypes, true)),
		opt("format", str()), opt("title", str()), opt("description", str()), opt("nullable", flag()),
		opt("enum", wire.Array(wire.Any())), opt("properties", wire.Map()), opt("required", strs()),
		opt("propertyOrdering", strs()), opt("items", wire.Map()), opt("anyOf", wire.Array(wire.Map())),
	)
}

func toolShape() *wire.Shape {
	hosted := func(name string) wire.Field { return opt(name, wire.Map()) }
	return wire.Object(
		opt("functionDeclarations", wire.Array(wire.Object(
			req("name", str().Len(1, 0)), opt("description", str()),
			opt("parameters", schemaShape()), opt("parametersJsonSchema", wire.Either(wire.Map(), wire.Bool())),
			opt("response", schemaShape()), opt("responseJsonSchema", wire.Either(wire.Map(), wire.Bool())),
			opt("behavior", openEnum()),
		))),
		hosted("googleSearch"), hosted("googleSearchRetrieval"), hosted("codeExecution"), hosted("urlContext"),
		hosted("computerUse"), hosted("fileSearch"), hosted("googleMaps"), hosted("enterpriseWebSearch"), hosted("retrieval"),
		opt("mcpServers", wire.Array(wire.Map())),
	)
}

func toolConfigShape() *wire.Shape {
	return wire.Object(
		opt("functionCallingConfig", wire.Object(
			opt("mode", enum(callModes, false)), opt("allowedFunctionNames", strs()),
			opt("streamFunctionCallArguments", flag()))),
		opt("retrievalConfig", wire.Map()),
		opt("includeServerSideToolInvocations", flag()),
	)
}

// generationShape holds the ranges that Google documents.
func generationShape() *wire.Shape {
	return wire.Object(
		opt("temperature", wire.Num(0, 2)),
		opt("topP", wire.Num(0, 1)),
		opt("topK", wire.Int(0, math.MaxInt32)),
		opt("candidateCount", wire.Int(1, 8)).Mark(llm.MarkN),
		opt("maxOutputTokens", wire.Int(1, math.MaxInt32)).Mark(llm.MarkMaxOutput),
		opt("stopSequences", strs().Len(0, 5)),
		opt("seed", any32()),
		opt("presencePenalty", wire.Num(-2, 2)),
		opt("frequencyPenalty", wire.Num(-2, 2)),
		opt("responseMimeType", str()),
		opt("responseSchema", schemaShape()),
		opt("responseJsonSchema", wire.Either(wire.Map(), wire.Bool())),
		opt("responseLogprobs", flag()),
		opt("logprobs", wire.Int(0, 20)),
		opt("thinkingConfig", wire.Object(
			opt("includeThoughts", flag()),
			opt("thinkingBudget", wire.Int(-1, math.MaxInt32)),
			opt("thinkingLevel", enum(levels, true)))),
		opt("responseModalities", wire.Array(openEnum())),
		opt("speechConfig", wire.Map()),
		opt("imageConfig", wire.Map()),
		opt("mediaResolution", openEnum()),
		opt("enableEnhancedCivicAnswers", flag()),
		opt("audioTimestamp", flag()),
		opt("routingConfig", wire.Map()),
		opt("modelSelectionConfig", wire.Map()),
	)
}

// embedFields are the members of an EmbedContentRequest.
func embedFields(model wire.Field) []wire.Field {
	return []wire.Field{
		model,
		req("content", wire.Object(opt("role", str()), req("parts", wire.Array(partShape()).Len(1, 0)))),
		opt("taskType", openEnum()),
		opt("title", str()),
		opt("outputDimensionality", wire.Int(1, math.MaxInt32)),
	}
}

func embedShape() *wire.Shape {
	return wire.Object(embedFields(opt("model", str()).Mark(llm.MarkModel))...)
}

func batchShape() *wire.Shape {
	one := wire.Object(embedFields(opt("model", str()).Note(wire.NoteType))...)
	return wire.Object(req("requests", wire.Array(one).Len(1, 0)))
}
