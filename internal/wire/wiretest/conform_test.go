package wiretest_test

import (
	"testing"

	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/gemini"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

func TestChat(t *testing.T)      { wiretest.Run(t, openai.Chat, openai.Chat) }
func TestResponses(t *testing.T) { wiretest.Run(t, responses.Responses, responses.Responses) }
func TestMessages(t *testing.T)  { wiretest.Run(t, anthropic.Messages, anthropic.Messages) }
func TestGenerate(t *testing.T)  { wiretest.Run(t, gemini.Generate, gemini.Generate) }
