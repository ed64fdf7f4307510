package mock

import "fmt"

// The form of Anthropic's Messages.

func (w *writer) stopReason() string {
	switch w.a.stop {
	case stopLength:
		return "max_tokens"
	case stopTools:
		return "tool_use"
	case stopFilter, stopRefusal:
		return "refusal"
	default:
		return "end_turn"
	}
}

// anthropicUsage counts input without what the cache held or took, as the vendor does.
func (w *writer) anthropicUsage(output int64) obj {
	t := w.a.tokens
	return obj{
		"input_tokens", t.input - t.cached - t.write,
		"cache_creation_input_tokens", t.write, "cache_read_input_tokens", t.cached,
		"cache_creation",
		obj{"ephemeral_5m_input_tokens", t.write, "ephemeral_1h_input_tokens", 0},
		"output_tokens", output, "service_tier", "standard", "inference_geo", "not_available",
	}
}

// block is p as a content block; one just begun is empty.
func block(p part, done bool) obj {
	text, sig := "", ""
	if done {
		text, sig = p.text, p.sig
	}
	switch p.kind {
	case reasoningPart:
		return obj{"type", "thinking", "thinking", text, "signature", sig}
	case redactedPart:
		return obj{"type", "redacted_thinking", "data", p.text}
	case callPart:
		input := any(obj{})
		if done {
			input = raw(text)
		}
		return obj{"type", "tool_use", "id", "toolu_" + p.id, "name", p.name, "input", input}
	default:
		return obj{"type", "text", "text", text}
	}
}

// raw is JSON text that is put in as it is.
type raw string

// MarshalJSON is the text itself.
func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func (w *writer) message(content list, reason any, usage obj) obj {
	o := obj{
		"model", w.a.model, "id", "msg_" + w.a.id, "type", "message", "role", "assistant", "content", content,
		"stop_reason", reason, "stop_sequence", nil, "stop_details", nil,
	}
	if w.s.usage != "none" {
		o = append(o, "usage", usage)
	}
	return o
}

func (w *writer) messages() {
	if w.k.stream {
		w.messagesStream()
		return
	}
	var blocks list
	for _, p := range w.a.parts {
		blocks = append(blocks, block(p, true))
	}
	usage := w.anthropicUsage(w.a.tokens.output)
	if w.a.tokens.reasoning > 0 {
		usage = append(usage, "output_tokens_details", obj{"thinking_tokens", w.a.tokens.reasoning})
	}
	w.body(w.message(blocks, w.stopReason(), usage))
}

// padded writes an event with the vendor's odd blanks before the closing brace.
func (w *writer) padded(name string, output bool, o obj) {
	data := encode(o)
	w.event(name, output, fmt.Appendf(data[:len(data)-1], "%s}", w.blanks(" ", 14)))
}

func (w *writer) messagesStream() {
	w.streaming(streamType, "\n")
	first := min(1, w.a.tokens.output)
	w.padded("message_start", false, obj{"type", "message_start", "message", w.message(list{}, nil, w.anthropicUsage(first))})
	for i, p := range w.a.parts {
		w.padded("content_block_start", p.kind == callPart || p.kind == redactedPart,
			obj{"type", "content_block_start", "index", i, "content_block", block(p, false)})
		if i == 0 {
			w.event("ping", false, []byte(`{"type": "ping"}`))
		}
		delta := func(members ...any) {
			w.padded("content_block_delta", true, obj{"type", "content_block_delta", "index", i, "delta", obj(members)})
		}
		for _, c := range p.chunks {
			switch p.kind {
			case reasoningPart:
				delta("type", "thinking_delta", "thinking", c)
			case callPart:
				delta("type", "input_json_delta", "partial_json", c)
			case textPart:
				delta("type", "text_delta", "text", c)
			}
		}
		if p.kind == reasoningPart {
			delta("type", "signature_delta", "signature", p.sig)
		}
		w.padded("content_block_stop", false, obj{"type", "content_block_stop", "index", i})
	}
	end := obj{"type", "message_delta", "delta", obj{"stop_reason", w.stopReason(), "stop_sequence", nil, "stop_details", nil}}
	if w.s.usage != "none" {
		t := w.a.tokens
		end = append(end, "usage", obj{
			"input_tokens", t.input - t.cached - t.write, "cache_creation_input_tokens", t.write, "cache_read_input_tokens", t.cached,
			"output_tokens", t.output, "output_tokens_details",
			obj{"thinking_tokens", t.reasoning},
		})
	}
	w.padded("message_delta", false, end)
	w.padded("message_stop", false, obj{"type", "message_stop"})
}

func anthropicModel(name string) obj {
	return obj{"type", "model", "id", name, "display_name", "Mock " + name, "created_at", "2026-01-01T00:00:00Z"}
}

func anthropicError(status int, message string) obj {
	kind := map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
		413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
	}[status]
	if kind == "" {
		kind = "api_error"
	}
	return obj{"type", "error", "error", obj{"type", kind, "message", message}, "request_id", "req_mock0123456789abcdef"}
}

func anthropicMessage(status int) string {
	switch status {
	case 400:
		return "messages.0.content: not a valid list"
	case 401:
		return "invalid x-api-key"
	case 404:
		return "model: mock"
	case 429:
		return "The limit of 30,000 input tokens a minute of organization 00000000-0000-4000-8000-0000000000aa is reached."
	case 529:
		return "Overloaded"
	default:
		return "Internal server error"
	}
}
