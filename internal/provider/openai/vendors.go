package openai

import (
	"slices"

	"sluice/internal/llm"
	wireopenai "sluice/internal/wire/openai"
)

// A vendor is one row: where it is, how it is spoken to, and what its chat format lacks. Its page is named in
// front of the row. "Recorded" is what recorded traffic of the vendor shows, which the tests replay. "Not seen"
// is the rest: from the page or from general knowledge, and never tried here against the vendor itself.
type vendor struct {
	name     string
	base     string // "": there is no address of its own, so base_url must be configured
	baseHint string
	auth     authForm
	noKey    bool         // works without a credential
	formats  []llm.Format // that it speaks; a call in another goes in chat, or, without chat, in responses
	owns     []string     // globs of model names that are its own when nothing else is configured
	dialect  wireopenai.Dialect
}

// An authForm is where the credential goes.
type authForm uint8

const (
	bearer    authForm = iota // Authorization: Bearer
	keyHeader                 // api-key
)

func (v *vendor) speaks(f llm.Format) bool { return slices.Contains(v.formats, f) }

// Shorthands for the table.
const (
	chat        = llm.OpenAIChat
	responsesF  = llm.OpenAIResponses
	completions = llm.OpenAICompletions
	embeddings  = llm.OpenAIEmbeddings
)

// openAIOnly are members that only OpenAI is known to take: servers that check their input refuse them.
var openAIOnly = []string{"store", "metadata", "prompt_cache_key", "verbosity", "allowed_tools"}

func lacking(more ...string) []string { return append(slices.Clone(openAIOnly), more...) }

