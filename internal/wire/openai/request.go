package openai

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// A request is the chat request as it stands on the wire.
type request struct {
	Model             string         `json:"model"`
	Messages          []message      `json:"messages"`
	Tools             []tool         `json:"tools,omitzero"`
	ToolChoice        llm.Raw        `json:"tool_choice,omitzero"`
	ParallelToolCalls *bool          `json:"parallel_tool_calls,omitzero"`
	Stream            bool           `json:"stream,omitzero"`
	StreamOptions     *streamOptions `json:"stream_options,omitzero"`

	MaxCompletionTokens *whole   `json:"max_completion_tokens,omitzero"`
	MaxTokens           *whole   `json:"max_tokens,omitzero"`
	Temperature         *float64 `json:"temperature,omitzero"`
	TopP                *float64 `json:"top_p,omitzero"`
	TopK                *whole   `json:"top_k,omitzero"`
	MinP                *float64 `json:"min_p,omitzero"`
	FrequencyPenalty    *float64 `json:"frequency_penalty,omitzero"`
	PresencePenalty     *float64 `json:"presence_penalty,omitzero"`
	Seed                *whole   `json:"seed,omitzero"`
	Stop                stops    `json:"stop,omitzero"`
	N                   *whole   `json:"n,omitzero"`
	Logprobs            *bool    `json:"logprobs,omitzero"`
	TopLogprobs         *whole   `json:"top_logprobs,omitzero"`
	LogitBias           llm.Raw  `json:"logit_bias,omitzero"`

	ReasoningEffort *string         `json:"reasoning_effort,omitzero"`
	Reasoning       *reasoning      `json:"reasoning,omitzero"`
	ResponseFormat  *responseFormat `json:"response_format,omitzero"`
	ServiceTier     *string         `json:"service_tier,omitzero"`
	User            *string         `json:"user,omitzero"`
	Store           *bool           `json:"store,omitzero"`
	Metadata        llm.Raw         `json:"metadata,omitzero"`
	PromptCacheKey  *string         `json:"prompt_cache_key,omitzero"`
	Verbosity       *string         `json:"verbosity,omitzero"`

	Extra llm.Members `json:",embed"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// A reasoning is OpenRouter's wish for thinking.
type reasoning struct {
	Effort    *string     `json:"effort,omitzero"`
	MaxTokens *whole      `json:"max_tokens,omitzero"`
	Exclude   *bool       `json:"exclude,omitzero"`
	Enabled   *bool       `json:"enabled,omitzero"`
	Extra     llm.Members `json:",embed"`
}

type responseFormat struct {
	Type       string      `json:"type"`
	JSONSchema *jsonSchema `json:"json_schema,omitzero"`
	Extra      llm.Members `json:",embed"`
}

type jsonSchema struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitzero"`
	Schema      llm.Raw     `json:"schema,omitzero"`
	Strict      *bool       `json:"strict,omitzero"`
	Extra       llm.Members `json:",embed"`
}

// stops is one stop sequence or several.
type stops []string

// UnmarshalJSONFrom reads a string, an array or null.
func (s *stops) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '"' {
		var one string
		err := json.UnmarshalDecode(dec, &one)
		*s = stops{one}
		return err
	}
	return json.UnmarshalDecode(dec, (*[]string)(s))
}

// A message is one of the conversation, in a request.
type message struct {
	Role             string            `json:"role"`
	Content          content           `json:"content,omitzero"`
	Name             string            `json:"name,omitzero"`
	ToolCalls        []toolCall        `json:"tool_calls,omitzero"`
	ToolCallID       *string           `json:"tool_call_id,omitzero"`
	Refusal          *string           `json:"refusal,omitzero"`
	FunctionCall     *function         `json:"function_call,omitzero"`
	ReasoningContent string            `json:"reasoning_content,omitzero"`
	Reasoning        llm.Raw           `json:"reasoning,omitzero"`
	ReasoningDetails []reasoningDetail `json:"reasoning_details,omitzero"`
	Annotations      []annotation      `json:"annotations,omitzero"`
	Images           []part            `json:"images,omitzero"`
	ExtraContent     *extraContent     `json:"extra_content,omitzero"`
	Extra            llm.Members       `json:",embed"`
}

// A content is text, an array of parts, or absent.
type content struct {
	text  *string
	parts []part
}

// IsZero says that there is no content.
func (c content) IsZero() bool { return c.text == nil && c.parts == nil }

// UnmarshalJSONFrom reads a string, an array of parts or null.
func (c *content) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '"' {
		return json.UnmarshalDecode(dec, &c.text)
	}
	return json.UnmarshalDecode(dec, &c.parts)
}

// MarshalJSONTo writes what is there.
func (c content) MarshalJSONTo(enc *jsontext.Encoder) error {
	if c.text != nil {
		return enc.WriteToken(jsontext.String(*c.text))
	}
	return json.MarshalEncode(enc, c.parts)
}

// A part is one piece of a message's content.
type part struct {
	Type         string        `json:"type"`
	Text         *string       `json:"text,omitzero"`
	Refusal      *string       `json:"refusal,omitzero"`
	ImageURL     *imageURL     `json:"image_url,omitzero"`
	InputAudio   *inputAudio   `json:"input_audio,omitzero"`
	File         *file         `json:"file,omitzero"`
	Thinking     thinking      `json:"thinking,omitzero"` // Mistral's
	CacheControl *cacheControl `json:"cache_control,omitzero"`
	Extra        llm.Members   `json:",embed"`

	whole llm.Raw // the part as it came, for types unknown here
}

// UnmarshalJSON reads a part and keeps its text.
func (p *part) UnmarshalJSON(b []byte) error {
	type plain part
	if err := json.Unmarshal(b, (*plain)(p), readOptions); err != nil {
		return err
	}
	p.whole = append(llm.Raw(nil), b...)
	return nil
}

