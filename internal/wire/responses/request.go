package responses

import (
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// A request is a request body, and the part of it that an answer repeats.
type request struct {
	Model             string           `json:"model,omitzero"`
	Instructions      *string          `json:"instructions,omitzero"`
	Input             jsontext.Value   `json:"input,omitzero"`
	Stream            *bool            `json:"stream,omitzero"`
	MaxOutputTokens   *whole           `json:"max_output_tokens,omitzero"`
	Temperature       *float64         `json:"temperature,omitzero"`
	TopP              *float64         `json:"top_p,omitzero"`
	TopLogprobs       *whole           `json:"top_logprobs,omitzero"`
	Tools             []jsontext.Value `json:"tools,omitzero"`
	ToolChoice        jsontext.Value   `json:"tool_choice,omitzero"`
	ParallelToolCalls *bool            `json:"parallel_tool_calls,omitzero"`
	Text              *textConfig      `json:"text,omitzero"`
	Reasoning         *reasoning       `json:"reasoning,omitzero"`
	Include           []string         `json:"include,omitzero"`
	Metadata          jsontext.Value   `json:"metadata,omitzero"`
	User              string           `json:"user,omitzero"`
	PromptCacheKey    string           `json:"prompt_cache_key,omitzero"`
	ServiceTier       string           `json:"service_tier,omitzero"`
	Store             *bool            `json:"store,omitzero"`
	Extra             llm.Members      `json:",embed"`
}

type textConfig struct {
	Format    *textFormat `json:"format,omitzero"`
	Verbosity string      `json:"verbosity,omitzero"`
	Extra     llm.Members `json:",embed"`
}

type textFormat struct {
	Type        string         `json:"type"`
	Name        string         `json:"name,omitzero"`
	Description string         `json:"description,omitzero"`
	Schema      jsontext.Value `json:"schema,omitzero"`
	Strict      *bool          `json:"strict,omitzero"`
	Extra       llm.Members    `json:",embed"`
}

type reasoning struct {
	Effort          string      `json:"effort,omitzero"`
	Summary         string      `json:"summary,omitzero"`
	GenerateSummary string      `json:"generate_summary,omitzero"` // the old name of summary
	Extra           llm.Members `json:",embed"`
}

type functionTool struct {
	Type        string         `json:"type"`
	Name        string         `json:"name"`
	Description string         `json:"description,omitzero"`
	Parameters  jsontext.Value `json:"parameters,omitzero"`
	Strict      *bool          `json:"strict,omitzero"`
	Extra       llm.Members    `json:",embed"`
}

type toolChoice struct {
	Type  string       `json:"type"`
	Name  string       `json:"name,omitzero"`
	Mode  string       `json:"mode,omitzero"`
	Tools []toolChoice `json:"tools,omitzero"`
	Extra llm.Members  `json:",embed"`
}

// A whole is a whole number however it is written: 10, 10.0, 1e1.
type whole int64

// UnmarshalJSON reads a number.
func (w *whole) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return err
	}
	*w = whole(min(max(f, math.MinInt64), math.MaxInt32*math.MaxInt16))
	return nil
}

func (w *whole) int64() *int64 {
	if w == nil {
		return nil
	}
	n := int64(*w)
	return &n
}

func newWhole(n *int64) *whole {
	if n == nil {
		return nil
	}
	w := whole(*n)
	return &w
}

// The values of include that are understood. The others concern hosted tools.
const (
	includeEncrypted = "reasoning.encrypted_content"
	includeLogprobs  = "message.output_text.logprobs"
)
