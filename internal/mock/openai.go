package mock

import "fmt"

// The forms of OpenAI's chat completions and completions.

func (w *writer) finishReason() any {
	switch w.a.stop {
	case stopLength:
		return "length"
	case stopTools:
		return "tool_calls"
	case stopFilter, stopRefusal:
		return "content_filter"
	default:
		return "stop"
	}
}

func (w *writer) choices() int { return max(1, min(w.k.n, 128)) }

func (w *writer) openaiUsage() obj {
	t := w.a.tokens
	return obj{
		"prompt_tokens", t.input, "completion_tokens", t.output, "total_tokens", t.input + t.output,
		"prompt_tokens_details",
		obj{"cached_tokens", t.cached, "audio_tokens", 0},
		"completion_tokens_details",
		obj{
			"reasoning_tokens", t.reasoning, "audio_tokens", 0, "accepted_prediction_tokens", 0, "rejected_prediction_tokens", 0,
		},
	}
}

// withUsage adds the usage of a plain answer, as the script wants it.
func (w *writer) withUsage(o obj) obj {
	switch w.s.usage {
	case "none":
		return o
	case "null":
		return append(o, "usage", nil)
	default:
		return append(o, "usage", w.openaiUsage())
	}
}

func (w *writer) chat() {
	if w.k.stream {
		w.chatStream()
		return
	}
	message := obj{"role", "assistant", "content", nil}
	var refusal any
	var calls list
	for _, p := range w.a.parts {
		switch p.kind {
		case textPart:
			message[3] = p.text
		case reasoningPart:
			message = append(message, "reasoning_content", p.text)
		case refusalPart:
			refusal = p.text
		case callPart:
			calls = append(calls, obj{"id", "call_" + p.id, "type", "function", "function", obj{"name", p.name, "arguments", p.text}})
		}
	}
	if calls != nil {
		message = append(message, "tool_calls", calls)
	}
	message = append(message, "refusal", refusal, "annotations", list{})
	var choices list
	for i := range w.choices() {
		choices = append(choices, obj{"index", i, "message", message, "logprobs", nil, "finish_reason", w.finishReason()})
	}
	w.body(append(w.withUsage(obj{
		"id", "chatcmpl-" + w.a.id, "object", "chat.completion", "created", epoch, "model", w.a.model, "choices", choices,
	}), "service_tier", "default", "system_fingerprint", "fp_mock"), indented...)
}

// chunk writes one chunk of a chat or completion stream.
func (w *writer) chunk(object string, output bool, choices list) {
	id := "chatcmpl-"
	if object == "text_completion" {
		id = "cmpl-"
	}
	o := obj{
		"id", id + w.a.id, "object", object, "created", epoch, "model", w.a.model,
		"service_tier", "default", "system_fingerprint", "fp_mock", "choices", choices,
	}
	switch {
	case w.s.usage == "none":
	case w.s.usage == "every" || len(choices) == 0:
		o = append(o, "usage", w.openaiUsage())
	case w.k.usage || w.s.usage == "null":
		o = append(o, "usage", nil)
	}
	w.event("", output, encode(append(o, "obfuscation", w.blanks("x", 16))))
}

func (w *writer) chatStream() {
	w.streaming(streamType, "\n")
	const object = "chat.completion.chunk"
	delta := func(output bool, reason any, d obj) {
		for i := range w.choices() {
			w.chunk(object, output, list{obj{"index", i, "delta", d, "logprobs", nil, "finish_reason", reason}})
		}
	}
	delta(false, nil, obj{"role", "assistant", "content", "", "refusal", nil})
	calls := 0
	for _, p := range w.a.parts {
		name := map[partKind]string{textPart: "content", reasoningPart: "reasoning_content", refusalPart: "refusal"}[p.kind]
		if p.kind == callPart {
			delta(true, nil, obj{"tool_calls", list{obj{
				"index", calls, "id", "call_" + p.id, "type", "function", "function", obj{"name", p.name, "arguments", ""},
			}}})
		}
		for _, c := range p.chunks {
			if p.kind == callPart {
				delta(true, nil, obj{"tool_calls", list{obj{"index", calls, "function", obj{"arguments", c}}}})
			} else {
				delta(true, nil, obj{name, c})
			}
		}
		if p.kind == callPart {
			calls++
		}
	}
	delta(false, w.finishReason(), obj{})
	w.openaiEnd(object)
}

func (w *writer) openaiEnd(object string) {
	if w.k.usage && w.s.usage != "none" && w.s.usage != "null" {
		w.chunk(object, false, list{})
	}
	w.event("", false, []byte("[DONE]"))
}

func (w *writer) completion() {
	text := ""
	var chunks []string
	for _, p := range w.a.parts {
		if p.kind == textPart {
			text, chunks = p.text, p.chunks
		}
	}
	choice := func(i int, text string, reason any) obj {
		return obj{"text", text, "index", i, "logprobs", nil, "finish_reason", reason}
	}
	if !w.k.stream {
		var choices list
		for i := range w.choices() {
			choices = append(choices, choice(i, text, w.finishReason()))
		}
		w.body(w.withUsage(obj{
			"id", "cmpl-" + w.a.id, "object", "text_completion", "created", epoch, "model", w.a.model, "choices", choices,
		}), indented...)
		return
	}
	w.streaming(streamType, "\n")
	const object = "text_completion"
	for _, c := range append(chunks, "") {
		var reason any
		if c == "" {
			reason = w.finishReason()
		}
		for i := range w.choices() {
			w.chunk(object, c != "", list{choice(i, c, reason)})
		}
	}
	w.openaiEnd(object)
}

// openaiModel is one entry of GET /v1/models.
func openaiModel(name string) obj {
	return obj{"id", name, "object", "model", "created", epoch, "owned_by", "mock"}
}

// openaiError is the body of a refusal.
func openaiError(status int, message string) obj {
	kind, code := "invalid_request_error", any(nil)
	switch {
	case status == 401:
		code = "invalid_api_key"
	case status == 404:
		code = "model_not_found"
	case status == 429:
		kind, code = "tokens", "rate_limit_exceeded"
	case status >= 500:
		kind = "server_error"
	}
	return obj{"error", obj{"message", message, "type", kind, "param", nil, "code", code}}
}

// openaiMessage names secrets and hosts as the vendor's own do: a gateway must not show them to its clients.
func openaiMessage(status int) string {
	switch status {
	case 400:
		return "The value of 'messages' is not valid."
	case 401:
		return "Incorrect API key provided: sk-mock**********tail. See https://mock.invalid/account/api-keys."
	case 404:
		return "The model does not exist, or this key has no access to it."
	case 429:
		return "Rate limit reached in organization org-mockmockmockmockmock: Limit 30000, Used 30000, Requested 100. Try again in 1s."
	default:
		return fmt.Sprintf("The mock failed with status %d (request req_mock0123456789abcdef at http://mock-7.internal:8080).", status)
	}
}
