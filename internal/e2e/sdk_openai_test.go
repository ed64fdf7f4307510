package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared/constant"
)

// breaks are ways a stream can break after its first output.
var breaks = []string{"cut", "drop", "rst", "error"}

// refusals are what clients must see of an upstream's refusals.
var refusals = map[string]int{"s400": 400, "s401": 502, "s403": 502, "s404": 404, "s422": 422, "s429": 429, "s500": 502, "s503": 503, "s529": 503}

var weatherSchema = map[string]any{
	"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}, "additionalProperties": false,
}

func openAIClient(t *testing.T) openai.Client {
	g := gatewayForAll(t)
	return openai.NewClient(option.WithBaseURL(g.url+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0))
}

func chatAsk(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

func TestOpenAIGoChat(t *testing.T) {
	c := openAIClient(t)
	for _, u := range upstreams {
		t.Run(u.name+"/plain", func(t *testing.T) {
			r, err := c.Chat.Completions.New(t.Context(), chatAsk(u.name+"-echo", "grüß dich"))
			if err != nil {
				t.Fatal(err)
			}
			if r.Choices[0].Message.Content != "grüß dich" || r.Usage.CompletionTokens == 0 {
				t.Errorf("got %s", r.RawJSON())
			}
		})
		t.Run(u.name+"/stream", func(t *testing.T) {
			ask := chatAsk(u.name+"-story", "a story")
			ask.StreamOptions.IncludeUsage = openai.Bool(true)
			s := c.Chat.Completions.NewStreaming(t.Context(), ask)
			var sum openai.ChatCompletionAccumulator
			n := 0
			for ; s.Next(); n++ {
				if !sum.AddChunk(s.Current()) {
					t.Fatal("a chunk that does not fit")
				}
			}
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			if n < 5 || len(sum.Choices) != 1 || sum.Choices[0].FinishReason != "stop" || sum.Usage.CompletionTokens == 0 {
				t.Errorf("%d chunks, %+v", n, sum.ChatCompletion)
			}
		})
		t.Run(u.name+"/tools", func(t *testing.T) {
			ask := chatAsk(u.name+"-tools", "both cities, please")
			ask.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "weather", Parameters: weatherSchema})}
			r, err := c.Chat.Completions.New(t.Context(), ask)
			if err != nil {
				t.Fatal(err)
			}
			m := r.Choices[0].Message
			if len(m.ToolCalls) != 2 || !json.Valid([]byte(m.ToolCalls[1].Function.Arguments)) || m.ToolCalls[0].ID == m.ToolCalls[1].ID {
				t.Fatalf("got %s", r.RawJSON())
			}
			ask.Messages = append(ask.Messages, m.ToParam())
			for _, call := range m.ToolCalls {
				ask.Messages = append(ask.Messages, openai.ToolMessage("sunny", call.ID))
			}
			if r, err = c.Chat.Completions.New(t.Context(), ask); err != nil || r.Choices[0].Message.Content == "" {
				t.Errorf("after the results: %v, %v", r, err)
			}
		})
		t.Run(u.name+"/structured", func(t *testing.T) {
			ask := chatAsk(u.name+"-json", "a place")
			ask.ResponseFormat = openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &openai.ResponseFormatJSONSchemaParam{
				JSONSchema: openai.ResponseFormatJSONSchemaJSONSchemaParam{Name: "place", Schema: weatherSchema, Strict: openai.Bool(true)},
			}}
			r, err := c.Chat.Completions.New(t.Context(), ask)
			if err != nil {
				t.Fatal(err)
			}
			var place struct{ City *string }
			if err := json.Unmarshal([]byte(r.Choices[0].Message.Content), &place); err != nil || place.City == nil {
				t.Errorf("%v: %s", err, r.RawJSON())
			}
		})
		for _, fault := range breaks {
			t.Run(u.name+"/"+fault, func(t *testing.T) {
				s := c.Chat.Completions.NewStreaming(t.Context(), chatAsk(u.name+"-"+fault, "a story"))
				var text strings.Builder
				for s.Next() {
					if len(s.Current().Choices) > 0 {
						text.WriteString(s.Current().Choices[0].Delta.Content)
					}
				}
				if s.Err() == nil || text.Len() == 0 {
					t.Errorf("after %q: %v", text.String(), s.Err())
				}
			})
		}
		for name, status := range refusals {
			t.Run(u.name+"/"+name, func(t *testing.T) {
				_, err := c.Chat.Completions.New(t.Context(), chatAsk(u.name+"-"+name, "x"))
				var e *openai.Error
				if !errors.As(err, &e) || e.StatusCode != status || e.Message == "" {
					t.Errorf("got %v, want status %d", err, status)
				}
			})
		}
	}
}

