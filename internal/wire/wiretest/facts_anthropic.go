package wiretest

// messagesFacts reads Anthropic's messages.
func messagesFacts(stream bool, body []byte) (f Facts) {
	f.Usage = Counts{}
	s := f.choice(0)
	if !stream {
		t := parse(body)
		f.Failed = t.at("type").str() == "error"
		f.Ended = !f.Failed
		for _, b := range t.at("content").list() {
			messagesBlock(s, b)
		}
		s.Stop = messagesStop(t.at("stop_reason").str())
		messagesUsage(f.Usage, t.at("usage"))
		return f
	}
	called := false // a tool of the client's is open
	for _, fr := range frames(body) {
		t := parse(fr.data)
		switch t.at("type").str() {
		case "message_start":
			messagesUsage(f.Usage, t.at("message", "usage"))
		case "content_block_start":
			b := t.at("content_block")
			called = b.at("type").str() == "tool_use"
			messagesBlock(s, b)
			if called {
				s.Calls[len(s.Calls)-1].Args = "" // it comes in pieces
			}
		case "content_block_delta":
			d := t.at("delta")
			switch d.at("type").str() {
			case "text_delta":
				s.Text += d.at("text").str()
			case "thinking_delta":
				s.Reasoning += d.at("thinking").str()
			case "signature_delta":
				s.proof(d.at("signature"))
			case "input_json_delta":
				if called {
					s.Calls[len(s.Calls)-1].Args += d.at("partial_json").str()
				}
			}
		case "content_block_stop":
			if called && s.Calls[len(s.Calls)-1].Args == "" {
				s.Calls[len(s.Calls)-1].Args = "{}"
			}
			called = false
		case "message_delta":
			if r := t.at("delta", "stop_reason").str(); r != "" {
				s.Stop = messagesStop(r)
			}
			messagesUsage(f.Usage, t.at("usage"))
		case "message_stop":
			f.Ended = true
		case "error":
			f.Failed = true
		}
	}
	return f
}

func messagesBlock(s *Said, b tree) {
	switch b.at("type").str() {
	case "text":
		s.Text += b.at("text").str()
	case "thinking":
		if b.at("thinking").str() != "" {
			s.Blocks++
		}
		s.Reasoning += b.at("thinking").str()
		s.proof(b.at("signature"))
	case "redacted_thinking":
		s.proof(b.at("data"))
	case "tool_use":
		s.Calls = append(s.Calls, Called{b.at("id").str(), b.at("name").str(), b.at("input").text()})
	}
}

func messagesStop(r string) string {
	switch r {
	case "end_turn", "stop_sequence":
		return "end"
	case "max_tokens", "model_context_window_exceeded":
		return "length"
	case "tool_use":
		return "tools"
	case "refusal":
		return "refusal"
	case "pause_turn":
		return "pause"
	}
	return r
}

// messagesUsage takes over what is told: each report is a running total. Input counts leave out what was
// read from and written to the cache.
func messagesUsage(c Counts, u tree) {
	set := func(name string, t tree) {
		if n, ok := t.num(); ok {
			c[name] = n
		}
	}
	if u.at("input_tokens").there() {
		delete(c, "input")
		c.add("input", u.at("input_tokens"), u.at("cache_read_input_tokens"), u.at("cache_creation_input_tokens"))
	}
	set("cache_read", u.at("cache_read_input_tokens"))
	set("cache_write", u.at("cache_creation_input_tokens"))
	set("output", u.at("output_tokens"))
	set("reasoning", u.at("output_tokens_details", "thinking_tokens"))
}
