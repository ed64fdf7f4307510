package mock

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type anthropicRequest struct {
	Model    string         `json:"model"`
	Max      *int64         `json:"max_tokens"`
	System   jsontext.Value `json:"system"`
	Stream   bool           `json:"stream"`
	Messages []struct {
		Role    string         `json:"role"`
		Content jsontext.Value `json:"content"`
	} `json:"messages"`
	Tools []struct {
		Name   string         `json:"name"`
		Schema jsontext.Value `json:"input_schema"`
	} `json:"tools"`
	Choice struct {
		Type   string `json:"type"`
		Name   string `json:"name"`
		Single bool   `json:"disable_parallel_tool_use"`
	} `json:"tool_choice"`
	Format anthropicFormat `json:"output_format"`
	Config struct {
		Format anthropicFormat `json:"format"`
	} `json:"output_config"`
}

type anthropicFormat struct {
	Schema jsontext.Value `json:"schema"`
}

type anthropicBlock struct {
	Type      string         `json:"type"`
	Text      string         `json:"text"`
	ID        string         `json:"id"`
	Input     jsontext.Value `json:"input"`
	ToolUseID string         `json:"tool_use_id"`
	Content   jsontext.Value `json:"content"`
	Thinking  string         `json:"thinking"`
	Signature string         `json:"signature"`
	Data      string         `json:"data"`
}

func (k *ask) readAnthropic(body []byte) error {
	r, err := decode[anthropicRequest](body)
	if err != nil {
		return err
	}
	k.model, k.stream, k.single = r.Model, r.Stream, r.Choice.Single
	if k.choice = r.Choice.Name; k.choice == "" {
		k.choice = word2choice(r.Choice.Type)
	}
	for _, f := range []anthropicFormat{r.Format, r.Config.Format} {
		if len(f.Schema) > 0 {
			k.schema = f.Schema
		}
	}
	for _, t := range r.Tools {
		k.tools = append(k.tools, tool{t.Name, t.Schema})
	}
	if r.Max == nil && k.api == anthropicMessages {
		return bad("max_tokens: Field required")
	}
	if r.Max != nil {
		if k.max = *r.Max; k.max < 1 {
			return bad("max_tokens: must be at least 1")
		}
	}
	if _, err := k.texts(r.System); err != nil {
		return err
	}
	if len(r.Messages) == 0 {
		return bad("messages: at least one message is required")
	}
	calls := ids{}
	for i, m := range r.Messages {
		if m.Role != "user" && m.Role != "assistant" {
			return bad("messages.%d.role: must be 'user' or 'assistant'", i)
		}
		if err := k.anthropicMessage(i, m.Role, m.Content, calls); err != nil {
			return err
		}
	}
	if len(calls) > 0 {
		return bad("messages: `tool_use` ids without their `tool_result` in the next message")
	}
	return nil
}

func (k *ask) anthropicMessage(i int, role string, content jsontext.Value, calls ids) error {
	text, err := k.texts(content)
	if err != nil {
		return err
	}
	k.result = nil
	if role == "user" {
		k.said(text)
	}
	if content.Kind() != '[' {
		if len(calls) > 0 {
			return bad("messages.%d: `tool_use` ids without their `tool_result` in this message", i)
		}
		return nil
	}
	blocks, err := decode[[]anthropicBlock](content)
	if err != nil {
		return err
	}
	for j, b := range *blocks {
		switch b.Type {
		case "tool_use":
			if b.Input.Kind() != '{' {
				return bad("messages.%d.content.%d.tool_use.input: must be an object", i, j)
			}
			calls[b.ID] = true
		case "tool_result":
			if err := calls.answered("tool_use_id", b.ToolUseID); err != nil {
				return err
			}
			out, err := k.texts(b.Content)
			if err != nil {
				return err
			}
			k.result = &out
		case "thinking":
			if !signedText(b.Thinking, b.Signature) {
				return bad("messages.%d.content.%d: Invalid `signature` in `thinking` block", i, j)
			}
		case "redacted_thinking":
			if !sealed(b.Data) {
				return bad("messages.%d.content.%d: Invalid `data` in `redacted_thinking` block", i, j)
			}
		}
	}
	if role == "user" && len(calls) > 0 {
		return bad("messages.%d: `tool_use` ids without their `tool_result` in this message", i)
	}
	return nil
}

