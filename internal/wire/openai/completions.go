package openai

import (
	"bytes"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// CompletionsFormat is openai.completions, the legacy text completion, in one dialect. In the hub it is a
// chat of one bare user message; several prompts and prompts of tokens mean nothing to a chat model, so they
// travel only to an upstream of this very format.
type CompletionsFormat struct{ d Dialect }

// CompletionsIn is the completions format in a vendor's dialect. Clients always speak Completions.
func CompletionsIn(d Dialect) *CompletionsFormat { return &CompletionsFormat{d} }

// Format is llm.OpenAICompletions.
func (*CompletionsFormat) Format() llm.Format { return llm.OpenAICompletions }

// Shape is what a completions request must look like.
func (*CompletionsFormat) Shape() *wire.Shape { return completionsShape }

var completionsShape = wire.Object(
	wire.Req("model", wire.Str().Len(1, 0)).Mark(llm.MarkModel),
	wire.Req("prompt", wire.Either(wire.Str(), wire.Array(tokenOrText()).Len(1, 0))).Mark(llm.MarkPrompt),
	wire.Opt("stream", wire.Bool().OrNull()).Mark(llm.MarkStream),
	wire.Opt("stream_options", streamOptionsShape()).Mark(llm.MarkStreamOptions),
	wire.Opt("max_tokens", wire.Int(0, mostTokens).OrNull()).Mark(llm.MarkMaxOutputOld), // 0 goes with echo
	wire.Opt("n", wire.Int(1, mostN).OrNull()).Mark(llm.MarkN),
	wire.Opt("best_of", wire.Int(1, mostN).OrNull()).Mark(llm.MarkBestOf),
	wire.Opt("echo", wire.Bool().OrNull()),
	wire.Opt("suffix", wire.Str().OrNull()),
	wire.Opt("logprobs", wire.Int(0, 20).OrNull()), // OpenAI 5; vLLM and others more
	wire.Opt("logit_bias", wire.Map().OrNull()),
	wire.Opt("temperature", wire.Num(0, 2).OrNull()),
	wire.Opt("top_p", wire.Num(0, 1).OrNull()),
	wire.Opt("top_k", wire.Int(-1, mostTokens).OrNull()),
	wire.Opt("min_p", wire.Num(0, 1).OrNull()),
	wire.Opt("frequency_penalty", wire.Num(-2, 2).OrNull()),
	wire.Opt("presence_penalty", wire.Num(-2, 2).OrNull()),
	wire.Opt("seed", wire.Int(-1<<63, 1<<63).OrNull()),
	wire.Opt("stop", stopShape()),
	wire.Opt("user", wire.Str().OrNull()),
)

// tokenOrText is an item of a prompt or input: a text, a token, or a list of tokens.
func tokenOrText() *wire.Shape {
	token := func() *wire.Shape { return wire.Int(0, 1<<31) }
	return wire.Either(wire.Str(), token(), wire.Array(token()).Len(1, 0))
}

// Open fills the call from the scanned body.
func (*CompletionsFormat) Open(call *llm.Call, _ *http.Request, s *wire.Scanned) error {
	call.Op = llm.OpChat
	openCommon(call, s)
	call.Choices *= prompts(s.Member(llm.MarkPrompt)) // each has n answers of its own
	return nil
}

// prompts counts the prompts of a request: one text, one list of tokens, or a list of either.
func prompts(prompt []byte) int64 {
	d := jsontext.NewDecoder(bytes.NewReader(prompt))
	if d.PeekKind() != '[' {
		return 1
	}
	_, _ = d.ReadToken()
	if d.PeekKind() == '0' {
		return 1
	}
	n := int64(0)
	for d.PeekKind() != ']' {
		if d.SkipValue() != nil {
			break // it has passed the scan
		}
		n++
	}
	return max(n, 1)
}

type completionRequest struct {
	Model         string         `json:"model"`
	Prompt        llm.Raw        `json:"prompt"`
	Stream        bool           `json:"stream,omitzero"`
	StreamOptions *streamOptions `json:"stream_options,omitzero"`

	MaxTokens        *whole      `json:"max_tokens,omitzero"`
	N                *whole      `json:"n,omitzero"`
	BestOf           *whole      `json:"best_of,omitzero"`
	Echo             *bool       `json:"echo,omitzero"`
	Suffix           *string     `json:"suffix,omitzero"`
	Logprobs         *whole      `json:"logprobs,omitzero"`
	LogitBias        llm.Raw     `json:"logit_bias,omitzero"`
	Temperature      *float64    `json:"temperature,omitzero"`
	TopP             *float64    `json:"top_p,omitzero"`
	TopK             *whole      `json:"top_k,omitzero"`
	MinP             *float64    `json:"min_p,omitzero"`
	FrequencyPenalty *float64    `json:"frequency_penalty,omitzero"`
	PresencePenalty  *float64    `json:"presence_penalty,omitzero"`
	Seed             *whole      `json:"seed,omitzero"`
	Stop             stops       `json:"stop,omitzero"`
	User             *string     `json:"user,omitzero"`
	Extra            llm.Members `json:",embed"`
}

// Decode gives the meaning of a completions request. What only this format has stays in Extra.
func (*CompletionsFormat) Decode(body []byte) (llm.Payload, error) {
	var q completionRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not a completions request", Err: err}
	}
	c := &llm.Chat{
		Format: llm.OpenAICompletions, Completion: true, Extra: keep(q.Extra), Messages: []llm.Message{},
		MaxOutput: q.MaxTokens.int64(), N: q.N.int64(), LogitBias: object(q.LogitBias),
		Temperature: q.Temperature, TopP: q.TopP, TopK: q.TopK.int64(), MinP: q.MinP,
		FrequencyPenalty: q.FrequencyPenalty, PresencePenalty: q.PresencePenalty, Seed: q.Seed.int64(),
		Stop: q.Stop, User: deref(q.User),
	}
	if text, ok := onePrompt(q.Prompt); ok {
		c.Messages = append(c.Messages, llm.Message{Role: llm.RoleUser, At: "/prompt", Parts: []llm.Part{{Text: text, At: "/prompt"}}})
	} else {
		c.Extra = with(c.Extra, "prompt", q.Prompt)
	}
	if q.Logprobs != nil {
		c.Logprobs, c.TopLogprobs = ptr(true), q.Logprobs.int64()
	}
	if b := q.BestOf; b != nil && *b > 1 {
		c.Extra = with(c.Extra, "best_of", raw(int64(*b)))
	}
	if deref(q.Echo) {
		c.Extra = with(c.Extra, "echo", llm.Raw("true"))
	}
	if deref(q.Suffix) != "" {
		c.Extra = with(c.Extra, "suffix", raw(*q.Suffix))
	}
	return c, nil
}

