package wiretest

import (
	"encoding/json"
	"fmt"

	"sluice/internal/llm"
)

// NextTurn is the request an SDK would send after an answer: the answer as it came in the history, a result
// for every tool call, and one more word of the user.
func NextTurn(f llm.Format, answer []byte) []byte {
	t := parse(answer)
	type obj = map[string]any
	var req obj
	switch f {
	case llm.OpenAIChat:
		m := t.at("choices").list()[0].at("message")
		messages := []any{obj{"role": "user", "content": "first"}, m.v}
		for _, c := range m.at("tool_calls").list() {
			messages = append(messages, obj{"role": "tool", "tool_call_id": c.at("id").v, "content": "done"})
		}
		req = obj{"model": "m", "messages": append(messages, obj{"role": "user", "content": "go on"})}
	case llm.OpenAIResponses:
		input := []any{obj{"role": "user", "content": "first"}}
		for _, item := range t.at("output").list() {
			input = append(input, item.v)
		}
		for _, item := range t.at("output").list() {
			if item.at("type").str() == "function_call" {
				input = append(input, obj{"type": "function_call_output", "call_id": item.at("call_id").v, "output": "done"})
			}
		}
		req = obj{"model": "m", "store": false, "input": append(input, obj{"role": "user", "content": "go on"})}
	case llm.AnthropicMessages:
		var results []any
		for _, b := range t.at("content").list() {
			if b.at("type").str() == "tool_use" {
				results = append(results, obj{"type": "tool_result", "tool_use_id": b.at("id").v, "content": "done"})
			}
		}
		req = obj{"model": "m", "max_tokens": 100, "messages": []any{
			obj{"role": "user", "content": "first"},
			obj{"role": "assistant", "content": t.at("content").v},
			obj{"role": "user", "content": append(results, obj{"type": "text", "text": "go on"})},
		}}
	case llm.GeminiGenerate:
		content := t.at("candidates").list()[0].at("content")
		var parts []any
		for _, p := range content.at("parts").list() {
			if c := p.at("functionCall"); c.there() {
				r := obj{"name": c.at("name").v, "response": obj{"output": "done"}}
				if id := c.at("id"); id.there() {
					r["id"] = id.v
				}
				parts = append(parts, obj{"functionResponse": r})
			}
		}
		req = obj{"contents": []any{
			obj{"role": "user", "parts": []any{obj{"text": "first"}}},
			content.v,
			obj{"role": "user", "parts": append(parts, obj{"text": "go on"})},
		}}
	}
	out, err := json.Marshal(req)
	if err != nil {
		panic(err)
	}
	return out
}

// ItemsOf are the items of a turn that repeats an answer.
func ItemsOf(s Said) (items []string) {
	if text := s.Text + s.Refusal; text != "" {
		items = append(items, "text:"+text)
	}
	for k, c := range s.Calls {
		items = append(items, fmt.Sprintf("call:%d:%s:%s", k, c.Name, arguments(c.Args)))
	}
	return items
}

// VectorsOf are the vectors and the usage of an embeddings answer, in one form.
func VectorsOf(answer []byte) any {
	t := parse(answer)
	return []any{plain(t.at("data").v), plain(t.at("usage").v), t.at("model").v}
}
