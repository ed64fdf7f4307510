package e2e

import (
	"errors"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

func TestAnthropicGo(t *testing.T) {
	g := gatewayForAll(t)
	c := anthropic.NewClient(option.WithBaseURL(g.url), option.WithAPIKey(key), option.WithMaxRetries(0))
	ask := func(model, text string) anthropic.MessageNewParams {
		return anthropic.MessageNewParams{Model: model, MaxTokens: 2000, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(text))}}
	}
	stream := func(t *testing.T, p anthropic.MessageNewParams) (anthropic.Message, int, error) {
		s := c.Messages.NewStreaming(t.Context(), p)
		var m anthropic.Message
		n := 0
		for ; s.Next(); n++ {
			if err := m.Accumulate(s.Current()); err != nil {
				return m, n, err
			}
		}
		return m, n, s.Err()
	}
	for _, u := range upstreams {
		t.Run(u.name+"/plain", func(t *testing.T) {
			m, err := c.Messages.New(t.Context(), ask(u.name+"-echo", "grüß dich"))
			if err != nil || m.Content[0].Text != "grüß dich" || m.StopReason != anthropic.StopReasonEndTurn || m.Usage.OutputTokens == 0 {
				t.Errorf("%v: %+v", err, m)
			}
		})
		t.Run(u.name+"/stream", func(t *testing.T) {
			m, n, err := stream(t, ask(u.name+"-story", "a story"))
			if err != nil || n < 5 || len(m.Content) != 1 || len(m.Content[0].Text) < 100 || m.StopReason != anthropic.StopReasonEndTurn || m.Usage.OutputTokens == 0 {
				t.Errorf("%v, %d events: %+v", err, n, m)
			}
		})
		t.Run(u.name+"/tools", func(t *testing.T) {
			p := ask(u.name+"-tools", "both cities, please")
			p.Tools = []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{Name: "weather", InputSchema: anthropic.ToolInputSchemaParam{Properties: weatherSchema["properties"], Required: []string{"city"}}}}}
			m, _, err := stream(t, p)
			if err != nil {
				t.Fatal(err)
			}
			var results []anthropic.ContentBlockParamUnion
			for _, b := range m.Content {
				if b.Type == "tool_use" {
					results = append(results, anthropic.NewToolResultBlock(b.ID, "sunny", false))
				}
			}
			if len(results) != 2 || m.StopReason != anthropic.StopReasonToolUse {
				t.Fatalf("%d calls, %s", len(results), m.StopReason)
			}
			p.Messages = append(p.Messages, m.ToParam(), anthropic.NewUserMessage(results...))
			if m, err := c.Messages.New(t.Context(), p); err != nil || len(m.Content) == 0 || m.Content[0].Text == "" {
				t.Errorf("after the results: %v, %+v", err, m)
			}
		})
		t.Run(u.name+"/thinking", func(t *testing.T) {
			p := ask(u.name+"-reason", "why?")
			p.Thinking = anthropic.ThinkingConfigParamOfEnabled(1024)
			m, _, err := stream(t, p)
			if err != nil {
				t.Fatal(err)
			}
			p.Messages = append(p.Messages, m.ToParam(), anthropic.NewUserMessage(anthropic.NewTextBlock("and then?")))
			if _, err := c.Messages.New(t.Context(), p); err != nil {
				t.Errorf("carried back: %v", err)
			}
		})
		for _, fault := range breaks {
			t.Run(u.name+"/"+fault, func(t *testing.T) {
				if m, _, err := stream(t, ask(u.name+"-"+fault, "a story")); err == nil || len(m.Content) == 0 {
					t.Errorf("after %+v: %v", m.Content, err)
				}
			})
		}
		for name, status := range refusals {
			t.Run(u.name+"/"+name, func(t *testing.T) {
				_, err := c.Messages.New(t.Context(), ask(u.name+"-"+name, "x"))
				var e *anthropic.Error
				if !errors.As(err, &e) || e.StatusCode != status {
					t.Errorf("got %v, want status %d", err, status)
				}
			})
		}
	}
	n, err := c.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{Model: "ant-echo", Messages: ask("", "one two three").Messages})
	if err != nil || n.InputTokens == 0 {
		t.Errorf("count: %v, %+v", err, n)
	}
}
