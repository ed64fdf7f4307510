package mock

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// api is one of the vendors' operations.
type api uint8

const (
	noAPI api = iota
	openaiChat
	openaiText
	openaiResponses
	openaiEmbeddings
	anthropicMessages
	anthropicCount
	geminiGenerate
	geminiStream
	geminiCount
	geminiEmbed
	geminiEmbedBatch
)

var apiNames = [...]string{
	"", "openai.chat", "openai.completions", "openai.responses", "openai.embeddings",
	"anthropic.messages", "anthropic.count_tokens", "gemini.generateContent", "gemini.streamGenerateContent",
	"gemini.countTokens", "gemini.embedContent", "gemini.batchEmbedContents",
}

func (a api) String() string { return apiNames[a] }

// vendor is whose conventions (errors, headers) an answer follows.
type vendor uint8

const (
	openai vendor = iota
	anthropic
	gemini
)

func (a api) vendor() vendor {
	switch a {
	case anthropicMessages, anthropicCount:
		return anthropic
	case geminiGenerate, geminiStream, geminiCount, geminiEmbed, geminiEmbedBatch:
		return gemini
	default:
		return openai
	}
}

// ask is what the models want to know of a request, whatever its vendor.
type ask struct {
	api      api
	model    string
	stream   bool
	sse      bool // Gemini: events, not an array
	usage    bool // OpenAI: the client asked for usage in the stream
	prompt   string
	size     int // bytes of text in the whole conversation
	tools    []tool
	choice   string // "", "none", "any", or the name of the tool that must be called
	single   bool   // no parallel calls
	result   *string
	schema   jsontext.Value
	n        int
	max      int64
	inputs   []string
	dims     int
	base64   bool
	sealed   bool // Responses: encrypted reasoning is to be included
	wantSums bool // Responses: reasoning summaries are to be included
}

type tool struct {
	name   string
	schema jsontext.Value
}

// refusal is the vendor's own answer to a request it does not take.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

func bad(format string, args ...any) error { return &refusal{400, fmt.Sprintf(format, args...)} }

// decode reads body as a request of a; members it has no use for are ignored, as the vendors' newest members would be.
func decode[T any](body []byte, opts ...json.Options) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(body, v, opts...); err != nil {
		return nil, bad("the body is not a valid request: %v", err)
	}
	return v, nil
}

// texts collects the text in a content value: a string, or an array of parts with text. It reports the last text.
func (k *ask) texts(v jsontext.Value) (string, error) {
	switch v.Kind() {
	case '"':
		var s string
		if err := json.Unmarshal(v, &s); err != nil {
			return "", bad("%v", err)
		}
		k.size += len(s)
		return s, nil
	case '[':
		var parts []struct {
			Text *string `json:"text"`
		}
		if err := json.Unmarshal(v, &parts); err != nil {
			return "", bad("%v", err)
		}
		var all []string
		for _, p := range parts {
			if p.Text != nil {
				k.size += len(*p.Text)
				all = append(all, *p.Text)
			}
		}
		return strings.Join(all, "\n"), nil
	default:
		return "", nil
	}
}

// said notes the user's words; a turn that only carries tool results or images leaves the last ones.
func (k *ask) said(text string) {
	if text != "" {
		k.prompt = text
	}
}

// ids checks that tool results answer calls that were made, as every vendor does.
type ids map[string]bool

func (s ids) answered(kind, id string) error {
	if !s[id] {
		return bad("%s %q has no matching tool call before it", kind, id)
	}
	delete(s, id)
	return nil
}

