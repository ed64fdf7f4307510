package mock

import (
	"fmt"
	"time"
)

// The form of Gemini's generateContent: an object, events with CRLF, or an array that grows.

func (w *writer) geminiReason() string {
	switch w.a.stop {
	case stopLength:
		return "MAX_TOKENS"
	case stopFilter, stopRefusal:
		return "SAFETY"
	default:
		return "STOP"
	}
}

// geminiParts is p, or one chunk of it, as the vendor's parts; a call is never divided.
func geminiPart(p part, text string) obj {
	switch p.kind {
	case reasoningPart:
		return obj{"text", text, "thought", true}
	case callPart:
		o := obj{"functionCall", obj{"name", p.name, "args", raw(p.text)}}
		if p.sig != "" {
			o = append(o, "thoughtSignature", p.sig)
		}
		return o
	default:
		return obj{"text", text}
	}
}

func (w *writer) candidates(parts list, reason any) list {
	var all list
	for i := range w.choices() {
		c := obj{}
		if parts != nil {
			c = append(c, "content", obj{"parts", parts, "role", "model"})
		}
		if reason != nil {
			c = append(c, "finishReason", reason)
		}
		all = append(all, append(c, "index", i))
	}
	return all
}

// geminiObject is one answer, or one piece of one; sent are the output tokens up to here, thoughts not included.
func (w *writer) geminiObject(candidates list, sent int64) obj {
	o := obj{"candidates", candidates}
	if t := w.a.tokens; w.s.usage != "none" {
		u := obj{"promptTokenCount", t.input}
		if sent > 0 || w.s.usage == "zero" {
			u = append(u, "candidatesTokenCount", sent)
		}
		u = append(u, "totalTokenCount", t.input+sent+t.reasoning)
		if t.cached > 0 {
			u = append(u, "cachedContentTokenCount", t.cached)
		}
		u = append(u, "promptTokensDetails", list{obj{"modality", "TEXT", "tokenCount", t.input}})
		if t.reasoning > 0 {
			u = append(u, "thoughtsTokenCount", t.reasoning)
		}
		o = append(o, "usageMetadata", u)
	}
	return append(o, "modelVersion", w.a.model, "responseId", w.a.id)
}

// signature is the reasoning's, which Gemini puts on what follows the thought.
func (w *writer) signature() string {
	for _, p := range w.a.parts {
		if p.kind == reasoningPart {
			return p.sig
		}
	}
	return ""
}

func (w *writer) generate() {
	said := w.a.tokens.output - w.a.tokens.reasoning
	if !w.k.stream {
		var parts list
		for _, p := range w.a.parts {
			o := geminiPart(p, p.text)
			if sig := w.signature(); sig != "" && p.kind == textPart {
				o = append(o, "thoughtSignature", sig)
			}
			parts = append(parts, o)
		}
		w.body(w.geminiObject(w.candidates(parts, w.geminiReason()), said), indented...)
		return
	}
	if w.k.sse {
		w.streaming("text/event-stream", "\r\n")
	} else {
		w.r.contentType = jsonType
	}
	chunks := 0
	for _, p := range w.a.parts {
		chunks += len(p.chunks)
	}
	n := 0
	for _, p := range w.a.parts {
		texts := p.chunks
		if p.kind == callPart {
			texts = []string{p.text}
		}
		for _, c := range texts {
			n++
			w.piece(true, w.geminiObject(w.candidates(list{geminiPart(p, c)}, nil), said*int64(n)/int64(max(n, chunks))))
		}
	}
	var last list
	if w.a.stop != stopRefusal {
		end := obj{"text", ""}
		if sig := w.signature(); sig != "" {
			end = append(end, "thoughtSignature", sig)
		}
		last = list{end}
	}
	w.piece(false, w.geminiObject(w.candidates(last, w.geminiReason()), said))
	if !w.k.sse {
		end := &w.r.frames[len(w.r.frames)-1]
		end.data = append(end.data, "]"...)
	}
}

// piece writes one object of a stream, in the way of an event or of an array's element.
func (w *writer) piece(output bool, o obj) {
	if w.k.sse {
		w.event("", output, format(encode(o), spaced...))
		return
	}
	open := "["
	if len(w.r.frames) > 0 {
		open = ",\r\n"
	}
	data := fmt.Appendf([]byte(open), "%s\n", format(encode(o), indented...))
	w.r.frames = append(w.r.frames, frame{data: data, output: output})
}

func geminiModel(name string) obj {
	return obj{
		"name", "models/" + name, "version", "001", "displayName", "Mock " + name, "description", "A scripted model",
		"inputTokenLimit", 1_048_576, "outputTokenLimit", 65_536,
		"supportedGenerationMethods",
		list{"generateContent", "countTokens", "embedContent"},
	}
}

func geminiError(status int, message string, retry time.Duration) obj {
	word := map[int]string{
		400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
		499: "CANCELLED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
	}[status]
	if word == "" {
		word = "UNKNOWN"
	}
	e := obj{"code", status, "message", message, "status", word}
	if retry > 0 {
		e = append(e, "details", list{
			obj{"@type", "type.googleapis.com/google.rpc.RetryInfo", "retryDelay", fmt.Sprintf("%gs", retry.Seconds())},
		})
	}
	return obj{"error", e}
}

func geminiMessage(status int, retry time.Duration) string {
	switch status {
	case 400:
		return "Request contains an invalid argument."
	case 401:
		return "The credentials of project projects/123456789012 are not valid."
	case 404:
		return "models/mock is not found for this version of the API."
	case 429:
		m := "The quota is used up."
		if retry > 0 {
			m += fmt.Sprintf("\nPlease retry in %gs.", retry.Seconds())
		}
		return m
	case 503:
		return "The model is overloaded."
	default:
		return "An internal error has occurred."
	}
}