var vendors = []vendor{
	// https://platform.openai.com/docs/api-reference
	// Recorded: chat, Responses and embeddings, streams, tools, reasoning, refusals. Not seen: completions
	// and the names of its models.
	{
		name: "openai", base: "https://api.openai.com/v1",
		formats: []llm.Format{chat, responsesF, completions, embeddings},
		owns: []string{
			"gpt-*", "chatgpt-*", "o1", "o1-*", "o3", "o3-*", "o4-*", "codex-*", "computer-use-*",
			"text-embedding-3-*", "text-embedding-ada-*", "davinci-002", "babbage-002", "ft:*",
		},
	},
	// https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
	// Recorded: chat on /openai/v1 and on older paths, a stream with tools, content filters, a refusal. Not
	// seen: the other formats.
	{
		name: "azure", baseHint: "write https://RESOURCE.openai.azure.com/openai/v1", auth: keyHeader,
		formats: []llm.Format{chat, responsesF, completions, embeddings},
	},
	// https://openrouter.ai/docs/api-reference/overview, .../use-cases/reasoning-tokens
	// Recorded: chat, streams with comments, tools, reasoning_details, max_completion_tokens, usage.include, an
	// error within a stream, 400 and 429. Not seen: Responses, completions, embeddings, Takes and Lacks.
	{
		name: "openrouter", base: "https://openrouter.ai/api/v1",
		formats: []llm.Format{chat, responsesF, completions, embeddings},
		owns:    []string{"openrouter/*"},
		dialect: wireopenai.Dialect{
			Reasoning: wireopenai.ReasoningDetails,
			Takes:     []string{"top_k", "min_p", "cache_control", "file_url"},
			Lacks:     []string{"store", "metadata", "n"},
		},
	},
	// https://console.groq.com/docs/openai, https://console.groq.com/docs/api-reference
	// Recorded: chat, streams with tools and parallel calls, x_groq, n 1, an error within a stream, a refusal.
	// Not seen: Responses, NoDeveloper and Lacks.
	{
		name: "groq", base: "https://api.groq.com/openai/v1",
		formats: []llm.Format{chat, responsesF},
		owns:    []string{"groq/*", "moonshotai/kimi-*", "llama-3.*-*"},
		dialect: wireopenai.Dialect{
			NoDeveloper: true,
			Lacks:       lacking("logprobs", "top_logprobs", "logit_bias", "messages.name", "n", "file"),
		},
	},
	// https://api-docs.deepseek.com/api/create-chat-completion, .../guides/thinking_mode: a turn that called
	// tools must come back with its reasoning_content, or the call is refused.
	// Recorded: chat with reasoning_content and reasoning_effort, a refusal. Not seen: the rest of the
	// dialect, streams included.
	{
		name: "deepseek", base: "https://api.deepseek.com",
		formats: []llm.Format{chat},
		owns:    []string{"deepseek-*"},
		dialect: wireopenai.Dialect{
			MaxTokens: true, NoDeveloper: true, FlatText: true, Reasoning: wireopenai.ReasoningContent, ThinkingSwitch: true,
			Lacks: lacking("seed", "n", "logit_bias", "json_schema", "parallel_tool_calls", "service_tier", "file"),
		},
	},
	// https://docs.mistral.ai/api: unknown members are refused with 422 (extra_forbidden). Usage comes in the
	// last chunk unasked.
	// Recorded: a stream with tools that told usage unasked, tool_choice "any", a refusal. Not seen:
	// embeddings and the rest of the dialect (ShortIDs, random_seed, Lacks).
	{
		name: "mistral", base: "https://api.mistral.ai/v1",
		formats: []llm.Format{chat, embeddings},
		owns:    []string{"mistral-*", "ministral-*", "magistral-*", "codestral-*", "devstral-*", "pixtral-*", "open-mistral-*", "open-mixtral-*"},
		dialect: wireopenai.Dialect{
			NoStreamOptions: true, MaxTokens: true, NoDeveloper: true, Seed: "random_seed", ShortIDs: true,
			Lacks: lacking("user", "logprobs", "top_logprobs", "logit_bias", "messages.name", "service_tier", "file"),
		},
	},
	// https://docs.x.ai/developers/rest-api-reference/inference. Reasoning is counted beside the completion.
	// Recorded: only a refusal by its Responses. Not seen: all else; Lacks is among the least certain.
	{
		name: "xai", base: "https://api.x.ai/v1",
		formats: []llm.Format{chat, responsesF, completions, embeddings},
		owns:    []string{"grok-*"},
		dialect: wireopenai.Dialect{Lacks: lacking("logit_bias", "service_tier", "file")},
	},
	// https://docs.together.ai/docs/inference/openai-compatibility
	// Recorded: nothing. Not seen: all of it; Lacks is among the least certain.
	{
		name: "together", base: "https://api.together.ai/v1",
		formats: []llm.Format{chat, completions, embeddings},
		dialect: wireopenai.Dialect{
			MaxTokens: true, NoDeveloper: true, Takes: []string{"top_k", "min_p"},
			Lacks: lacking("user", "service_tier", "parallel_tool_calls", "file"),
		},
	},
	// https://docs.fireworks.ai/tools-sdks/openai-compatibility. Usage comes in the last chunk either way.
	// Recorded: nothing. Not seen: all of it; Lacks is among the least certain.
	{
		name: "fireworks", base: "https://api.fireworks.ai/inference/v1",
		formats: []llm.Format{chat, responsesF, completions, embeddings},
		owns:    []string{"accounts/fireworks/*"},
		dialect: wireopenai.Dialect{
			MaxTokens: true, NoDeveloper: true, Reasoning: wireopenai.ReasoningContent,
			Takes: []string{"top_k", "min_p"}, Lacks: lacking("service_tier", "file"),
		},
	},
	// https://docs.perplexity.ai/docs/agent-api/openai-compatibility. Its chat completions (Sonar) ended on
	// 27 September 2026; everything goes through the Responses format.
	// Recorded: nothing. Not seen: all of it.
	{
		name: "perplexity", base: "https://api.perplexity.ai/v1",
		formats: []llm.Format{responsesF},
		owns:    []string{"perplexity/*"},
	},
	// https://inference-docs.cerebras.ai/resources/openai
	// Recorded: nothing. Not seen: all of it.
	{
		name: "cerebras", base: "https://api.cerebras.ai/v1",
		formats: []llm.Format{chat, completions},
		dialect: wireopenai.Dialect{
			NoDeveloper: true,
			Lacks:       lacking("frequency_penalty", "presence_penalty", "logit_bias", "service_tier", "n", "file"),
		},
	},
	// https://docs.cohere.com/docs/compatibility-api, "unsupported parameters"
	// Recorded: nothing of this API (one call of its own v2 API). Not seen: all of it.
	{
		name: "cohere", base: "https://api.cohere.ai/compatibility/v1",
		formats: []llm.Format{chat, embeddings},
		owns:    []string{"command-*", "c4ai-*", "embed-*"},
		dialect: wireopenai.Dialect{
			MaxTokens: true,
			Lacks:     lacking("logit_bias", "top_logprobs", "n", "service_tier", "parallel_tool_calls", "user", "file"),
		},
	},
	// https://docs.ollama.com/api/openai-compatibility
	// Recorded: nothing of this API (one call of its own). Not seen: all of it.
	{
		name: "ollama", base: "http://localhost:11434/v1", noKey: true,
		formats: []llm.Format{chat, responsesF, completions, embeddings},
		dialect: wireopenai.Dialect{
			MaxTokens: true, NoDeveloper: true,
			Lacks: lacking("n", "user", "logit_bias", "parallel_tool_calls", "service_tier", "file"),
		},
	},
	// https://docs.vllm.ai/en/stable/serving/openai_compatible_server/
	// Recorded: nothing. Not seen: all of it.
	{
		name: "vllm", base: "http://localhost:8000/v1", noKey: true,
		formats: []llm.Format{chat, responsesF, completions, embeddings},
		dialect: wireopenai.Dialect{
			NoDeveloper: true, Takes: []string{"top_k", "min_p"}, Lacks: lacking("service_tier", "file"),
		},
	},
	// https://lmstudio.ai/docs/developer/openai-compat
	// Recorded: nothing. Not seen: all of it; Lacks is among the least certain.
	{
		name: "lmstudio", base: "http://localhost:1234/v1", noKey: true,
		formats: []llm.Format{chat, responsesF, completions, embeddings},
		dialect: wireopenai.Dialect{
			MaxTokens: true, NoDeveloper: true, Takes: []string{"top_k"},
			Lacks: lacking("n", "user", "logprobs", "top_logprobs", "service_tier", "parallel_tool_calls", "file"),
		},
	},
	// https://ai.google.dev/gemini-api/docs/openai. The gemini provider speaks to the same models natively
	// and carries more; this row is for those who want Google's own translation.
	// Recorded: nothing of this API (Gemini's own only). Not seen: all of it; Lacks is among the least
	// certain.
	{
		name: "gemini-openai", base: "https://generativelanguage.googleapis.com/v1beta/openai",
		formats: []llm.Format{chat, embeddings},
		dialect: wireopenai.Dialect{
			GeminiSignatures: true, HiddenThoughts: true, NoDeveloper: true,
			Lacks: lacking("logprobs", "top_logprobs", "logit_bias", "seed", "user", "service_tier", "parallel_tool_calls", "messages.name", "file"),
		},
	},
}

func vendorOf(name string) *vendor {
	for i := range vendors {
		if vendors[i].name == name {
			return &vendors[i]
		}
	}
	return nil
}

// Vendors names the rows, OpenAI first.
func Vendors() []string {
	names := make([]string, len(vendors))
	for i := range vendors {
		names[i] = vendors[i].name
	}
	return names
}

// Owned are globs of the model names that a vendor serves when nothing else is configured; none for those
// that serve anybody's models.
func Owned(vendor string) []string {
	if v := vendorOf(vendor); v != nil {
		return slices.Clone(v.owns)
	}
	return nil
}