// MarshalJSONTo writes a part, one of an unknown type as it came.
func (p part) MarshalJSONTo(enc *jsontext.Encoder) error {
	type plain part
	if p.whole != nil {
		return enc.WriteValue(jsontext.Value(p.whole))
	}
	return json.MarshalEncode(enc, (*plain)(&p))
}

type imageURL struct {
	URL    string      `json:"url"`
	Detail string      `json:"detail,omitzero"`
	Extra  llm.Members `json:",embed"`
}

// UnmarshalJSON reads an object or, as Mistral has it, a bare address.
func (u *imageURL) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		u.URL = unquote(b)
		return nil
	}
	type plain imageURL
	return json.Unmarshal(b, (*plain)(u), readOptions)
}

type inputAudio struct {
	Data   string      `json:"data"`
	Format string      `json:"format"`
	Extra  llm.Members `json:",embed"`
}

type file struct {
	FileID   string      `json:"file_id,omitzero"`
	FileData string      `json:"file_data,omitzero"`
	Filename string      `json:"filename,omitzero"`
	Extra    llm.Members `json:",embed"`
}

// thinking is Mistral's reasoning: an array of text chunks; a string is taken, too.
type thinking string

// UnmarshalJSON joins the texts.
func (t *thinking) UnmarshalJSON(b []byte) error {
	if s := unquote(b); s != "" {
		*t = thinking(s)
		return nil
	}
	var chunks []struct {
		Text loose `json:"text"`
	}
	if json.Unmarshal(b, &chunks, readOptions) == nil {
		for _, c := range chunks {
			*t += thinking(c.Text)
		}
	}
	return nil
}

type cacheControl struct {
	Type string `json:"type"`
	TTL  string `json:"ttl,omitzero"`
}

type toolCall struct {
	Index        *whole        `json:"index,omitzero"`
	ID           loose         `json:"id,omitzero"`
	Type         loose         `json:"type,omitzero"`
	Function     *function     `json:"function,omitzero"`
	Custom       *custom       `json:"custom,omitzero"`
	ExtraContent *extraContent `json:"extra_content,omitzero"`
	Extra        llm.Members   `json:",embed"`
}

type function struct {
	Name      loose       `json:"name,omitzero"`
	Arguments arguments   `json:"arguments"`
	Extra     llm.Members `json:",embed"`
}

// arguments is JSON text in a string; vendors also send the object itself, or null.
type arguments string

// UnmarshalJSON reads a string's content, or the text of any other value.
func (a *arguments) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '"':
		*a = arguments(unquote(b))
	case 'n':
		*a = ""
	default:
		*a = arguments(b)
	}
	return nil
}

type custom struct {
	Name  loose       `json:"name,omitzero"`
	Input string      `json:"input"`
	Extra llm.Members `json:",embed"`
}

// extraContent is where Google's compatible endpoint keeps thought signatures.
type extraContent struct {
	Google *googleExtra `json:"google,omitzero"`
	Extra  llm.Members  `json:",embed"`
}

type googleExtra struct {
	ThoughtSignature string      `json:"thought_signature,omitzero"`
	Extra            llm.Members `json:",embed"`
}

type tool struct {
	Type     string       `json:"type"`
	Function *functionDef `json:"function,omitzero"`
	Extra    llm.Members  `json:",embed"`

	whole llm.Raw // the tool as it came, when it is no function
}

// UnmarshalJSON reads a tool and keeps the text of one that is no function.
func (t *tool) UnmarshalJSON(b []byte) error {
	type plain tool
	if err := json.Unmarshal(b, (*plain)(t), readOptions); err != nil {
		return err
	}
	if t.Type != "function" {
		t.whole = append(llm.Raw(nil), b...)
	}
	return nil
}

// MarshalJSONTo writes a tool.
func (t tool) MarshalJSONTo(enc *jsontext.Encoder) error {
	type plain tool
	if t.whole != nil {
		return enc.WriteValue(jsontext.Value(t.whole))
	}
	return json.MarshalEncode(enc, (*plain)(&t))
}

type functionDef struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitzero"`
	Parameters  llm.Raw     `json:"parameters,omitzero"`
	Strict      *bool       `json:"strict,omitzero"`
	Extra       llm.Members `json:",embed"`
}

type toolChoice struct {
	Type         string        `json:"type"`
	Function     *named        `json:"function,omitzero"`
	AllowedTools *allowedTools `json:"allowed_tools,omitzero"`
}

type named struct {
	Name string `json:"name"`
}

type allowedTools struct {
	Mode  string       `json:"mode"`
	Tools []toolChoice `json:"tools"`
}

type annotation struct {
	Type        string       `json:"type"`
	URLCitation *urlCitation `json:"url_citation,omitzero"`

	whole llm.Raw
}

// UnmarshalJSON reads an annotation and keeps its text.
func (a *annotation) UnmarshalJSON(b []byte) error {
	type plain annotation
	if err := json.Unmarshal(b, (*plain)(a), readOptions); err != nil {
		return err
	}
	a.whole = append(llm.Raw(nil), b...)
	return nil
}

// MarshalJSONTo writes an annotation, one that came in this format as it came.
func (a annotation) MarshalJSONTo(enc *jsontext.Encoder) error {
	type plain annotation
	if a.whole != nil {
		return enc.WriteValue(jsontext.Value(a.whole))
	}
	return json.MarshalEncode(enc, (*plain)(&a))
}

type urlCitation struct {
	StartIndex whole  `json:"start_index"`
	EndIndex   whole  `json:"end_index"`
	URL        string `json:"url"`
	Title      string `json:"title"`
	Content    string `json:"content,omitzero"` // OpenRouter's: the passage
}
