package app

import (
	"net/http"
	"strings"

	"sluice/internal/gateway"
	"sluice/internal/llm"
	anthropicapi "sluice/internal/provider/anthropic"
	geminiapi "sluice/internal/provider/gemini"
	openaiapi "sluice/internal/provider/openai"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/gemini"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
)

// endpoints are the paths that take calls, and the wire format of each.
var endpoints = []gateway.Endpoint{
	gateway.At("/v1/chat/completions", openai.Chat),
	gateway.At("/v1/completions", openai.Completions),
	gateway.At("/v1/embeddings", openai.Embeddings),
	gateway.At("/v1/responses", responses.Responses),
	gateway.At("/v1/messages", anthropic.Messages),
	gateway.At("/v1/messages/count_tokens", anthropic.CountTokens),
	{Path: "/v1beta/models/{rest...}", Format: geminiFormat},
	{Path: "/v1/models/{rest...}", Format: geminiFormat}, // where Google's newest SDKs call
}

func geminiFormat(r *http.Request) (wire.Format, bool) {
	f, _, _, ok := gemini.Route(r.PathValue("rest"))
	return f, ok
}

// lists are the paths that name models.
var lists = []gateway.List{
	{Path: "/v1/models", Errors: openai.Chat, Write: writeModels},
	{Path: "/v1/models/{rest...}", Errors: openai.Chat, Write: writeModels},
	{Path: "/v1beta/models", Errors: gemini.Generate, Write: writeGeminiModels},
	{Path: "/v1beta/models/{rest...}", Errors: gemini.Generate, Write: writeGeminiModels},
}

// errorFormat is the format in which errors are told on a path that is no endpoint.
func errorFormat(path string) wire.Format {
	switch {
	case strings.HasPrefix(path, "/v1/messages"):
		return anthropic.Messages
	case strings.HasPrefix(path, "/v1beta/"):
		return gemini.Generate
	}
	return openai.Chat
}

// An upstreamSpec is what a provider is made of.
type upstreamSpec struct {
	name      string
	kind      string
	baseURL   string
	headers   http.Header
	transport llm.Transport
}

// kinds are the provider protocols by name. Every vendor row of provider/openai is a kind, too.
var kinds = func() map[string]func(upstreamSpec) (llm.Provider, error) {
	m := map[string]func(upstreamSpec) (llm.Provider, error){
		"anthropic": func(u upstreamSpec) (llm.Provider, error) {
			return anthropicapi.New(anthropicapi.Options{Name: u.name, BaseURL: u.baseURL, Headers: u.headers, Transport: u.transport})
		},
		"gemini": func(u upstreamSpec) (llm.Provider, error) {
			return geminiapi.New(geminiapi.Options{Name: u.name, BaseURL: u.baseURL, Headers: u.headers, Transport: u.transport})
		},
	}
	for _, vendor := range openaiapi.Vendors() {
		m[vendor] = func(u upstreamSpec) (llm.Provider, error) {
			return openaiapi.New(openaiapi.Options{Name: u.name, Vendor: u.kind, BaseURL: u.baseURL, Headers: u.headers, Transport: u.transport})
		}
	}
	return m
}()
