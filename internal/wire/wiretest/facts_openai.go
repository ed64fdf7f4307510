package wiretest

import "strings"

// chatFacts reads OpenAI's chat completions, and what vendors add to them.
func chatFacts(stream bool, body []byte) (f Facts) {
	f.Usage = Counts{}
	if !stream {
		t := parse(body)
		f.Failed = t.at("error").there() || !t.at("choices").there()
		f.Ended = !f.Failed
		for i, c := range t.at("choices").list() {
			chatChoice(f.choice(int64(i)), c, c.at("message"))
		}
		f.Usage = chatUsage(t.at("usage"))
		finishChat(&f)
		return f
	}
	for _, fr := range frames(body) {
		if string(fr.data) == "[DONE]" {
			f.Ended = true
			continue
		}
		t := parse(fr.data)
		if t.at("error").there() || fr.event == "error" {
			f.Failed = true
		}
		for _, c := range t.at("choices").list() {
			i, _ := c.at("index").num()
			chatChoice(f.choice(i), c, c.at("delta"))
		}
		if u := t.either("usage"); u.there() {
			f.Usage = chatUsage(u)
		} else if u := t.at("x_groq", "usage"); u.there() {
			f.Usage = chatUsage(u)
		}
	}
	finishChat(&f)
	return f
}

// chatChoice adds a message, or a piece of one.
func chatChoice(s *Said, choice, m tree) {
	s.Text += m.at("content").str()
	for _, p := range m.at("content").list() {
		s.Text += p.at("text").str()
	}
	s.Refusal += m.at("refusal").str()
	s.Reasoning += m.either("reasoning_content", "reasoning").str()
	s.Blocks = 1
	for _, d := range m.at("reasoning_details").list() {
		s.proof(d.at("signature"))
		s.proof(d.at("data"))
	}
	for k, c := range m.at("tool_calls").list() {
		i, ok := c.at("index").num()
		if !ok {
			i = int64(k)
		}
		for int64(len(s.Calls)) <= i {
			s.Calls = append(s.Calls, Called{})
		}
		call := &s.Calls[i]
		call.ID += c.at("id").str()
		call.Name += c.at("function", "name").str()
		call.Args += c.at("function", "arguments").str()
		s.proof(c.at("extra_content", "google", "thought_signature"))
	}
	switch r := choice.at("finish_reason").str(); r {
	case "":
	case "stop":
		s.Stop = "end"
	case "tool_calls", "function_call":
		s.Stop = "tools"
	case "content_filter":
		s.Stop = "filter"
	case "length":
		s.Stop = "length"
	default:
		s.Stop = "other"
	}
}

func finishChat(f *Facts) {
	for i := range f.Choices {
		s := &f.Choices[i]
		if s.Refusal != "" && s.Stop == "end" {
			s.Stop = "refusal"
		}
	}
}

func chatUsage(u tree) Counts {
	c := Counts{}
	c.add("input", u.at("prompt_tokens"))
	c.add("output", u.at("completion_tokens"))
	c.add("cache_read", u.at("prompt_tokens_details", "cached_tokens"))
	c.add("cache_write", u.at("prompt_tokens_details", "cache_write_tokens"))
	c.add("reasoning", u.at("completion_tokens_details", "reasoning_tokens"))
	return c
}

// responsesFacts reads OpenAI's Responses. Of a stream the last event tells all; the pieces before it must
// say the same, which is checked by adding them up apart.
func responsesFacts(stream bool, body []byte) (f Facts) {
	if !stream {
		return responsesAnswer(parse(body))
	}
	var text, args, reasoning strings.Builder
	untold := false // what was said stands in the pieces alone
	f.Usage = Counts{}
	for _, fr := range frames(body) {
		t := parse(fr.data)
		switch t.at("type").str() {
		case "response.output_text.delta", "response.refusal.delta":
			text.WriteString(t.at("delta").str())
		case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta":
			args.WriteString(t.at("delta").str())
		case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
			reasoning.WriteString(t.at("delta").str())
		case "response.completed", "response.incomplete":
			f = responsesAnswer(t.at("response"))
			untold = !t.at("response", "output").there()
		case "response.failed", "error":
			f.Failed = true
		}
	}
	if !f.Ended || untold {
		s := f.choice(0)
		s.Text, s.Reasoning = text.String(), reasoning.String()
		return f
	}
	s := f.Choices[0]
	all := ""
	for _, c := range s.Calls {
		all += c.Args
	}
	if s.Text+s.Refusal != text.String() || all != args.String() && args.Len() > 0 || s.Reasoning != reasoning.String() && reasoning.Len() > 0 {
		f.Choices[0].Text += "\n(the deltas say: " + text.String() + args.String() + reasoning.String() + ")"
	}
	return f
}

func responsesAnswer(t tree) (f Facts) {
	f.Usage = Counts{}
	f.Failed = t.at("error").there() || t.at("status").str() == "failed"
	f.Ended = t.at("status").there() && !f.Failed
	s := f.choice(0)
	for _, item := range t.at("output").list() {
		switch item.at("type").str() {
		case "message":
			for _, p := range item.at("content").list() {
				s.Text += p.at("text").str()
				s.Refusal += p.at("refusal").str()
			}
		case "reasoning":
			for _, p := range append(item.at("summary").list(), item.at("content").list()...) {
				s.Reasoning += p.at("text").str()
				s.Blocks++
			}
			s.proof(item.at("encrypted_content"))
		case "function_call":
			s.Calls = append(s.Calls, Called{item.at("call_id").str(), item.at("name").str(), item.at("arguments").str()})
		case "custom_tool_call":
			s.Calls = append(s.Calls, Called{item.at("call_id").str(), item.at("name").str(), item.at("input").str()})
		}
	}
	switch t.at("incomplete_details", "reason").str() {
	case "max_output_tokens":
		s.Stop = "length"
	case "content_filter":
		s.Stop = "filter"
	default:
		switch {
		case t.at("status").str() == "incomplete":
			s.Stop = "other"
		case len(s.Calls) > 0:
			s.Stop = "tools"
		case s.Refusal != "":
			s.Stop = "refusal"
		default:
			s.Stop = "end"
		}
	}
	u := t.at("usage")
	f.Usage.add("input", u.at("input_tokens"))
	f.Usage.add("output", u.at("output_tokens"))
	f.Usage.add("cache_read", u.at("input_tokens_details", "cached_tokens"))
	f.Usage.add("cache_write", u.at("input_tokens_details", "cache_write_tokens"))
	f.Usage.add("reasoning", u.at("output_tokens_details", "reasoning_tokens"))
	return f
}