type chatRequest struct {
	Model    string         `json:"model"`
	Messages []chatMessage  `json:"messages"`
	Stream   bool           `json:"stream"`
	Prompt   jsontext.Value `json:"prompt"`
	N        int            `json:"n"`
	Options  struct {
		Usage bool `json:"include_usage"`
	} `json:"stream_options"`
	Tools []struct {
		Function struct {
			Name       string         `json:"name"`
			Parameters jsontext.Value `json:"parameters"`
		} `json:"function"`
	} `json:"tools"`
	Choice   jsontext.Value `json:"tool_choice"`
	Parallel *bool          `json:"parallel_tool_calls"`
	Format   struct {
		Schema struct {
			Schema jsontext.Value `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
	Max    int64 `json:"max_tokens"`
	MaxNew int64 `json:"max_completion_tokens"`
}

type chatMessage struct {
	Role    string         `json:"role"`
	Content jsontext.Value `json:"content"`
	CallID  string         `json:"tool_call_id"`
	Calls   []struct {
		ID       string `json:"id"`
		Function struct {
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

func (k *ask) readChat(body []byte) error {
	r, err := decode[chatRequest](body)
	if err != nil {
		return err
	}
	k.model, k.stream, k.usage, k.n = r.Model, r.Stream, r.Options.Usage, r.N
	k.max, k.schema = max(r.Max, r.MaxNew), r.Format.Schema.Schema
	k.single = r.Parallel != nil && !*r.Parallel
	for _, t := range r.Tools {
		k.tools = append(k.tools, tool{t.Function.Name, t.Function.Parameters})
	}
	k.choice = choice(r.Choice)
	if k.api == openaiText {
		k.prompt, err = k.texts(r.Prompt)
		if err == nil && len(r.Prompt) == 0 {
			err = bad("you must provide a prompt")
		}
		return err
	}
	if len(r.Messages) == 0 {
		return bad("'messages' must have at least one element.")
	}
	calls := ids{}
	for i, m := range r.Messages {
		text, err := k.texts(m.Content)
		if err != nil {
			return err
		}
		k.result = nil
		switch m.Role {
		case "user":
			k.said(text)
		case "tool":
			if err := calls.answered("tool_call_id", m.CallID); err != nil {
				return err
			}
			k.result = &text
		case "assistant":
			if len(calls) > 0 {
				return bad("Each of the assistant's 'tool_calls' must be followed by a tool message with its 'tool_call_id'.")
			}
			for _, c := range m.Calls {
				calls[c.ID] = true
				if !jsontext.Value(c.Function.Arguments).IsValid() {
					return bad("messages[%d]: arguments of %s are not JSON", i, c.ID)
				}
			}
		case "system", "developer", "function":
		default:
			return bad("Invalid role: '%s'.", m.Role)
		}
	}
	if len(calls) > 0 {
		return bad("Each of the assistant's 'tool_calls' must be followed by a tool message with its 'tool_call_id'.")
	}
	return nil
}

// choice reads any vendor's tool choice: a word, or an object that names a tool or a type.
func choice(v jsontext.Value) string {
	var word string
	if v.Kind() == '"' && json.Unmarshal(v, &word) == nil {
		return word2choice(word)
	}
	var o struct {
		Type     string `json:"type"`
		Name     string `json:"name"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if v.Kind() != '{' || json.Unmarshal(v, &o) != nil {
		return ""
	}
	switch {
	case o.Function.Name != "":
		return o.Function.Name
	case o.Name != "":
		return o.Name
	default:
		return word2choice(o.Type)
	}
}

func word2choice(w string) string {
	switch strings.ToLower(w) {
	case "none":
		return "none"
	case "any", "required":
		return "any"
	default:
		return ""
	}
}

type responsesRequest struct {
	Model        string         `json:"model"`
	Input        jsontext.Value `json:"input"`
	Instructions string         `json:"instructions"`
	Stream       bool           `json:"stream"`
	Tools        []struct {
		Type       string         `json:"type"`
		Name       string         `json:"name"`
		Parameters jsontext.Value `json:"parameters"`
	} `json:"tools"`
	Choice   jsontext.Value `json:"tool_choice"`
	Parallel *bool          `json:"parallel_tool_calls"`
	Text     struct {
		Format struct {
			Schema jsontext.Value `json:"schema"`
		} `json:"format"`
	} `json:"text"`
	Max       int64    `json:"max_output_tokens"`
	Include   []string `json:"include"`
	Reasoning struct {
		Summary string `json:"summary"`
	} `json:"reasoning"`
}

func (k *ask) readResponses(body []byte) error {
	r, err := decode[responsesRequest](body)
	if err != nil {
		return err
	}
	k.model, k.stream, k.max, k.schema = r.Model, r.Stream, r.Max, r.Text.Format.Schema
	k.single = r.Parallel != nil && !*r.Parallel
	k.size += len(r.Instructions)
	k.choice = choice(r.Choice)
	k.wantSums = r.Reasoning.Summary != ""
	for _, t := range r.Tools {
		if t.Type == "function" {
			k.tools = append(k.tools, tool{t.Name, t.Parameters})
		}
	}
	for _, i := range r.Include {
		k.sealed = k.sealed || i == "reasoning.encrypted_content"
	}
	if r.Input.Kind() != '[' {
		k.prompt, err = k.texts(r.Input)
		if err == nil && len(r.Input) == 0 {
			err = bad("'input' is required.")
		}
		return err
	}
	return k.responsesItems(r.Input)
}

func (k *ask) responsesItems(input jsontext.Value) error {
	items, err := decode[[]struct {
		Type      string         `json:"type"`
		Role      string         `json:"role"`
		Content   jsontext.Value `json:"content"`
		CallID    string         `json:"call_id"`
		Output    jsontext.Value `json:"output"`
		Encrypted string         `json:"encrypted_content"`
	}](input)
	if err != nil {
		return err
	}
	calls := ids{}
	for _, i := range *items {
		text, err := k.texts(i.Content)
		if err != nil {
			return err
		}
		k.result = nil
		switch i.Type {
		case "function_call":
			calls[i.CallID] = true
		case "function_call_output":
			out, err := k.texts(i.Output)
			if err != nil {
				return err
			}
			if err := calls.answered("call_id", i.CallID); err != nil {
				return err
			}
			k.result = &out
		case "reasoning":
			if i.Encrypted != "" && !sealed(i.Encrypted) {
				return bad("The encrypted content of a reasoning item could not be verified.")
			}
		default:
			if i.Role == "user" {
				k.said(text)
			}
		}
	}
	if len(calls) > 0 {
		return bad("A function call has no function_call_output.")
	}
	return nil
}

func (k *ask) readEmbeddings(body []byte) error {
	r, err := decode[struct {
		Model    string         `json:"model"`
		Input    jsontext.Value `json:"input"`
		Dims     int            `json:"dimensions"`
		Encoding string         `json:"encoding_format"`
	}](body)
	if err != nil {
		return err
	}
	k.model, k.dims, k.base64 = r.Model, r.Dims, r.Encoding == "base64"
	if r.Input.Kind() == '"' {
		r.Input = jsontext.Value("[" + string(r.Input) + "]")
	}
	// Arrays of tokens are legal too: their text is as good as any other.
	var items []jsontext.Value
	if r.Input.Kind() != '[' || json.Unmarshal(r.Input, &items) != nil || len(items) == 0 {
		return bad("'input' must be a text, an array of texts, or tokens.")
	}
	if items[0].Kind() == '0' {
		items = []jsontext.Value{r.Input}
	}
	for _, i := range items {
		k.inputs = append(k.inputs, string(i))
		k.size += len(i)
	}
	return nil
}