func TestOpenAIGoResponses(t *testing.T) {
	c := openAIClient(t)
	ask := func(model, text string) responses.ResponseNewParams {
		return responses.ResponseNewParams{Model: model, Store: openai.Bool(false), Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(text)}}
	}
	for _, u := range upstreams {
		t.Run(u.name+"/plain", func(t *testing.T) {
			r, err := c.Responses.New(t.Context(), ask(u.name+"-echo", "grüß dich"))
			if err != nil || r.OutputText() != "grüß dich" || r.Usage.OutputTokens == 0 {
				t.Errorf("%v: %+v", err, r)
			}
		})
		t.Run(u.name+"/stream", func(t *testing.T) {
			s := c.Responses.NewStreaming(t.Context(), ask(u.name+"-story", "a story"))
			var text, last string
			for s.Next() {
				e := s.Current()
				last = e.Type
				if e.Type == string(constant.ValueOf[constant.ResponseOutputTextDelta]()) {
					text += e.Delta
				}
			}
			if s.Err() != nil || last != "response.completed" || len(text) < 100 {
				t.Errorf("%v, last %s, text %q", s.Err(), last, text)
			}
		})
		t.Run(u.name+"/tools", func(t *testing.T) {
			p := ask(u.name+"-tools", "both cities, please")
			p.Tools = []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{Name: "weather", Parameters: weatherSchema, Strict: param.NewOpt(true)}}}
			r, err := c.Responses.New(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			history := responses.ResponseInputParam{responses.ResponseInputItemParamOfMessage("both cities, please", responses.EasyInputMessageRoleUser)}
			calls := 0
			for _, item := range r.Output {
				if item.Type == "function_call" {
					calls++
					result := responses.ResponseInputItemParamOfFunctionCallOutput("sunny")
					result.OfFunctionCallOutput.CallID = openai.String(item.CallID)
					history = append(history, responses.ResponseInputItemParamOfFunctionCall(item.Arguments.OfString, item.CallID, item.Name), result)
				}
			}
			if calls != 2 {
				t.Fatalf("%d calls: %s", calls, r.RawJSON())
			}
			p.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: history}
			if r, err = c.Responses.New(t.Context(), p); err != nil || r.OutputText() == "" {
				t.Errorf("after the results: %v", err)
			}
		})
		for _, fault := range breaks {
			t.Run(u.name+"/"+fault, func(t *testing.T) {
				s := c.Responses.NewStreaming(t.Context(), ask(u.name+"-"+fault, "a story"))
				failed := false
				for s.Next() {
					switch s.Current().Type {
					case "response.completed":
						t.Error("completed")
					case "error", "response.failed":
						failed = true
					}
				}
				if s.Err() == nil && !failed {
					t.Error("nothing was raised")
				}
			})
		}
	}
	// State kept at a provider goes to upstreams that speak Responses, and is refused by name for others.
	for _, u := range upstreams {
		p := ask(u.name+"-echo", "x")
		p.PreviousResponseID = openai.String("resp_123")
		_, err := c.Responses.New(t.Context(), p)
		var e *openai.Error
		native := u.name == "oai" || u.name == "resp"
		if refused := errors.As(err, &e) && e.StatusCode == http.StatusBadRequest && strings.Contains(e.Message, "previous_response_id"); refused == native {
			t.Errorf("%s: previous_response_id: %v", u.name, err)
		}
	}
}