// geminiRequest is decoded without regard to case and underscores: the API takes system_instruction and systemInstruction.
type geminiRequest struct {
	Contents []geminiContent `json:"contents"`
	System   geminiContent   `json:"systemInstruction"`
	Tools    []struct {
		Functions []struct {
			Name       string         `json:"name"`
			Parameters jsontext.Value `json:"parameters"`
			Schema     jsontext.Value `json:"parametersJsonSchema"`
		} `json:"functionDeclarations"`
	} `json:"tools"`
	ToolConfig struct {
		Calling struct {
			Mode    string   `json:"mode"`
			Allowed []string `json:"allowedFunctionNames"`
		} `json:"functionCallingConfig"`
	} `json:"toolConfig"`
	Config struct {
		Max        int64          `json:"maxOutputTokens"`
		N          int            `json:"candidateCount"`
		Schema     jsontext.Value `json:"responseSchema"`
		JSONSchema jsontext.Value `json:"responseJsonSchema"`
	} `json:"generationConfig"`
	// of embedContent and countTokens
	Content  *geminiContent  `json:"content"`
	Dims     int             `json:"outputDimensionality"`
	Generate *geminiRequest  `json:"generateContentRequest"`
	Requests []geminiRequest `json:"requests"`
}

type geminiContent struct {
	Role  string `json:"role"`
	Parts []struct {
		Text    *string        `json:"text"`
		Thought bool           `json:"thought"`
		Sig     string         `json:"thoughtSignature"`
		Call    jsontext.Value `json:"functionCall"`
		Result  *struct {
			Name     string         `json:"name"`
			Response jsontext.Value `json:"response"`
		} `json:"functionResponse"`
	} `json:"parts"`
}

func (k *ask) readGemini(body []byte) error {
	r, err := decode[geminiRequest](body, json.MatchCaseInsensitiveNames(true))
	if err != nil {
		return err
	}
	switch k.api {
	case geminiEmbed:
		r.Requests = []geminiRequest{*r}
		fallthrough
	case geminiEmbedBatch:
		for _, q := range r.Requests {
			if q.Content == nil {
				return bad("content is required")
			}
			k.dims = q.Dims
			k.inputs = append(k.inputs, k.geminiTexts(*q.Content))
		}
		return nil
	}
	if r.Generate != nil {
		r = r.Generate
	}
	if len(r.Contents) == 0 {
		return bad("contents is required")
	}
	k.max, k.n, k.schema = r.Config.Max, r.Config.N, r.Config.JSONSchema
	if len(k.schema) == 0 {
		k.schema = r.Config.Schema
	}
	for _, t := range r.Tools {
		for _, f := range t.Functions {
			if len(f.Schema) == 0 {
				f.Schema = f.Parameters
			}
			k.tools = append(k.tools, tool{f.Name, f.Schema})
		}
	}
	if k.choice = word2choice(r.ToolConfig.Calling.Mode); k.choice == "any" && len(r.ToolConfig.Calling.Allowed) == 1 {
		k.choice = r.ToolConfig.Calling.Allowed[0]
	}
	k.geminiTexts(r.System)
	for i, c := range r.Contents {
		if err := k.geminiTurn(i, c); err != nil {
			return err
		}
	}
	return nil
}

func (k *ask) geminiTurn(i int, c geminiContent) error {
	text := k.geminiTexts(c)
	k.result = nil
	switch c.Role {
	case "user", "", "function":
		k.said(text)
	case "model":
	default:
		return bad("A role must be user or model.")
	}
	if len(c.Parts) == 0 {
		return bad("contents[%d].parts must not be empty.", i)
	}
	for _, p := range c.Parts {
		if p.Sig != "" && !sealed(p.Sig) {
			return bad("Thought signature is not valid.")
		}
		if p.Result == nil {
			continue
		}
		if p.Result.Response.Kind() != '{' {
			return bad("Invalid value at 'contents[%d].parts.function_response.response'", i)
		}
		var known struct {
			Result jsontext.Value `json:"result"`
			Output jsontext.Value `json:"output"`
		}
		out := string(p.Result.Response)
		if json.Unmarshal(p.Result.Response, &known) == nil {
			for _, v := range []jsontext.Value{known.Result, known.Output} {
				if s, err := k.texts(v); err == nil && s != "" {
					out = s
				}
			}
		}
		k.result = &out
	}
	return nil
}

func (k *ask) geminiTexts(c geminiContent) string {
	var all []string
	for _, p := range c.Parts {
		if p.Text != nil {
			k.size += len(*p.Text)
			if !p.Thought {
				all = append(all, *p.Text)
			}
		}
	}
	return strings.Join(all, "\n")
}
