package wiretest

import (
	"bytes"
	"strconv"
	"strings"
)

// geminiFacts reads Gemini's generateContent and both forms of streamGenerateContent.
func geminiFacts(stream bool, body []byte) (f Facts) {
	f.Usage = Counts{}
	var pieces []tree
	switch {
	case !stream:
		pieces = []tree{parse(body)}
	case bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")):
		pieces = parse(body).list()
	default:
		for _, fr := range frames(body) {
			pieces = append(pieces, parse(fr.data))
		}
	}
	for _, t := range pieces {
		if t.at("error").there() {
			f.Failed = true
		}
		if r := t.at("promptFeedback", "blockReason"); r.there() {
			f.choice(0).Stop = "filter"
			f.Ended = true
		}
		for _, c := range t.at("candidates").list() {
			i, _ := c.at("index").num()
			geminiCandidate(f.choice(i), c)
			f.Ended = f.Ended || c.at("finishReason").there()
		}
		if u := t.at("usageMetadata"); u.there() {
			f.Usage = Counts{}
			f.Usage.add("input", u.at("promptTokenCount"), u.at("toolUsePromptTokenCount"))
			f.Usage.add("output", u.at("candidatesTokenCount"), u.at("thoughtsTokenCount"))
			f.Usage.add("cache_read", u.at("cachedContentTokenCount"))
			f.Usage.add("reasoning", u.at("thoughtsTokenCount"))
		}
	}
	for i := range f.Choices {
		if s := &f.Choices[i]; s.Stop == "end" && len(s.Calls) > 0 {
			s.Stop = "tools"
		}
	}
	return f
}

func geminiCandidate(s *Said, c tree) {
	s.Blocks = 2 // thoughts come in pieces, and where one ends is not told
	for _, p := range c.at("content", "parts").list() {
		switch {
		case p.at("functionCall").there():
			geminiCall(s, p.at("functionCall"))
		case p.at("thought").isTrue():
			s.Reasoning += p.at("text").str()
		default:
			s.Text += p.at("text").str()
		}
		s.proof(p.at("thoughtSignature"))
	}
	if n, ok := c.at("finishReason").num(); ok { // enums as numbers
		s.Stop = []string{"", "end", "length", "filter", "filter", "other"}[n]
	}
	switch r := c.at("finishReason").str(); r {
	case "", "FINISH_REASON_UNSPECIFIED":
	case "STOP":
		s.Stop = "end"
	case "MAX_TOKENS":
		s.Stop = "length"
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR":
		s.Stop = "filter"
	default:
		s.Stop = "other"
	}
}

// geminiCall adds a call, or a piece of the last one: newer models send arguments by path, value by value.
func geminiCall(s *Said, call tree) {
	if call.at("name").there() {
		args := "{}"
		if call.at("args").there() {
			args = call.at("args").text()
		}
		s.Calls = append(s.Calls, Called{call.at("id").str(), call.at("name").str(), args})
	}
	if len(s.Calls) == 0 {
		return
	}
	last := &s.Calls[len(s.Calls)-1]
	for _, p := range call.at("partialArgs").list() {
		root := parse([]byte(last.Args)).v
		path := strings.FieldsFunc(strings.TrimPrefix(p.at("jsonPath").str(), "$"), func(r rune) bool { return strings.ContainsRune(".[]'", r) })
		value := p.either("stringValue", "numberValue", "boolValue").v
		last.Args = tree{place(root, path, value)}.text()
	}
}

// place puts a value at a path; a string goes behind the one that is there.
func place(v any, path []string, value any) any {
	if len(path) == 0 {
		old, _ := v.(string)
		if s, ok := value.(string); ok {
			return old + s
		}
		return value
	}
	if i, err := strconv.Atoi(path[0]); err == nil {
		list, _ := v.([]any)
		for len(list) <= i {
			list = append(list, nil)
		}
		list[i] = place(list[i], path[1:], value)
		return list
	}
	m, _ := v.(map[string]any)
	if m == nil {
		m = make(map[string]any)
	}
	m[path[0]] = place(m[path[0]], path[1:], value)
	return m
}
