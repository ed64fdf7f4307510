package app

import (
	"bytes"
	"context"
	"io"

	"sluice/internal/llm"
	openaiapi "sluice/internal/provider/openai"
	"sluice/internal/usage"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/gemini"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
)

// talks are the formats of conversations.
var talks = map[llm.Format]interface {
	wire.Format
	wire.Upstream
}{
	llm.OpenAIChat: openai.Chat, llm.OpenAICompletions: openai.Completions, llm.OpenAIResponses: responses.Responses,
	llm.AnthropicMessages: anthropic.Messages, llm.GeminiGenerate: gemini.Generate,
}

// counting gives a func that counts what an upstream did not tell: the tokens of a request and of its answer.
func counting() func(ctx context.Context, s *usage.Sample) (input, output int64, err error) {
	t := openaiapi.NewTokenizer()
	return func(ctx context.Context, s *usage.Sample) (input, output int64, err error) {
		if f, ok := talks[s.Format]; ok && s.Request != nil {
			p, err := f.Decode(s.Request)
			if err != nil {
				return 0, 0, err
			}
			if chat, ok := p.(*llm.Chat); ok {
				if input, err = t.Chat(ctx, chat); err != nil {
					return 0, 0, err
				}
			}
		}
		f, ok := talks[s.Answered]
		if !ok {
			return 0, 0, llm.Errorf(llm.KindUnsupported, "answers of the format %s cannot be counted", s.Answered)
		}
		answer, err := readSample(f, s)
		if err != nil {
			return 0, 0, err
		}
		for i := range answer.Choices {
			n, err := t.Parts(ctx, answer.Choices[i].Parts)
			if err != nil {
				return 0, 0, err
			}
			output += n
		}
		return input, output, nil
	}
}

// readSample reads an answer again, this time for what it says.
func readSample(f wire.Upstream, s *usage.Sample) (*llm.Answer, error) {
	answer := &llm.Answer{}
	if !s.Stream {
		ev, err := f.ReadAnswer(s.Answer, false)
		if err == nil {
			answer.Add(ev)
		}
		return answer, err
	}
	stream := f.ReadStream(io.NopCloser(bytes.NewReader(s.Answer)), false)
	defer stream.Close()
	for {
		ev, err := stream.Next()
		switch {
		case err == io.EOF:
			return answer, nil
		case err != nil && len(answer.Choices) > 0:
			return answer, nil // the sample may end before the answer did
		case err != nil:
			return nil, err
		}
		answer.Add(ev)
	}
}