// onePrompt gives a prompt that is one text, also as the only item of a list.
func onePrompt(v llm.Raw) (string, bool) {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text, true
	}
	var list []string
	if json.Unmarshal(v, &list) == nil && len(list) == 1 {
		return list[0], true
	}
	return "", false
}

// Encode writes a completion as a completions request. A conversation has no place in one.
func (c *CompletionsFormat) Encode(p llm.Payload, e *llm.Encoding) ([]byte, error) {
	chat, ok := p.(*llm.Chat)
	if !ok || !chat.Completion {
		return nil, wrongPayload(llm.OpenAICompletions)
	}
	q := completionRequest{
		Model: e.Model, Stream: e.Stream, Prompt: chat.Extra["prompt"],
		MaxTokens: wholePtr(chat.MaxOutput), N: wholePtr(chat.N), LogitBias: chat.LogitBias,
		Temperature: chat.Temperature, TopP: chat.TopP, TopK: wholePtr(chat.TopK), MinP: chat.MinP,
		FrequencyPenalty: chat.FrequencyPenalty, PresencePenalty: chat.PresencePenalty, Seed: wholePtr(chat.Seed),
		Stop: chat.Stop, Extra: without(chat.Extra, "prompt"),
	}
	if e.Stream && !c.d.NoStreamOptions {
		q.StreamOptions = &streamOptions{IncludeUsage: true}
	}
	if chat.User != "" {
		q.User = &chat.User
	}
	if deref(chat.Logprobs) {
		q.Logprobs = ptr(whole(deref(chat.TopLogprobs)))
	}
	if q.Prompt == nil {
		text := ""
		for _, m := range chat.Messages {
			for _, part := range m.Parts {
				text += part.Text
			}
		}
		q.Prompt = raw(text)
	}
	return marshal(&q)
}

// Retarget gives a completions body the target's model and, in a stream, the wish for usage.
func (c *CompletionsFormat) Retarget(raw []byte, m *llm.Marks, e *llm.Encoding) [][]byte {
	return retarget(raw, m, e, !c.d.NoStreamOptions)
}

// ReadAnswer reads a whole answer.
func (c *CompletionsFormat) ReadAnswer(body []byte, raw bool) (*llm.Event, error) {
	return readAnswer(body, raw, llm.OpenAICompletions, c.d.HiddenThoughts)
}

// ReadStream reads a streamed answer.
func (c *CompletionsFormat) ReadStream(body io.ReadCloser, raw bool) llm.Stream {
	return newStream(body, raw, llm.OpenAICompletions, c.d.HiddenThoughts)
}

// ReadError classifies a refusal.
func (*CompletionsFormat) ReadError(status int, h http.Header, body []byte) *llm.Error {
	return readError(status, h, body)
}

// Answer writes a whole answer.
func (*CompletionsFormat) Answer(call *llm.Call, a *llm.Answer) ([]byte, error) {
	return writeAnswer(call, a, true)
}

// Writer starts a streamed answer.
func (*CompletionsFormat) Writer(call *llm.Call) wire.Writer { return newWriter(call, true) }

// Error gives the status and body of a failure before the first byte.
func (*CompletionsFormat) Error(e *llm.Error, requestID string) (int, []byte) {
	return errorAnswer(e, requestID)
}

func runeCount(s string) int { return utf8.RuneCountInString(s) }

// legacyLogprobs is the completions form of log probabilities.
type legacyLogprobs struct {
	TextOffset    []int                `json:"text_offset"`
	TokenLogprobs []float64            `json:"token_logprobs"`
	Tokens        []string             `json:"tokens"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
}

// completionLogprobs turns chat's log probabilities into the completions form; offset is where the text
// begins. An upstream of the completions format sent them in that form already.
func completionLogprobs(v llm.Raw, offset int) llm.Raw {
	if v == nil {
		return nil
	}
	var chat struct {
		Content []struct {
			Token   string  `json:"token"`
			Logprob float64 `json:"logprob"`
			Top     []struct {
				Token   string  `json:"token"`
				Logprob float64 `json:"logprob"`
			} `json:"top_logprobs"`
		} `json:"content"`
	}
	if json.Unmarshal(v, &chat, readOptions) != nil || chat.Content == nil {
		return v
	}
	var out legacyLogprobs
	for _, t := range chat.Content {
		out.Tokens = append(out.Tokens, t.Token)
		out.TokenLogprobs = append(out.TokenLogprobs, t.Logprob)
		out.TextOffset = append(out.TextOffset, offset)
		offset += runeCount(t.Token)
		top := make(map[string]float64, len(t.Top))
		for _, o := range t.Top {
			top[o.Token] = o.Logprob
		}
		out.TopLogprobs = append(out.TopLogprobs, top)
	}
	return raw(out)
}
