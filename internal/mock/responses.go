package mock

// The form of OpenAI's Responses: items, and a stream of named events that ends with the whole response.

func (w *writer) response(status string, output list, usage any) obj {
	var incomplete, completed any
	switch {
	case status == "incomplete" && w.a.stop == stopLength:
		incomplete = obj{"reason", "max_output_tokens"}
	case status == "incomplete":
		incomplete = obj{"reason", "content_filter"}
	case status == "completed":
		completed = epoch + 1
	}
	return obj{
		"id", "resp_" + w.a.id, "object", "response", "created_at", epoch, "status", status, "background", false,
		"completed_at", completed, "error", nil, "frequency_penalty", 0.0, "incomplete_details", incomplete, "instructions", nil,
		"max_output_tokens", nil, "max_tool_calls", nil, "model", w.a.model, "output", output, "parallel_tool_calls", !w.k.single,
		"presence_penalty", 0.0, "previous_response_id", nil, "prompt_cache_key", nil, "prompt_cache_retention", nil,
		"reasoning",
		obj{"effort", nil, "summary", nil},
		"safety_identifier", nil, "service_tier", "default", "store", false,
		"temperature", 1.0, "text",
		obj{"format", obj{"type", "text"}, "verbosity", "medium"},
		"tool_choice", "auto", "tools",
		list{},
		"top_logprobs", 0, "top_p", 1.0, "truncation", "disabled", "usage", usage, "user", nil, "metadata",
		obj{},
	}
}

func (w *writer) responsesUsage() any {
	if w.s.usage == "none" || w.s.usage == "null" {
		return nil
	}
	t := w.a.tokens
	return obj{
		"input_tokens", t.input, "input_tokens_details",
		obj{"cached_tokens", t.cached},
		"output_tokens", t.output, "output_tokens_details",
		obj{"reasoning_tokens", t.reasoning},
		"total_tokens", t.input + t.output,
	}
}

func (w *writer) responsesStatus() string {
	if w.a.stop == stopLength || w.a.stop == stopFilter {
		return "incomplete"
	}
	return "completed"
}

// content is the content part of a message item.
func content(p part, text string) obj {
	if p.kind == refusalPart {
		return obj{"type", "refusal", "refusal", text}
	}
	return obj{"type", "output_text", "annotations", list{}, "logprobs", list{}, "text", text}
}

// item is p as an output item; an item just begun has no text yet.
func (w *writer) item(p part, status string) obj {
	done := status != "in_progress"
	text := ""
	if done {
		text = p.text
	}
	switch p.kind {
	case callPart:
		return obj{
			"id", "fc_" + p.id, "type", "function_call", "status", status, "arguments", text, "call_id", "call_" + p.id, "name", p.name,
		}
	case reasoningPart:
		summary := list{}
		if done && w.k.wantSums {
			summary = list{obj{"type", "summary_text", "text", text}}
		}
		o := obj{"id", "rs_" + w.a.id, "type", "reasoning"}
		if w.k.sealed {
			o = append(o, "encrypted_content", p.sig)
		}
		return append(o, "summary", summary)
	default:
		parts := list{}
		if done {
			parts = list{content(p, text)}
		}
		return obj{"id", "msg_" + w.a.id, "type", "message", "status", status, "content", parts, "role", "assistant"}
	}
}

func (w *writer) responses() {
	var output list
	for _, p := range w.a.parts {
		output = append(output, w.item(p, w.responsesStatus()))
	}
	if !w.k.stream {
		w.body(w.response(w.responsesStatus(), output, w.responsesUsage()), indented...)
		return
	}
	w.streaming(streamType, "\n")
	w.named("response.created", false, "response", w.response("in_progress", list{}, nil))
	w.named("response.in_progress", false, "response", w.response("in_progress", list{}, nil))
	for i, p := range w.a.parts {
		w.named("response.output_item.added", p.kind == callPart, "item", w.item(p, "in_progress"), "output_index", i)
		switch p.kind {
		case callPart:
			for _, c := range p.chunks {
				w.named("response.function_call_arguments.delta", true,
					"delta", c, "item_id", "fc_"+p.id, "obfuscation", w.blanks("x", 16), "output_index", i)
			}
			w.named("response.function_call_arguments.done", false, "arguments", p.text, "item_id", "fc_"+p.id, "output_index", i)
		case reasoningPart:
			if w.k.wantSums {
				w.summary(i, p)
			}
		default:
			w.spoken(i, p)
		}
		w.named("response.output_item.done", false, "item", w.item(p, w.responsesStatus()), "output_index", i)
	}
	w.named("response."+w.responsesStatus(), false, "response", w.response(w.responsesStatus(), output, w.responsesUsage()))
}

// named writes one event; its number is its place in the stream.
func (w *writer) named(name string, output bool, members ...any) {
	o := append(obj{"type", name}, members...)
	w.event(name, output, encode(append(o, "sequence_number", len(w.r.frames))))
}

func (w *writer) spoken(i int, p part) {
	id, kind, member := "msg_"+w.a.id, "output_text", "text"
	if p.kind == refusalPart {
		kind, member = "refusal", "refusal"
	}
	w.named("response.content_part.added", false, "content_index", 0, "item_id", id, "output_index", i, "part", content(p, ""))
	for _, c := range p.chunks {
		w.named("response."+kind+".delta", true, "content_index", 0, "delta", c, "item_id", id,
			"logprobs", list{}, "obfuscation", w.blanks("x", 16), "output_index", i)
	}
	w.named("response."+kind+".done", false, "content_index", 0, "item_id", id, "logprobs", list{}, "output_index", i, member, p.text)
	w.named("response.content_part.done", false, "content_index", 0, "item_id", id, "output_index", i, "part", content(p, p.text))
}

func (w *writer) summary(i int, p part) {
	id := "rs_" + w.a.id
	at := func(members ...any) []any {
		return append([]any{"item_id", id, "output_index", i, "summary_index", 0}, members...)
	}
	w.named("response.reasoning_summary_part.added", false, at("part", obj{"type", "summary_text", "text", ""})...)
	for _, c := range p.chunks {
		w.named("response.reasoning_summary_text.delta", true, at("delta", c, "obfuscation", w.blanks("x", 16))...)
	}
	w.named("response.reasoning_summary_text.done", false, at("text", p.text)...)
	w.named("response.reasoning_summary_part.done", false, at("part", obj{"type", "summary_text", "text", p.text})...)
}
